"""``arietta search``: pieces that are like one you have, and where in them."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from arietta.cli.console import JsonFlag, emit, new_app, print_table, say

app = new_app()


class By(StrEnum):
    """Choices of ``--by``."""

    piece = "piece"
    passage = "passage"
    notes = "notes"


@app.command()
def search(
    query: Annotated[Path, typer.Argument(metavar="QUERY.mid", help="A piece, or a part of one.")],
    where: Annotated[str, typer.Option("--in", metavar="INDEX", help="What `arietta index` made.")],
    count: Annotated[int, typer.Option("-n", "--count", metavar="N", min=1)] = 10,
    by: Annotated[
        By | None,
        typer.Option(
            metavar="WHAT",
            help="piece: what is alike as a whole. passage: what holds passages like the query's."
            " notes: the same work, in any key and however played."
            " [default: passage for queries under 45 s, else piece]",
        ),
    ] = None,
    itself: Annotated[
        bool, typer.Option("--itself", help="List the query's own file as well.")
    ] = False,
    as_json: JsonFlag = False,
) -> None:
    """Find music that is like a file.

    By piece or passage the model compares: it finds the same style. By notes the keys struck are
    compared, in every transposition: that finds the same work. Beside each piece stand the passages
    that are most alike: where in it, and where in the query.

    \b
    Examples:
      arietta search my.mid --in my-index
      arietta search my.mid --in my-index --by passage -n 3 --json
      arietta search my.mid --in my-index --by notes
    """
    from arietta.api.vectors import search as run

    done = run(query, where, count=count, by=None if by is None else by.value, itself=itself)
    if as_json:
        emit(done.to_dict())
        return
    rows = []
    for rank, hit in enumerate(done.hits, start=1):
        row = [str(rank), f"{hit.score:.3f}", hit.metadata.get("title", ""), _clock(hit.seconds)]
        if hit.match is not None:
            row += [
                _span(hit.match.start_ms, hit.match.end_ms),
                _span(hit.match.query_start_ms, hit.match.query_end_ms),
            ]
        row = [*row, "", ""][:6]
        if done.sense == "notes":
            row.append(f"{hit.semitones:+d}" if hit.semitones else "")
        rows.append([*row, hit.path])
    if not rows:
        say("nothing found: the index holds no other piece")
        return
    head = ["", "likeness", "title", "length", "like there", "as here"]
    print_table([*head, *(["semitones"] if done.sense == "notes" else []), "path"], rows)


def _clock(seconds: float) -> str:
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"


def _span(start_ms: float, end_ms: float) -> str:
    return f"{_clock(start_ms / 1000)}–{_clock(end_ms / 1000)}"
