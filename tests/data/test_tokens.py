"""Token files and the rows cut from them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from arietta.data.tokens import TokenPieces, cut_rows, event_starts
from arietta.errors import InputError
from arietta.tokenizers.aria import AriaTokenizer

TOKENIZER = AriaTokenizer("piano")


def some_pieces(lengths: list[int], seed: int = 0) -> TokenPieces:
    """Pieces of so many notes each, with random pitches; every note is a different event."""
    rng = np.random.default_rng(seed)
    bodies = []
    for n in lengths:
        onset = np.cumsum(rng.integers(10, 900, n)) // 10 * 10
        ids = TOKENIZER.encode_columns(
            onset - onset[0],
            rng.integers(1, 400, n) * 10,
            rng.integers(21, 109, n),
            rng.integers(1, 13, n) * 10,
            eos=False,
        )
        bodies.append(ids[2:].astype(np.uint16))
    return TokenPieces(
        tokenizer="piano",
        ids=np.concatenate(bodies),
        offsets=np.concatenate(([0], np.cumsum([len(b) for b in bodies]))).astype(np.int64),
        prefixes=tuple((6, 7) for _ in lengths),
        names=tuple(str(i) for i in range(len(lengths))),
        sources=tuple("made" for _ in lengths),
        groups=tuple(str(i) for i in range(len(lengths))),
    )


@given(
    st.lists(st.integers(1, 400), min_size=1, max_size=6),
    st.integers(16, 200),
    st.integers(0, 5),
)
def test_rows_cover_every_event_once(lengths: list[int], length: int, seed: int) -> None:
    pieces = some_pieces(lengths, seed)
    rows = list(cut_rows(pieces, TOKENIZER, length, np.random.default_rng(seed)))
    assert all(row.shape == (length + 1,) for row in rows)
    # What is lost is at most the one row that the packed ends do not fill.
    notes = sum(int(((r >= 29) & (r < TOKENIZER.vocabulary.dur_start)).sum()) for r in rows)
    assert notes <= sum(lengths) + len(rows)
    assert notes >= sum(lengths) - (length + 1) // 3 - 1 - len(rows)


def test_full_rows_begin_like_a_prompt() -> None:
    pieces = some_pieces([2000])
    rows = list(cut_rows(pieces, TOKENIZER, 128, np.random.default_rng(3), tag_share=0.0))
    heads = [row[:3] for row in rows]
    begun = [h for h in heads if h[0] == 6 and h[1] == TOKENIZER.bos]
    assert len(begun) >= len(rows) - 1  # the packed ends begin wherever they fall
    assert all(len(event_starts(h[2:], TOKENIZER)) == 1 for h in begun)


def test_tags_are_shown_to_the_share_asked_for() -> None:
    pieces = some_pieces([500] * 20)
    for share, low, high in ((0.0, 0, 0), (1.0, 1, 1), (0.5, 0.3, 0.7)):
        rows = list(cut_rows(pieces, TOKENIZER, 256, np.random.default_rng(0), tag_share=share))
        tagged = np.mean([7 in row[:3] for row in rows if row[0] == 6])
        assert low <= tagged <= high


def test_order_depends_on_the_generator_alone() -> None:
    pieces = some_pieces([300, 200])
    a = list(cut_rows(pieces, TOKENIZER, 64, np.random.default_rng(1)))
    b = list(cut_rows(pieces, TOKENIZER, 64, np.random.default_rng(1)))
    c = list(cut_rows(pieces, TOKENIZER, 64, np.random.default_rng(2)))
    assert all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))
    assert not all(np.array_equal(x, y) for x, y in zip(a, c, strict=False))


def test_token_file_round_trip(tmp_path: Path) -> None:
    pieces = some_pieces([5, 9])
    pieces.save(tmp_path / "train.npz")
    again = TokenPieces.load(tmp_path / "train.npz")
    assert np.array_equal(again.ids, pieces.ids)
    assert np.array_equal(again.body(1), pieces.body(1))
    assert (again.prefixes, again.names, again.groups) == (
        pieces.prefixes,
        pieces.names,
        pieces.groups,
    )


def test_missing_and_damaged_token_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="prepare"):
        TokenPieces.load(tmp_path / "none.npz")
    (tmp_path / "bad.npz").write_bytes(b"not a zip")
    with pytest.raises(InputError, match="not a token file"):
        TokenPieces.load(tmp_path / "bad.npz")
