from __future__ import annotations

import io
import signal
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arietta.arrays import Float32Array
from arietta.errors import InputError, UsageError
from arietta.midi.notes import note_table
from arietta.midi.piece import Piece
from arietta.midi.reader import read
from arietta.midi.tempo import TempoMap
from arietta.sound import bank, sampler
from arietta.sound.bank import PianoBank
from arietta.sound.sampler import SAMPLE_RATE, blocks, render

# FluidSynth on this bank at C4, dB under velocity 127.
TARGET = {
    10: -34.6, 20: -25.5, 30: -20.0, 40: -16.2, 50: -13.0, 60: -10.6, 70: -8.8,
    80: -5.7, 90: -4.2, 100: -2.9, 110: -2.1, 120: -0.8,
}  # fmt: skip


def piece(
    notes: list[tuple[float, float, int, int]], pedal: list[tuple[float, int]] | None = None
) -> Piece:
    onset, duration, pitch, velocity = zip(*notes, strict=True)
    pedal = pedal or []
    return Piece.from_ms(
        onset,
        duration,
        pitch,
        velocity,
        pedal_time_ms=[t for t, _ in pedal],
        pedal_value=[v for _, v in pedal],
    )


def raw(p: Piece) -> Float32Array:
    return np.concatenate(list(blocks(p)))


def level_db(audio: Float32Array, start_s: float, end_s: float) -> float:
    part = audio[int(start_s * SAMPLE_RATE) : int(end_s * SAMPLE_RATE)].astype(np.float64)
    return float(10 * np.log10(np.mean(part**2) + 1e-20))


def levels(key: int, velocities: list[int]) -> dict[int, float]:
    notes = [(4000.0 * i, 1500.0, key, v) for i, v in enumerate(velocities)]
    audio = raw(piece(notes))
    return {v: level_db(audio, 4 * i, 4 * i + 1) for i, v in enumerate(velocities)}


def test_velocity_law_at_middle_c() -> None:
    measured = levels(60, [*TARGET, 127])
    for velocity, wanted in TARGET.items():
        assert abs(measured[velocity] - measured[127] - wanted) < 3.0, velocity


@pytest.mark.parametrize("key", [24, 36, 60, 84, 100])
def test_louder_keys_sound_louder(key: int) -> None:
    measured = list(levels(key, list(range(1, 128, 7))).values())
    assert all(a < b for a, b in pairwise(measured))


def test_no_key_is_silent() -> None:
    notes = [(600.0 * (key - 21), 500.0, key, 64) for key in range(21, 109)]
    audio = raw(piece(notes))
    heard = [level_db(audio, 0.6 * i, 0.6 * i + 0.3) for i in range(88)]
    assert min(heard) > -70
    assert max(heard) - min(heard) < 30


@pytest.mark.parametrize("name", ["waltz", "pokey_jazz"])
def test_render_of_real_music(prompts_dir: Path, name: str) -> None:
    p = read(prompts_dir / f"{name}.mid")
    audio = render(p)
    assert audio.dtype == np.float32 and audio.shape[1] == 2
    assert np.isfinite(audio).all()
    assert np.abs(audio).max() == pytest.approx(10 ** (-1 / 20), abs=1e-4)
    assert p.end_ms / 1000 - 1 < len(audio) / SAMPLE_RATE < p.end_ms / 1000 + 8
    assert not np.array_equal(audio[:, 0], audio[:, 1])


def test_same_piece_same_samples_whatever_was_played_before(prompts_dir: Path) -> None:
    p = read(prompts_dir / "waltz.mid")
    raw(piece([(0, 8000, key, 90) for key in range(40, 80)]))
    fresh = sampler.Strings(PianoBank(sampler.assets_dir() / "piano.sf3"), SAMPLE_RATE)
    assert np.array_equal(raw(p), np.concatenate(list(blocks(p, strings=fresh))))


def test_blocks_do_not_show(monkeypatch: pytest.MonkeyPatch, prompts_dir: Path) -> None:
    p = read(prompts_dir / "waltz.mid")
    whole = raw(p)
    monkeypatch.setattr(sampler, "BLOCK_S", 0.73)
    parts = raw(p)
    assert np.abs(whole - parts).max() < 1e-6


def test_key_up_damps() -> None:
    held = raw(piece([(0, 4000, 48, 90)]))
    short = raw(piece([(0, 1000, 48, 90), (4000, 10, 100, 1)]))
    assert abs(level_db(held, 0.2, 0.9) - level_db(short, 0.2, 0.9)) < 0.01
    assert level_db(short, 1.5, 1.7) < level_db(held, 1.5, 1.7) - 40


def test_top_keys_have_no_dampers() -> None:
    held = raw(piece([(0, 2000, 96, 90)]))
    short = raw(piece([(0, 100, 96, 90)]))
    assert level_db(short, 0.3, 0.5) == pytest.approx(level_db(held, 0.3, 0.5), abs=0.1)


def test_pedal_sustains_until_it_comes_up() -> None:
    dry = raw(piece([(0, 300, 60, 90), (5000, 10, 100, 1)]))
    wet = raw(piece([(0, 300, 60, 90), (5000, 10, 100, 1)], [(100, 127), (3000, 0)]))
    assert level_db(wet, 2.5, 2.9) > level_db(dry, 2.5, 2.9) + 40
    assert level_db(wet, 3.6, 3.9) < level_db(wet, 2.5, 2.9) - 40


def test_a_second_strike_ends_the_first() -> None:
    once = raw(piece([(0, 3000, 60, 120)], [(0, 127), (4000, 0)]))
    twice = raw(piece([(0, 300, 60, 120), (1000, 2000, 60, 10)], [(0, 127), (4000, 0)]))
    assert level_db(twice, 1.2, 1.5) < level_db(once, 1.2, 1.5) - 3


def test_long_bass_note_dies_away_without_a_step() -> None:
    audio = raw(piece([(0, 30_000, 30, 100)]))
    heard = [level_db(audio, t, t + 1) for t in range(19)]
    assert all(b < a + 3 for a, b in pairwise(heard))
    assert heard[12] > heard[0] - 60
    assert len(audio) / SAMPLE_RATE <= 20.01


def test_drums_are_left_out_and_no_notes_is_no_sound() -> None:
    notes = note_table([0, 0], [500, 500], [60, 36], [90, 90], [0, 9])
    both = Piece(TempoMap.constant(), notes)
    alone = piece([(0, 500, 60, 90)])
    assert np.array_equal(raw(both), raw(alone))
    assert render(Piece(TempoMap.constant(), note_table([], [], [], []))).shape == (0, 2)


def test_other_sample_rates_play_the_same_pitch() -> None:
    p = piece([(0, 1000, 69, 90)])
    for rate in (32_000, 44_100, 48_000, 96_000):
        audio = render(p, rate)[: rate // 2, 0]
        spectrum = np.abs(np.fft.rfft(audio * np.hanning(len(audio)), 1 << 19))
        hz = float(np.argmax(spectrum)) * rate / (1 << 19)
        assert abs(1200 * np.log2(hz / 440)) < 12


@pytest.mark.parametrize("rate", [0, 8000, 44_101])
def test_odd_sample_rates_are_refused(rate: int) -> None:
    with pytest.raises(UsageError, match="choose one of"):
        render(piece([(0, 100, 60, 64)]), rate)


def test_endless_pieces_are_refused() -> None:
    with pytest.raises(InputError, match="at most 6 h"):
        render(piece([(0, 100, 60, 64), (9e7, 100, 60, 64)]))


def test_a_file_that_is_no_bank(tmp_path: Path, prompts_dir: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        PianoBank(tmp_path / "none.sf3")
    with pytest.raises(InputError, match="not a SoundFont"):
        PianoBank(prompts_dir / "waltz.mid")


@settings(max_examples=25)
@given(
    st.lists(
        st.tuples(
            st.integers(0, 3000), st.integers(0, 3000), st.integers(0, 127), st.integers(1, 127)
        ),
        min_size=1,
        max_size=12,
    ),
    st.lists(st.tuples(st.integers(0, 4000), st.integers(0, 127)), max_size=6),
)
def test_any_notes_give_sane_sound(
    notes: list[tuple[int, int, int, int]], pedal: list[tuple[int, int]]
) -> None:
    audio = render(piece([(float(a), float(b), c, d) for a, b, c, d in notes], pedal))
    assert np.isfinite(audio).all()
    assert np.abs(audio).max() == pytest.approx(10 ** (-1 / 20), abs=1e-4)


def test_an_interrupt_while_a_sample_is_decoded_is_raised_and_spoils_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Interrupting(io.BytesIO):
        """What libsndfile reads from; the third block comes with a Ctrl-C."""

        blocks = 0

        def readinto(self, buffer: Any, /) -> int:
            Interrupting.blocks += 1
            if Interrupting.blocks == 3:
                signal.raise_signal(signal.SIGINT)
            return super().readinto(buffer)

    path = sampler.assets_dir() / "piano.sf3"
    interrupted = sampler.Strings(PianoBank(path), SAMPLE_RATE)
    monkeypatch.setattr(bank.io, "BytesIO", Interrupting)
    # A background job ignores it.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            interrupted.get(60, 1000)
    finally:
        signal.signal(signal.SIGINT, before)
    assert Interrupting.blocks >= 3
    whole = sampler.Strings(PianoBank(path), SAMPLE_RATE).get(60, 1000)
    assert np.array_equal(interrupted.get(60, 1000).samples, whole.samples)
