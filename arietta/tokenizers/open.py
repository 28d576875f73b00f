"""The one factory: a tokenizer by the name of its vocabulary."""

from __future__ import annotations

from arietta.tokenizers.aria import AriaTokenizer
from arietta.tokenizers.relative import RelativeTokenizer
from arietta.tokenizers.vocabulary import RELATIVE_NAMES

Tokenizer = AriaTokenizer | RelativeTokenizer


def tokenizer_named(name: str) -> Tokenizer:
    """Return the tokenizer of a vocabulary, absolute or relative.

    Raises:
        UsageError: there is no such vocabulary.
    """
    return RelativeTokenizer(name) if name in RELATIVE_NAMES else AriaTokenizer(name)
