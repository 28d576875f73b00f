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

from array import array
from typing import NamedTuple, NoReturn

import numpy as np
import numpy.typing as npt

from arietta.arrays import BoolArray, Int32Array, IntArray, Uint8Array
from arietta.errors import MidiError
from arietta.midi.notes import ExtraTable, MessageList, NoteTable, PedalTable, ProgramTable

MAX_TICK = 2**40
"""Latest tick of an event: 36 years at 480 ticks a quarter and 120 quarters a minute. Up to here
milliseconds at the slowest tempo still fit 64-bit integers."""

SUSTAIN = 64
FIRST_MODE = 120
"""Controllers from here on are channel mode messages."""
_TEMPO, _END = b"\xff\x51", b"\xff\x2f"
# Kinds of special events as ``_Specials`` numbers them.
_KIND_TEXT, _KIND_COPYRIGHT, _KIND_END_OF_TRACK, _KIND_TEMPO = 0x101, 0x102, 0x12F, 0x151

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
    unended: int
    """Note-ons that wait for their note-off at the end of their track."""
    modes: int
    """Channel mode messages: controllers 120 to 127."""
    early_ends: int
    """Ends of track with bytes of their track behind them."""


def decode_text(data: bytes) -> str:
    """Return the text of a meta event: UTF-8 where it is valid, else Latin-1."""
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return data.decode("latin-1")


def encode_text(text: str) -> bytes:
    """Return the bytes of a text in UTF-8, as ``decode_text`` reads it."""
    return text.encode("utf-8", "replace")


def _fail(reason: str, offset: int) -> NoReturn:
    raise MidiError(reason, byte_offset=offset)


def file_span(data: bytes) -> tuple[int, int]:
    """Where the standard MIDI file lies: the whole, or the data chunk of a RIFF RMID container."""
    n = len(data)
    if n == 0:
        _fail("the file is empty", 0)
    if n >= 2**31:
        _fail("the file is larger than 2 GiB", 0)
    if data[:4] != b"RIFF" or data[8:12] != b"RMID":
        return 0, n
    at = 12
    while at + 8 <= n:
        size = int.from_bytes(data[at + 4 : at + 8], "little")
        if data[at : at + 4] == b"data":
            return at + 8, min(n, at + 8 + size)
        at += 8 + size + (size & 1)
    _fail("a RIFF container without a MIDI data chunk", n)


def track_spans(data: bytes) -> tuple[int, list[tuple[int, int]]]:
    """Division word, and the (start, end) of every track's events; alien chunks are skipped.

    Every reader finds the tracks with this walk: as many as the header promises.

    Raises:
        MidiError: header or chunks are malformed.
    """
    at, n = file_span(data)
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
DATA_BYTES = [2] * 64 + [1] * 32 + [2] * 16 + [0, 1, 2, 1, -1, -1, 0, 0, 0, -1, 0, 0, 0, -1, 0, 0]

# For the byte after a delta time: how far behind the delta's end the first data byte then lies. 1
# under running status (the byte is that data byte), 2 after a status byte with two data bytes, 0
# (never met) after any other.
_FIRST_DATA_AT = np.array(
    [1] * 128 + [2 if n == 2 and i < 112 else 0 for i, n in enumerate(DATA_BYTES)], np.int64
)


class _Rows:
    """Positions of the low bytes of a file, and how far valid rows of three reach."""

    def __init__(self, data: bytes) -> None:
        self.bytes = np.frombuffer(data, np.uint8)
        self.low = np.flatnonzero(self.bytes < 0x80).astype(np.int32)
        self._phases: list[tuple[bytes, IntArray] | None] = [None, None, None]

    def index(self, position: int) -> int:
        """Return the number of low bytes before a position."""
        return int(self.low.searchsorted(np.int32(position)))

    def count(self, first: int, limit: int) -> int:
        """How many valid rows start at low byte ``first`` and end before low byte ``limit``.

        The caller has made sure that a message ends just before row ``first``.
        """
        row, phase = divmod(first, 3)
        known = self._phases[phase]
        if known is None:
            known = self._phases[phase] = self._check(phase)
        valid, stops = known
        if valid[row : row + 1] != b"\1":
            return 0
        return min(int(stops[stops.searchsorted(row)]) - row, (limit - first) // 3)

    def last_status(self, first: int, rows: int) -> int:
        """Return the last status byte that stands in these rows, -1 if all have running status."""
        delta_end, data = self.low[first : first + 3 * rows].reshape(-1, 3)[:, :2].T
        explicit = np.flatnonzero(data - delta_end == 2)
        return int(self.bytes[delta_end[explicit[-1]] + 1]) if len(explicit) else -1

    def _check(self, phase: int) -> tuple[bytes, IntArray]:
        """Whether each row is a valid message; the numbers of those that are not, and the end."""
        rows = (len(self.low) - phase) // 3
        delta_end, data1, data2 = self.low[phase : phase + 3 * rows].reshape(rows, 3).T
        bad = data1 - delta_end != _FIRST_DATA_AT.take(self.bytes.take(delta_end + 1))
        bad |= data2 - data1 != 1
        # Longer delta times than the four bytes of the standard are left to the careful loop.
        bad[1:] |= delta_end[1:] - data2[:-1] > 4
        return (~bad).tobytes(), np.append(np.flatnonzero(bad), rows)


class _Runs:
    """Runs of rows found so far: parallel lists, one entry a run."""

    def __init__(self) -> None:
        self.low_index = array("q")
        self.rows = array("q")
        self.lead = array("q")
        """Ticks since the start of the track, without rows but with the run's first delta."""
        self.status = array("B")
        """Of the first row."""
        self.track = array("i")


class _Specials:
    """Other events found so far: parallel lists, one entry an event."""

    def __init__(self) -> None:
        self.position = array("q")
        self.lead = array("q")
        """Ticks since the start of the track, without the rows before the event."""
        self.rows_before = array("q")
        self.track = array("i")
        self.kind = array("h")
        """Status byte, for meta events 256 and their type."""
        self.size = array("q")
        self.messages = bytearray()
        """End to end, their length fields taken out."""


def parse(data: bytes) -> RawColumns:
    """Return the columns of a standard MIDI file.

    Raises:
        MidiError: the file is malformed; with reason and byte offset.
    """
    division, spans = track_spans(data)
    found = _Rows(data)
    runs, specials = _Runs(), _Specials()
    row_total = early_ends = 0
    track_row, track_lead = array("q", [0]), array("q")  # rows before each track; its lead
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
                if status >= 0xF0 and DATA_BYTES[status - 128] < 1:
                    _fail("running status after a system message", at)
            else:
                at += 1
                if status != 0xFF:
                    running, run_rows = status, 0
            # Channel and short system messages.
            if status not in (0xF0, 0xF7, 0xFF):
                size = DATA_BYTES[status - 128]
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
                    at = int(found.low[run_first + 3 * run_rows - 1]) + 1 if run_rows else at + 2
                    continue
                if status < 0xF0:
                    specials.position.append(event)
                    specials.lead.append(lead)
                    specials.rows_before.append(row_total)
                    specials.track.append(track)
                    specials.kind.append(status)
                    specials.size.append(2)
                    specials.messages += bytes((status, data[at]))
                at += size
                continue
            # Meta and system-exclusive events.
            head = status.to_bytes()
            if status == 0xFF:
                head = data[at - 1 : at + 1]
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
            if head == _END and size < end - at:
                early_ends += 1
            if size < 3 and head == _TEMPO:
                _fail("a tempo of fewer than three bytes", event)
            specials.position.append(event)
            specials.lead.append(lead)
            specials.rows_before.append(row_total)
            specials.track.append(track)
            specials.kind.append(256 + head[1] if status == 0xFF else status)
            specials.size.append(len(head) + size)
            specials.messages += head
            specials.messages += data[at : at + size]
            at += size
        track_row.append(row_total)
        track_lead.append(lead)
    return _columns(division, spans, found, runs, specials, track_row, track_lead, early_ends)


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
    if not len(runs.rows):
        none, small = np.zeros(0, np.int64), np.zeros(0, np.uint8)
        return _Messages(
            none, np.zeros(1, np.int64), small, small, small, np.zeros(0, np.int32), none
        )
    raw, low = found.bytes, found.low
    cells = [low[j : j + 3 * n] for j, n in zip(runs.low_index, runs.rows, strict=True)]
    rows = cells[0] if len(cells) == 1 else np.concatenate(cells)
    delta_end, data1, data2 = rows.reshape(-1, 3).T.astype(np.int64, order="C")
    run_rows = np.frombuffer(runs.rows, np.int64)
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
    status[first] = np.frombuffer(runs.status, np.uint8)
    explicit = status >= 0x80
    if not explicit.all():
        status = status[np.maximum.accumulate(np.where(explicit, np.arange(len(status)), 0))]
    travelled = np.zeros(len(delta) + 1, np.int64)
    np.cumsum(delta, out=travelled[1:])
    track = np.repeat(np.frombuffer(runs.track, np.int32), run_rows)
    if runs.track[-1] > 0:
        before = travelled[track_row[:-1]]
        travelled[1:] -= before[track]
    tick = travelled[1:] + np.repeat(np.frombuffer(runs.lead, np.int64), run_rows)
    return _Messages(tick, travelled, status, raw[data1], raw[data2], track, delta_end)


def _columns(
    division: int,
    spans: list[tuple[int, int]],
    found: _Rows,
    runs: _Runs,
    specials: _Specials,
    track_row: array[int],
    track_lead: array[int],
    early_ends: int,
) -> RawColumns:
    """Gather what the scan found into sorted tables."""
    first_row = np.frombuffer(track_row, np.int64)
    rows = _messages(found, runs, first_row)
    last = np.frombuffer(track_lead, np.int64) + np.where(
        first_row[1:] > first_row[:-1], rows.travelled[first_row[1:]], 0
    )
    if last.size and last.max() > MAX_TICK:
        _fail("a track lasts longer than 2**40 ticks", spans[int(np.argmax(last > MAX_TICK))][0])
    others = _others(specials, rows.travelled, first_row)

    kind = rows.status & 0xF0
    is_note = kind <= 0x90
    is_pedal = (kind == 0xB0) & (rows.data1 == SUSTAIN)
    pedal = np.flatnonzero(is_pedal)
    pedal = pedal[_by_tick(rows.tick[pedal])]
    program = np.flatnonzero((others.kind & ~np.int16(0x0F)) == 0xC0)
    program = program[_by_tick(others.tick[program])]
    program_at = others.start[program]
    tempo = np.flatnonzero(others.kind == _KIND_TEMPO)
    tempo = tempo[_by_tick(others.tick[tempo])]
    us = others.bytes[others.start[tempo][:, None] + np.arange(2, 5)].astype(np.int64)
    text = np.flatnonzero((others.kind == _KIND_TEXT) | (others.kind == _KIND_COPYRIGHT))
    text = text[_by_tick(others.tick[text])]
    notes, unended = _pair(rows, np.flatnonzero(is_note))
    return RawColumns(
        division,
        others.tick[tempo],
        us[:, 0] << 16 | us[:, 1] << 8 | us[:, 2],
        notes,
        PedalTable(
            rows.tick[pedal],
            rows.data2[pedal],
            rows.status[pedal] & np.uint8(0x0F),
            rows.track[pedal],
        ),
        ProgramTable(
            others.tick[program],
            others.bytes[program_at + 1],
            others.bytes[program_at] & np.uint8(0x0F),
            others.track[program],
        ),
        _extra(rows, np.flatnonzero(~(is_note | is_pedal)), others),
        tuple(
            (tick, decode_text(bytes(specials.messages[start + 2 : start + size])))
            for tick, start, size in zip(
                others.tick[text].tolist(),
                others.start[text].tolist(),
                others.size[text].tolist(),
                strict=True,
            )
        ),
        unended,
        int(np.count_nonzero((kind == 0xB0) & (rows.data1 >= FIRST_MODE))),
        early_ends,
    )


class _Others(NamedTuple):
    """The special events of a file, in file order; (n,) columns."""

    tick: IntArray
    track: Int32Array
    position: IntArray
    kind: npt.NDArray[np.int16]
    start: IntArray  # of the message in ``bytes``
    size: IntArray
    bytes: Uint8Array


def _others(specials: _Specials, travelled: IntArray, first_row: IntArray) -> _Others:
    """Return the special events with their ticks, to which the rows before them contribute."""
    track = np.frombuffer(specials.track, np.int32)
    before = np.frombuffer(specials.rows_before, np.int64)
    size = np.frombuffer(specials.size, np.int64)
    passed = np.where(before > first_row[track], travelled[before], 0)
    return _Others(
        np.frombuffer(specials.lead, np.int64) + passed,
        track,
        np.frombuffer(specials.position, np.int64),
        np.frombuffer(specials.kind, np.int16),
        np.cumsum(size) - size,
        size,
        np.frombuffer(specials.messages, np.uint8),
    )


def _by_tick(tick: IntArray) -> npt.NDArray[np.intp] | slice:
    """Return what sorts these rows stably by tick."""
    if np.all(tick[1:] >= tick[:-1]):
        return slice(None)
    return np.argsort(tick, kind="stable")


def _extra(rows: _Messages, chosen: IntArray, others: _Others) -> ExtraTable:
    """Everything that has no table of its own."""
    kind = others.kind
    kept = np.flatnonzero(
        ((kind & ~np.int16(0x0F)) != 0xC0) & (kind != _KIND_TEMPO) & (kind != _KIND_END_OF_TRACK)
    )
    packed = np.stack((rows.status[chosen], rows.data1[chosen], rows.data2[chosen]), axis=1)
    source = np.concatenate((packed.ravel(), others.bytes))
    tick = np.concatenate((rows.tick[chosen], others.tick[kept]))
    track = np.concatenate((rows.track[chosen], others.track[kept]))
    position = np.concatenate((rows.position[chosen], others.position[kept]))
    size = np.concatenate((np.full(len(chosen), 3, np.int64), others.size[kept]))
    start = np.concatenate((3 * np.arange(len(chosen)), 3 * len(chosen) + others.start[kept]))
    order = np.lexsort((position, tick))
    size = size[order]
    bounds = np.zeros(len(order) + 1, np.int64)
    np.cumsum(size, out=bounds[1:])
    # Byte i of the result comes from its own message's start plus its place in that message.
    gather = np.repeat(start[order] - bounds[:-1], size) + np.arange(bounds[-1])
    return ExtraTable(tick[order], track[order], MessageList(source[gather].tobytes(), bounds))


def _pair(rows: _Messages, events: IntArray) -> tuple[NoteTable, int]:
    """Make notes of the note-on and note-off rows ``events`` (specification A.1).

    Returns:
        The notes, and how many note-ons wait for a note-off at the end of their track.

    Sorted by key (track, channel, pitch), the ons between two offs form a block that the second off
    decides about. Those of another tick end there. Those of the off's own tick are forgotten,
    except where something else ended there: then they are left over for the next off, which ends
    them if its tick is another, and forgets them if not.
    """
    status = rows.status[events]
    is_on = (status >= 0x90) & (rows.data2[events] > 0)
    key = (status & 0x0F).astype(np.uint16) << 7 | rows.data1[events]
    order = np.argsort(key, kind="stable")  # file order inside a key, so its tracks stay apart
    row, key, on = events[order], key[order], is_on[order]
    tick, track = rows.tick[row], rows.track[row]
    ons, off = np.flatnonzero(on), np.flatnonzero(~on)
    block = ons - np.arange(len(ons))  # offs before an on: the index of the one behind it
    ons = ons[: np.searchsorted(block, len(off))]
    block = block[: len(ons)]
    end = off[block]
    ended = (key[ons] == key[end]) & (track[ons] == track[end])
    ons, block, end = ons[ended], block[ended], end[ended]
    unended = int(np.count_nonzero(on)) - len(ons)
    same = tick[ons] == tick[end]
    if same.any():
        has_next = np.zeros(len(off), np.bool_)
        has_next[:-1] = (key[off[1:]] == key[off[:-1]]) & (track[off[1:]] == track[off[:-1]])
        left_over = _left_over(tick[off], has_next, block, same)
        stays = same & left_over[block] & has_next[block]
        end[stays] = off[block[stays] + 1]
        unended += int(np.count_nonzero(same & left_over[block] & ~has_next[block]))
        live = tick[ons] != tick[end]
        ons, end = ons[live], end[live]
    # Back to file order, which is nearly sorted by onset already.
    ends_at = np.empty(len(rows.tick), np.int64)
    ends_at[row[ons]] = row[end]
    pair_on = np.sort(row[ons])
    pair_off = ends_at[pair_on]
    order = np.lexsort((pair_off, rows.tick[pair_on]))
    pair_on, pair_off = pair_on[order], pair_off[order]
    notes = NoteTable(
        rows.tick[pair_on],
        rows.tick[pair_off],
        rows.data1[pair_on],
        rows.data2[pair_on],
        rows.status[pair_on] & np.uint8(0x0F),
        rows.track[pair_on],
    )
    return notes, unended


def _left_over(
    off_tick: IntArray, has_next: BoolArray, block: IntArray, same: BoolArray
) -> BoolArray:
    """For every off: whether ons of its own tick outlive it.

    They do if something else ends at this off: an earlier on of its own block, or what was left
    over from the block before. So the answer carries over from off to off.

    Args:
        off_tick: (m,) ticks of the offs.
        has_next: (m,) whether the key has another off.
        block: (k,) index of the off behind each on.
        same: (k,) whether the on has that off's tick.
    """
    has_same, has_early = np.zeros((2, len(off_tick)), np.bool_)
    has_same[block[same]] = True
    has_early[block[~same]] = True
    carries = np.zeros(len(off_tick), np.bool_)
    carries[1:] = has_next[:-1] & (off_tick[1:] > off_tick[:-1]) & has_same[1:]
    surely = has_same & has_early
    number = np.arange(len(off_tick))
    last_surely = np.maximum.accumulate(np.where(surely, number, -1))
    last_break = np.maximum.accumulate(np.where(surely | carries, -1, number))
    return last_surely > last_break
