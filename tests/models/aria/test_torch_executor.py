"""The torch executor beside the literal one: same protocol, same numbers."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from arietta.errors import CheckpointError, UsageError
from arietta.generation.engine import Engine, Guidance
from arietta.generation.settings import SamplingSettings, Stop
from arietta.generation.speculative import Draft
from arietta.tokenizers.aria import AriaTokenizer

torch = pytest.importorskip("torch")
torch.set_num_threads(1)
GREEDY = SamplingSettings(temperature=0)


@pytest.fixture(scope="module")
def pair(tiny):
    """Makes (literal backend, torch backend) of the same weights."""
    from arietta.models.aria.torch_executor import TorchBackend

    def make(vocab: str = "piano", **changes):
        literal = tiny.backend(vocab, **changes)
        tensors = {name: x.astype(np.float32) for name, x in literal.tensors.items()}
        source = SimpleNamespace(config=literal.config, tensors=tensors)
        return literal, TorchBackend(source, "cpu")

    return make


def close(a, b) -> None:
    np.testing.assert_allclose(np.asarray(a), b, atol=5e-5)


def test_append_fork_rewind_head(pair) -> None:
    literal, other = pair()
    rng = np.random.default_rng(0)
    a, b = literal.new_session(2), other.new_session(2)
    ids, counts = rng.integers(0, 2_565, (2, 9)), np.array([9, 5])
    one, two = a.append(ids, counts=counts), b.append(ids, counts=counts)
    close(one[0], two[0])
    close(one[1, :5], two[1, :5])
    for session in (a, b):
        session.fork(np.array([1, 0, 1]))
        assert session.rows == 3 and session.lengths.tolist() == [5, 9, 5]
    ids = rng.integers(0, 2_565, (3, 4))
    close(a.append(ids), b.append(ids))
    for session in (a, b):
        session.rewind(np.array([7, 13, 2]))
    close(a.append(ids, last=True), b.append(ids, last=True))
    counts = np.array([1, 3, 2])
    one, two = (s.append(ids, last=True, counts=counts) for s in (a, b))
    close(one, two)
    assert a.lengths.tolist() == b.lengths.tolist()
    close(a.head(one, ((3, 50), (100, 200))), b.head(two, ((3, 50), (100, 200))))
    close(a.head(one), b.head(two))


def test_merged_sessions_go_on_as_each_alone(pair) -> None:
    ids = np.random.default_rng(3).integers(20, 1500, (2, 90))
    found = []
    for backend in pair():
        first, second = backend.new_session(), backend.new_session()
        first.append(ids[:1, :40])
        second.append(ids[1:])
        first.merge(second)
        assert first.lengths.tolist() == [40, 90]
        found.append([first.append(ids[:, i : i + 1]) for i in range(3)])
    np.testing.assert_allclose(found[0], found[1], atol=1e-4)


def test_condition(pair) -> None:
    literal, other = pair(conditioned=True, embedding_size=8)
    vector = np.linspace(-1, 1, 8).astype(np.float32)
    ids = np.array([[6, 0, 50], [6, 0, 50]])
    hidden = []
    for backend in (literal, other):
        session = backend.new_session(2)
        session.condition(vector, np.array([True, False]))
        hidden.append(session.append(ids))
    close(*hidden)
    assert np.abs(hidden[1][0] - hidden[1][1]).max() > 1e-3
    plain = other.new_session()
    close(plain.append(ids[:1])[0], hidden[1][1])  # positions are relative


def test_many_rewinds_pack_the_cache(pair) -> None:
    literal, other = pair()
    rng = np.random.default_rng(1)
    a, b = literal.new_session(), other.new_session()
    for _ in range(60):
        ids = rng.integers(0, 2_565, (1, 12))
        close(a.append(ids), b.append(ids))
        for session in (a, b):
            session.rewind(session.lengths - 11)
    assert b._slots.shape[1] < 60 + 2 * 256 and b.lengths.tolist() == [60]


def test_engines_agree(pair, tiny) -> None:
    literal, other = pair()
    tokenizer, prompt = AriaTokenizer("piano"), tiny.prompt()
    draft = Draft(tiny.backend(seed=3), tokenizer, 3)
    want = Engine(literal, tokenizer).stream(
        prompt, settings=GREEDY, stop=Stop(tokens=60), variations=2
    )
    got = Engine(other, tokenizer, draft=draft).stream(
        prompt, settings=GREEDY, stop=Stop(tokens=60), variations=2
    )
    assert [row.ids for row in want.run()] == [row.ids for row in got.run()]


def test_guidance_agrees(pair, tiny) -> None:
    literal, other = pair(conditioned=True, embedding_size=8)
    guidance = Guidance(np.linspace(-1, 1, 8).astype(np.float32), 2.0)
    ids = [
        Engine(backend, AriaTokenizer("piano"))
        .stream(tiny.prompt(), settings=GREEDY, stop=Stop(tokens=40), guidance=guidance)
        .run()[0]
        .ids
        for backend in (literal, other)
    ]
    assert ids[0] == ids[1]


def test_refusals(pair, tiny) -> None:
    from arietta.models.aria.torch_executor import TorchBackend

    literal, other = pair(max_seq_len=16)
    session = other.new_session()
    with pytest.raises(UsageError, match="context of 16"):
        session.append(np.zeros((1, 17), int))
    with pytest.raises(UsageError, match="token ids"):
        session.append(np.full((1, 3), 2_565))
    with pytest.raises(UsageError, match="takes no condition"):
        session.condition(np.zeros(8, np.float32))
    with pytest.raises(UsageError, match="head rows"):
        session.head(np.zeros((1, 16), np.float32), ((0, 9_999),))
    with pytest.raises(UsageError, match=r"it has.*cpu"):
        TorchBackend(SimpleNamespace(config=literal.config, tensors={}), "tpu")
    tensors = {n: np.zeros((1,), np.float32) for n in literal.config.tensor_shapes()}
    with pytest.raises(CheckpointError, match="do not fit"):
        TorchBackend(SimpleNamespace(config=literal.config, tensors=tensors), "cpu")
