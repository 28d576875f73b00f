"""Make slices of pieces: two of each piece for contrastive training, labelled ones for classifiers.

A slice is a number of consecutive notes, augmented, between the instrument prefix and <E> (paper
section 3.3, specification F). The two slices of a piece do not overlap if the piece is long enough,
as in the paper (in its code they may overlap); otherwise they are drawn independently.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from arietta.arrays import Int32Array
from arietta.data.shards import Dataset, read_grid
from arietta.data.token_grid import GridNotes
from arietta.errors import UsageError
from arietta.tokenizers.vocabulary import EOS
from arietta.training.rows.stream import (
    Block,
    Chunk,
    LoaderSettings,
    RowStream,
    changed_columns,
    chosen,
    piece_hash,
)


@dataclass(frozen=True)
class SlicePairSettings(LoaderSettings):
    """Configure the views of contrastive training.

    Attributes:
        min_notes, max_notes: range of the uniform number of notes of a slice; a shorter piece is
            used completely.
        same_source: if above 0, half of every this many pieces in a row come from one source, so
            that negatives do not differ by how a collection was made; not in the paper.
    """

    min_notes: int = 100
    max_notes: int = 650
    same_source: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 1 <= self.min_notes <= self.max_notes:
            raise UsageError(
                f"min_notes {self.min_notes} and max_notes {self.max_notes}: give 1 or more,"
                " ascending"
            )


def two_slices(
    n_notes: int, settings: SlicePairSettings, rng: np.random.Generator
) -> list[tuple[int, int]]:
    """Draw (start, end) of the two slices of a piece of ``n_notes`` >= 1 notes."""
    wanted = rng.integers(settings.min_notes, settings.max_notes + 1, 2).tolist()
    if sum(wanted) <= n_notes:
        # The remaining notes are divided among before, between and after the two slices.
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
    """Return a slice of the notes, without tags; its first note begins at 0."""
    wait = notes.wait[start:end].copy()
    wait[:1] = 0
    return GridNotes(
        wait, notes.duration[start:end], notes.pitch[start:end], notes.velocity[start:end]
    )


class SliceRows(RowStream):
    """Yield rows made of slices, each ending in <E> and padded with <P>."""

    settings: LoaderSettings

    def slice_ids(self, notes: GridNotes, rng: np.random.Generator) -> Int32Array | None:
        """Return (seq_len,) ids of augmented notes; None if no note stays on the keyboard.

        A slice that is too long is cut, and <E> still takes the last place.
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


class SlicePairStream(SliceRows):
    """Yield endless (2, seq_len) int32 ids: two views of a piece."""

    settings: SlicePairSettings

    def _build(self, number: int, carry: list[Chunk]) -> Block:
        epoch, block = divmod(number, self.blocks_per_epoch)
        rng = np.random.default_rng((self.settings.seed, epoch, 1 + block))
        stored = list(self._pieces(epoch, block))
        rows: list[Sequence[Int32Array]] = []
        names: list[tuple[str, ...]] = []
        for i in self._order([row.source for row, _ in stored], rng):
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

    def _order(self, sources: Sequence[str], rng: np.random.Generator) -> list[int]:
        """Return the order of the pieces of a block."""
        left: list[int] = rng.permutation(len(sources)).tolist()
        half = self.settings.same_source // 2
        if not half:
            return left
        found: list[int] = []
        while left:
            of_first = [i for i in left if sources[i] == sources[left[0]]][:half]
            others = [i for i in left if i not in of_first][:half]
            found += [*of_first, *others]
            left = [i for i in left if i not in {*of_first, *others}]
        return found


@dataclass(frozen=True)
class LabelSettings(SlicePairSettings):
    """Configure labelled slices.

    Attributes:
        label: field of the pieces' metadata that holds the class.
        classes: names in the order of their numbers; pieces of other classes are skipped.
        shares: share of the pieces of each class that is used, see ``stream.chosen``; empty for
            all.
    """

    label: str = "label"
    classes: tuple[str, ...] = ()
    shares: tuple[float, ...] = ()


def slices_of(n_notes: int, max_notes: int) -> int:
    """Return the number of slices of a piece in an epoch: as many as fill it, eight at most."""
    return min(8, -(-n_notes // max_notes))


class LabelStream(SliceRows):
    """Yield endless (seq_len + 1,) int32 rows: a slice, then its class.

    Each piece gives ``slices_of`` slices an epoch, at random places.
    """

    settings: LabelSettings

    def _build(self, number: int, carry: list[Chunk]) -> Block:
        settings = self.settings
        epoch, block = divmod(number, self.blocks_per_epoch)
        rng = np.random.default_rng((settings.seed, epoch, 1 + block))
        rows: list[Int32Array] = []
        names: list[tuple[str, ...]] = []
        for row, notes in self._pieces(epoch, block):
            label = row.metadata.get(settings.label, "")
            if label not in settings.classes:
                continue
            number_of = settings.classes.index(label)
            if settings.shares and not chosen(row.id, settings.shares[number_of]):
                continue
            for _ in range(slices_of(len(notes), settings.max_notes)):
                (span, _) = two_slices(len(notes), settings, rng)
                ids = self.slice_ids(sliced(notes, *span), rng)
                if ids is not None:
                    rows.append(np.append(ids, number_of))
                    names.append((row.id,))
        order = rng.permutation(len(rows)).tolist()
        made = np.array([rows[i] for i in order], np.uint16).reshape(-1, settings.seq_len + 1)
        return Block(made, [names[i] for i in order], [])


def labelled_slices(
    dataset: Dataset,
    split: str,
    settings: LabelSettings,
    *,
    pieces: int | None = None,
    each: int | None = None,
) -> tuple[Int32Array, list[str]]:
    """Return unchanged slices of ``max_notes`` of the labelled pieces of a split.

    Args:
        dataset, split, settings: see ``LabelStream``.
        pieces: largest number of pieces.
        each: largest number of slices of a piece, spread evenly; None for all.

    Returns:
        (n, seq_len + 2) int32: a slice, its class, the number of its piece; and the group of each
        piece, by its number.
    """
    plain = replace(settings, augment=None, jitter_ms=0.0)
    stream = LabelStream(dataset, split, plain)
    rng = np.random.default_rng(0)  # draws nothing without augmentation
    found: list[Int32Array] = []
    groups: list[str] = []
    for row, notes in read_grid(dataset, split):
        label = row.metadata.get(settings.label, "")
        if label not in settings.classes:
            continue
        number = settings.classes.index(label)
        if settings.shares and not chosen(row.id, settings.shares[number]):
            continue
        if pieces is not None and len(groups) == pieces:
            break
        starts = np.arange(0, len(notes), settings.max_notes)
        if each is not None and len(starts) > each:
            starts = starts[np.linspace(0, len(starts) - 1, each).round().astype(int)]
        for start in starts.tolist():
            ids = stream.slice_ids(sliced(notes, start, start + settings.max_notes), rng)
            if ids is not None:
                found.append(np.append(ids, (number, len(groups))))
        groups.append(row.group)
    return np.array(found, np.int32).reshape(-1, settings.seq_len + 2), groups


def labelled_pieces(dataset: Dataset, split: str, label: str) -> dict[str, list[str]]:
    """Return the ids of the pieces of each class in a split, in order; skip unlabelled pieces."""
    found: dict[str, list[str]] = {}
    for row, _ in read_grid(dataset, split):
        if row.metadata.get(label):
            found.setdefault(row.metadata[label], []).append(row.id)
    return {name: sorted(found[name]) for name in sorted(found)}


def share_of(ids: Sequence[str], count: int) -> float:
    """Return the share for which ``chosen`` selects ``count`` ids; 1 if there are fewer."""
    if count >= len(ids):
        return 1.0
    places = sorted(piece_hash(name) for name in ids)
    return (places[count - 1] + places[count]) / 2 / 2**64
