"""Two views of each piece, for contrastive training (paper section 3.3, specification F).

A view is a slice of consecutive notes, changed at random, with the instrument alone in front and
<E> at its end. Where a piece is long enough its two slices do not overlap, as the paper says (its
code lets them); else they are drawn independently.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from arietta.data.grid import GridNotes
from arietta.data.loader import Block, Chunk, Ids, LoaderSettings, RowStream, changed_columns
from arietta.errors import UsageError
from arietta.tokenizers.vocabulary import EOS


@dataclass(frozen=True)
class ViewSettings(LoaderSettings):
    """What views are made of.

    Attributes:
        min_notes, max_notes: a slice has a number of notes that is uniform between them, or all
            that the piece has.
    """

    min_notes: int = 100
    max_notes: int = 650

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 1 <= self.min_notes <= self.max_notes:
            raise UsageError(
                f"min_notes {self.min_notes} and max_notes {self.max_notes}: give 1 or more,"
                " ascending"
            )


def two_slices(
    n_notes: int, settings: ViewSettings, rng: np.random.Generator
) -> list[tuple[int, int]]:
    """(start, end) of the two slices of a piece of ``n_notes`` >= 1 notes."""
    wanted = rng.integers(settings.min_notes, settings.max_notes + 1, 2).tolist()
    if sum(wanted) <= n_notes:
        # What is left over is dealt to before, between and behind the two.
        before, between = sorted(rng.integers(0, n_notes - sum(wanted) + 1, 2).tolist())
        second = between + wanted[0]
        pair = [(before, before + wanted[0]), (second, second + wanted[1])]
        return pair if rng.random() < 0.5 else pair[::-1]
    found = []
    for length in wanted:
        start = int(rng.integers(0, max(1, n_notes - settings.min_notes + 1)))
        found.append((start, min(start + length, n_notes)))
    return found


def sliced(notes: GridNotes, start: int, end: int) -> GridNotes:
    """Some of the notes, without tags; the first one begins at 0."""
    wait = notes.wait[start:end].copy()
    wait[:1] = 0
    return GridNotes(
        wait, notes.duration[start:end], notes.pitch[start:end], notes.velocity[start:end]
    )


class SliceRows(RowStream):
    """A stream whose rows are made of slices, each ending in <E>, padded with <P>."""

    settings: LoaderSettings

    def slice_ids(self, notes: GridNotes, rng: np.random.Generator) -> Ids | None:
        """(seq_len,) ids of changed notes; None where none stayed on the keyboard.

        A slice that is too long is cut, and <E> put at the last place all the same.
        """
        columns = changed_columns(notes, self.settings, rng)
        if not len(columns.onset_ms):
            return None
        ids = self.tokenizer.encode_columns(*columns)
        length = self.settings.seq_len
        row = np.full(length, self.tokenizer.pad, np.int32)
        row[: len(ids)] = ids[:length]
        if len(ids) > length:
            row[-1] = EOS
        return row


class ViewStream(SliceRows):
    """One of several endless streams of (2, seq_len) int32 ids: two views of a piece."""

    settings: ViewSettings

    def _build(self, number: int, carry: list[Chunk]) -> Block:
        epoch, block = divmod(number, self.blocks_per_epoch)
        rng = np.random.default_rng((self.settings.seed, epoch, 1 + block))
        stored = list(self._pieces(epoch, block))
        rows: list[Sequence[Ids]] = []
        names: list[tuple[str, ...]] = []
        for i in rng.permutation(len(stored)).tolist():
            row, notes = stored[i]
            pair = [
                self.slice_ids(sliced(notes, *span), rng)
                for span in two_slices(len(notes), self.settings, rng)
            ]
            if pair[0] is not None and pair[1] is not None:
                rows.append((pair[0], pair[1]))
                names.append((row.id,))
        shape = (len(rows), 2, self.settings.seq_len)
        return Block(np.array(rows, np.uint16).reshape(shape), names, [])
