"""Turn MIDI files into token ids: the use case behind ``arietta tokenize``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from arietta.errors import UsageError

if TYPE_CHECKING:
    from arietta.arrays import Int32Array
    from arietta.midi.piece import Piece
    from arietta.tokenizers.aria import AriaTokenizer
    from arietta.tokenizers.pianist import PianistTokenizer

VOCABULARIES = {
    "aria": "full",
    "aria-full": "full",
    "aria-piano": "piano",
    "aria-no-drums": "no-drums",
    "aria-pedal": "full-pedal",
    "aria-delimiter": "full-delimiter",
    "aria-pedal-delimiter": "full-pedal-delimiter",
    "aria-demo": "piano-demo",
}
"""Names of Aria's tokenizers -> names of their vocabularies; each side may be used as a name."""

PIANIST: Literal["pianist"] = "pianist"
"""The one that is no variant of Aria's."""


def vocabulary_of(name: str) -> str:
    """Return the vocabulary of a tokenizer: ``piano`` for ``aria-piano`` and for ``piano``.

    Raises:
        UsageError: there is no such tokenizer.
    """
    found = VOCABULARIES.get(name, name)
    if found not in VOCABULARIES.values():
        known = ", ".join((*VOCABULARIES, PIANIST))
        raise UsageError(f"`tokenizer` {name!r} is unknown; choose {known}")
    return found


def open_tokenizer(name: str) -> AriaTokenizer | PianistTokenizer:
    """Return a tokenizer by name.

    Raises:
        UsageError: there is no such tokenizer.
    """
    from arietta.tokenizers.aria import AriaTokenizer
    from arietta.tokenizers.pianist import PianistTokenizer

    return PianistTokenizer() if name == PIANIST else AriaTokenizer(vocabulary_of(name))


@dataclass(frozen=True, eq=False)
class TokenizeResult:
    """What ``tokenize`` found.

    Attributes:
        ids: (n,) token ids.
        tokens: the same as names, or as values where the vocabulary has no names.
        vocab_size: of the tokenizer.
        piece: what was tokenized.
    """

    ids: Int32Array
    tokens: Sequence[Any]
    vocab_size: int
    piece: Piece

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        return {"ids": self.ids.tolist(), "tokens": self.tokens}


def tokenize(
    file: str | PathLike[str],
    *,
    tokenizer: str = "aria",
    compat: Literal["aria", "pianist"] | None = None,
    keep_silence: bool = False,
    prefix: Sequence[str] = (),
) -> TokenizeResult:
    """Return the token ids of a MIDI file.

    Args:
        file: MIDI file.
        tokenizer: name of the tokenizer, or of its vocabulary.
        compat: repeat that tokenizer's public reference where it errs.
        keep_silence: count time from the file's start.
        prefix: tokens to put before the start; the file's instruments by default.

    Raises:
        InputError: the file cannot be read.
        TokenError: a prefix is no token.
        UsageError: there is no such tokenizer, or an option does not go with it.
    """
    from arietta.midi.reader import read
    from arietta.tokenizers.pianist import PianistTokenizer

    if compat and (tokenizer == PIANIST) != (compat == PIANIST):
        raise UsageError(f"`compat` {compat} does not go with `tokenizer` {tokenizer}")
    opened = open_tokenizer(tokenizer)
    piece = read(file, compat="aria" if compat == "aria" else None)
    if isinstance(opened, PianistTokenizer):
        if keep_silence or prefix:
            raise UsageError("`keep_silence` and `prefix` do not go with `tokenizer` pianist")
        ids = opened.encode_file(Path(file), compat=PIANIST) if compat else opened.encode(piece)
    else:
        ids = opened.encode(
            piece,
            keep_silence=keep_silence,
            compat="aria" if compat else None,
            prefix=list(prefix) or "auto",
        )
    return TokenizeResult(ids, opened.tokens(ids), opened.vocab_size, piece)
