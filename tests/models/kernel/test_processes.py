"""The kernel beside other threads, in forks and under signals; what is said without it."""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import subprocess
import sys
import sysconfig
import threading
import time
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from arietta.models.aria.config import AriaConfig
from arietta.models.aria.native import NativeBackend
from arietta.models.aria.weights import Source
from arietta.models.kernel import bindings

CONFIG = AriaConfig(d_model=128, n_heads=2, n_layers=2, vocab_size=2565, max_seq_len=256)
IDS = np.random.default_rng(1).integers(0, 2565, (2, 40))


class Weights:
    """Random weights; not on disk, so that nothing is kept."""

    config = CONFIG

    def __init__(self, seed: int) -> None:
        rng = np.random.default_rng(seed)
        self.tensors = {
            name: (0.1 * rng.standard_normal(shape)).astype(np.float32)
            for name, shape in CONFIG.tensor_shapes().items()
        }


def backend(seed: int = 0) -> NativeBackend:
    if bindings.library() is None:
        pytest.skip(f"the kernel: {bindings.state()}")
    source: Source = Weights(seed)  # type: ignore[assignment]
    return NativeBackend(source, "int8", threads=2)


def states(model: NativeBackend) -> np.ndarray:
    """A prompt and then tokens one by one: (T, 2, D)."""
    session = model.new_session(2)
    parts = [session.append(IDS[:, :20], last=True)]
    parts += [session.append(IDS[:, i : i + 1], last=True) for i in range(20, 40)]
    return np.stack(parts)


def test_engines_in_two_threads_do_not_meet() -> None:
    models = [backend(0), backend(1)]
    models.append(models[0])  # and two sessions of one engine
    alone = [states(model) for model in models]
    assert not np.array_equal(alone[0], alone[1])
    found: list[bool] = []

    def play(model: NativeBackend, wanted: np.ndarray) -> None:
        found.extend(np.array_equal(states(model), wanted) for _ in range(5))

    threads = [threading.Thread(target=play, args=pair) for pair in zip(models, alone, strict=True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [True] * 15


@pytest.fixture
def busy() -> Iterator[NativeBackend]:
    """An engine that another thread keeps calling."""
    model, stop = backend(), threading.Event()

    def play() -> None:
        while not stop.is_set():
            states(model)

    thread = threading.Thread(target=play)
    thread.start()
    yield model
    stop.set()
    thread.join()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_child_forked_during_a_call_computes_the_same(busy: NativeBackend) -> None:
    wanted = states(busy)
    for _ in range(25):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # newer Pythons warn of forks beside threads
            child = os.fork()
        if not child:
            signal.alarm(20)  # a lock that nobody frees ends here
            os._exit(0 if np.array_equal(states(busy), wanted) else 1)
        assert os.waitpid(child, 0)[1] == 0
    assert np.array_equal(states(busy), wanted)


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="needs interval timers")
def alone(work: str) -> None:
    """Run a function of this file in a process of its own, which signals may end."""
    backend()  # skips where the kernel does not run
    code = f"from tests.models.kernel.test_processes import {work}; {work}()"
    root = Path(__file__).resolve().parents[3]
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=root, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr


def test_signals_change_no_bit() -> None:
    alone("signals_change_no_bit")


def test_an_interrupt_leaves_a_sound_engine() -> None:
    alone("an_interrupt_leaves_a_sound_engine")


def signals_change_no_bit() -> None:
    model = backend()
    wanted = states(model)
    seen: list[float] = []
    signal.signal(signal.SIGALRM, lambda *_: seen.append(time.monotonic()))
    signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0005)
    for _ in range(20):
        assert np.array_equal(states(model), wanted)
    signal.setitimer(signal.ITIMER_REAL, 0)
    assert len(seen) > 5


def an_interrupt_leaves_a_sound_engine() -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in a background job
    model = backend()
    wanted = states(model)
    for delay_s in (0.0, 0.001, 0.003, 0.01):
        timer = threading.Timer(delay_s, signal.raise_signal, (signal.SIGINT,))
        with pytest.raises(KeyboardInterrupt):
            timer.start()
            while True:
                states(model)
        timer.join()
        assert np.array_equal(states(model), wanted)


# What is said where it does not run


def test_the_state_says_by_what_it_was_built() -> None:
    text = bindings.state()
    assert ("runs" in text) == (bindings.library() is not None)


class Compiled:
    """A compiled file as ctypes shows it."""

    def __init__(self, built: int, lacks: bytes | None) -> None:
        self.vnni_built = lambda: built
        self.vnni_lacks = lambda: lacks
        self.vnni_compiler = lambda: b"gcc 99"


@pytest.mark.parametrize(
    ("compiled", "text"),
    [
        (None, "not built: the install found no C compiler"),
        (Compiled(0, None), "left out by gcc 99: GCC on x86-64 builds it"),
        (Compiled(1, b"avx512vnni"), "built by gcc 99; this processor lacks avx512vnni"),
    ],
)
def test_what_is_missing_is_named(
    compiled: Compiled | None, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bindings, "_compiled", lambda: compiled)
    bindings.library.cache_clear()
    try:
        assert bindings.state() == text
        assert bindings.library() is None
    finally:
        bindings.library.cache_clear()


def test_other_compilers_build_a_file_without_it(tmp_path: Path) -> None:
    cc = shutil.which("cc")
    if cc is None:
        pytest.skip("needs a C compiler")
    source = Path(__file__).parents[3] / "arietta" / "models" / "kernel" / "_vnni.c"
    out = tmp_path / "_vnni.so"
    subprocess.run(
        [cc, "-shared", "-fPIC", "-D__clang__", '-D__clang_version__="99"', "-w",
         f"-I{sysconfig.get_path('include')}", str(source), "-o", str(out)],
        check=True,
    )  # fmt: skip
    lib = ctypes.CDLL(str(out))
    lib.vnni_compiler.restype = ctypes.c_char_p
    assert lib.vnni_built() == 0 and lib.vnni_compiler() == b"clang 99"
    assert not hasattr(lib, "vnni_team")
    assert bindings._unfit(lib) == "left out by clang 99: GCC on x86-64 builds it"
