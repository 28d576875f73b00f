"""What was really heard, of both players: the context of every answer."""

from __future__ import annotations

from bisect import insort
from collections.abc import Iterable

from arietta.realtime.plans import HeardNote, PlannedNote

LONGEST_SILENCE_MS = 10_000.0
"""A silence between two notes counts as at most this long in the time of the music."""

_MOST_NOTES, _KEPT_NOTES = 1_600, 800
_PULSE_NOTES = 96


class Transcript:
    """Notes of both players in the time of the music: the session's, long silences left out.

    It keeps the last notes only, so that it does not grow with the length of a session.
    """

    def __init__(self) -> None:
        self._notes: list[HeardNote] = []
        self._serial = 0
        self._skipped_ms = 0.0
        self._latest_ms: float | None = None
        self._held: dict[int, int] = {}
        self._pedalled: dict[int, list[int]] = {}
        self.pedal_down = False

    @property
    def skipped_ms(self) -> float:
        """How far the time of the music lies behind that of the session."""
        return self._skipped_ms

    @property
    def notes(self) -> tuple[HeardNote, ...]:
        """What was heard, by onset."""
        return tuple(self._notes)

    @property
    def your_last_onsets(self) -> list[float]:
        """Onsets of your last notes, in the time of the music."""
        return [note.onset_ms for note in self._notes[-_PULSE_NOTES:] if note.yours]

    @property
    def held_keys(self) -> tuple[int, ...]:
        """Keys that you hold."""
        return tuple(self._held)

    @property
    def quiet(self) -> bool:
        """Whether your keys and pedal are up."""
        return not self._held and not self.pedal_down

    def press(self, at_ms: float, pitch: int, velocity: int) -> None:
        """Take a key of yours that goes down; one that is down already is struck anew."""
        self._release(at_ms, pitch)
        self._sound_ends(at_ms, self._pedalled.pop(pitch, []))
        self._skip_silence(at_ms)
        self._held[pitch] = self._add(at_ms, None, pitch, velocity, yours=True)

    def lift(self, at_ms: float, pitch: int) -> bool:
        """Take a key of yours that comes up; return whether it was down."""
        if pitch not in self._held:
            return False
        self._release(at_ms, pitch)
        self._latest_ms = max(self._latest_ms or 0.0, at_ms)
        return True

    def pedal(self, at_ms: float, down: bool) -> None:
        """Take a movement of your pedal to the other side."""
        self.pedal_down = down
        if not down:
            for serials in self._pedalled.values():
                self._sound_ends(at_ms, serials)
            self._pedalled.clear()
            if self._latest_ms is not None:
                self._latest_ms = max(self._latest_ms, at_ms)

    def add_answer(self, notes: Iterable[PlannedNote], until_ms: float) -> None:
        """Take what was heard of an answer: what began before a time, as far as it sounded."""
        for note in notes:
            if note.onset_ms < until_ms:
                end = min(note.end_ms, until_ms)
                self._add(note.onset_ms, end, note.pitch, note.velocity, yours=False)

    def with_plan(self, notes: Iterable[PlannedNote]) -> tuple[HeardNote, ...]:
        """Return what was heard together with notes that are still to come."""
        coming = [
            HeardNote(
                self._serial + i,
                note.onset_ms - self._skipped_ms,
                note.end_ms - self._skipped_ms,
                note.pitch,
                note.velocity,
                False,
            )
            for i, note in enumerate(notes)
        ]
        return tuple(sorted([*self._notes, *coming], key=_by_onset))

    def _add(
        self, at_ms: float, end_ms: float | None, pitch: int, velocity: int, *, yours: bool
    ) -> int:
        serial, self._serial = self._serial, self._serial + 1
        skipped = self._skipped_ms
        end = None if end_ms is None else end_ms - skipped
        insort(
            self._notes,
            HeardNote(serial, at_ms - skipped, end, pitch, velocity, yours),
            key=_by_onset,
        )
        self._latest_ms = max(self._latest_ms or 0.0, at_ms if end_ms is None else end_ms)
        if len(self._notes) > _MOST_NOTES:
            self._forget()
        return serial

    def _forget(self) -> None:
        """Drop the oldest notes; those that still sound end where they are dropped."""
        del self._notes[:-_KEPT_NOTES]

    def _release(self, at_ms: float, pitch: int) -> None:
        serial = self._held.pop(pitch, None)
        if serial is None:
            return
        if self.pedal_down:
            self._pedalled.setdefault(pitch, []).append(serial)
        else:
            self._sound_ends(at_ms, [serial])

    def _sound_ends(self, at_ms: float, serials: list[int]) -> None:
        left = set(serials)
        for i in range(len(self._notes) - 1, -1, -1):
            if not left:
                break
            note = self._notes[i]
            if note.serial in left:
                left.discard(note.serial)
                end = max(at_ms - self._skipped_ms, note.onset_ms + 1.0)
                self._notes[i] = note._replace(end_ms=end)

    def _skip_silence(self, at_ms: float) -> None:
        if self._latest_ms is None or not self.quiet:
            return
        silence = at_ms - self._latest_ms
        if silence > LONGEST_SILENCE_MS:
            self._skipped_ms += silence - LONGEST_SILENCE_MS


def _by_onset(note: HeardNote) -> tuple[float, int]:
    return note.onset_ms, note.serial
