from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from arietta.errors import OutputError, UsageError
from arietta.midi.piece import Piece
from arietta.midi.reader import read
from arietta.sound import files, player
from arietta.sound.files import write_audio, write_piece
from arietta.sound.sampler import render


@pytest.fixture
def short() -> Piece:
    return Piece.from_ms([0, 300], [500, 500], [60, 64], [80, 70])


@pytest.mark.parametrize("suffix", [".wav", ".flac", ".ogg", ".mp3", ".WAV"])
def test_formats(tmp_path: Path, short: Piece, suffix: str) -> None:
    path = tmp_path / f"out{suffix}"
    seconds = write_piece(path, short)
    info = soundfile.info(path)
    assert info.channels == 2 and info.samplerate == 44_100
    assert info.duration == pytest.approx(seconds, abs=0.1)
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_written_in_parts_equals_rendered_whole(tmp_path: Path, prompts_dir: Path) -> None:
    piece = read(prompts_dir / "waltz.mid")
    told: list[tuple[float, float]] = []
    write_piece(tmp_path / "a.wav", piece, progress=lambda a, b: told.append((a, b)))
    write_audio(tmp_path / "b.wav", render(piece))
    a, b = (soundfile.read(tmp_path / f"{n}.wav", dtype="int16")[0] for n in "ab")
    assert np.array_equal(a, b)
    assert told[-1][0] == told[-1][1] and len(told) > 1


def test_a_long_ogg(tmp_path: Path) -> None:
    # One call of this length kills the interpreter inside libsndfile.
    noise = np.random.default_rng(0).normal(0, 0.05, (90 * 44_100, 2)).astype(np.float32)
    write_audio(tmp_path / "long.ogg", noise)
    assert soundfile.info(tmp_path / "long.ogg").duration == pytest.approx(90, abs=0.1)


def test_nothing_is_overwritten_or_left_half_done(
    tmp_path: Path, short: Piece, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(b"mine")
    with pytest.raises(OutputError, match="`force=True`"):
        write_piece(path, short)

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files, "_write", full)
    with pytest.raises(OutputError, match="No space left"):
        write_piece(path, short, force=True)
    assert path.read_bytes() == b"mine"
    assert [p.name for p in tmp_path.iterdir()] == ["a.wav"]
    monkeypatch.undo()
    write_piece(path, short, force=True)
    assert soundfile.info(path).frames > 0


@pytest.mark.parametrize(
    ("name", "rate", "error", "words"),
    [
        ("a.aac", 44_100, UsageError, ".flac"),
        ("a", 44_100, UsageError, ".wav"),
        ("a.mp3", 96_000, UsageError, "MP3"),
        ("no/a.wav", 44_100, OutputError, "make it first"),
        (".", 44_100, UsageError, "name one"),
    ],
)
def test_bad_requests(
    tmp_path: Path, short: Piece, name: str, rate: int, error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        write_piece(tmp_path / name, short, rate)
    assert not list(tmp_path.iterdir())


def test_player_of_this_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ARIETTA_PLAYER", "true -x")
    assert player.find_player() == ["true", "-x"]
    assert player.play_file(["true"], tmp_path)
    assert not player.play_file(["false"], tmp_path)
    assert not player.play_file(["no-such-player"], tmp_path)
