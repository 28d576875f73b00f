"""A small part of ``benchmarks/fill_validity.py``, and that its check can fail."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from arietta.generation.filling import FillRequest, PieceFillStream
from arietta.generation.settings import SamplingSettings
from arietta.midi.piece import Piece
from arietta.midi.reader import read
from benchmarks.fill_validity import PROMPTS, case_of, check_numbers, faults


@pytest.fixture(scope="module")
def models(tiny: Any) -> dict[str, Any]:
    return {name: tiny.engine(name, max_seq_len=128) for name in ("piano", "piano-fill")}


@pytest.mark.parametrize("first", range(0, 81, 20))
def test_fills_of_real_and_hostile_pieces_are_valid(models: dict[str, Any], first: int) -> None:
    real = [read(path) for path in sorted(PROMPTS.glob("*.mid"))]
    numbers = [n for n in range(first, first + 9) if n % 9 != 2]  # long ones take their time
    counts = check_numbers(numbers, real, models, ways=1)
    assert not counts["faulty"] and counts["valid"] >= 4


def test_every_kind_of_piece_and_gap_occurs() -> None:
    kinds = {case.what for n in range(81) if (case := case_of(n, [read(PROMPTS / "waltz.mid")]))}
    assert len({(span, keep) for _, span, keep in kinds}) > 70
    assert {piece for piece, _, _ in kinds} == {"real", "hostile"}


def changed(piece: Piece, **columns: Any) -> Piece:
    return replace(piece, notes=replace(piece.notes, **columns), origin=None)


def test_the_check_sees_what_is_wrong(models: dict[str, Any]) -> None:
    request = FillRequest(4.0, 5.0, variations=1, takes=1, seed=2)
    stream = PieceFillStream(
        models["piano"], read(PROMPTS / "waltz.mid"), request, SamplingSettings()
    )
    (made,) = stream.run()
    assert made.new and not faults(stream.piece, made, request)
    piece, notes = made.piece, made.piece.notes
    new = notes.track == notes.track.max()
    louder = notes.velocity.copy()
    louder[np.flatnonzero(~new)[0]] += 1
    unplayable = np.where(new, 5, notes.pitch).astype(np.uint8)
    spoiled = {
        "number of notes": replace(made, replaced=made.replaced + 1),
        "outside the gap is gone": replace(made, piece=changed(piece, velocity=louder)),
        "begins outside": replace(made, end_ms=made.start_ms + 10),
        "no key": replace(made, piece=changed(piece, pitch=unplayable)),
    }
    for word, wrong in spoiled.items():
        assert any(word in fault for fault in faults(stream.piece, wrong, request)), word
