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
from collections.abc import Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from arietta.arrays import (
    BoolArray,
    FloatArray,
    IntArray,
    Uint8Array,
    Uint16Array,
    Uint32Array,
    Uint64Array,
)
from arietta.midi.instruments import DRUMS, channel_classes
from arietta.midi.piece import Piece

SEQUENCE = 8
"""Pitches in a sequence."""
CHORD_MS = 30
"""Notes that follow each other at most this closely are one chord."""
KEPT = 512
"""Different sequences that a fingerprint keeps, unless it is thinned out to ``MAX_LEVEL``."""
MIN_PITCHES = 4
"""Different pitches in a sequence at least."""
MAX_LEVEL = 3
"""Of long files one sequence in 2 ** 3 stays, so that a short one is still found in them."""
MAX_REPEATS = 16
"""Occurrences of one sequence that a fingerprint keeps."""
SHIFT_MS = 25
"""How far a time difference may lie from the common one."""
AGREEMENT = 0.45
"""Share of the common sequences that lie at one shift, at least, in one recording."""
RECORDING_SHARE = 0.1
"""Share of the smaller file's sequences that do; transcriptions of one sound lose many."""
PART = 0.5
"""Part of the smaller file that they stretch over, at least."""
COMPOSITION_SHARE = 0.045
"""Share of the smaller file's different sequences that the other has, at least, in one work."""
SURE_SHARE = 0.12
"""The same for pairs that no commonplace can explain."""
COMMON_GROUPS = 8
"""A sequence that so many sure groups hold is a commonplace."""
MIN_SHARED = 15
"""Different sequences that two performances of a work share at least."""
MIN_HITS = 6
"""The same where fingerprints are thinned out, and sequences of a recording at one shift."""
LEAST_HITS = 3
"""Sequences that the index has to find in two files before they are compared."""
HIT_SHARE = 0.04
"""The same for recordings, as a share of the smaller file."""
ENTRIES = 1 << 23
"""Sequences that are indexed at a time; some 60 bytes each."""


# No grid of ticks falls on it, so a time is never a tie that float noise decides.
_OFF_TIE = 0.5 + 0.0137
_TEMPO_STEPS = 1 << 16


def note_classes(piece: Piece) -> Uint8Array:
    """(n,) instrument class of every note, as ``channel_classes`` says."""
    table = np.zeros(16, np.uint8)
    for channel, number in channel_classes(piece).items():
        table[channel] = number
    return table[piece.notes.channel]


def content_hash(piece: Piece, *, transposition: bool = False, tempo: bool = False) -> str:
    """Hash what sounds: onset, length, pitch, velocity and instrument class of every note.

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
    span_ms: Uint16Array
    level: int
    notes: int

    def __len__(self) -> int:
        return len(self.hash)


def fingerprint(piece: Piece) -> Fingerprint:
    """Return the fingerprint that both near grades read; drums are left out.

    Args:
        piece: any piece.
    """
    pitch, onset = piece.notes.pitch, piece.onset_ms
    drums = note_classes(piece) == DRUMS
    if drums.any():
        pitch, onset = pitch[~drums], onset[~drums]
    return fingerprint_notes(onset, pitch)


def fingerprint_notes(onset_ms: npt.NDArray[Any], pitch: npt.NDArray[Any]) -> Fingerprint:
    """Return the fingerprint of columns.

    Sequences that any music may hold are left out: those that only rise or only fall (scales,
    arpeggios, glissandi) and those of fewer than four pitches (trills, repeated notes).

    Args:
        onset_ms: (n,) key-down times from 0, ascending.
        pitch: (n,) 0..127.
    """
    n = len(onset_ms)
    count = n - SEQUENCE + 1
    if count < 1:
        nothing = np.zeros(0, np.uint32)
        return Fingerprint(nothing, nothing, np.zeros(0, np.uint16), 0, n)
    begins = np.ones(n, bool)
    begins[1:] = np.diff(onset_ms) > CHORD_MS
    chord = np.cumsum(begins) - 1
    # One sort puts the notes of every chord in pitch order.
    ordered = np.sort((chord << 7) | pitch)
    pitches = (ordered & 127).astype(np.uint8)
    telling = _telling(pitches)
    packed = np.zeros(count, np.uint64)
    for i in range(SEQUENCE):
        packed |= pitches[i : i + count].astype(np.uint64) << np.uint64(7 * i)
    hashes = (_mixed(packed[telling]) >> np.uint64(32)).astype(np.uint32)
    # A chord begins with its first note, so that its order does not matter to the time either.
    start = np.asarray(onset_ms, np.float64)[begins][ordered >> 7]
    time = start[:count][telling]
    span = (start[SEQUENCE - 1 :] - start[:count])[telling]
    order = np.argsort(hashes, kind="stable")
    hashes = hashes[order]
    place = np.flatnonzero(np.append(True, hashes[1:] != hashes[:-1])) if len(hashes) else order
    level = 0
    while level < MAX_LEVEL and np.searchsorted(hashes[place], 1 << (32 - level)) > KEPT:
        level += 1
    stop = int(np.searchsorted(hashes, 1 << (32 - level)))
    repeat = np.arange(len(hashes))
    repeat[:] -= np.repeat(place, np.diff(np.append(place, len(hashes))))
    kept = np.flatnonzero(repeat[:stop] < MAX_REPEATS)
    order = order[kept]
    return Fingerprint(
        hashes[kept],
        np.clip(time[order], 0, 2**32 - 1).astype(np.uint32),
        np.clip(span[order], 0, 2**16 - 1).astype(np.uint16),
        level,
        n,
    )


def _telling(pitches: Uint8Array) -> BoolArray:
    """(n - 7,) whether a sequence goes both up and down and has four pitches or more."""
    n = len(pitches)
    count = n - SEQUENCE + 1
    begin = np.arange(count)
    order = np.argsort(pitches, kind="stable")
    again = pitches[order[1:]] == pitches[order[:-1]]
    previous = np.full(n, -1)
    previous[order[1:][again]] = order[:-1][again]
    step = np.diff(pitches.astype(np.int8))
    ups, downs = (np.append(0, np.cumsum(way)) for way in (step > 0, step < 0))
    different = np.zeros(count, np.int8)
    for i in range(SEQUENCE):
        # Within the sequence a pitch is new if it occurred before its begin only.
        different += previous[i : i + count] < begin
    last = slice(SEQUENCE - 1, None)
    mixed = (ups[last] > ups[:count]) & (downs[last] > downs[:count])
    return mixed & (different >= MIN_PITCHES)


def _mixed(x: Uint64Array) -> Uint64Array:
    """Return a one-to-one scramble of 64 bits (the finaliser of splitmix64)."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


class Match(NamedTuple):
    """What two fingerprints have in common.

    Attributes:
        same: whether it is enough.
        share: 0..1 of the smaller file's sequences; for recordings those at one shift.
        shared: how many sequences that are.
        shift_ms: for recordings: add it to times of the first file to get those of the second.
        agreement: for recordings: 0..1 of the sequences in common that lie at that shift.
    """

    same: bool
    share: float
    shared: int
    shift_ms: int = 0
    agreement: float = 0.0


_NOTHING = Match(False, 0.0, 0)


def _thinned(a: Fingerprint, b: Fingerprint) -> tuple[slice, slice, int]:
    """Return the parts of both that the thinner one would have kept, and its level."""
    level = max(a.level, b.level)
    top = 1 << (32 - level)
    parts = [
        slice(0, len(p) if p.level == level else int(np.searchsorted(p.hash, top))) for p in (a, b)
    ]
    return parts[0], parts[1], level


def same_recording(a: Fingerprint, b: Fingerprint, agreement: float = AGREEMENT) -> Match:
    """Whether one file is the other, or a part of it: shifted, cut or encoded anew.

    The differences in time of all sequences that both hold are searched for the window of
    2 * ``SHIFT_MS`` that holds most. Of the smaller file's sequences that the other has somewhere,
    most have to lie in it, and they have to stretch over a good part of the file. Another speed is
    another recording.
    """
    of_a, of_b, _ = _thinned(a, b)
    hash_a, hash_b = a.hash[of_a], b.hash[of_b]
    smaller = min(len(hash_a), len(hash_b))
    low = np.searchsorted(hash_b, hash_a, "left")
    times = np.searchsorted(hash_b, hash_a, "right") - low
    total = int(times.sum())
    if not total:
        return _NOTHING
    i = np.repeat(np.arange(len(hash_a)), times)
    j = np.arange(total) - np.repeat(np.cumsum(times) - times - low, times)
    shift = b.time_ms[of_b][j].astype(np.int64) - a.time_ms[of_a][i]
    ordered = np.sort(shift)
    inside = np.searchsorted(ordered, ordered + 2 * SHIFT_MS, "right") - np.arange(total)
    best = int(np.argmax(inside))
    centre = int(ordered[best + int(inside[best]) // 2])
    hit = np.abs(shift - centre) <= SHIFT_MS
    side, time = (i, a.time_ms[of_a]) if len(hash_a) <= len(hash_b) else (j, b.time_ms[of_b])
    here = np.unique(side[hit])
    share, agreed = len(here) / smaller, len(here) / len(np.unique(side))
    place = np.searchsorted(np.sort(time), time[here])
    part = (int(place.max() - place.min()) + 1) / smaller
    enough = len(here) >= MIN_HITS and share >= RECORDING_SHARE and part >= PART
    return Match(enough and agreed >= agreement, share, len(here), centre, agreed)


def same_composition(
    a: Fingerprint,
    b: Fingerprint,
    min_share: float = COMPOSITION_SHARE,
    common: Uint32Array | None = None,
) -> Match:
    """Whether two files hold the same work, or one a good part of the other's.

    Args:
        a, b: two fingerprints.
        min_share: of the smaller file's different sequences.
        common: ascending hashes of sequences that do not count.
    """
    of_a, of_b, level = _thinned(a, b)
    different_a, different_b = _different(a.hash[of_a]), _different(b.hash[of_b])
    if common is not None:
        different_a = different_a[~_among(different_a, common)]
        different_b = different_b[~_among(different_b, common)]
    smaller = min(len(different_a), len(different_b))
    if not smaller:
        return _NOTHING
    shared = int(np.count_nonzero(_among(different_a, different_b)))
    share = shared / smaller
    least = max(MIN_HITS, MIN_SHARED >> level)
    return Match(share >= min_share and shared >= least, share, shared)


def _different(ascending: Uint32Array) -> Uint32Array:
    """Each value once."""
    new = np.ones(len(ascending), bool)
    new[1:] = ascending[1:] != ascending[:-1]
    return ascending[new]


def _among(values: Uint32Array, ascending: Uint32Array) -> BoolArray:
    """Which values occur in an ascending array."""
    if not len(ascending):
        return np.zeros(len(values), bool)
    place = np.searchsorted(ascending, values)
    place[place == len(ascending)] = 0
    found: BoolArray = ascending[place] == values
    return found


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
        span_ms: Uint16Array,
        offsets: IntArray,
        level: Uint8Array,
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
        """Return a table of the given fingerprints, in their order."""
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
    prints: Iterable[Fingerprint], agreement: float = AGREEMENT
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
        match = same_recording(table[one], table[other], agreement)
        if match.same:
            found[one] = Duplicate(one, other, match)
    return [found[i] for i in sorted(found)]


def recording_candidates(table: FingerprintTable, window: int = 32) -> IntArray:
    """Pairs worth a look: several sequences of theirs are equal in pitch and in length.

    Each sequence is compared with the next ``window`` of its hash, in order of length: copies of a
    recording lie side by side there even where thousands have played the piece.

    Returns:
        (m, 2) positions, the lower first, in ascending order.
    """
    pairs = _PairCount()
    for rows, file in _slices(table):
        hashes, span = table.hash[rows], table.span_ms[rows]
        order = np.argsort((hashes.astype(np.uint64) << np.uint64(16)) | span, kind="stable")
        hashes, span, file = hashes[order], span[order].astype(np.int32), file[order]
        for step in range(1, window + 1):
            near = hashes[step:] == hashes[:-step]
            near &= span[step:] - span[:-step] <= SHIFT_MS // 2
            if not near.any():
                break
            pairs.add(file[:-step][near], file[step:][near])
    found, hits = pairs.at_least(LEAST_HITS)
    # Performances of one work have a few such sequences by chance, the more the longer they are.
    level = table.level[found].astype(np.int64)
    thinner = level.max(axis=1, keepdims=True) - level
    smaller = (np.diff(table.offsets)[found] >> thinner).min(axis=1)
    worth: IntArray = found[hits >= HIT_SHARE * smaller]
    return worth


def _slices(table: FingerprintTable) -> Iterator[tuple[IntArray, IntArray]]:
    """Rows and files of all sequences, a range of hashes at a time to bound memory."""
    total = len(table.hash)
    # Small hashes are in every fingerprint, large ones in those of short files only.
    sample = np.sort(table.hash[:: max(1, total >> 16)])
    edges = np.unique(sample[:: max(1, len(sample) * ENTRIES // max(total, 1))]).tolist()
    for low, high in pairwise([0, *edges[1:], 1 << 32]):
        rows = np.flatnonzero((table.hash >= low) & (table.hash < high))
        yield rows, np.searchsorted(table.offsets, rows, "right") - 1


class _PairCount:
    """How often pairs of positions occur; the tally is made up now and then to bound memory."""

    def __init__(self) -> None:
        self._key = np.zeros(0, np.int64)
        self._count = np.zeros(0, np.int64)
        self._waiting: list[IntArray] = []
        self._size = 0

    def add(self, a: IntArray, b: IntArray) -> None:
        """Count one occurrence of each pair (a[i], b[i]) of two different positions."""
        apart = a != b
        a, b = a[apart], b[apart]
        self._waiting.append((np.minimum(a, b) << 32) | np.maximum(a, b))
        self._size += len(a)
        if self._size > max(ENTRIES, 2 * len(self._key)):
            self._tally()

    def _tally(self) -> None:
        key, count = np.unique(np.concatenate(self._waiting), return_counts=True)
        self._waiting, self._size = [], 0
        self._key, inverse = np.unique(np.concatenate((self._key, key)), return_inverse=True)
        total = np.bincount(inverse, np.concatenate((self._count, count)), len(self._key))
        self._count = total.astype(np.int64)

    def at_least(self, hits: int) -> tuple[IntArray, IntArray]:
        """(m, 2) pairs that occurred so often, in ascending order, and (m,) how often."""
        if self._waiting:
            self._tally()
        often = self._count >= hits
        key = self._key[often]
        return np.stack((key >> 32, key & 0xFFFFFFFF), axis=1), self._count[often]


class Groups:
    """Union-find over positions; the name of a group is its lowest member."""

    def __init__(self, count: int) -> None:
        self._parent = np.arange(count)

    def find(self, i: int) -> int:
        """Return the lowest member of i's group."""
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

    First come the sure pairs; what eight of the groups that they make have in common is nobody's
    theme and does not count when the rest is joined. Without that, studies would join everything
    that holds their passages.

    Returns:
        (n,) for every file the position of the first file of its group.
    """
    table = _table(prints)
    groups = Groups(len(table))
    _join(table, groups, max(min_share, SURE_SHARE), None)
    if min_share < SURE_SHARE:
        _join(table, groups, min_share, _commonplace(table, groups.labels()))
    return groups.labels()


def _join(
    table: FingerprintTable, groups: Groups, min_share: float, common: Uint32Array | None
) -> None:
    """Join all files with a sufficient match in another group."""
    seen = np.zeros(0, np.int64)
    joined = True
    while joined:
        joined = False
        pairs = composition_candidates(table, groups.labels())
        key = (pairs[:, 0] << 32) | pairs[:, 1]
        pairs = pairs[~np.isin(key, seen)]
        seen = np.union1d(seen, key)
        for one, other in pairs.tolist():
            if groups.find(one) == groups.find(other):
                continue
            if same_composition(table[one], table[other], min_share, common).same:
                groups.join(one, other)
                joined = True


def composition_candidates(table: FingerprintTable, labels: IntArray, window: int = 4) -> IntArray:
    """Pairs of files of different groups that share several sequences.

    Groups count as one file, so a work that thousands have played costs no more than one that two
    have played, once it is a group.

    Returns:
        (m, 2) positions, the lower first, in ascending order.
    """
    pairs = _PairCount()
    for hashes, file in _by_group(table, labels):
        for step in range(1, window + 1):
            near = hashes[step:] == hashes[:-step]
            if not near.any():
                break
            pairs.add(file[:-step][near], file[step:][near])
    return pairs.at_least(LEAST_HITS)[0]


def _commonplace(table: FingerprintTable, labels: IntArray) -> Uint32Array:
    """Sequences that many groups hold, ascending."""
    found = [np.zeros(0, np.uint32)]
    for hashes, _ in _by_group(table, labels):
        last = COMMON_GROUPS - 1
        found.append(np.unique(hashes[last:][hashes[last:] == hashes[: len(hashes) - last]]))
    return np.concatenate(found)


def _by_group(table: FingerprintTable, labels: IntArray) -> Iterator[tuple[Uint32Array, IntArray]]:
    """All sequences in order of hash and group, the first file of a group for each."""
    by_label = np.argsort(labels, kind="stable")
    rank = np.empty(len(labels), np.uint64)
    rank[by_label] = np.arange(len(labels), dtype=np.uint64)
    for rows, file in _slices(table):
        # One number a sequence: numpy sorts numbers several times as fast as it orders them.
        key = (table.hash[rows].astype(np.uint64) << np.uint64(32)) | rank[file]
        key.sort()
        hashes = (key >> np.uint64(32)).astype(np.uint32)
        file = by_label[(key & np.uint64(0xFFFFFFFF)).astype(np.int64)]
        group = labels[file]
        first = np.ones(len(file), bool)
        first[1:] = (hashes[1:] != hashes[:-1]) | (group[1:] != group[:-1])
        yield hashes[first], file[first]


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
