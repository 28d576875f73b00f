"""Transcription around the model: segments, joining, pedals, files. The model is a stand-in."""

from __future__ import annotations

import sys
import tracemalloc
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest
import soundfile

from arietta.api.transcription import transcribe as transcribe_file
from arietta.cli.main import run
from arietta.errors import CheckpointError, InputError, MissingExtraError
from arietta.midi.piece import Piece
from arietta.midi.reader import read, read_bytes
from arietta.sound import torch_transkun
from arietta.sound.transcription import (
    SOFT,
    SUSTAIN,
    Event,
    read_blocks,
    transcribe,
    without_overtones,
)

RATE = 1_000


@dataclass
class StandIn:
    """A model that knows what is played.

    It reports each event as its segment shows it, and once an end was seen never again.
    """

    events: tuple[Event, ...] = ()
    name: str = "stand-in 1"
    sample_rate: int = RATE
    segment_frames: int = 16 * RATE
    step_frames: int = 8 * RATE
    pad_frames: int = 8 * RATE
    segments: list[np.ndarray] = field(default_factory=list)

    def read(self, segment: np.ndarray) -> list[Event]:
        begin = len(self.segments) * 8 - 8
        self.segments.append(segment)
        seen = []
        for one in self.events:
            start, end = one.start_s - begin, one.end_s - begin
            seen_whole = len(self.segments) > 1 and end <= 8
            if start < 16 and end > 0 and not seen_whole:
                seen.append(
                    Event(
                        max(start, 0), min(end, 16), one.pitch, one.velocity, start >= 0, end <= 16
                    )
                )
        return seen


def blocks(seconds: float, *, size: int = 700) -> list[np.ndarray]:
    sound = np.arange(1, round(seconds * RATE) + 1, dtype=np.float32)[:, None]
    return [sound[i : i + size] for i in range(0, len(sound), size)]


@pytest.mark.parametrize("seconds", [0.5, 8.0, 19.9, 40.0])
def test_segments_cover_the_sound_twice(seconds: float) -> None:
    model = StandIn()
    transcribe(blocks(seconds), model)
    whole = np.concatenate([np.zeros((8_000, 1)), *blocks(seconds), np.zeros((8_000, 1))])
    assert len(model.segments) == -(-len(whole) // 8_000)
    for number, segment in enumerate(model.segments):
        part = whole[number * 8_000 : number * 8_000 + 16_000]
        assert segment.shape == (16_000, 1) and segment.dtype == np.float32
        assert (segment[: len(part)] == part).all() and not segment[len(part) :].any()


def test_events_that_segments_cut_are_whole() -> None:
    played = (
        Event(0.5, 1.0, 60, 70),
        Event(6.0, 30.5, 61, 80),  # longer than a segment
        Event(7.9, 8.1, 62, 90),  # over an edge
        Event(8.2, 9.0, 62, 91),
        Event(38.0, 41.0, 63, 50),  # ends with the recording
    )
    times: list[float] = []
    piece = transcribe(blocks(40), StandIn(played), times.append)
    found = [
        (on / 1000, (on + length) / 1000, int(pitch), int(velocity))
        for on, length, pitch, velocity in zip(
            piece.onset_ms, piece.duration_ms, piece.notes.pitch, piece.notes.velocity, strict=True
        )
    ]
    assert found == [(e.start_s, e.end_s, e.pitch, e.velocity) for e in played]
    assert times == sorted(times) and times[-1] >= 40


def test_what_a_file_can_hold() -> None:
    """Its grid has no shorter note than a tick, and velocities are 1 to 127."""
    again = StandIn((Event(1.0, 1.5, 60, 0), Event(1.5, 1.5002, 60, 200)))
    piece = transcribe(blocks(8), again)
    assert piece.duration_ms.tolist() == [500, 1] and piece.notes.velocity.tolist() == [1, 127]


def test_pedals() -> None:
    events = (
        Event(0.2, 1.0, -SUSTAIN, 99),
        Event(0.5, 2.0, -SOFT, 99),
        Event(1.1, 2.0, -SUSTAIN, 99),
        Event(0.3, 0.6, 60, 64),
    )
    piece = transcribe(blocks(4), StandIn(events))
    again = read_bytes(piece.to_bytes())
    assert len(again) == 1
    assert again.pedals.tick.tolist() == [200, 1000, 1100, 2000]
    assert again.pedals.value.tolist() == [127, 0, 127, 0]
    assert [bytes(one) for one in again.extra.data if one[0] == 0xB0] == [
        b"\xb0C\x7f",
        b"\xb0C\x00",
    ]


def test_silence_and_nothing() -> None:
    assert len(transcribe(blocks(3), StandIn())) == 0
    assert len(transcribe([], StandIn())) == 0


def test_overtones_go_and_octaves_stay() -> None:
    onset = [0, 4, 1000, 1001, 2000, 2000, 3000, 3060, 4000, 4000]
    duration = [900, 30, 500, 500, 100, 60, 900, 30, 900, 30]
    pitch = [60, 72, 60, 72, 60, 72, 60, 72, 60, 73]
    kept = without_overtones(Piece.from_ms(onset, duration, pitch, 64))
    assert kept.onset_ms.tolist() == pytest.approx([0, *onset[2:]])


def test_files_of_any_rate(tmp_path: Path) -> None:
    pytest.importorskip("soxr")
    path = tmp_path / "a.wav"
    tone = np.sin(2 * np.pi * 100 * np.arange(48_000 * 5) / 48_000) * 0.5
    soundfile.write(path, np.stack([tone, -tone], axis=1), 48_000, subtype="FLOAT")
    seconds, read_at = read_blocks(path, 44_100)
    sound = np.concatenate(list(read_at))
    assert seconds == 5 and sound.shape == (44_100 * 5, 2)
    wanted = np.sin(2 * np.pi * 100 * np.arange(44_100 * 5) / 44_100) * 0.5
    assert np.abs(sound[2000:-2000, 0] - wanted[2000:-2000]).max() < 1e-3


def test_files_that_hold_no_sound(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(b"RIFF")
    with pytest.raises(InputError, match=r"a\.wav: no audio"):
        read_blocks(path, RATE)
    with pytest.raises(InputError, match="no audio"):
        read_blocks(tmp_path / "nobody.mp3", RATE)
    soundfile.write(path, np.zeros((0, 1)), RATE)
    with pytest.raises(InputError, match="holds no sound"):
        read_blocks(path, RATE)
    soundfile.write(path, np.zeros((3000, 1)), RATE)
    seconds, read_at = read_blocks(path, RATE)
    assert seconds == 3 and sum(len(one) for one in read_at) == 3000


@pytest.fixture
def recording(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A recording and a stand-in that knows what is on it."""
    path = tmp_path / "take.wav"
    soundfile.write(path, np.zeros((5 * RATE, 2)), RATE)
    model = StandIn((Event(1.0, 2.0, 60, 70), Event(1.0, 3.0, -SUSTAIN, 100)))
    monkeypatch.setattr(torch_transkun, "Transkun", lambda device: model)
    return path


def test_the_command(recording: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["transcribe", str(recording)]) == 0
    assert "1 notes and 1 pedals of 5.0 s" in capsys.readouterr().out
    piece = read(recording.with_suffix(".mid"))
    assert piece.onset_ms.tolist() == [1000] and piece.pedals.tick.tolist() == [1000, 3000]
    assert piece.text[0][1] == "transcribed from take.wav by stand-in 1"
    assert run(["transcribe", str(recording)]) == 1
    assert "--force" in capsys.readouterr().err
    assert run(["transcribe", str(recording), "-o", str(recording.with_suffix(".txt"))]) == 2


def test_the_library_reports(recording: Path, tmp_path: Path) -> None:
    seen: list[tuple[float, float]] = []
    done = transcribe_file(recording, tmp_path / "b.mid", report=lambda *at: seen.append(at))
    assert seen[-1] == (5.0, 5.0) and done.seconds == 5 and done.model == "stand-in 1"
    assert done.to_dict()["notes"] == 1


def test_without_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> str:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(torch_transkun, "version", missing)
    with pytest.raises(MissingExtraError, match=r"arietta\[transcribe\]"):
        torch_transkun.Transkun()
    monkeypatch.setattr(torch_transkun, "version", lambda name: "9")
    monkeypatch.setitem(sys.modules, "moduleconf", None)
    with pytest.raises(CheckpointError, match=r"2\.0\.1"):
        torch_transkun.Transkun()


def test_an_hour_takes_no_more_memory_than_ten_minutes() -> None:
    class Forgetful(StandIn):
        def read(self, segment: np.ndarray) -> list[Event]:
            return []

    block = np.zeros((2 * RATE, 2), np.float32)
    tallest = []
    for count in (300, 1800):
        tracemalloc.start()
        transcribe((block for _ in range(count)), Forgetful())
        tallest.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert tallest[1] < 1.1 * tallest[0]
