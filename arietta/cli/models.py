"""``arietta models``: list, inspect, fetch, convert and share checkpoints."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from arietta.cli.console import (
    ForceFlag,
    JsonFlag,
    emit,
    new_app,
    note,
    print_pairs,
    print_table,
    say,
)
from arietta.cli.options import LicenceOption, PublicFlag, RepoArgument

app = new_app()

NameArgument = Annotated[
    str,
    typer.Argument(metavar="NAME", help="A name from `arietta models list`, a file or a folder."),
]


class Form(StrEnum):
    """Choices of ``--to``."""

    arietta = "arietta"
    public = "public"


class Stored(StrEnum):
    """Choices of ``--stored``."""

    float32 = "float32"
    bfloat16 = "bfloat16"
    float16 = "float16"
    int8 = "int8"


@app.callback(invoke_without_command=True)
def models(context: typer.Context) -> None:
    """List, inspect, fetch, convert and share models; without a command, list them.

    \b
    Examples:
      arietta models list
      arietta models info small
      arietta models pull loubb/aria-medium-gen
      arietta models convert model.safetensors --name mine
    """
    if context.invoked_subcommand is None:
        list_(as_json=False)


@app.command("list")
def list_(as_json: JsonFlag = False) -> None:
    """List the models known by name: shipped, added on this machine, on the hub.

    \b
    Example:
      arietta models list
    """
    from arietta.checkpoints.registry import listing

    rows = listing()
    if as_json:
        emit(rows)
        return
    cells = [
        [
            row["name"],
            row["kind"] or "-",
            f"{row['parameters'] / 1e6:.0f} M" if row["parameters"] else "-",
            "here"
            if row["installed"]
            else "to be fetched"
            if row["source"] == "hub"
            else "missing",
            row["licence"],
            row["summary"],
        ]
        for row in rows
    ]
    print_table(["name", "kind", "size", "where", "licence", "what it is"], cells)


@app.command("info")
def info(name: NameArgument, as_json: JsonFlag = False) -> None:
    """Show one model: kind, size, licence, hash, architecture, measured figures.

    \b
    Example:
      arietta models info small
    """
    from arietta.models.load import describe

    facts = describe(name)
    if as_json:
        emit(facts)
    else:
        print_pairs((key, _text(value)) for key, value in facts.items())


@app.command("pull")
def pull(name: NameArgument, as_json: JsonFlag = False) -> None:
    """Fetch a model from the Hugging Face hub.

    The file is kept in the hub's own cache, so that other programs share it.

    \b
    Example:
      arietta models pull loubb/aria-medium-gen
    """
    from arietta.checkpoints.registry import pull as fetch

    path = fetch(name)
    if as_json:
        emit({"name": name, "path": str(path)})
    else:
        say(f"{name}: {path}")


@app.command("convert")
def convert(
    source: NameArgument,
    output: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--output",
            metavar="OUT",
            help="Folder, or .safetensors file with --to public. [default: kept under --name for"
            " use by that name]",
        ),
    ] = None,
    name: Annotated[
        str | None, typer.Option(metavar="NAME", help="What to call it. [default: the file's name]")
    ] = None,
    to: Annotated[
        Form,
        typer.Option(
            metavar="FORM", help="arietta: a folder with card and settings; public: one file."
        ),
    ] = Form.arietta,
    stored: Annotated[
        Stored | None,
        typer.Option(
            metavar="TYPE",
            help="float32, bfloat16, float16 or int8 (arietta form only). [default: as it is]",
        ),
    ] = None,
    force: ForceFlag = False,
    as_json: JsonFlag = False,
) -> None:
    """Convert a checkpoint between the public single file and our folder; every tensor is checked.

    \b
    Examples:
      arietta models convert aria.safetensors --name mine --stored int8
      arietta models convert mine -o mine.safetensors --to public
    """
    from arietta.models.load import convert as convert_checkpoint

    if to is Form.public and stored is Stored.int8:
        note("the public form has no int8; float32 is written")
    path = convert_checkpoint(
        source,
        output,
        to=to.value,
        stored=stored.value if stored else None,
        name=name,
        force=force,
    )
    if as_json:
        emit({"output": str(path)})
    else:
        say(str(path))


@app.command("push")
def push(
    model: NameArgument,
    repo: RepoArgument,
    licence: LicenceOption = None,
    public: PublicFlag = False,
    as_json: JsonFlag = False,
) -> None:
    """Put a model on the Hugging Face hub: weights, settings and card.

    Log in with `hf auth login` first, or set HF_TOKEN.

    \b
    Example:
      arietta models push my-model/model you/my-model --licence CC-BY-4.0
    """
    from arietta.models.card import push_model

    place = push_model(model, repo, licence=licence, private=not public)
    if as_json:
        emit({"repository": place})
    else:
        say(place)


@app.command("join")
def join(
    models: Annotated[
        list[Path], typer.Argument(metavar="MODEL MODEL…", help="Folders of rendering models.")
    ],
    output: Annotated[Path, typer.Option("-o", "--output", metavar="OUT", help="Folder to write.")],
    stored: Annotated[
        Stored, typer.Option(metavar="TYPE", help="float32, bfloat16, float16 or int8.")
    ] = Stored.float32,
    as_json: JsonFlag = False,
) -> None:
    """Several small rendering models into one that answers with the mean of their answers.

    \b
    Example:
      arietta models join run-1/model run-2/model -o performer
    """
    from arietta.models.performer.checkpoint import join as join_models

    path = join_models(models, output, name=output.name, stored=stored.value)
    if as_json:
        emit({"output": str(path)})
    else:
        say(str(path))


def _text(value: Any) -> str:
    if isinstance(value, dict):
        return "\n".join(f"{k}: {v}" for k, v in value.items())
    if isinstance(value, list):
        return "\n".join(str(v) for v in value)
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return str(value)
