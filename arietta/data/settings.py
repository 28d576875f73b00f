"""What a build is asked to do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

from arietta.data.filters import OFF, PRESETS, Filters
from arietta.data.shards import ROWS_PER_GROUP
from arietta.data.tables import Form
from arietta.errors import UsageError
from arietta.midi.instruments import CLASSES, DEFAULT_IGNORED
from arietta.settings import check, parameter

Dedup = Literal["none", "known", "exact", "recordings"]
DEDUP: tuple[Dedup, ...] = ("none", "known", "exact", "recordings")
Compat = Literal["aria"]
Instruments = Literal["default", "piano", "all"]
IGNORED: Mapping[str, frozenset[str]] = {
    "default": DEFAULT_IGNORED,
    "piano": frozenset(CLASSES) - {"piano"},
    "all": frozenset(),
}
"""Instrument classes that preprocessing removes."""
FRACTIONS = {"train": 0.94, "valid": 0.03, "test": 0.03}


@dataclass(frozen=True)
class BuildSettings:
    """Everything that decides what a dataset holds, except its sources.

    Attributes:
        form: ``pieces`` (lossless) or ``grid`` (what token models see).
        filters: quality rules.
        compat: ``aria`` measures with the tempo arithmetic of the public reference.
        instruments: which classes stay: those of the public tokenizer, piano alone, or all.
        exclude: (field, value) of metadata; files that have one of them are refused.
        infer_tags: look for composer and form in titles, file names and text events as well.
        dedup: how far duplicates are looked for; each grade includes those before it: ``known``
            (named by the tables), ``exact`` (equal notes), ``recordings`` (shifted, cut, encoded
            anew).
        any_key, any_tempo: notes count as equal also when transposed, or at another speed.
        compositions: find files of one work by their notes, so that no work is in two splits.
        cap_limit: tagged files from which a composer's works are capped; None: every work is.
        cap_per_work: files of one work that stay then; None: no caps.
        fractions: split -> share of the groups.
        seed: decides which groups go where, and the order of the pieces.
        licence: terms of the music, for the card and for models that are trained on it.
        rows_per_group, rows_per_shard: pieces a Parquet row group and a shard.

    Raises:
        UsageError: a setting is out of range or contradicts another.
    """

    form: Form = parameter(
        "pieces",
        "pieces: everything a file holds. grid: the notes as token models see them, in a fraction"
        " of the space.",
        metavar="pieces|grid",
        choices=("pieces", "grid"),
    )
    filters: Filters = field(default_factory=Filters)
    exclude: tuple[tuple[str, str], ...] = ()
    dedup: Dedup = parameter(
        "recordings",
        "none, known (named by the metadata), exact (equal notes), recordings (shifted, cut,"
        " re-encoded). [default: the preset's]",
        metavar="GRADE",
        choices=DEDUP,
    )
    any_key: bool = parameter(False, "Transposed notes are equal as well.")
    any_tempo: bool = parameter(False, "Notes at another speed are equal as well.")
    compositions: bool = parameter(
        True,
        "Find files of one work by their notes, so that no work is in two splits."
        " [default: the preset's]",
    )
    instruments: Instruments = parameter(
        "default",
        "Which stay: default (those of the public tokenizer), piano, or all.",
        metavar="NAME",
        choices=tuple(IGNORED),
    )
    infer_tags: bool = parameter(
        False, "Find composer and form in titles, file names and text events."
    )
    cap_limit: int | None = parameter(250, low=0)
    cap_per_work: int | None = parameter(10, low=1)
    fractions: Mapping[str, float] = field(default_factory=lambda: dict(FRACTIONS))
    seed: int = parameter(0, "Deals splits and order anew.", metavar="N")
    compat: Compat | None = parameter(
        None,
        "Measure with the public reference's tempo arithmetic.",
        metavar="aria",
        choices=("aria",),
    )
    licence: str | None = parameter(
        None,
        "Terms of the music, for the dataset's card and the cards of models trained on it.",
        metavar="TEXT",
    )
    rows_per_group: int = parameter(ROWS_PER_GROUP, low=1)
    rows_per_shard: int = parameter(1024, low=1)

    def __post_init__(self) -> None:
        check(self)
        if (self.any_key or self.any_tempo) and not self.looks_for("exact"):
            raise UsageError(f"`any_key` and `any_tempo` need `dedup` exact, not {self.dedup}")
        shares = self.fractions.values()
        if not self.fractions or min(shares) < 0 or abs(sum(shares) - 1) > 1e-6:
            raise UsageError(f"`fractions` {dict(self.fractions)}: the shares must add up to 1")
        if self.rows_per_shard < self.rows_per_group:
            raise UsageError("`rows_per_shard` is at least `rows_per_group`")

    def looks_for(self, grade: Dedup) -> bool:
        """Whether duplicates of this grade are removed."""
        return DEDUP.index(self.dedup) >= DEDUP.index(grade)

    @property
    def fingerprints(self) -> bool:
        """Whether files are compared by their pitch sequences."""
        return self.compositions or self.looks_for("recordings")

    def recorded(self) -> dict[str, Any]:
        """Return the settings as JSON values."""
        return asdict(self)


PRESET_SETTINGS: Mapping[str, BuildSettings] = {
    "pretrain": BuildSettings(),
    "finetune": BuildSettings(filters=PRESETS["finetune"], cap_limit=None, cap_per_work=1),
    "none": BuildSettings(
        filters=OFF, dedup="known", compositions=False, cap_limit=None, cap_per_work=None
    ),
}
"""``pretrain`` and ``finetune`` follow the paper (section G); ``none`` takes what can be read."""


def preset(name: str, **changes: Any) -> BuildSettings:
    """Return a preset with some settings replaced.

    Raises:
        UsageError: there is no such preset, or a setting is out of range.
    """
    if name not in PRESET_SETTINGS:
        raise UsageError(f"`preset` {name}: choose {', '.join(PRESET_SETTINGS)}")
    return replace(PRESET_SETTINGS[name], **changes)
