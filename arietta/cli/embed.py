"""``arietta embed``: MIDI -> vectors, for searching, classifying, drawing."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from arietta.cli.console import ForceFlag, JsonFlag, ProgressLine, clock, emit, new_app, note, say
from arietta.cli.options import AnyProgramFlag, Precision, PrecisionOption
from arietta.errors import InputError, UsageError

if TYPE_CHECKING:
    from arietta.vectors.collection import Collection
    from arietta.vectors.embedding import Embedder

app = new_app()

ModelOption = Annotated[
    str | None,
    typer.Option(metavar="NAME|PATH", help="What embeds. [default: the shipped model for it]"),
]


FullFlag = Annotated[
    bool,
    typer.Option(
        "--full",
        help="Longer vectors, which tell classes better: also the mean and the deviation of what"
        " the model holds of each note. For distances the short ones are better.",
    ),
]


def open_embedder(
    model: str | None, precision: Precision = Precision.int8, *, full: bool = False
) -> Embedder:
    """The embedder that ``--model``, ``--precision`` and ``--full`` name."""
    from arietta.models.aria.checkpoint import load
    from arietta.vectors.embedding import Embedder, default_model

    return Embedder(load(model or default_model()), precision=precision.value, full=full)


@app.command()
def embed(
    files: Annotated[
        list[Path],
        typer.Argument(
            metavar="FILES|DIR…", help="MIDI files, folders, archives of them, or datasets."
        ),
    ],
    output: Annotated[
        Path, typer.Option("-o", "--output", metavar="OUT.npz", help="File of vectors to write.")
    ],
    model: ModelOption = None,
    chunks: Annotated[
        bool, typer.Option("--chunks", help="Also the vector of every chunk (300 notes or fewer).")
    ] = False,
    full: FullFlag = False,
    transposed: Annotated[
        int,
        typer.Option(
            metavar="SEMITONES",
            min=0,
            max=12,
            help="Also each piece in another register, at random up to so far away: vectors to"
            " train `small-conditioned` with.",
        ),
    ] = 0,
    update: Annotated[
        Path | None,
        typer.Option(
            metavar="OLD.npz", help="Take what did not change from here; may be OUT.npz itself."
        ),
    ] = None,
    any_program: AnyProgramFlag = False,
    precision: PrecisionOption = Precision.int8,
    force: ForceFlag = False,
    as_json: JsonFlag = False,
) -> None:
    """A vector for every piece: near each other where pieces are alike.

    OUT.npz holds embeddings (n, d) float32, paths (n,), and what is known of each piece. Files that
    cannot be read, or are not for piano, are named and left out. A run that was stopped goes on
    where it was when the same command is given again.

    \b
    Examples:
      arietta embed my-midi -o my.npz
      arietta embed my.mid another.mid -o two.npz --chunks
      arietta embed my-midi -o newer.npz --update my.npz
    """
    from arietta.output import check_output
    from arietta.vectors.collection import Collection, about, build

    if output.suffix.lower() != ".npz":
        raise UsageError(f"-o {output}: vectors are written as .npz")
    if update is None or update.resolve() != output.resolve():
        check_output(output, force=force)
    embedder = open_embedder(model, precision, full=full)
    known = {}
    if update is not None:
        old = Collection.load(update)
        if old.about != about(embedder, None):
            raise UsageError(
                f"--update {update}: made by {old.about.get('model')} or in another way; its"
                " vectors cannot stand beside new ones"
            )
        # Without its chunks an old row could not give them.
        if not chunks or all(len(e.embedding.chunks.vectors) for e in old.entries.values()):
            known = old.by_content()
    journal = output.with_name(f".{output.name}.part.npz")
    refused: list[dict[str, str]] = []

    def refuse(path: str, error: InputError) -> None:
        refused.append({"file": path, "reason": str(error)})
        if not as_json:
            note(f"left out: {error}")

    began = time.monotonic()
    resumed = journal.is_file()
    try:
        with ProgressLine(quiet=as_json) as progress:
            collection = build(
                files,
                embedder,
                journal=journal,
                any_program=any_program,
                transposed=transposed,
                known=known,
                refused=refuse,
                report=lambda so_far, tokens: progress.show(
                    f"{len(so_far):,} pieces, {_rate(len(so_far), began)} pieces/s,"
                    f" {clock(time.monotonic() - began)}"
                ),
            )
    except (KeyboardInterrupt, MemoryError):
        if journal.is_file():
            note("what is done is kept; the same command goes on from there")
        raise
    if not len(collection):
        journal.unlink(missing_ok=True)
        raise InputError(f"{files[0]}: nothing to embed: {len(refused)} files, none can be used")
    same = update is not None and update.resolve() == output.resolve()
    collection.save(output, force=force or same, chunks=chunks)
    journal.unlink(missing_ok=True)
    seconds = time.monotonic() - began
    if as_json:
        emit(_summary(collection, output, refused, seconds))
        return
    again = " (went on from a run that was stopped)" if resumed else ""
    say(
        f"{output}: {len(collection):,} pieces, {collection.about['size']} numbers each, by"
        f" {collection.about['model']}, in {clock(seconds)}{again}"
    )
    if refused:
        say(f"{len(refused):,} files left out")


def _rate(count: int, began: float) -> str:
    return f"{count / max(time.monotonic() - began, 1e-9):.1f}"


def _summary(
    collection: Collection, output: Path, refused: list[dict[str, str]], seconds: float
) -> dict[str, Any]:
    return {
        "output": str(output),
        "pieces": len(collection),
        **collection.about,
        "refused": refused,
        "seconds": round(seconds, 3),
    }
