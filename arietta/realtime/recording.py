"""A duet as a piece, both players on tracks of their own."""

from __future__ import annotations

import numpy as np

from arietta.midi.events import META_NAME
from arietta.midi.notes import ExtraTable, MessageList, note_table, pedal_table, program_table
from arietta.midi.piece import Piece
from arietta.midi.tempo import TempoMap
from arietta.realtime.scheduler import SUSTAIN, Message

YOU, ARIETTA = 0, 1
NAMES = ("You", "Arietta")
CHANNELS = (0, 1)


class Recording:
    """Takes the MIDI messages of both players; ``piece`` gives what was played so far."""

    def __init__(self) -> None:
        self._notes: list[tuple[float, float, int, int, int]] = []
        self._open: dict[tuple[int, int], tuple[float, int]] = {}
        self._pedals: list[tuple[float, int, int]] = []
        self._latest = 0.0

    def note(self, player: int, at_ms: float, pitch: int, velocity: int) -> None:
        """Take a key of a player: velocity 0 for one that comes up."""
        self._latest = max(self._latest, at_ms)
        began = self._open.pop((player, pitch), None)
        if began is not None:
            self._notes.append((began[0], at_ms, pitch, began[1], player))
        if velocity:
            self._open[player, pitch] = (at_ms, velocity)

    def pedal(self, player: int, at_ms: float, value: int) -> None:
        """Take a position of a player's sustain pedal."""
        self._latest = max(self._latest, at_ms)
        self._pedals.append((at_ms, value, player))

    def sent(self, message: Message, at_ms: float) -> None:
        """Take a message that was sent to the instrument."""
        status, first, second = message.data
        if status & 0xF0 == 0xB0:
            if first == SUSTAIN:
                self.pedal(ARIETTA, at_ms, second)
        else:
            self.note(ARIETTA, at_ms, first, second if message.is_on else 0)

    def piece(self) -> Piece:
        """Return what was played; keys that are still down end with the last thing heard."""
        rows = [
            *self._notes,
            *((on, self._latest, p, v, who) for (who, p), (on, v) in self._open.items()),
        ]
        rows.sort(key=lambda row: row[0])
        onset = np.rint([row[0] for row in rows]).astype(np.int64)
        end = np.rint([row[1] for row in rows]).astype(np.int64)
        player = np.array([row[4] for row in rows], np.int32)
        notes = note_table(
            onset,
            np.maximum(end, onset + 1),
            [row[2] for row in rows],
            [row[3] for row in rows],
            np.take(CHANNELS, player),
            player,
        )
        moves = sorted(self._pedals)
        who = np.array([move[2] for move in moves], np.int32)
        pedals = pedal_table(
            np.rint([move[0] for move in moves]).astype(np.int64),
            [move[1] for move in moves],
            np.take(CHANNELS, who),
            who,
        )
        head = bytes((0xFF, META_NAME))
        names = ExtraTable(
            np.zeros(len(NAMES), np.int64),
            np.arange(len(NAMES), dtype=np.int32),
            MessageList.pack(head + name.encode() for name in NAMES),
        )
        return Piece(
            TempoMap.constant(),
            notes,
            pedals,
            program_table([0, 0], [0, 0], CHANNELS, [YOU, ARIETTA]),
            names,
        )

    def __len__(self) -> int:
        """Return the number of notes that have ended."""
        return len(self._notes)
