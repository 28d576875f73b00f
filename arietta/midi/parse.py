"""The byte level of a standard MIDI file, in Python and numpy.

Most bytes of a performance belong to channel messages with two data bytes (notes, controllers,
pitch bend). In a run of those, bytes below 128 come strictly in threes: the last byte of the delta
time, then the two data bytes; everything else has its high bit set. So the positions of all low
bytes, cut into rows of three, *are* the messages, whatever the delta lengths and with or without
running status. ``_Rows`` checks such rows for the whole file at once. The loop in ``parse`` reads
single events (everything else, and the first message of a run) and skips from one run to the next.
Errors are only ever raised by that loop, in file order.

``_fastread.c`` does the same byte by byte; tests hold the two to equal results and equal errors.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, NoReturn

import numpy as np
import numpy.typing as npt

from arietta.errors import MidiError
from arietta.midi.notes import (
    ExtraTable,
    Int32Array,
    MessageList,
    NoteTable,
    PedalTable,
    ProgramTable,
    Uint8Array,
)
from arietta.midi.tempo import IntArray

MAX_TICK = 2**40
"""Latest tick of an event: 36 years at 480 ticks a quarter and 120 quarters a minute. Up to here
milliseconds at the slowest tempo still fit 64-bit integers."""

SUSTAIN = 64
META_TEXT, META_COPYRIGHT, META_END_OF_TRACK, META_TEMPO = 0x01, 0x02, 0x2F, 0x51

_CUT_OFF = "an event runs past the end of its track"


class RawColumns(NamedTuple):
    """What the file says, before defaults are filled in; tables are sorted as in ``Piece``."""

    division: int
    tempo_tick: IntArray
    tempo_us: IntArray
    notes: NoteTable
    pedals: PedalTable
    programs: ProgramTable
    extra: ExtraTable
    text: tuple[tuple[int, str], ...]


def _fail(reason: str, offset: int) -> NoReturn:
    raise MidiError(reason, byte_offset=offset)


def _file_span(data: bytes) -> tuple[int, int]:
    """Where the standard MIDI file lies: the whole, or the data chunk of a RIFF RMID container."""
    n = len(data)
    if n == 0:
        _fail("the file is empty", 0)
    if data[:4] != b"RIFF" or data[8:12] != b"RMID":
        return 0, n
    at = 12
    while at + 8 <= n:
        size = int.from_bytes(data[at + 4 : at + 8], "little")
        if data[at : at + 4] == b"data":
            return at + 8, min(n, at + 8 + size)
        at += 8 + size + (size & 1)
    _fail("a RIFF container without a MIDI data chunk", n)


def _track_spans(data: bytes) -> tuple[int, list[tuple[int, int]]]:
    """Division word, and the (start, end) of every track's events; alien chunks are skipped."""
    at, n = _file_span(data)
    if data[at : min(at + 4, n)] != b"MThd":
        _fail("not a MIDI file: it does not start with MThd", at)
    if n - at < 14:
        _fail("the header is cut off", n)
    header_size = int.from_bytes(data[at + 4 : at + 8], "big")
    if header_size < 6:
        _fail("the header is shorter than six bytes", at + 4)
    count = int.from_bytes(data[at + 10 : at + 12], "big")
    division = int.from_bytes(data[at + 12 : at + 14], "big", signed=True)
    if division == 0 or (division < 0 and division & 0xFF == 0):
        _fail("the header gives no ticks per quarter or frame", at + 12)
    spans: list[tuple[int, int]] = []
    at += 8 + header_size
    while len(spans) < count:
        if n - at < 8:
            _fail(f"the header promises {count} tracks, the file holds {len(spans)}", n)
        size = int.from_bytes(data[at + 4 : at + 8], "big")
        if size > n - at - 8:
            _fail(f"a chunk claims {size} bytes, {n - at - 8} are left", at)
        if data[at : at + 4] == b"MTrk":
            spans.append((at + 8, at + 8 + size))
        at += 8 + size
    return division, spans


# Number of data bytes after a status byte from 0x80 on; -1 is undefined. System-exclusive and meta
# events carry their own length.
_DATA_BYTES = [2] * 64 + [1] * 32 + [2] * 16 + [0, 1, 2, 1, -1, -1, 0, 0, 0, -1, 0, 0, 0, -1, 0, 0]

# For the byte after a delta time: how far behind the delta's end the first data byte then lies. 1
# under running status (the byte is that data byte), 2 after a status byte with two data bytes, 0
# (never met) after any other.
_FIRST_DATA_AT = np.array(
    [1] * 128 + [2 if n == 2 and i < 112 else 0 for i, n in enumerate(_DATA_BYTES)], np.int64
)


class _Rows:
    """Positions of the low bytes of a file, and how far valid rows of three reach."""

    def __init__(self, data: bytes) -> None:
        self.bytes = np.frombuffer(data, np.uint8)
        self.low: IntArray = np.flatnonzero(self.bytes < 0x80)
        self._stops: list[IntArray | None] = [None, None, None]

    def index(self, position: int) -> int:
        """Number of low bytes before a position."""
        return int(self.low.searchsorted(position))

    def count(self, first: int, limit: int) -> int:
        """How many valid rows start at low byte ``first`` and end before low byte ``limit``.

        The caller has made sure that a message ends just before row ``first``.
        """
        phase, row = first % 3, first // 3
        stops = self._stops[phase]
        if stops is None:
            stops = self._stops[phase] = self._find_stops(phase)
        return int(min(stops[stops.searchsorted(row)] - row, (limit - first) // 3))

    def last_status(self, first: int, rows: int) -> int:
        """The last status byte that stands in these rows, -1 if all have running status."""
        delta_end, data = self.low[first : first + 3 * rows].reshape(-1, 3)[:, :2].T
        explicit = np.flatnonzero(data - delta_end == 2)
        return int(self.bytes[delta_end[explicit[-1]] + 1]) if len(explicit) else -1

    def _find_stops(self, phase: int) -> IntArray:
        """Numbers of the rows that are no valid message, and of the row after the last."""
        rows = (len(self.low) - phase) // 3
        delta_end, data1, data2 = self.low[phase : phase + 3 * rows].reshape(rows, 3).T
        bad = data1 - delta_end != _FIRST_DATA_AT[self.bytes[delta_end + 1]]
        bad |= data2 - data1 != 1
        # Longer delta times than the four bytes of the standard are left to the careful loop.
        bad[1:] |= delta_end[1:] - data2[:-1] > 4
        return np.append(np.flatnonzero(bad), rows)


@dataclass(slots=True)
class _Special:
    """An event other than a two-data-byte channel message."""

    position: int
    lead: int
    """Ticks since the start of the track, without the rows before it."""
    rows_before: int
    track: int
    data: bytes
    """The message, its length field taken out."""


class _Runs:
    """Runs of rows found so far: parallel lists, one entry a run."""

    def __init__(self) -> None:
        self.low_index: list[int] = []
        self.rows: list[int] = []
        self.lead: list[int] = []
        self.status: list[int] = []
        self.track: list[int] = []


def parse(data: bytes) -> RawColumns:
    """The columns of a standard MIDI file.

    Raises:
        MidiError: the file is malformed; with reason and byte offset.
    """
    division, spans = _track_spans(data)
    found = _Rows(data)
    runs, specials = _Runs(), list[_Special]()
    row_total = 0
    track_row = [0]  # rows before each track
    track_lead: list[int] = []
    for track, (start, end) in enumerate(spans):
        at, lead, running = start, 0, -1
        limit = found.index(end) if end > start else 0
        run_first = run_rows = 0  # the run whose last status is ``running`` unless it has its own
        while at < end:
            # Delta time.
            delta = 0
            while True:
                byte = data[at]
                at += 1
                delta = delta << 7 | byte & 0x7F
                if delta > MAX_TICK:
                    delta = MAX_TICK + 1
                if at >= end:
                    _fail(_CUT_OFF, end)
                if byte < 0x80:
                    break
            lead = min(lead + delta, MAX_TICK + 1)
            delta_end, event = at - 1, at
            # Status byte.
            status = data[at]
            if status < 0x80:
                if run_rows:
                    later = found.last_status(run_first, run_rows)
                    running = later if later >= 0 else running
                    run_rows = 0
                if running < 0:
                    _fail("a data byte without a status byte before it", at)
                status = running
                if status >= 0xF0 and _DATA_BYTES[status - 128] < 1:
                    _fail("running status after a system message", at)
            else:
                at += 1
                if status != 0xFF:
                    running, run_rows = status, 0
            # Channel and short system messages.
            if status not in (0xF0, 0xF7, 0xFF):
                size = _DATA_BYTES[status - 128]
                if size < 0:
                    _fail(f"undefined status byte 0x{status:02X}", event)
                if size > end - at:
                    _fail(_CUT_OFF, end)
                for i in range(at, at + size):
                    if data[i] > 127:
                        _fail(f"data byte 0x{data[i]:02X} is above 127", i)
                if size == 2 and status < 0xF0:
                    first = found.index(delta_end)
                    run_first = first + 3
                    run_rows = found.count(run_first, limit)
                    runs.low_index.append(first)
                    runs.rows.append(run_rows + 1)
                    runs.lead.append(lead)
                    runs.status.append(status)
                    runs.track.append(track)
                    row_total += run_rows + 1
                    at = int(found.low[run_first + 3 * run_rows - 1]) + 1
                    continue
                if status < 0xF0:
                    message = bytes((status, data[at]))
                    specials.append(_Special(event, lead, row_total, track, message))
                at += size
                continue
            # Meta and system-exclusive events.
            head = at
            if status == 0xFF:
                at += 1
            size = 0
            while True:
                if at >= end:
                    _fail(_CUT_OFF, end)
                byte = data[at]
                at += 1
                size = min(size << 7 | byte & 0x7F, MAX_TICK)
                if byte < 0x80:
                    break
            if size > end - at:
                _fail(_CUT_OFF, end)
            message = b"\xff" + data[head : head + 1] if status == 0xFF else data[head - 1 : head]
            message += data[at : at + size]
            at += size
            if status == 0xFF and message[1] == META_TEMPO and size < 3:
                _fail("a tempo of fewer than three bytes", event)
            specials.append(_Special(event, lead, row_total, track, message))
        track_row.append(row_total)
        track_lead.append(lead)
    return _columns(division, spans, found, runs, specials, track_row, track_lead)


class _Messages(NamedTuple):
    """The two-data-byte channel messages of a file, in file order; (n,) columns."""

    tick: IntArray
    travelled: IntArray  # (n + 1,): ticks from the start of the track that rows before here add
    status: Uint8Array
    data1: Uint8Array
    data2: Uint8Array
    track: Int32Array
    position: IntArray


def _messages(found: _Rows, runs: _Runs, track_row: IntArray) -> _Messages:
    """Read the rows of every run."""
    if not runs.rows:
        none, small = np.zeros(0, np.int64), np.zeros(0, np.uint8)
        return _Messages(
            none, np.zeros(1, np.int64), small, small, small, np.zeros(0, np.int32), none
        )
    raw, low = found.bytes, found.low
    cells = [low[j : j + 3 * n] for j, n in zip(runs.low_index, runs.rows, strict=True)]
    rows = cells[0] if len(cells) == 1 else np.concatenate(cells)
    delta_end, data1, data2 = np.ascontiguousarray(rows.reshape(-1, 3).T)
    run_rows = np.array(runs.rows, np.int64)
    first = np.cumsum(run_rows) - run_rows
    # Delta times, seven bits a byte from the last byte on. Those of the first rows are part of the
    # runs' leads.
    delta = raw[delta_end].astype(np.int64)
    gap = delta_end[1:] - data2[:-1]
    gap[first[1:] - 1] = 1
    long, place = np.flatnonzero(gap > 1) + 1, 1
    while len(long):
        delta[long] |= (raw[delta_end[long] - place] & 0x7F).astype(np.int64) << 7 * place
        place += 1
        long = long[gap[long - 1] > place]
    delta[first] = 0
    status = raw[delta_end + 1]
    status[first] = runs.status
    explicit = status >= 0x80
    if not explicit.all():
        status = status[np.maximum.accumulate(np.where(explicit, np.arange(len(status)), 0))]
    travelled = np.zeros(len(delta) + 1, np.int64)
    np.cumsum(delta, out=travelled[1:])
    track = np.repeat(np.array(runs.track, np.int32), run_rows)
    if runs.track[-1] > 0:
        before = travelled[track_row[:-1]]
        travelled[1:] -= before[track]
    tick = travelled[1:] + np.repeat(np.array(runs.lead, np.int64), run_rows)
    return _Messages(tick, travelled, status, raw[data1], raw[data2], track, delta_end)


def _columns(
    division: int,
    spans: list[tuple[int, int]],
    found: _Rows,
    runs: _Runs,
    specials: list[_Special],
    track_row: list[int],
    track_lead: list[int],
) -> RawColumns:
    """Gather what the scan found into sorted tables."""
    rows_before = np.array(track_row, np.int64)
    rows = _messages(found, runs, rows_before)
    last = np.where(np.diff(rows_before) > 0, rows.travelled[rows_before[1:]], 0)
    for i in np.flatnonzero(last + np.array(track_lead, np.int64) > MAX_TICK)[:1]:
        _fail("a track lasts longer than 2**40 ticks", spans[i][0])
    for special in specials:
        if special.rows_before > track_row[special.track]:
            special.lead += int(rows.travelled[special.rows_before])
    specials.sort(key=lambda special: special.lead)  # stable: file order at one tick

    kind = rows.status & 0xF0
    is_note = kind <= 0x90
    is_pedal = (kind == 0xB0) & (rows.data1 == SUSTAIN)
    pedal = _in_order(rows.tick, np.flatnonzero(is_pedal))
    programs = [s for s in specials if s.data[0] & 0xF0 == 0xC0]
    tempos = [s for s in specials if s.data[:2] == b"\xff\x51"]
    text = [s for s in specials if s.data[:2] in (b"\xff\x01", b"\xff\x02")]
    return RawColumns(
        division,
        np.array([s.lead for s in tempos], np.int64),
        np.array([int.from_bytes(s.data[2:5], "big") for s in tempos], np.int64),
        _pair(rows, np.flatnonzero(is_note)),
        PedalTable(
            rows.tick[pedal],
            rows.data2[pedal],
            rows.status[pedal] & np.uint8(0x0F),
            rows.track[pedal],
        ),
        ProgramTable(
            np.array([s.lead for s in programs], np.int64),
            np.array([s.data[1] for s in programs], np.uint8),
            np.array([s.data[0] & 0x0F for s in programs], np.uint8),
            np.array([s.track for s in programs], np.int32),
        ),
        _extra(rows, np.flatnonzero(~(is_note | is_pedal)), specials),
        tuple((s.lead, s.data[2:].decode("latin-1")) for s in text),
    )


def _in_order(tick: IntArray, rows: IntArray) -> IntArray:
    """The same rows, stably by tick."""
    mine = tick[rows]
    if np.all(mine[1:] >= mine[:-1]):
        return rows
    return rows[np.argsort(mine, kind="stable")]


def _extra(rows: _Messages, chosen: IntArray, specials: list[_Special]) -> ExtraTable:
    """Everything that has no table of its own."""
    others = [
        s
        for s in specials
        if s.data[0] & 0xF0 != 0xC0 and s.data[:2] not in (b"\xff\x51", b"\xff\x2f")
    ]
    tick = np.concatenate((rows.tick[chosen], np.array([s.lead for s in others], np.int64)))
    track = np.concatenate((rows.track[chosen], np.array([s.track for s in others], np.int32)))
    position = np.concatenate(
        (rows.position[chosen], np.array([s.position for s in others], np.int64))
    )
    packed = np.stack((rows.status[chosen], rows.data1[chosen], rows.data2[chosen]), axis=1)
    source = packed.tobytes() + b"".join(s.data for s in others)
    length = np.concatenate(
        (np.full(len(chosen), 3, np.int64), np.array([len(s.data) for s in others], np.int64))
    )
    start = np.cumsum(length) - length
    order = np.lexsort((position, tick))
    length = length[order]
    bounds = np.zeros(len(order) + 1, np.int64)
    np.cumsum(length, out=bounds[1:])
    # Byte i of the result comes from its own message's start plus its place in that message.
    gather = np.repeat(start[order] - bounds[:-1], length) + np.arange(bounds[-1])
    blob = np.frombuffer(source, np.uint8)[gather].tobytes()
    return ExtraTable(tick[order], track[order], MessageList(blob, bounds))


def _pair(rows: _Messages, events: IntArray) -> NoteTable:
    """Make notes of the note-on and note-off rows ``events``.

    Sorted by key (track, channel, pitch), nearly all of them alternate between on and off, so every
    on belongs to the off behind it. Keys that do not are left to ``_pair_slowly``.
    """
    status, pitch = rows.status[events], rows.data1[events]
    is_on = (status >= 0x90) & (rows.data2[events] > 0)
    key = (status & 0x0F).astype(np.uint16) << 7 | pitch
    order = np.argsort(key, kind="stable")  # file order inside a key, so its tracks stay apart
    row, key, on = events[order], key[order], is_on[order]
    tick, track = rows.tick[row], rows.track[row]
    starts = np.ones(len(row) + 1, np.bool_)  # the first event of its key; one more at the end
    starts[1:-1] = (key[1:] != key[:-1]) | (track[1:] != track[:-1])
    odd = starts[:-1] & ~on
    odd[1:] |= ~starts[1:-1] & ((on[1:] == on[:-1]) | (~on[1:] & (tick[1:] == tick[:-1])))
    if odd.any():
        group = np.cumsum(starts[:-1]) - 1
        irregular = np.zeros(group[-1] + 1, np.bool_)
        irregular[group[odd]] = True
        slow = irregular[group]
        extra_on, extra_off = _pair_slowly(row[slow], on[slow], tick[slow], group[slow])
        pair_on = np.concatenate((row[on & ~starts[1:] & ~slow], extra_on))
        pair_off = np.concatenate((row[np.flatnonzero(on & ~starts[1:] & ~slow) + 1], extra_off))
        completed = np.lexsort((pair_on, pair_off))
        pair_on, pair_off = pair_on[completed], pair_off[completed]
    else:
        first = np.flatnonzero(on & ~starts[1:])
        # Every off closes one note: laying the ons out at their offs' rows sorts them.
        by_off = np.full(len(rows.tick), -1, np.int64)
        by_off[row[first + 1]] = row[first]
        pair_off = np.flatnonzero(by_off >= 0)
        pair_on = by_off[pair_off]
    onset = rows.tick[pair_on]
    order = np.argsort(onset, kind="stable")
    pair_on, pair_off = pair_on[order], pair_off[order]
    return NoteTable(
        onset[order],
        rows.tick[pair_off],
        rows.data1[pair_on],
        rows.data2[pair_on],
        rows.status[pair_on] & np.uint8(0x0F),
        rows.track[pair_on],
    )


def _pair_slowly(
    row: IntArray, on: npt.NDArray[np.bool_], tick: IntArray, group: IntArray
) -> tuple[IntArray, IntArray]:
    """The pairing rule of specification A.1 word for word: rows of the ons and of their offs."""
    ons: list[int] = []
    offs: list[int] = []
    pending: list[tuple[int, int]] = []
    key = -1
    for r, is_on, t, k in zip(
        row.tolist(), on.tolist(), tick.tolist(), group.tolist(), strict=True
    ):
        if k != key:
            pending, key = [], k
        if is_on:
            pending.append((t, r))
            continue
        early = [start for when, start in pending if when != t]
        ons += early
        offs += [r] * len(early)
        pending = [one for one in pending if one[0] == t] if early else []
    return np.array(ons, np.int64), np.array(offs, np.int64)
