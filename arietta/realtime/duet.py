"""One duet: who plays when, and what the model plays. No clock, thread or port is inside.

Every input carries the time and returns what follows from it. Whoever drives a session calls
``tick`` at least every 50 ms, plays what is due before it tells of a key, gives each ``Ask`` and
``Go`` to what makes answers, hands the offers back, and plays the plans (``scheduler.PlanPlayer``
says how). From every state ``fail`` ends in all notes off and the pedal up, after which nothing is
said any more.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from arietta.realtime.latency import NO_LATENCY, Latency
from arietta.realtime.plans import (
    Ask,
    Go,
    Notice,
    Offer,
    Output,
    Plan,
    PlannedNote,
    PlannedPedal,
    State,
    StateChange,
)
from arietta.realtime.pulse import beat_ms
from arietta.realtime.settings import DuetSettings
from arietta.realtime.transcript import Transcript

CHORD_MS = 35.0
"""Onsets this close to the first of them are one chord, which is planned and moved as one."""

LOST_MS = 100.0
"""A session that is not ticked for longer has lost that time: its plan waits as long."""

GO_ON_MS = 8_000.0
"""How much music is planned ahead in the mode ``go-on``."""

SHORTEST_MS = 2_000.0
"""No answer is made shorter than this."""

PATIENCE_MS = 20_000.0
"""A handover that gets no note for this long is given up."""

_BEATS_IN_A_BAR = 4
_LATE_PLANS = 3
_ECHO_MS, _ECHO_EARLY_MS = 150.0, 5.0
_PEDAL_DOWN, _PEDAL_UP = 64, 56
_AHEAD_MS = 150.0
"""A ready answer that has waited too long is made again for a handover this much later; for the end
of a pause, this much before it."""
_OLD_MS = 300.0
"""A ready answer that would begin this much later than it was made to is made anew instead."""
_READY_FOR_MS = 10_000.0
"""How long after the last thing you did a ready answer is kept fresh."""


@dataclass(eq=False)
class _Answer:
    """An answer in the making, and what of it is planned.

    Attributes:
        number: of the request that the next notes come from.
        length_ms: how long it is to be, from its first onset.
        earliest_ms: no note was to begin before it.
        waiting: chords that were offered and are not planned, in the time of the music.
        tail: the last chord, to which notes may still come.
        pedals: movements that were offered and are not planned, in the time of the music.
        done: whether the offers are complete.
        notes, lifts: what is planned, at the times it is sent; ``lifts`` are pedal movements.
        shift_ms: how much later than offered the next chord is played.
        soonest_ms: when its first note may begin, known from the handover on.
        plan: id of the last plan, None before the first.
    """

    number: int
    length_ms: float
    earliest_ms: float
    waiting: list[list[PlannedNote]] = field(default_factory=list)
    tail: list[PlannedNote] = field(default_factory=list)
    pedals: list[PlannedPedal] = field(default_factory=list)
    done: bool = False
    notes: list[PlannedNote] = field(default_factory=list)
    lifts: list[PlannedPedal] = field(default_factory=list)
    shift_ms: float = 0.0
    soonest_ms: float = 0.0
    plan: int | None = None

    def take(self, offer: Offer) -> None:
        """Take offered notes; a chord is whole when a later note has come."""
        for note in offer.notes:
            if self.tail and note.onset_ms - self.tail[0].onset_ms > CHORD_MS:
                self.waiting.append(self.tail)
                self.tail = []
            self.tail.append(note)
        self.pedals += offer.pedals
        self.done = offer.done
        if self.done and self.tail:
            self.waiting.append(self.tail)
            self.tail = []

    @property
    def end_ms(self) -> float:
        """When the last planned note ends."""
        return max((note.end_ms for note in self.notes), default=0.0)

    @property
    def last_onset_ms(self) -> float:
        """When the last planned note begins."""
        return max((note.onset_ms for note in self.notes), default=0.0)


class DuetSession:
    """The state of a duet. Times are ms since its beginning; one that runs backwards stands still.

    Args:
        settings: how it goes.
        latency: how late the instrument sounds.
        lost_ms: see ``LOST_MS``; None where plans are played by a clock of their own.

    Attributes:
        state: see ``plans.State``.
        echoes: how many keys and pedal movements were the model's own, sent back.
    """

    def __init__(
        self,
        settings: DuetSettings | None = None,
        *,
        latency: Latency = NO_LATENCY,
        lost_ms: float | None = LOST_MS,
    ) -> None:
        self.settings_now = settings or DuetSettings()
        self.state: State = "listening"
        self._latency = latency
        self._lost_ms = lost_ms
        self._now = 0.0
        self._out: list[Output] = []
        self._transcript = Transcript()
        self._news = False
        self._quiet_since: float | None = None
        self._touched = 0.0
        self._soft_down = False
        self._asked = 0
        self._answer: _Answer | None = None
        self._ready: _Answer | None = None
        """What is played at a handover while the answer that replaces it has no whole chord."""
        self._handover_at = 0.0
        self._plan = 0
        self._late = 0
        self._shorter = 1.0
        self._recent: list[PlannedNote] = []
        self._recent_pedals: list[PlannedPedal] = []
        self._echoed: set[tuple[float, int, bool]] = set()
        self.echoes = 0

    @property
    def now_ms(self) -> float:
        """The latest time that was told."""
        return self._now

    @property
    def transcript(self) -> Transcript:
        """What was really heard."""
        return self._transcript

    # Inputs

    def note(
        self, now_ms: float, pitch: int, velocity: int, *, at_ms: float | None = None
    ) -> list[Output]:
        """Take a key of yours.

        Args:
            now_ms: the time.
            pitch: 0..127.
            velocity: 1..127 for a key that goes down, 0 for one that comes up.
            at_ms: when it really was, if it is known better.
        """
        if not self._begin(now_ms):
            return self._end()
        at = self._now if at_ms is None else min(max(at_ms, 0.0), self._now)
        if self._is_echo(at, pitch, velocity):
            return self._end()
        if pitch == self.settings_now.takeover_key:
            if velocity:
                self._take_over("your takeover key")
            return self._end()
        if velocity:
            self._press(at, pitch, velocity)
        elif self._transcript.lift(at, pitch):
            self._changed()
        return self._end()

    def pedal(self, now_ms: float, value: int, *, at_ms: float | None = None) -> list[Output]:
        """Take a position of your sustain pedal, 0..127; only a change of side counts."""
        if not self._begin(now_ms):
            return self._end()
        at = self._now if at_ms is None else min(max(at_ms, 0.0), self._now)
        was = self._transcript.pedal_down
        down = value >= _PEDAL_DOWN or (was and value > _PEDAL_UP)
        if down != was and not self._is_pedal_echo(at, down):
            self._transcript.pedal(at, down)
            self._changed()
        return self._end()

    def soft_pedal(self, now_ms: float, value: int) -> list[Output]:
        """Take a position of your soft pedal, 0..127; going down it hands over."""
        if self._begin(now_ms):
            down = value >= _PEDAL_DOWN or (self._soft_down and value > _PEDAL_UP)
            if down and not self._soft_down:
                self._take_over("your soft pedal")
            self._soft_down = down
        return self._end()

    def all_keys_up(self, now_ms: float) -> list[Output]:
        """Take it that no key or pedal of yours is down any more, as after a lost connection."""
        if self._begin(now_ms):
            for pitch in self._transcript.held_keys:
                self._transcript.lift(self._now, pitch)
            if self._transcript.pedal_down:
                self._transcript.pedal(self._now, False)
            self._changed()
        return self._end()

    def takeover(self, now_ms: float) -> list[Output]:
        """Hand over to the model now."""
        if self._begin(now_ms):
            self._take_over("you handed over")
        return self._end()

    def stop(self, now_ms: float) -> list[Output]:
        """End what the model plays, and answer no more until ``resume`` or a takeover."""
        if self._begin(now_ms) and self.state != "paused":
            self._drop_answer()
            self._quiet_since = None
            self._enter("paused", "stopped")
        return self._end()

    def resume(self, now_ms: float) -> list[Output]:
        """Listen again after ``stop``."""
        if self._begin(now_ms) and self.state == "paused":
            self._enter("listening", "going on")
            self._changed()
        return self._end()

    def settings(self, now_ms: float, settings: DuetSettings) -> list[Output]:
        """Go on with other settings; an answer that sounds is not changed by them."""
        if self._begin(now_ms):
            self.settings_now = settings
            if self.state in ("listening", "armed"):
                self._changed()
        return self._end()

    def offer(self, now_ms: float, offer: Offer) -> list[Output]:
        """Take notes of an answer; those of an older request are left."""
        if not self._begin(now_ms):
            return self._end()
        answer = self._answer
        if answer is not None and offer.number == answer.number:
            answer.take(offer)
            if answer.waiting:
                self._ready = None
            if self.state in ("handover", "answering"):
                self._play()
        return self._end()

    def suspended(self, now_ms: float, lost_ms: float) -> list[Output]:
        """Take it that what plays the plans lost some time: the rest waits as long."""
        if self._begin(now_ms):
            self._wait(self._now - max(lost_ms, 0.0))
        return self._end()

    def fail(self, now_ms: float, why: str) -> list[Output]:
        """End for good: all notes off, pedal up."""
        if self.state == "failed":
            return []
        self._now = max(self._now, now_ms)
        self._hear_answer(self._now)
        self._release()
        self._answer = None
        self._enter("failed", why)
        return self._end()

    def tick(self, now_ms: float) -> list[Output]:
        """Let time pass."""
        if not self._begin(now_ms):
            return self._end()
        if self.state == "armed":
            self._tick_armed()
        elif self.state == "handover":
            if self._now - self._handover_at > PATIENCE_MS:
                self._give_up()
        elif self.state == "answering":
            self._tick_answering()
        if self.state in ("listening", "armed"):
            self._keep_fresh()
        return self._end()

    # Time

    def _begin(self, now_ms: float) -> bool:
        """Bring the time up to date; return whether the session still takes inputs."""
        if self.state == "failed":
            return False
        before, self._now = self._now, max(self._now, now_ms)
        if self.state == "yielding":
            self._enter("listening", "you play")
        lost = self._lost_ms
        if lost is not None and self._now - before > lost:
            self._wait(before)
        return True

    def _end(self) -> list[Output]:
        out, self._out = self._out, []
        return out

    def _enter(self, state: State, why: str) -> None:
        if state != self.state:
            self.state = state
            self._out.append(StateChange(state, self._now, why))

    def _music(self, ms: float) -> float:
        return ms - self._transcript.skipped_ms

    # You play

    def _press(self, at: float, pitch: int, velocity: int) -> None:
        if self.state in ("handover", "answering"):
            sounded = self._answer is not None and self._answer.plan is not None
            self._drop_answer()
            self._enter("yielding" if sounded else "listening", "your key")
        elif self.state == "armed":
            self._enter("listening", "you play")
        self._transcript.press(at, pitch, velocity)
        self._news = True
        self._changed()

    def _changed(self) -> None:
        """Follow a change of what was heard: the pause begins anew, and so does the answer."""
        self._touched = self._now
        if self.state in ("handover", "answering"):
            return  # keys and a pedal that come up do not disturb an answer
        pause = self.settings_now.pause_seconds
        quiet = self._transcript.quiet and self._news and pause is not None
        self._quiet_since = self._now if quiet else None
        if self.state == "listening" and quiet:
            self._enter("armed", "keys and pedal are up")
        elif self.state == "armed" and not quiet:
            self._enter("listening", "a key or the pedal is down")
        if self.state != "paused" and self._news:
            self._ask(self._now)

    @property
    def _pause_ends_ms(self) -> float:
        """When the pause that is running ends; infinity where none runs."""
        pause = self.settings_now.pause_seconds
        if self.state != "armed" or self._quiet_since is None or pause is None:
            return math.inf
        return self._quiet_since + pause * 1000

    def _tick_armed(self) -> None:
        if self._now >= self._pause_ends_ms:
            self._hand_over("you paused")

    # Asking

    def _ask(self, due_ms: float, *, go: bool = False) -> None:
        """Ask for an answer to what was heard, for a handover at a time."""
        self._asked += 1
        settings = self.settings_now
        self._answer = _Answer(self._asked, self._length_ms(), self._soonest(due_ms))
        self._ready = None
        self._out.append(
            Ask(
                self._asked,
                self._transcript.notes,
                self._music(self._now),
                self._music(self._answer.earliest_ms),
                self._answer.length_ms,
                settings.mode,
                go,
                settings.seed,
            )
        )

    def _soonest(self, handover_ms: float) -> float:
        """When the first note after a handover may begin."""
        return handover_ms + self.settings_now.budget_ms + self._latency.longest_ms

    def _length_ms(self) -> float:
        settings = self.settings_now
        if settings.mode == "go-on":
            return max(GO_ON_MS * self._shorter, SHORTEST_MS)
        bar = _BEATS_IN_A_BAR * beat_ms(self._transcript.your_last_onsets)
        return max(settings.bars * bar * self._shorter, SHORTEST_MS)

    def _keep_fresh(self) -> None:
        """Have the ready answer made again where its first note comes too early to be played.

        Near the end of a pause it is made for that end, once.
        """
        answer, ends, now = self._answer, self._pause_ends_ms, self._now
        if answer is None:
            return
        if ends - now <= _AHEAD_MS:
            if answer.earliest_ms != self._soonest(ends):
                self._make_again(answer, ends)
        elif (
            answer.waiting
            and now - self._touched <= _READY_FOR_MS
            and self._begins_ms(answer) < self._soonest(now)
        ):
            self._make_again(answer, now + _AHEAD_MS)

    def _make_again(self, answer: _Answer, due_ms: float) -> None:
        """Ask anew for the same music; until a chord of it is there the answer stays ready."""
        ready = answer if answer.waiting else self._ready
        self._ask(due_ms)
        self._ready = ready

    def _begins_ms(self, answer: _Answer) -> float:
        """When the first chord that waits was made to begin."""
        return answer.waiting[0][0].onset_ms + self._transcript.skipped_ms

    def _fits(self, answer: _Answer | None, soonest_ms: float) -> bool:
        """Whether an answer was made for about this beginning: not much later, not long ago."""
        if answer is None or answer.earliest_ms > soonest_ms + _AHEAD_MS:
            return False
        return not answer.waiting or self._begins_ms(answer) >= soonest_ms - _OLD_MS

    # The model's turn

    def _take_over(self, why: str) -> None:
        if self.state in ("listening", "armed", "paused"):
            self._hand_over(why)

    def _hand_over(self, why: str) -> None:
        soonest = self._soonest(self._now)
        answer, ready, self._ready = self._answer, self._ready, None
        instead = self._fits(ready, soonest)
        if instead:
            answer = self._answer = ready
        elif self._fits(answer, soonest):
            assert answer is not None
            self._out.append(Go(answer.number, self._music(soonest)))
        else:
            self._ask(self._now, go=True)
            answer = self._answer
        assert answer is not None
        self._enter("handover", why)
        self._handover_at = self._now
        self._quiet_since = None
        answer.soonest_ms = soonest
        self._play()
        if instead:
            self._ask_for_rest(answer)

    def _give_up(self) -> None:
        self._answer = None
        self._news = False
        self._out.append(Notice("no answer came; play on, or choose a smaller model"))
        self._enter("listening", "no answer came")

    def _play(self) -> None:
        """Plan the chords that are whole; where they come too late, what is left waits."""
        answer = self._answer
        assert answer is not None
        if not answer.waiting:
            if answer.done and self.state == "handover":
                self._give_up()
            return
        soonest = self._now + self.settings_now.lead_ms
        if answer.plan is None:
            # Made for an earlier moment, it begins as soon as it may.
            answer.shift_ms = max(answer.soonest_ms - self._begins_ms(answer), 0.0)
        late = False
        new: list[PlannedNote] = []
        for chord in answer.waiting:
            at = min(self._sent(note, answer.shift_ms).onset_ms for note in chord)
            if at < soonest:
                answer.shift_ms += soonest - at
                late = True
            new += [self._sent(note, answer.shift_ms) for note in chord]
        answer.waiting = []
        starts = min(note.onset_ms for note in new)
        answer.notes = sorted([*answer.notes, *new])
        offset = self._transcript.skipped_ms + answer.shift_ms - self._latency.constant_ms
        moves = [p._replace(time_ms=max(p.time_ms + offset, starts)) for p in answer.pedals]
        answer.pedals = []
        answer.lifts += moves
        self._enter("answering", "the model plays")
        self._say_plan(max(starts, soonest))
        self._count_late(late)

    def _sent(self, note: PlannedNote, shift_ms: float) -> PlannedNote:
        """Return an offered note at the time it has to be sent."""
        offset = self._transcript.skipped_ms + shift_ms - self._latency.of(note.velocity)
        return note._replace(onset_ms=note.onset_ms + offset, end_ms=note.end_ms + offset)

    def _say_plan(self, from_ms: float, *, release: bool = False) -> None:
        answer = self._answer
        notes: Sequence[PlannedNote] = answer.notes if answer is not None else ()
        moves: Sequence[PlannedPedal] = answer.lifts if answer is not None else ()
        self._plan += 1
        self._out.append(
            Plan(
                self._plan,
                None if answer is None else answer.plan,
                from_ms,
                tuple(note for note in notes if note.onset_ms >= from_ms),
                tuple(move for move in moves if move.time_ms >= from_ms),
                from_ms if release else self._now + self.settings_now.lead_ms,
                release,
            )
        )
        if answer is not None:
            answer.plan = self._plan

    def _count_late(self, late: bool) -> None:
        self._late += late
        if self._late < _LATE_PLANS:
            return
        self._late = 0
        if self._length_ms() <= SHORTEST_MS:
            return
        self._shorter /= 2
        seconds = self._length_ms() / 1000
        self._out.append(
            Notice(
                f"the model came late three times: answers are now {seconds:.1f} s long;"
                " the model small is faster"
            )
        )

    def _tick_answering(self) -> None:
        answer = self._answer
        assert answer is not None
        if not answer.done:
            return
        if self.settings_now.mode == "go-on":
            ahead = GO_ON_MS * self._shorter / 2
            if answer.last_onset_ms - self._now < ahead:
                self._ask_for_more(answer, self._length_ms())
        elif self._now >= answer.end_ms and not answer.waiting:
            self._hear_answer(self._now)
            self._lift_pedal(answer)
            self._answer = None
            self._news = False
            self._enter("listening", "your turn")

    def _lift_pedal(self, answer: _Answer) -> None:
        if answer.lifts and answer.lifts[-1].down:
            self._release()

    def _ask_for_rest(self, answer: _Answer) -> None:
        """Ask for what a ready answer still lacks, where another was begun since."""
        answer.tail = []
        planned = answer.last_onset_ms - min(note.onset_ms for note in answer.notes)
        if answer.done or answer.length_ms <= planned:
            answer.done = True
        else:
            self._ask_for_more(answer, answer.length_ms - planned)

    def _ask_for_more(self, answer: _Answer, length_ms: float) -> None:
        """Ask for what follows the notes that are planned."""
        self._asked += 1
        answer.number, answer.done = self._asked, False
        answer.shift_ms = 0.0  # what is planned is told at the times it has now
        planned = [self._as_heard(note) for note in answer.notes]
        heard = self._transcript.with_plan(planned)
        latest = max((note.onset_ms for note in heard), default=0.0)
        soonest = self._music(self._soonest(self._now))
        self._out.append(
            Ask(
                self._asked,
                heard,
                self._music(self._now),
                max(latest + 10.0, soonest),
                length_ms,
                self.settings_now.mode,
                True,
                self.settings_now.seed,
            )
        )
        self._forget_played(answer)

    def _forget_played(self, answer: _Answer) -> None:
        """Move what has ended into what was heard, so that a long answer does not grow."""
        ended = [note for note in answer.notes if note.end_ms <= self._now]
        self._transcript.add_answer([self._as_heard(note) for note in ended], float("inf"))
        answer.notes = [note for note in answer.notes if note.end_ms > self._now]
        answer.lifts = [p for p in answer.lifts if p.time_ms > self._now] or answer.lifts[-1:]
        self._remember(ended, [])

    # Ending an answer

    def _as_heard(self, note: PlannedNote) -> PlannedNote:
        late = self._latency.of(note.velocity)
        return note._replace(onset_ms=note.onset_ms + late, end_ms=note.end_ms + late)

    def _hear_answer(self, until_ms: float) -> None:
        """Take what has sounded of the answer into what was heard, and out of the answer."""
        answer = self._answer
        if answer is None or answer.plan is None:
            return
        sounded = [note for note in answer.notes if note.onset_ms <= until_ms]
        cut = [note._replace(end_ms=min(note.end_ms, until_ms)) for note in sounded]
        self._transcript.add_answer([self._as_heard(note) for note in cut], float("inf"))
        answer.notes = [note for note in answer.notes if note.onset_ms > until_ms]
        self._remember(cut, answer.lifts)

    def _remember(self, notes: list[PlannedNote], pedals: list[PlannedPedal]) -> None:
        """Keep for a while what was sent, to know its echo."""
        since = self._now - 2 * _ECHO_MS
        self._recent = [n for n in (*self._recent, *notes) if n.end_ms >= since]
        self._recent_pedals = [p for p in (*self._recent_pedals, *pedals) if p.time_ms >= since]
        self._echoed = {key for key in self._echoed if key[0] >= since - 60_000}

    def _drop_answer(self) -> None:
        """End the answer: what sounds is released, what does not is taken back."""
        answer = self._answer
        if answer is not None and answer.plan is not None:
            self._hear_answer(self._now)
            self._release()
            self._news = False  # what you played has got its answer, as far as it went
        self._answer = self._ready = None
        self._asked += 1  # offers to the dropped request mean nothing any more

    def _release(self) -> None:
        answer = self._answer
        if answer is not None:
            answer.notes, answer.lifts = [], []
        self._say_plan(self._now, release=True)

    def _wait(self, since_ms: float) -> None:
        """Play what should have sounded since a time that late, and the rest that much later."""
        answer = self._answer
        lost = self._now - since_ms
        if self.state == "armed" and self._quiet_since is not None:
            self._quiet_since += lost
        if answer is None or answer.plan is None or self.state != "answering" or lost <= 0:
            return
        self._hear_answer(since_ms)
        answer.notes = [
            n._replace(onset_ms=n.onset_ms + lost, end_ms=n.end_ms + lost) for n in answer.notes
        ]
        answer.lifts = [
            p._replace(time_ms=p.time_ms + lost) for p in answer.lifts if p.time_ms > since_ms
        ]
        answer.shift_ms += lost
        self._say_plan(self._now, release=True)

    # Echoes

    def _is_echo(self, at: float, pitch: int, velocity: int) -> bool:
        """Whether a key is the model's own note, sent back by the instrument."""
        if not self.settings_now.same_port:
            return False
        notes = self._recent + (self._answer.notes if self._answer is not None else [])
        for note in notes:
            if note.pitch != pitch or (velocity and note.velocity != velocity):
                continue
            when = note.onset_ms if velocity else note.end_ms
            key = (note.onset_ms, pitch, velocity > 0)
            if not velocity and (note.onset_ms, pitch, True) not in self._echoed:
                continue
            if -_ECHO_EARLY_MS <= at - when <= _ECHO_MS and key not in self._echoed:
                self._echoed.add(key)
                self.echoes += 1
                return True
        return False

    def _is_pedal_echo(self, at: float, down: bool) -> bool:
        if not self.settings_now.same_port:
            return False
        moves = self._recent_pedals + (self._answer.lifts if self._answer is not None else [])
        return any(p.down == down and -_ECHO_EARLY_MS <= at - p.time_ms <= _ECHO_MS for p in moves)
