"""``arietta map``: a picture of a collection, to look at and to listen to."""

from __future__ import annotations

import time
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from arietta.cli.console import ForceFlag, JsonFlag, ProgressLine, clock, emit, new_app, note, say
from arietta.cli.embed import ModelOption, open_embedder
from arietta.cli.options import AnyProgramFlag
from arietta.errors import InputError, UsageError

if TYPE_CHECKING:
    from arietta.midi.piece import Piece

app = new_app()


@app.command(name="map")
def draw_map(
    files: Annotated[
        list[Path],
        typer.Argument(
            metavar="DIR|FILES…",
            help="MIDI files, folders, archives or datasets; or one .npz of `arietta embed`.",
        ),
    ],
    output: Annotated[
        Path, typer.Option("-o", "--output", metavar="MAP.html", help="Page to write.")
    ] = Path("map.html"),
    png: Annotated[
        bool, typer.Option("--png/--no-png", help="Also write the picture beside the page.")
    ] = True,
    colour: Annotated[
        str | None,
        typer.Option(
            metavar="COLUMN",
            help="Colour by this column of the metadata at first; the page can change it.",
        ),
    ] = None,
    seconds: Annotated[
        float,
        typer.Option(metavar="SECONDS", min=0, help="How much of each piece the page plays."),
    ] = 30.0,
    seed: Annotated[int, typer.Option(metavar="N", min=0, help="Of the layout.")] = 0,
    model: ModelOption = None,
    any_program: AnyProgramFlag = False,
    force: ForceFlag = False,
    as_json: JsonFlag = False,
) -> None:
    """Lay a collection out on a plane, like pieces together, as a page and a picture.

    The page is one file and needs no network: point at a dot for its title, click to hear the piece
    and see its roll, choose a column to colour by. Columns come from metadata.csv or metadata.json
    in the folder, and from the folders' names.

    \b
    Examples:
      arietta map my-midi -o map.html
      arietta map my.npz -o map.html --colour minutes --no-png
    """
    from arietta.output import check_output, whole_file
    from arietta.vectors.collection import Collection, build, music_items, read_item
    from arietta.vectors.map import columns, layout, page, picture, preferred, starts_of

    if output.suffix.lower() not in (".html", ".htm"):
        raise UsageError(f"-o {output}: the page is written as .html")
    image = output.with_suffix(".png")
    if png and find_spec("matplotlib") is None:
        note("no picture: it needs an extra: pip install 'arietta[plot]'")
        png = False
    for target in [output, image][: 1 + png]:
        check_output(target, force=force)
    began = time.monotonic()
    refused: list[dict[str, str]] = []

    def refuse(path: str, error: InputError) -> None:
        refused.append({"file": path, "reason": str(error)})
        if not as_json:
            note(f"left out: {error}")

    with ProgressLine(quiet=as_json) as progress:
        if [path.suffix.lower() for path in files] == [".npz"]:
            collection = Collection.load(files[0])
            starts = starts_of(collection, _again, seconds)
        else:
            collection = build(
                files,
                open_embedder(model),
                any_program=any_program,
                refused=refuse,
                report=lambda so_far, tokens: progress.show(
                    f"{len(so_far):,} pieces, {clock(time.monotonic() - began)}"
                ),
            )
            # Read once more: the music of a big collection does not stay in memory.
            starts = {}
            for item in music_items(files) if seconds else ():
                if item.id in collection.entries:
                    starts |= starts_of(
                        Collection({}, {item.id: collection.entries[item.id]}),
                        lambda _, item=item: read_item(item)[0],  # type: ignore[misc]
                        seconds,
                    )
        if not len(collection):
            raise InputError(f"{files[0]}: no piece to draw")
        table = columns(list(collection.entries.values()))
        if colour is not None and colour not in table:
            raise UsageError(f"--colour {colour!r} is none of {', '.join(table)}")
        progress.show("laying out")
        places = layout(collection, seed)
    title = f"{files[0].resolve().stem}: a map of its music"
    text = page(collection, places, starts, title=title, colour=colour)
    with whole_file(output, force=force) as part:
        part.write_text(text, encoding="utf-8")
    written = [str(output)]
    if png:
        with whole_file(image, force=force) as part:
            picture(part, collection, places, title=title, colour=colour)
        written.append(str(image))
    if as_json:
        emit(
            {
                "written": written,
                "pieces": len(collection),
                "colour": preferred(table, colour),
                "columns": list(table),
                "model": collection.about.get("model"),
                "refused": refused,
            }
        )
        return
    say(f"{', '.join(written)}: {len(collection):,} pieces in {clock(time.monotonic() - began)}")


def _again(path: str) -> Piece | None:
    """A piece by the path that an .npz gives, if it still lies there."""
    from arietta.midi.reader import read

    try:
        return read(path)
    except InputError:
        return None
