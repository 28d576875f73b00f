"""``arietta data pairs``: scores and takes of them, aligned note by note."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from arietta.cli.console import ForceFlag, JsonFlag, ProgressLine, clock, emit, note, print_pairs
from arietta.errors import InputError

if TYPE_CHECKING:
    from arietta.data.pairs import Pair


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
    from arietta.data.pair_sources import given_pairs, is_given, own_pairs
    from arietta.data.pairs import write_pairs
    from arietta.notation.reader import NOTATION, read_score
    from arietta.output import check_output

    check_output(out, force=force)
    if not source.is_dir():
        raise InputError(f"{source}: no such folder")
    refused: list[dict[str, str]] = []
    segments = notes = matched = 0

    def refuse(name: str, reason: str) -> None:
        refused.append({"pair": name, "reason": reason})

    with ProgressLine(quiet=as_json) as progress:
        began = time.monotonic()
        found = (
            given_pairs(source, refuse)
            if is_given(source)
            else own_pairs(source, read_score, NOTATION, refuse)
        )

        def counted() -> Iterator[Pair]:
            nonlocal segments, notes, matched
            from arietta.data.pairs import label_of

            for number, pair in enumerate(found, start=1):
                progress.show(f"{number:,} pairs, {clock(time.monotonic() - began)}")
                if min(pair.match_score, pair.match_take) < min_match:
                    share = min(pair.match_score, pair.match_take)
                    refuse(pair.id, f"only {share:.0%} of the notes match")
                    continue
                if not (pair.stroke >= 0).any():
                    refuse(pair.id, "no note matches")
                    continue
                segments += len(label_of(pair).segments)
                notes += len(pair.score)
                matched += int((pair.stroke >= 0).sum())
                yield pair

        try:
            count = write_pairs(out, counted(), force=force)
        except InputError:
            if refused:
                raise InputError(
                    f"{source}: no pair to write; {refused[0]['pair']}: {refused[0]['reason']}"
                ) from None
            raise
    figures = {
        "pairs": count,
        "notes": notes,
        "matched": matched,
        "segments": segments,
        "refused": refused,
        "file": str(out),
    }
    if as_json:
        emit(figures)
        return
    for one in refused:
        note(f"left out: {one['pair']}: {one['reason']}")
    print_pairs(
        [
            ("pairs", f"{count:,}, {len(refused):,} left out"),
            ("score notes", f"{notes:,}, {matched / max(notes, 1):.1%} of them played"),
            ("for training", f"{segments:,} stretches without long gaps"),
            ("written", str(out)),
        ]
    )
