"""The parameters of a continuation: one declaration for each; see ``arietta.settings``.

A new sampling control is a field of ``SamplingSettings`` here and its effect in ``sampling``; the
options of ``arietta generate``, the keywords of ``Model.generate``, the check, the help and the
provenance follow from the field. This file imports nothing heavy, so that the command line can
read it before it works.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, TypedDict, get_args

from arietta.errors import UsageError
from arietta.settings import check, parameter, values_of

if TYPE_CHECKING:
    from os import PathLike

    from arietta.arrays import Float32Array
    from arietta.midi.piece import Piece
    from arietta.midi.seam import SeamMode

Groove = Literal["tight", "loose", "off"]
GROOVE_HELP = (
    "tight, loose or off: how near new onsets keep to the beat, which is the grid of the file where"
    " its notes stand on it, else the pulse of the playing where it is clear."
)
DEFAULT_SECONDS = 30.0
DEFAULT_TAKES = 16
"""Takes that the best are chosen from, where a take costs little."""


@dataclass(frozen=True)
class SamplingSettings:
    """How a token is drawn.

    Attributes:
        temperature: 0 is greedy; up to 2. Above 1 flattens, below 1 sharpens; with the grammar it
            sharpens what is struck, not when (``sampling``).
        min_p: keep tokens with at least this share of the likeliest token's probability; 0..1 or
            None.
        top_p: keep the likeliest tokens until their probabilities exceed this; (0, 1] or None.
            With both, min_p is applied first.
        density: notes a second, as a multiple of those of the prompt's last 15 s; 1 leaves the
            rate to the model. Needs the grammar.
        grammar: only tokens that make a valid piece, drawn by kind. Off is the public reference's
            sampler.

    Raises:
        UsageError: a value is out of range or contradicts another.
    """

    temperature: float = parameter(
        0.8,
        "{range}, instead of the preset's; 0 always takes the top.",
        metavar="T",
        low=0,
        high=2,
    )
    min_p: float | None = parameter(
        0.0,
        "{range}: drop what is less than P times as likely as the likeliest.",
        metavar="P",
        low=0,
        high=1,
    )
    top_p: float | None = parameter(
        None, "{range}: keep the likeliest that make up P together.", metavar="P", low=0, high=1
    )
    density: float = parameter(
        1.0,
        "{range}: times as many notes a second as the prompt; 1 is the model's own taste.",
        metavar="D",
        low=0.1,
        high=10,
    )
    grammar: bool = parameter(
        True, "Sample as the public code does; notes may come out broken.", negative=True
    )

    def __post_init__(self) -> None:
        check(self)
        if self.top_p == 0:
            raise UsageError("`top_p` must be above 0; for greedy use `temperature` 0")
        if self.density != 1.0 and not self.grammar:
            raise UsageError("`density` needs the grammar; do not switch the grammar off with it")

    def to_dict(self) -> dict[str, float | bool | None]:
        """Return plain values for provenance."""
        return values_of(self)


PRESETS: dict[str, SamplingSettings] = {
    "faithful": SamplingSettings(temperature=0.7),
    "balanced": SamplingSettings(),
    "adventurous": SamplingSettings(temperature=0.95),
}
"""Chosen for the shipped model on prompts of the valid split (``benchmarks/continuations.py``):
at 0.8 the key, the clashes and the number of notes come closest to those of people."""

DEFAULT_PRESET = "balanced"


def settings_from(preset: str = DEFAULT_PRESET, **changes: Any) -> SamplingSettings:
    """Return a preset with some numbers replaced; None keeps the preset's.

    Asking for ``top_p`` alone switches the preset's min-p off: the public command line leaves it
    on, where it wins and top-p does nothing.

    Args:
        preset: its name.
        changes: fields of ``SamplingSettings``.

    Raises:
        UsageError: there is no such preset, or a number is out of range.
    """
    base = PRESETS.get(preset)
    if base is None:
        raise UsageError(f"`preset` {preset!r} is unknown; choose {', '.join(PRESETS)}")
    return changed(base, **changes)


def changed(settings: SamplingSettings, **changes: Any) -> SamplingSettings:
    """Return settings with some numbers replaced; None keeps the present one.

    Raises:
        UsageError: a number is out of range.
    """
    given = {name: value for name, value in changes.items() if value is not None}
    if "top_p" in given and "min_p" not in given:
        given["min_p"] = None
    return replace(settings, **given)


@dataclass(frozen=True)
class Stop:
    """When a row is done; whichever comes first.

    Attributes:
        seconds: of new music, counted from the first new note; notes that start later are left
            out, one that started earlier keeps its length.
        notes: new notes.
        tokens: new tokens.

    Raises:
        UsageError: a limit is not above 0.
    """

    seconds: float | None = parameter(
        None, f"Length of the new music. [default: {DEFAULT_SECONDS:g}]", metavar="S", above=0
    )
    notes: int | None = parameter(None, above=0)
    tokens: int | None = parameter(None, above=0)

    def __post_init__(self) -> None:
        check(self)


@dataclass(frozen=True)
class JoinOptions:
    """How new notes join a prompt.

    Attributes:
        seam: where they begin: ``now`` where the model put them, ``release`` behind the prompt's
            last release, ``bar`` on a bar line behind it; None chooses by what the file is.
        pedal: make keys and pedal of the lengths; else the lengths are the keys'.
        groove: how near onsets keep to the prompt's beat; see ``pulse``.
        into: name or number of the prompt's track that takes the new notes.
        bars: end on the bar line that many whole bars behind the seam's.

    Raises:
        UsageError: a value is out of range.
    """

    seam: SeamMode | None = parameter(
        None,
        "Where the new notes begin: now (where the model puts them), release (behind the"
        " prompt's last release) or bar (on the next bar line). [default: bar where the"
        " prompt's notes stand on a metre, else release]",
        metavar="HOW",
        choices=("now", "release", "bar"),
    )
    pedal: bool = parameter(
        True, "Long notes instead of shorter keys under a pedal.", negative=True
    )
    groove: Groove = parameter("loose", GROOVE_HELP, metavar="HOW", choices=get_args(Groove))
    into: str | None = parameter(
        None,
        "Merge the new notes into this track of the prompt, by name or number."
        " [default: tracks of their own, right and left hand]",
        metavar="TRACK",
    )
    bars: float | None = parameter(
        None,
        "Length in whole bars of the prompt's own metre and tempo instead; ends on a bar line.",
        metavar="N",
        above=0,
    )

    def __post_init__(self) -> None:
        check(self)


@dataclass(frozen=True)
class Request(JoinOptions, Stop):
    """The request for a continuation; checked on construction.

    Attributes:
        seconds: length of the new music; 30 when no length is given.
        bars: length in bars of the prompt's own metre and tempo, instead of seconds.
        notes, tokens: further limits, each alone or beside a length.
        prompt_seconds: how much of the prompt to go on from, counted from its first note; all of
            it by default.
        end: ask the model for an ending at about that length.
        variations: how many continuations.
        of: how many takes to decide, of which the best ``variations`` are kept; see ``takes``.
        first_variation: number of the first one, to make a later one alone.
        seed: 0..2^64-1; None draws one, which the provenance then names.
        style: names for the prefix such as ``chopin`` or ``nocturne``, where the vocabulary has
            them; for a start from scratch.
        seam, pedal, groove, into: how the new notes join the prompt; see ``JoinOptions``.

    Raises:
        UsageError: a value is out of range or contradicts another.
    """

    prompt_seconds: float | None = parameter(
        None,
        "Go on after the first S seconds of the prompt. [default: all of it]",
        metavar="S",
        above=0,
    )
    end: bool = parameter(False, "Bring the music to an ending at about that length.")
    variations: int = parameter(1, "How many different continuations.", metavar="N", low=1)
    of: int | None = parameter(
        None,
        "Decide this many takes and keep the best: in time, in key, as dense as the prompt."
        f" [default: {DEFAULT_TAKES} with a small model, else as many as are kept]",
        metavar="N",
        low=1,
    )
    first_variation: int = parameter(0)
    seed: int | None = parameter(
        0, "The same seed gives the same music. [default: a new one, which is printed]", metavar="N"
    )
    style: tuple[str, ...] = parameter(
        (),
        "A composer, form or genre to lean to (chopin, nocturne, jazz); may be repeated.",
        metavar="NAME",
        several=True,
    )

    def __post_init__(self) -> None:
        if self.seconds is not None and self.bars is not None:
            raise UsageError("`seconds` and `bars` both set the length; give one of them")
        check(self)
        if self.of is not None and self.of < self.variations:
            raise UsageError(f"`of` is at least `variations`, {self.variations}; not {self.of}")

    def choosing_from(self, takes: int) -> Request:
        """Return a request that decides so many takes where it did not say how many."""
        if self.of is not None or takes <= self.variations:
            return self
        return replace(self, of=takes)

    @property
    def takes(self) -> int:
        """Number of takes to decide."""
        return max(self.of or 1, self.variations)

    def to_dict(self) -> dict[str, Any]:
        """Return the values that were set, for provenance."""
        values = values_of(self, changed=True)
        for elsewhere in ("variations", "first_variation", "seed", "style"):
            values.pop(elsewhere, None)
        # Lengths first: the text event of a file keeps its order.
        first = ("seconds", "bars", "notes", "tokens", "prompt_seconds", "end")
        return {name: values.pop(name) for name in first if name in values} | values


@dataclass(frozen=True)
class Steering:
    """What music a conditioned model is to resemble.

    Attributes:
        like: a piece, or its path.
        guidance_vector: or its embedding (E,).
        guidance: how much: 0 ignores it, 1 follows it, more exaggerates; see ``engine.Guidance``.

    Raises:
        UsageError: a value is out of range, or both kinds of example are given.
    """

    like: Piece | str | PathLike[str] | None = parameter(None)
    guidance_vector: Float32Array | None = parameter(None)
    guidance: float = parameter(
        2.5,
        "{range}, with --like: 0 ignores it, 1 follows it, more exaggerates. [default: {default}]",
        metavar="G",
        low=0,
        high=10,
    )

    def __post_init__(self) -> None:
        check(self)
        if self.like is not None and self.guidance_vector is not None:
            raise UsageError("give one of `like` and `guidance_vector`, not both")


DEFAULT_GUIDANCE: float = Steering.guidance


class SamplingOptions(TypedDict, total=False):
    """Types of the keywords of ``SamplingSettings``, for checkers; None keeps the preset's."""

    temperature: float | None
    min_p: float | None
    top_p: float | None
    grammar: bool | None


class GenerateOptions(SamplingOptions, total=False):
    """Types of the keywords of ``Model.generate``, ``generate_many`` and ``stream``, for checkers.

    The declarations are ``Request``, ``SamplingSettings`` and ``Steering``; None keeps the number
    that ``settings`` or ``preset`` gives.
    """

    seconds: float | None
    bars: float | None
    of: int | None
    notes: int | None
    tokens: int | None
    prompt_seconds: float | None
    end: bool
    seed: int | None
    seam: SeamMode | None
    pedal: bool
    groove: Groove
    into: str | None
    style: tuple[str, ...]
    density: float | None
    like: Piece | str | PathLike[str] | None
    guidance_vector: Float32Array | None
    guidance: float
