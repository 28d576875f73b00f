"""A numpy piano: ``Piece`` -> stereo audio over the bundled bank.

A struck string is a blend of two of three timbres of its key: the soft layer low-passed by one
pole, the soft layer as recorded, and the loud layer. Its level follows ``VELOCITY_DB`` exactly over
its first second, because each key's blends are weighed by the measured power of its own samples;
the level of the loud layer, and so the balance of the keyboard, is the bank's.

Every note sounds as a piano, whatever its program; drums are left out. Dampers fall at key-up, or
at pedal-up where the sustain pedal (64 and above) holds them; the top keys have none. A second
strike on a key ends the first. Una corda, sostenuto and half pedal are not modelled.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from arietta.arrays import Float32Array, FloatArray, IntArray
from arietta.errors import InputError, UsageError
from arietta.midi.notes import DRUM_CHANNEL
from arietta.midi.pedal import pedal_offsets
from arietta.midi.piece import Piece
from arietta.paths import assets_dir
from arietta.sound.bank import PianoBank, Zone

SAMPLE_RATE = 44_100
SAMPLE_RATES = (32_000, 44_100, 48_000, 88_200, 96_000)
PEAK = 10 ** (-1 / 20)  # -1 dBFS
BLOCK_S = 20.0
TAIL_S = 3.0  # longest sound after the last key-up or pedal-up
LONGEST_S = 6 * 3600.0

# Level in dB under velocity 127: FluidSynth 2.3.1 on this bank at C4. Below 10 the slope goes on.
VELOCITY_DB = {
    1: -62.0, 10: -34.6, 20: -25.5, 30: -20.0, 40: -16.2, 50: -13.0, 60: -10.6, 70: -8.8,
    80: -5.7, 90: -4.2, 100: -2.9, 110: -2.1, 120: -0.8, 127: 0.0,
}  # fmt: skip

FIRST_UNDAMPED_KEY = 89
DARK, SOFT, LOUD = 0, 1, 2  # timbres
_DARK_UNTIL, _SOFT_AT, _LOUD_FROM = 15, 78, 110  # velocities of the pure timbres
_LENGTHS_S = (1.5, 2.25, 3.4, 5.0, 7.5, 11.0)  # in which strings are made, and sounding_s
_FADED_PART = 0.25  # the last quarter of the longest string is faded out
_DAMPED_DB = 85.0  # a damper's work is done when it has taken this much
_RESTRIKE_DB_PER_S = 900.0
_CALIBRATED_S = 1.0
_CACHE_BYTES = 256 * 2**20


@dataclass(frozen=True)
class Strikes:
    """What happens to the strings, in frames; every column has one entry a note, by start.

    Attributes:
        key, velocity: (n,).
        start: hammer.
        damp: the damper falls, or the key is struck again.
        end: nothing is heard from here on.
        damp_db_per_s: how fast the damper works; 0 for keys without one.
    """

    key: IntArray
    velocity: IntArray
    start: IntArray
    damp: IntArray
    end: IntArray
    damp_db_per_s: FloatArray

    def __len__(self) -> int:
        return len(self.key)


def schedule(piece: Piece, sample_rate: int = SAMPLE_RATE) -> tuple[Strikes, int]:
    """Turn notes and pedal into strikes and the number of frames that hold them all.

    Raises:
        InputError: the piece lasts longer than ``LONGEST_S``.
    """
    keep = piece.notes.channel != DRUM_CHANNEL
    onset_s = piece.onset_ms[keep] / 1000
    up_s = np.maximum(piece.tempo.ms_at(pedal_offsets(piece)[keep]) / 1000, onset_s)
    key = piece.notes.pitch[keep].astype(np.int64)
    velocity = piece.notes.velocity[keep].astype(np.int64)
    last_s = float(up_s.max()) if len(up_s) else 0.0
    if last_s > LONGEST_S:
        raise InputError(
            f"{piece.source or 'the piece'} lasts {last_s / 3600:.1f} h; sound is made for at most "
            f"{LONGEST_S / 3600:.0f} h"
        )
    order = np.lexsort((key, onset_s))
    onset_s, up_s, key, velocity = onset_s[order], up_s[order], key[order], velocity[order]

    damp_rate = damping_db_per_s(key, velocity)
    again_s = _next_strike(key, onset_s)
    struck_again = again_s <= up_s + _DAMPED_DB / np.maximum(damp_rate, 1e-9)
    # Undamped strings end only when struck again; damped ones may be struck while they die away.
    ends_by_strike = struck_again & ((again_s <= up_s) | (damp_rate == 0))
    damp_s = np.where(ends_by_strike, again_s, up_s)
    damp_rate = np.where(ends_by_strike, _RESTRIKE_DB_PER_S, damp_rate)
    silent_s = damp_s + np.where(damp_rate > 0, _DAMPED_DB / np.maximum(damp_rate, 1e-9), np.inf)
    end_s = np.minimum(np.minimum(silent_s, onset_s + sounding_s(key)), last_s + TAIL_S)

    frames = [np.rint(t * sample_rate).astype(np.int64) for t in (onset_s, damp_s, end_s)]
    start, damp, end = frames
    total = int(end.max()) if len(end) else 0
    return Strikes(key, velocity, start, damp, np.maximum(end, start + 1), damp_rate), total


def damping_db_per_s(key: npt.ArrayLike, velocity: npt.ArrayLike) -> FloatArray:
    """How fast a damper silences a string; fitted to FluidSynth on this bank, within 10 %.

    From 0.85 s for 60 dB on a loud bass string to 0.25 s on a soft treble one; 0 from
    ``FIRST_UNDAMPED_KEY`` on.
    """
    key_, velocity_ = np.asarray(key, np.float64), np.asarray(velocity, np.float64)
    loud = np.interp(key_, (21, 88), (70, 133))
    soft = np.interp(key_, (21, 88), (128, 172))
    rate = loud + (soft - loud) * np.interp(velocity_, (40, 100), (1, 0))
    return np.where(key_ < FIRST_UNDAMPED_KEY, rate, 0.0)


def sounding_s(key: npt.ArrayLike) -> FloatArray:
    """When a string that nobody damps has died away: 20 s in the bass, 3.5 s at the top.

    By then it has fallen by about 80 dB (60 dB in the lowest octaves).
    """
    return np.interp(np.asarray(key, np.float64), (50, 60, 72, 84, 105), (20, 16, 12, 8, 3.5))


def _next_strike(key: IntArray, onset_s: FloatArray) -> FloatArray:
    """When the key of each note is struck again; infinity if never."""
    order = np.argsort(key, kind="stable")
    again = np.full(len(key), np.inf)
    same = key[order][1:] == key[order][:-1]
    again[order[:-1][same]] = onset_s[order[1:][same]]
    return again


@dataclass(frozen=True)
class String:
    """The three timbres of one key: ``samples * scale`` is what the bank holds.

    Attributes:
        samples: (3, 2, n) int16, ``DARK, SOFT, LOUD`` by channel by frame; half the memory of
            float32, and its rounding lies 96 dB under the peak.
        scale: (3,) linear factors.
        power: (3, 3) products of the timbres with each other over their first second.
    """

    samples: npt.NDArray[np.int16]
    scale: FloatArray
    power: FloatArray

    def weights(self, velocity: int) -> FloatArray:
        """How much of each timbre a strike takes: (3,); at most two are not 0."""
        if velocity <= _SOFT_AT:
            # Two copies of one recording: amplitudes add.
            x = min(max((velocity - _DARK_UNTIL) / (_SOFT_AT - _DARK_UNTIL), 0.0), 1.0)
            blend = np.array((1 - x, x, 0.0))
        else:
            # Two recordings: equal power, or the middle would dip.
            x = min((velocity - _SOFT_AT) / (_LOUD_FROM - _SOFT_AT), 1.0)
            blend = np.array((0.0, math.cos(x * math.pi / 2), math.sin(x * math.pi / 2)))
            blend[blend < 1e-9] = 0.0
        wanted_db = np.interp(np.log(velocity), _LOG_VELOCITY, _LEVEL_DB)
        level = float(np.sqrt(self.power[LOUD, LOUD] / (blend @ self.power @ blend)))
        return np.asarray(blend * level * 10 ** (wanted_db / 20))


class Strings:
    """The strings at one sample rate, made on demand and kept within a byte limit.

    Args:
        bank: where the samples come from.
        sample_rate: of the audio to be made.
    """

    def __init__(self, bank: PianoBank, sample_rate: int) -> None:
        self._bank = bank
        self._rate = sample_rate
        self._kept: OrderedDict[tuple[int, int], String] = OrderedDict()
        self._bytes = 0

    def get(self, key: int, frames: int) -> String:
        """Return the string of a key, ``frames`` long or more (up to ``sounding_s``).

        Lengths come in classes, so that what was played before cannot change a sample.
        """
        longest = float(sounding_s(key))
        wanted = next((s for s in _LENGTHS_S if s * self._rate >= frames), longest)
        wanted = min(wanted, longest)
        at = (key, int(wanted * self._rate))
        if at not in self._kept:
            self._kept[at] = self._make(*at)
            self._bytes += self._kept[at].samples.nbytes
            while self._bytes > _CACHE_BYTES and len(self._kept) > 1:
                self._bytes -= self._kept.popitem(last=False)[1].samples.nbytes
        self._kept.move_to_end(at)
        return self._kept[at]

    def _make(self, key: int, frames: int) -> String:
        soft = [
            self._side(zone, key, frames, [dark_pole_hz(key), None])
            for zone in self._bank.pair(self._bank.soft, key)
        ]
        loud = [
            self._side(zone, key, frames, [None]) for zone in self._bank.pair(self._bank.loud, key)
        ]
        audio = np.concatenate([np.stack(soft, axis=1), np.stack(loud, axis=1)])  # (3, 2, n)
        cut = int(float(sounding_s(key)) * self._rate)
        fade_from = int((1 - _FADED_PART) * cut)
        if frames > fade_from:
            fade = np.linspace(1, 0, cut - fade_from, endpoint=False, dtype=np.float32)
            audio[..., fade_from:] *= fade[: frames - fade_from]
        first = audio[..., : int(_CALIBRATED_S * self._rate)].reshape(3, -1)
        power = (first @ first.T).astype(np.float64)
        scale = np.abs(audio).max(axis=(1, 2)) / np.float32(32767)
        samples = np.rint(audio / scale[:, None, None]).astype(np.int16)
        return String(samples, scale.astype(np.float64), power)

    def _side(
        self, zone: Zone, key: int, frames: int, poles_hz: list[float | None]
    ) -> list[Float32Array]:
        """One channel, looped and transposed, low-passed by each of the poles: (frames,) each.

        Transposition is a band-limited resampling through the spectrum, which is also where the
        one-pole filter is applied.
        """
        step = 2 ** ((key - zone.root_key) / 12) * zone.rate / self._rate
        made, taken = _fft_lengths(frames + 512, step)
        source = self._bank.decode(zone, taken)
        loop_start, loop_end = zone.loop
        if taken > loop_end > loop_start:
            loop = source[loop_start:loop_end]
            times = -(-(taken - loop_end) // len(loop))
            source = np.concatenate([source[:loop_end], *[loop] * times])
        x = np.zeros(taken, np.float32)
        n = min(taken, len(source))
        x[:n] = source[:n]
        # What lies beyond the last frame wanted runs out to zero, as the spectrum sees a circle.
        x[-256:] *= np.linspace(1, 0, 256, dtype=np.float32)

        spectrum = np.fft.rfft(x)[: made // 2 + 1]
        spectrum *= np.float32(zone.gain * made / taken)
        hz = np.arange(len(spectrum), dtype=np.float32) * np.float32(self._rate / made)
        hold = int(zone.hold_s * self._rate)
        sides = []
        for pole_hz in poles_hz:
            filtered = spectrum if pole_hz is None else spectrum / (1 + 1j * (hz / pole_hz))
            y = np.fft.irfft(filtered, made)[:frames].astype(np.float32, copy=False)
            if frames > hold:
                t = np.arange(frames - hold, dtype=np.float32)
                y[hold:] *= np.exp(t * np.float32(-_nepers(zone.decay_db_per_s) / self._rate))
            sides.append(y)
        return sides


def dark_pole_hz(key: int) -> float:
    """Corner of the one-pole low-pass that makes the softest timbre of a key."""
    return float(180 + 0.9 * 440 * 2 ** ((key - 69) / 12))


def blocks(
    piece: Piece, sample_rate: int = SAMPLE_RATE, *, strings: Strings | None = None
) -> Iterator[Float32Array]:
    """Yield the piece at the bank's own, low level, in (n, 2) float32 blocks of ``BLOCK_S`` s.

    Memory is bounded by a block, the table of notes and the cache of strings.

    Raises:
        UsageError: a sample rate not in ``SAMPLE_RATES``.
        InputError: the piece is too long.
    """
    if sample_rate not in SAMPLE_RATES:
        rates = ", ".join(str(r) for r in SAMPLE_RATES)
        raise UsageError(f"sample rate {sample_rate}: choose one of {rates}")
    strikes, total = schedule(piece, sample_rate)
    strings = strings or _shared_strings(sample_rate)
    size = int(BLOCK_S * sample_rate)
    longest = _longest(strikes)
    for begin in range(0, total, size):
        frames = min(size, total - begin)
        mix = _mix(strikes, begin, frames, longest, strings, sample_rate)
        yield np.ascontiguousarray(mix.T)


def passage(
    piece: Piece,
    begin: int,
    frames: int,
    sample_rate: int = SAMPLE_RATE,
    *,
    strings: Strings | None = None,
) -> Float32Array:
    """Return some frames of a piece at the bank's own, low level: (frames, 2) float32.

    Args:
        piece: its notes may be those known so far, if none that comes later begins in the passage.
        begin: first frame, from tick 0.
        frames: how many.
        sample_rate: one of ``SAMPLE_RATES``.
        strings: where timbres are kept.
    """
    strikes, _ = schedule(piece, sample_rate)
    strings = strings or _shared_strings(sample_rate)
    return np.ascontiguousarray(
        _mix(strikes, begin, frames, _longest(strikes), strings, sample_rate).T
    )


def _longest(strikes: Strikes) -> IntArray:
    """Return (128,) frames that the longest strike of each key sounds: a timbre is made once."""
    longest = np.zeros(128, np.int64)
    np.maximum.at(longest, strikes.key, strikes.end - strikes.start)
    return longest


def _mix(
    strikes: Strikes,
    begin: int,
    frames: int,
    longest: IntArray,
    strings: Strings,
    sample_rate: int,
) -> Float32Array:
    """Return (2, frames) of what sounds from a frame on; ``longest`` (128,) frames of each key."""
    mix = np.zeros((2, frames), np.float32)
    active = np.flatnonzero((strikes.start < begin + frames) & (strikes.end > begin))
    active = active[np.argsort(strikes.key[active], kind="stable")]
    edges = np.flatnonzero(np.diff(strikes.key[active], prepend=-1, append=-1))
    for low, high in pairwise(edges):
        rows = active[low:high]
        most = int(longest[strikes.key[rows[0]]])
        _add_key(mix, begin, strikes, rows, most, strings, sample_rate)
    return mix


def render(piece: Piece, sample_rate: int = SAMPLE_RATE) -> Float32Array:
    """Return the piece as (frames, 2) float32 with its peak at -1 dBFS; (0, 2) without notes.

    Time 0 is tick 0. The whole result is held in memory (21 MB a minute);
    ``arietta.sound.files.write_piece`` writes a file without doing so.

    Raises:
        UsageError, InputError: see ``blocks``.
    """
    parts = list(blocks(piece, sample_rate))
    if not parts:
        return np.zeros((0, 2), np.float32)
    audio = np.concatenate(parts)
    audio *= gain_for(float(np.abs(audio).max()))
    return audio


def gain_for(peak: float) -> np.float32:
    """Return the factor that brings a peak to -1 dBFS; silence stays silence."""
    return np.float32(PEAK / peak if peak > 0 else 1.0)


def _add_key(
    mix: Float32Array,
    begin: int,
    strikes: Strikes,
    rows: npt.NDArray[Any],
    longest: int,
    strings: Strings,
    sample_rate: int,
) -> None:
    """Add the strikes of one key that sound in a block that starts at frame ``begin``."""
    stop = begin + mix.shape[1]
    key = int(strikes.key[rows[0]])
    string = strings.get(key, longest)
    for row in rows.tolist():
        start, damp = int(strikes.start[row]), int(strikes.damp[row])
        first, last = max(begin, start), min(stop, int(strikes.end[row]))
        voice = np.zeros((2, last - first), np.float32)
        factors = string.weights(int(strikes.velocity[row])) * string.scale
        for timbre, factor in zip(string.samples, factors.tolist(), strict=True):
            if factor:
                part = timbre[:, first - start : last - start]
                voice[:, : part.shape[1]] += part * np.float32(factor)
        if last > damp:
            from_ = max(damp, first)
            rate = _nepers(float(strikes.damp_db_per_s[row])) / sample_rate
            t = np.arange(from_ - damp, last - damp, dtype=np.float32)
            voice[:, from_ - first :] *= np.exp(t * np.float32(-rate))
        mix[:, first - begin : last - begin] += voice


def _nepers(db: float) -> float:
    return db * math.log(10) / 20


def _fft_lengths(frames: int, step: float) -> tuple[int, int]:
    """(made, taken): made >= frames, both fast to transform, their ratio half a cent from step."""
    smooth = _smooth_numbers()
    at = int(np.searchsorted(smooth, frames))
    while True:
        made = int(smooth[at])
        near = int(np.searchsorted(smooth, made * step))
        for taken in smooth[max(near - 1, 0) : near + 1]:
            if abs(taken / (made * step) - 1) < 3e-4:
                return made, int(taken)
        at += 1


@lru_cache(maxsize=1)
def _smooth_numbers() -> IntArray:
    """Ascending numbers up to 8 million with no prime factor above 11: fast FFT lengths."""
    found = np.ones(1, np.int64)
    for prime in (2, 3, 5, 7, 11):
        powers = prime ** np.arange(int(np.log(8e6) / np.log(prime)) + 1, dtype=np.int64)
        grid = np.outer(found, powers).reshape(-1)
        found = grid[grid <= 8_000_000]
    return np.sort(found)


@lru_cache(maxsize=1)
def _shared_strings(sample_rate: int) -> Strings:
    return Strings(PianoBank(assets_dir() / "piano.sf3"), sample_rate)


_LOG_VELOCITY = np.log(list(VELOCITY_DB))
_LEVEL_DB = np.array(list(VELOCITY_DB.values()))
