"""The token grid keeps exactly what the absolute tokenizer keeps."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from arietta.data.token_grid import grid_of, prefix_of, tags_of
from arietta.errors import InputError
from arietta.midi.notes import note_table, pedal_table
from arietta.midi.piece import Piece
from arietta.midi.reader import read
from arietta.midi.tempo import TempoMap
from arietta.tokenizers.aria import AriaTokenizer

TOKENIZER = AriaTokenizer("piano")

events = st.lists(
    st.tuples(
        st.integers(0, 40_000),
        st.integers(0, 9_000),
        st.integers(0, 127),
        st.integers(1, 127),
        st.sampled_from((0, 0, 0, 3, 9)),
    ),
    min_size=1,
    max_size=40,
)
pedals = st.lists(st.tuples(st.integers(0, 40_000), st.integers(0, 127)), max_size=20)


def encoded(piece: Piece) -> list[int]:
    notes = grid_of(piece)
    prefix = prefix_of(notes.tags, TOKENIZER.vocabulary)
    return TOKENIZER.encode_columns(*notes.columns(), prefix_ids=prefix).tolist()


@given(events, pedals, st.sampled_from((500_000, 433_333, 777_777)))
def test_grid_encodes_as_the_piece(
    notes: list[tuple[int, ...]], sustain: list[tuple[int, int]], us: int
) -> None:
    onset, length, pitch, velocity, channel = np.array(sorted(notes), np.int64).T
    tick, value = np.array(sorted(sustain), np.int64).reshape(-1, 2).T
    tempo = TempoMap(480, np.array([0, 5_000]), np.array([us, 500_000]))
    table = note_table(onset, onset + length, pitch, velocity, channel)
    piece = Piece(tempo, table, pedal_table(tick, value), metadata={"composer": "Ravel"})
    if (channel == 9).all():
        with pytest.raises(InputError, match="no notes"):
            grid_of(piece)
        return
    assert encoded(piece) == TOKENIZER.encode(piece).tolist()


def test_shipped_prompts_encode_the_same(prompts_dir: Path) -> None:
    paths = sorted(prompts_dir.glob("*.mid"))
    assert paths
    for path in paths:
        piece = read(path)
        assert encoded(piece) == TOKENIZER.encode(piece).tolist()


def test_an_endless_piece_is_refused() -> None:
    piece = Piece(TempoMap.constant(), note_table([0, 2_000_000_000], [9, 2_000_000_009], 60, 64))
    with pytest.raises(InputError, match="11 days"):
        grid_of(piece)


@pytest.mark.parametrize(
    ("metadata", "tags"),
    [
        ({"form": "Etude", "composer": " RAVEL "}, {"form": "étude", "composer": "ravel"}),
        ({"form": "étude", "genre": "jazz"}, {"form": "étude", "genre": "jazz"}),
        ({"composer": "nobody", "title": "sonata", "genre": ""}, {}),
        # A name counts only under its own heading.
        ({"genre": "sonata"}, {}),
    ],
)
def test_tags_are_what_the_vocabulary_knows(metadata: dict[str, str], tags: dict[str, str]) -> None:
    assert tags_of(metadata) == tags


def test_prefix_has_only_what_a_vocabulary_has() -> None:
    tags = {"composer": "chopin", "form": "étude", "genre": "classical"}
    full = AriaTokenizer("full").vocabulary
    assert [full.tokens[i][2] for i in prefix_of(tags, full)] == [
        "piano", "chopin", "étude", "classical",
    ]  # fmt: skip
    demo = AriaTokenizer("piano-demo").vocabulary
    assert prefix_of(tags, demo) == [demo.instrument_start]
