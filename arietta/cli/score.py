"""``arietta score``: how surprising each note of a file is, and which are likely wrong."""

from __future__ import annotations

import csv
import json
import time
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from arietta.cli.console import (
    ForceFlag,
    JsonFlag,
    ProgressLine,
    clock,
    emit,
    new_app,
    note,
    print_table,
    say,
    with_notices,
)
from arietta.errors import UsageError

if TYPE_CHECKING:
    from arietta.midi.piece import Piece

app = new_app()

SUFFIXES = (".json", ".csv", ".png")
_NAMES = ("C", "C♯", "D", "E♭", "E", "F", "F♯", "G", "A♭", "A", "B♭", "B")


class Order(StrEnum):
    """Choices of ``--by``."""

    suspicion = "suspicion"
    bits = "bits"


@app.command()
def score(
    file: Annotated[Path, typer.Argument(metavar="FILE.mid", help="Solo-piano MIDI file.")],
    output: Annotated[
        list[Path] | None,
        typer.Option(
            "-o",
            "--output",
            metavar="OUT",
            help="Write every note as .json or .csv, or a piano roll as .png; may be repeated.",
        ),
    ] = None,
    top: Annotated[
        int, typer.Option(metavar="N", min=0, help="How many notes to list and to ring.")
    ] = 10,
    by: Annotated[
        Order | None,
        typer.Option(
            metavar="ORDER",
            help="List the likely wrong notes (suspicion) or simply the most surprising (bits)."
            " [default: suspicion, with --quick bits]",
        ),
    ] = None,
    quick: Annotated[
        bool,
        typer.Option("--quick", help="Bits alone, no suspicion; about eight times as fast."),
    ] = False,
    model: Annotated[
        str, typer.Option(metavar="NAME|PATH", help="Who is to be surprised.")
    ] = "small",
    force: ForceFlag = False,
    as_json: JsonFlag = False,
) -> None:
    """How surprising each note is, in bits, and which notes are likely wrong.

    Bits say how little the model expected a note's pitch, velocity, onset and duration, given all
    the music before it. Suspicion is the probability that a note is wrong, from those bits and from
    how the music goes on: a help to proof-read a transcription, not a verdict. In the picture notes
    last as long as their key is down, and the listed ones are ringed.

    \b
    Examples:
      arietta score transcription.mid
      arietta score transcription.mid -o roll.png -o notes.csv --top 20
    """
    import numpy as np

    from arietta.data.token_grid import grid_of
    from arietta.evaluation.error_detector import KINDS, find_errors
    from arietta.evaluation.surprise import surprise
    from arietta.midi.reader import read
    from arietta.models.aria.checkpoint import load
    from arietta.models.executors import open_backend
    from arietta.output import check_output, whole_file
    from arietta.tokenizers.encoding import select_voices
    from arietta.tokenizers.open import tokenizer_named
    from arietta.tokenizers.vocabulary import vocabulary

    if quick and by is Order.suspicion:
        raise UsageError("--by suspicion needs more than --quick finds out; leave one of them out")
    targets = list(dict.fromkeys(output or []))
    for target in targets:
        if target.suffix.lower() not in SUFFIXES:
            raise UsageError(f"-o {target}: its suffix is none of {', '.join(SUFFIXES)}")
        check_output(target, force=force)
        if target.suffix.lower() == ".png":
            _need_plot()
    checkpoint = load(model)
    checkpoint.require("lm", "conditioned")
    piece = with_notices(read(file))
    notes = grid_of(piece).columns()
    # The same notes in the same order, as the keys went down and up.
    keys = select_voices(piece, vocabulary("piano")).piece
    assert len(keys) == len(notes.pitch)
    began = time.monotonic()
    with ProgressLine(quiet=as_json) as progress:

        def report(done: int, total: int) -> None:
            left = (time.monotonic() - began) / max(done, 1) * (total - done)
            progress.show(f"{done:,} of {total:,} notes, {clock(left)} left")

        found = surprise(
            notes,
            open_backend(checkpoint),
            tokenizer_named(checkpoint.tokenizer),
            removal=not quick,
            report=report,
        )
    bits = found.total
    rows: dict[str, Any] = {
        "onset_s": np.round(keys.onset_ms / 1000, 3),
        "duration_s": np.round(keys.duration_ms / 1000, 3),
        "pitch": keys.notes.pitch,
        "velocity": keys.notes.velocity,
        "bits": np.round(bits, 2),
        **{
            f"{name}_bits": np.round(getattr(found, name), 2)
            for name in ("pitch", "velocity", "onset", "duration", "time")
        },
    }
    ranked_by = bits
    if not quick:
        judged = find_errors(notes, found)
        rows["suspicion"] = np.round(judged.probability, 4)
        rows["looks_like"] = np.array(KINDS)[judged.kind]
        if by is not Order.bits:
            ranked_by = judged.probability
    marked = np.argsort(-ranked_by, kind="stable")[:top].tolist()
    table = {name: column.tolist() for name, column in rows.items()}
    listed = [{"note": i, **{name: table[name][i] for name in table}} for i in range(len(bits))]
    summary = {
        "file": str(file),
        "model": checkpoint.name,
        "model_sha256": checkpoint.sha256,
        "notes": len(bits),
        "bits_per_note": round(float(bits.mean()), 3),
        "top": [listed[i] for i in marked],
    }
    for target in targets:
        with whole_file(target, force=force) as part:
            if target.suffix.lower() == ".json":
                whole = {**summary, "notes": listed}
                part.write_text(json.dumps(whole, ensure_ascii=False) + "\n", encoding="utf-8")
            elif target.suffix.lower() == ".csv":
                with part.open("w", encoding="utf-8", newline="") as handle:
                    writer = csv.DictWriter(handle, fieldnames=list(listed[0]))
                    writer.writeheader()
                    writer.writerows(listed)
            else:
                what = "most surprising" if ranked_by is bits else "likeliest to be wrong"
                _draw(part, keys, bits, file, checkpoint.name, marked, what)
    if as_json:
        emit(summary)
        return
    say(
        f"{file}: {len(bits):,} notes, {bits.mean():.1f} bits a note in the ears of"
        f" {checkpoint.name}"
    )
    if marked:
        _print([listed[i] for i in marked])
    for target in targets:
        note(f"wrote {target}")


def _need_plot() -> None:
    """Refuse a picture before the work, not after it."""
    from importlib.util import find_spec

    from arietta.errors import MissingExtraError

    if find_spec("matplotlib") is None:
        raise MissingExtraError("drawing", "plot")


def _draw(
    path: Path,
    keys: Piece,
    bits: Any,
    file: Path,
    name: str,
    marked: Sequence[int],
    what: str,
) -> None:
    from arietta.evaluation.pictures import draw_notes

    draw_notes(
        path,
        keys,
        bits,
        title=f"{file.name}: how surprising each note is to {name}",
        label="surprise, bits",
        marked=marked,
        caption="Bars last while the key is down."
        + (f" Ringed: the {len(marked)} notes {what}, in order." if marked else ""),
    )


def _print(rows: Sequence[dict[str, Any]]) -> None:
    """The listed notes, and what of each is surprising."""
    judged = "suspicion" in rows[0]
    head = ["", "time", "note", "velocity", "bits", "of which"]
    lines = []
    for rank, row in enumerate(rows, start=1):
        minutes, seconds = divmod(row["onset_s"], 60)
        parts = sorted(
            ((row[f"{name}_bits"], name) for name in ("pitch", "velocity", "onset", "duration")),
            reverse=True,
        )
        line = [
            str(rank),
            f"{int(minutes)}:{seconds:06.3f}",
            f"{_NAMES[row['pitch'] % 12]}{row['pitch'] // 12 - 1}",
            str(row["velocity"]),
            f"{row['bits']:.1f}",
            ", ".join(f"{name} {value:.1f}" for value, name in parts[:2]),
        ]
        if judged:
            line += [f"{row['suspicion']:.0%}", row["looks_like"]]
        lines.append(line)
    print_table(head + ["suspicion", "looks like"] * judged, lines)
