"""Scores that nobody wrote: played sensibly, or refused with one clear line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from arietta.errors import InputError
from arietta.midi.note_ons import read_note_ons
from arietta.midi.notes import DRUM_CHANNEL
from arietta.midi.reader import read_bytes
from arietta.notation.score_notes import ScoreNotes
from arietta.rendering.rules import RuleRenderer
from arietta.rendering.tempo_map import editable
from tests.midi.files import midi_file

ON, OFF, END = 0x90, 0x80, b"\x00\xff\x2f\x00"


def track(*events: tuple[int, int, int, int]) -> bytes:
    """A track of (delta tick under 128, status, data, data)."""
    return b"".join(bytes(event) for event in events) + END


def note(pitch: int, length: int = 100, channel: int = 0) -> tuple[tuple[int, int, int, int], ...]:
    return (0, ON | channel, pitch, 80), (length, OFF | channel, pitch, 0)


LONG = b"\x81\xd3\xd4\x40"  # 3,456,576 ticks: an hour at 480 ticks a half second

PLAYABLE = {
    "two programs": (
        midi_file([b"\x00\xc0\x05" + track(*note(60)), b"\x00\xc1\x28" + track(*note(64, 50, 1))]),
        2,
    ),
    "ten thousand notes at one tick": (
        midi_file([track(*[(0, ON, i % 128, 80) for i in range(10_000)])]),
        128,
    ),
    "an hour of rest": (
        midi_file([track(*note(60))[: -len(END)] + LONG + track(*note(64))[1:]]),
        2,
    ),
    "no length": (midi_file([track((0, ON, 60, 80), (0, OFF, 60, 0), *note(64))]), 2),
    "never released": (midi_file([track((0, ON, 60, 80), *note(64))]), 2),
    "one pitch again and again": (
        midi_file([track(*[(0, ON, 60, 80)] * 9, *[(50, OFF, 60, 0)] * 9)]),
        1,
    ),
    "drums beside a piano": (midi_file([track(*note(38, 10, 9), *note(60))]), 1),
    "one note": (midi_file([track(*note(60))]), 1),
    "one tick a quarter": (midi_file([track(*note(60, 1), *note(62, 1))], division=1), 2),
    "time code": (midi_file([track(*note(60), *note(62))], division=-(25 << 8) + 40), 2),
    "a bar of 255/1": (midi_file([b"\x00\xff\x58\x04\xff\x00\x18\x08" + track(*note(60))]), 1),
    "a bar of 1/2^255": (midi_file([b"\x00\xff\x58\x04\x01\xff\x18\x08" + track(*note(60))]), 1),
    "a bar of nothing": (midi_file([b"\x00\xff\x58\x04\x00\x02\x18\x08" + track(*note(60))]), 1),
    "no time passes": (
        midi_file([b"\x00\xff\x51\x03\x00\x00\x00" + track(*note(60), *note(62))]),
        2,
    ),
}


@pytest.mark.parametrize("name", PLAYABLE)
def test_played_sensibly(name: str) -> None:
    data, count = PLAYABLE[name]
    score = ScoreNotes.from_piece(read_note_ons(data))
    assert len(score) == count
    performed = RuleRenderer().perform(score).check(score)
    for piece in (performed.to_piece(score), editable(score, performed).piece):
        again = read_bytes(piece.to_bytes())
        keys = again.notes.channel != DRUM_CHANNEL
        assert np.array_equal(np.sort(again.notes.pitch[keys]), np.sort(score.pitch))
        if name != "no time passes":
            assert np.abs(np.sort(again.onset_ms[keys]) - np.sort(performed.onset_ms)).max() <= 2


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (midi_file([END]), "no notes"),
        (midi_file([track(*note(38, 10, 9))]), "drums"),
        (b"MThd nonsense", "bad.mid"),
    ],
)
def test_refused(tmp_path: Path, data: bytes, reason: str) -> None:
    path = tmp_path / "bad.mid"
    path.write_bytes(data)
    with pytest.raises(InputError, match=reason) as refusal:
        ScoreNotes.from_piece(read_note_ons(path))
    assert "\n" not in str(refusal.value)


def test_public_edge_cases(shared_dir: Path) -> None:
    for path in sorted((shared_dir / "golden" / "pianist" / "midi" / "edge").glob("*.mid")):
        score = ScoreNotes.from_piece(read_note_ons(path))
        performed = RuleRenderer().perform(score).check(score)
        piece = editable(score, performed).piece
        assert np.count_nonzero(piece.notes.channel != DRUM_CHANNEL) == len(score), path.name
