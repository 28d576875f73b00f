"""What a build is asked to do."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

from arietta.data.filters import OFF, PRESETS, Filters
from arietta.data.shards import ROWS_PER_GROUP
from arietta.data.tables import Form
from arietta.errors import UsageError
from arietta.midi.instruments import CLASSES, DEFAULT_IGNORED

Dedup = Literal["none", "known", "exact", "recordings"]
DEDUP: tuple[Dedup, ...] = ("none", "known", "exact", "recordings")
Instruments = Literal["default", "piano", "all"]
IGNORED: Mapping[str, frozenset[str]] = {
    "default": DEFAULT_IGNORED,
    "piano": frozenset(CLASSES) - {"piano"},
    "all": frozenset(),
}
"""Instrument classes that preprocessing removes."""
FRACTIONS = {"train": 0.94, "valid": 0.03, "test": 0.03}


def _one_of(name: str, value: str, known: Collection[str]) -> None:
    if value not in known:
        raise UsageError(f"`{name}` {value}: choose {', '.join(known)}")


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
        rows_per_group, rows_per_shard: pieces a Parquet row group and a shard.

    Raises:
        UsageError: a setting is out of range or contradicts another.
    """

    form: Form = "pieces"
    filters: Filters = field(default_factory=Filters)
    compat: Literal["aria"] | None = None
    instruments: Instruments = "default"
    exclude: tuple[tuple[str, str], ...] = ()
    infer_tags: bool = False
    dedup: Dedup = "recordings"
    any_key: bool = False
    any_tempo: bool = False
    compositions: bool = True
    cap_limit: int | None = 250
    cap_per_work: int | None = 10
    fractions: Mapping[str, float] = field(default_factory=lambda: dict(FRACTIONS))
    seed: int = 0
    rows_per_group: int = ROWS_PER_GROUP
    rows_per_shard: int = 1024

    def __post_init__(self) -> None:
        _one_of("form", self.form, ("pieces", "grid"))
        _one_of("dedup", self.dedup, DEDUP)
        _one_of("instruments", self.instruments, IGNORED)
        if (self.any_key or self.any_tempo) and not self.looks_for("exact"):
            raise UsageError(f"`any_key` and `any_tempo` need `dedup` exact, not {self.dedup}")
        shares = self.fractions.values()
        if not self.fractions or min(shares) < 0 or abs(sum(shares) - 1) > 1e-6:
            raise UsageError(f"`fractions` {dict(self.fractions)}: the shares must add up to 1")
        if self.cap_per_work is not None and self.cap_per_work < 1:
            raise UsageError("at least one file of a work has to stay")
        if self.rows_per_group < 1 or self.rows_per_shard < self.rows_per_group:
            raise UsageError("a shard holds at least one row group, a row group one row")

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
    _one_of("preset", name, PRESET_SETTINGS)
    return replace(PRESET_SETTINGS[name], **changes)
