"""One named check per quality rule (specification G): Piece -> (passes, measured value).

Each function takes what was measured of a piece and the setting of the rule. *Tuned* notes are
those that are not drums; times are whole milliseconds from tick 0. A piece without notes fails with
value 0 or zeros. ``Filters`` has the settings of the presets.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from arietta.arrays import AnyIntArray, FloatArray, IntArray
from arietta.errors import UsageError
from arietta.midi.notes import DRUM_CHANNEL
from arietta.midi.piece import Piece
from arietta.midi.tempo import Compat

Value = float | tuple[float, ...]
Range = tuple[float, float]

# A window starts every second; what lies beyond a day and more is not looked at, so that a hostile
# tempo costs no memory. The length rule refuses such a piece.
MAX_WINDOWS = 100_000
_ABSENT = 1e-5  # probability of a pitch that does not occur
_LONGEST_MS = 5000


class Measures:
    """What the rules need of a piece, each computed once.

    Args:
        piece: the piece before preprocessing.
        compat: ``"aria"`` for the tempo arithmetic of the public reference.
    """

    def __init__(self, piece: Piece, compat: Compat | None = None) -> None:
        self.piece, self.compat = piece, compat
        tempo, notes = piece.tempo, piece.notes
        self.start_ms = _whole_ms(tempo.ms_at(notes.onset_tick, compat=compat))
        self.end_ms = _whole_ms(tempo.ms_at(notes.offset_tick, compat=compat))
        tuned = notes.channel != DRUM_CHANNEL
        everything = bool(tuned.all())
        # The tuned notes, in reading order: (n,) each.
        self.tuned_start_ms = self.start_ms if everything else self.start_ms[tuned]
        self.tuned_end_ms = self.end_ms if everything else self.end_ms[tuned]
        self.pitch = notes.pitch if everything else notes.pitch[tuned]
        self.velocity = notes.velocity if everything else notes.velocity[tuned]

    def distance_ms(self, start_tick: npt.ArrayLike, end_tick: npt.ArrayLike) -> IntArray:
        """Whole milliseconds between ticks."""
        return _whole_ms(self.piece.tempo.distance_ms(start_tick, end_tick, compat=self.compat))

    @cached_property
    def pitch_counts(self) -> IntArray:
        """(128,) tuned notes of each pitch."""
        return np.bincount(self.pitch, minlength=128).astype(np.int64)

    @cached_property
    def classes(self) -> int:
        """Distinct instrument classes over all program changes."""
        return len(np.unique(self.piece.programs.program // 8))

    @cached_property
    def notes_per_s(self) -> float:
        """Notes over the time from the first start to the end of the note that starts last."""
        if not len(self.start_ms):
            return 0.0
        notes = self.piece.notes
        seconds = float(self.distance_ms(notes.onset_tick[0], notes.offset_tick[-1])) / 1000
        return len(self.start_ms) / seconds if seconds > 0 else 0.0

    @cached_property
    def _tuned_start_s(self) -> FloatArray:
        return self.tuned_start_ms / 1000

    @cached_property
    def _window_starts_s(self) -> FloatArray:
        """A window start every second from the first onset to the last.

        Seconds are added one by one and compared as binary fractions, as the reference does: on
        files made on a grid, whether an onset on the edge is inside depends on it.
        """
        onset = self.tuned_start_ms
        count = min(-(-int(onset[-1] - onset[0]) // 1000), MAX_WINDOWS) + 1
        steps = np.ones(count)
        steps[0] = self._tuned_start_s[0]
        return np.cumsum(steps)

    def _counts_before(self, index: IntArray) -> npt.NDArray[Any]:
        """(pitches, k) notes of each used pitch among the first ``index[k]`` tuned notes."""
        n, k = len(self.pitch), len(index)
        column, pitches = self._pitch_column
        # The place from which on note i is counted.
        place = np.searchsorted(index, np.arange(n), side="right")
        count = np.bincount(column * (k + 1) + place, minlength=pitches * (k + 1))
        table = count.reshape(pitches, k + 1)[:, :k]
        return np.cumsum(table, axis=1, dtype=np.int16 if n < 2**15 else np.int32)

    @cached_property
    def _pitch_column(self) -> tuple[IntArray, int]:
        used = np.flatnonzero(self.pitch_counts)
        column = np.zeros(128, np.int64)
        column[used] = np.arange(len(used))
        return column[self.pitch], len(used)

    @cached_property
    def _before_windows(self) -> npt.NDArray[Any]:
        starts = np.searchsorted(self._tuned_start_s, self._window_starts_s, side="left")
        return self._counts_before(starts)

    def windows(self, length_s: int) -> npt.NDArray[Any]:
        """(pitches, windows) notes in [s, s + length], s every second from the first onset on.

        The last window is the first that reaches the last onset.
        """
        ends = np.searchsorted(self._tuned_start_s, self._window_starts_s + length_s, side="right")
        count = int(np.searchsorted(ends, len(self.pitch))) + 1
        counted: npt.NDArray[Any] = (
            self._counts_before(ends[:count]) - self._before_windows[:, :count]
        )
        return counted


def _whole_ms(ms: FloatArray) -> IntArray:
    return np.rint(ms).astype(np.int64)


def _entropy(counts: AnyIntArray) -> float:
    """Base-2 entropy of a histogram; 0 for an empty one."""
    used = counts[counts > 0]
    if not len(used):
        return 0.0
    share = used / used.sum()
    return float(-(share * np.log2(share)).sum()) + 0.0


def _within(value: float, limits: Range) -> bool:
    return limits[0] <= value <= limits[1]


def max_programs(m: Measures, limit: int) -> tuple[bool, Value]:
    """Distinct program values over all program changes, at most ``limit``."""
    value = len(np.unique(m.piece.programs.program))
    return value <= limit, value


def max_instruments(m: Measures, limit: int) -> tuple[bool, Value]:
    """Distinct instrument classes over all program changes, at most ``limit``."""
    return m.classes <= limit, m.classes


def total_note_frequency(m: Measures, limits: Range) -> tuple[bool, Value]:
    """Measure notes a second, drums included; no time fails."""
    return m.notes_per_s > 0 and _within(m.notes_per_s, limits), m.notes_per_s


def note_frequency_per_instrument(m: Measures, limits: Range) -> tuple[bool, Value]:
    """Measure the same, divided by the number of instrument classes."""
    value = m.notes_per_s / max(m.classes, 1)
    return value > 0 and _within(value, limits), value


def length(m: Measures, limits: Range) -> tuple[bool, Value]:
    """Seconds from tick 0 to the end of the note that starts last."""
    value = float(m.end_ms[-1]) / 1000 if len(m.end_ms) else 0.0
    return len(m.end_ms) > 0 and _within(value, limits), value


def mean_note_velocity(m: Measures, limits: Range) -> tuple[bool, Value]:
    """Mean velocity of the tuned notes."""
    value = float(m.velocity.mean()) if len(m.velocity) else 0.0
    return len(m.velocity) > 0 and _within(value, limits), value


def mean_note_len(m: Measures, limits: Range) -> tuple[bool, Value]:
    """Mean time from key down to key up of the tuned notes, ms, without the pedal."""
    lengths = m.tuned_end_ms - m.tuned_start_ms
    value = float(lengths.mean()) if len(lengths) else 0.0
    return len(lengths) > 0 and _within(value, limits), value


def silent_interval(m: Measures, limit: float) -> tuple[bool, Value]:
    """Longest gap in seconds in which no key is down, below ``limit``; else the first such gap."""
    if not len(m.start_ms):
        return False, 0.0
    notes = m.piece.notes
    held_until = np.maximum.accumulate(notes.offset_tick[:-1])
    silent = notes.onset_tick[1:] > held_until
    gaps = np.where(silent, m.distance_ms(held_until, notes.onset_tick[1:]), 0) / 1000
    too_long = np.flatnonzero(gaps >= limit)
    if len(too_long):
        return False, float(gaps[too_long[0]])
    return True, float(gaps.max(initial=0.0))


def unique_pitch_count(m: Measures, limit: int) -> tuple[bool, Value]:
    """Distinct pitches of the tuned notes, at least ``limit``."""
    value = int(np.count_nonzero(m.pitch_counts))
    return value >= limit, value


def unique_pitch_count_in_interval(
    m: Measures, settings: tuple[tuple[int, int], ...]
) -> tuple[bool, Value]:
    """Least distinct pitches in any window, for each (limit, window seconds) in turn.

    Value: (window seconds, that least count, where its window starts in seconds) of the first
    setting that fails, or of the last.
    """
    value: Value = (settings[0][1], 0.0, 0.0)
    if not len(m.pitch):
        return False, value
    for limit, length_s in settings:
        counts = np.count_nonzero(m.windows(length_s), axis=0)
        at = int(counts.argmin())
        start_s = float(m.tuned_start_ms[0] + 1000 * at) / 1000
        value = (length_s, int(counts[at]), start_s)
        if counts[at] < limit:
            return False, value
    return True, value


def note_density_in_interval(
    m: Measures, settings: tuple[tuple[float, float, int], ...]
) -> tuple[bool, Value]:
    """Most notes a second, in all and of one pitch, for each (limit, limit, window seconds).

    Value: (window seconds, notes a second, notes a second of one pitch, whole second at which the
    densest window starts) of the first setting that fails, or of the last.
    """
    value: Value = (settings[0][2], 0.0, 0.0, 0.0)
    if not len(m.pitch):
        return False, value
    for most, most_of_pitch, length_s in settings:
        windows = m.windows(length_s)
        totals = windows.sum(axis=0, dtype=np.int64)
        at = int(totals.argmax())
        total, of_pitch = int(totals[at]), int(windows.max())
        start_s = int(m.tuned_start_ms[0]) // 1000 + at
        value = (length_s, total / length_s, of_pitch / length_s, start_s)
        if total > most * length_s or of_pitch > most_of_pitch * length_s:
            return False, value
    return True, value


def note_timing_entropy(m: Measures, least: Range) -> tuple[bool, Value]:
    """Entropy of note lengths in tens of ms and of the distances between onsets in ms.

    Both at least the two numbers of the setting. The first note's length does not count (as in the
    reference), lengths end at 5 s.
    """
    if not len(m.pitch):
        return False, (0.0, 0.0)
    lengths = (m.tuned_end_ms - m.tuned_start_ms)[1:]
    tens = np.clip(np.rint(lengths / 10), 0, _LONGEST_MS // 10).astype(np.int64)
    distances = np.diff(m.tuned_start_ms)
    value = (
        _entropy(np.bincount(tens)) if len(tens) else 0.0,
        _entropy(np.unique(distances, return_counts=True)[1]),
    )
    return value[0] >= least[0] and value[1] >= least[1], value


def note_pitch_entropy(m: Measures, least: float) -> tuple[bool, Value]:
    """Entropy of the pitches of the tuned notes."""
    value = _entropy(m.pitch_counts)
    return len(m.pitch) > 0 and value >= least, value


def repetitive_content(m: Measures, setting: tuple[float, int, float]) -> tuple[bool, Value]:
    """Largest divergence between the pitch histograms of equal parts, above a tolerance.

    Setting: (minutes from which it applies, parts, tolerance). A shorter piece passes with 0.
    """
    minutes, parts, tolerance = setting
    if not len(m.pitch):
        return False, 0.0
    span = int(m.tuned_start_ms[-1] - m.tuned_start_ms[0])
    if span < minutes * 60_000 or not span:
        return True, 0.0
    # An onset on a border belongs to the later part, and the very last onset falls out, as far as
    # binary fractions of a second go: the reference's way.
    start_s = m.tuned_start_ms / 1000
    edges = start_s[0] + (start_s[-1] - start_s[0]) / parts * np.arange(parts + 1)
    part = np.searchsorted(edges, start_s, side="right") - 1
    counted = part < parts
    table = np.bincount(part[counted] * 128 + m.pitch[counted], minlength=parts * 128)
    table = table.reshape(parts, 128)
    table = table[table.any(axis=1)]
    share = table / table.sum(axis=1, keepdims=True)
    share[share == 0] = _ABSENT
    value = 0.0
    for i in range(len(share)):
        for j in range(i + 1, len(share)):
            value = max(value, abs(float((share[i] * np.log2(share[i] / share[j])).sum())))
    return value > tolerance, value


@dataclass(frozen=True)
class Filters:
    """Settings of every rule; None measures without refusing.

    The defaults are those of the public configuration, the preset ``pretrain``.

    Attributes:
        max_programs, max_instruments: at most.
        total_note_frequency, note_frequency_per_instrument: notes a second, least and most.
        length: seconds, least and most.
        mean_note_velocity: least and most.
        mean_note_len: ms, least and most; off by default.
        silent_interval: seconds, below.
        unique_pitch_count: at least.
        unique_pitch_count_in_interval: (least, window seconds), ...
        note_density_in_interval: (most, most of one pitch, window seconds), ...
        note_timing_entropy: least of lengths, least of onset distances.
        note_pitch_entropy: at least.
        repetitive_content: (minutes from which it applies, parts, tolerance).

    Raises:
        UsageError: a setting has the wrong shape, or a window is not a whole number of seconds.
    """

    max_programs: int | None = 12
    max_instruments: int | None = 7
    total_note_frequency: Range | None = (1.5, 30.0)
    note_frequency_per_instrument: Range | None = (1.0, 25.0)
    length: Range | None = (30.0, 7200.0)
    mean_note_velocity: Range | None = (20.0, 105.0)
    mean_note_len: Range | None = None
    silent_interval: float | None = 20.0
    unique_pitch_count: int | None = 12
    unique_pitch_count_in_interval: tuple[tuple[int, int], ...] | None = (
        (5, 30),
        (8, 60),
        (10, 120),
    )
    note_density_in_interval: tuple[tuple[float, float, int], ...] | None = (
        (60, 15, 3),
        (45, 10, 5),
        (40, 8, 10),
        (30, 6, 45),
    )
    note_timing_entropy: Range | None = (2.5, 0.0)
    note_pitch_entropy: float | None = 3.0
    repetitive_content: tuple[float, int, float] | None = (20.0, 5, 0.2)

    def __post_init__(self) -> None:
        for name, rows in (
            ("unique_pitch_count_in_interval", self.unique_pitch_count_in_interval),
            ("note_density_in_interval", self.note_density_in_interval),
        ):
            for row in rows or ():
                if row[-1] != int(row[-1]) or row[-1] < 1:
                    raise UsageError(f"{name}: a window lasts whole seconds, not {row[-1]}")


CHECKS: Mapping[str, Callable[[Measures, Any], tuple[bool, Value]]] = {
    function.__name__: function
    for function in (
        max_programs,
        max_instruments,
        total_note_frequency,
        note_frequency_per_instrument,
        length,
        mean_note_velocity,
        mean_note_len,
        silent_interval,
        unique_pitch_count,
        unique_pitch_count_in_interval,
        note_density_in_interval,
        note_timing_entropy,
        note_pitch_entropy,
        repetitive_content,
    )
}
"""Rule by name, in the order in which they refuse."""

_MEASURED_ONLY: Mapping[str, Any] = {
    **{field.name: field.default for field in fields(Filters)},
    "mean_note_len": (0.0, math.inf),
}

OFF = Filters(**dict.fromkeys(CHECKS))
PRESETS: Mapping[str, Filters] = {
    "pretrain": Filters(),
    # The public "heavy" settings could not be seen; these are ours: nothing that a person would
    # not play, nothing too short to have a form.
    "finetune": Filters(
        max_programs=2,
        max_instruments=1,
        total_note_frequency=(2.0, 25.0),
        length=(45.0, 3600.0),
        mean_note_velocity=(30.0, 100.0),
        mean_note_len=(60.0, 3000.0),
        silent_interval=10.0,
        unique_pitch_count=24,
        unique_pitch_count_in_interval=((6, 30), (10, 60), (14, 120)),
        note_density_in_interval=((45, 12, 3), (38, 9, 5), (34, 7, 10), (26, 5, 45)),
        note_timing_entropy=(4.0, 2.0),
        note_pitch_entropy=3.8,
    ),
    "none": OFF,
}


def check(
    piece: Piece, filters: Filters, compat: Compat | None = None
) -> tuple[str, dict[str, Value]]:
    """Every rule over one piece; a rule that is off is measured as well.

    Returns:
        the first rule that refuses it, or an empty string, and the measured value of every rule.
    """
    measures = Measures(piece, compat)
    refused, values = "", {}
    for name, function in CHECKS.items():
        setting = getattr(filters, name)
        passes, values[name] = function(
            measures, _MEASURED_ONLY[name] if setting is None else setting
        )
        if not passes and setting is not None and not refused:
            refused = name
    return refused, values


def with_setting(filters: Filters, text: str) -> Filters:
    """Return filters with one setting replaced, written ``name=value``.

    Numbers of one setting are separated by colons, settings of a windowed rule by commas; ``off``
    switches a rule off: ``length=30:7200``, ``unique_pitch_count_in_interval=5:30,8:60``.

    Raises:
        UsageError: there is no such rule, or its setting has another shape.
    """
    name, equals, value = text.partition("=")
    name = name.strip()
    if name not in CHECKS or not equals:
        raise UsageError(f"`filters` {text}: write NAME=VALUE; names: {', '.join(CHECKS)}")
    if value.strip() == "off":
        return replace(filters, **{name: None})
    model = _MEASURED_ONLY[name]
    try:
        rows = [tuple(float(word) for word in row.split(":")) for row in value.split(",")]
    except ValueError:
        raise UsageError(f"`filters` {text}: {value!r} is not off, nor numbers") from None
    nested = isinstance(model, tuple) and isinstance(model[0], tuple)
    width = len(model[0]) if nested else len(model) if isinstance(model, tuple) else 1
    if any(len(row) != width for row in rows) or (len(rows) > 1 and not nested):
        raise UsageError(f"`filters` {text}: {name} looks like {_written(model)}")
    plain = [tuple(int(x) if x == int(x) else x for x in row) for row in rows]
    new: Any = tuple(plain) if nested else plain[0] if width > 1 else plain[0][0]
    return replace(filters, **{name: new})


def _written(setting: Any) -> str:
    if not isinstance(setting, tuple):
        return f"{setting:g}"
    inside = "," if isinstance(setting[0], tuple) else ":"
    return inside.join(_written(part) for part in setting)
