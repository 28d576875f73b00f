"""Sound while the music is still being decided: notes in, a running player out.

Notes come in the order of their onsets, as a stream gives them. What lies before the latest onset
is known, so it can be sounded; a thread does so and feeds the player, at whose pace it waits.
"""

from __future__ import annotations

import struct
import subprocess
import threading
from collections.abc import Sequence
from typing import IO, Protocol

import numpy as np

from arietta.arrays import Float32Array
from arietta.midi.notes import DRUM_CHANNEL
from arietta.midi.pedal import pedal_offsets
from arietta.midi.piece import Piece
from arietta.sound.sampler import PEAK, SAMPLE_RATE, TAIL_S, passage

BLOCK_MS = 250
GAIN = 1.8
"""From the bank's level: loud passages of the included prompts then peak near -1 dBFS."""
HEARD_MS = 4_000.0
"""What is heard of a prompt's end before the new music."""
_KNEE = 0.6
_ENDLESS = 0xFFFFFFFF


class Note(Protocol):
    """A note of a stream; see ``arietta.generation.engine.StreamedNote``."""

    @property
    def variation(self) -> int:
        """Which of several it belongs to."""

    @property
    def onset_ms(self) -> int:
        """When it begins."""

    @property
    def duration_ms(self) -> int:
        """How long it sounds."""

    @property
    def pitch(self) -> int:
        """MIDI pitch."""

    @property
    def velocity(self) -> int:
        """1..127."""


class LiveSound:
    """Notes that are sounded as they become known.

    Args:
        begin_ms: where the sound begins; earlier notes are heard with what is left of them.
        known: onset_ms, duration_ms, pitch, velocity of notes that stand in front, each (n,).
    """

    def __init__(
        self, begin_ms: float = 0.0, known: Sequence[Sequence[float]] = ((), (), (), ())
    ) -> None:
        self._rows: list[tuple[float, float, int, int]] = [
            (float(a), float(d), int(p), int(v)) for a, d, p, v in zip(*known, strict=True)
        ]
        self._horizon_ms = max((row[0] for row in self._rows), default=begin_ms)
        self._at = round(begin_ms / 1000 * SAMPLE_RATE)
        self._done = False
        self._changed = threading.Condition()

    @classmethod
    def behind(cls, prompt: Piece | None) -> LiveSound:
        """Return the sound of what comes behind a piece, from shortly before its end on."""
        if prompt is None or not len(prompt):
            return cls()
        begin_ms = max(prompt.end_ms - HEARD_MS, 0.0)
        offset_ms = prompt.tempo.ms_at(pedal_offsets(prompt))
        heard = (prompt.notes.channel != DRUM_CHANNEL) & (prompt.onset_ms >= begin_ms)
        onset = prompt.onset_ms[heard]
        length = np.minimum(offset_ms[heard], prompt.end_ms) - onset
        notes = prompt.notes
        known = (onset, np.maximum(length, 10.0), notes.pitch[heard], notes.velocity[heard])
        return cls(begin_ms, [column.tolist() for column in known])

    def take(self, note: Note) -> None:
        """Add a note of a stream, if it is one of the first variation."""
        if note.variation == 0:
            self.add(note.onset_ms, note.duration_ms, note.pitch, note.velocity)

    def add(self, onset_ms: float, duration_ms: float, pitch: int, velocity: int) -> None:
        """Add a note; no later one begins before it."""
        with self._changed:
            self._rows.append((onset_ms, duration_ms, pitch, velocity))
            self._horizon_ms = max(self._horizon_ms, onset_ms)
            self._changed.notify()

    def finish(self) -> None:
        """Say that no more notes come."""
        with self._changed:
            self._done = True
            self._changed.notify()

    def next_block(self) -> Float32Array | None:
        """Return the next (n, 2) frames within -1..1 once they are known; None at the end."""
        frames = BLOCK_MS * SAMPLE_RATE // 1000
        with self._changed:
            while not self._done and self._known_frames() < self._at + frames:
                self._changed.wait()
            rows = np.array(self._rows).reshape(-1, 4)
        piece = Piece.from_ms(*rows.T[:2], *rows.T[2:].astype(np.int64))
        if self._done and self._at >= (piece.end_ms / 1000 + TAIL_S) * SAMPLE_RATE:
            return None
        block = passage(piece, self._at, frames) * np.float32(GAIN)
        self._at += frames
        return _limited(block)

    def _known_frames(self) -> float:
        return self._horizon_ms / 1000 * SAMPLE_RATE


class LivePlayer:
    """A running player that is fed with a live sound.

    Args:
        command: reads a WAV file from its standard input.
        sound: what to play.
    """

    def __init__(self, command: Sequence[str], sound: LiveSound) -> None:
        self.sound = sound
        self._process = subprocess.Popen(list(command), stdin=subprocess.PIPE)
        self._thread = threading.Thread(target=self._feed, daemon=True)
        self._thread.start()

    def close(self) -> bool:
        """Wait until everything was heard; False if the player failed.

        Ctrl-C stops the player.
        """
        self.sound.finish()
        try:
            self._thread.join()
            return self._process.wait() == 0
        except KeyboardInterrupt:
            self.stop()
            return True

    def stop(self) -> None:
        """Stop at once."""
        self._process.terminate()
        self.sound.finish()
        self._process.wait()

    def _feed(self) -> None:
        assert self._process.stdin is not None
        try:
            with self._process.stdin as out:
                write_header(out)
                while (block := self.sound.next_block()) is not None:
                    out.write(np.rint(block * 32767).astype("<i2").tobytes())
        except OSError:
            pass  # The player has gone; its exit status tells.


def _limited(audio: Float32Array) -> Float32Array:
    """Round off what is too loud: nobody knows yet how loud the rest will be."""
    over = np.abs(audio) - np.float32(_KNEE)
    room = np.float32(PEAK - _KNEE)
    round_ = np.sign(audio) * (np.float32(_KNEE) + room * np.tanh(over / room))
    return np.where(over > 0, round_, audio).astype(np.float32)


def write_header(out: IO[bytes]) -> None:
    """Write the header of a WAV file of unknown length: 16 bits, stereo."""
    layout = struct.pack("<HHIIHH", 1, 2, SAMPLE_RATE, SAMPLE_RATE * 4, 4, 16)
    out.write(b"RIFF" + struct.pack("<I", _ENDLESS) + b"WAVEfmt " + struct.pack("<I", 16) + layout)
    out.write(b"data" + struct.pack("<I", _ENDLESS))
