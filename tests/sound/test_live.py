"""Sound while the music is being decided: what is heard, and when."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

import arietta
from arietta.cli.main import run
from arietta.midi.piece import Piece
from arietta.midi.reader import read
from arietta.sound.live import BLOCK_MS, GAIN, LivePlayer, LiveSound
from arietta.sound.player import find_stream_player, play_file
from arietta.sound.sampler import SAMPLE_RATE, blocks

PROMPTS = Path(arietta.__file__).parent / "assets" / "prompts"
NOTES = [(i * 180.0, 400.0, 60 + i % 7, 60 + i % 3) for i in range(8)]
RECORDER = "import sys; open(sys.argv[1], 'wb').write(sys.stdin.buffer.read())"


def test_what_is_heard_is_the_piece() -> None:
    sound = LiveSound()
    heard = []
    for i, note in enumerate(NOTES):
        sound.add(*note)
        if i == 4:  # some of it is known by now
            heard += [sound.next_block() for _ in range(2)]
    sound.finish()
    while (block := sound.next_block()) is not None:
        heard.append(block)
    live = np.concatenate([block for block in heard if block is not None])
    onset, length, pitch, velocity = zip(*NOTES, strict=True)
    whole = np.concatenate(list(blocks(Piece.from_ms(onset, length, pitch, velocity)))) * GAIN
    assert np.abs(whole).max() > 0.02
    # Quiet enough here that nothing is rounded off.
    assert np.abs(live[: len(whole)] - whole).max() < 0.01 * np.abs(whole).max() + 0.002


def test_no_block_comes_before_its_notes_are_known() -> None:
    sound = LiveSound()
    sound.add(0.0, 100.0, 60, 70)
    frames = BLOCK_MS * SAMPLE_RATE // 1000
    assert sound._known_frames() < frames
    sound.add(BLOCK_MS + 1.0, 100.0, 62, 70)
    block = sound.next_block()
    assert block is not None and len(block) == frames and np.abs(block).max() > 0


def test_behind_a_piece_its_end_is_heard_first() -> None:
    waltz = read(PROMPTS / "waltz.mid")
    sound = LiveSound.behind(waltz)
    block = sound.next_block()
    assert block is not None and np.abs(block).max() > 0.001
    assert abs(sound._at / SAMPLE_RATE - (waltz.end_ms / 1000 - 4 + 0.25)) < 0.01


def test_a_player_hears_everything_and_its_failure_is_told(tmp_path: Path) -> None:
    target = tmp_path / "heard.wav"
    player = LivePlayer([sys.executable, "-c", RECORDER, str(target)], LiveSound())
    for note in NOTES:
        player.sound.add(*note)
    assert player.close()
    data = bytearray(target.read_bytes())
    data[4:8] = (len(data) - 8).to_bytes(4, "little")
    data[40:44] = (len(data) - 44).to_bytes(4, "little")
    target.write_bytes(data)
    audio, rate = soundfile.read(target)
    assert rate == SAMPLE_RATE and len(audio) / rate > 1.6 and np.abs(audio).max() > 0.01
    broken = LivePlayer([sys.executable, "-c", "raise SystemExit(3)"], LiveSound())
    broken.sound.add(0.0, 50.0, 60, 70)
    assert not broken.close()


def test_generate_plays_what_it_writes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    heard, out = tmp_path / "heard.wav", tmp_path / "out.mid"
    script = tmp_path / "recorder.py"
    script.write_text(RECORDER)
    monkeypatch.setenv("ARIETTA_PLAYER", f"{sys.executable} {script} {heard} -")
    words = f"generate {PROMPTS / 'waltz.mid'} -o {out} --seconds 3 --seed 4 --play"
    assert run(words.split()) == 0
    assert "best of" not in capsys.readouterr().out
    new = read(out).end_ms - read(PROMPTS / "waltz.mid").end_ms
    seconds = (heard.stat().st_size - 44) / 4 / SAMPLE_RATE
    assert seconds > 4 + new / 1000 - 1.0


def test_without_a_player_that_streams_one_line_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ARIETTA_PLAYER", "afplay")
    assert find_stream_player() is None
    out = tmp_path / "out.mid"
    assert run(f"generate -o {out} --seconds 1 --seed 4 --play".split()) == 0
    assert "arietta play" in capsys.readouterr().err and out.exists()
    assert run(f"generate -o {out} --seconds 1 --play --of 4 --force".split()) == 2
    assert "--of" in capsys.readouterr().err


def test_a_player_that_reads_its_input_plays_files_too(tmp_path: Path) -> None:
    sound, heard = tmp_path / "a.wav", tmp_path / "b.wav"
    sound.write_bytes(b"RIFF")
    script = tmp_path / "recorder.py"
    script.write_text(RECORDER)
    assert play_file([sys.executable, str(script), str(heard), "-"], sound)
    assert heard.read_bytes() == b"RIFF"
