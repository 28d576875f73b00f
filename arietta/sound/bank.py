"""Reader for the bundled piano bank: a SoundFont 3 file (RIFF ``sfbk`` with Ogg Vorbis samples).

Only what a sampled piano needs is read: which sample sounds on which key in a soft and in a loud
layer, its tuning, level, side and loop. Filters, modulators and velocity laws of the bank are left
out on purpose: the sampler has its own, calibrated on the samples themselves.

SoundFont 2.04 specification, with two differences of version 3: ``start`` and ``end`` of a sample
header are byte offsets of an Ogg stream, and loop points count frames from the sample's first.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from arietta.arrays import Float32Array
from arietta.errors import InputError
from arietta.sound.uninterrupted import uninterrupted

# Velocities that reach the two dynamic layers (MF and FF) of the bundled bank.
SOFT_VELOCITY, LOUD_VELOCITY = 60, 127

# Generator numbers of the specification, section 8.1.2.
_PAN, _HOLD, _DECAY, _INSTRUMENT, _KEYS, _VELOCITIES = 17, 35, 36, 41, 43, 44
_ATTENUATION, _COARSE, _FINE, _SAMPLE, _ROOT = 48, 51, 52, 53, 58
# Generators a preset adds to those of its instrument.
_ADDED = (_PAN, _HOLD, _DECAY, _ATTENUATION, _COARSE, _FINE)
# Creative's hardware took initialAttenuation as 0.4 of what the specification says; banks are
# made by ear on synthesisers that do the same.
_ATTENUATION_SCALE = 0.4


@dataclass(frozen=True)
class Zone:
    """One sample on a range of keys.

    Attributes:
        name: as the bank has it.
        low_key, high_key: MIDI keys it sounds on, both included.
        root_key: the key at which it plays at its own rate, fractions are cents.
        side: -1 left, +1 right.
        gain: linear factor.
        rate: frames per second of the sample.
        loop: first and last + 1 frame of the loop.
        hold_s: seconds from the start until the level begins to fall (about the loop's start).
        decay_db_per_s: how fast it falls then.
        span: byte range of the Ogg stream in the file.
    """

    name: str
    low_key: int
    high_key: int
    root_key: float
    side: int
    gain: float
    rate: int
    loop: tuple[int, int]
    hold_s: float
    decay_db_per_s: float
    span: tuple[int, int]


class PianoBank:
    """The first preset of a SoundFont 3 file as a soft and a loud layer; samples decode lazily.

    Raises:
        InputError: the file is missing or is no such bank.
    """

    def __init__(self, path: Path) -> None:
        try:
            self._data = path.read_bytes()
        except OSError as error:
            raise InputError(f"{path}: the piano bank cannot be read: {error.strerror}") from error
        try:
            self._chunks = dict(_walk(self._data))
            self.soft = self._layer(SOFT_VELOCITY)
            self.loud = self._layer(LOUD_VELOCITY)
        except (KeyError, IndexError, struct.error) as error:
            raise InputError(f"{path}: not a SoundFont 3 piano bank") from error

    def pair(self, layer: tuple[Zone, ...], key: int) -> tuple[Zone, Zone]:
        """Return the left and the right zone of a key; a mono zone serves as both.

        Keys beyond the bank take its outermost zones.
        """
        key = min(max(key, min(z.low_key for z in layer)), max(z.high_key for z in layer))
        zones = [z for z in layer if z.low_key <= key <= z.high_key]
        left = next((z for z in zones if z.side < 0), zones[0])
        right = next((z for z in zones if z.side > 0), zones[0])
        return left, right

    def decode(self, zone: Zone, frames: int) -> Float32Array:
        """Return the first ``frames`` frames of a zone's sample: (n,) float32, n <= frames."""
        import soundfile

        start, end = zone.span

        def read() -> Float32Array:
            with soundfile.SoundFile(io.BytesIO(self._data[start:end])) as stream:
                audio: Float32Array = stream.read(frames, dtype="float32", always_2d=True)[:, 0]
            return audio

        return uninterrupted(read)

    def _records(self, name: bytes, layout: str) -> list[tuple[int, ...]]:
        start, end = self._chunks[name]
        return list(struct.iter_unpack(layout, self._data[start:end]))

    def _name(self, at: int) -> str:
        return self._data[at : at + 20].rstrip(b"\0").decode("latin-1")

    def _layer(self, velocity: int) -> tuple[Zone, ...]:
        """Every zone that sounds at a velocity, one per sample."""
        preset_generators = self._records(b"pgen", "<Hh")
        preset_bags = self._records(b"pbag", "<HH")
        instruments = self._records(b"inst", "<20xH")
        bags = self._records(b"ibag", "<HH")
        generators = self._records(b"igen", "<Hh")
        headers = self._records(b"shdr", "<20xIIIIIBbHH")
        name_at = self._chunks[b"shdr"][0]
        base = self._chunks[b"smpl"][0]

        found: dict[int, Zone] = {}
        first, last = (bag for _, _, bag in self._records(b"phdr", "<20xHHH12x")[:2])
        for preset in _zones(preset_generators, preset_bags, first, last, _INSTRUMENT):
            low_velocity, high_velocity = _range(preset, _VELOCITIES)
            if not low_velocity <= velocity <= high_velocity:
                continue
            at = preset[_INSTRUMENT]
            begin, end = instruments[at][0], instruments[at + 1][0]
            for zone in _zones(generators, bags, begin, end, _SAMPLE):
                number = zone[_SAMPLE]
                low, high = _range(zone, _KEYS)
                preset_low, preset_high = _range(preset, _KEYS)
                low, high = max(low, preset_low), min(high, preset_high)
                if low > high:
                    continue
                if number in found:  # split over several preset zones: take the whole
                    low = min(low, found[number].low_key)
                    high = max(high, found[number].high_key)
                value = {g: zone.get(g, 0) + preset.get(g, 0) for g in _ADDED}
                start, stop, loop_start, loop_end, rate, root, cents, _, kind = headers[number]
                root = zone.get(_ROOT, root)
                tuning = cents + value[_FINE] + 100 * value[_COARSE]
                found[number] = Zone(
                    name=self._name(name_at + 46 * number),
                    low_key=low,
                    high_key=high,
                    root_key=root - tuning / 100,
                    side=-1 if kind & 4 else 1 if kind & 2 else 0,
                    gain=10 ** (-_ATTENUATION_SCALE * value[_ATTENUATION] / 200),
                    rate=rate,
                    loop=(loop_start, loop_end),
                    hold_s=2 ** (value[_HOLD] / 1200),
                    decay_db_per_s=100 / 2 ** (value[_DECAY] / 1200),
                    span=(base + start, base + stop),
                )
        if not found:
            raise KeyError(velocity)
        return tuple(sorted(found.values(), key=lambda z: (z.low_key, z.side)))


def _walk(data: bytes) -> Iterator[tuple[bytes, tuple[int, int]]]:
    """(id, (start, end)) of every leaf chunk of a RIFF file with lists one level deep."""
    if data[:4] != b"RIFF" or data[8:12] != b"sfbk":
        raise KeyError("sfbk")
    stack = [(12, len(data))]
    while stack:
        at, end = stack.pop()
        while at + 8 <= end:
            name = data[at : at + 4]
            (size,) = struct.unpack_from("<I", data, at + 4)
            body = (at + 8, min(at + 8 + size, end))
            if name == b"LIST":
                stack.append((body[0] + 4, body[1]))
            else:
                yield name, body
            at += 8 + size + (size & 1)


def _zones(
    generators: list[tuple[int, ...]],
    bags: list[tuple[int, ...]],
    first: int,
    last: int,
    target: int,
) -> Iterator[dict[int, int]]:
    """Yield generator -> amount of bags first..last-1, the values of the global bag filled in."""
    common: dict[int, int] = {}
    for i in range(first, last):
        pairs = generators[bags[i][0] : bags[i + 1][0]]
        zone = {pair[0]: pair[1] for pair in pairs}
        if target in zone:
            yield {**common, **zone}
        elif i == first:
            common = zone


def _range(zone: dict[int, int], generator: int) -> tuple[int, int]:
    """Low and high byte of a range generator; everything where it is absent."""
    amount = zone.get(generator, 0x7F00)
    return amount & 0xFF, (amount >> 8) & 0xFF
