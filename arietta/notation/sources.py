"""Score files -> text that verovio reads, with what is wrong in it mended or said.

Encodings (byte order marks, what an XML file declares), compressed MusicXML, files that end early,
tune books in ABC.
"""

from __future__ import annotations

import re
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from xml.etree import ElementTree

from arietta.errors import InputError
from arietta.midi.reader import DEFAULT_MAX_BYTES
from arietta.midi.zips import open_zip, read_member
from arietta.notation.abc import abc_to_musicxml, split_tunes

MAX_UNPACKED = 8 * DEFAULT_MAX_BYTES

OTHER_FORMATS = {
    ".mscz": "MuseScore's own format; export it as MusicXML: mscore -o {stem}.musicxml {name}",
    ".mscx": "MuseScore's own format; export it as MusicXML: mscore -o {stem}.musicxml {name}",
    ".ly": "LilyPond source; add \\midi {{}} to its \\score block, run lilypond {name}, and give"
    " {stem}.midi",
    ".sib": "Sibelius's own format; export it as MusicXML",
    ".musx": "Finale's own format; export it as MusicXML",
    ".mus": "Finale's own format; export it as MusicXML",
    ".gp": "Guitar Pro's own format; export it as MusicXML",
    ".pdf": "a picture of a score; a music reader such as Audiveris makes MusicXML of it",
}
"""Formats that cannot be read, and the way out of each."""

_BOMS = ((b"\xef\xbb\xbf", "utf-8"), (b"\xff\xfe", "utf-16-le"), (b"\xfe\xff", "utf-16-be"))
_DECLARED = re.compile(rb"^\s*<\?xml[^>]*encoding\s*=\s*[\"']([A-Za-z0-9._-]+)[\"']")
_DECLARATION = re.compile(r"^\s*<\?xml[^>]*\?>")


@dataclass
class Source:
    """A score file as text.

    Attributes:
        text: MusicXML, MEI or kern, without XML declaration.
        remarks: what was mended, one line each, for people.
        times: how often a repeat that ends in a measure of MusicXML is played, by its index, where
            that is not twice.
        bars_back: which bar before it a sign in a bar of MusicXML repeats, where not the last one.
        doubtful: whether it may be damaged in a way that its reader does not survive.
    """

    text: str
    remarks: list[str] = field(default_factory=list)
    times: dict[int, int] = field(default_factory=dict)
    bars_back: dict[int, int] = field(default_factory=dict)
    doubtful: bool = False


def load_source(file: Path, movement: int | None = None) -> Source:
    """Return the text of a score file.

    Args:
        file: what is read.
        movement: of a tune book in ABC: which tune, from 1; movements of others are left in.

    Raises:
        InputError: it cannot be opened, is too large, or a damaged archive.
    """
    text = decode(_bytes_of(file))
    if file.suffix.lower() == ".abc":
        return _tune(file, text, movement)
    if file.suffix.lower() in (".krn", ".kern"):
        return Source(text)
    source = Source(_DECLARATION.sub("", text, count=1).lstrip())
    try:
        tree = ElementTree.fromstring(source.text)
    except ElementTree.ParseError as error:
        line = error.position[0]
        lines = source.text.count("\n") + 1
        what = "ends early" if line >= lines else f"is damaged at line {line}"
        source.remarks.append(f"the file {what}; what could be read of it is played")
        source.doubtful = True
        return source
    source.doubtful = not all(map(_counts, tree.iter("time")))
    if tree.tag == "score-partwise":
        source.times = _repeat_times(tree)
        source.bars_back = _bars_back(tree)
    return source


def _counts(time: ElementTree.Element) -> bool:
    """Whether a metre of MusicXML names what it counts; verovio divides by it unseen."""
    if time.find("senza-misura") is not None:
        return True
    lower = [(kind.text or "").strip() for kind in time.findall("beat-type")]
    return bool(lower) and all(text.isdecimal() and int(text) > 0 for text in lower)


def decode(raw: bytes) -> str:
    """Return the text of a file in the encoding it declares; UTF-8 or Latin-1 if there is none."""
    for mark, name in _BOMS:
        if raw.startswith(mark):
            return raw[len(mark) :].decode(name, errors="replace")
    if raw[:2] == b"<\x00":
        return raw.decode("utf-16-le", errors="replace")
    if raw[:2] == b"\x00<":
        return raw.decode("utf-16-be", errors="replace")
    found = _DECLARED.match(raw)
    names = [found[1].decode("ascii")] if found else []
    for name in (*names, "utf-8", "latin-1"):
        try:
            return raw.decode(name)
        except (UnicodeDecodeError, LookupError):
            continue
    raise AssertionError("every byte is a letter of Latin-1")


def _bytes_of(file: Path) -> bytes:
    try:
        if file.suffix.lower() == ".mxl":
            with open_zip(file) as archive:
                _check_size(file, sum(item.file_size for item in archive.infolist()))
                return read_member(archive, _root_file(archive))
        _check_size(file, file.stat().st_size)
        return file.read_bytes()
    except OSError as error:
        raise InputError(f"{file}: cannot be read: {error.strerror or error}") from None
    except (zipfile.BadZipFile, KeyError):
        raise InputError(f"{file}: not a compressed MusicXML file (.mxl)") from None


def _check_size(file: Path, size: int) -> None:
    if size > MAX_UNPACKED:
        raise InputError(f"{file}: {size:,} bytes of notation; {MAX_UNPACKED:,} at most")


def _root_file(archive: zipfile.ZipFile) -> str:
    """Return the name of the score in a compressed file: as its container says, or the first."""
    names = archive.namelist()
    if "META-INF/container.xml" in names:
        try:
            container = ElementTree.fromstring(read_member(archive, "META-INF/container.xml"))
        except ElementTree.ParseError:
            container = ElementTree.Element("container")
        for element in container.iter():
            path = element.get("full-path")
            if element.tag.rpartition("}")[2] == "rootfile" and path in names:
                return str(path)
    scores = [n for n in names if n.lower().endswith((".xml", ".musicxml", ".mei"))]
    scores = [n for n in scores if not n.startswith("META-INF")]
    if not scores:
        raise KeyError("no score in the archive")
    return scores[0]


def _tune(file: Path, text: str, movement: int | None) -> Source:
    tunes = split_tunes(text)
    if not tunes:
        raise InputError(f"{file}: not a score that can be read; ABC begins with X: and K: fields")
    number = movement or 1
    if number > len(tunes):
        raise InputError(f"{file}: `movement` {number}: it has {len(tunes)} tunes")
    source = Source(abc_to_musicxml(tunes[number - 1]))
    if len(tunes) > 1 and movement is None:
        source.remarks.append(several("tunes", len(tunes)))
    return source


def several(what: str, count: int) -> str:
    """Return the remark about a file that holds more than is played."""
    return f"the file holds {count} {what}; this is the first; choose another with `movement`"


def _repeat_times(tree: ElementTree.Element) -> dict[int, int]:
    times = {}
    for part in tree.findall("part")[:1]:
        for index, measure in enumerate(part.findall("measure")):
            for repeat in measure.iter("repeat"):
                count = repeat.get("times", "")
                if repeat.get("direction") == "backward" and count.isdecimal():
                    times[index] = int(count)
    return {index: count for index, count in times.items() if count != 2}


def _bars_back(tree: ElementTree.Element) -> dict[int, int]:
    back = {}
    for part in tree.findall("part"):
        standing = 1
        for index, measure in enumerate(part.findall("measure")):
            for sign in measure.iter("measure-repeat"):
                text = (sign.text or "").strip()
                starts = sign.get("type") == "start" and text.isdecimal()
                standing = int(text) if starts else 1
            if standing > 1:
                back[index] = standing
    return back
