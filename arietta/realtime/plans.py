"""What a duet says to those around it: plans to play, requests for an answer, states, notices.

All times are milliseconds of the session's clock, which begins at 0 and never runs backwards.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

from arietta.realtime.settings import Mode

State = Literal["listening", "armed", "handover", "answering", "yielding", "paused", "failed"]
"""``listening``: you play. ``armed``: you stopped, and the pause is running. ``handover``: it is
the model's turn, its first notes are on their way. ``answering``: it plays. ``yielding``: a key of
yours has just ended its answer. ``paused``: it listens and does not answer. ``failed``: for good;
all notes are off and the pedal is up."""


class PlannedNote(NamedTuple):
    """A note of the model, at absolute times of the session."""

    onset_ms: float
    end_ms: float
    pitch: int
    velocity: int


class PlannedPedal(NamedTuple):
    """A movement of the model's pedal to the other side."""

    time_ms: float
    down: bool


@dataclass(frozen=True)
class Plan:
    """What the model plays from a time on.

    Attributes:
        id: counts up from 1.
        replaces: the plan before it, None for the first of an answer. Notes of earlier plans that
            begin at ``from_ms`` or later are taken back; what began before goes on.
        from_ms: from when on this plan holds.
        notes, pedals: by time, none before ``from_ms``.
        committed_until_ms: no later plan changes what begins before it, unless it releases.
        release: end everything that sounds at once, lift the pedal, and take back whatever has not
            begun, however early it was planned.
    """

    id: int
    replaces: int | None
    from_ms: float
    notes: tuple[PlannedNote, ...]
    pedals: tuple[PlannedPedal, ...]
    committed_until_ms: float
    release: bool = False


@dataclass(frozen=True)
class StateChange:
    """The session is in another state.

    Attributes:
        state: the new one.
        at_ms: since when.
        why: one phrase for the user.
    """

    state: State
    at_ms: float
    why: str


@dataclass(frozen=True)
class Notice:
    """One sentence the user should read."""

    text: str


class HeardNote(NamedTuple):
    """A note that really sounded, of either player.

    Attributes:
        serial: counts up from 0 in the order of hearing.
        onset_ms: in the time of the music, which leaves long silences out.
        end_ms: when its sound ended, pedal included; None while it sounds.
        pitch, velocity: as played.
        yours: whether a person played it.
    """

    serial: int
    onset_ms: float
    end_ms: float | None
    pitch: int
    velocity: int
    yours: bool


@dataclass(frozen=True)
class Ask:
    """A request for an answer; a newer one takes the place of all before.

    Attributes:
        number: counts up from 1.
        notes: what was heard, by onset.
        now_ms: when the request was made; this and ``earliest_ms`` are in the time of the music.
        earliest_ms: no new note begins before it.
        length_ms: of the answer, from its first onset.
        mode: ``answer`` or ``go-on``.
        go: whether it is the model's turn already; else only the first notes are made, and the rest
            on ``Go``.
        seed: of the duet; the same playing gets the same answers.
    """

    number: int
    notes: tuple[HeardNote, ...]
    now_ms: float
    earliest_ms: float
    length_ms: float
    mode: Mode
    go: bool
    seed: int = 0


@dataclass(frozen=True)
class Go:
    """It is the model's turn: make the rest of the answer to a request.

    Attributes:
        number: of the request.
        earliest_ms: as in ``Ask``, for an answer that has not begun to be made.
    """

    number: int
    earliest_ms: float


@dataclass(frozen=True)
class Offer:
    """Notes of an answer, in order of their onsets.

    Attributes:
        number: of the request.
        notes: the next of them, in the time of the music.
        done: whether they are the last.
        pedals: movements of the pedal among them.
    """

    number: int
    notes: tuple[PlannedNote, ...]
    done: bool
    pedals: tuple[PlannedPedal, ...] = ()


Output = Plan | StateChange | Notice | Ask | Go
