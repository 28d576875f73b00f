"""One self-contained page with the roll and the sound of a piece: a postcard."""

from __future__ import annotations

import base64
import html
import json
from string import Template
from typing import TYPE_CHECKING

from arietta.errors import InputError
from arietta.paths import assets_dir

if TYPE_CHECKING:
    from arietta.midi.piece import Piece

MAX_BYTES = 6 * 2**20
"""What a postcard may weigh; about five minutes of sound."""
MAX_SECONDS = 300.0


def postcard(
    piece: Piece,
    *,
    title: str = "",
    text: str = "",
    seed: int | None = None,
    new_from_seconds: float | None = None,
) -> bytes:
    """Return a page that shows and plays a piece, and loads nothing from anywhere.

    Args:
        piece: at most ``MAX_SECONDS`` of it.
        title: the heading; the piece's own by default.
        text: a line below it.
        seed: of the take, which the page names.
        new_from_seconds: where the continuation begins; its notes get a colour of their own.

    Raises:
        InputError: the piece is too long, or has no notes.
    """
    from arietta._version import __version__
    from arietta.api.reading import title_of
    from arietta.display import roll_svg
    from arietta.sound.excerpts import mp3_excerpt

    seconds = piece.end_ms / 1000
    if not len(piece):
        raise InputError(f"{piece.source or 'piece'}: no notes to send")
    if seconds > MAX_SECONDS:
        raise InputError(
            f"the piece lasts {seconds:.0f} s; a postcard holds {MAX_SECONDS:.0f} s; send a part"
        )
    title = title or title_of(piece)
    picture = roll_svg(
        piece.onset_ms.tolist(),
        piece.duration_ms.tolist(),
        piece.notes.pitch.tolist(),
        piece.notes.velocity.tolist(),
        seconds=seconds,
        seam_ms=None if new_from_seconds is None else new_from_seconds * 1000,
        title=title,
    )
    sound = mp3_excerpt(piece, 0.0, seconds)
    template = Template((assets_dir() / "postcard.html").read_text(encoding="utf-8"))
    made = "" if seed is None else f"seed {seed} · "
    page = template.substitute(
        title=html.escape(title),
        text=html.escape(text),
        origin=html.escape(f"{made}{len(piece):,} notes · made with Arietta {__version__}"),
        roll=picture,
        seconds=json.dumps(round(seconds, 3)),
        sound=base64.b64encode(sound).decode("ascii"),
        midi=base64.b64encode(piece.to_bytes()).decode("ascii"),
    ).encode()
    if len(page) > MAX_BYTES:
        raise InputError(
            f"the postcard would have {len(page):,} bytes; {MAX_BYTES:,} at most; send a part"
        )
    return page
