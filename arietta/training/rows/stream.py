"""Stream endless training rows from a dataset; save and restore the position of a stream.

An epoch is a permutation of the row groups of a split, taken a block at a time. The pieces of a
block are read, augmented as columns, tokenised, cut into rows, and the rows are shuffled, all by a
generator of (seed, epoch, block). Blocks are numbered through all epochs: stream s of n reads the
blocks s, s + n, …. So the rows of a stream depend on the settings, n and s only. Each process takes
every world-size-th stream: two processes with one stream each read the same rows as one process
with two streams.

Rows have ``seq_len + 1`` ids: inputs and targets shifted by one. There are three modes:

    packed      pieces ``prefix <S> body <E>`` glued and cut: the published pretraining
    aligned     each row begins like a continuation at inference: prefix, <S>, then a body from an
                event boundary on; ends of pieces that fill no row are glued and cut
    separate    one piece a row, padded with <P>; a long piece gives several rows that begin as in
                ``aligned``: the published finetuning

In ``packed`` and ``aligned``, ids that fill no row are carried over to the stream's next block.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal, NamedTuple, get_args

import numpy as np

from arietta.arrays import Int32Array, Uint16Array
from arietta.data.shards import Dataset, GridRow, RowGroups, group_grid
from arietta.data.token_grid import GridNotes, NoteColumns, prefix_of
from arietta.errors import InputError, UsageError
from arietta.tokenizers.encoding import drawn_dim_offset
from arietta.tokenizers.open import tokenizer_named
from arietta.tokenizers.vocabulary import Vocabulary
from arietta.training.rows.augment import Ranges, augment_columns, jitter_onsets
from arietta.training.rows.gaps import gap_rows, with_controls

Mode = Literal["packed", "aligned", "separate"]
# Every vocabulary fits; a block of rows takes half the space.
Position = dict[str, Any]


_SCORE_RANGES = Ranges(tempo=0.35, velocity=3, mixup=False)


def _is_score(row: GridRow) -> bool:
    return row.row.metadata.get("kind") == "score"


@dataclass(frozen=True)
class LoaderSettings:
    """Configure training rows.

    Attributes:
        tokenizer: name of the vocabulary.
        seq_len: tokens a row, not counting the last target.
        mode: ``packed``, ``aligned`` or ``separate``, see the module.
        tag_share: share of pieces (packed) or rows that show composer, form and genre where they
            are known; the others show the instrument only, so that prompts work with and without
            tags.
        augment: ranges of the random changes; None for none.
        jitter_ms: standard deviation of the change of every time between onsets.
        gap_share: share of the pieces whose rows have a gap that is written last, see
            ``arietta.training.rows.gaps``; aligned rows of a vocabulary with ``filling`` only.
        tell_share: probability of each control in rows with controls; same restriction.
        scores: whether pieces of the kind ``score`` are used. They are always augmented, and a
            vocabulary with ``filling`` marks them by <SCORE>.
        share: share of the pieces that is used; a smaller share is a subset of a larger one.
        block_pieces: approximate number of pieces that are shuffled together.
        seed: seed of all random numbers.

    Raises:
        UsageError: a value is out of range, or the vocabulary is unknown.
    """

    tokenizer: str = "piano"
    seq_len: int = 1024
    mode: Mode = "aligned"
    tag_share: float = 0.5
    augment: Ranges | None = field(default_factory=Ranges)
    jitter_ms: float = 0.0
    gap_share: float = 0.0
    tell_share: float = 0.0
    scores: bool = True
    share: float = 1.0
    block_pieces: int = 256
    seed: int = 0

    def __post_init__(self) -> None:
        tokenizer = tokenizer_named(self.tokenizer)
        if not (0 <= self.gap_share <= 1 and 0 <= self.tell_share <= 1):
            raise UsageError("gap_share and tell_share must lie in 0..1")
        fills = self.mode == "aligned" and tokenizer.vocabulary.filling
        if (self.gap_share or self.tell_share) and not fills:
            raise UsageError("gap_share and tell_share need mode: aligned and a filling vocabulary")
        if self.mode not in get_args(Mode):
            raise UsageError(f"mode is one of {', '.join(get_args(Mode))}, not {self.mode!r}")
        # A prefix of four, <S> and two events.
        if self.seq_len < 11:
            raise UsageError(f"seq_len must be at least 11, got {self.seq_len}")
        if not (0 <= self.tag_share <= 1 and 0 < self.share <= 1):
            raise UsageError(f"tag_share {self.tag_share} and share {self.share} must lie in 0..1")
        if self.jitter_ms < 0 or self.block_pieces < 1 or self.seed < 0:
            raise UsageError("jitter_ms and seed must not be below 0, block_pieces not below 1")


class Chunk(NamedTuple):
    """Hold the ids of (a part of) one piece.

    Attributes:
        name: id of the piece.
        ids: (n,) int32.
    """

    name: str
    ids: Int32Array


class Block(NamedTuple):
    """Hold the rows of a block in their order.

    Attributes:
        rows: (n, seq_len + 1) uint16.
        names: for each row, the ids of the pieces in it.
        left: chunks that fill no row.
    """

    rows: Uint16Array
    names: list[tuple[str, ...]]
    left: list[Chunk]


def piece_hash(name: str) -> int:
    """Return a number below 2**64 that depends on the id of a piece only."""
    digest = hashlib.blake2b(name.encode("utf8", "surrogateescape"), digest_size=8).digest()
    return int.from_bytes(digest, "big")


def chosen(name: str, share: float) -> bool:
    """Return whether a piece belongs to a share of the data; true for every larger share, too."""
    return share >= 1 or piece_hash(name) < share * 2**64


def changed_columns(
    notes: GridNotes, settings: LoaderSettings, rng: np.random.Generator
) -> NoteColumns:
    """Return the columns of a piece after random jitter, tempo, pitch, velocity and chord order.

    The first note is at 0. If all notes leave the keyboard, the columns are empty.
    """
    columns = notes.columns()
    if settings.jitter_ms:
        columns = columns._replace(
            onset_ms=jitter_onsets(columns.onset_ms, settings.jitter_ms, rng)
        )
    ranges = settings.augment
    if ranges is not None:
        columns = augment_columns(columns, ranges.draw(rng), rng if ranges.mixup else None)
        if len(columns.onset_ms) and columns.onset_ms[0]:
            columns = columns._replace(onset_ms=columns.onset_ms - columns.onset_ms[0])
    return columns


def _event_start(ids: Int32Array, at: int, vocab: Vocabulary) -> int:
    """Return the largest position up to ``at`` where an event begins."""
    # Durations and absolute onsets continue an event; a relative wait begins one.
    stop = vocab.onset_start if vocab.relative else vocab.pedal_start
    while vocab.dur_start <= ids[at] < stop:
        at -= 1
    return at


def cut_piece(
    body: Int32Array,
    prefixes: Iterator[Sequence[int]],
    vocab: Vocabulary,
    bos: int,
    length: int,
    first: int,
) -> list[Int32Array]:
    """Cut a body into rows that each begin with a prefix, <S> and an event.

    If an event is cut off at the end of a row, the next row begins with this event.

    Args:
        body: (n,) ids after <S>, up to <E>.
        prefixes: the prefix of each row.
        vocab, bos: vocabulary and start id of the tokenizer.
        length: ids of a full row; only the last one may be shorter.
        first: ids of the first row; varies so that the cuts differ between epochs.
    """
    rows = []
    at, room = 0, first
    while at < len(body):
        head = [*next(prefixes), bos]
        stop = at + room - len(head)
        rows.append(np.concatenate((np.array(head, np.int32), body[at:stop])))
        if stop >= len(body):
            break
        at = _event_start(body, stop, vocab)
        room = length
    return rows


def glue(
    chunks: Sequence[Chunk], length: int
) -> tuple[Uint16Array, list[tuple[str, ...]], list[Chunk]]:
    """Concatenate chunks and cut them into rows.

    Returns:
        (n, length) rows, the names of the pieces in each row, and the remaining chunks.
    """
    ends = np.cumsum([len(chunk.ids) for chunk in chunks], dtype=np.int64)
    n_rows = int(ends[-1]) // length if len(ends) else 0
    if not n_rows:
        return np.zeros((0, length), np.uint16), [], list(chunks)
    flat = np.concatenate([chunk.ids for chunk in chunks])
    used = n_rows * length
    rows = flat[:used].reshape(n_rows, length).astype(np.uint16)
    edges = np.arange(0, used, length)
    first = np.searchsorted(ends, edges, side="right").tolist()
    last = np.searchsorted(ends, edges + length, side="left").tolist()
    names = [
        tuple(dict.fromkeys(chunk.name for chunk in chunks[a : b + 1]))
        for a, b in zip(first, last, strict=True)
    ]
    first_left = int(np.searchsorted(ends, used, side="right"))
    left = list(chunks[first_left:])
    if left:
        left[0] = Chunk(
            left[0].name, left[0].ids[len(left[0].ids) - int(ends[first_left] - used) :]
        )
    return rows, names, left


class RowStream:
    """Yield endless rows: an iterator of (seq_len + 1,) int32 ids.

    Args:
        dataset: dataset of either form; the form ``grid`` reads faster.
        split: name of the split.
        settings: settings of the rows.
        stream, n_streams: number of this stream, and number of streams.

    Raises:
        UsageError: the stream does not exist.
        InputError: the split does not exist, or a shard is missing or damaged.
    """

    def __init__(
        self,
        dataset: Dataset,
        split: str,
        settings: LoaderSettings,
        stream: int = 0,
        n_streams: int = 1,
    ) -> None:
        if not 0 <= stream < n_streams:
            raise UsageError(f"stream {stream} of {n_streams}: count from 0")
        self.dataset = dataset
        self.split = split
        self.settings = settings
        self.stream = stream
        self.n_streams = n_streams
        self.tokenizer = tokenizer_named(settings.tokenizer)
        self.names: tuple[str, ...] = ()
        """Ids of the pieces in the last row."""
        self._groups = RowGroups(dataset, split)
        rows = self._groups.num_rows
        if not rows:
            raise InputError(f"{dataset.path}: the split {split!r} is empty")
        wanted = settings.block_pieces * len(self._groups) / (settings.share * rows)
        self._groups_per_block = max(1, round(wanted))
        self.blocks_per_epoch: int = math.ceil(len(self._groups) / self._groups_per_block)
        described = json.dumps(
            [
                asdict(settings),
                split,
                stream,
                n_streams,
                [(s.file, s.rows, s.notes) for s in dataset.of_split(split)],
            ]
        )
        self._fingerprint = hashlib.blake2b(described.encode(), digest_size=8).hexdigest()
        self._number = stream
        self._given = 0
        self._carry: list[Chunk] = []
        self._stored_carry: list[list[Any]] = []
        self._block: Block | None = None

    def __iter__(self) -> RowStream:
        return self

    def __next__(self) -> Int32Array:
        block = self._block or self._make()
        empty_blocks = 0
        while self._given >= len(block.rows):
            grown = sum(len(c.ids) for c in block.left) > sum(len(c.ids) for c in self._carry)
            empty_blocks = 0 if grown or len(block.rows) else empty_blocks + 1
            if empty_blocks > self.blocks_per_epoch:
                raise InputError(
                    f"{self.dataset.path}: the split {self.split!r} gives no rows at share "
                    f"{self.settings.share}; use more of it"
                )
            self._move(self._number + self.n_streams, 0, block.left)
            block = self._make()
        row: Int32Array = block.rows[self._given].astype(np.int32)
        self.names = block.names[self._given]
        self._given += 1
        return row

    @property
    def epoch(self) -> float:
        """Return the approximate number of finished epochs; all streams advance together."""
        within = self._given / max(1, len(self._block.rows)) if self._block else 0.0
        blocks = self._number - self.stream + within * self.n_streams
        return blocks / self.blocks_per_epoch

    def position(self) -> Position:
        """Return the position before the next row as plain JSON values."""
        return {
            "block": self._number,
            "given": self._given,
            "carry": self._stored_carry,
            "of": self._fingerprint,
        }

    def seek(self, position: Position) -> None:
        """Restore a saved position; its block is made again.

        Raises:
            UsageError: the position is damaged, or belongs to a stream of other settings or data.
        """
        try:
            number, given = int(position["block"]), int(position["given"])
            carry = [Chunk(str(n), np.array(ids, np.int32)) for n, ids in position["carry"]]
            mine = position["of"] == self._fingerprint
        except (KeyError, TypeError, ValueError) as error:
            raise UsageError(f"not the position of a stream ({error!r})") from None
        if not mine:
            raise UsageError(
                f"position of another stream: settings, data, the number of streams or the seed "
                f"differ from those of stream {self.stream} of {self.n_streams}"
            )
        self._move(number, given, carry)

    def _move(self, number: int, given: int, carry: list[Chunk]) -> None:
        self._number, self._given, self._carry = number, given, carry
        self._stored_carry = [[c.name, c.ids.tolist()] for c in carry]
        self._block = None

    def _make(self) -> Block:
        self._block = self._build(self._number, self._carry)
        return self._block

    def _pieces(self, epoch: int, block: int) -> Iterator[GridRow]:
        order = np.random.default_rng((self.settings.seed, epoch, 0)).permutation(len(self._groups))
        first = block * self._groups_per_block
        for i in order[first : first + self._groups_per_block].tolist():
            for row in group_grid(self.dataset, self._groups.read(i)):
                wanted = self.settings.scores or not _is_score(row)
                if wanted and chosen(row.row.id, self.settings.share):
                    yield row

    def _build(self, number: int, carry: list[Chunk]) -> Block:
        """Make a block."""
        settings, tokenizer = self.settings, self.tokenizer
        epoch, block = divmod(number, self.blocks_per_epoch)
        rng = np.random.default_rng((settings.seed, epoch, 1 + block))
        length = settings.seq_len + 1
        stored = list(self._pieces(epoch, block))
        pieces = [stored[i] for i in rng.permutation(len(stored))]
        full: list[Chunk] = []
        rest = list(carry)
        for name, prefix, columns, body in self._bodies(pieces, rng):
            prefixes = self._prefixes(prefix, rng)
            vocab = tokenizer.vocabulary
            if settings.gap_share and rng.random() < settings.gap_share:
                rows_of = gap_rows(columns, prefixes, vocab, length, settings.tell_share, rng)
                full += [Chunk(name, ids) for ids in rows_of]
                continue
            if settings.mode == "packed":
                head = np.array([*next(prefixes), tokenizer.bos], np.int32)
                rest.append(Chunk(name, np.concatenate((head, body))))
                continue
            apart = settings.mode == "separate"
            first = length if apart else int(rng.integers(length // 4, length))
            first = max(first, 11)
            for ids in cut_piece(body, prefixes, vocab, tokenizer.bos, length, first):
                if settings.tell_share:
                    ids = with_controls(ids, vocab, settings.tell_share, rng)
                kept = full if apart or len(ids) == length else rest
                kept.append(Chunk(name, ids))
        if settings.mode == "aligned":
            rest[len(carry) :] = [
                rest[i] for i in len(carry) + rng.permutation(len(rest) - len(carry))
            ]
        glued, glued_names, left = glue(rest, length)
        rows = np.full((len(full) + len(glued), length), tokenizer.pad, np.uint16)
        order = rng.permutation(len(rows))
        # Row i moves to place order[i].
        for place, chunk in zip(order.tolist(), full, strict=False):
            rows[place, : len(chunk.ids)] = chunk.ids
        rows[order[len(full) :]] = glued
        made = [*((chunk.name,) for chunk in full), *glued_names]
        names: list[tuple[str, ...]] = [()] * len(rows)
        for place, of_row in zip(order.tolist(), made, strict=True):
            names[place] = of_row
        # A copy: a view would keep the whole block's ids alive.
        return Block(rows, names, [Chunk(c.name, c.ids.copy()) for c in left])

    def _bodies(
        self, pieces: Sequence[GridRow], rng: np.random.Generator
    ) -> Iterator[tuple[str, list[int], NoteColumns, Int32Array]]:
        """Yield piece id, whole prefix, columns, and the ids after <S> up to <E>."""
        tokenizer = self.tokenizer
        score = tokenizer.vocabulary.score_id
        for piece in pieces:
            row, notes = piece
            written = score is not None and _is_score(piece)
            settings = replace(self.settings, augment=_SCORE_RANGES) if written else self.settings
            columns = changed_columns(notes, settings, rng)
            if not len(columns.onset_ms):
                continue
            ids = tokenizer.encode_columns(
                *columns, prefix_ids=(), dim_offset=drawn_dim_offset(rng)
            )
            prefix = prefix_of(notes.tags, tokenizer.vocabulary)
            if written and score is not None:
                prefix[1:1] = [score]
            yield row.id, prefix, columns, ids[1:]

    def _prefixes(self, prefix: list[int], rng: np.random.Generator) -> Iterator[Sequence[int]]:
        while True:
            # Every row has the instrument and, for a score, <SCORE>.
            least = 2 if self.tokenizer.vocabulary.score_id in prefix else 1
            yield prefix if rng.random() < self.settings.tag_share else prefix[:least]


def validation_rows(
    dataset: Dataset,
    split: str,
    settings: LoaderSettings,
    count: int,
    kind: Callable[..., RowStream] = RowStream,
) -> Int32Array:
    """Return fixed rows of a split, without augmentation or tags, to compare losses on.

    Args:
        dataset, split: source of the rows.
        settings: vocabulary, length and mode are used; the rest is ignored.
        count: number of rows; fewer if the split holds fewer.
        kind: class of the stream that makes the rows.

    Returns:
        (n, seq_len + 1) int32, or another shape of row if the stream has one.
    """
    plain = replace(
        settings,
        augment=None,
        jitter_ms=0.0,
        tag_share=0.0,
        gap_share=0.0,
        tell_share=0.0,
        scores=False,
        share=1.0,
        seed=0,
    )
    stream = kind(dataset, split, plain)
    rows: list[Int32Array] = []
    for row in stream:
        if stream.epoch > 1 and rows:
            break
        rows.append(row)
        if len(rows) == count:
            break
    return np.stack(rows)
