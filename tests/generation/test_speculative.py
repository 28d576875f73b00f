"""Drafting changes nothing but the speed: exact probabilities, greedy equality, bookkeeping."""

from __future__ import annotations

import itertools
from collections import Counter

import numpy as np
import pytest

from arietta.errors import UsageError
from arietta.generation.constraints import Rules
from arietta.generation.engine import Guidance
from arietta.generation.forward_pass import forward, logits_for
from arietta.generation.sampling import RowRandom, Sampler, pick
from arietta.generation.settings import SamplingSettings, Stop
from arietta.generation.speculative import MAX_DEPTH, Draft, accept, best_depth
from arietta.tokenizers.aria import AriaTokenizer
from arietta.tokenizers.vocabulary import DIM, EOS

GREEDY = SamplingSettings(temperature=0)


def chi_square_bound(degrees: int) -> float:
    """Beyond this a right sampler lands about once in ten thousand seeds (Wilson, Hilferty)."""
    spread = 2 / (9 * degrees)
    return degrees * (1 - spread + 3.72 * spread**0.5) ** 3


def chi_square(counts: np.ndarray, expected: np.ndarray) -> tuple[float, int]:
    """Statistic and degrees of freedom, with rare cells put together until eight are expected."""
    assert not counts[expected == 0].any(), "something impossible was drawn"
    bins: list[list[float]] = [[0.0, 0.0]]
    for i in np.argsort(expected, kind="stable"):
        if bins[-1][1] >= 8:
            bins.append([0.0, 0.0])
        bins[-1][0] += counts[i]
        bins[-1][1] += expected[i]
    if len(bins) > 1 and bins[-1][1] < 8:
        last = bins.pop()
        bins[-1] = [bins[-1][0] + last[0], bins[-1][1] + last[1]]
    seen, wanted = np.array(bins).T
    return float(((seen - wanted) ** 2 / wanted).sum()), len(bins) - 1


@pytest.mark.parametrize("seed", range(4))
def test_accept_is_distributed_as_the_target(seed: int) -> None:
    rng = np.random.default_rng(seed)
    p, q = rng.dirichlet(np.full(7, 0.5)), rng.dirichlet(np.full(7, 0.5))
    p[2] = 0.0
    p /= p.sum()
    random, counts, n = RowRandom(seed, 0), np.zeros(7), 20_000
    kept = 0
    for _ in range(n):
        index, good = accept(p, q, pick(q, random.uniform()), random)
        counts[index] += 1
        kept += good
    value, degrees = chi_square(counts, n * p)
    assert value < chi_square_bound(degrees)
    # As often as theory says: the overlap of the two distributions.
    assert kept / n == pytest.approx(np.minimum(p, q).sum(), abs=0.015)


def test_accept_of_equal_distributions_always_keeps() -> None:
    p, random = np.array([0.25, 0.75]), RowRandom(0, 0)
    assert all(accept(p, p, i % 2, random) == (i % 2, True) for i in range(100))


def exact_sequences(engine, prompt, sampler, tokens: int, rules) -> dict[tuple[int, ...], float]:
    """Probability of every sequence of some tokens, computed token by token without a draft."""
    found: dict[tuple[int, ...], float] = {(): 1.0}
    for _ in range(tokens):
        longer = {}
        for ids, share in found.items():
            state = rules(prompt)
            for token in ids:
                state.advance(token)
            session = engine.backend.new_session()
            hidden = forward(session, [[*prompt, *ids]])
            choices = sampler.choices(state.allowed())
            p = state.shape(
                choices,
                sampler.probabilities(choices, logits_for(session, hidden, [choices])[0]),
            )
            for index in np.flatnonzero(p):
                longer[(*ids, int(choices.ids[index]))] = share * float(p[index])
        found = longer
    return found


@pytest.mark.parametrize("depth", [1, 3])
def test_sampled_output_has_the_targets_exact_distribution(tiny, depth) -> None:
    # Sharp, so that few sequences are possible and each can be counted; with the grammar, min-p
    # would leave all onsets and durations.
    settings = SamplingSettings(temperature=0.7, min_p=0.3, grammar=False)
    engine = tiny.engine(scale=0.32, d_model=8, draft=("piano", 0), depth=depth)
    # The draft is the target with noise on it: often right, often wrong.
    rng = np.random.default_rng(5)
    small = engine.draft.backend
    small.config, small.tensors = engine.backend.config, dict(engine.backend.tensors)
    head = small.tensors["lm_head.weight"]
    small.tensors["lm_head.weight"] = head + 0.12 * rng.standard_normal(head.shape)
    prompt, tokens, n = tiny.prompt(notes=3), 4, 1600
    tokenizer = engine.tokenizer
    sampler = Sampler(settings, tokenizer.vocabulary)
    exact = exact_sequences(
        engine,
        prompt,
        sampler,
        tokens,
        lambda ids: Rules(tokenizer, np.array(ids, np.int32), grammar=False),
    )
    assert sum(exact.values()) == pytest.approx(1.0)
    # Some tokens more than are looked at, so that no draft is cut short among these.
    stream = engine.stream(
        prompt, settings=settings, stop=Stop(tokens=tokens + 3), variations=n, seed=11
    )
    heads = [tuple((row.context + row.pending)[len(prompt) :][:tokens]) for row in stream.run()]
    counts = Counter(heads)
    assert set(counts) <= set(exact)
    value, degrees = chi_square(
        np.array([counts[name] for name in exact], float), n * np.array(list(exact.values()))
    )
    assert degrees >= 30
    assert value < chi_square_bound(degrees)
    # The draft was neither useless nor perfect, or nothing would have been tested.
    assert 0.2 < stream.progress().acceptance < 0.9


@pytest.mark.parametrize(
    ("target", "small"), [("piano", "piano"), ("full", "piano"), ("piano-demo", "piano")]
)
@pytest.mark.parametrize("depth", [None, 1, 4, MAX_DEPTH])
def test_greedy_output_is_identical(tiny, target: str, small: str, depth: int | None) -> None:
    prompt = tiny.prompt(target)
    plain = tiny.engine(target)
    drafted = tiny.engine(target, draft=(small, 3), depth=depth)
    for stop, ending in ((Stop(tokens=70), "never"), (Stop(tokens=160), "asked")):
        want = plain.stream(prompt, settings=GREEDY, stop=stop, ending=ending, variations=2).run()
        got = drafted.stream(prompt, settings=GREEDY, stop=stop, ending=ending, variations=2).run()
        for a, b in zip(want, got, strict=True):
            assert (a.ids, a.notes, a.reason) == (b.ids, b.notes, b.reason)


def test_public_form_greedy_is_identical(tiny) -> None:
    settings = SamplingSettings(temperature=0, min_p=None, grammar=False)
    prompt = tiny.prompt("full")
    for ending in ("never", "asked"):
        stop = Stop(tokens=150)
        want = tiny.engine("full").stream(prompt, settings=settings, stop=stop, ending=ending)
        got = tiny.engine("full", draft=("full", 0), depth=4).stream(
            prompt, settings=settings, stop=stop, ending=ending
        )
        assert want.run()[0].ids == got.run()[0].ids


def test_a_model_drafting_for_itself_is_always_right(tiny) -> None:
    engine = tiny.engine(seed=3, draft=("piano", 3), depth=5)
    stream = engine.stream(tiny.prompt(), stop=Stop(tokens=120), variations=3, seed=1)
    stream.run()
    assert stream.progress().acceptance == 1.0


def test_rows_with_a_draft_do_not_depend_on_those_beside_them(tiny) -> None:
    engine, prompt = tiny.engine(draft=("piano", 3), depth=None), tiny.prompt()
    stop = Stop(seconds=3)
    for row in engine.stream(prompt, stop=stop, variations=4, seed=2).run():
        alone = engine.stream(prompt, stop=stop, first_variation=row.variation, seed=2).run()[0]
        assert (alone.ids, alone.reason) == (row.ids, row.reason)


def test_both_contexts_slide(tiny) -> None:
    prompt = tiny.prompt(notes=20)
    plain = tiny.engine(max_seq_len=160)
    drafted = tiny.engine(
        max_seq_len=160, draft=("piano", 3), depth=3, draft_changes={"max_seq_len": 96}
    )
    want = plain.stream(prompt, settings=GREEDY, stop=Stop(tokens=400)).run()[0]
    got = drafted.stream(prompt, settings=GREEDY, stop=Stop(tokens=400)).run()[0]
    assert drafted.tokenizer.decode_columns([*prompt, *got.ids]).dropped == 0
    # Rows slide when their next tokens would not fit, with a draft up to three tokens earlier.
    assert got.ids[:60] == want.ids[:60]
    assert len(got.ids) >= 398


def test_events_the_draft_cannot_say_are_hidden_from_it(tiny) -> None:
    full = AriaTokenizer("full")
    prompt = [*full.vocabulary.ids_of_prefix(["piano", "strings", "drum"]), full.bos]
    drafted = tiny.engine("full", draft=("piano", 1), depth=4)
    got = drafted.stream(prompt, settings=GREEDY, stop=Stop(tokens=60)).run()[0]
    want = tiny.engine("full").stream(prompt, settings=GREEDY, stop=Stop(tokens=60)).run()[0]
    assert got.ids == want.ids
    rows = drafted.stream(prompt, stop=Stop(tokens=150), variations=3).run()
    for row in rows:
        assert full.decode_columns([*prompt, *row.ids]).dropped == 0


def test_a_forced_ending_comes_through_a_draft(tiny) -> None:
    engine = tiny.engine(draft=("piano", 3), depth=6)
    for row in engine.stream(
        tiny.prompt(), stop=Stop(tokens=150), ending="asked", variations=4
    ).run():
        assert row.ids.count(DIM) == 1 and row.ids.index(DIM) <= 150 - 130 + 3
        assert EOS not in row.ids[: row.ids.index(DIM)]


def test_depth_follows_what_drafting_is_worth() -> None:
    assert best_depth(0.0, 0.1) == 0
    assert best_depth(0.05, 0.1) == 0
    assert best_depth(0.5, 0.1) in (2, 3)
    assert best_depth(0.95, 0.05) == MAX_DEPTH
    assert best_depth(0.9, 1.2) == 0
    depths = [best_depth(rate / 20, 0.15) for rate in range(20)]
    assert depths == sorted(depths)
    for rate, cost in itertools.product((0.3, 0.6, 0.9), (0.05, 0.2, 0.5)):
        gains = [(1 - rate ** (k + 1)) / (1 - rate) / (1 + k * cost) for k in range(MAX_DEPTH + 1)]
        assert gains[best_depth(rate, cost)] == pytest.approx(max(gains))


def test_a_useless_draft_is_left_alone_and_looked_at_now_and_then(tiny) -> None:
    engine = tiny.engine(
        draft=("piano", 3), depth=None, draft_changes={"d_model": 4, "n_layers": 1}
    )
    stream = engine.stream(tiny.prompt(), stop=Stop(tokens=400))
    drafter, row = stream._drafter, stream._drafter._rows[0]
    row.rate = 0.0
    assert drafter.depths([99]) == [0]
    row.since = 48
    assert drafter.depths([99]) == [2]
    row.rate = 0.9
    assert drafter.depths([99])[0] > 2
    assert drafter.depths([1]) == [1]
    stream.run()


def test_contradictions(tiny) -> None:
    with pytest.raises(UsageError, match="`depth`"):
        Draft(tiny.backend(), AriaTokenizer("piano"), 99)
    engine = tiny.engine(draft=("piano", 3), conditioned=True, embedding_size=8)
    with pytest.raises(UsageError, match="`draft`"):
        engine.stream(
            tiny.prompt(), stop=Stop(tokens=3), guidance=Guidance(np.zeros(8, np.float32))
        )
