"""Fuzz the readers: mutated files in, silence or an error of ours out.

    python -m tests.fuzz [--seconds 60] [--seed N] [--target midi] [--module PATH]

The targets take turns, each in a process of its own, so that a crash is a finding like others.
Limits for one input: ``LIMIT_S`` of time, ``LIMIT_MB`` of memory beyond what the process had. What
goes wrong is kept in ``build/fuzz`` and the exit code is 1. ``--module`` is a compiled reader built
with sanitisers (``make fuzz``), which takes the place of the installed one.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.machinery
import importlib.util
import mmap
import os
import random
import signal
import sys
import time
import traceback
from pathlib import Path
from types import FrameType
from typing import Any

FOUND = Path(__file__).parent.parent.parent / "build" / "fuzz"
LIMIT_S, LIMIT_MB = 20, 600
TURN_S = 4.0
MOST_BYTES = 60_000
_WORDS = (
    b"MThd", b"MTrk", b"\xff\x2f\x00", b"\xff\x51\x03", b"PK\x03\x04", b"PK\x01\x02", b"PK\x05\x06",
    b'"shape":[', b'"data_offsets":[0,', b"-1", b"9999999999", b"ustar", b"<note>", b"</measure>",
    b"<duration>", b'"', b"&b;", b"&#0;", b"\x00" * 8, b"\xff" * 8, b"\x80" * 4,
)  # fmt: skip


def mutated(seeds: tuple[bytes, ...], rng: random.Random) -> bytes:
    """Return one of the inputs with parts flipped, changed, cut, repeated or taken from another."""
    out = bytearray(rng.choice(seeds))
    for _ in range(rng.choice((1, 1, 2, 3, 8, 30))):
        at = rng.randrange(len(out) + 1)
        size = rng.choice((1, 1, 2, 4, 9, 60, 500))
        what = rng.randrange(9)
        if what == 0 and out:
            out[at % len(out)] ^= 1 << rng.randrange(8)
        elif what == 1 and out:
            out[at % len(out)] = rng.choice((0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256)))
        elif what == 2:
            del out[at : at + size]
        elif what == 3:
            out[at:at] = rng.randbytes(min(size, 9))
        elif what == 4:
            out[at:at] = out[at : at + size]
        elif what == 5:
            out[at:at] = rng.choice(_WORDS)
        elif what == 6:
            other = rng.choice(seeds)
            begin = rng.randrange(len(other) + 1)
            out[at : at + size] = other[begin : begin + size]
        elif what == 7:  # a length or an offset
            out[at : at + 4] = rng.choice((0, 1, 2**31, 2**32 - 1, len(out))).to_bytes(
                4, rng.choice(("big", "little"))
            )
        elif rng.random() < 0.2:
            del out[at:]
    return bytes(out[:MOST_BYTES])


def preload(path: str) -> None:
    """Put another build of the compiled reader in the place of the installed one."""
    import arietta.midi

    name = "arietta.midi._fastread"
    spec = importlib.util.spec_from_file_location(
        name, path, loader=importlib.machinery.ExtensionFileLoader(name, path)
    )
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    sys.modules[name] = module
    arietta.midi._fastread = module  # type: ignore[attr-defined]


class TooSlow(BaseException):
    """An input took longer than ``LIMIT_S``; no error handler of the code may catch it."""


def _too_slow(number: int, frame: FrameType | None) -> None:
    raise TooSlow


def _memory_mb() -> float:
    """Most memory that this process held until now."""
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10


def fuzz(target: str, seed: int, seconds: float, current: mmap.mmap, sanitised: bool) -> None:
    """Fuzz a target for a while; ends the process.

    Args:
        target: its name.
        seed: of the mutations.
        seconds: how long.
        current: where the input in hand is kept, for whoever outlives a crash: its length, how
            many were run and were taken, and its bytes.
        sanitised: memory is not counted: a sanitiser takes its own.
    """
    from tests.fuzz.corpus import seeds
    from tests.fuzz.targets import run

    rng = random.Random(f"{target} {seed}")
    corpus = seeds(target)
    signal.signal(signal.SIGALRM, _too_slow)
    end = time.monotonic() + seconds
    done = taken = 0
    waiting = list(corpus) if seed == 0 else []
    while waiting or time.monotonic() < end:
        data = waiting.pop() if waiting else mutated(corpus, rng)
        numbers = (len(data), done, taken)
        current[: 24 + len(data)] = b"".join(n.to_bytes(8, "little") for n in numbers) + data
        before = _memory_mb()
        signal.alarm(LIMIT_S)
        try:
            taken += run(target, data)
        except TooSlow:
            sys.stderr.write(f"longer than {LIMIT_S} s\n")
            os._exit(3)
        except BaseException:
            traceback.print_exc()
            os._exit(2)
        finally:
            signal.alarm(0)
        done += 1
        if not sanitised and _memory_mb() - before > LIMIT_MB:
            sys.stderr.write(f"more than {LIMIT_MB} MB\n")
            os._exit(4)
    current[8:24] = done.to_bytes(8, "little") + taken.to_bytes(8, "little")
    os._exit(0)


def main() -> int:
    """Let the targets take turns; return 1 where something was found."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument(
        "--seconds", type=float, default=60.0, help="how long, all targets together"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the mutations")
    parser.add_argument("--target", action="append", help="which; all by default")
    parser.add_argument("--module", help="compiled reader with sanitisers")
    given = parser.parse_args()
    if given.module:
        preload(given.module)
    from tests.fuzz import targets

    names: list[str] = given.target or list(targets.TARGETS)
    current = mmap.mmap(-1, 24 + MOST_BYTES)
    end = time.monotonic() + given.seconds
    counts: dict[str, list[int]] = {name: [0, 0] for name in names}
    findings: dict[str, str] = {}
    turn = min(TURN_S, max(given.seconds / len(names), 1.0))
    seed = given.seed
    while time.monotonic() < end:
        for name in names:
            status = _in_a_child(name, seed, turn, current, bool(given.module))
            size, done, taken = (
                int.from_bytes(current[i : i + 8], "little") for i in range(0, 24, 8)
            )
            counts[name][0] += done
            counts[name][1] += taken
            if status:
                path = _keep(name, bytes(current[24 : 24 + size]))
                findings[str(path)] = f"{name}: {_what(status)}"
                print(f"{path}: {findings[str(path)]}", flush=True)  # noqa: T201
        seed += 1
    shown = ", ".join(f"{name} {taken:,} of {done:,}" for name, (done, taken) in counts.items())
    total = sum(done for done, _ in counts.values())
    print(f"{total:,} inputs (taken of all: {shown}); {len(findings)} findings")  # noqa: T201
    return int(bool(findings))


def _in_a_child(name: str, seed: int, turn: float, current: mmap.mmap, sanitised: bool) -> int:
    """Fuzz in a fork; its wait status, 0 if nothing went wrong."""
    sys.stdout.flush()
    child = os.fork()
    if not child:
        fuzz(name, seed, turn, current, sanitised)
    return os.waitpid(child, 0)[1]


def _keep(name: str, data: bytes) -> Path:
    FOUND.mkdir(parents=True, exist_ok=True)
    path = FOUND / f"{name}-{hashlib.sha256(data).hexdigest()[:12]}"
    path.write_bytes(data)
    return path


def _what(status: int) -> str:
    if os.WIFSIGNALED(status):
        return f"ended by signal {os.WTERMSIG(status)}"
    texts: dict[int, Any] = {
        2: "an error that is none of ours",
        3: "too slow",
        4: "too much memory",
    }
    code = os.waitstatus_to_exitcode(status)
    return str(texts.get(code, f"exit code {code}"))


if __name__ == "__main__":
    raise SystemExit(main())
