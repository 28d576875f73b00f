"""The answers of listeners: JSON and CSV files that the page saves."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from arietta.errors import InputError
from arietta.evaluation.listening.plan import Plan

Choice = Literal["left", "right", "same"]
CHOICES: tuple[Choice, ...] = ("left", "right", "same")
MOST_BYTES = 4 * 2**20
"""Largest file of answers that is read; one of 500 pairs has 60 kB."""


@dataclass(frozen=True)
class Answers:
    """What one listener said.

    Attributes:
        listener: number.
        form: index into the forms of the plan.
        choices: (place in the form, choice), in the order they were given.
        headphones: whether the headphone check was passed; None where it was not done.
        source: file they come from.
    """

    listener: int
    form: int
    choices: tuple[tuple[int, Choice], ...]
    headphones: bool | None
    source: str


def read_answers(path: Path, plan: Plan) -> Answers:
    """Read the answers of one listener.

    Raises:
        InputError: the file cannot be read, is of another test, or does not fit the plan.
    """
    try:
        if path.stat().st_size > MOST_BYTES:
            raise InputError(f"{path}: larger than any file of answers")
        text = path.read_text("utf-8-sig")
        rows = json.loads(text) if path.suffix.lower() == ".json" else _of_csv(text)
        return _checked(rows, plan, path)
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error
    except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise InputError(f"{path}: no answers of a listening test: {error!r}") from error


def _of_csv(text: str) -> dict[str, Any]:
    rows = list(csv.DictReader(io.StringIO(text)))
    if not rows:
        raise ValueError("no rows")
    headphones = {"true": True, "false": False, "": None}[rows[0]["headphones"]]
    return {
        "test": rows[0]["test"],
        "listener": int(rows[0]["listener"]),
        "form": int(rows[0]["form"]),
        "headphones": headphones,
        "answers": [{**row, "place": int(row["place"])} for row in rows],
    }


def _checked(values: Any, plan: Plan, path: Path) -> Answers:
    if values["test"] != plan.test:
        raise InputError(f"{path}: of test {values['test']}, not of {plan.test}")
    form = int(values["form"])
    if not 0 <= form < len(plan.forms):
        raise ValueError(f"there is no form {form}")
    trials = plan.forms[form]
    choices: dict[int, Choice] = {}
    for row in values["answers"]:
        place, choice = int(row["place"]), row["answer"]
        if not 0 <= place < len(trials) or choice not in CHOICES:
            raise ValueError(f"answer {choice!r} at place {place}")
        if (row["left"], row["right"]) != (trials[place].left, trials[place].right):
            raise ValueError(f"other clips at place {place}")
        choices[place] = choice
    headphones = values["headphones"]
    if isinstance(headphones, dict):
        headphones = headphones["passed"]
    return Answers(
        int(values["listener"]),
        form,
        tuple(choices.items()),
        None if headphones is None else bool(headphones),
        str(path),
    )


def read_folder(folder: Path, plan: Plan) -> tuple[list[Answers], list[dict[str, str]]]:
    """Read all answers in a folder; one listener counts once, with the file of most answers.

    Returns:
        The answers by listener, and what was left out with its reason.

    Raises:
        InputError: the folder has no file of answers that can be used.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: is no folder of answers")
    found: dict[int, Answers] = {}
    refused: list[dict[str, str]] = []
    for path in _files(folder):
        try:
            one = read_answers(path, plan)
        except InputError as error:
            refused.append({"file": str(path), "reason": str(error)})
            continue
        before = found.get(one.listener)
        if before is None:
            found[one.listener] = one
            continue
        keep, leave = sorted((before, one), key=lambda a: -len(a.choices))
        found[one.listener] = keep
        if keep.choices[: len(leave.choices)] != leave.choices:
            refused.append(
                {
                    "file": leave.source,
                    "reason": f"{leave.source}: listener {one.listener} has answered in"
                    f" {keep.source} already",
                }
            )
    if not found:
        why = f"; {refused[0]['reason']}" if refused else ""
        raise InputError(f"{folder}: no answers{why}")
    return [found[number] for number in sorted(found)], refused


def _files(folder: Path) -> Iterable[Path]:
    """JSON before CSV: a listener who sent both counts with the first."""
    for suffix in (".json", ".csv"):
        for path in sorted(folder.rglob(f"*{suffix}")):
            if path.name != "key.json":
                yield path
