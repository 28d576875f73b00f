"""Files of answers: both forms, and those that do not belong."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from arietta.errors import InputError
from arietta.evaluation.listening.answers import read_answers, read_folder
from tests.evaluation.listening.simulated import a_plan

PLAN = a_plan(items=2, forms=2)


def saved(listener: int = 2, count: int = 5, **others: Any) -> dict[str, Any]:
    form = (listener - 1) % 2
    return {
        "test": PLAN.test,
        "listener": listener,
        "form": form,
        "headphones": {"passed": True, "right": 6, "asked": 6},
        "answers": [
            {"place": place, "left": one.left, "right": one.right, "answer": "left"}
            for place, one in enumerate(PLAN.forms[form][:count])
        ],
        **others,
    }


def write(path: Path, values: dict[str, Any]) -> Path:
    if path.suffix == ".json":
        path.write_text(json.dumps(values))
        return path
    with path.open("w", newline="") as file:
        head = ["test", "listener", "form", "headphones", "place", "left", "right", "answer"]
        table = csv.DictWriter(file, head)
        table.writeheader()
        shared = {key: values[key] for key in ("test", "listener", "form")}
        for row in values["answers"]:
            table.writerow({**shared, "headphones": "true", **row})
    return path


def test_json_and_csv_say_the_same(tmp_path: Path) -> None:
    a = read_answers(write(tmp_path / "a.json", saved()), PLAN)
    b = read_answers(write(tmp_path / "a.csv", saved()), PLAN)
    assert (a.listener, a.form, a.choices, a.headphones) == (
        b.listener, b.form, b.choices, b.headphones,
    )  # fmt: skip
    assert (a.listener, a.form, a.headphones, len(a.choices)) == (2, 1, True, 5)
    found, refused = read_folder(tmp_path, PLAN)
    assert found == [a] and refused == []  # one listener, sent twice
    write(tmp_path / "b.json", saved(headphones=None))
    assert read_answers(tmp_path / "b.json", PLAN).headphones is None


def test_the_longer_file_of_a_listener_counts(tmp_path: Path) -> None:
    write(tmp_path / "a.json", saved(count=3))
    write(tmp_path / "b.json", saved(count=6))
    write(tmp_path / "key.json", PLAN.to_dict())
    other = saved(count=2)
    other["answers"][0]["answer"] = "right"
    write(tmp_path / "c.json", other)
    write(tmp_path / "d.json", saved(1))
    found, refused = read_folder(tmp_path, PLAN)
    assert [(one.listener, len(one.choices)) for one in found] == [(1, 5), (2, 6)]
    assert [Path(row["file"]).name for row in refused] == ["c.json"]
    assert "answered in" in refused[0]["reason"]


@pytest.mark.parametrize(
    ("values", "why"),
    [
        ({"test": "another"}, "of test another"),
        ({"form": 2}, "no form 2"),
        ({"form": 0}, "other clips at place 0"),
        ({"answers": [{"place": 99, "answer": "left"}]}, "at place 99"),
        ({"answers": [{"place": 0, "answer": "both"}]}, "'both'"),
        ({"answers": None}, "no answers"),
    ],
)
def test_what_does_not_belong_is_refused(tmp_path: Path, values: dict[str, Any], why: str) -> None:
    path = write(tmp_path / "a.json", saved(**values))
    with pytest.raises(InputError, match=why):
        read_answers(path, PLAN)
    with pytest.raises(InputError, match=why):
        read_folder(tmp_path, PLAN)


def test_unreadable_files(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no folder"):
        read_folder(tmp_path / "no", PLAN)
    with pytest.raises(InputError, match="no answers"):
        read_folder(tmp_path, PLAN)
    (tmp_path / "a.json").write_bytes(b"\xff\xfe\x00[")
    (tmp_path / "b.csv").write_text("test\n")
    (tmp_path / "c.json").write_text("[" * 4_000_000 + " " * 300_000)
    write(tmp_path / "d.json", saved())
    found, refused = read_folder(tmp_path, PLAN)
    assert len(found) == 1 and len(refused) == 3
