"""``arietta data pairs``: scores and takes of them, aligned note by note."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from arietta.cli.console import ForceFlag, JsonFlag, ProgressLine, clock, emit, note, print_pairs


def pairs(
    source: Annotated[
        Path,
        typer.Argument(
            metavar="FOLDER",
            help="A folder for each piece with its score and takes; or alignments in the form of"
            " asap-pairs, with the archives they name.",
        ),
    ],
    out: Annotated[Path, typer.Option("-o", "--out", metavar="FILE", help="Parquet file to make.")],
    min_match: Annotated[
        float,
        typer.Option(
            metavar="SHARE",
            min=0,
            max=1,
            help="Leave out pairs of which fewer notes match; 0 keeps all, readers choose then.",
        ),
    ] = 0.0,
    force: ForceFlag = False,
    as_json: JsonFlag = False,
) -> None:
    """Pair takes with their scores, for training and judging renderers.

    In a folder of your own each piece has a folder: one score (MusicXML, MEI, kern, or a MIDI file
    with "score" in its name) and any number of takes as MIDI. They are aligned here, which needs
    the extra arietta[align]. Files that cannot be used are named and left out.

    \b
    Examples:
      arietta data pairs my-takes -o pairs.parquet
      arietta evaluate rendering pairs.parquet
    """
    from arietta.api.data import pairs as run

    with ProgressLine(quiet=as_json) as progress:
        done = run(
            source,
            out,
            min_match=min_match,
            force=force,
            report=lambda count, seconds: progress.show(f"{count:,} pairs, {clock(seconds)}"),
        )
    if as_json:
        emit(done.to_dict())
        return
    for one in done.refused:
        note(f"left out: {one['pair']}: {one['reason']}")
    for one in done.twins:
        note(f"{one['score']} is the music of the test piece {one['test_piece']}: not learned from")
    print_pairs(
        [
            ("pairs", f"{done.pairs:,}, {len(done.refused):,} left out"),
            (
                "score notes",
                f"{done.notes:,}, {done.matched / max(done.notes, 1):.1%} of them played",
            ),
            ("for training", f"{done.segments:,} stretches without long gaps"),
            ("written", str(out)),
        ]
    )
