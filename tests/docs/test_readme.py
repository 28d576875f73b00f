"""What README, how-tos and help texts show is run."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import textwrap
import zipfile
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from typer.main import get_command

from arietta.api.models import Model
from arietta.cli.main import COMMANDS, run
from arietta.data import pair_sources
from arietta.generation.continuation import ContinuationStream
from arietta.generation.settings import Request
from arietta.midi.notes import note_table
from arietta.midi.piece import Piece
from arietta.midi.reader import read
from arietta.midi.tempo import TempoMap
from arietta.models.aria import checkpoint as aria_checkpoint
from arietta.models.aria.config import AriaConfig
from arietta.models.aria.public_file import write_public
from arietta.sound import torch_transkun
from arietta.tokenizers.aria import AriaTokenizer
from arietta.training import loop
from arietta.training.config import Recipe
from arietta.training.loop import train
from arietta.vectors import embedding
from tests.evaluation.listening.simulated import a_plan
from tests.sound.test_transcription import StandIn

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
HOW_TOS = sorted((ROOT / "docs" / "how-to").glob("*.md"))
SHOWN = [ROOT / "README.md", ROOT / "docs" / "overview.md", *HOW_TOS]

# Not run here: they play for minutes, or ask a server or a cluster.
NOT_RUN = (
    "arietta models pull",
    "arietta studio",
    "arietta serve",
    "arietta bench",
    "arietta duet",
    "arietta data build my-midi -o dataset --engine ray",
    "arietta generate my.mid -o more.mid --model loubb/",
    "arietta data push",
    "arietta models push",
    "arietta evaluate steering",  # a test runs it, with a model that does not play for minutes
    "arietta evaluate continuations",
    "arietta evaluate few-label labels.csv --n 10,all --finetune",
    "arietta data build aria-midi",
    "arietta train aria-medium-pretrain aria -o trial",
    "arietta count",  # an example of a command that one might add
)


def readme_commands() -> list[str]:
    """Commands of the README, the overview and the how-tos."""
    shown: list[str] = []
    for page in SHOWN:
        text = page.read_text(encoding="utf-8")
        shown += re.findall(r"^\$ (arietta .*)$", text, re.MULTILINE)
        shown += re.findall(r"`(arietta [^`<]*)`", text)
    return list(dict.fromkeys(shown))


def help_commands() -> list[str]:
    found = []
    groups = {
        "data": ["build", "stats"],
        "evaluate": ["few_label", "likelihood", "probe", "retrieval"],
        "listen": ["build", "analyse"],
        "train": ["command"],
    }
    parts = [f"{name}.{part}" for name in COMMANDS for part in groups.get(name, [])]
    for name in [*COMMANDS, *parts]:
        source = Path(str(import_module(f"arietta.cli.{name}").__file__)).read_text("utf-8")
        found += re.findall(r"^      (arietta .*)$", source, re.MULTILINE)
    return list(dict.fromkeys(found))


@pytest.fixture
def desk(tmp_path: Path, prompts_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with the files the examples name; generation stops after a few notes."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ARIETTA_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("ARIETTA_PLAYER", "true")
    names = "my prompt nocturne more more-1 new another transcription reference duet take"
    for name in (f"{stem}.mid" for stem in names.split()):
        (tmp_path / name).write_bytes((prompts_dir / "waltz.mid").read_bytes())
    # long enough for `play --from`
    (tmp_path / "nocturne.mid").write_bytes((prompts_dir / "nocturne.mid").read_bytes())
    hands = note_table(
        [0, 0, 480, 960], [480, 960, 960, 1440], [76, 48, 77, 79], 64, 0, [0, 1, 0, 0]
    )
    Piece(TempoMap.constant(480), hands).save("sonata.mid", force=True)
    ids = AriaTokenizer().encode(read("my.mid")).tolist()
    for name in ("ids.json", "nocturne.json"):
        (tmp_path / name).write_text(json.dumps({"ids": ids}))

    (tmp_path / "my-midi").mkdir()
    with zipfile.ZipFile(tmp_path / "jazz.zip", "w") as archive:
        for path in prompts_dir.glob("*.mid"):
            archive.write(path, path.name)
            (tmp_path / "my-midi" / path.name).write_bytes(path.read_bytes())
    (tmp_path / "my-takes" / "waltz").mkdir(parents=True)
    for name in ("score.mid", "take.mid"):
        (tmp_path / "my-takes" / "waltz" / name).write_bytes((tmp_path / "my.mid").read_bytes())
    for i, path in enumerate(prompts_dir.glob("*.mid")):
        folder = tmp_path / "my-classes" / "ab"[i % 2]
        folder.mkdir(parents=True, exist_ok=True)
        (folder / path.name).write_bytes(path.read_bytes())
    labels = [
        f"my-midi/{path.name},{'ab'[i % 2]}" for i, path in enumerate(prompts_dir.glob("*.mid"))
    ]
    (tmp_path / "labels.csv").write_text("\n".join(["path,label", *labels]) + "\n")

    soundfile.write(tmp_path / "take.wav", np.zeros((800, 1)), 800)
    monkeypatch.setattr(torch_transkun, "Transkun", lambda _: StandIn())
    listening_test(tmp_path)

    start = Model.start

    def a_little(
        model: Model, piece: Piece | None, request: Request, *rest: Any, **options: Any
    ) -> ContinuationStream:
        return start(model, piece, replace(request, notes=3), *rest, **options)

    def one_step(recipe: Recipe, *places: Path, **options: Any) -> loop.Result:
        return train(replace(recipe, compile=False), *places, **{**options, "max_steps": 1})

    # A model of the same kind as the one that embeds by default, in a hundredth of its time.
    config = AriaConfig(d_model=32, n_heads=1, n_layers=1, vocab_size=2_565, max_seq_len=512)
    rng = np.random.default_rng(0)
    tensors = {n: rng.random(shape, np.float32) for n, shape in config.tensor_shapes().items()}
    tiny = str(
        aria_checkpoint.save(tmp_path / "home" / "models" / "tiny", config, tensors, name="tiny")
    )
    monkeypatch.setattr(embedding, "default_model", lambda: tiny)
    monkeypatch.setattr(pair_sources, "align", lambda score, _: np.arange(len(score)))
    monkeypatch.setattr(Model, "start", a_little)
    monkeypatch.setattr(loop, "train", one_step)
    return tmp_path


def listening_test(desk: Path) -> None:
    """Pairs of short pieces of sixteen measures, and the answer of one listener to such a test."""
    onset = np.arange(64) * 500
    rows = ["item,system_a,a,system_b,b"]
    for item in ("x", "y"):
        for who in ("mine", "human"):
            Piece.from_ms(onset, 400, 60, 64).save(desk / f"{who}-{item}.mid")
        rows.append(f"{item},mine,mine-{item}.mid,human,human-{item}.mid")
    (desk / "pairs.csv").write_text("\n".join(rows))
    plan = a_plan()
    (desk / "key.json").write_text(json.dumps(plan.to_dict()))
    (desk / "answers").mkdir()
    one = plan.forms[0][0]
    said = {"place": 0, "left": one.left, "right": one.right, "answer": "left"}
    answers = {"test": plan.test, "listener": 1, "form": 0, "headphones": None, "answers": [said]}
    (desk / "answers" / "1.json").write_text(json.dumps(answers))


def public_checkpoint(desk: Path, name: str) -> None:
    """A tiny model in the public form, as somebody might have downloaded; ``mine`` converted."""
    config = AriaConfig(d_model=64, n_heads=1, n_layers=1, ff_mult=1, vocab_size=17_727)
    tensors = {n: np.zeros(shape, np.float32) for n, shape in config.tensor_shapes().items()}
    path = desk / name if name.endswith(".safetensors") else desk / "downloads" / "a.safetensors"
    path.parent.mkdir(exist_ok=True)
    write_public(path, config, tensors)
    if name == "mine":
        assert run(["models", "convert", str(path), "--name", name]) == 0


def classifier(folder: Path) -> None:
    """What ``arietta train classify-folder`` left, of random numbers."""
    config = AriaConfig(
        d_model=32, n_heads=1, n_layers=1, vocab_size=2_565, max_seq_len=512, class_size=2
    )
    rng = np.random.default_rng(0)
    tensors = {n: rng.random(shape, np.float32) for n, shape in config.tensor_shapes().items()}
    aria_checkpoint.save(folder, config, tensors, name="mine", info={"classes": ["a", "b"]})


def collection(desk: Path, name: str) -> None:
    """What ``arietta embed`` and ``arietta index`` made before, of a short piece."""
    made = (
        ["embed", "my.mid", "-o", name]
        if name.endswith(".npz")
        else ["index", "my.mid", "-o", name]
    )
    assert run(made) == 0


@pytest.mark.parametrize(
    "command", [c for c in [*readme_commands(), *help_commands()] if not c.startswith(NOT_RUN)]
)
def test_command(desk: Path, capsys: pytest.CaptureFixture[str], command: str) -> None:
    first, *rest = (part.split(">")[0] for part in command.split("|"))
    words = shlex.split(first)[1:]
    for name in ("model.safetensors", "aria.safetensors", "mine"):
        if name in words and words[words.index(name) - 1] not in ("-o", "--name"):
            public_checkpoint(desk, name)
    for name in ("my.npz", "my-index"):
        if name in words and (words[words.index(name) - 1] != "-o" or "--prune" in words):
            collection(desk, name)
    for name in ("dataset", "aria"):
        if name in words and words[:2] != ["data", "build"]:
            assert run(["data", "build", "my-midi", "-o", name, "--preset", "none"]) == 0
    for name in ("mine/model", "run/model"):
        if name in words:
            shutil.copytree(ROOT / "arietta/assets/small", desk / name)
    if "my-classifier/model" in words:
        classifier(desk / "my-classifier" / "model")
    if "run-1/model" in words:
        for run_name in ("run-1", "run-2"):
            shutil.copytree(ROOT / "arietta/assets/performer", desk / run_name / "model")
    if "test/key.json" in words:
        (desk / "test").mkdir()
        shutil.copy(desk / "key.json", desk / "test" / "key.json")
    if words[:2] == ["listen", "build"] and "mirex" not in words:
        words += ["--seconds", "5"]  # of the last one given
    if "pairs.parquet" in words and words[:2] != ["data", "pairs"]:
        assert run("data pairs my-takes -o pairs.parquet".split()) == 0
    for at, word in enumerate(words):
        if word == "-o":  # an example may write what another one reads
            for old in desk.glob(f"{Path(words[at + 1]).stem}*"):
                if old.name not in words[:at] and old.is_file():
                    old.unlink()
    assert run(words) == 0, capsys.readouterr().err
    for part in rest:
        assert part.split()[0] in ("head", "arietta")


def test_python(desk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (block,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    (desk / "demo").mkdir()
    code = block.replace("arietta/assets", str(ROOT / "arietta" / "assets"))
    code = re.sub(r"seconds=(10|5)\b", "seconds=1", code)
    capsys.readouterr()
    exec(compile(code, "README.md", "exec"), {})
    assert len(capsys.readouterr().out.splitlines()) > 1
    assert (desk / "demo" / "python.mid").exists()


@pytest.mark.parametrize("page", HOW_TOS, ids=lambda page: page.stem)
def test_python_of_the_how_tos(desk: Path, page: Path) -> None:
    """The blocks of a page run one after the other in one namespace."""
    text = page.read_text(encoding="utf-8")
    if "my.npz" in text:
        collection(desk, "my.npz")
    namespace: dict[str, Any] = {"__name__": "how_to"}
    for block in re.findall(r"^ *```python\n(.*?)^ *```", text, re.DOTALL | re.MULTILINE):
        exec(compile(textwrap.dedent(block), page.name, "exec"), namespace)
    if page.stem == "add-a-command":
        assert get_command(namespace["app"])(["my.mid", "--json"], standalone_mode=False) is None


def test_the_map_names_what_there_is() -> None:
    (block,) = re.findall(r"```\narietta/\n((?:  .*\n)+)", README)
    named = {name.rstrip("/") for name in re.findall(r"^  (\S+)", block, re.MULTILINE)}
    there = {p.name for p in (ROOT / "arietta").iterdir() if not p.name.startswith("_")}
    assert named == there - {"py.typed"}
