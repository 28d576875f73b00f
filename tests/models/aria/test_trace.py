"""States and attention of the decoder: numpy and torch agree, and with what the executors give."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from arietta.errors import UsageError
from arietta.models.aria import trace
from arietta.models.aria.clock import clock_of
from arietta.models.aria.config import AriaConfig
from arietta.models.aria.openvino import OpenVinoBackend
from arietta.models.aria.torch_executor import TorchBackend
from arietta.models.aria.torch_module import AriaDecoder, initialise
from arietta.models.aria.trace import NumpyTracer, Tracer
from arietta.models.executors import cpu_backend, open_tracer

PLAIN = AriaConfig(d_model=32, n_heads=4, n_layers=3, ff_mult=2, vocab_size=90, max_seq_len=600)
TIMED = replace(PLAIN, vocab_size=clock_of("piano-fill").size, waits="piano-fill")


def source(config: AriaConfig) -> SimpleNamespace:
    """Random weights, large enough that attention is uneven."""
    decoder = AriaDecoder(config)
    initialise(decoder, 3)
    rng = np.random.default_rng(0)
    tensors = {
        name: 4 * value.numpy() + (0.1 * rng.normal(size=value.shape) if value.dim() == 1 else 0)
        for name, value in decoder.state_dict().items()
    }
    return SimpleNamespace(
        config=config, tensors={name: value.astype(np.float32) for name, value in tensors.items()}
    )


def rows(config: AriaConfig) -> list[np.ndarray]:
    rng = np.random.default_rng(1)
    return [rng.integers(0, config.vocab_size, n) for n in (1, 40, 130, 7)]


@pytest.fixture(autouse=True)
def short_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let rows of a hundred tokens need several blocks of queries."""
    monkeypatch.setattr(trace, "_QUERIES", 32)


@pytest.mark.parametrize("config", [PLAIN, TIMED], ids=["plain", "waits"])
def test_numpy_and_torch_see_the_same(config: AriaConfig) -> None:
    given, layers, attention = rows(config), (0, 2, 3), (1, 3)
    numpy, backend = NumpyTracer(source(config)), TorchBackend(source(config), "cpu")
    assert isinstance(backend, Tracer)
    for ids, ours, theirs in zip(
        given,
        numpy.trace(given, layers, attention),
        backend.trace(given, layers, attention),
        strict=True,
    ):
        assert set(ours.states) == set(layers) and set(ours.attention) == set(attention)
        for number in layers:
            assert ours.states[number].shape == (len(ids), 32)
            np.testing.assert_allclose(ours.states[number], theirs.states[number], atol=2e-4)
        for number in attention:
            shares = ours.attention[number]
            np.testing.assert_allclose(shares, theirs.attention[number], atol=2e-5)
            np.testing.assert_allclose(shares.sum(axis=2), 1, atol=1e-5)
            assert not np.triu(shares, 1).any()
    # Attention that were even everywhere would prove little.
    assert shares[:, -1].max() > 0.3


@pytest.mark.parametrize("config", [PLAIN, TIMED], ids=["plain", "waits"])
def test_the_last_layer_is_what_heads_read(config: AriaConfig) -> None:
    (ids,) = rows(config)[1:2]
    hidden = OpenVinoBackend(source(config), "f32", threads=1).new_session().append(ids[None])[0]
    (found,) = NumpyTracer(source(config)).trace([ids], layers=[3])
    np.testing.assert_allclose(found.states[3], hidden[:, :32], atol=2e-4)


def test_layer_0_is_the_embedding_and_a_row_does_not_see_the_others() -> None:
    given, tracer = rows(PLAIN), NumpyTracer(source(PLAIN))
    together = tracer.trace(given, layers=[0, 1])
    table = source(PLAIN).tensors["model.tok_embeddings.weight"]
    for ids, one in zip(given, together, strict=True):
        np.testing.assert_array_equal(one.states[0], table[ids])
        (alone,) = tracer.trace([ids], layers=[1])
        np.testing.assert_allclose(one.states[1], alone.states[1], atol=1e-5)


def test_what_cannot_be_traced_is_refused() -> None:
    tracer = NumpyTracer(source(PLAIN))
    for wrong in ({"layers": [4]}, {"layers": [-1]}, {"attention": [0]}):
        with pytest.raises(UsageError, match="this model has"):
            tracer.trace([np.arange(4)], **wrong)
    with pytest.raises(UsageError, match="601 tokens exceed"):
        tracer.trace([np.zeros(601, np.int64)])
    with pytest.raises(UsageError, match="at least one token"):
        tracer.trace([])


def test_a_model_in_torch_traces_itself() -> None:
    given = source(PLAIN)
    backend = TorchBackend(given, "cpu", torch.float32)
    assert open_tracer(given, backend) is backend
    assert isinstance(open_tracer(given, cpu_backend(given, threads=1)), NumpyTracer)
