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
from typing import Any, NamedTuple
from xml.etree import ElementTree

import numpy as np

from arietta.errors import InputError, MissingExtraError
from arietta.midi.notes import Piece
from arietta.midi.ornaments import Ornament, play_out
from arietta.midi.reader import DEFAULT_MAX_BYTES
from arietta.midi.strokes import read_strokes
from arietta.midi.zips import open_zip

NOTATION = frozenset({".musicxml", ".xml", ".mxl", ".mei", ".krn", ".kern", ".abc"})
"""Suffixes that are read through verovio; everything else is taken as MIDI."""

DYNAMICS = {
    "pppp": 12,
    "ppp": 20,
    "pp": 33,
    "p": 49,
    "mp": 64,
    "mf": 80,
    "f": 96,
    "ff": 112,
    "fff": 124,
    "ffff": 127,
}
"""Velocities of the written dynamics, as common notation programs play them."""

_ID = "{http://www.w3.org/XML/1998/namespace}id"
_HAIRPIN = 16  # velocity steps, where no dynamic is written at its end
_MAX_UNPACKED = 8 * DEFAULT_MAX_BYTES


def read_score(path: str | PathLike[str]) -> Piece:
    """A score file of any known format.

    Raises:
        InputError: it cannot be opened or is malformed.
        MissingExtraError: notation needs verovio.
    """
    file = Path(path)
    if file.suffix.lower() not in NOTATION:
        return read_strokes(file, strict=False)
    _check_size(file)
    toolkit = _verovio().toolkit()
    if not toolkit.loadFile(str(file)) or not toolkit.getPageCount():
        raise InputError(f"{file}: not a score that can be read; is it complete?")
    piece = read_strokes(base64.b64decode(toolkit.renderToMIDI()), source=str(file))
    # Verovio lets every key go one tick early.
    notes = piece.notes
    piece = replace(
        piece, notes=replace(notes, offset_tick=notes.offset_tick + 1), source=str(file)
    )
    moments = _timemap(toolkit)
    tree = ElementTree.fromstring(toolkit.getMEI())
    piece = _with_dynamics(piece, _marks(tree, moments))
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


class _Mark(NamedTuple):
    """A dynamic, or a hairpin towards ``change``; quarters from the beginning as performed."""

    start: float
    end: float
    level: int
    change: int


def _with_dynamics(piece: Piece, found: Iterable[_Mark]) -> Piece:
    """The piece with velocities from the written dynamics; as it is where there are none."""
    marks = sorted(found, key=lambda mark: mark.start)
    levels = [mark for mark in marks if mark.level]
    if not levels:
        return piece
    quarter = piece.notes.onset_tick / piece.tempo.division
    starts = np.array([mark.start for mark in levels])
    at = np.searchsorted(starts, quarter + 1e-3, side="right") - 1
    # Before the first mark the first one's level holds.
    velocity = np.array([mark.level for mark in levels], np.float64)[np.maximum(at, 0)]
    for mark in marks:
        if not mark.change or mark.end <= mark.start:
            continue
        inside = (quarter >= mark.start - 1e-3) & (quarter < mark.end - 1e-3)
        level = velocity[inside][:1]
        if not len(level):
            continue
        near = [m.level for m in levels if -0.5 <= m.start - mark.end <= 1.0]
        target = near[0] if near else float(level[0]) + mark.change * _HAIRPIN
        share = (quarter[inside] - mark.start) / (mark.end - mark.start)
        velocity[inside] += share * (target - level[0])
        if not near:  # what was reached holds until the next mark
            after = [m.start for m in levels if m.start > mark.end]
            until = after[0] if after else np.inf
            rest = (quarter >= mark.end - 1e-3) & (quarter < until - 1e-3)
            velocity[rest] = target
    column = np.clip(np.rint(velocity), 1, 127).astype(np.uint8)
    return replace(piece, notes=replace(piece.notes, velocity=column))


def _marks(tree: ElementTree.Element, moments: Iterable[Mapping[str, Any]]) -> Iterator[_Mark]:
    """The dynamics of a score wherever its measures are performed."""
    starts: dict[str, list[float]] = {}
    for moment in moments:
        if "measureOn" in moment:
            starts.setdefault(_written(moment["measureOn"]), []).append(float(moment["qstamp"]))
    unit = 4
    measures: list[tuple[str, ElementTree.Element, int]] = []
    for element in tree.iter():
        tag = element.tag.rpartition("}")[2]
        given = element.get("meter.unit") or (element.get("unit") if tag == "meterSig" else None)
        unit = int(given) if given and given.isdecimal() and int(given) else unit
        if tag == "measure":
            name = element.get(_ID, "")
            measures.append((name, element, unit))
    for number, (name, measure, unit) in enumerate(measures):
        for element in measure:
            tag = element.tag.rpartition("}")[2]
            text = "".join(element.itertext()).strip()
            if tag == "dynam" and text in DYNAMICS:
                level, change = DYNAMICS[text], 0
            elif tag == "hairpin":
                level, change = 0, -1 if element.get("form") == "dim" else 1
            else:
                continue
            inside = _beat(element.get("tstamp")) * 4 / unit
            bars, _, beat = element.get("tstamp2", "").rpartition("m+")
            further = int(bars) if bars.isdecimal() else 0
            last, _, last_unit = measures[min(number + further, len(measures) - 1)]
            for k, start in enumerate(starts.get(name, ())):
                ends = starts.get(last, [])
                end = ends[min(k, len(ends) - 1)] if ends else start
                yield _Mark(start + inside, end + _beat(beat) * 4 / last_unit, level, change)


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
            kind = signs.get(_written(name))
            if kind:
                values = toolkit.getMIDIValuesForElement(_written(name))
                values = json.loads(values) if isinstance(values, str) else values
                if "pitch" in values:
                    yield Ornament(float(moment["qstamp"]), int(values["pitch"]), kind)


def _written(name: str) -> str:
    """The id in the score of what is performed under this id: repeats have ids of their own."""
    return name.split("-rend")[0]


def _beat(text: str | None) -> float:
    """Beats from the beginning of a measure of a time stamp, which counts from 1."""
    try:
        return max(float(text or 1) - 1, 0.0)
    except ValueError:
        return 0.0
