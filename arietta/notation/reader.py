"""Scores in any format -> Piece: MIDI by our reader, notation through verovio (extra ``score``).

MusicXML (plain and compressed), MEI, Humdrum kern and ABC. Verovio reads the page: which notes
begin and end when, at which pitch. In which order the bars are played, tremolos, ornaments, and
what the marks ask for is worked out here, from the MEI that verovio gives.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from functools import cache
from importlib import import_module
from os import PathLike
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np

from arietta.errors import InputError, MissingExtraError
from arietta.midi.note_ons import read_note_ons
from arietta.midi.notes import ExtraTable, MessageList, note_table, pedal_table
from arietta.midi.piece import Piece
from arietta.midi.tempo import TempoMap
from arietta.notation.marks import Marks, plain_velocity
from arietta.notation.mei import (
    Element,
    given_order,
    keep_movement,
    measures_of,
    mend,
    movements,
    play_order,
)
from arietta.notation.ornaments import play_out, signs_of
from arietta.notation.score_notes import LEFT, NO_HAND, RIGHT
from arietta.notation.sheet import TOUCH_SHARE, NoteMarks, SheetMarks, SheetMusic
from arietta.notation.sources import OTHER_FORMATS, Source, load_source, several
from arietta.notation.timeline import SheetNote, Timeline, timeline

NOTATION = frozenset({".musicxml", ".xml", ".mxl", ".mei", ".krn", ".kern", ".abc"})
"""Suffixes that are read through verovio; everything else is taken as MIDI."""

_TRIAL_S = 120.0

DIVISION = 480
"""Ticks a quarter of what is read from notation."""


def read_score(path: str | PathLike[str], movement: int | None = None) -> Piece:
    """Return a score file of any known format.

    Args:
        path: of the file.
        movement: which movement, or tune of a tune book, from 1; the first by default, with a
            remark where there are more.

    Raises:
        InputError: it cannot be opened, is malformed, or of a format that has to be exported.
        MissingExtraError: notation needs verovio.
    """
    file = Path(path)
    suffix = file.suffix.lower()
    if suffix in OTHER_FORMATS:
        what = OTHER_FORMATS[suffix].format(name=file.name, stem=file.stem)
        raise InputError(f"{file}: {what}")
    if suffix not in NOTATION:
        if movement not in (None, 1):
            raise InputError(f"{file}: `movement` {movement}: a MIDI file has one")
        return read_note_ons(file, strict=False)
    source = load_source(file, movement)
    verovio = _verovio()
    if source.doubtful and not _survived(source.text):
        raise InputError(f"{file}: damaged; it is no score that can be read")
    toolkit = _loaded(verovio, source.text)
    if toolkit is None:
        early = [text for text in source.remarks if "ends early" in text or "damaged" in text]
        why = f" ({early[0].partition(';')[0]})" if early else ""
        raise InputError(f"{file}: not a score that can be read; is it complete?{why}")
    tree = ElementTree.fromstring(toolkit.getMEI())
    changed = _one_movement(file, tree, movement if suffix != ".abc" else None, source)
    if mend(tree, source.bars_back) or changed:
        toolkit = _loaded(verovio, ElementTree.tostring(tree, encoding="unicode"))
        if toolkit is None:
            raise InputError(f"{file}: not a score that can be read; is it complete?")
        tree = ElementTree.fromstring(toolkit.getMEI())
    measures = measures_of(tree, source.times)
    if not measures:
        raise InputError(f"{file}: no notes to play; is it the right file?")
    order = given_order(tree, measures) if suffix == ".mei" else None
    toolkit.renderToMIDI()  # before which verovio knows no pitches
    line = timeline(tree, measures, order or play_order(measures), toolkit)
    if not line.notes:
        raise InputError(f"{file}: no notes to play; is it the right file?")
    if line.cues:
        source.remarks.append(f"{line.cues} cue notes left out: they are another's")
    return _piece(tree, line, source, str(file))


_TRIAL = """
import sys, verovio
toolkit = verovio.toolkit()
toolkit.setOptions({"expandNever": True})
if toolkit.loadData(sys.stdin.buffer.read().decode("utf-8")) and toolkit.getPageCount():
    toolkit.getMEI()
    toolkit.renderToMIDI()
"""


def _survived(text: str) -> bool:
    """Whether verovio, which a few damaged files end by a signal, gets through a score.

    It is tried in a process of its own; one that takes longer than ``_TRIAL_S`` fails.
    """
    try:
        done = subprocess.run(
            [sys.executable, "-c", _TRIAL],
            input=text.encode("utf-8", "replace"),
            capture_output=True,
            timeout=_TRIAL_S,
        )
    except subprocess.TimeoutExpired:
        return False
    return done.returncode == 0


def _loaded(verovio: Any, text: str) -> Any:
    """Return a toolkit with a score whose repeats are not unfolded; None if it cannot be read."""
    toolkit = verovio.toolkit()
    toolkit.setOptions({"expandNever": True})
    # Verovio takes UTF-8; a lone surrogate has none.
    clean = text.encode("utf-8", errors="replace").decode("utf-8")
    if not toolkit.loadData(clean) or not toolkit.getPageCount():
        return None
    return toolkit


def _one_movement(file: Path, tree: Element, movement: int | None, source: Source) -> bool:
    """Keep one movement of several; whether any was dropped.

    Raises:
        InputError: there is no such movement.
    """
    count = len(movements(tree))
    if movement is not None and movement > max(count, 1):
        raise InputError(f"{file}: `movement` {movement}: the file has {max(count, 1)}")
    if count < 2:
        return False
    if movement is None and file.suffix.lower() != ".abc":
        source.remarks.append(several("movements", count))
    keep_movement(tree, movement or 1)
    return True


@cache
def _verovio() -> Any:
    try:
        verovio = import_module("verovio")
    except ImportError:
        raise MissingExtraError("reading MusicXML, MEI, kern and ABC", "score") from None
    verovio.enableLog(verovio.LOG_OFF)
    return verovio


def _piece(tree: Element, line: Timeline, source: Source, name: str) -> SheetMusic:
    """Return everything that is played, on ticks, with its marks."""
    marks = Marks(tree, line)
    rolls = marks.rolls()
    for strokes in rolls:  # verovio spreads them; how is the player's business
        start = min(note.onset for note in strokes)
        for note in strokes:
            note.onset = start
    tempo = marks.tempo()
    held = frozenset[int]().union(*(names for _, _, names in marks.held()))
    roll_of = {
        id(note): (n, place)
        for n, strokes in enumerate(rolls)
        for place, note in enumerate(strokes)
    }
    played = list(play_out(line, signs_of(tree), tempo.seconds))
    notes = [note for note, _ in played]
    level, accent = marks.loudness(notes)
    touch, slurred = marks.touches(notes)
    exempt = np.array([ornament or note.grace for note, ornament in played], bool)
    written = np.array([note.offset - note.onset for note in notes])
    share = np.where(exempt, 1.0, np.array(TOUCH_SHARE)[touch])
    onset = np.rint(np.array([note.onset for note in notes]) * DIVISION).astype(np.int64)
    length = np.maximum(np.rint(written * share * DIVISION).astype(np.int64), 1)
    track = np.array([note.staff for note in notes])
    roll = [roll_of.get(id(note), (-1, 0)) for note in notes]
    note_marks = NoteMarks(
        level,
        accent,
        np.array(touch, np.int8),
        np.array(slurred, bool),
        np.array([n for n, _ in roll], np.int64),
        np.array([place for _, place in roll], np.int64),
        np.array([id(note) in held for note in notes], bool),
        written,
        _hands(line, notes),
        exempt,
    )
    order = np.lexsort((track, onset))
    table = note_table(
        onset, onset + length, [n.pitch for n in notes], plain_velocity(level, accent), 0, track
    )
    pedal, pedalled, dry = marks.pedal(tempo)
    steps = tempo.steps()
    remarks = list(source.remarks)
    if tempo.guessed and tempo.source == "words":
        words = tempo.guessed[0]
        remarks.append(
            f"no metronome mark; its tempo words are taken as {words.value:g} quarters"
            " a minute; `tempo` sets another"
        )
    return SheetMusic(
        _tempo_map(steps),
        table.take(order),
        pedal_table([round(at * DIVISION) for at, _ in pedal], [value for _, value in pedal]),
        extra=_extra(line, tree),
        source=name,
        note_marks=note_marks.take(order),
        marks=SheetMarks(tempo.source, tuple(tempo.changes), tuple(pedalled), tuple(dry)),
        remarks=tuple(remarks),
    )


def _tempo_map(steps: Sequence[tuple[float, float]]) -> TempoMap:
    ticks: list[int] = []
    us: list[int] = []
    for quarter, bpm in steps:
        tick, value = round(quarter * DIVISION), round(60_000_000 / bpm)
        if ticks and ticks[-1] == tick:
            us[-1] = value
        elif not us or us[-1] != value:
            ticks.append(tick)
            us.append(value)
    return TempoMap(DIVISION, np.array(ticks, np.int64), np.array(us, np.int64))


def _hands(line: Timeline, notes: Sequence[SheetNote]) -> Any:
    """Return the (n,) hand of every note: upper and lower staff of a piano, else none."""
    hand = np.full(len(notes), NO_HAND, np.int8)
    used = {note.staff for note in notes}
    pianos: dict[int, list[int]] = {}
    for number, (_, part, _, staves) in line.staffs.items():
        if staves == 2:
            pianos.setdefault(part, []).append(number)
    if not pianos and len(used) == 2:
        pianos[0] = sorted(used)
    for staffs in pianos.values():
        upper, lower = min(staffs), max(staffs)
        for row, note in enumerate(notes):
            if note.staff == upper:
                hand[row] = RIGHT
            elif note.staff == lower:
                hand[row] = LEFT
    return hand


def _extra(line: Timeline, tree: Element) -> ExtraTable:
    """Return names of the tracks, and metre and key of every bar as it is played."""
    rows: list[tuple[int, int, bytes]] = []
    used = sorted({note.staff for note in line.notes})
    for number in used:
        name = line.staffs.get(number, ("", 0, 0, 1))[0]
        if name:
            rows.append((0, number, bytes((0xFF, 0x03)) + name.encode("latin-1", "replace")))
    standing: tuple[int, int] | None = None
    key: tuple[int, bool] | None = None
    for bar in line.bars:
        measure = line.measures[bar.measure]
        tick = round(bar.start * DIVISION)
        metre = _metre_of(measure.meter, bar.length)
        if metre != standing:
            power = metre[1].bit_length() - 1
            rows.append((tick, 0, bytes((0xFF, 0x58, metre[0], power, 24, 8))))
            standing = metre
        if (measure.sharps, measure.minor) != key:
            key = (measure.sharps, measure.minor)
            rows.append((tick, 0, bytes((0xFF, 0x59, measure.sharps % 256, measure.minor))))
    rows.sort(key=lambda row: row[0])
    return ExtraTable(
        np.array([row[0] for row in rows], np.int64),
        np.array([row[1] for row in rows], np.int32),
        MessageList.pack(row[2] for row in rows),
    )


def _metre_of(metre: tuple[int, int], length: float) -> tuple[int, int]:
    """Return the metre of a bar: what is written, or its own length where that is another."""
    beats, unit = metre
    if abs(beats * 4 / unit - length) < 0.02 and beats < 256 and unit & (unit - 1) == 0:
        return beats, unit
    for kind in (unit, 4, 8, 16, 32, 64):
        count = length * kind / 4
        if kind & (kind - 1) == 0 and abs(count - round(count)) < 0.02 and 0 < round(count) < 256:
            return round(count), kind
    return min(max(round(length * 32), 1), 255), 128
