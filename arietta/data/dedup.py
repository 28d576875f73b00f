"""Which files hold the same notes, the same recording, the same composition.

Three grades. *Same notes*: equal ``content_hash``, whatever the bytes of the files. *Same
recording*: shifted, cut or encoded anew; eight-pitch sequences that two files share lie apart by
one and the same time. *Same composition*: two performances share a good part of their eight-pitch
sequences.

Both near grades read one small ``Fingerprint`` a file: hashed sequences of eight pitches with their
times, thinned out by hash value, so that files thin out alike and a cut keeps its part. Notes
closer together than ``CHORD_MS`` are put in pitch order first: two players break one chord in two
ways, and without that half of the true pairs share almost nothing.

Pairs are found through an index of sequences, never by comparing all with all. Paper: section G;
the reference does exact hashes only.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from arietta.midi.instruments import DRUMS, channel_classes
from arietta.midi.notes import Piece
from arietta.midi.tempo import FloatArray, IntArray

SEQUENCE = 8
"""Pitches in a sequence."""
CHORD_MS = 30
"""Notes that follow each other at most this closely are one chord."""
KEPT = 512
"""Different sequences a fingerprint keeps at most."""
SHIFT_MS = 25
"""How far a time difference may lie from the common one."""
RECORDING_SHARE = 0.4
"""Share of the smaller file's sequences that lie at one shift, at least, in one recording."""
COMPOSITION_SHARE = 0.045
"""Share of the smaller file's different sequences that the other has, at least, in one work."""
MIN_SHARED = 15
"""Sequences that two files share at least, where the fingerprints keep all of them."""

Uint32Array = npt.NDArray[np.uint32]

# No grid of ticks falls on it, so a time is never a tie that float noise decides.
_OFF_TIE = 0.5 + 0.0137
_TEMPO_STEPS = 1 << 16


def note_classes(piece: Piece) -> npt.NDArray[np.uint8]:
    """(n,) instrument class of every note, as ``channel_classes`` says."""
    table = np.zeros(16, np.uint8)
    for channel, number in channel_classes(piece).items():
        table[channel] = number
    return table[piece.notes.channel]


def content_hash(piece: Piece, *, transposition: bool = False, tempo: bool = False) -> str:
    """A hash of what sounds: onset, length, pitch, velocity and instrument class of every note.

    It does not depend on ticks, tempo maps, tracks, channels, silence before the first note or on
    anything else a file may hold. Times count in whole milliseconds; the pedal does not count.

    Args:
        piece: any piece.
        transposition: equal also where one piece is the other some semitones higher.
        tempo: equal also where one piece is the other at another speed; times count in
            65,536ths of the piece then.

    Returns:
        32 hexadecimal digits.
    """
    notes = piece.notes
    if not len(notes):
        return hashlib.blake2b(digest_size=16).hexdigest()
    classes = note_classes(piece).astype(np.int64)
    onset = piece.onset_ms - piece.onset_ms[0]
    length = piece.duration_ms
    if tempo:
        span = float((onset + length).max())
        scale = _TEMPO_STEPS / span if span > 0 else 0.0
        onset, length = onset * scale, length * scale
    pitch = notes.pitch.astype(np.int64)
    if transposition:
        tuned = classes != DRUMS
        if tuned.any():
            pitch = np.where(tuned, pitch - pitch[tuned].min(), pitch)
    sound = (pitch << 16) | (notes.velocity.astype(np.int64) << 8) | classes
    first = (_whole(onset) << 24) | sound
    second = _whole(length)
    order = np.lexsort((second, first))
    digest = hashlib.blake2b(first[order].astype("<i8").tobytes(), digest_size=16)
    digest.update(second[order].astype("<i8").tobytes())
    return digest.hexdigest()


def _whole(value: FloatArray) -> IntArray:
    return np.floor(value + _OFF_TIE).astype(np.int64)


@dataclass(frozen=True, eq=False)
class Fingerprint:
    """Hashed eight-pitch sequences of a file, all or those with the smallest hashes.

    Attributes:
        hash: (k,) uint32, ascending; one sequence may occur several times.
        time_ms: (k,) uint32, when the sequence begins, ascending for equal hashes.
        span_ms: (k,) uint16, from its first to its last onset, at most 65,535.
        level: hashes below 2 ** (32 - level) are kept.
        notes: notes of the file, drums left out.
    """

    hash: Uint32Array
    time_ms: Uint32Array
    span_ms: npt.NDArray[np.uint16]
    level: int
    notes: int

    def __len__(self) -> int:
        return len(self.hash)


def fingerprint(piece: Piece, kept: int = KEPT) -> Fingerprint:
    """The fingerprint that both near grades read; drums are left out.

    Args:
        piece: any piece.
        kept: different sequences to keep at most.
    """
    pitch, onset = piece.notes.pitch, piece.onset_ms
    drums = note_classes(piece) == DRUMS
    if drums.any():
        pitch, onset = pitch[~drums], onset[~drums]
    return fingerprint_notes(onset, pitch, kept)


def fingerprint_notes(
    onset_ms: npt.NDArray[Any], pitch: npt.NDArray[Any], kept: int = KEPT
) -> Fingerprint:
    """The same from columns.

    Args:
        onset_ms: (n,) key-down times, ascending.
        pitch: (n,) 0..127.
        kept: different sequences to keep at most.
    """
    n = len(onset_ms)
    count = max(n - SEQUENCE + 1, 0)
    chord = np.zeros(n, np.int64)
    np.cumsum(np.diff(onset_ms) > CHORD_MS, out=chord[1:])
    # One sort puts the notes of a chord in pitch order.
    key = (chord << 7) | pitch
    ordered = np.sort(key)
    pitches = (ordered & 127).astype(np.uint64)
    packed = np.zeros(count, np.uint64)
    for i in range(SEQUENCE):
        packed |= pitches[i : i + count] << np.uint64(7 * i)
    hashes = (_mixed(packed) >> np.uint64(32)).astype(np.uint32)
    # A chord begins with its first note, so that its order does not matter to the time either.
    begins = np.concatenate(([True], chord[1:] != chord[:-1])) if n else np.zeros(0, bool)
    start = onset_ms[begins][ordered >> 7] if n else onset_ms
    time = np.clip(start[:count], 0, 2**32 - 1)
    span = np.clip(start[SEQUENCE - 1 :] - start[:count], 0, 2**16 - 1)
    level = 0
    different = np.unique(hashes)
    while int(np.searchsorted(different, 1 << (32 - level))) > kept:
        level += 1
    if level:
        mine = np.flatnonzero(hashes < (1 << (32 - level)))
        hashes, time, span = hashes[mine], time[mine], span[mine]
    order = np.argsort(hashes, kind="stable")
    return Fingerprint(
        hashes[order],
        time[order].astype(np.uint32),
        span[order].astype(np.uint16),
        level,
        n,
    )


def _mixed(x: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """A one-to-one scramble of 64 bits (the finaliser of splitmix64)."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


class Match(NamedTuple):
    """What two fingerprints have in common.

    Attributes:
        same: whether it is enough.
        share: 0..1 of the smaller file's sequences.
        shared: how many sequences that are.
        shift_ms: for recordings: add it to times of the first file to get those of the second.
    """

    same: bool
    share: float
    shared: int
    shift_ms: int = 0


_NOTHING = Match(False, 0.0, 0)


def _thinned(a: Fingerprint, b: Fingerprint) -> tuple[slice, slice, int]:
    """The parts of both that the thinner one would have kept, and its level."""
    level = max(a.level, b.level)
    top = 1 << (32 - level)
    parts = [
        slice(0, len(p) if p.level == level else int(np.searchsorted(p.hash, top))) for p in (a, b)
    ]
    return parts[0], parts[1], level


def same_recording(a: Fingerprint, b: Fingerprint, min_share: float = RECORDING_SHARE) -> Match:
    """Whether one file is the other, or a part of it: shifted, cut or encoded anew.

    The differences in time of all sequences that both hold are searched for the window of
    2 * ``SHIFT_MS`` that holds most; the share counts those of the smaller file that lie in it.
    """
    of_a, of_b, _ = _thinned(a, b)
    hash_a, hash_b = a.hash[of_a], b.hash[of_b]
    smaller = min(len(hash_a), len(hash_b))
    if not smaller:
        return _NOTHING
    low = np.searchsorted(hash_b, hash_a, "left")
    # A sequence that is repeated for minutes says little and would cost its square.
    times = np.minimum(np.searchsorted(hash_b, hash_a, "right") - low, 64)
    total = int(times.sum())
    if not total:
        return _NOTHING
    i = np.repeat(np.arange(len(hash_a)), times)
    j = np.arange(total) - np.repeat(np.cumsum(times) - times - low, times)
    shift = b.time_ms[of_b][j].astype(np.int64) - a.time_ms[of_a][i]
    ordered = np.sort(shift)
    inside = np.searchsorted(ordered, ordered + 2 * SHIFT_MS, "right") - np.arange(total)
    best = int(np.argmax(inside))
    centre = int(np.median(ordered[best : best + inside[best]]))
    hit = np.abs(shift - centre) <= SHIFT_MS
    side = i if len(hash_a) <= len(hash_b) else j
    shared = len(np.unique(side[hit]))
    share = shared / smaller
    return Match(share >= min_share and shared >= MIN_SHARED // 2, share, shared, centre)


def same_composition(a: Fingerprint, b: Fingerprint, min_share: float = COMPOSITION_SHARE) -> Match:
    """Whether two files hold the same work, or one a good part of the other's."""
    of_a, of_b, level = _thinned(a, b)
    different_a, different_b = np.unique(a.hash[of_a]), np.unique(b.hash[of_b])
    smaller = min(len(different_a), len(different_b))
    if not smaller:
        return _NOTHING
    shared = len(np.intersect1d(different_a, different_b, assume_unique=True))
    share = shared / smaller
    least = max(3, MIN_SHARED >> level)
    return Match(share >= min_share and shared >= least, share, shared)


class FingerprintTable(Sequence[Fingerprint]):
    """Many fingerprints end to end: a handful of arrays, whether there are ten or a million.

    The arrays may be memory maps.

    Attributes:
        hash, time_ms, span_ms: the columns of all fingerprints, one after the other.
        offsets: (n + 1,) int64; fingerprint i is rows ``offsets[i]:offsets[i + 1]``.
        level: (n,) uint8.
        notes: (n,) int64.
    """

    def __init__(
        self,
        hash: Uint32Array,
        time_ms: Uint32Array,
        span_ms: npt.NDArray[np.uint16],
        offsets: IntArray,
        level: npt.NDArray[np.uint8],
        notes: IntArray,
    ) -> None:
        self.hash = hash
        self.time_ms = time_ms
        self.span_ms = span_ms
        self.offsets = offsets
        self.level = level
        self.notes = notes

    @classmethod
    def pack(cls, prints: Iterable[Fingerprint]) -> FingerprintTable:
        """A table of the given fingerprints, in their order."""
        listed = list(prints)
        offsets = np.zeros(len(listed) + 1, np.int64)
        np.cumsum([len(p) for p in listed], out=offsets[1:])
        return cls(
            np.concatenate([np.zeros(0, np.uint32), *(p.hash for p in listed)]),
            np.concatenate([np.zeros(0, np.uint32), *(p.time_ms for p in listed)]),
            np.concatenate([np.zeros(0, np.uint16), *(p.span_ms for p in listed)]),
            offsets,
            np.array([p.level for p in listed], np.uint8),
            np.array([p.notes for p in listed], np.int64),
        )

    def __len__(self) -> int:
        return len(self.level)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[i] for i in range(len(self))[index]]
        i = range(len(self))[index]
        rows = slice(int(self.offsets[i]), int(self.offsets[i + 1]))
        return Fingerprint(
            self.hash[rows],
            self.time_ms[rows],
            self.span_ms[rows],
            int(self.level[i]),
            int(self.notes[i]),
        )


def _table(prints: Iterable[Fingerprint]) -> FingerprintTable:
    return prints if isinstance(prints, FingerprintTable) else FingerprintTable.pack(prints)


class Duplicate(NamedTuple):
    """One file that holds a recording which another file holds as well.

    Attributes:
        duplicate, kept: positions of the two files.
        match: what they have in common; the shift leads from duplicate to kept.
    """

    duplicate: int
    kept: int
    match: Match


def dedup_recordings(
    prints: Iterable[Fingerprint], min_share: float = RECORDING_SHARE
) -> list[Duplicate]:
    """Files that hold nothing but (a part of) a recording that a kept file holds.

    Of several copies the one with most notes is kept, of equals the first; a duplicate matches the
    kept file itself, not another duplicate.

    Returns:
        One entry a duplicate, by position.
    """
    table = _table(prints)
    pairs = recording_candidates(table)
    rank = np.empty(len(table), np.int64)
    rank[np.lexsort((np.arange(len(table)), -table.notes))] = np.arange(len(table))
    swap = rank[pairs[:, 0]] < rank[pairs[:, 1]]
    # (duplicate, kept), best kept file first.
    pairs[swap] = pairs[swap, ::-1]
    pairs = pairs[np.lexsort((rank[pairs[:, 1]], rank[pairs[:, 0]]))]
    found: dict[int, Duplicate] = {}
    for one, other in pairs.tolist():
        if one in found or other in found:
            continue
        match = same_recording(table[one], table[other], min_share)
        if match.same:
            found[one] = Duplicate(one, other, match)
    return [found[i] for i in sorted(found)]


def recording_candidates(table: FingerprintTable, window: int = 32, hits: int = 3) -> IntArray:
    """Pairs worth a look: several sequences of theirs are equal in pitch and in length.

    Each sequence is compared with the next ``window`` of its hash, in order of length: copies of a
    recording lie side by side there even where thousands have played the piece.

    Returns:
        (m, 2) positions, the lower first.
    """
    file = np.repeat(np.arange(len(table)), np.diff(table.offsets))
    order = np.lexsort((table.span_ms, table.hash))
    hashes, span, file = table.hash[order], table.span_ms[order].astype(np.int64), file[order]
    keys = []
    for step in range(1, min(window, len(file) - 1) + 1):
        near = (hashes[step:] == hashes[:-step]) & (span[step:] - span[:-step] <= SHIFT_MS // 2)
        if not near.any():
            break
        keys.append(_pair_keys(file[:-step][near], file[step:][near]))
    return _frequent(keys, hits)


def _pair_keys(a: IntArray, b: IntArray) -> IntArray:
    apart = a != b
    a, b = a[apart], b[apart]
    return (np.minimum(a, b) << 32) | np.maximum(a, b)


def _frequent(keys: list[IntArray], hits: int) -> IntArray:
    """Pairs that occur at least ``hits`` times."""
    pair, count = np.unique(np.concatenate([np.zeros(0, np.int64), *keys]), return_counts=True)
    pair = pair[count >= hits]
    return np.stack((pair >> 32, pair & 0xFFFFFFFF), axis=1)


class Groups:
    """Union-find over positions; the name of a group is its lowest member."""

    def __init__(self, count: int) -> None:
        self._parent = np.arange(count)

    def find(self, i: int) -> int:
        """The lowest member of i's group."""
        parent = self._parent
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = int(parent[i])
        return i

    def join(self, i: int, j: int) -> None:
        """Make one group of two."""
        a, b = sorted((self.find(i), self.find(j)))
        self._parent[b] = a

    def labels(self) -> IntArray:
        """(n,) lowest member of everyone's group."""
        parent = self._parent
        while True:
            upper = parent[parent]
            if np.array_equal(upper, parent):
                return parent.copy()
            parent[:] = upper


def composition_groups(
    prints: Iterable[Fingerprint], min_share: float = COMPOSITION_SHARE
) -> IntArray:
    """Files that hold the same work, joined also over others in between.

    Returns:
        (n,) for every file the position of the first file of its group.
    """
    table = _table(prints)
    groups = Groups(len(table))
    seen: set[tuple[int, int]] = set()
    while True:
        fresh = [
            pair
            for pair in map(tuple, composition_candidates(table, groups.labels()).tolist())
            if pair not in seen
        ]
        joined = False
        for one, other in fresh:
            seen.add((one, other))
            if groups.find(one) == groups.find(other):
                continue
            if same_composition(table[one], table[other], min_share).same:
                groups.join(one, other)
                joined = True
        if not joined:
            return groups.labels()


def composition_candidates(
    table: FingerprintTable, labels: IntArray, window: int = 4, hits: int = 3
) -> IntArray:
    """Pairs of files of different groups that share several sequences.

    Groups count as one file, so a work that thousands have played costs no more than one that two
    have played, once it is a group.

    Returns:
        (m, 2) positions, the lower first.
    """
    file = np.repeat(np.arange(len(table)), np.diff(table.offsets))
    order = np.lexsort((file, labels[file], table.hash))
    hashes, file = table.hash[order], file[order]
    group = labels[file]
    first = np.ones(len(file), bool)
    first[1:] = (hashes[1:] != hashes[:-1]) | (group[1:] != group[:-1])
    hashes, file = hashes[first], file[first]
    keys = []
    for step in range(1, min(window, len(file) - 1) + 1):
        near = hashes[step:] == hashes[:-step]
        keys.append(_pair_keys(file[:-step][near], file[step:][near]))
    return _frequent(keys, hits)


class Work(NamedTuple):
    """What is known of a file's composition; empty where it is not.

    Attributes:
        composer, opus, number: as tagged.
        group: a name of its composition group, used where neither opus nor number is known.
    """

    composer: str
    opus: str
    number: str
    group: Hashable = None

    @property
    def tagged(self) -> bool:
        """Whether opus or piece number is known."""
        return bool(self.composer and (self.opus or self.number))


def cap_compositions(
    works: Sequence[Work], limit: int | None = 250, per_work: int = 10
) -> dict[int, str]:
    """Files that are too many of one kind (section G).

    Composers with more than ``limit`` tagged files keep ``per_work`` files of each opus and piece
    number, the first ones, and lose the files of which neither tags nor group are known.

    Args:
        works: one a file, in order of preference.
        limit: tagged files that a composer may have without a cap; None caps the works of all
            composers, known or not, and drops nothing else (one a work is the published
            finetuning set).
        per_work: files of a work that stay.

    Returns:
        Position and reason of every file to drop, by position.
    """
    tagged = Counter(work.composer for work in works if work.tagged)
    seen: Counter[Hashable] = Counter()
    dropped = {}
    for i, work in enumerate(works):
        if limit is not None and tagged[work.composer] <= limit:
            continue
        key: Hashable = work[:3] if work.tagged else work.group
        if key is None:
            if limit is not None:
                dropped[i] = f"untagged, and {work.composer} has {tagged[work.composer]} others"
            continue
        seen[key] += 1
        if seen[key] > per_work:
            dropped[i] = f"more than {per_work} of one work"
    return dropped
