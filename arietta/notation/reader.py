"""Scores in any format -> Piece: MIDI by our reader, notation through verovio (extra ``score``).

MusicXML (plain and compressed), MEI, Humdrum kern and ABC. Verovio unfolds repeats and endings,
joins ties, and keeps tempo and pedal marks, one track a staff. It plays everything equally loud and
no ornaments: the written dynamics, from ppp to fff with hairpins between, and trills, mordents and
turns are added here.
"""

from __future__ import annotations

import base64
import json
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from functools import cache
from importlib import import_module
from os import PathLike
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from arietta.errors import InputError, MissingExtraError
from arietta.midi.note_ons import read_note_ons
from arietta.midi.piece import Piece
from arietta.midi.reader import DEFAULT_MAX_BYTES
from arietta.midi.zips import open_zip
from arietta.notation.marks import marks_of, with_dynamics, written_id
from arietta.notation.ornaments import Ornament, play_out

NOTATION = frozenset({".musicxml", ".xml", ".mxl", ".mei", ".krn", ".kern", ".abc"})
"""Suffixes that are read through verovio; everything else is taken as MIDI."""


_MAX_UNPACKED = 8 * DEFAULT_MAX_BYTES


def read_score(path: str | PathLike[str]) -> Piece:
    """A score file of any known format.

    Raises:
        InputError: it cannot be opened or is malformed.
        MissingExtraError: notation needs verovio.
    """
    file = Path(path)
    if file.suffix.lower() not in NOTATION:
        return read_note_ons(file, strict=False)
    _check_size(file)
    toolkit = _verovio().toolkit()
    if not toolkit.loadFile(str(file)) or not toolkit.getPageCount():
        raise InputError(f"{file}: not a score that can be read; is it complete?")
    piece = read_note_ons(base64.b64decode(toolkit.renderToMIDI()), source=str(file))
    # Verovio lets every key go one tick early.
    notes = piece.notes
    piece = replace(
        piece, notes=replace(notes, offset_tick=notes.offset_tick + 1), source=str(file)
    )
    moments = _timemap(toolkit)
    tree = ElementTree.fromstring(toolkit.getMEI())
    piece = with_dynamics(piece, marks_of(tree, moments))
    return play_out(piece, list(_ornaments(tree, moments, toolkit)))


def _timemap(toolkit: Any) -> list[dict[str, Any]]:
    """What begins and ends when, measures included."""
    found = toolkit.renderToTimemap({"includeMeasures": True})
    listed: list[dict[str, Any]] = json.loads(found) if isinstance(found, str) else found
    return listed


def _check_size(file: Path) -> None:
    """Refuse what would fill the memory.

    Raises:
        InputError: no such file, too large, or a damaged archive.
    """
    try:
        size = file.stat().st_size
        if file.suffix.lower() == ".mxl":
            with open_zip(file) as archive:
                size = sum(item.file_size for item in archive.infolist())
        file.open("rb").close()
    except OSError as error:
        raise InputError(f"{file}: cannot be read: {error.strerror or error}") from None
    except zipfile.BadZipFile:
        raise InputError(f"{file}: not a compressed MusicXML file (.mxl)") from None
    if size > _MAX_UNPACKED:
        raise InputError(f"{file}: {size:,} bytes of notation; {_MAX_UNPACKED:,} at most")


@cache
def _verovio() -> Any:
    try:
        verovio = import_module("verovio")
    except ImportError:
        raise MissingExtraError("reading MusicXML, MEI, kern and ABC", "score") from None
    verovio.enableLog(verovio.LOG_OFF)
    return verovio


def _ornaments(
    tree: ElementTree.Element, moments: Iterable[Mapping[str, Any]], toolkit: Any
) -> Iterator[Ornament]:
    """Every ornament wherever its note is performed."""
    signs: dict[str, str] = {}
    for element in tree.iter():
        tag = element.tag.rpartition("}")[2]
        if tag in ("trill", "mordent", "turn") and element.get("startid"):
            usual = {"trill": None, "mordent": "lower", "turn": "upper"}[tag]
            inverted = usual and element.get("form", usual) != usual
            signs[element.get("startid", "")[1:]] = f"inverted {tag}" if inverted else tag
    for moment in moments:
        for name in moment.get("on", ()):
            kind = signs.get(written_id(name))
            if kind:
                values = toolkit.getMIDIValuesForElement(written_id(name))
                values = json.loads(values) if isinstance(values, str) else values
                if "pitch" in values:
                    yield Ornament(float(moment["qstamp"]), int(values["pitch"]), kind)
