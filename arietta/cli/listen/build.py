"""``arietta listen build``: pairs of files -> one page that works from disk."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from arietta.cli.console import (
    ForceFlag,
    JsonFlag,
    ProgressLine,
    clock,
    emit,
    print_pairs,
    print_table,
    say,
)
from arietta.errors import InputError


class Form(StrEnum):
    """What is made."""

    page = "page"
    mirex = "mirex"


class Sound(StrEnum):
    """How sound is stored in the page."""

    mp3 = "mp3"
    flac = "flac"


def build(
    pairs: Annotated[
        Path,
        typer.Argument(
            metavar="PAIRS.csv",
            help="Table with the columns item, system_a, a, system_b, b: what is played or"
            " continued, and two files of it (MIDI or audio) with the names of who plays.",
        ),
    ],
    output: Annotated[
        Path, typer.Option("-o", "--output", metavar="FOLDER", help="Folder to make.")
    ],
    human: Annotated[
        str, typer.Option(metavar="NAME", help="System of the human takes.")
    ] = "human",
    floor: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="System that is bad on purpose. Where no pair has it, it is made: human notes with"
            " the times between them in random order.",
        ),
    ] = "floor",
    seconds: Annotated[
        float, typer.Option(metavar="S", help="How much of each file is heard.")
    ] = 60.0,
    seed: Annotated[
        int, typer.Option(metavar="N", min=0, help="Decides ids, sides and orders.")
    ] = 0,
    forms: Annotated[
        int,
        typer.Option(metavar="N", help="Orders of the pairs, even: every side and place as often."),
    ] = 8,
    identical: Annotated[int, typer.Option(metavar="N", help="Pairs of a clip with itself.")] = 2,
    repeats: Annotated[int, typer.Option(metavar="N", help="Pairs that are played again.")] = 2,
    listeners: Annotated[
        int, typer.Option(metavar="N", help="How many you expect, to see what they can show.")
    ] = 20,
    sound: Annotated[
        Sound,
        typer.Option(help="mp3 at its best variable rate, or flac, lossless and twice as big."),
    ] = Sound.mp3,
    title: Annotated[
        str | None, typer.Option(metavar="TEXT", help="Heading of the first page.")
    ] = None,
    question: Annotated[
        str | None, typer.Option(metavar="TEXT", help="What is asked of every pair.")
    ] = None,
    consent: Annotated[
        Path | None,
        typer.Option(metavar="FILE.txt", help="What a listener agrees to, instead of our text."),
    ] = None,
    least_seconds: Annotated[
        float, typer.Option(metavar="S", help="Of each clip, before an answer can be given.")
    ] = 5.0,
    no_headphones: Annotated[
        bool, typer.Option("--no-headphones", help="Leave the headphone check out.")
    ] = False,
    format: Annotated[
        Form,
        typer.Option(
            help="mirex: no page, but prompts and continuations as JSON in the form of MIREX's"
            " yearly task."
        ),
    ] = Form.page,
    force: ForceFlag = False,
    as_json: JsonFlag = False,
) -> None:
    """Build a listening test: one HTML file that works from disk, with all sound in it.

    FOLDER/listen.html is what listeners open; it holds no name, matches loudness (ITU-R BS.1770),
    and changes sides and order from listener to listener. FOLDER/key.json says whose each clip is:
    keep it to yourself. A human and a floor anchor are always in the set. Needs the extra
    arietta[listen].

    \b
    Examples:
      arietta listen build pairs.csv -o test
      arietta listen build pairs.csv -o test --seconds 45 --sound flac --listeners 12
      arietta listen build pairs.csv -o task --format mirex
    """
    from arietta.api.listening import build as run
    from arietta.evaluation.listening.page import CONSENT, QUESTION, TITLE, Texts

    texts = Texts(
        title or TITLE,
        question or QUESTION,
        CONSENT if consent is None else _text_of(consent),
        not no_headphones,
        least_seconds,
    )
    with ProgressLine(quiet=as_json) as progress:
        done = run(
            pairs,
            output,
            human=human,
            floor=floor,
            seconds=seconds,
            seed=seed,
            forms=forms,
            identical=identical,
            repeats=repeats,
            sound=sound.value,
            listeners=listeners,
            texts=texts,
            format=format.value,
            force=force,
            show=progress.show,
        )
    if as_json:
        emit(done.to_dict())
    elif format is Form.mirex:
        say(f"{done.output}: {done.clips} prompts and continuations")
    else:
        _print(done)


def _text_of(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: no text that can be read: {error}") from error


def _print(done: Any) -> None:
    page, key = done.files
    floor = ", the floor made from human takes" if done.made_floor else ""
    print_pairs(
        [
            ("for listeners", f"{page} ({done.bytes / 1e6:.1f} MB)"),
            ("for you alone", str(key)),
            (
                "pairs",
                f"{done.pairs} of {done.clips} clips, all at {done.loudness_lufs} LUFS{floor}",
            ),
            (
                "a listener",
                f"{done.trials} pairs, {clock(done.minutes_per_listener * 60)} of sound heard once",
            ),
            ("numbers", f"1 to {done.listeners}; every {done.forms} of them are balanced"),
        ]
    )
    say()
    say(f"Smallest share of wins that {done.listeners} listeners show with a power of 80 %:")
    rows = [
        [
            f"{one.system} – {one.other}",
            str(one.judgements),
            _share(one.smallest_share),
            _share(one.smallest_share_holm),
        ]
        for one in done.planned
    ]
    print_table(["", "judgements", "alone", "with Holm"], rows)


def _share(value: float | None) -> str:
    return "none" if value is None else f"{value:.0%}"
