"""The OpenVINO graphs and the torch session against the reference and against each other."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from arietta.checkpoints import pianist
from arietta.errors import UsageError
from arietta.inference.pianist import PianistBackend, PianistOpenVino
from arietta.inference.pianist_torch import open_torch
from arietta.tokenizers.pianist import SLOT_RANGES

GOLDEN = Path(__file__).parents[1] / "golden" / "pianist"
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


def run(backend: PianistBackend, scores: list, ids: np.ndarray) -> np.ndarray:
    session = backend.new_session([backend.encode(score) for score in scores])
    session.append(ids[:, :9])
    return session.logits(session.append(ids[:, 9:12]), 4)


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
    with pytest.raises(UsageError, match="--device tpu: not on this machine"):
        open_torch(checkpoint, "tpu")
