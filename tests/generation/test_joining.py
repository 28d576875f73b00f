"""New notes behind a prompt: the prompt's events as they are, the new part where it belongs."""

from __future__ import annotations

import io
from collections import defaultdict
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from arietta.errors import UsageError
from arietta.generation.joining import Joined, join
from arietta.generation.settings import JoinOptions
from arietta.midi.doubts import doubts
from arietta.midi.events import Event
from arietta.midi.notes import empty_notes
from arietta.midi.piece import Piece
from arietta.midi.reader import read, read_bytes
from arietta.midi.seam import bar_at, cut_tracks, join_bytes, lines_on, next_line, seam_mode
from arietta.midi.tempo import TempoMap
from arietta.tokenizers.decoding import NoteEvent
from tests.midi.dump import dump
from tests.midi.files import midi_file

CASES = Path(__file__).parent.parent / "cases" / "midi"
NAMES = sorted(path.stem for path in CASES.glob("*.mid"))
DAMAGED = {"key_signature_99", "time_signature_4_2e255", "tempo_zero"}


def case(name: str) -> Piece:
    return read(CASES / f"{name}.mid")


def played(start_ms: float, count: int = 40, step_ms: int = 130) -> list[NoteEvent]:
    """Broken chords that ring to the end of each bar, with a key struck twice in a row."""
    pitches = (40, 52, 59, 64, 67, 71, 76, 76)
    notes = []
    for i in range(count):
        onset = round(start_ms / 10) * 10 + i * step_ms
        ring = (8 - i % 8) * step_ms - 10
        notes.append(NoteEvent(onset, ring, pitches[i % 8], 60 + i % 20, 0, 0))
    return notes


def joined(prompt: Piece, **options: object) -> Joined:
    start = prompt.end_ms + 37
    return join(prompt, 0.0, played(start), (), JoinOptions(**options))  # type: ignore[arg-type]


def seam_of(out: Joined) -> int:
    return int(out.piece.tempo.tick_at(out.seam_ms))


def new_rows(prompt: Piece, out: Joined) -> np.ndarray:  # type: ignore[type-arg]
    tracks = len(dump(prompt.to_bytes()).tracks)
    return np.flatnonzero(out.piece.notes.track >= tracks)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("options", [{}, {"seam": "now", "pedal": False}, {"bars": 2.0}])
def test_the_prompts_events_in_front_of_the_seam_stay(
    name: str, options: dict[str, object]
) -> None:
    prompt = case(name)
    out = joined(prompt, **options)
    data = out.piece.to_bytes()
    before, after = dump(prompt.to_bytes()), dump(data)
    factor = after.division // before.division
    if name == "format_2":
        return  # its patterns are put in sequence, as one file of format 1
    seam = seam_of(out)
    for old, new in zip(before.tracks, after.tracks, strict=False):
        end, signatures = b"\xff\x2f", (b"\xff\x51", b"\xff\x58", b"\xff\x59")
        left_out = (end, *signatures) if name in DAMAGED else (end,)
        wanted = [
            (tick * factor, message)
            for tick, message in old
            if message[:2] not in left_out and tick * factor < seam
        ]
        got = [row for row in new if row[0] < seam and row[1][:2] not in left_out]
        assert got == wanted
    mido = pytest.importorskip("mido")
    for made in (data, out.alone.to_bytes()):
        strict = mido.MidiFile(file=io.BytesIO(made))
        ons = [m for track in strict.tracks for m in track if m.type == "note_on" and m.velocity]
        assert len(ons) >= len(read_bytes(made))


@pytest.mark.parametrize("name", NAMES)
def test_new_notes_are_playable(name: str) -> None:
    prompt = case(name)
    out = joined(prompt)
    notes = out.piece.notes
    rows = new_rows(prompt, out)
    assert len(rows) >= 38
    onset = out.piece.tempo.ms_at(notes.onset_tick)
    offset = out.piece.tempo.ms_at(notes.offset_tick)
    by_key: dict[tuple[int, int], list[int]] = defaultdict(list)
    for row in range(len(notes)):
        by_key[int(notes.channel[row]), int(notes.pitch[row])].append(row)
    new = set(rows.tolist())
    for held in by_key.values():
        held.sort(key=lambda row: onset[row])
        for before, after in pairwise(held):
            if after in new:
                assert onset[after] - offset[before] >= 30 - 0.01
    # Nothing begins before the prompt's last release.
    assert onset[rows].min() >= prompt.end_ms - 0.01


def test_pedals_of_the_prompt_end_at_the_seam() -> None:
    prompt = case("seam_pedal_held")
    out = joined(prompt, pedal=False)
    pedals = out.piece.pedals
    assert pedals.value.tolist() == [127, 0] and pedals.tick[-1] == seam_of(out)
    assert any("sustain pedal (CC64)" in line for line in out.notices)


def test_a_prompt_that_was_cut_does_not_last_as_long_as_its_file() -> None:
    """Tempi behind the cut keep the bars right while new notes are placed, and go then."""
    notes = [Event(480 * i, bytes((0x90, 60, 70))) for i in range(9)]
    notes += [Event(480 * i + 400, bytes((0x80, 60, 0))) for i in range(9)]
    tempi = [Event(480_000 * i, b"\xff\x51\x03\x07\xa1" + bytes((i,))) for i in range(5)]
    tracks = [sorted([*notes, *tempi]), [Event(100_000, b"\xff\x2f")]]
    prompt = read_bytes(join_bytes(480, cut_tracks(tracks, 1920)))
    assert tempi[-1].tick == dump(prompt.to_bytes()).tracks[0][-1][0]
    out = joined(prompt)
    ends = [track[-1][0] for track in dump(out.piece.to_bytes()).tracks]
    assert max(ends) == ends[2] and ends[0] <= max(ends) < 100_000
    assert not doubts(out.piece)


def test_closing_messages_are_dropped_and_named() -> None:
    prompt = case("seam_tail_volume")
    out = joined(prompt)
    assert [line for line in out.notices if "volume (CC7)" in line]
    values = [d[2] for d in out.piece.extra.data if d[0] & 0xF0 == 0xB0 and d[1] == 7]
    assert 0 not in values
    many = b"".join(
        bytes((0x83, 0x60, 0xB0, number, 0)) for number in (64, 66, 67, 7, 11, 1, 10, 120, 121, 123)
    )
    tail = midi_file([b"\0\x90\x3c\x40\x60\x3c\0" + many + b"\0\xc0\x05\0\xe0\0\0"], division=480)
    out = joined(read_bytes(tail), seam="release")
    assert len(out.notices) == 1
    for word in ("CC64", "CC7)", "CC11", "CC120", "CC121", "CC123", "program change", "pitch bend"):
        assert word in out.notices[0]
    last = dump(out.piece.to_bytes()).tracks[0]
    assert [message for tick, message in last if tick > seam_of(out) and message[0] < 0xF0] == []


@pytest.mark.parametrize("number", [7, 11])
def test_a_fade_is_undone_at_the_seam(number: int) -> None:
    data = (CASES / "fade_out_volume.mid").read_bytes()
    if number == 11:
        data = data.replace(b"\xb0\x07", b"\xb0\x0b")
    prompt = read_bytes(data)
    out = joined(prompt)
    extra = out.piece.extra
    rows = [
        (int(tick), int(track), data[2])
        for tick, track, data in zip(extra.tick, extra.track, extra.data, strict=True)
        if data[0] & 0xF0 == 0xB0 and data[1] == number and tick >= seam_of(out)
    ]
    assert rows and all(value >= 90 for _, _, value in rows)


def test_a_coarse_grid_is_made_finer() -> None:
    prompt = case("grid_24")
    out = joined(prompt, groove="off")
    tempo = out.piece.tempo
    assert tempo.division % 24 == 0
    assert 60_000 / 40 / tempo.division <= 2.0
    wanted = np.array([note.onset_ms for note in played(prompt.end_ms + 37)], np.float64)
    onset = np.sort(tempo.ms_at(out.piece.notes.onset_tick[new_rows(prompt, out)]))
    shift = onset[0] - wanted[0]
    assert np.abs(onset - wanted - shift).max() <= 2.0


def test_bars_end_on_a_bar_line() -> None:
    prompt = case("bars_end")
    out = joined(prompt, bars=2.0)
    ends = [track[-1][0] for track in dump(out.piece.to_bytes()).tracks[1:]]
    division = out.piece.tempo.division
    assert set(ends) == {ends[0]} and ends[0] % (4 * division) == 0
    assert seam_of(out) % (4 * division) == 0
    assert ends[0] - seam_of(out) == 2 * 4 * division
    rows = new_rows(prompt, out)
    assert out.piece.notes.offset_tick[rows].max() <= ends[0]
    assert out.place == f"bar {seam_of(out) // (4 * division) + 1}"
    free = Piece.from_ms(np.arange(40) * 333, 200, 60, 70)
    assert any("no metre" in line for line in joined(free, bars=2.0).notices)


def test_hands_have_tracks_of_their_own() -> None:
    prompt = case("two_hands")
    out = joined(prompt)
    names = list(out.piece.track_names.values())
    assert names[-2:] == ["Arietta right", "Arietta left"]
    tracks = len(dump(prompt.to_bytes()).tracks)
    notes = out.piece.notes
    right, left = (notes.pitch[notes.track == tracks + i] for i in (0, 1))
    assert np.median(right) > np.median(left)
    # No program where the prompt states none.
    kinds = [
        m[0] & 0xF0
        for track in dump(joined(case("no_program")).piece.to_bytes()).tracks
        for _, m in track
    ]
    assert 0xC0 not in kinds


def test_into_a_track() -> None:
    prompt = case("two_hands")
    for wanted in ("left", "2"):
        out = joined(prompt, into=wanted)
        assert out.piece.track_names == prompt.track_names
        old = int(np.count_nonzero(prompt.notes.track == 2))
        assert int(np.count_nonzero(out.piece.notes.track == 2)) >= old + 38
    with pytest.raises(UsageError, match=r"1 \(Right\)"):
        joined(prompt, into="viola")


def test_a_tight_groove_puts_what_is_near_the_grid_right_on_it() -> None:
    prompt = case("two_hands")
    off, loose, tight = (joined(prompt, groove=name).piece for name in ("off", "loose", "tight"))

    def near(piece: Piece) -> list[int]:
        """Ticks from the grid, of the new onsets within 12 ms of it."""
        ticks = piece.notes.onset_tick[piece.notes.track > 2]
        step = piece.tempo.division / 12
        away = np.abs(ticks - np.rint(ticks / step) * step)
        ms = piece.tempo.us_per_quarter[-1] / piece.tempo.division / 1000
        return np.rint(away[away * ms < 12]).astype(int).tolist()

    assert near(off) == near(loose) and max(near(off)) > 1 >= max(near(tight))
    free = Piece.from_ms(np.cumsum(np.arange(40) % 7 * 31 + 97), 90, 60, 70)
    a, b = (joined(free, groove=name).piece for name in ("off", "tight"))
    assert a.notes.onset_tick.tolist() == b.notes.onset_tick.tolist()


def test_a_pedal_is_made_of_lengths() -> None:
    out = joined(case("seam_pedal_held"))
    new = out.piece.pedals.tick > seam_of(out)
    assert np.count_nonzero(out.piece.pedals.value[new] == 127) >= 8  # four bars, two tracks
    dry = joined(case("seam_pedal_held"), pedal=False)
    assert not np.any(dry.piece.pedals.tick > seam_of(dry))


def test_from_scratch_and_nothing() -> None:
    empty = Piece(TempoMap.constant(), empty_notes())
    out = join(empty, 0.0, played(30), (), JoinOptions())
    assert len(out.piece) == len(out.alone) == 40 and out.place == ""
    nothing = join(case("seam_pedal_held"), 0.0, [], (), JoinOptions())
    assert len(nothing.alone) == 0 and nothing.piece.pedals.value[-1] == 0
    off_the_keys = [note._replace(pitch=3) for note in played(0)]
    assert len(join(case("bars_end"), 0.0, off_the_keys, (), JoinOptions()).alone) == 0


def test_bar_lines() -> None:
    change = b"\0\xff\x58\4\4\2\x18\x08" + b"\x8f\x00\xff\x58\4\3\2\x18\x08"  # 3/4 from bar 2 on
    piece = read_bytes(midi_file([change + b"\0\x90\x3c\x40\x60\x3c\0"]))
    assert bar_at(piece, 0) == (1, 0, 1920) and bar_at(piece, 1919) == (1, 0, 1920)
    assert bar_at(piece, 1920) == (2, 1920, 3360) and bar_at(piece, 3360)[0] == 3
    assert next_line(piece, 1920) == 1920 and next_line(piece, 1921) == 3360
    assert lines_on(piece, 0, 2) == 3360 and lines_on(piece, 0, 1.5) == 2640
    assert seam_mode(piece) == "release"  # one note stands on no metre
    assert seam_mode(case("bars_end")) == "bar"
