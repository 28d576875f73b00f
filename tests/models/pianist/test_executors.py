"""The OpenVINO graphs and the torch session against the reference and against each other."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from arietta.errors import UsageError
from arietta.models.executors import pianist_cpu_backend
from arietta.models.pianist import checkpoint as pianist
from arietta.models.pianist import native as pianist_native
from arietta.models.pianist.openvino import PianistOpenVino
from arietta.models.pianist.protocol import PianistBackend
from arietta.models.pianist.torch_executor import open_torch
from arietta.tokenizers.pianist import SLOT_RANGES

GOLDEN = Path(__file__).parents[2] / "golden" / "pianist"
EXPECTED = np.load(GOLDEN / "forward.npz")
COLUMNS = EXPECTED["columns"]
IDS = EXPECTED["single/input_ids"][0]
DECODER_IDS = EXPECTED["single/decoder_input_ids"]


@pytest.fixture(scope="module")
def backends() -> dict[str, PianistBackend]:
    checkpoint = pianist.load(GOLDEN / "model")
    # One thread: tests run beside others, and a waiting thread spins.
    return {
        "openvino": PianistOpenVino(checkpoint, "f32", threads=1),
        "torch": open_torch(checkpoint, "cpu"),
    }


@pytest.fixture(params=["openvino", "torch"])
def backend(request: pytest.FixtureRequest, backends: dict[str, PianistBackend]) -> PianistBackend:
    return backends[request.param]


def golden_logits(position: int, slot: int) -> tuple[np.ndarray, np.ndarray]:
    """Golden logits of a slot's ids that were kept, and where they stand in the slot."""
    low, high = SLOT_RANGES[slot]
    kept = (low <= COLUMNS) & (high > COLUMNS)
    row = int(np.flatnonzero(EXPECTED["single/positions"] == position)[0])
    return EXPECTED["single/logits"][0, row, kept], COLUMNS[kept] - low


@pytest.mark.parametrize("steps", [[1] * 96, [96], [2, 1, 1, 1, 1, 1, 1] * 13, [50, 46]])
def test_logits_are_the_references(backend: PianistBackend, steps: list[int]) -> None:
    session = backend.new_session([backend.encode(IDS)])
    at, compared = 0, 0
    for step in steps:
        hidden = session.append(DECODER_IDS[:, at : at + step])
        at = min(at + step, 96)
        slot = at % 8
        if slot and at - 1 in EXPECTED["single/positions"]:
            expected, where = golden_logits(at - 1, slot)
            found = session.logits(hidden, slot)[0]
            assert found.shape == (SLOT_RANGES[slot][1] - SLOT_RANGES[slot][0],)
            np.testing.assert_allclose(found[where], expected, rtol=0, atol=1e-4)
            compared += 1
        if at == 96:
            break
    assert at == 96
    assert compared or steps[0] > 40


def run(
    backend: PianistBackend, scores: list, ids: np.ndarray, steps: tuple[int, ...] = (9, 3)
) -> np.ndarray:
    session = backend.new_session([backend.encode(score) for score in scores])
    at = 0
    for step in steps:
        hidden = session.append(ids[:, at : at + step])
        at += step
    return session.logits(hidden, 4)


def test_rows_are_as_they_are_alone(backend: PianistBackend) -> None:
    rng = np.random.default_rng(0)
    scores = [
        np.stack([rng.integers(low, high, n) for low, high in SLOT_RANGES], axis=1).reshape(-1)
        for n in (3, 40, 12)
    ]
    ids = np.stack([DECODER_IDS[0, :12], DECODER_IDS[0, 24:36], DECODER_IDS[0, 48:60]])
    together = run(backend, scores, ids)
    for row in range(3):
        alone = run(backend, [scores[row]], ids[row : row + 1])
        np.testing.assert_allclose(together[row], alone[0], rtol=0, atol=2e-5)


def test_padding_is_seen_only_where_it_is_asked_for(backend: PianistBackend) -> None:
    padded = np.concatenate((IDS, np.zeros(80, IDS.dtype)))

    def logits(encoded) -> np.ndarray:
        session = backend.new_session([encoded])
        return session.logits(session.append(DECODER_IDS[:, :3]), 3)

    plain = logits(backend.encode(IDS))
    np.testing.assert_allclose(logits(backend.encode(padded, 12)), plain, rtol=0, atol=1e-5)
    assert np.abs(logits(backend.encode(padded, 12, 22)) - plain).max() > 1e-3


needs_kernel = pytest.mark.skipif(
    not pianist_native.supports(pianist.load(GOLDEN / "model").config, "int8"),
    reason="the kernel was not compiled, or this processor lacks its instructions",
)


def three_rows() -> tuple[list[np.ndarray], np.ndarray]:
    """Scores of different lengths, one over several cache pages, and ids to play them with."""
    rng = np.random.default_rng(0)

    def notes(n: int) -> np.ndarray:
        return np.stack([rng.integers(low, high, n) for low, high in SLOT_RANGES], axis=1)

    ids = np.stack([notes(30).reshape(-1) for _ in range(3)])
    return [notes(n).reshape(-1) for n in (3, 150, 64)], ids


@needs_kernel
@pytest.mark.parametrize("precision", ["int8", "int4"])
def test_the_kernel_computes_what_the_graph_does(precision) -> None:
    checkpoint = pianist.load(GOLDEN / "model")
    scores, ids = three_rows()
    exact, graph, kernel = (
        run(backend, scores, ids, (1, 130, 1, 70))
        for backend in (
            PianistOpenVino(checkpoint, "f32", threads=1),
            PianistOpenVino(checkpoint, precision, threads=1),
            pianist_native.PianistNative(checkpoint, precision, threads=1),
        )
    )

    def error(found: np.ndarray) -> float:
        return float(np.sqrt(((found - exact) ** 2).mean() / (exact**2).mean()))

    assert error(kernel) < 1.3 * error(graph) + 0.005
    assert error(kernel) < {"int8": 0.05, "int4": 0.4}[precision]


@needs_kernel
def test_the_kernel_gives_a_row_the_same_bits_whatever_stands_beside_it() -> None:
    checkpoint = pianist.load(GOLDEN / "model")
    one, two = (pianist_native.PianistNative(checkpoint, "int8", threads=n) for n in (1, 2))
    scores, ids = three_rows()
    together = run(one, scores, ids, (150, 1, 1, 2))
    np.testing.assert_array_equal(run(two, scores, ids, (150, 1, 1, 2)), together)
    for row in range(3):
        mine = ids[row : row + 1]
        for steps in ((154,), (60, 4) + (1,) * 10 + (80,)):
            alone = run(two, [scores[row]], mine, steps)
            np.testing.assert_array_equal(alone[0], together[row])


@needs_kernel
def test_the_kernel_hides_padding() -> None:
    model = pianist_native.PianistNative(pianist.load(GOLDEN / "model"), "int8", threads=1)
    padded = np.concatenate((IDS, np.zeros(8 * 70, IDS.dtype)))

    def logits(encoded) -> np.ndarray:
        session = model.new_session([encoded])
        return session.logits(session.append(DECODER_IDS[:, :3]), 3)

    plain = logits(model.encode(IDS))
    # Real notes are computed beside padding here, in another order of sums.
    assert np.abs(logits(model.encode(padded, 12)) - plain).max() < 1e-2
    assert np.abs(logits(model.encode(padded, 12, 82)) - plain).max() > 0.1


@needs_kernel
def test_the_kernel_is_what_a_processor_gets_that_can_run_it() -> None:
    checkpoint = pianist.load(GOLDEN / "model")
    assert isinstance(pianist_cpu_backend(checkpoint, "int8", 1), pianist_native.PianistNative)
    assert isinstance(pianist_cpu_backend(checkpoint, "f32", 1), PianistOpenVino)
    with pytest.raises(UsageError, match="cannot run this model in f32"):
        pianist_native.PianistNative(checkpoint, "f32")


@pytest.mark.parametrize("precision", ["int8", "int4"])
def test_narrow_weights_stay_close(precision, backends: dict[str, PianistBackend]) -> None:
    narrow = PianistOpenVino(pianist.load(GOLDEN / "model"), precision, threads=1)
    ids = np.array(DECODER_IDS[:, :12])
    exact = run(backends["openvino"], [IDS], ids)
    found = run(narrow, [IDS], ids)
    error = np.sqrt(((found - exact) ** 2).mean() / (exact**2).mean())
    assert error < {"int8": 0.05, "int4": 0.4}[precision]


def test_the_plugin_fuses_what_decides_the_speed(backends: dict[str, PianistBackend]) -> None:
    model = backends["openvino"]
    assert isinstance(model, PianistOpenVino)
    kinds = model.node_kinds()
    layers = model.config.decoder_layers
    assert kinds["ScaledDotProductAttention"] == layers, "the cache would be copied every step"
    assert kinds["RMS"] == 6 * layers + 1


def test_wrong_requests() -> None:
    checkpoint = pianist.load(GOLDEN / "model")
    with pytest.raises(UsageError, match="precision 'f16'"):
        PianistOpenVino(checkpoint, "f16")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="threads"):
        PianistOpenVino(checkpoint, "f32", threads=0)
    with pytest.raises(UsageError, match="`device` tpu: not on this machine"):
        open_torch(checkpoint, "tpu")
