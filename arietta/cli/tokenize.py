"""``arietta tokenize``: MIDI file -> token ids."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal

import typer

from arietta.cli.console import JsonFlag, emit, new_app, note, say, with_notices
from arietta.errors import UsageError

app = new_app()

# What the command line calls a vocabulary -> what AriaTokenizer does.
VOCABULARIES = {
    "aria": "full",
    "aria-full": "full",
    "aria-piano": "piano",
    "aria-no-drums": "no-drums",
    "aria-pedal": "full-pedal",
    "aria-delimiter": "full-delimiter",
    "aria-pedal-delimiter": "full-pedal-delimiter",
    "aria-demo": "piano-demo",
}

PIANIST: Literal["pianist"] = "pianist"
"""The one that is no variant of Aria's."""

TOKENIZER_HELP = (
    "aria (= aria-full): the public 17,727 ids; aria-piano: the 2,565 ids of our own models;"
    " aria-no-drums, aria-pedal, aria-delimiter, aria-pedal-delimiter, aria-demo: the public"
    " variants; pianist: eight ids a note, of Pianist Transformer."
)


class TokenizerName(StrEnum):
    """Choices of ``--tokenizer``."""

    aria = "aria"
    aria_full = "aria-full"
    aria_piano = "aria-piano"
    aria_no_drums = "aria-no-drums"
    aria_pedal = "aria-pedal"
    aria_delimiter = "aria-delimiter"
    aria_pedal_delimiter = "aria-pedal-delimiter"
    aria_demo = "aria-demo"
    pianist = PIANIST


class Compat(StrEnum):
    """Choices of ``--compat``."""

    aria = "aria"
    pianist = PIANIST


@app.command()
def tokenize(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="MIDI file.")],
    tokenizer: Annotated[
        TokenizerName, typer.Option(metavar="NAME", help=TOKENIZER_HELP)
    ] = TokenizerName.aria,
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
    from arietta.midi.reader import read
    from arietta.tokenizers.aria import AriaTokenizer
    from arietta.tokenizers.pianist import PianistTokenizer

    if compat and tokenizer.value.startswith("aria") != (compat == Compat.aria):
        raise UsageError(f"--compat {compat.value} does not go with --tokenizer {tokenizer.value}")
    piece = with_notices(read(file, compat="aria" if compat == Compat.aria else None))
    vocabulary: AriaTokenizer | PianistTokenizer
    if tokenizer.value == PIANIST:
        if keep_silence or prefix:
            raise UsageError("--keep-silence and --prefix do not go with --tokenizer pianist")
        vocabulary = PianistTokenizer()
        ids = vocabulary.encode_file(file, compat=PIANIST) if compat else vocabulary.encode(piece)
    else:
        vocabulary = AriaTokenizer(VOCABULARIES[tokenizer.value])
        ids = vocabulary.encode(
            piece,
            keep_silence=keep_silence,
            compat="aria" if compat else None,
            prefix=prefix or "auto",
        )
    tokens = vocabulary.tokens(ids)
    if as_json:
        emit({"ids": ids.tolist(), "tokens": tokens})
        return
    for number, token in zip(ids.tolist(), tokens, strict=True):
        say(f"{number}\t{token if isinstance(token, str) else ' '.join(map(str, token))}")
    note(f"{len(ids)} ids of {vocabulary.vocab_size}, {len(piece)} notes")
