"""The token lists of the absolute tokenizer and lookup tables over them (specification B.1).

A vocabulary is a fixed order of blocks, so an id is the start of its block plus an offset; nothing
here keeps a dictionary of 17 thousand tokens unless somebody asks for the tokens themselves.
"""

from __future__ import annotations

import hashlib
import json
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from functools import cached_property, lru_cache

import numpy as np
import numpy.typing as npt

from arietta.arrays import Int32Array, IntArray, Uint8Array
from arietta.errors import TokenError, UsageError
from arietta.tokenizers.base import IdRange, Token
from arietta.tokenizers.quantise import MAX_DURATION_MS, SEGMENT_MS, STEP

CLASSES_IN_USE = (
    "piano", "organ", "guitar", "bass", "strings", "ensemble", "brass", "reed", "pipe",
    "synth_lead",
)  # fmt: skip
COMPOSERS = (
    "bach", "beethoven", "mozart", "chopin", "rachmaninoff", "liszt", "debussy", "schubert",
    "brahms", "ravel", "satie", "scarlatti",
)  # fmt: skip
FORMS = ("sonata", "prelude", "nocturne", "étude", "waltz", "mazurka", "impromptu", "fugue")
GENRES = ("jazz", "classical")
FIRST_DRUM, LAST_DRUM = 35, 81
N_DRUMS = LAST_DRUM - FIRST_DRUM + 1
N_PITCHES = 128
MAX_VELOCITY_STEP = 12
NO_CLASS = 255

BOS, EOS, PAD, UNK, DIM, TIME = range(6)
SPECIALS = ("<S>", "<E>", "<P>", "<U>", "<D>", "<T>")
PED_ON_TOKEN, PED_OFF_TOKEN, DELIMITER_TOKEN = "<PED_ON>", "<PED_OFF>", "<X>"
FILL_TOKENS = ("<GAPS>", "<FILL>", "<MID>", "<SCORE>")
CONTROLS = ("density", "register", "loudness")
CONTROL_LEVELS = 12


class Kind(IntEnum):
    """What an id stands for. The first six equal the ids of the special tokens."""

    BOS = BOS
    EOS = EOS
    PAD = PAD
    UNK = UNK
    DIM = DIM
    TIME = TIME
    DELIMITER = 6
    INSTRUMENT = 7
    LABEL = 8
    NOTE = 9
    DRUM = 10
    PEDAL = 11
    ONSET = 12
    DUR = 13
    # Not an id: an unknown prefix token, which ends the header where <U> would not.
    FOREIGN = 14
    FILL = 15
    CONTROL = 16


def plain_name(name: str) -> str:
    """Return a name without accents and in lower case: how names are compared."""
    split = unicodedata.normalize("NFKD", name.casefold())
    return "".join(c for c in split if not unicodedata.combining(c))


@dataclass(frozen=True)
class Vocabulary:
    """One variant of the token list.

    Attributes:
        name: how the variant is called here.
        classes: instrument classes with notes of their own; all others are ignored.
        drums, pedal, delimiter: whether those blocks exist.
        composers, forms, genres: names with a prefix token.
        first_step: the smallest velocity and duration in the list, in steps of 10. The public lists
            start at 0, though neither value is ever produced; ours starts at 1.
        merge_to_piano: encoding takes every instrument in use as piano and leaves drums out,
            where the public vocabularies leave out the channels they have no class for.
        relative: waits of 0..5000 ms between notes instead of onsets, and no <T>.
        filling: ids for filling gaps (``FILL_TOKENS``) and for telling how dense, how high and how
            loud the music is from a place on (``CONTROLS``, ``CONTROL_LEVELS`` of each), behind
            all others.
    """

    name: str
    classes: tuple[str, ...] = CLASSES_IN_USE
    drums: bool = True
    pedal: bool = False
    delimiter: bool = False
    composers: tuple[str, ...] = COMPOSERS
    forms: tuple[str, ...] = FORMS
    genres: tuple[str, ...] = GENRES
    first_step: int = 0
    merge_to_piano: bool = False
    relative: bool = False
    filling: bool = False

    @cached_property
    def instruments(self) -> tuple[str, ...]:
        """Names with an instrument prefix, in id order."""
        return self.classes + (("drum",) if self.drums else ())

    @property
    def velocities(self) -> int:
        """Velocity values per pitch."""
        return MAX_VELOCITY_STEP + 1 - self.first_step

    @property
    def notes_per_class(self) -> int:
        """Ids of one class's note block."""
        return N_PITCHES * self.velocities

    @property
    def specials(self) -> tuple[str, ...]:
        """The special tokens at the head of the list."""
        return SPECIALS[:TIME] if self.relative else SPECIALS

    @property
    def instrument_start(self) -> int:
        """First instrument prefix."""
        return len(self.specials)

    @cached_property
    def label_start(self) -> int:
        """First composer prefix; forms and genres follow."""
        return self.instrument_start + len(self.instruments)

    @cached_property
    def labels(self) -> tuple[tuple[str, str], ...]:
        """(kind, name) of the composer, form and genre prefixes, in id order."""
        return (
            *(("composer", n) for n in self.composers),
            *(("form", n) for n in self.forms),
            *(("genre", n) for n in self.genres),
        )

    @cached_property
    def note_start(self) -> int:
        """First note id: class 0, pitch 0, lowest velocity."""
        return self.label_start + len(self.labels)

    @cached_property
    def drum_start(self) -> int:
        """First drum id, or where it would be."""
        return self.note_start + len(self.classes) * self.notes_per_class

    @cached_property
    def dur_start(self) -> int:
        """First duration id: ``first_step`` * 10 ms."""
        return self.drum_start + (N_DRUMS if self.drums else 0)

    @property
    def dur_zero(self) -> int:
        """Where the duration 0 is or would be: id = dur_zero + ms / 10."""
        return self.dur_start - self.first_step

    @cached_property
    def onset_start(self) -> int:
        """First onset id, 0 ms into the segment; or the wait of 0 ms."""
        return self.dur_start + MAX_DURATION_MS // STEP + 1 - self.first_step

    @cached_property
    def pedal_start(self) -> int:
        """Id of <PED_ON>, or where it would be; <PED_OFF> follows."""
        last = MAX_DURATION_MS + STEP if self.relative else SEGMENT_MS
        return self.onset_start + last // STEP

    @cached_property
    def delimiter_id(self) -> int | None:
        """Id of <X>, None where it is absent."""
        return self.pedal_start + (2 if self.pedal else 0) if self.delimiter else None

    @cached_property
    def fill_start(self) -> int:
        """Id of <GAPS>, or where it would be; <FILL>, <MID> and <SCORE> follow."""
        return self.pedal_start + (2 if self.pedal else 0) + (1 if self.delimiter else 0)

    @property
    def score_id(self) -> int | None:
        """Id of <SCORE>, which stands in the prefix of music as it is written, None without it."""
        return self.fill_start + FILL_TOKENS.index("<SCORE>") if self.filling else None

    @property
    def control_start(self) -> int:
        """Id of the first control, or where it would be: the lowest density."""
        return self.fill_start + (len(FILL_TOKENS) if self.filling else 0)

    @cached_property
    def size(self) -> int:
        """Number of ids."""
        return self.control_start + (len(CONTROLS) * CONTROL_LEVELS if self.filling else 0)

    def class_range(self, index: int) -> IdRange:
        """Half-open id range of the notes of a class."""
        start = self.note_start + index * self.notes_per_class
        return start, start + self.notes_per_class

    @cached_property
    def kinds(self) -> Uint8Array:
        """(size + 1,) ``Kind`` of each id; the extra last entry is ``Kind.FOREIGN``."""
        table = np.empty(self.size + 1, np.uint8)
        table[: len(self.specials)] = range(len(self.specials))
        table[self.instrument_start : self.label_start] = Kind.INSTRUMENT
        table[self.label_start : self.note_start] = Kind.LABEL
        table[self.note_start : self.drum_start] = Kind.NOTE
        table[self.drum_start : self.dur_start] = Kind.DRUM
        table[self.dur_start : self.onset_start] = Kind.DUR
        table[self.onset_start : self.pedal_start] = Kind.ONSET
        table[self.pedal_start :] = Kind.PEDAL
        if self.delimiter_id is not None:
            table[self.delimiter_id] = Kind.DELIMITER
        table[self.fill_start : self.control_start] = Kind.FILL
        if self.filling:
            # These two stand in the prefix, as labels do.
            table[[self.fill_start, self.control_start - 1]] = Kind.LABEL
        table[self.control_start : self.size] = Kind.CONTROL
        table[self.size] = Kind.FOREIGN
        table.setflags(write=False)
        return table

    @cached_property
    def tokens(self) -> tuple[Token, ...]:
        """All tokens, position = id. Built on first use (a few milliseconds)."""
        first = self.first_step * STEP
        velocities = range(first, MAX_VELOCITY_STEP * STEP + 1, STEP)
        tokens: list[Token] = [*self.specials]
        tokens += [("prefix", "instrument", name) for name in self.instruments]
        tokens += [("prefix", kind, name) for kind, name in self.labels]
        tokens += [(c, p, v) for c in self.classes for p in range(N_PITCHES) for v in velocities]
        if self.drums:
            tokens += [("drum", n) for n in range(FIRST_DRUM, LAST_DRUM + 1)]
        tokens += [("dur", ms) for ms in range(first, MAX_DURATION_MS + 1, STEP)]
        timing = "wait" if self.relative else "onset"
        n_timing = self.pedal_start - self.onset_start
        tokens += [(timing, i * STEP) for i in range(n_timing)]
        if self.pedal:
            tokens += [PED_ON_TOKEN, PED_OFF_TOKEN]
        if self.delimiter:
            tokens.append(DELIMITER_TOKEN)
        if self.filling:
            tokens += FILL_TOKENS
            tokens += [(name, level) for name in CONTROLS for level in range(CONTROL_LEVELS)]
        return tuple(tokens)

    @cached_property
    def token_ids(self) -> dict[Token, int]:
        """Token -> id."""
        return {token: i for i, token in enumerate(self.tokens)}

    def tokens_of(self, ids: npt.ArrayLike) -> list[Token]:
        """Return the token of each id; <U> for an id that does not exist."""
        names = self.tokens
        return [names[i] if 0 <= i < len(names) else SPECIALS[UNK] for i in as_ids(ids).tolist()]

    def ids_of(self, tokens: Iterable[Token]) -> Int32Array:
        """Return the id of each token; <U> for one that is not in the vocabulary."""
        known = self.token_ids
        keys = (token if isinstance(token, str) else tuple(token) for token in tokens)
        return np.array([known.get(key, UNK) for key in keys], np.int32)

    @property
    def sha256(self) -> str:
        """SHA-256 of the compact JSON list of tokens; pins the order for ever."""
        text = json.dumps(self.tokens, ensure_ascii=False, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()

    @cached_property
    def prefix_ids(self) -> dict[str, int]:
        """Plain name (no accents, lower case) -> prefix id; instruments first."""
        ids = {name: self.instrument_start + i for i, name in enumerate(self.instruments)}
        for i, (_, name) in enumerate(self.labels):
            ids.setdefault(plain_name(name), self.label_start + i)
        return ids

    def label_id(self, kind: str, name: str) -> int | None:
        """Prefix id of a composer, form or genre; None when it has no token."""
        wanted = plain_name(name.strip())
        for i, (label_kind, label) in enumerate(self.labels):
            if label_kind == kind and plain_name(label) == wanted:
                return self.label_start + i
        return None

    def ids_of_prefix(self, names: Iterable[str]) -> list[int]:
        """Prefix ids of names such as ``["piano", "chopin", "etude"]``, in the order given.

        Raises:
            TokenError: a name has no prefix token in this vocabulary.
        """
        ids = []
        for name in names:
            found = self.prefix_ids.get(plain_name(name))
            if found is None:
                raise TokenError(
                    f"no prefix token {name!r} in the vocabulary {self.name}; "
                    f"it has {', '.join(self.prefix_ids) or 'none'}"
                )
            ids.append(found)
        return ids

    def map_to(self, other: Vocabulary) -> Int32Array:
        """(size,) the id of each token in ``other``, -1 where it has none."""
        there = other.token_ids
        return np.array([there.get(token, -1) for token in self.tokens], np.int32)


_VARIANTS = {
    v.name: v
    for v in (
        Vocabulary("full"),
        Vocabulary("full-pedal", pedal=True),
        Vocabulary("full-delimiter", delimiter=True),
        Vocabulary("full-pedal-delimiter", pedal=True, delimiter=True),
        Vocabulary("no-drums", drums=False),
        Vocabulary(
            "piano-demo",
            classes=("piano",),
            drums=False,
            pedal=True,
            delimiter=True,
            composers=(),
            forms=(),
            genres=(),
        ),
        Vocabulary("piano", classes=("piano",), drums=False, first_step=1, merge_to_piano=True),
        Vocabulary(
            "piano-fill",
            classes=("piano",),
            drums=False,
            first_step=1,
            merge_to_piano=True,
            filling=True,
        ),
        # The public list repeats the forms instead of the genres.
        Vocabulary("relative", genres=FORMS, relative=True),
        Vocabulary(
            "relative-piano",
            classes=("piano",),
            drums=False,
            first_step=1,
            merge_to_piano=True,
            relative=True,
        ),
    )
}
VARIANT_NAMES = tuple(name for name, v in _VARIANTS.items() if not v.relative)
RELATIVE_NAMES = tuple(name for name, v in _VARIANTS.items() if v.relative)


def vocabulary(name: str) -> Vocabulary:
    """Return the variant of that name; one object per variant, so its tables are made once.

    Raises:
        UsageError: there is no such variant.
    """
    found = _VARIANTS.get(name)
    if found is None:
        raise UsageError(f"unknown vocabulary {name!r}; choose one of {', '.join(VARIANT_NAMES)}")
    return found


@lru_cache(maxsize=64)
def id_map(source: str, target: str) -> Int32Array:
    """``map_to`` between two named variants, cached and read-only."""
    table = vocabulary(source).map_to(vocabulary(target))
    table.setflags(write=False)
    return table


def as_ids(ids: npt.ArrayLike | Sequence[int]) -> IntArray:
    """Ids as a one-dimensional int64 array.

    Raises:
        TokenError: they are not a flat list of integers.
    """
    array = np.asarray(ids)
    if array.size == 0:
        return np.zeros(0, np.int64)
    if array.ndim != 1 or array.dtype.kind not in "iu":
        raise TokenError(f"ids must be a flat list of integers, not {array.dtype} {array.shape}")
    return array.astype(np.int64, copy=False)
