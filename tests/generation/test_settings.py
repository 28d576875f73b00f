"""One declaration for each parameter: what follows from a field."""

from __future__ import annotations

import ast
import inspect
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any, get_args

import pytest
import typer
from typer.testing import CliRunner

from arietta.api import Model, generate
from arietta.cli.options import Group, with_groups
from arietta.errors import UsageError
from arietta.generation.settings import (
    DEFAULT_PRESET,
    PRESETS,
    GenerateOptions,
    Request,
    SamplingSettings,
    Steering,
    settings_from,
)
from arietta.midi.seam import SeamMode
from arietta.settings import parameter, parameters_of, values_of, with_keywords

PACKAGE = Path(__file__).resolve().parents[2] / "arietta"


def test_the_defaults_are_the_default_preset() -> None:
    assert SamplingSettings() == PRESETS[DEFAULT_PRESET] == settings_from()


def test_keywords_and_their_types_follow_from_the_groups() -> None:
    declared = {f.name for group in (Request, SamplingSettings, Steering) for f in fields(group)}
    counts = {"variations", "first_variation"}
    assert set(GenerateOptions.__annotations__) == declared - counts
    for function in (Model.generate, Model.generate_many, Model.stream, generate):
        shown = inspect.signature(function).parameters
        assert declared - counts <= set(shown)
        assert shown["temperature"].default == SamplingSettings().temperature
        assert inspect.Parameter.VAR_KEYWORD not in {one.kind for one in shown.values()}


def test_choices_are_those_of_the_types() -> None:
    known = parameters_of(Request)
    assert known["seam"][1].choices == get_args(SeamMode)


@dataclass(frozen=True)
class MoreSettings(SamplingSettings):
    swing: float = parameter(0.5, "{range}: how long the first eighth is.", low=0, high=1)
    lazy: bool = parameter(True, "Do not be lazy.", negative=True)


def test_a_new_control_is_one_field() -> None:
    """Option, help, range, keyword and provenance come with the field."""
    with pytest.raises(UsageError, match="`swing` must lie between 0 and 1, not 2"):
        MoreSettings(swing=2)
    assert values_of(MoreSettings())["swing"] == MoreSettings().to_dict()["swing"] == 0.5

    @with_keywords(MoreSettings)
    def library(**options: Any) -> None: ...

    assert inspect.signature(library).parameters["swing"].default == 0.5
    seen: list[dict[str, Any]] = []
    app = typer.Typer()

    @app.command()
    @with_groups
    def command(settings: Annotated[dict[str, Any], Group(MoreSettings, unset=None)]) -> None:
        seen.append(settings)

    runner = CliRunner()
    text = runner.invoke(app, ["--help"], env={"COLUMNS": "200"}).output
    assert "--swing" in text and "0..1: how long the first eighth is." in text
    assert "--no-lazy" in text
    assert runner.invoke(app, ["--swing", "0.7", "--no-lazy"]).exit_code == 0
    assert runner.invoke(app, []).exit_code == 0
    assert seen == [{"swing": 0.7, "lazy": False}, {}]


def test_a_sampling_control_has_two_files() -> None:
    """No other file of the generation path names one; a new control changes no more of them."""
    expected = {"generation/settings.py", "generation/sampling.py"}
    paths = [*PACKAGE.glob("generation/*.py"), *PACKAGE.glob("api/*.py")]
    paths.remove(PACKAGE / "api" / "rendering.py")  # how notes of a score are drawn is another's
    paths += [PACKAGE / "cli" / name for name in ("generate.py", "options.py", "flags.py")]
    for control in ("min_p", "top_p"):
        naming = set()
        for path in paths:
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                names = {getattr(node, key, None) for key in ("id", "attr", "arg", "value")}
                if control in {name for name in names if isinstance(name, str)}:
                    naming.add(path.relative_to(PACKAGE).as_posix())
        assert naming <= expected, control
