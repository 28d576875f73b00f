"""``arietta detokenize``: token ids -> MIDI file."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from arietta.cli.console import ForceFlag, JsonFlag, emit, new_app, note, say
from arietta.cli.tokenize import TOKENIZER_HELP
from arietta.errors import InputError

app = new_app()


@app.command()
def detokenize(
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE",
            help="What `arietta tokenize` printed, with or without --json, or a list of ids in any"
            " layout; - reads standard input.",
        ),
    ],
    output: Annotated[Path, typer.Option("-o", "--output", metavar="OUT.mid", help="MIDI file.")],
    tokenizer: Annotated[str, typer.Option(metavar="NAME", help=TOKENIZER_HELP)] = "aria",
    force: ForceFlag = False,
    as_json: JsonFlag = False,
) -> None:
    """Write the MIDI file that token ids stand for.

    \b
    Examples:
      arietta detokenize nocturne.json -o again.mid
      arietta tokenize nocturne.mid | arietta detokenize - -o again.mid
    """
    from arietta.api.tokens import open_tokenizer
    from arietta.output import check_output
    from arietta.tokenizers.pianist import PianistTokenizer

    check_output(output, force=force)
    vocabulary = open_tokenizer(tokenizer)
    ids = _read_ids(file)
    outside = next((i for i in ids if not 0 <= i < vocabulary.vocab_size), None)
    if outside is not None:
        raise InputError(
            f"{file}: id {outside} is not in {tokenizer}, which has"
            f" {vocabulary.vocab_size}; choose another --tokenizer"
        )
    dropped = 0
    if isinstance(vocabulary, PianistTokenizer):
        piece = vocabulary.decode(ids)  # refuses what is no whole note
    else:
        columns = vocabulary.decode_columns(ids)
        piece, dropped = columns.piece(), columns.dropped
    piece.save(output, force=force)
    if dropped:
        note(f"{dropped} of {len(ids)} ids had no effect: not a whole note each")
    if as_json:
        emit(
            {
                "output": str(output),
                "ids": len(ids),
                "ids_without_effect": dropped,
                "notes": len(piece),
            }
        )
    else:
        say(f"{output}: {len(piece)} notes of {len(ids)} ids")


def _read_ids(file: Path) -> list[int]:
    """Ids from JSON, from ``id<TAB>token`` lines or from plain numbers."""
    try:
        text = sys.stdin.read() if str(file) == "-" else file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not a text file"
        raise InputError(f"{file}: cannot be read: {reason}") from None
    try:
        value: Any = json.loads(text)
    except ValueError:
        words = [line.split("\t")[0] for line in text.splitlines()]
        value = [w for word in words for w in word.replace(",", " ").split()]
    if isinstance(value, dict):
        value = value.get("ids")
    if isinstance(value, int) and not isinstance(value, bool):
        value = [value]
    try:
        if not isinstance(value, list):
            raise TypeError
        ids = [_whole(item) for item in value]
    except (TypeError, ValueError):
        raise InputError(
            f'{file}: no list of ids; {{"ids": [...]}}, [...] or one id a line is expected'
        ) from None
    if not ids:
        raise InputError(f"{file}: there are no ids in it")
    return ids


def _whole(item: Any) -> int:
    if isinstance(item, bool) or (isinstance(item, float) and item != int(item)):
        raise TypeError
    return int(item)
