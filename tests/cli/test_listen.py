"""``arietta listen``: a table of pairs becomes a page, and answers become a table."""

from __future__ import annotations

import base64
import csv
import json
import re
import sys
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from arietta.evaluation.listening.plan import Plan
from arietta.midi.piece import Piece
from arietta.sound.clips import loudness_lufs
from tests.evaluation.listening.simulated import listen

from .conftest import Command

SHORT = ("--seconds", 1, "--least-seconds", 0.5)
STRENGTHS = {"good": 1.5, "weak": -1.5, "person": 0.0, "noise": -4.0}
Rows = list[tuple[str, str, str, str, str]]


@pytest.fixture
def table(tmp_path: Path) -> Callable[[Rows], Path]:
    """Write pairs.csv and the short pieces it names, of different levels."""

    def write(rows: Rows) -> Path:
        for row in rows:
            for name in (row[2], row[4]):
                if (tmp_path / name).exists() or not name.endswith(".mid"):
                    continue
                rng = np.random.default_rng(len(name) + sum(name.encode()))
                onset, pitch = np.arange(8) * 150, rng.integers(50, 80, 8)
                Piece.from_ms(onset, 140, pitch, int(rng.integers(30, 110))).save(tmp_path / name)
        path = tmp_path / "pairs.csv"
        with path.open("w", newline="") as file:
            csv.writer(file).writerows([("item", "system_a", "a", "system_b", "b"), *rows])
        return path

    return write


def two_systems(items: int = 3) -> Rows:
    return [
        (f"étude {i}", system, f"{system}-{i}.mid", "person", f"person-{i}.mid")
        for i in range(items)
        for system in ("good", "weak")
    ]


def settings_of(page: str) -> Any:
    (text,) = re.findall(r'id="settings">(.*?)</script>', page)
    return json.loads(text)


def clips_of(page: str) -> dict[str, bytes]:
    found = re.findall(r'<script type="text/plain" id="clip-(\w+)">([^<]*)</script>', page)
    return {name: base64.b64decode(code) for name, code in found}


def test_a_page_holds_all_sound_and_no_name(
    arietta: Command, table: Callable[[Rows], Path], tmp_path: Path
) -> None:
    consent = tmp_path / "consent.txt"
    consent.write_text("Ja?</script><!-- 音 -->")
    words = ("listen", "build", table(two_systems()), "-o", tmp_path / "t", *SHORT)
    named = (*words, "--human", "person", "--floor", "noise")
    done = arietta(*named, "--consent", consent, "--sound", "flac", "--json")
    assert done.code == 0, done.err
    found = done.json
    assert (found["pairs"], found["clips"], found["trials"], found["made_floor"]) == (
        9,
        12,
        13,
        True,
    )
    page = (tmp_path / "t" / "listen.html").read_text("utf-8")
    key = json.loads((tmp_path / "t" / "key.json").read_text("utf-8"))
    assert found["bytes"] == sum(p.stat().st_size for p in (tmp_path / "t").iterdir())
    settings = settings_of(page)
    assert settings["consent"] == consent.read_text()
    clips = clips_of(page)
    assert set(clips) == set(key["clips"]) == {
        name for form in settings["forms"] for pair in form for name in pair
    }  # fmt: skip
    for data in clips.values():
        audio, rate = soundfile.read(BytesIO(data), dtype="float32")
        assert rate == 44_100 and audio.shape == (44_100, 2)
        assert loudness_lufs(audio, "") == pytest.approx(found["loudness_lufs"], abs=0.1)
    bare = re.sub(r'<script type="text/plain".*?</script>', "", page)
    for word in ("good", "weak", "person", "noise", "étude", ".mid"):
        assert word not in bare
    assert not re.search(r"(src|href)=|https?://", bare)
    again = arietta(*named)
    assert again.code == 1 and "--force" in again.err
    first = {path: path.read_bytes() for path in (tmp_path / "t").iterdir()}
    forced = arietta(*named, "--consent", consent, "--sound", "flac", "--force")
    assert forced.code == 0 and "for you alone" in forced.out and "with Holm" in forced.out
    assert {path: path.read_bytes() for path in (tmp_path / "t").iterdir()} == first


def test_audio_files_and_a_floor_of_ones_own(
    arietta: Command, table: Callable[[Rows], Path], tmp_path: Path
) -> None:
    rng = np.random.default_rng(0)
    for name, level in (("a.wav", 0.3), ("b.flac", 0.01)):
        soundfile.write(tmp_path / name, rng.standard_normal((48_000, 1)) * level / 4, 48_000)
    rows: Rows = [
        ("x", "model", "a.wav", "human", "b.flac"),
        ("x", "human", "b.flac", "floor", "f.mid"),
    ]
    words = ("listen", "build", table(rows), "-o", tmp_path / "t", *SHORT, "--repeats", 1)
    done = arietta(*words, "--json")
    assert done.code == 0, done.err
    assert (done.json["clips"], done.json["made_floor"]) == (3, False)
    only_audio = arietta("listen", "build", table(rows[:1]), "-o", tmp_path / "u", *SHORT)
    assert only_audio.code == 1 and "floor anchor 'floor'" in only_audio.err


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda rows: [(*rows[0][:2], "nobody.wav", *rows[0][3:])], "line 2: there is no file"),
        (lambda rows: [(rows[0][0], "", *rows[0][2:])], "line 2: system_a is empty"),
        (lambda rows: [(*rows[0][:3], "good", rows[0][4])], "both sides are good"),
        (lambda rows: [rows[0], ("b", *rows[0][1:])], "line 3"),
        (lambda rows: [], "has no rows"),
    ],
)
def test_tables_that_cannot_be_used(
    arietta: Command,
    table: Callable[[Rows], Path],
    tmp_path: Path,
    change: Callable[[Rows], Rows],
    why: str,
) -> None:
    done = arietta("listen", "build", table(change(two_systems())), "-o", tmp_path / "t")
    assert done.code == 1 and why in done.err
    assert not (tmp_path / "t").exists()


def test_wrong_words(arietta: Command, table: Callable[[Rows], Path], tmp_path: Path) -> None:
    pairs = table(two_systems())
    words = ("listen", "build", pairs, "-o", tmp_path / "t", "--human", "person")
    for flag, value in (
        ("--forms", 5), ("--seconds", 0), ("--listeners", 0), ("--repeats", 9), ("--identical", -1),
        ("--least-seconds", 100),
    ):  # fmt: skip
        done = arietta(*words, flag, value)
        assert done.code == 2 and flag in done.err, flag
    done = arietta(*words[:-2])
    assert done.code == 1 and "human" in done.err
    (tmp_path / "pairs.csv").write_text("item,a\nx,y\n")
    assert "lacks the column system_a" in arietta(*words).err
    Piece.from_ms([0], [200], [60], [1]).save(tmp_path / "good-0.mid", force=True)
    silent = tmp_path / "s.wav"
    soundfile.write(silent, np.zeros((44_100, 2)), 44_100)
    table([("x", "good", "s.wav", "person", "person-0.mid")])
    done = arietta(*words, *SHORT, "--repeats", 1)
    assert done.code == 1 and "s.wav: is silent" in done.err
    assert not (tmp_path / "t" / "listen.html").exists()


def test_answers_are_analysed(
    arietta: Command, table: Callable[[Rows], Path], tmp_path: Path
) -> None:
    words = ("listen", "build", table(two_systems()), "-o", tmp_path / "t", *SHORT)
    assert arietta(*words, "--human", "person", "--floor", "noise").code == 0
    plan = Plan.from_dict(json.loads((tmp_path / "t" / "key.json").read_text("utf-8")))
    folder = tmp_path / "t" / "answers"
    folder.mkdir()
    for one in listen(plan, 24, strengths=STRENGTHS, ties=0.05):
        form = plan.forms[one.form]
        rows = [
            {"place": place, "left": form[place].left, "right": form[place].right, "answer": said}
            for place, said in one.choices
        ]
        saved = {"test": plan.test, "listener": one.listener, "form": one.form, "answers": rows}
        passed = {"passed": one.listener != 7, "right": 6, "asked": 6}
        (folder / f"{one.listener}.json").write_text(json.dumps({**saved, "headphones": passed}))
    (folder / "other.json").write_text('{"test": "another"}')
    out = tmp_path / "found.json"
    done = arietta("listen", "analyse", folder, "-o", out, "--draws", 200, "--json")
    assert done.code == 0, done.err
    assert json.loads(out.read_text()) == done.json
    assert done.json["listeners"] == 24 and len(done.json["refused"]) == 1
    assert [one["system"] for one in done.json["strengths"]] == sorted(
        STRENGTHS, key=lambda name: -STRENGTHS[name]
    )
    assert done.json["strengths"][0]["low"] < 1.5 < done.json["strengths"][0]["high"]
    shown = arietta("listen", "analyse", folder, "--draws", 200)
    assert "good – person" in shown.out and "Fleiss' kappa" in shown.out
    assert "listener 7 is counted, though doubtful" in shown.err and "another" in shown.err
    strict = arietta("listen", "analyse", folder, "--draws", 200, "--strict")
    assert strict.out.startswith("23 listeners") and "listener 7 is left out" in strict.err
    table_out = tmp_path / "found.csv"
    assert arietta("listen", "analyse", folder, "-o", table_out, "--draws", 200).code == 0
    with table_out.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["system"] for row in rows] == ["good", "weak", "person"]
    assert rows[2]["p_holm"] == "" and float(rows[0]["p_value"]) < 0.05
    # The key is looked for above the answers, and can be named.
    moved = folder.rename(tmp_path / "elsewhere")
    assert "--key" in arietta("listen", "analyse", moved).err
    assert arietta("listen", "analyse", moved, "--key", tmp_path / "t", "--draws", 200).code == 0
    assert "--draws" in arietta("listen", "analyse", moved, "--draws", 1).err
    assert arietta("listen", "analyse", moved, "--key", out).code == 1
    assert arietta("listen", "analyse", moved, "-o", tmp_path / "a.txt").code == 2


def test_mirex_form(arietta: Command, table: Callable[[Rows], Path], tmp_path: Path) -> None:
    rows = two_systems(1)
    for name in {name for row in rows for name in (row[2], row[4])}:
        onset = np.arange(64) * 500  # a quarter each, at 120 a minute: sixteen measures
        Piece.from_ms(onset, 400, 60 + np.arange(64) % 12, 64).save(tmp_path / name)
    words = ("listen", "build", table(rows), "-o", tmp_path / "t", "--format", "mirex")
    done = arietta(*words, "--human", "person")
    assert done.code == 0, done.err
    made = {str(path.relative_to(tmp_path / "t")) for path in (tmp_path / "t").rglob("*.json")}
    assert made == {f"{name}/étude 0.json" for name in ("prompts", "good", "weak", "person")}
    prompt = json.loads((tmp_path / "t" / "prompts" / "étude 0.json").read_text())["prompt"]
    assert prompt[0] == {"start": 16, "pitch": 60, "duration": 3} and len(prompt) == 16
    notes = json.loads((tmp_path / "t" / "good" / "étude 0.json").read_text())["generation"]
    assert (notes[0]["start"], notes[-1]["start"], len(notes)) == (80, 268, 48)
    again = arietta(*words, "--human", "person")
    assert again.code == 1 and "--force" in again.err
    done = arietta(*words, "--human", "nobody", "--force")
    assert done.code == 1 and "étude 0: no file of 'nobody'" in done.err
    table([("../x", *rows[0][1:])])
    done = arietta(*words, "--human", "person", "--force")
    assert done.code == 1 and "'../x' cannot be the name" in done.err


def test_the_extra_is_named(
    arietta: Command,
    table: Callable[[Rows], Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    words = ("listen", "build", table(two_systems()), "-o", tmp_path / "t", *SHORT)
    for missing in ("pyloudnorm", "scipy.stats"):
        with monkeypatch.context() as without:
            without.setitem(sys.modules, missing, None)
            done = arietta(*words, "--human", "person")
        assert done.code == 1 and "pip install 'arietta[listen]'" in done.err
