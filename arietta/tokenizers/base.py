"""What every tokenizer deals in: ranges of ids and readable tokens."""

from __future__ import annotations

IdRange = tuple[int, int]
Token = str | tuple[str | int, ...]
