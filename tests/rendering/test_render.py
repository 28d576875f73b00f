"""From a score to takes and files: every note once, whatever the score is like."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arietta.errors import CheckpointError, InputError, UsageError
from arietta.midi.notes import note_table, pedal_table
from arietta.midi.piece import Piece
from arietta.midi.reader import read_bytes
from arietta.midi.tempo import TempoMap
from arietta.models.pianist import checkpoint as pianist
from arietta.models.pianist.torch_executor import open_torch
from arietta.notation.score_notes import ScoreNotes
from arietta.rendering.controls import Controls
from arietta.rendering.performer import PerformerPlayer
from arietta.rendering.pianist import PianistPlayer, performed_notes, score_ids
from arietta.rendering.render import RulePlayer, open_player, render
from arietta.rendering.settings import BlockSettings
from arietta.tokenizers.pianist import PianistTokenizer, columns_of_ids

GOLDEN = Path(__file__).parents[1] / "golden" / "pianist"
EDGE = np.load(GOLDEN / "edge.npz")


@pytest.fixture(scope="module")
def player() -> PianistPlayer:
    backend = open_torch(pianist.load(GOLDEN / "model"), "cpu")
    return PianistPlayer(backend, BlockSettings(seed=3, window_notes=8), {"model": "golden"})


def a_score(rows: list[tuple[int, int, int]], **more) -> Piece:
    """Notes of (onset, length, pitch) on a grid of 480, 120 quarters a minute."""
    onset, length, pitch = np.array(rows).T
    return Piece(TempoMap.constant(480), note_table(onset, onset + length, pitch, 64), **more)


SIMPLE = a_score([(0, 480, 60), (0, 480, 64), (480, 480, 62), (960, 960, 65), (1920, 240, 67)])


def test_ids_of_a_plain_score_are_the_tokenizers() -> None:
    for name in ("chord_order", "tempo_changes", "half_pedal_boundaries", "type0"):
        piece = read_bytes(EDGE[f"{name}/midi"].tobytes())
        ids, order = score_ids(ScoreNotes.from_piece(piece))
        np.testing.assert_array_equal(ids, PianistTokenizer().encode(piece))
        assert sorted(order.tolist()) == list(range(len(ids) // 8))


def test_the_score_itself_performs_as_written() -> None:
    piece = replace(SIMPLE, pedals=pedal_table([0, 480], [127, 0]))
    score = ScoreNotes.from_piece(piece)
    ids, order = score_ids(score)
    found = performed_notes(score, ids, ids, order)
    np.testing.assert_array_equal(found.onset_ms, score.onset_ms)
    np.testing.assert_array_equal(found.duration_ms, score.duration_ms)
    np.testing.assert_array_equal(found.velocity, score.velocity)
    assert found.pedal_value.tolist() == [127, 0] and found.pedal_ms.tolist() == [0, 500]


def test_long_pauses_and_notes_of_the_score_stay_long() -> None:
    score = ScoreNotes.from_piece(a_score([(9600, 9600, 60), (28_800, 480, 62)]))  # 10 s, 30 s
    ids, order = score_ids(score)
    assert columns_of_ids(ids).ioi_ms.max() == 4990
    found = performed_notes(score, ids, ids, order)
    assert found.onset_ms.tolist() == [10_000, 30_000]
    assert found.duration_ms[0] == 10_000


def test_notes_that_fall_into_one_millisecond_keep_their_rows() -> None:
    fast = TempoMap.constant(30_000)  # 60 ticks a millisecond
    rows = [(0, 900, 72), (10, 900, 60), (20, 900, 66), (60_000, 900, 61)]
    onset, length, pitch = np.array(rows).T
    score = ScoreNotes.from_piece(
        Piece(fast, note_table(onset, onset + length, pitch, [1, 2, 3, 4]))
    )
    ids, order = score_ids(score)
    assert columns_of_ids(ids).pitch.tolist() == [60, 66, 72, 61]
    assert performed_notes(score, ids, ids, order).velocity.tolist() == [1, 2, 3, 4]


def test_every_note_is_played_once(player: PianistPlayer) -> None:
    (made,) = render(SIMPLE, player)
    assert made.complete and made.rows == 5
    for editable in (False, True):
        piece = made.piece(editable=editable)
        assert sorted(piece.notes.pitch.tolist()) == [60, 62, 64, 65, 67]
        again = read_bytes(made.to_bytes(editable=editable))
        assert sorted(again.notes.pitch.tolist()) == [60, 62, 64, 65, 67]


def test_takes_do_not_depend_on_each_other(player: PianistPlayer) -> None:
    both = render(SIMPLE, player, variations=(0, 1))
    (alone,) = render(SIMPLE, player, variations=(1,))
    assert both[0].to_bytes() != both[1].to_bytes()
    assert both[1].to_bytes() == alone.to_bytes()
    assert both[1].provenance["variation"] == 1


def test_the_rules_too() -> None:
    both = render(SIMPLE, RulePlayer(seed=3), variations=(0, 1))
    (alone,) = render(SIMPLE, RulePlayer(seed=3), variations=(1,))
    assert both[0].to_bytes() != both[1].to_bytes()
    assert both[1].to_bytes() == alone.to_bytes()


def test_stopping_leaves_the_rest_as_written(player: PianistPlayer) -> None:
    rows = [(480 * i, 480, 60 + i % 12) for i in range(30)]
    calls = []
    (made,) = render(a_score(rows), player, stop=lambda: calls.append(1) or len(calls) >= 10)
    assert 8 <= made.rows < 30 and not made.complete
    assert len(made.piece()) == 30
    np.testing.assert_array_equal(np.diff(made.performed.onset_ms[made.rows :]), 500)
    assert set(made.performed.velocity[made.rows :].tolist()) == {64}


def test_provenance_is_in_the_file(player: PianistPlayer) -> None:
    (made,) = render(SIMPLE, player, controls=Controls(dynamics=0.5, steady_bars=((1, 1),)))
    ((_, text),) = read_bytes(made.to_bytes()).text
    said = json.loads(text.removeprefix("arietta "))
    assert said["model"] == "golden" and said["seed"] == 3
    assert said["controls"] == {"dynamics": 0.5, "steady_bars": [[1, 1]]}


def test_controls_at_nothing_give_the_score_back(player: PianistPlayer) -> None:
    (made,) = render(SIMPLE, player, controls=Controls(dynamics=0, rubato=0, pedal=0))
    assert set(made.performed.velocity.tolist()) == {64}
    np.testing.assert_allclose(made.performed.onset_ms, made.score.onset_ms, atol=1)


BAD = {
    "repeated pitches at one onset": [(0, 480, 60)] * 5 + [(480, 480, 60)],
    "a crowd at one tick": [(0, 480, i % 60) for i in range(200)],
    "no length": [(0, 0, 60), (0, 0, 61), (480, 0, 60)],
    "hours of rest": [(0, 480, 60), (480 * 20_000, 480, 60)],
    "one note": [(480 * 100, 1, 0)],
}


@pytest.mark.parametrize("name", BAD)
def test_bad_scores_are_played_sensibly(name: str, player: PianistPlayer) -> None:
    piece = a_score(BAD[name])
    (made,) = render(piece, player)
    wanted = {(tick, pitch) for tick, _, pitch in BAD[name]}
    played = made.piece()
    assert len(played) == len(wanted)
    assert sorted(played.notes.pitch.tolist()) == sorted(pitch for _, pitch in wanted)
    assert len(read_bytes(made.to_bytes())) == len(wanted)


@pytest.mark.parametrize(
    ("notes", "message"),
    [
        (note_table([], [], [], []), "no notes"),
        (note_table([0, 480], [480, 960], [36, 38], 64, 9), "only drums"),
    ],
)
def test_scores_that_are_refused(notes, message: str, player: PianistPlayer) -> None:
    with pytest.raises(InputError, match=message):
        render(Piece(TempoMap.constant(480), notes), player)


rows_strategy = st.lists(
    st.tuples(st.integers(0, 4000), st.integers(0, 2000), st.integers(55, 65)),
    min_size=1,
    max_size=25,
)


@settings(max_examples=10)
@given(rows_strategy, st.integers(0, 1000))
def test_random_scores_keep_all_their_notes(rows, seed: int) -> None:
    backend = open_torch(pianist.load(GOLDEN / "model"), "cpu")
    score = ScoreNotes.from_piece(a_score(sorted(rows)))
    (made,) = render(score, PianistPlayer(backend, BlockSettings(seed=seed, window_notes=8)))
    made.performed.check(score)
    assert sorted(made.piece().notes.pitch.tolist()) == sorted(score.pitch.tolist())


def test_players_by_name() -> None:
    assert isinstance(open_player(), PerformerPlayer)
    assert isinstance(open_player("rules"), RulePlayer)
    found = open_player(GOLDEN / "model", BlockSettings(seed=4), precision="f32", threads=1)
    assert isinstance(found, PianistPlayer)
    assert found.provenance["seed"] == 4 and len(found.provenance["model_sha256"]) == 64
    with pytest.raises(CheckpointError, match="no model called"):
        open_player("nobody", offline=True)
    with pytest.raises(CheckpointError, match="architecture 'aria'"):
        open_player("small", offline=True)
    with pytest.raises(UsageError, match="`seed`"):
        open_player("rules", BlockSettings(seed=-1))
    with pytest.raises(UsageError, match="`variations`"):
        render(SIMPLE, RulePlayer(), variations=())


def test_chords_are_as_uneven_as_peoples() -> None:
    """People: a standard deviation of 16 ms with long tails; nothing is drawn at temperature 0."""
    rows = [(960 * i, 900, 48 + 4 * k + i % 5) for i in range(200) for k in range(4)]
    score = ScoreNotes.from_piece(a_score(rows))
    shipped = open_player()
    assert isinstance(shipped, PerformerPlayer)

    def off_ms(temperature: float) -> np.ndarray:
        played = replace(shipped, seed=1, temperature=temperature).perform(score)
        mean = np.bincount(score.chord, played.onset_ms) / np.bincount(score.chord)
        return played.onset_ms - mean[score.chord]

    still, warm = off_ms(0.0), off_ms(1.0)
    assert still.std() < 10
    assert 11 < warm.std() < 20
    drawn = warm - still
    assert (drawn**4).mean() / (drawn**2).mean() ** 2 > 3.5  # 3 would be a normal distribution
