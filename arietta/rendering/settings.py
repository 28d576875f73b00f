"""How a Pianist Transformer draws: one declaration for each parameter; see ``arietta.settings``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypedDict

from arietta.errors import UsageError
from arietta.settings import check, parameter

if TYPE_CHECKING:
    from arietta.tokenizers.pianist import PianistCompat


@dataclass(frozen=True)
class BlockSettings:
    """How ids are drawn and windows cut.

    Attributes:
        temperature: 0..2; 0 always takes the likeliest.
        top_p: (0, 1], the likeliest ids that make up so much together.
        top_k: how many ids at most; 0 for any number. The public code has 50, hidden.
        seed: 0..2^64-1.
        window_notes: of one window; the model's own length when None.
        overlap: 0 up to, not including, 1: share of a window that the next one repeats.
        compat: repeat the public code where it errs, see the module.
    """

    temperature: float = parameter(
        1.0,
        "Of a model, {range}; 0 leaves nothing to chance. [default: {default}]",
        metavar="T",
        low=0,
        high=2,
    )
    top_p: float = parameter(
        0.95,
        "Of a Pianist Transformer: the likeliest that make up P. [default: {default}]",
        metavar="P",
        low=0,
        high=1,
    )
    top_k: int = parameter(
        50,
        "Of a Pianist Transformer: the K likeliest; 0 for all. [default: {default}]",
        metavar="K",
        low=0,
    )
    seed: int = parameter(0, low=0)
    window_notes: int | None = parameter(None, low=1)
    overlap: float = parameter(0.5, low=0, high=1)
    compat: PianistCompat | None = None

    def __post_init__(self) -> None:
        check(self)
        if self.top_p == 0:
            raise UsageError("`top_p` must be above 0; for the likeliest use `temperature` 0")
        if self.overlap == 1:
            raise UsageError("`overlap` must be below 1: a window has to go on")


class DrawingOptions(TypedDict, total=False):
    """Types of the keywords of ``api.render`` that choose how a model draws, for checkers."""

    temperature: float | None
    top_p: float | None
    top_k: int | None
