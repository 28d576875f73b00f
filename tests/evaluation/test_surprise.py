"""The surprise of notes, checked against scoring the same tokens plainly."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from arietta.data.token_grid import NoteColumns, grid_of
from arietta.errors import InputError
from arietta.evaluation.likelihood import backend_scorer
from arietta.evaluation.surprise import REMOVAL_NOTES, surprise, windows
from arietta.midi.reader import read
from arietta.models.aria.checkpoint import load
from arietta.models.aria.protocol import Backend
from arietta.models.executors import cpu_backend
from arietta.tokenizers.open import tokenizer_named

PIANO = tokenizer_named("piano")


@pytest.fixture(scope="module")
def backend() -> Backend:
    return cpu_backend(load("small"), threads=1)


@pytest.fixture(scope="module")
def waltz() -> NoteColumns:
    path = Path(__file__).resolve().parents[2] / "arietta" / "assets" / "prompts" / "waltz.mid"
    return grid_of(read(path)).columns()


def first_notes(notes: NoteColumns, count: int) -> NoteColumns:
    return NoteColumns(*(column[:count] for column in notes))


def without(notes: NoteColumns, i: int) -> NoteColumns:
    return NoteColumns(*(np.delete(column, i) for column in notes))


@given(
    st.lists(st.one_of(st.integers(0, 30), st.integers(0, 5_000)), min_size=1, max_size=200),
    st.integers(16, 120),
)
def test_every_note_is_scored_once_with_half_a_window_before_it(
    gaps: list[int], length: int
) -> None:
    onset = np.cumsum(gaps) * 200
    seen: list[int] = []
    for view in windows(onset, length):
        assert view.start <= view.first < view.stop
        seen += range(view.first, view.stop)
        zero = onset[view.start] // 5_000 * 5_000
        part = slice(view.start, view.stop)
        n = view.stop - view.start
        ids = PIANO.encode_columns(
            onset[part] - zero, np.full(n, 10), np.full(n, 60), np.full(n, 64), eos=False
        )
        assert len(ids) <= length
        if 0 < view.start < view.first:
            # One note more would be more than half a window.
            segment = onset // 5_000
            tokens = 3 * (view.first - view.start + 1) + segment[view.first - 1]
            assert tokens - segment[view.start - 1] > (length - 2) // 2
    assert seen == list(range(len(onset)))


def test_notes_share_the_bits_of_the_window(backend: Backend, waltz: NoteColumns) -> None:
    found = surprise(waltz, backend, PIANO, removal=False)
    ids = PIANO.encode_columns(*waltz, eos=False)
    nats = backend_scorer(backend)(ids, 2)
    assert found.total.sum() * math.log(2) == pytest.approx(nats.sum(), rel=1e-5)
    at = PIANO.decode_columns(ids).at  # type: ignore[attr-defined]
    for name, step in (("onset", 1), ("duration", 2)):
        ours = getattr(found, name) * math.log(2)
        np.testing.assert_allclose(ours, nats[at + step - 2], atol=1e-4)
    np.testing.assert_allclose(
        (found.pitch + found.velocity) * math.log(2), nats[at - 2], atol=1e-4
    )
    assert (found.time[1:] > 0).sum() == 10  # one <T> every five seconds
    assert not found.removal.any()
    # The likeliest pitch cannot be gained upon.
    assert ((found.near < 0) & (found.octave < 0)).mean() > 0.2


def test_long_pieces_slide(backend: Backend, waltz: NoteColumns) -> None:
    whole = surprise(waltz, backend, PIANO, removal=False)
    slid = surprise(waltz, backend, PIANO, removal=False, length=256)
    *_, last = windows(np.asarray(waltz.onset_ms), 256)
    assert last.start > 0
    part = NoteColumns(*(column[last.start :] for column in waltz))
    zero = int(part.onset_ms[0]) // 5_000 * 5_000
    alone = surprise(part._replace(onset_ms=part.onset_ms - zero), backend, PIANO, removal=False)
    np.testing.assert_allclose(
        slid.total[last.first :], alone.total[last.first - last.start :], atol=1e-4
    )
    # The first window is the same; later ones know less and are worse.
    first = next(windows(np.asarray(waltz.onset_ms), 256)).stop
    np.testing.assert_allclose(slid.total[:first], whole.total[:first], atol=1e-4)
    assert 0 < slid.total.mean() - whole.total.mean() < 2.0


def test_removal_is_what_the_next_notes_gain(backend: Backend, waltz: NoteColumns) -> None:
    notes = first_notes(waltz, 40)
    found = surprise(notes, backend, PIANO)
    bits = found.total
    for i in (0, 5, 17, 36, 39):
        rest = surprise(without(notes, i), backend, PIANO, removal=False).total
        behind = slice(i + 1, i + 1 + REMOVAL_NOTES)
        gain = bits[behind].sum() - rest[i : i + REMOVAL_NOTES].sum()
        if i == 0:
            continue  # time would begin elsewhere
        assert found.removal[i] == pytest.approx(gain, abs=0.05)
    assert found.removal[-1] == 0


def test_a_relative_vocabulary_owns_its_waits(tmp_path: Path) -> None:
    class Flat:
        """Every token equally likely."""

        vocab_size = tokenizer_named("relative").vocab_size
        max_seq_len = 512

        def new_session(self, rows: int = 1):
            return self

        def append(self, ids, **_):
            return np.zeros((*np.shape(ids), 1), np.float32)

        def head(self, hidden, ranges=None):
            return np.zeros((len(hidden), self.vocab_size), np.float32)

    at = np.array([0, 0, 500, 8_000])
    notes = NoteColumns(at, np.full(4, 100), np.array([60, 64, 67, 72]), np.full(4, 60))
    found = surprise(notes, Flat(), tokenizer_named("relative"), removal=False)  # type: ignore[arg-type]
    one = math.log2(Flat.vocab_size)
    np.testing.assert_allclose(found.onset / one, [0, 0, 1, 2], atol=1e-5)
    np.testing.assert_allclose(found.duration / one, 1, atol=1e-5)
    np.testing.assert_allclose((found.pitch + found.velocity) / one, 1, atol=1e-5)
    np.testing.assert_allclose(found.time, 0, atol=1e-4)


def test_nothing_to_score(backend: Backend) -> None:
    empty = NoteColumns(*(np.zeros(0, np.int64) for _ in range(4)))
    with pytest.raises(InputError, match="no piano notes"):
        surprise(empty, backend, PIANO)
