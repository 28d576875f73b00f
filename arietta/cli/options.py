"""Options that several commands share."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from arietta.settings import parameters_of, type_of


class Precision(StrEnum):
    """Choices of ``--precision``."""

    int8 = "int8"
    int4 = "int4"
    f32 = "f32"


class Device(StrEnum):
    """Choices of ``--device``."""

    cpu = "cpu"
    cuda = "cuda"
    mps = "mps"


PrecisionOption = Annotated[
    Precision,
    typer.Option(metavar="TYPE", help="Of the weights: int8, int4 (smaller, faster) or f32."),
]
DeviceOption = Annotated[
    Device, typer.Option(metavar="NAME", help="cpu; or cuda or mps, which need arietta[gpu].")
]
ThreadsOption = Annotated[
    int | None, typer.Option(metavar="N", min=1, help="Processor threads. [default: all cores]")
]
AnyProgramFlag = Annotated[
    bool, typer.Option("--any-program", help="Take every instrument but drums as a piano.")
]
WavFlag = Annotated[bool, typer.Option("--wav", help="Write the sound beside each file.")]

FiguresOption = Annotated[
    Path | None,
    typer.Option("-o", "--output", metavar="FILE", help="Write the figures as JSON."),
]
PerPieceOption = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="Also write a row for each piece: .parquet or .csv."),
]
RepoArgument = Annotated[
    str,
    typer.Argument(metavar="OWNER/NAME", help="Repository on the hub; made where it is missing."),
]
LicenceOption = Annotated[
    str | None,
    typer.Option(metavar="TEXT", help="Terms, where the files do not tell them; needed then."),
]
PublicFlag = Annotated[
    bool, typer.Option("--public", help="Let everybody see a new repository. [default: private]")
]


def choices_of(name: str, choices: Iterable[str]) -> Any:
    """Return the enumeration that the option parser takes for a choice of texts."""
    return StrEnum(name, {choice: choice for choice in choices})


@dataclass(frozen=True)
class Group:
    """Marks an argument of a command that stands for the options of a group of parameters.

    The command gets a dictionary of the values that were given, by the names of the parameters.

    Attributes:
        parameters: frozen dataclass; see ``arietta.settings``.
        first: parameters whose options come first in the help.
        only: the parameters that have options; all with a help text by default.
        unset: parameters whose option has no default of its own; None for all.
    """

    parameters: type[Any]
    first: tuple[str, ...] = ()
    only: tuple[str, ...] = ()
    unset: tuple[str, ...] | None = ()


def with_groups(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options of its ``Group`` arguments."""
    signature = inspect.signature(command, eval_str=True)
    options: list[inspect.Parameter] = []
    groups: dict[str, dict[str, tuple[str, bool]]] = {}
    for argument in signature.parameters.values():
        marks = [m for m in getattr(argument.annotation, "__metadata__", ()) if type(m) is Group]
        if not marks:
            options.append(argument.replace(kind=inspect.Parameter.KEYWORD_ONLY))
            continue
        groups[argument.name] = {}
        for name, option in _options_of(marks[0]):
            options.append(option)
            negative = parameters_of(marks[0].parameters)[name][1].negative
            groups[argument.name][option.name] = (name, negative)

    @functools.wraps(command)
    def run(**values: Any) -> None:
        for argument, names in groups.items():
            given: dict[str, Any] = {}
            for option, (name, negative) in names.items():
                value = values.pop(option)
                if value is None or (negative and not value):
                    continue
                value = value.value if isinstance(value, StrEnum) else value
                given[name] = False if negative else tuple(value) if type(value) is list else value
            values[argument] = given
        command(**values)

    run.__signature__ = inspect.Signature(options)  # type: ignore[attr-defined]
    run.__annotations__ = {option.name: option.annotation for option in options}
    return run


def _options_of(group: Group) -> Iterator[tuple[str, inspect.Parameter]]:
    """Give every option of a group with the name of its parameter."""
    known = parameters_of(group.parameters)
    for name in dict.fromkeys((*group.first, *known)):
        declared, about = known[name]
        if not about.help or (group.only and name not in group.only):
            continue
        kind: Any = type_of(group.parameters, name)
        default: Any = declared.default
        option = f"no_{name}" if about.negative else name
        if about.negative:
            kind, default = bool, False
        elif about.several:
            kind, default = list[str] | None, None
        else:
            if about.choices:
                kind = choices_of(name, about.choices)
                default = None if default is None else kind(default)
            if group.unset is None or name in group.unset:
                default = None
            if default is None:
                kind = kind | None
        flag = f"--{option.replace('_', '-')}"
        if kind == bool | None and declared.default is True:
            flag += f"/--no-{option.replace('_', '-')}"
        info = typer.Option(
            flag,
            metavar=about.metavar,
            help=about.text(declared.default),
        )
        yield (
            name,
            inspect.Parameter(
                option,
                inspect.Parameter.KEYWORD_ONLY,
                default=default,
                annotation=Annotated[kind, info],
            ),
        )
