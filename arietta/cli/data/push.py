"""``arietta data push``: datasets -> the Hugging Face hub."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from arietta.cli.console import JsonFlag, emit, say
from arietta.cli.options import LicenceOption, PublicFlag, RepoArgument


def push(
    dataset: Annotated[Path, typer.Argument(metavar="DATASET", help="Folder of a dataset.")],
    repo: RepoArgument,
    licence: LicenceOption = None,
    public: PublicFlag = False,
    manifest: Annotated[
        bool,
        typer.Option(
            "--manifest", help="Also put manifest.parquet there, which holds paths of your files."
        ),
    ] = False,
    as_json: JsonFlag = False,
) -> None:
    """Put a dataset on the Hugging Face hub, with a card; `datasets.load_dataset` opens it there.

    Log in with `hf auth login` first, or set HF_TOKEN.

    \b
    Example:
      arietta data push dataset you/my-piano --licence CC-BY-4.0
    """
    from arietta.api.data import push as run

    place = run(dataset, repo, licence=licence, private=not public, manifest=manifest)
    if as_json:
        emit({"repository": place})
    else:
        say(place)
