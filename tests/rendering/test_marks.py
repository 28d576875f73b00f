"""A performance never contradicts the marks of its score, whoever plays."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from arietta.errors import UsageError
from arietta.evaluation.rendering import agreement, played_rows, short_pedals, size
from arietta.notation.reader import read_score
from arietta.notation.score_notes import ScoreNotes
from arietta.rendering.performer import PerformerPlayer
from arietta.rendering.players import Player
from arietta.rendering.render import Rendering, open_player, render
from arietta.rendering.settings import BlockSettings
from tests.notation.scores import score_of

CASES = Path(__file__).parent.parent / "cases" / "score"
MUSIC = ("rules", "performer")
SEEDS = range(3)
PERFORMER: list[PerformerPlayer] = []


def player_of(model: str, seed: int) -> Player:
    """A player; the model is loaded once."""
    if model == "rules":
        return open_player(model, BlockSettings(seed=seed))
    if not PERFORMER:
        player = open_player(model)
        assert isinstance(player, PerformerPlayer)
        PERFORMER.append(player)
    return replace(PERFORMER[0], seed=seed)


def played(name: str, model: str, seed: int = 1, tempo: str | float = "written") -> Rendering:
    """A case, as a player renders it."""
    if not name.endswith(".mid"):
        pytest.importorskip("verovio")
    score = ScoreNotes.from_piece(read_score(CASES / name))
    return render(score, player_of(model, seed), tempo=tempo)[0]


def gaps(take: Rendering) -> np.ndarray:
    """Milliseconds between the chords."""
    chord = take.score.chord
    mean = np.bincount(chord, take.performed.onset_ms) / np.bincount(chord)
    return np.diff(mean)


@pytest.mark.parametrize("model", MUSIC)
@pytest.mark.parametrize("seed", SEEDS)
def test_dynamics(model: str, seed: int) -> None:
    for name in ("dyn-two-staves-a", "dyn-two-parts-a"):
        take = played(f"{name}.musicxml", model, seed)
        loud = take.score.part == 0
        velocity = take.performed.velocity.astype(float)
        assert velocity[loud].mean() > velocity[~loud].mean() + 5, name
    velocity = played("dyn-cresc-subito-p-a.musicxml", model, seed).performed.velocity.astype(float)
    assert velocity[2:4].mean() > velocity[:2].mean() and velocity[2:4].mean() > velocity[4:].mean()
    velocity = played("dyn-words-a.musicxml", model, seed).performed.velocity.astype(float)
    assert velocity[4:8].mean() > velocity[:4].mean()
    assert velocity[8:].mean() > velocity[:4].mean() + 5
    velocity = played("dyn-hairpin-in-repeat-a.musicxml", model, seed).performed.velocity
    for first in (0, 4):
        assert velocity[first + 2 : first + 4].mean() > velocity[first : first + 2].mean()
    velocity = played("dyn-sound-attribute-a.musicxml", model, seed).performed.velocity.astype(
        float
    )
    assert velocity[2:].mean() > velocity[:2].mean() + 5


@pytest.mark.parametrize("model", MUSIC)
@pytest.mark.parametrize("seed", SEEDS)
def test_accents(model: str, seed: int) -> None:
    velocity = played("dyn-accents-a.musicxml", model, seed).performed.velocity.astype(float)
    assert velocity[[1, 3]].min() > velocity[[0, 2]].mean() + 4
    velocity = played("dyn-sforzando-a.musicxml", model, seed).performed.velocity.astype(float)
    assert velocity[2] > velocity[[0, 1, 3]].mean() + 6
    assert velocity[4] > velocity[5:].mean() + 6


@pytest.mark.parametrize("model", MUSIC)
@pytest.mark.parametrize("seed", SEEDS)
def test_touch(model: str, seed: int) -> None:
    take = played("artic-staccato-a.musicxml", model, seed)
    held = take.performed.duration_ms[:3] / gaps(take)[:3]
    assert 0.15 <= held[0] <= 0.55 and held[1] <= 0.3 and held[2] >= 0.9
    take = played("arpeggio-held-a.musicxml", model, seed)
    first = take.score.chord == 0
    onset, end = take.performed.onset_ms[first], None
    end = onset + take.performed.duration_ms[first]
    assert np.all(np.diff(onset) > 5)
    following = take.performed.onset_ms[take.score.chord == 1].min()
    assert np.all(end > following - 150)


@pytest.mark.parametrize("model", MUSIC)
@pytest.mark.parametrize("seed", SEEDS)
def test_tempo_changes(model: str, seed: int) -> None:
    gap = gaps(played("tempo-rit-a.musicxml", model, seed))
    assert gap[6:8].mean() > 1.1 * gap[:4].mean() and gap[8:].mean() < gap[6:8].mean()
    gap = gaps(played("fermata-a.musicxml", model, seed))
    assert gap[3] > 1.3 * gap[2] and gap[4] < gap[3]
    gap = gaps(played("tempo-midbar-a.musicxml", model, seed))
    assert gap[2:].mean() > 1.3 * gap[:2].mean()


@pytest.mark.parametrize("model", MUSIC)
def test_pedal_marks_are_played_and_nothing_else(model: str) -> None:
    take = played("pedal-marks-ignored-a.musicxml", model)
    pedal = take.performed
    assert len(pedal.pedal_ms) == 26 and pedal.pedal_value[::2].min() == 127
    assert np.all(pedal.pedal_value[1::2] == 0) and np.all(np.diff(pedal.pedal_ms) >= 50)
    bars = take.performed.onset_ms  # one note a bar
    assert np.all(np.abs(pedal.pedal_ms[::2] - bars) < 250)
    change = played("pedal-change-a.musicxml", model).performed
    assert change.pedal_value.tolist() == [127, 0] * 3
    assert np.all(np.diff(change.pedal_ms)[1::2] >= 50)


def test_the_level_of_a_whole_score() -> None:
    soft, loud = (
        played(f"level-{name}-throughout-a.mid", "performer").performed.velocity.mean()
        for name in ("pp", "ff")
    )
    assert 15 <= loud - soft <= 35


@pytest.mark.parametrize("model", MUSIC)
@pytest.mark.parametrize("seed", SEEDS)
def test_the_written_tempo_is_kept(model: str, seed: int) -> None:
    take = played("tempo-kept-a.mid", model, seed)
    written = np.diff(take.score.piece.tempo.ms_at(take.score.chord_tick)).sum()
    assert gaps(take).sum() / written == pytest.approx(1, abs=0.1)


TEXTURES = {
    "melody": [(480 * i, 470, 60 + (i * 5) % 13) for i in range(32)],
    "hymn": [(480 * i, 470, p + i % 3) for i in range(32) for p in (48, 60, 64, 67)],
    "whole notes": [(1920 * i, 1900, 60 + i % 5) for i in range(12)],
    "alberti": [(240 * i, 230, (48, 55, 52, 55)[i % 4]) for i in range(64)]
    + [(960 * i, 900, 72 + i % 4) for i in range(16)],
    "sixteenths": [(120 * i, 110, 60 + (i * 7) % 24) for i in range(128)],
}


@pytest.mark.parametrize("texture", TEXTURES)
@pytest.mark.parametrize("bpm", [50, 72, 100, 132, 180])
def test_textures_at_metronome_marks(texture: str, bpm: int) -> None:
    score = score_of(sorted(TEXTURES[texture]))
    take = render(score, player_of("performer", 3), tempo=bpm)[0]
    quarters = (take.score.chord_tick[-1] - take.score.chord_tick[0]) / 480
    assert quarters * 60_000 / gaps(take).sum() == pytest.approx(bpm, rel=0.1)


def test_a_score_without_a_tempo_leaves_it_to_the_player() -> None:
    free = played("dyn-accents-a.musicxml", "performer")
    asked = played("dyn-accents-a.musicxml", "performer", tempo=40)
    assert gaps(asked).sum() == pytest.approx(4500, rel=0.12)
    assert gaps(free).sum() < gaps(asked).sum()


def test_tempi_that_nobody_plays_are_refused() -> None:
    score = score_of([(0, 10, 60)])
    for tempo in (1.0, 10_000.0, "fast"):
        with pytest.raises(UsageError, match="`tempo`"):
            render(score, open_player("rules"), tempo=tempo)


def test_takes_differ_and_the_tune_does_not_shout(prompts_dir: Path) -> None:
    score = ScoreNotes.from_piece(read_score(prompts_dir / "waltz.mid"))
    takes = render(score, player_of("performer", 5), variations=range(3))
    played_notes = [played_rows(score, take.performed) for take in takes]
    for a, b in ((0, 1), (1, 2)):
        alike = agreement(score.onset_tick, played_notes[a], played_notes[b])
        assert 0.3 < alike.velocity < 0.95 and 0.2 < alike.tempo < 0.97
    assert size(score, played_notes[0]).voicing <= 20
    assert short_pedals(takes[0].performed) <= 0.1
