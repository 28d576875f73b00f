"""Filling a gap of a file: what is kept stays as it stands, what is new lies where it was asked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import arietta
from arietta.errors import InputError, UsageError
from arietta.generation import filling
from arietta.generation.filling import (
    FillRequest,
    PieceFillStream,
    bars_of,
    fill_piece,
    kept_keys,
    key_of,
    without_notes,
)
from arietta.generation.infill import Columns, Fill
from arietta.generation.sampling import SamplingSettings
from arietta.midi.events import file_events
from arietta.midi.piece import Piece
from arietta.midi.reader import read
from arietta.midi.writer import write_midi

PROMPTS = Path(arietta.__file__).parent / "assets" / "prompts"


@pytest.fixture(scope="module", params=["piano", "piano-fill"])
def engine(request: Any, tiny: Any) -> Any:
    return tiny.engine(request.param, max_seq_len=768)


def as_events(piece: Any) -> list[list[Any]]:
    return file_events(write_midi(piece))


@pytest.mark.parametrize("name", ["waltz", "nocturne"])
@pytest.mark.parametrize("keep", [None, "right-hand", "left-hand", "C4-C8"])
def test_what_is_kept_stays_event_for_event(engine: Any, name: str, keep: str | None) -> None:
    piece = read(PROMPTS / f"{name}.mid")
    request = FillRequest(4.0, 7.0, keep=keep, variations=2, takes=2, seed=3)
    for filled in fill_piece(engine, piece, request, SamplingSettings()):
        before, after = as_events(piece), as_events(filled.piece)
        kept = after[: len(before)]
        notes = [e for track in before for e in track if e.message[0] & 0xE0 == 0x80]
        left = [e for track in kept for e in track if e.message[0] & 0xE0 == 0x80]
        for old, new in zip(before, kept, strict=True):
            rest = iter(old)
            assert all(any(e == other for other in rest) for e in new)  # a subsequence
        assert len(notes) - len(left) == 2 * filled.replaced
        assert len(after) == len(before) + (filled.new > 0)
        onset = filled.piece.onset_ms[filled.piece.notes.track == len(before)]
        assert len(onset) == filled.new
        assert ((onset >= 4_000 - 5) & (onset < 7_000 + 5)).all()
        inside = (piece.onset_ms >= 4_000) & (piece.onset_ms < 7_000)
        if keep is None:
            assert filled.replaced == inside.sum()
        else:
            assert filled.replaced < inside.sum()


def test_bars_are_counted_by_the_pieces_own_metre(engine: Any) -> None:
    piece = read(PROMPTS / "waltz.mid")
    request = FillRequest(bars=(5, 6), variations=1, takes=1)
    (filled,) = fill_piece(engine, piece, request, SamplingSettings())
    tracks = len(as_events(piece))
    onset = filled.piece.onset_ms[filled.piece.notes.track == tracks]
    assert filled.new == len(onset) > 0
    with pytest.raises(InputError, match="bar 900"):
        fill_piece(engine, piece, FillRequest(bars=(900, 901)), SamplingSettings())


def test_the_best_comes_first_and_a_seed_repeats(
    engine: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(filling, "_HOLE_MS", 1e9)
    piece = read(PROMPTS / "nocturne.mid")
    request = FillRequest(3.0, 6.0, variations=3, takes=5, seed=11)
    once, again = (fill_piece(engine, piece, request, SamplingSettings()) for _ in range(2))
    bits = [filled.seam_bits for filled in once]
    assert bits == sorted(bits) and len(bits) == 3  # type: ignore[type-var]
    assert [write_midi(f.piece) for f in once] == [write_midi(f.piece) for f in again]


def test_takes_with_a_hole_come_last(engine: Any) -> None:
    even = Piece.from_ms(np.arange(80) * 250.0, 200, 60, 70)
    request = FillRequest(8.0, 12.0, variations=1, takes=3)
    stream = PieceFillStream(engine, even, request, SamplingSettings())
    base = int(stream.start_ms - stream._zero_ms)

    def take(number: int, bits: float, *onsets: int) -> Fill:
        at = base + np.array(onsets, np.int64)
        same = np.full(len(at), 60)
        return Fill(Columns(at, same, same, same), bits, number, True)

    flowing = take(0, 9.0, *range(0, 4000, 250))
    late, early, empty = take(1, 1.0, *range(2000, 4000, 250)), take(2, 2.0, 0, 250), take(3, 3.0)
    ranked = [one.variation for one in stream._ranked([empty, late, flowing, early])]
    assert ranked == [0, 1, 2, 3]
    # Where the music around rests as long, so may they.
    slow = Piece.from_ms(np.arange(20) * 2000.0, 200, 60, 70)
    rare = PieceFillStream(engine, slow, request, SamplingSettings())
    rests = take(4, 1.0, 0, 2000)
    assert [one.variation for one in stream._ranked([flowing, rests])] == [0, 4]
    assert [one.variation for one in rare._ranked([flowing, rests])] == [4, 0]


def test_density_is_held_and_reaches_the_model(tiny: Any) -> None:
    piece = read(PROMPTS / "nocturne.mid")
    model = arietta.load("small", threads=1)
    for keep in (None, "left-hand"):
        counts = []
        for density in (0.5, 1.0, 2.0):
            made = model.fill(
                piece, from_seconds=15.0, to_seconds=21.0, density=density, keep=keep,
                variations=2, takes=6, seed=4,
            )  # fmt: skip
            counts.append(made[0].new + made[1].new)
        assert 1.4 * counts[0] < counts[1] < counts[2] / 1.4, (keep, counts)
    engine = tiny.engine("piano-fill")
    vocab = engine.tokenizer.vocabulary
    heard = []
    for density in (0.5, 2.0):
        request = FillRequest(3.0, 4.0, density=density, keep="left-hand", variations=1, takes=1)
        stream = PieceFillStream(engine, piece, request, SamplingSettings())
        heard.append(int(stream._stream._stream.prompt_ids[-1]) - vocab.control_start)
    assert heard[1] - heard[0] == 6  # two octaves of three levels


def test_a_gap_before_the_first_note_and_one_behind_the_last(engine: Any) -> None:
    piece = read(PROMPTS / "nocturne.mid")
    first = float(piece.onset_ms.min()) / 1000
    opening = FillRequest(0.0, max(first, 1.0), variations=1, takes=1)
    assert fill_piece(engine, piece, opening, SamplingSettings())
    with pytest.raises(InputError, match="before the gap"):
        fill_piece(engine, piece, FillRequest(500.0, 505.0), SamplingSettings())


def test_taking_every_note_out_leaves_everything_else() -> None:
    piece = read(PROMPTS / "waltz.mid")
    tracks = without_notes(piece, np.ones(len(piece), bool))
    messages = [e for track in tracks for e in track]
    assert not [e for e in messages if e.message[0] & 0xE0 == 0x80]
    others = [e for t in as_events(piece) for e in t if e.message[0] & 0xE0 != 0x80]
    assert messages == others


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({}, "span"),
        ({"from_seconds": 1.0}, "both"),
        ({"from_seconds": 2.0, "to_seconds": 2.0}, "nothing"),
        ({"from_seconds": 1.0, "to_seconds": 2.0, "bars": (1, 2)}, "or else one of"),
        ({"bars": (0, 2)}, "count from 1"),
        ({"bars": (3, 2)}, "ascending"),
        ({"bars": (1, 2), "keep": "soprano"}, "keep"),
        ({"bars": (1, 2), "keep": "C5-C3"}, "lower key"),
        ({"bars": (1, 2), "density": 50.0}, "density"),
        ({"bars": (1, 2), "variations": 0}, "variations"),
    ],
)
def test_requests_that_make_no_sense(options: dict[str, Any], word: str) -> None:
    with pytest.raises(UsageError, match=word):
        FillRequest(**options)


def test_names_of_keys_and_bars() -> None:
    assert [key_of(n) for n in ("C4", "F#3", "Bb2", "A0", "C8", "60")] == [60, 54, 46, 21, 108, 60]
    assert kept_keys("C4-C8") == (60, 108) and kept_keys("left-hand") is None
    assert bars_of("5-8") == (5, 8) and bars_of("5") == (5, 5)
    for wrong in ("H4", "C9", "4", ""):
        with pytest.raises(UsageError):
            key_of(wrong)
    with pytest.raises(UsageError, match="5-8"):
        bars_of("five")
