"""The parameters of a duet; see ``arietta.settings``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from arietta.settings import check, parameter

Mode = Literal["answer", "go-on"]


@dataclass(frozen=True)
class DuetSettings:
    """How a duet goes.

    Attributes:
        mode: ``answer`` plays some bars and listens again; ``go-on`` takes over what you play until
            you play again.
        bars: length of an answer, in bars of four beats of your own pulse.
        pause_seconds: how long keys and pedal are up before it is the model's turn; None leaves it
            to the takeover key and the soft pedal.
        budget_ms: no note of the model begins earlier after the handover.
        lead_ms: how far ahead of its time a note has to be planned.
        takeover_key: MIDI number of a key of yours that hands over instead of sounding, or None.
        same_port: the instrument sends back what it is sent; such echoes are no keys of yours.
        seed: the same playing gets the same answers.

    Raises:
        UsageError: a value is out of range.
    """

    mode: Mode = parameter(
        "answer",
        "answer (some bars, then listen) or go-on (take over until you play).",
        metavar="HOW",
        choices=("answer", "go-on"),
    )
    bars: int = parameter(
        4, "Length of an answer in bars of your pulse.", metavar="N", low=1, high=64
    )
    pause_seconds: float | None = parameter(
        0.9,
        "How long keys and pedal are up before it answers, {range}.",
        metavar="S",
        low=0.1,
        high=10,
    )
    budget_ms: float = parameter(
        120.0, "Its first note begins this long after the handover.", metavar="MS", low=0, high=2000
    )
    lead_ms: float = parameter(20.0, low=0, high=1000)
    takeover_key: int | None = parameter(
        None,
        "A key of yours (MIDI number) that hands over instead of sounding.",
        metavar="KEY",
        low=0,
        high=127,
    )
    same_port: bool = parameter(False)
    seed: int = parameter(0, "The same playing gets the same answers.", metavar="N", low=0)

    def __post_init__(self) -> None:
        check(self)
