"""Sessions of every executor: whatever is done to the cache, a row equals its tokens run afresh.

Our kernel has to do so to the bit, OpenVINO to rounding (in int8 its cache is rounded too).
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from arietta.errors import UsageError
from arietta.models.aria import native, openvino
from arietta.models.aria.config import AriaConfig
from arietta.models.aria.native import NativeBackend
from arietta.models.aria.openvino import OpenVinoBackend
from arietta.models.aria.protocol import Backend
from arietta.models.executors import cpu_backend
from arietta.models.kernel.packing import Precision

CONFIG = AriaConfig(d_model=64, n_heads=4, n_layers=3, vocab_size=333, max_seq_len=256)
needs_kernel = pytest.mark.skipif(native.library() is None, reason="needs the compiled kernel")


def random_checkpoint(config: AriaConfig, seed: int = 0) -> SimpleNamespace:
    rng = np.random.default_rng(seed)
    tensors = {}
    for name, shape in config.tensor_shapes().items():
        x = rng.standard_normal(shape).astype(np.float32) * np.float32(0.08)
        tensors[name] = x + 1 if len(shape) == 1 and name.endswith("weight") else x
    return SimpleNamespace(config=config, tensors=tensors)


CHECKPOINT = random_checkpoint(CONFIG)
IDS = np.random.default_rng(7).integers(0, CONFIG.vocab_size, (8, 200))


@pytest.fixture(
    scope="module",
    params=[
        "openvino f32",
        "openvino int8",
        "openvino int4",
        pytest.param("native int8", marks=needs_kernel),
        pytest.param("native int4", marks=needs_kernel),
    ],
)
def backend(request: pytest.FixtureRequest) -> Backend:
    executor, precision = request.param.split()
    kind = OpenVinoBackend if executor == "openvino" else NativeBackend
    return kind(CHECKPOINT, precision, threads=2)


@pytest.fixture(scope="module")
def exact() -> OpenVinoBackend:
    return OpenVinoBackend(CHECKPOINT, "f32", threads=2)


def assert_same(backend: Backend, found: np.ndarray, expected: np.ndarray) -> None:
    if isinstance(backend, NativeBackend):
        np.testing.assert_array_equal(found, expected)
    else:
        tolerance = 1e-4 if backend.precision == "f32" else 0.15
        np.testing.assert_allclose(found, expected, atol=tolerance)


def test_near_float32(backend: Backend, exact: OpenVinoBackend) -> None:
    hidden = backend.new_session(2).append(IDS[:2])
    wide = exact.new_session(2).append(IDS[:2])
    error = np.sqrt(((hidden - wide) ** 2).mean() / (wide**2).mean())
    assert error < {"f32": 1e-5, "int8": 0.04, "int4": 0.4}[backend.precision]
    logits, wide_logits = backend.head(wide[0]), exact.head(wide[0])
    error = np.sqrt(((logits - wide_logits) ** 2).mean() / (wide_logits**2).mean())
    assert error < {"f32": 1e-5, "int8": 0.02, "int4": 0.15}[backend.precision]


def test_rows_of_two_sessions_go_on_together(backend: Backend) -> None:
    alone = []
    for row, length in ((0, 70), (1, 130), (2, 130)):
        session = backend.new_session()
        session.append(IDS[row : row + 1, :length])
        alone.append([session.append(IDS[3:4, i : i + 1]) for i in range(3)])
    first, second = backend.new_session(), backend.new_session(2)
    first.append(IDS[:1, :70])
    second.append(IDS[1:3, :130])
    first.merge(second)
    assert first.rows == 3 and first.lengths.tolist() == [70, 130, 130]
    for i in range(3):
        found = first.append(np.repeat(IDS[3:4, i : i + 1], 3, axis=0))
        assert_same(backend, found, np.concatenate([rows[i] for rows in alone]))
    first.fork(np.array([2, 0]))
    assert first.lengths.tolist() == [133, 73]


def test_merged_rows_still_share_their_past(backend: Backend) -> None:
    first, second = backend.new_session(), backend.new_session()
    for session, row in ((first, 0), (second, 1)):
        session.append(IDS[row : row + 1, :100])
        session.fork(np.zeros(2, np.int64))
    first.merge(second)
    next_ids = IDS[3:7, :1]
    found = first.append(next_ids)
    for b, row in enumerate((0, 0, 1, 1)):
        session = backend.new_session()
        session.append(IDS[row : row + 1, :100])
        assert_same(backend, found[b], session.append(next_ids[b : b + 1])[0])


@pytest.mark.parametrize("cuts", [[199], [1, 2, 3], [63, 64, 65, 128], list(range(150, 200))])
def test_cutting_the_prompt_changes_nothing(backend: Backend, cuts: list[int]) -> None:
    whole = backend.new_session().append(IDS[:1])
    session = backend.new_session()
    parts = [session.append(part) for part in np.split(IDS[:1], cuts, axis=1)]
    assert_same(backend, np.concatenate(parts, axis=1), whole)


def test_a_row_does_not_depend_on_its_neighbours(backend: Backend) -> None:
    def run(rows: list[int]) -> np.ndarray:
        session = backend.new_session()
        session.append(IDS[:1, :70])
        session.fork(np.zeros(len(rows), np.int64))
        steps = [session.append(IDS[rows, t : t + 1]) for t in range(70, 80)]
        return np.concatenate(steps, axis=1)

    together = run(list(range(8)))
    for row in (0, 5):
        # To the bit on OpenVINO as well: its kernels for one token are the same for every batch.
        np.testing.assert_array_equal(run([row])[0], together[row])
    np.testing.assert_array_equal(run(list(range(8))), together)


def test_forks_and_rewinds_equal_a_fresh_prefill(backend: Backend) -> None:
    session = backend.new_session()
    session.append(IDS[:1, :100])
    session.fork([0, 0, 0, 0])
    drafted = np.repeat(IDS[:1, 100:106], 4, axis=0)
    session.append(drafted, counts=[6, 6, 3, 0])
    assert session.lengths.tolist() == [106, 106, 103, 100]
    session.rewind([101, 106, 102, 64])
    session.fork([3, 0, 1, 2, 2])
    lengths = session.lengths
    assert lengths.tolist() == [64, 101, 106, 102, 102]
    following = np.stack([IDS[0, n : n + 40] for n in lengths])
    following[4] = IDS[4, :40]
    found = session.append(following)
    whole = backend.new_session().append(IDS[:1])[0]
    for b, n in enumerate(lengths[:4]):
        assert_same(backend, found[b], whole[n : n + 40])
    other = np.concatenate((IDS[0, :102], IDS[4, :40]))[None]
    assert_same(backend, found[4], backend.new_session().append(other)[0, 102:])


def test_last_hands_out_each_rows_last_real_token(backend: Backend) -> None:
    session = backend.new_session(2)
    last = session.append(IDS[:2, :20], last=True, counts=[20, 7])
    whole = backend.new_session(2).append(IDS[:2, :20])
    assert_same(backend, last, whole[[0, 1], [19, 6]])


@given(st.lists(st.tuples(st.integers(0, 332), st.integers(1, 40)), min_size=1, max_size=4))
def test_head_computes_just_the_rows_asked_for(starts: list[tuple[int, int]]) -> None:
    hidden = np.random.default_rng(1).standard_normal((3, 64)).astype(np.float32)
    ranges = [(low, min(333, low + n)) for low, n in starts]
    for one in HEADS:
        every = one.head(hidden)
        expected = np.concatenate([every[:, low:high] for low, high in ranges], axis=1)
        np.testing.assert_allclose(one.head(hidden, ranges), expected, atol=1e-6)


HEADS: list[Backend] = [OpenVinoBackend(CHECKPOINT, "f32", threads=1)]
if native.library() is not None:
    HEADS.append(NativeBackend(CHECKPOINT, "int8", threads=1))


def test_conditions(backend: Backend) -> None:
    config = AriaConfig(
        d_model=64, n_heads=4, n_layers=2, vocab_size=50, conditioned=True, embedding_size=12
    )
    model = type(backend)(random_checkpoint(config), backend.precision)
    vectors = np.random.default_rng(3).standard_normal((2, 12)).astype(np.float32)
    ids = np.arange(20)[None]
    alone = []
    for vector in vectors:
        session = model.new_session()
        session.condition(vector)
        assert session.lengths.tolist() == [1]
        alone.append(session.append(ids)[0])
    assert np.abs(alone[0] - alone[1]).max() > 0.01
    session = model.new_session(3)
    session.condition(vectors[[0, 1, 0]], np.array([True, True, False]))
    found = session.append(np.repeat(ids, 3, axis=0))
    assert_same(backend, found[0], alone[0])
    assert_same(backend, found[1], alone[1])
    assert np.abs(found[2] - found[0]).max() > 0.01


def test_dead_slots_are_cleared_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openvino, "_DEAD_SLOTS", 8)
    model = OpenVinoBackend(CHECKPOINT, "f32")
    session = model.new_session(2)
    whole = model.new_session(2).append(IDS[:2])
    rng = np.random.default_rng(0)
    while (lengths := session.lengths).max() < 190:
        found = session.append(np.stack([IDS[b, n : n + 6] for b, n in enumerate(lengths)]))
        for b, n in enumerate(lengths):
            np.testing.assert_allclose(found[b], whole[b, n : n + 6], atol=1e-4)
        session.rewind(lengths + rng.integers(1, 6, 2))
    assert session._used < 1.6 * 196


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda s: s.append(IDS[:2, :3]), "do not fit a session of 1 rows"),
        (lambda s: s.append(np.zeros((1, 0), int)), "do not fit"),
        (lambda s: s.append(np.array([[333]])), "token ids must lie in 0..332"),
        (lambda s: s.append(np.array([[-1]])), "token ids must lie"),
        (lambda s: s.append(IDS[:1, :3], counts=[4]), "counts must be 1 numbers in 0..3"),
        (lambda s: [s.append(IDS[:1]) for _ in range(2)], "exceed the model's context of 256"),
        (lambda s: s.fork([1]), "row numbers in 0..0"),
        (lambda s: s.fork([]), "row numbers"),
        (lambda s: s.rewind([5]), "rewind needs lengths between 0 and"),
        (lambda s: s.head(np.zeros((1, 64), np.float32), ((0, 334),)), "lie outside 0..333"),
        (lambda s: s.condition(np.zeros(4)), "takes no condition"),
    ],
)
def test_wrong_use_is_refused(backend: Backend, call, message: str) -> None:
    from arietta.errors import AriettaError

    with pytest.raises(AriettaError, match=message):
        call(backend.new_session())


def test_wrong_settings_are_refused() -> None:
    with pytest.raises(UsageError, match="precision 'int2'"):
        OpenVinoBackend(CHECKPOINT, "int2")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="threads must be at least 1"):
        OpenVinoBackend(CHECKPOINT, threads=0)
    with pytest.raises(UsageError, match="cannot run this model in f32"):
        NativeBackend(CHECKPOINT, "f32")
    with pytest.raises(UsageError, match="at least one row"):
        OpenVinoBackend(CHECKPOINT, "f32").new_session(0)


def test_the_fitting_executor_is_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(cpu_backend(CHECKPOINT, "f32"), OpenVinoBackend)
    if native.library() is not None:
        assert isinstance(cpu_backend(CHECKPOINT, "int8"), NativeBackend)
    monkeypatch.setattr(native, "library", lambda: None)
    assert isinstance(cpu_backend(CHECKPOINT, "int8"), OpenVinoBackend)


@needs_kernel
@pytest.mark.parametrize("threads", [1, 3, 5])
def test_threads_change_no_bit(threads: int) -> None:
    expected = NativeBackend(CHECKPOINT, "int8", threads=2).new_session(3).append(IDS[:3])
    model = NativeBackend(CHECKPOINT, "int8", threads=threads)
    for _ in range(3):
        np.testing.assert_array_equal(model.new_session(3).append(IDS[:3]), expected)


@needs_kernel
@pytest.mark.parametrize("counts", [[40], [1, 40], [33, 2, 40, 17], [0, 40]])
def test_what_is_not_asked_for_is_not_missed(
    counts: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last layer runs for last tokens alone: same bits, and the cache is whole."""
    monkeypatch.setattr(native, "CHUNK", 24)  # so that last tokens fall into several calls
    model = NativeBackend(CHECKPOINT, "int8", threads=2)
    rng, rows = np.random.default_rng(0), np.arange(len(counts))
    ids = rng.integers(0, model.vocab_size, (len(counts), 40))
    one, other = model.new_session(len(counts)), model.new_session(len(counts))
    expected = one.append(ids, counts=np.array(counts))[rows, np.array(counts) - 1]
    found = other.append(ids, counts=np.array(counts), last=True)
    real = np.array(counts) > 0
    np.testing.assert_array_equal(found[real], expected[real])
    np.testing.assert_array_equal(one.lengths, other.lengths)
    more = rng.integers(0, model.vocab_size, (len(counts), 3))
    np.testing.assert_array_equal(one.append(more), other.append(more))


@needs_kernel
@pytest.mark.parametrize(("width", "heads"), [(32, 2), (64, 2), (128, 2), (256, 2), (96, 6)])
@pytest.mark.parametrize("precision", ["int8", "int4"])
def test_other_widths(width: int, heads: int, precision: Precision) -> None:
    config = AriaConfig(d_model=width, n_heads=heads, n_layers=2, vocab_size=70, ff_mult=3)
    checkpoint = random_checkpoint(config)
    ids = IDS[:2, :90] % 70
    found = NativeBackend(checkpoint, precision).new_session(2).append(ids)
    graph = OpenVinoBackend(checkpoint, precision).new_session(2).append(ids)
    error = np.sqrt(((found - graph) ** 2).mean() / (graph**2).mean())
    assert error < 0.05


@needs_kernel
def test_rows_share_the_pages_of_their_past() -> None:
    session = NativeBackend(CHECKPOINT, "int8").new_session()
    session.append(IDS[:1, :130])
    session.fork(np.zeros(8, np.int64))
    session.append(IDS[:, :1])
    pages = {id(page) for row in session._pages for page in row}
    assert len(pages) == 2 + 8  # two full pages in common, the third copied but by its last holder


@needs_kernel
def test_a_forked_process_can_go_on() -> None:
    model = NativeBackend(CHECKPOINT, "int8", threads=2)
    expected = model.new_session().append(IDS[:1, :30])
    child = os.fork()
    if child == 0:
        signal.alarm(20)
        same = np.array_equal(model.new_session().append(IDS[:1, :30]), expected)
        os._exit(0 if same else 1)
    assert os.waitpid(child, 0)[1] == 0


@needs_kernel
def test_the_kernel_needs_no_framework() -> None:
    code = (
        "import sys, arietta.models.aria.native as n; assert n.library() is not None;"
        "assert 'openvino' not in sys.modules and 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
