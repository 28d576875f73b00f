"""Two slices of a piece: where they lie, and the rows they become."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from arietta.data.shards import PieceRecord, ShardWriter, open_dataset
from arietta.errors import UsageError
from arietta.tokenizers.aria import AriaTokenizer
from arietta.tokenizers.vocabulary import BOS, EOS, PAD
from arietta.training.rows.slices import SlicePairSettings, SlicePairStream, sliced, two_slices
from tests.training.conftest import some_notes


@given(st.integers(1, 3000), st.integers(1, 300), st.integers(0, 400), st.integers(0, 2**32))
def test_slices_lie_in_the_piece_and_apart_where_they_can(
    n: int, least: int, more: int, seed: int
) -> None:
    settings = SlicePairSettings(min_notes=least, max_notes=least + more)
    (a, b), (c, d) = two_slices(n, settings, np.random.default_rng(seed))
    for start, end in ((a, b), (c, d)):
        assert 0 <= start < end <= n
        assert end - start <= least + more
        assert end - start >= min(n, least)
    if n >= 2 * (least + more):
        assert b <= c or d <= a


def test_every_place_and_order_is_drawn() -> None:
    settings = SlicePairSettings(min_notes=3, max_notes=4)
    rng = np.random.default_rng(0)
    pairs = {tuple(two_slices(9, settings, rng)) for _ in range(3000)}
    assert {a for (a, _), _ in pairs} == set(range(7))  # first slices begin anywhere
    assert any(a[0] < b[0] for a, b in pairs) and any(a[0] > b[0] for a, b in pairs)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    with ShardWriter(tmp_path / "set", "grid", rows_per_group=3) as writer:
        for i in range(10):
            writer.add(PieceRecord(f"p{i}", "train", str(i), "made"), some_notes(40 + 40 * i, i))
    return tmp_path / "set"


def test_rows_are_whole_pieces_in_small(folder: Path) -> None:
    settings = SlicePairSettings(
        seq_len=64, min_notes=10, max_notes=30, block_pieces=3, augment=None
    )
    dataset = open_dataset(folder)
    stream = SlicePairStream(dataset, "train", settings)
    tokenizer = AriaTokenizer("piano")
    seen = []
    for _ in range(10):
        row = next(stream)
        seen += stream.names
        assert row.shape == (2, 64)
        for view in row:
            assert view[1] == BOS and (view == EOS).sum() == 1
            end = int(np.argmax(view == EOS))
            assert (view[end + 1 :] == PAD).all()
            if end < 63:  # not cut
                assert 10 <= len(tokenizer.decode(view[: end + 1]).notes) <= 30
    assert sorted(seen) == [f"p{i}" for i in range(10)]  # one epoch, each piece once
    place = stream.position()
    after = [next(stream) for _ in range(5)]
    again = SlicePairStream(dataset, "train", settings)
    again.seek(place)
    assert all(np.array_equal(x, next(again)) for x in after)


def test_half_of_a_group_comes_from_one_source(tmp_path: Path) -> None:
    with ShardWriter(tmp_path / "set", "grid", rows_per_group=40) as writer:
        for i in range(40):
            record = PieceRecord(f"{'abcd'[i % 4]}{i}", "train", str(i), "abcd"[i % 4])
            writer.add(record, some_notes(40, i))
    settings = SlicePairSettings(
        seq_len=64, min_notes=10, max_notes=30, block_pieces=40, augment=None, same_source=8
    )
    stream = SlicePairStream(open_dataset(tmp_path / "set"), "train", settings)
    seen = [(next(stream), stream.names[0])[1] for _ in range(40)]
    assert len(set(seen)) == 40  # each piece once
    for first in (0, 8, 16):
        assert len({name[0] for name in seen[first : first + 4]}) == 1
        assert len({name[0] for name in seen[first : first + 8]}) > 1


def test_a_slice_begins_at_zero() -> None:
    notes = sliced(some_notes(50, 1), 20, 30)
    assert len(notes) == 10
    assert notes.columns().onset_ms[0] == 0
    assert not notes.tags


def test_settings_are_checked() -> None:
    with pytest.raises(UsageError, match="ascending"):
        SlicePairSettings(min_notes=9, max_notes=8)
