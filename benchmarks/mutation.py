"""How many small faults, put into the code one by one, does a test notice?

    python -m benchmarks.mutation [--sample 300] [--seed 0] [--all] [--jobs 2] [--package midi]
    python -m benchmarks.mutation --short

mutmut writes every mutant of a function beside the function, so that a run imports once and forks
for each; what runs is the tests that pass through that function. Everything happens in a copy of
the tree, ``build/mutation``, so that a run that is killed leaves nothing mutated behind.

The sample is drawn evenly from all mutants of ``PACKAGES`` (or of those given), from the seed.
What runs is a package's own tests: a mutant that only a test of another package would notice counts
as survived. ``--short`` holds the
modules of ``HELD`` to ``LEAST`` and is part of ``make check``: a sample of their mutants against
their own tests, in about a minute.

A mutant that no test can notice, because nothing changes, counts as survived: the share is a lower
bound. ``UNTOLD`` leaves out lines that hold texts for people and checks of the type checker.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

from benchmarks.common import file_result

ROOT = Path(__file__).resolve().parent.parent
WORK = ROOT / "build" / "mutation"
PACKAGES = ("midi", "tokenizers", "generation", "data", "checkpoints", "rendering", "vectors")
COPIED = ("arietta", "tests", "benchmarks", "docs", "README.md", "pyproject.toml")
HELD = {
    "arietta/midi/tempo.py": "tests/midi/test_tempo.py",
    "arietta/midi/piece.py": "tests/midi/test_piece.py",
    "arietta/midi/zips.py": "tests/midi/test_zips.py",
}
SHORT_SAMPLE = 24
LEAST = 0.9
UNTOLD = (
    r"strict=True",  # of zip: columns of one table are equally long
    r"raise [\w.]+\(",
    r"assert ",
)
"""Regular expressions of lines that are not mutated."""
# What mutmut calls it when a mutant changed the exit code of the tests, when it made none of it,
# when no test runs through the function and when the tests took many times as long.
KILLED, SURVIVED, UNTESTED, SLOW, UNSEEN = (
    "killed",
    "survived",
    "no tests",
    "timeout",
    "not checked",
)
_BY_EXIT = {
    1: KILLED,
    3: KILLED,
    0: SURVIVED,
    33: UNTESTED,
    36: SLOW,
    24: SLOW,
    152: SLOW,
    255: SLOW,
}


def prepare(mutated: list[str], tests: list[str], isolation: str) -> None:
    """Copy the tree and write what mutmut shall do with it."""
    shutil.rmtree(WORK, ignore_errors=True)
    WORK.mkdir(parents=True)
    for name in COPIED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, WORK / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, WORK / name)
    settings = {
        "source_paths": ["arietta"],
        "only_mutate": mutated,
        "also_copy": list(COPIED),
        "do_not_mutate_patterns": list(UNTOLD),
        "pytest_add_cli_args_test_selection": tests,
        "pytest_add_cli_args": ["-p", "no:cacheprovider", "-p", "no:xdist", "-x"],
        "process_isolation": isolation,
    }
    lines = [f"{name} = {json.dumps(value)}" for name, value in settings.items()]
    with (WORK / "pyproject.toml").open("a", encoding="utf8") as file:
        file.write("\n[tool.mutmut]\n" + "\n".join(lines) + "\n")


def mutmut(*words: str, well: str = "") -> str:
    """Run mutmut in the copy; what it prints.

    Args:
        words: its command line.
        well: an end that is no failure.

    Raises:
        SystemExit: it could not do its work: the tests fail without a mutant.
    """
    done = subprocess.run(
        [sys.executable, "-m", "mutmut", *words], cwd=WORK, capture_output=True, text=True
    )
    said = done.stdout + done.stderr
    if done.returncode and not (well and well in said):
        raise SystemExit(said[-3000:])
    return said


def mutants() -> dict[str, str]:
    """Return what became of every mutant, by name."""
    found = {}
    for path in sorted((WORK / "mutants").rglob("*.meta")):
        codes = json.loads(path.read_text("utf8"))["exit_code_by_key"]
        for name, code in codes.items():
            found[name] = UNSEEN if code is None else _BY_EXIT.get(code, KILLED)
    return found


def module_of(name: str) -> str:
    """Return the module of a mutant, such as ``midi.tempo``."""
    return name.removeprefix("arietta.").rpartition(".")[0]


def change_of(name: str) -> str:
    """Return the lines that a mutant changes."""
    lines = mutmut("show", name).splitlines()
    return "\n".join(x for x in lines if x[:1] in "+-" and x[:3] not in ("+++", "---"))


def run(names: list[str], jobs: int) -> dict[str, str]:
    """Run some mutants; what became of them."""
    mutmut("run", "--max-children", str(jobs), *names)
    found = mutants()
    return {name: found[name] for name in names}


def share(counts: Counter[str]) -> float:
    """Return the share of mutants that a test noticed; one that hangs is noticed."""
    total = sum(counts.values())
    return (counts[KILLED] + counts[SLOW]) / total if total else 1.0


def main() -> int:
    """Run, print and file; return 1 where the modules of the short run are held too weakly."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.mutation", description=__doc__)
    parser.add_argument("--short", action="store_true", help="the modules of HELD; files nothing")
    parser.add_argument("--all", action="store_true", help="every mutant: hours")
    parser.add_argument("--sample", type=int, default=300, help="mutants to draw")
    parser.add_argument("--seed", type=int, default=0, help="of the draw")
    parser.add_argument("--package", action="append", choices=PACKAGES, help="all by default")
    parser.add_argument("--jobs", type=int, default=2, help="processes")
    given = parser.parse_args()
    began = time.monotonic()
    if given.short:
        prepare(list(HELD), list(HELD.values()), "fork")
    else:
        mutated = [f"arietta/{package}/*" for package in given.package or PACKAGES]
        prepare(mutated, [f"tests/{package}" for package in given.package or PACKAGES], "fork")
    # It makes the mutants and learns which tests run through which function, then finds no such
    # mutant to run; names are known from here on.
    mutmut("run", "no.such.mutant", well="nothing matches")
    names = sorted(mutants())
    drawn = names
    if not given.all:
        count = SHORT_SAMPLE if given.short else given.sample
        drawn = sorted(random.Random(given.seed).sample(names, min(count, len(names))))
    became = run(drawn, given.jobs)
    counts = Counter(became.values())
    lively = {n: change_of(n) for n, what in became.items() if what in (SURVIVED, UNTESTED)}
    for name, change in lively.items():
        print(f"{became[name]}: {name}\n{change}")
    print(f"{len(drawn)} of {len(names)} mutants: {dict(counts)}; noticed {share(counts):.1%}")
    if given.short:
        return int(share(counts) < LEAST)
    packages = {package: Counter[str]() for package in given.package or PACKAGES}
    for name, what in became.items():
        packages[module_of(name).partition(".")[0]][what] += 1
    figures: dict[str, Any] = {
        "mutants": len(names),
        "run": len(drawn),
        "drawn": "all" if given.all else f"evenly from all, seed {given.seed}",
        "noticed_share": round(share(counts), 4),
        "became": dict(counts),
        "packages": {
            package: {"noticed_share": round(share(found), 4), **found}
            for package, found in packages.items()
        },
        "not_noticed": {name: change.splitlines() for name, change in lively.items()},
        "minutes": round((time.monotonic() - began) / 60, 1),
    }
    print(file_result("mutation", figures))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
