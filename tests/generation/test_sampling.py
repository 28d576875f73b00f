"""Sampling: the public filters, kinds before tokens, density, settings, random numbers."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from arietta.errors import UsageError
from arietta.generation.sampling import RowRandom, Sampler, pick
from arietta.generation.settings import PRESETS, SamplingSettings, settings_from
from arietta.tokenizers.aria import AriaTokenizer
from arietta.tokenizers.vocabulary import EOS, TIME, vocabulary

PIANO = vocabulary("piano")
NOTES = PIANO.class_range(0)
BOUNDARY = ((TIME, TIME + 1), NOTES)


def flat(settings: SamplingSettings, logits: list[float]) -> np.ndarray:
    sampler = Sampler(settings, PIANO)
    return sampler.probabilities(sampler.choices(((0, len(logits)),)), np.array(logits))


def test_filters_equal_the_public_ones(aria_model_dir) -> None:
    cases = json.loads((aria_model_dir / "token_filters.json").read_text())
    assert len(cases) == 144
    for case in cases:
        settings = SamplingSettings(
            case["temp"], case.get("min_p"), case.get("top_p"), grammar=False
        )
        np.testing.assert_allclose(flat(settings, case["logits"]), case["probs"], atol=2e-7)


def test_greedy_is_one_hot() -> None:
    p = flat(SamplingSettings(0.0, grammar=False), [0.1, 3.0, 2.0])
    assert p.tolist() == [0, 1, 0]


def boundary(settings: SamplingSettings, time_share: float) -> tuple[float, float]:
    """Probability of <T> and of all notes, when a model spreads the rest evenly over the notes."""
    sampler = Sampler(settings, PIANO)
    choices = sampler.choices(BOUNDARY)
    n = NOTES[1] - NOTES[0]
    by_id = {TIME: np.log(time_share)}
    logits = np.array([by_id.get(i, np.log((1 - time_share) / n)) for i in choices.ids.tolist()])
    p = sampler.probabilities(choices, logits)
    time = float(p[choices.index(TIME)])
    return time, float(p.sum()) - time


def test_min_p_starves_notes_in_the_public_form_and_not_in_ours() -> None:
    # A note is four times as likely as <T>, but no single note is.
    assert boundary(SamplingSettings(1.0, 0.035, grammar=False), 0.2) == (1.0, 0.0)
    time, notes = boundary(SamplingSettings(1.0, 0.035), 0.2)
    assert time == pytest.approx(0.2) and notes == pytest.approx(0.8)


def test_temperature_does_not_starve_notes() -> None:
    time, _ = boundary(SamplingSettings(0.5, None), 0.2)
    assert time == pytest.approx(0.2)
    time, _ = boundary(SamplingSettings(2.0, None), 0.2)
    assert time == pytest.approx(0.2**0.5 / (0.2**0.5 + 0.8**0.5))
    assert boundary(SamplingSettings(0.0, None), 0.2) == (0.0, 1.0)
    assert boundary(SamplingSettings(0.0, None), 0.6) == (1.0, 0.0)


@pytest.mark.parametrize("density", [0.25, 1.0, 3.0])
def test_density_multiplies_the_odds_of_a_note(density: float) -> None:
    time, notes = boundary(SamplingSettings(1.0, 0.05, density=density), 0.3)
    assert notes / time == pytest.approx(density * 0.7 / 0.3)


def test_density_leaves_other_kinds_alone() -> None:
    shares = []
    for density in (1.0, 4.0):
        sampler = Sampler(SamplingSettings(1.0, None, density=density), PIANO)
        choices = sampler.choices(((EOS, EOS + 1), *BOUNDARY))
        logits = np.random.default_rng(1).standard_normal(len(choices))
        shares.append(sampler.probabilities(choices, logits)[choices.index(EOS)])
    assert shares[0] == pytest.approx(shares[1])


def test_one_kind_alone_is_the_public_form() -> None:
    z = np.random.default_rng(0).standard_normal(NOTES[1] - NOTES[0])
    ours = Sampler(SamplingSettings(0.9, 0.1), PIANO)
    theirs = Sampler(SamplingSettings(0.9, 0.1, grammar=False), PIANO)
    np.testing.assert_array_equal(
        ours.probabilities(ours.choices((NOTES,)), z),
        theirs.probabilities(theirs.choices((NOTES,)), z),
    )


@pytest.mark.parametrize("settings", [SamplingSettings(0.5), SamplingSettings(0.9, 0.1, 0.8)])
@pytest.mark.parametrize(
    "span", [(PIANO.onset_start, PIANO.pedal_start), (PIANO.dur_start, PIANO.onset_start)]
)
def test_sharpening_leaves_time_to_the_model(
    settings: SamplingSettings, span: tuple[int, int]
) -> None:
    z = np.random.default_rng(0).standard_normal(span[1] - span[0])
    ours, own = (Sampler(one, PIANO) for one in (settings, SamplingSettings()))
    expected = own.probabilities(own.choices((span,)), z)
    choices = ours.choices((span,))
    np.testing.assert_array_equal(ours.probabilities(choices, z), expected)
    together = [ours.draw([choices], z[None], [u])[0][0] for u in (0.1, 0.5, 0.9)]
    assert together == [choices.ids[pick(expected, u)] for u in (0.1, 0.5, 0.9)]


@pytest.mark.parametrize("name", ["piano", "full", "piano-demo", "full-pedal-delimiter"])
def test_choices_name_the_columns_of_the_head(name: str) -> None:
    tokenizer = AriaTokenizer(name)
    sampler = Sampler(SamplingSettings(), tokenizer.vocabulary)
    grammar = tokenizer.grammar(
        [tokenizer.vocabulary.instrument_start, tokenizer.bos], allow_dim=True
    )
    heads = set()
    for _ in range(60):
        allowed = grammar.allowed()
        choices = sampler.choices(allowed)
        offered = np.concatenate([np.arange(lo, hi) for lo, hi in choices.head])
        assert np.array_equal(offered[choices.columns], choices.ids)
        assert sorted(choices.ids.tolist()) == [i for lo, hi in allowed for i in range(lo, hi)]
        assert sum(end - first for _, first, end in choices.groups) == len(choices)
        heads.add(choices.head)
        grammar.advance(int(choices.ids[len(choices) // 3]))
    assert len(heads) <= 4


@given(
    st.lists(st.floats(0, 1), min_size=1, max_size=20).filter(lambda p: sum(p) > 1e-6),
    st.floats(0, 1, exclude_max=True),
)
def test_pick_never_gives_an_impossible_token(weights: list[float], uniform: float) -> None:
    index = pick(np.array(weights), uniform)
    assert weights[index] > 0


def test_pick_follows_the_probabilities() -> None:
    p = np.array([0.5, 0.0, 0.2, 0.3])
    drawn = [pick(p, u) for u in (np.arange(1000) + 0.5) / 1000]
    assert np.bincount(drawn, minlength=4).tolist() == [500, 0, 200, 300]


def test_random_numbers_belong_to_seed_and_variation() -> None:
    def numbers(seed: int, variation: int) -> list[float]:
        random = RowRandom(seed, variation)
        return [random.uniform() for _ in range(4)]

    assert numbers(7, 3) == numbers(7, 3)
    assert len({tuple(numbers(s, v)) for s in range(4) for v in range(4)}) == 16


@pytest.mark.parametrize(
    ("values", "name"),
    [
        ({"temperature": -0.1}, "`temperature`"),
        ({"temperature": float("nan")}, "`temperature`"),
        ({"temperature": 2.5}, "`temperature`"),
        ({"min_p": 1.5}, "`min_p`"),
        ({"top_p": 0.0}, "`top_p`"),
        ({"density": 0.0}, "`density`"),
        ({"density": 2.0, "grammar": False}, "`density`"),
    ],
)
def test_settings_out_of_range_name_the_argument(values: dict[str, float], name: str) -> None:
    with pytest.raises(UsageError, match=name):
        SamplingSettings(**values)


@pytest.mark.parametrize("seed", [-1, 2**64, 1.5, True])
def test_seeds_out_of_range(seed: object) -> None:
    with pytest.raises(UsageError, match="`seed`"):
        RowRandom(seed, 0)  # type: ignore[arg-type]


def test_presets_and_single_numbers() -> None:
    assert settings_from("balanced") == PRESETS["balanced"]
    assert settings_from("faithful", temperature=0.5).temperature == 0.5
    alone = settings_from("balanced", top_p=0.9)
    assert (alone.top_p, alone.min_p) == (0.9, None)
    both = settings_from("balanced", top_p=0.9, min_p=0.1)
    assert (both.top_p, both.min_p) == (0.9, 0.1)
    with pytest.raises(UsageError, match="faithful, balanced, adventurous"):
        settings_from("wild")


PARTS = (
    BOUNDARY,
    ((TIME, TIME + 1), (NOTES[0] + 300, NOTES[1])),
    ((EOS, EOS + 1), (TIME, TIME + 1), NOTES),
    ((PIANO.onset_start + 40, PIANO.onset_start + 500),),
    ((PIANO.dur_start + 1, PIANO.onset_start),),
)


@pytest.mark.parametrize(
    "settings",
    [
        SamplingSettings(),
        SamplingSettings(0.8, 0.05, density=2.0),
        SamplingSettings(1.2, None, 0.9),
        SamplingSettings(0.0),
        SamplingSettings(0.9, 0.02, grammar=False),
    ],
)
def test_rows_drawn_together_are_those_drawn_alone(settings: SamplingSettings) -> None:
    rng = np.random.default_rng(5)
    sampler = Sampler(settings, PIANO)
    rows = [sampler.choices(PARTS[i % len(PARTS)]) for i in range(40)]
    uniforms = rng.random(len(rows))
    for head in {choice.head for choice in rows}:
        members = [i for i, choice in enumerate(rows) if choice.head == head]
        width = sum(high - low for low, high in head)
        logits = (3 * rng.standard_normal((len(members), width))).astype(np.float32)
        chosen = [rows[i] for i in members]
        tokens, p = sampler.draw(chosen, logits, uniforms[members])
        for n, choice in enumerate(chosen):
            one, share = sampler.draw([choice], logits[n : n + 1], [uniforms[members[n]]])
            assert (one[0], share[0]) == (tokens[n], p[n])
            expected = sampler.probabilities(choice, logits[n, choice.columns])
            assert p[n] == pytest.approx(expected[choice.index(int(tokens[n]))], rel=1e-9)
            assert choice.ids[pick(expected, uniforms[members[n]])] == tokens[n]


@pytest.mark.parametrize(
    ("top_p", "kept"), [(0.1, 1), (0.24, 1), (0.25, 2), (0.5, 3), (0.51, 3), (0.75, 4), (0.99, 4)]
)
def test_top_p_keeps_what_begins_at_the_cut_or_before(top_p: float, kept: int) -> None:
    """Four equal tokens begin at 0, .25, .5 and .75; these numbers are exact in floats."""
    settings = SamplingSettings(1.0, None, top_p, grammar=False)
    p = flat(settings, [0.0] * 4)
    assert p.tolist() == [1 / kept] * kept + [0.0] * (4 - kept)
    sampler = Sampler(settings, PIANO)
    choices = sampler.choices(((0, 4),))
    logits = np.zeros((20, len(PIANO.tokens)))
    logits[:, 4:] = -np.inf  # the columns of its head
    drawn = sampler.draw([choices] * 20, logits, np.arange(0, 1, 0.05).tolist())[0]
    assert set(drawn.tolist()) == set(range(kept))


def test_min_p_keeps_what_is_as_likely_as_it_asks() -> None:
    settings = SamplingSettings(1.0, 1.0, None, grammar=False)
    assert flat(settings, [0.0, 0.0, -1e-9]).tolist() == [0.5, 0.5, 0.0]
