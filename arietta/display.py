"""What a notebook shows of a piece: its piano roll as SVG and its sound; a leaf.

A notebook that nobody has declared trusted keeps pictures and sounds whose ``src`` is a data URI,
and drops scripts, styles and inline SVG. So both travel as data URIs in one piece of HTML.
"""

from __future__ import annotations

TYPE_CHECKING = False  # see arietta/__init__.py
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any, Protocol

    class Shown(Protocol):
        """A ``Piece``, as far as it is shown."""

        @property
        def onset_ms(self) -> Any:
            """(n,) key-down times."""

        @property
        def duration_ms(self) -> Any:
            """(n,) key-down to key-up."""

        @property
        def notes(self) -> Any:
            """A table with the columns ``pitch`` and ``velocity``."""

        @property
        def end_ms(self) -> float:
            """Time of the latest key-up."""


SHOWN_SECONDS = 60.0
"""Longest excerpt that is drawn and sounded; a longer piece would swell the notebook."""
BEFORE_SEAM_SECONDS = 10.0
"""How much of the prompt an excerpt shows before a continuation."""

sound_maker: Callable[[Any, float, float], bytes] | None = None
"""(piece, start in ms, seconds) -> MP3; set by the package root, since a leaf imports nothing."""

_WIDTH, _LEFT, _RIGHT, _TOP, _BOTTOM = 960, 34, 8, 8, 20
_KEY_HEIGHT = 4.4
_PAPER, _BLACK_KEYS, _LINES, _INK = "#ffffff", "#f3f3f6", "#d5d5dd", "#55555f"
_PROMPT, _NEW = "#3b6ea8", "#d1495b"
_LEVELS = (0.45, 0.65, 0.85, 1.0)  # opacity, by velocity


def roll_svg(
    onset_ms: Sequence[float],
    duration_ms: Sequence[float],
    pitch: Sequence[int],
    velocity: Sequence[int],
    *,
    start_ms: float = 0.0,
    seconds: float = SHOWN_SECONDS,
    seam_ms: float | None = None,
    title: str = "",
) -> str:
    """Draw a piano roll as one SVG document; louder notes are darker.

    Args:
        onset_ms, duration_ms, pitch, velocity: (n,) columns of the notes.
        start_ms, seconds: the excerpt to draw.
        seam_ms: where a continuation begins: notes from there on get a colour of their own.
        title: what a screen reader says.
    """
    from html import escape

    end_ms = start_ms + seconds * 1000
    rows = [
        (max(on, start_ms), min(on + length, end_ms), key, loud, on)
        for on, length, key, loud in zip(onset_ms, duration_ms, pitch, velocity, strict=True)
        if on < end_ms and on + length >= start_ms
    ]
    low = min((row[2] for row in rows), default=60) - 2
    high = max((row[2] for row in rows), default=72) + 2
    height = _TOP + (high - low + 1) * _KEY_HEIGHT + _BOTTOM
    across = (_WIDTH - _LEFT - _RIGHT) / (end_ms - start_ms)

    def x(ms: float) -> float:
        return _LEFT + (ms - start_ms) * across

    def y(key: float) -> float:
        return _TOP + (high - key + 0.5) * _KEY_HEIGHT

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height:.1f}"'
        f' width="{_WIDTH}" height="{height:.1f}" role="img" font-family="sans-serif"'
        f' font-size="10" fill="{_INK}"><title>{escape(title)}</title>',
        f'<rect width="{_WIDTH}" height="{height:.1f}" fill="{_PAPER}"/>',
    ]
    bottom, right = height - _BOTTOM, _WIDTH - _RIGHT
    for key in range(low, high + 1):
        if key % 12 in (1, 3, 6, 8, 10):
            parts.append(
                f'<rect x="{_LEFT}" y="{y(key + 0.5):.1f}" width="{right - _LEFT}"'
                f' height="{_KEY_HEIGHT}" fill="{_BLACK_KEYS}"/>'
            )
        elif key % 12 == 0:
            at = y(key - 0.5)
            parts.append(f'<path d="M{_LEFT} {at:.1f}H{right}" stroke="{_LINES}"/>')
            parts.append(
                f'<text x="{_LEFT - 6}" y="{y(key) + 3:.1f}" text-anchor="end">'
                f"C{key // 12 - 1}</text>"
            )
    for second in _ticks(start_ms / 1000, seconds):
        at = x(second * 1000)
        parts.append(f'<path d="M{at:.1f} {_TOP}V{bottom:.1f}" stroke="{_LINES}"/>')
        parts.append(
            f'<text x="{at:.1f}" y="{height - 6:.1f}" text-anchor="middle">'
            f"{int(second) // 60}:{int(second) % 60:02d}</text>"
        )
    for new, colour in ((False, _PROMPT), (True, _NEW)):
        for level, opacity in enumerate(_LEVELS):
            lines = "".join(
                f"M{x(on):.1f} {y(key):.1f}h{max((off - on) * across, 1.2):.1f}"
                for on, off, key, loud, began in rows
                if min(loud // 32, 3) == level
                and (seam_ms is not None and began >= seam_ms - 0.5) == new
            )
            if lines:
                parts.append(
                    f'<path d="{lines}" stroke="{colour}" stroke-opacity="{opacity}"'
                    f' stroke-width="{_KEY_HEIGHT - 0.6:.1f}" fill="none"/>'
                )
    if seam_ms is not None and start_ms <= seam_ms <= end_ms:
        parts.append(
            f'<path d="M{x(seam_ms):.1f} {_TOP}V{bottom:.1f}" stroke="{_INK}"'
            ' stroke-dasharray="4 3"/>'
        )
    return "\n".join([*parts, "</svg>"]) + "\n"


def _ticks(start: float, seconds: float) -> list[int]:
    """About a dozen whole seconds of an excerpt."""
    step = next((s for s in (1, 2, 5, 10, 15, 30, 60) if seconds / s <= 16), 300)
    first = -(-int(start + 0.999) // step) * step
    return list(range(first, int(start + seconds) + 1, step))


def mimebundle(
    piece: Shown, name: str, *, seam_ms: float | None = None, sound: bool = True
) -> dict[str, str]:
    """Return what ``_repr_mimebundle_`` gives: text, an SVG, HTML with picture and sound.

    Args:
        piece: what is shown; of a long one the first minute, or the minute around the seam.
        name: what it is, for the caption.
        seam_ms: where a continuation begins in it.
        sound: whether to add the sound, which takes about a second for a minute of music.
    """
    from base64 import b64encode
    from html import escape

    start = max(0.0, (seam_ms or 0.0) - BEFORE_SEAM_SECONDS * 1000)
    whole = piece.end_ms / 1000
    if whole <= SHOWN_SECONDS:
        start = 0.0
    seconds = min(max(whole - start / 1000, 1.0), SHOWN_SECONDS)
    count = len(piece.notes)
    text = f"{name}: {count:,} notes, {int(whole) // 60}:{int(whole) % 60:02d}"
    if seconds < whole - 0.001:
        text += (
            f" (shown: {seconds:.0f} s from {int(start) // 60_000}:{int(start) // 1000 % 60:02d})"
        )
    svg = roll_svg(
        piece.onset_ms.tolist(),
        piece.duration_ms.tolist(),
        piece.notes.pitch.tolist(),
        piece.notes.velocity.tolist(),
        start_ms=start,
        seconds=seconds,
        seam_ms=seam_ms,
        title=text,
    )
    picture = b64encode(svg.encode()).decode()
    html = (
        f"<figure><figcaption>{escape(text)}</figcaption>"
        f'<img alt="piano roll" src="data:image/svg+xml;base64,{picture}">'
    )
    if sound and sound_maker is not None and count:
        audio = b64encode(sound_maker(piece, start, seconds)).decode()
        html += f'<br><audio controls src="data:audio/mpeg;base64,{audio}"></audio>'
    return {"text/plain": text, "image/svg+xml": svg, "text/html": html + "</figure>"}
