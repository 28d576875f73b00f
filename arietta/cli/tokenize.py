"""``arietta tokenize``: MIDI file -> token ids."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from arietta.cli.console import JsonFlag, emit, new_app, note, say, with_notices

app = new_app()

TOKENIZER_HELP = (
    "aria (= aria-full): the public 17,727 ids; aria-piano: the 2,565 ids of our own models;"
    " aria-no-drums, aria-pedal, aria-delimiter, aria-pedal-delimiter, aria-demo: the public"
    " variants; pianist: eight ids a note, of Pianist Transformer."
)


class Compat(StrEnum):
    """Choices of ``--compat``."""

    aria = "aria"
    pianist = "pianist"


@app.command()
def tokenize(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="MIDI file.")],
    tokenizer: Annotated[str, typer.Option(metavar="NAME", help=TOKENIZER_HELP)] = "aria",
    compat: Annotated[
        Compat | None,
        typer.Option(
            metavar="aria|pianist",
            help="Repeat the tokenizer's public reference where it errs: in tempo arithmetic, in"
            " lost pedals.",
        ),
    ] = None,
    keep_silence: Annotated[
        bool, typer.Option("--keep-silence", help="Count time from the file's start.")
    ] = False,
    prefix: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="Token to put before the start, such as piano, chopin or nocturne; give it once"
            " for each. [default: the file's instruments]",
        ),
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Print the token ids of a MIDI file.

    Time starts at the first note, for pianist at the file's start. Prefix tokens stand in ascending
    id order, the sequence ends with <E>, and there is no <D>; pianist has notes and nothing else.

    \b
    Examples:
      arietta tokenize nocturne.mid | head
      arietta tokenize nocturne.mid --tokenizer aria-full --json > nocturne.json
    """
    from arietta.api.tokens import tokenize as run

    done = run(
        file,
        tokenizer=tokenizer,
        compat=None if compat is None else compat.value,
        keep_silence=keep_silence,
        prefix=prefix or (),
    )
    with_notices(done.piece)
    if as_json:
        emit(done.to_dict())
        return
    for number, token in zip(done.ids.tolist(), done.tokens, strict=True):
        say(f"{number}\t{token if isinstance(token, str) else ' '.join(map(str, token))}")
    note(f"{len(done.ids)} ids of {done.vocab_size}, {len(done.piece)} notes")
