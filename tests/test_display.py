"""What a notebook shows: a roll as SVG, a sound, both as data URIs."""

from __future__ import annotations

import base64
import re
import xml.etree.ElementTree as ElementTree
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest

import arietta
from arietta import display
from arietta.generation.continuation import Continuation
from arietta.midi.piece import Piece
from arietta.rendering.render import RulePlayer, render

SVG = "{http://www.w3.org/2000/svg}"
# What the sanitiser of an untrusted notebook keeps of ours.
KEPT = {"figure", "figcaption", "img", "br", "audio"}


def paths(svg: str) -> list[dict[str, str]]:
    return [dict(p.attrib) for p in ElementTree.fromstring(svg).iter(f"{SVG}path")]


def strokes(svg: str, colour: str) -> int:
    """How many notes are drawn in a colour."""
    return sum(p["d"].count("h") for p in paths(svg) if p["stroke"] == colour)


def sound_of(html: str) -> tuple[int, float]:
    """Channels and seconds of the sound in a piece of HTML."""
    import soundfile

    (data,) = re.findall(r'src="data:audio/mpeg;base64,([^"]+)"', html)
    info = soundfile.info(BytesIO(base64.b64decode(data)))
    return info.channels, info.duration


def test_a_roll_draws_every_note_in_its_colour() -> None:
    svg = display.roll_svg(
        [0, 500, 1000], [400, 400, 400], [60, 64, 67], [20, 70, 120], seam_ms=900
    )
    assert strokes(svg, display._PROMPT) == 2 and strokes(svg, display._NEW) == 1
    assert any("stroke-dasharray" in p for p in paths(svg))


def test_a_roll_leaves_out_what_is_outside_and_escapes_its_title() -> None:
    svg = display.roll_svg(
        [0, 5_000, 90_000], [100, 100, 100], [60, 62, 64], [64, 64, 64],
        start_ms=2_000, seconds=10, title='a <script> & "b"',
    )  # fmt: skip
    assert strokes(svg, display._PROMPT) == 1
    title = ElementTree.fromstring(svg).findtext(f"{SVG}title")
    assert title == 'a <script> & "b"'


def test_a_roll_of_nothing_is_still_a_picture() -> None:
    assert ElementTree.fromstring(display.roll_svg([], [], [], [])).tag == f"{SVG}svg"


def test_a_piece_shows_roll_and_sound(prompts_dir: Path) -> None:
    piece = arietta.read(prompts_dir / "waltz.mid")
    bundle = piece._repr_mimebundle_()
    assert bundle["text/plain"].startswith("Piece waltz.mid: ")
    assert f"{len(piece):,} notes" in bundle["text/plain"]
    html = bundle["text/html"]
    assert set(re.findall(r"<(\w+)", html)) == KEPT
    (picture,) = re.findall(r'src="data:image/svg\+xml;base64,([^"]+)"', html)
    assert base64.b64decode(picture).decode() == bundle["image/svg+xml"]
    channels, seconds = sound_of(html)
    assert channels == 2 and seconds > min(piece.end_ms / 1000, display.SHOWN_SECONDS) - 1


def test_of_a_long_continuation_the_seam_is_shown() -> None:
    onsets = np.arange(0, 200_000, 1000)
    piece = Piece.from_ms(onsets, np.full(200, 500), np.full(200, 60), np.full(200, 64))
    made = Continuation(piece, piece, piece, 150_000.0, None, {}, (), None)  # type: ignore[arg-type]
    bundle = made._repr_mimebundle_()
    assert "shown: 60 s from 2:20" in bundle["text/plain"]
    assert strokes(bundle["image/svg+xml"], display._NEW) == 50
    assert strokes(bundle["image/svg+xml"], display._PROMPT) == 10
    assert sound_of(bundle["text/html"])[1] < 70


def test_a_held_pedal_holds_in_the_excerpt() -> None:
    from arietta.sound.excerpts import mp3_excerpt

    def seconds(pedal: int) -> float:
        piece = Piece.from_ms(
            [0, 10_000],
            [100, 100],
            [40, 40],
            [90, 90],
            pedal_time_ms=[50, 13_000],
            pedal_value=[pedal, 0],
        )
        import soundfile

        return float(soundfile.info(BytesIO(mp3_excerpt(piece, 9_000, 5))).duration)

    assert seconds(127) > seconds(0) + 1


def test_a_rendering_shows_itself(prompts_dir: Path) -> None:
    (made,) = render(arietta.read(prompts_dir / "waltz.mid"), RulePlayer())
    assert made._repr_mimebundle_()["text/plain"].startswith("Rendering: ")


def test_silence_has_no_sound_and_no_maker_no_sound(monkeypatch: pytest.MonkeyPatch) -> None:
    nothing = Piece.from_ms([], [], [], [])
    assert "<audio" not in nothing._repr_mimebundle_()["text/html"]
    monkeypatch.setattr(display, "sound_maker", None)
    one = Piece.from_ms([0], [100], [60], [64])
    assert "<audio" not in one._repr_mimebundle_()["text/html"]
