"""Tokenised pieces on disk, and training rows cut out of them.

A token file holds, per piece, its body (the tokens between ``<S>`` and ``<E>``) and its prefix.
Rows are cut so that each begins as a continuation does at inference: prefix, ``<S>``, then a body
that starts at an event boundary.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from arietta.errors import InputError
from arietta.tokenizers.aria import AriaTokenizer

Ids = npt.NDArray[np.int32]


@dataclass(frozen=True, eq=False)
class TokenPieces:
    """Tokenised pieces of one split.

    Attributes:
        tokenizer: name of the vocabulary.
        ids: all bodies, one after the other, uint16.
        offsets: (n + 1,) int64; body i is ``ids[offsets[i]:offsets[i + 1]]``.
        prefixes: n tuples of prefix ids, the instrument first.
        names, sources, groups: n file ids, sources and composition groups.
    """

    tokenizer: str
    ids: npt.NDArray[np.uint16]
    offsets: npt.NDArray[np.int64]
    prefixes: tuple[tuple[int, ...], ...]
    names: tuple[str, ...]
    sources: tuple[str, ...]
    groups: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def body(self, i: int) -> Ids:
        """Body of piece i as int32."""
        return self.ids[self.offsets[i] : self.offsets[i + 1]].astype(np.int32)

    def save(self, path: Path) -> None:
        """Write one ``.npz``; an interrupted write leaves no file behind."""
        part = path.with_suffix(".part.npz")
        described = json.dumps(
            {
                "tokenizer": self.tokenizer,
                "prefixes": self.prefixes,
                "names": self.names,
                "sources": self.sources,
                "groups": self.groups,
            }
        )
        np.savez(part, ids=self.ids, offsets=self.offsets, described=np.array(described))
        os.replace(part, path)

    @classmethod
    def load(cls, path: Path) -> TokenPieces:
        """Read what ``save`` wrote.

        Raises:
            InputError: the file is missing or is not such a file.
        """
        try:
            with np.load(path, allow_pickle=False) as arrays:
                described = json.loads(str(arrays["described"]))
                return cls(
                    tokenizer=described["tokenizer"],
                    ids=arrays["ids"],
                    offsets=arrays["offsets"],
                    prefixes=tuple(tuple(p) for p in described["prefixes"]),
                    names=tuple(described["names"]),
                    sources=tuple(described["sources"]),
                    groups=tuple(described["groups"]),
                )
        except FileNotFoundError:
            raise InputError(
                f"{path}: no such token file; make it with python -m arietta.training.prepare"
            ) from None
        except (OSError, KeyError, ValueError) as error:
            raise InputError(f"{path}: not a token file ({error})") from None


def event_starts(ids: Ids, tokenizer: AriaTokenizer) -> npt.NDArray[np.int64]:
    """Positions in a body where an event begins: anything but an onset or a duration."""
    vocabulary = tokenizer.vocabulary
    return np.flatnonzero((ids < vocabulary.dur_start) | (ids >= vocabulary.pedal_start))


def cut_rows(
    pieces: TokenPieces,
    tokenizer: AriaTokenizer,
    length: int,
    rng: np.random.Generator,
    *,
    tag_share: float = 0.5,
) -> Iterator[Ids]:
    """One epoch of training rows, shuffled.

    Each piece is cut, from a random phase on, into stretches that fill a row behind prefix and
    ``<S>``; what is shorter than a row (the ends of pieces) is packed with others.

    Args:
        pieces: the tokenised pieces.
        tokenizer: their tokenizer.
        length: tokens a row; inputs and targets together span ``length + 1``.
        rng: decides phase, order and tags.
        tag_share: share of rows that show composer, form and genre where they are known; the
            others show the instrument alone, so that both ways of prompting work.

    Yields:
        (length + 1,) int32 rows.
    """
    full: list[Ids] = []
    rest: list[Ids] = []
    for i in range(len(pieces)):
        body = np.append(pieces.body(i), np.int32(tokenizer.eos))
        starts = event_starts(body, tokenizer)
        # A random first cut, so that cuts fall elsewhere in every epoch.
        at, stop = 0, int(rng.integers(length // 4, length))
        while at < len(body):
            prefix = pieces.prefixes[i] if rng.random() < tag_share else pieces.prefixes[i][:1]
            head = np.array([*prefix, tokenizer.bos], np.int32)
            room = min(length + 1, stop) - len(head)
            row = np.concatenate((head, body[at : at + room]))
            (full if len(row) == length + 1 else rest).append(row)
            if at + room >= len(body):
                break
            # The next stretch starts with the event this one broke off in, or right after it.
            at = int(starts[np.searchsorted(starts, at + room, side="right") - 1])
            stop = length + 1
    tail = np.concatenate([rest[j] for j in rng.permutation(len(rest))]) if rest else None
    if tail is not None:
        usable = len(tail) // (length + 1) * (length + 1)
        full.extend(tail[:usable].reshape(-1, length + 1))
    for j in rng.permutation(len(full)):
        yield full[j]
