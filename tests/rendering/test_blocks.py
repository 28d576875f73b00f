"""Windows, stitching and sampling: against the specification read literally, and the reference."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from arietta.errors import UsageError
from arietta.generation.sampling import RowRandom
from arietta.models.pianist import checkpoint as pianist
from arietta.models.pianist.openvino import PianistOpenVino
from arietta.models.pianist.torch_executor import PianistTorch, open_torch
from arietta.rendering.blocks import BlockRender, IdSampler, windows
from arietta.rendering.settings import BlockSettings
from arietta.tokenizers.pianist import SLOT_RANGES, PianistTokenizer

GOLDEN = Path(__file__).parents[1] / "golden" / "pianist"


@pytest.fixture(scope="module")
def backend() -> PianistTorch:
    return open_torch(pianist.load(GOLDEN / "model"), "cpu")


@pytest.fixture(scope="module")
def graphs() -> PianistOpenVino:
    return PianistOpenVino(pianist.load(GOLDEN / "model"), "f32", threads=1)


def a_score(notes: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    columns = [rng.integers(low, high, notes) for low, high in SLOT_RANGES]
    return np.stack(columns, axis=1).reshape(-1).astype(np.int32)


@torch.no_grad()
def literal(backend: PianistTorch, score: np.ndarray, size: int, overlap: float, compat: bool):
    """Section 4 of the specification, greedily, one whole forward pass an id."""
    length = len(score)
    if length <= size:
        spans = [(0, length)]
    else:
        step, spans, start = int(size * (1 - overlap)) // 8 * 8, [], 0
        while start + size <= length:
            spans.append((start, start + size))
            start += step
        if spans[-1][1] != length:
            spans.append((start, length))
    result: list[int] = []
    last: list[int] = []
    for i, (start, end) in enumerate(spans):
        output = [2]
        if i:
            before, before_end = spans[i - 1]
            drop = int((before_end - start) * 0.2)
            if compat:
                output += last[start - before : before_end - before - drop]
                result = result[: len(result) - drop]
            else:
                drop = -(-drop // 8) * 8
                result = result[: len(result) - drop]
                output += result[start:]
        while len(output) - 1 < end - start:
            at = len(output) - 1
            if at % 8 == 0:
                chosen = int(score[start + at])
            else:
                ids = torch.from_numpy(score[start:end].astype(np.int64))[None]
                logits = backend.model(ids, torch.tensor([output]))[0, -1]
                low, high = SLOT_RANGES[at % 8]
                chosen = low + int(logits[low:high].argmax())
            output.append(chosen)
            if i == 0 or at >= before_end - start - drop:
                result.append(chosen)
        last = output
    return result


@pytest.mark.parametrize("compat", [None, "pianist"])
@pytest.mark.parametrize(
    ("notes", "window", "overlap"),
    [(6, 8, 0.5), (8, 8, 0.5), (21, 8, 0.5), (13, 8, 0.25), (9, 4, 0)],
)
def test_windows_are_decoded_as_specified(
    backend: PianistTorch, notes: int, window: int, overlap: float, compat
) -> None:
    score = a_score(notes)
    settings = BlockSettings(temperature=0, window_notes=window, overlap=overlap, compat=compat)
    (found,) = BlockRender(backend, [score], settings).run()
    want = literal(backend, score, 8 * window, overlap, compat is not None)
    assert found.tolist() == want
    assert found[::8].tolist() == score[::8].tolist()


RENDERINGS = {
    "render_one_window": {},
    "render_windows_256": {"window_notes": 32},
    "render_windows_200_ov25": {"window_notes": 25, "overlap": 0.25},
    "render_exact_two_windows": {"window_notes": 32},
    "render_batch_two_lengths": {"window_notes": 32},
    "render_temperature_0p7": {"temperature": 0.7},
}


@pytest.mark.parametrize("name", RENDERINGS)
def test_the_references_own_renderings(
    name: str, graphs: PianistOpenVino, shared_dir: Path
) -> None:
    want = np.load(shared_dir / "golden" / "pianist" / "model" / f"{name}.npz")
    scores = [
        want[key].astype(np.int32) for key in ("score_ids0", "score_ids1") if key in want.files
    ]
    values = {"top_p": 1e-6, **RENDERINGS[name]}
    found = BlockRender(graphs, scores, BlockSettings(compat="pianist", **values)).run()
    for row, (ids, score) in enumerate(zip(found, scores, strict=True)):
        notes = PianistTokenizer().decode_notes(ids, score, compat="pianist")
        table = np.stack((notes.onset_ms, notes.offset_ms, notes.pitch, notes.velocity), axis=1)
        np.testing.assert_array_equal(table, want[f"notes{row}"])
        pedal = np.stack((notes.pedal_ms, notes.pedal_value), axis=1)
        np.testing.assert_array_equal(pedal, want[f"cc{row}"])


@pytest.mark.parametrize(
    ("name", "temperature", "top_p"),
    [("t1_p95", 1.0, 0.95), ("t0p8_p90", 0.8, 0.9), ("t1p5_p100", 1.5, 1.0)],
)
def test_the_references_filter(
    name: str, temperature: float, top_p: float, backend: PianistTorch, shared_dir: Path
) -> None:
    want = np.load(shared_dir / "golden" / "pianist" / "model" / "sampling_filter.npz")
    sequence, edges = want[f"{name}_sequence"], want[f"{name}_ptr"]
    sampler = IdSampler(BlockSettings(temperature=temperature, top_p=top_p))
    session = backend.new_session([backend.encode(want["score_ids"])])
    for at in range(128):
        hidden = session.append(sequence[None, at : at + 1])
        if at % 8 == 0:
            continue
        index, weight = sampler.probabilities(session.logits(hidden, at % 8)[0])
        order = np.argsort(index)
        here = slice(edges[at], edges[at + 1])
        kept = index[order] + SLOT_RANGES[at % 8][0]
        np.testing.assert_array_equal(kept, want[f"{name}_kept_ids"][here])
        np.testing.assert_allclose(weight[order], want[f"{name}_kept_prob"][here], atol=1e-5)


def sampled(backend: PianistTorch, scores, variations, **changes) -> list[list[int]]:
    settings = BlockSettings(**{"seed": 5, "window_notes": 8, **changes})
    render = BlockRender(backend, scores, settings, variations=variations)
    return [ids.tolist() for ids in render.run()]


def test_rows_are_as_they_are_alone(backend: PianistTorch) -> None:
    scores = [a_score(21), a_score(5, 1), a_score(14, 2)]
    together = sampled(backend, scores, [0, 7, 2])
    for row, number in enumerate([0, 7, 2]):
        assert sampled(backend, [scores[row]], [number]) == [together[row]]


def test_variations_differ_and_seeds_reproduce(backend: PianistTorch) -> None:
    score = a_score(10)
    first, second = sampled(backend, [score, score], [0, 1])
    assert first != second
    assert sampled(backend, [score], [0]) == [first]
    assert sampled(backend, [score], [0], seed=6) != [first]


def test_one_score_is_read_once(backend: PianistTorch, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    encode = PianistTorch.encode
    monkeypatch.setattr(
        PianistTorch, "encode", lambda self, *a, **k: calls.append(1) or encode(self, *a, **k)
    )
    score = a_score(10)
    sampled(backend, [score] * 4, range(4))
    assert len(calls) == len(windows(80, 64, 0.5))


@pytest.mark.parametrize(("after", "kept"), [(1, 1), (7, 7), (9, 8), (10, 9)])
def test_cancel_keeps_what_is_decided(backend: PianistTorch, after: int, kept: int) -> None:
    # Windows of 8 notes every 4; the last of 4 in common is decoded twice.
    score = a_score(21)
    settings = BlockSettings(seed=5, window_notes=8)
    render = BlockRender(backend, [score], settings)
    for now in render:
        if now.notes >= after:
            render.cancel()
    assert render.cancelled
    (part,) = render.results()
    assert len(part) == 8 * kept
    (whole,) = BlockRender(backend, [score], settings).run()
    decided = 8 * (after if after < 8 else after - 1)
    assert part[:decided].tolist() == whole[:decided].tolist()


def test_progress_comes_to_its_end(backend: PianistTorch) -> None:
    seen = []
    BlockRender(backend, [a_score(21), a_score(9)], BlockSettings(window_notes=8)).run(seen.append)
    assert [now.notes for now in seen] == sorted({now.notes for now in seen})
    assert seen[-1].notes == seen[-1].total
    assert seen[-1].seconds_left == 0 < seen[0].seconds_left


@given(st.integers(1, 300), st.integers(1, 40), st.floats(0, 0.95), st.booleans())
def test_windows_cover_everything_once(notes: int, size: int, overlap: float, compat: bool) -> None:
    found = windows(8 * notes, 8 * size + 3, overlap, compat=compat)
    assert found[0].start == 0 and found[0].given == 0 and found[-1].end == 8 * notes
    done = 0
    for window in found:
        assert window.end - window.start <= 8 * size
        assert window.start % 8 == 0
        assert 0 <= window.given < window.end - window.start
        # Nothing is skipped, and what is given was decided before.
        assert window.start + window.given <= done
        assert compat or window.given % 8 == 0
        done = window.end
    assert done == 8 * notes


def test_greedy_takes_the_top() -> None:
    sampler = IdSampler(BlockSettings(temperature=0))
    assert sampler.draw(np.array([0.0, 3.0, 1.0], np.float32), RowRandom(0, 0)) == 1


@given(st.integers(0, 2**32), st.integers(1, 200), st.floats(0.01, 1), st.integers(1, 60))
def test_filters_keep_the_likeliest(seed: int, n: int, top_p: float, top_k: int) -> None:
    logits = np.random.default_rng(seed).normal(0, 3, n).astype(np.float32)
    index, weight = IdSampler(BlockSettings(top_p=top_p, top_k=top_k)).probabilities(logits)
    assert 1 <= len(index) <= min(top_k, n)
    assert weight.sum() == pytest.approx(1)
    others = np.setdiff1d(np.arange(n), index)
    assert not len(others) or logits[others].max() <= logits[index].min()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"temperature": -1}, "`temperature`"),
        ({"temperature": 3}, "`temperature`"),
        ({"top_p": 0}, "`top_p`"),
        ({"top_k": -1}, "`top_k`"),
        ({"overlap": 1}, "overlap"),
        ({"window_notes": 0}, "`window_notes` must be at least 1"),
        ({"seed": -1}, "`seed`"),
    ],
)
def test_impossible_settings(values: dict, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        BlockSettings(**values)


def test_a_window_longer_than_the_model(backend: PianistTorch) -> None:
    with pytest.raises(UsageError, match="600 notes; the model has room for 512"):
        BlockRender(backend, [a_score(3)], BlockSettings(window_notes=600))
    with pytest.raises(UsageError, match="nothing to render"):
        BlockRender(backend, [], BlockSettings())
