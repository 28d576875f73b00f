"""ABC -> MusicXML.

Our own, because verovio's reader of ABC loses double repeats, endings, changes of key and units of
the tempo, and ends the process on some tunes. The common part of the ABC 2.1 standard: fields in
head and body, voices, notes, rests, chords, ties, slurs, tuplets, broken rhythm, grace notes,
decorations, bars, repeats and endings. Overlays (``&``), macros and lyrics are left out.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from fractions import Fraction
from xml.sax.saxutils import escape

_DIVISIONS = 5040  # of a quarter: whole numbers for all tuplets up to ten
_FIFTHS = {"C": 0, "G": 1, "D": 2, "A": 3, "E": 4, "B": 5, "F": -1}
_MODES = {
    "maj": 0,
    "ion": 0,
    "mix": -1,
    "dor": -2,
    "m": -3,
    "min": -3,
    "aeo": -3,
    "phr": -4,
    "loc": -5,
    "lyd": 1,
}
_SHARPS, _FLATS = "FCGDAEB", "BEADGCF"
_TYPES = ("maxima", "long", "breve", "whole", "half", "quarter", "eighth", "16th", "32nd", "64th")
_DYNAMICS = frozenset(
    ["pppp", "ppp", "pp", "p", "mp", "mf", "f", "ff", "fff", "ffff", "sfz", "sf", "fp"]
)
_SIGNS = {
    "trill": "<ornaments><trill-mark/></ornaments>",
    "lowermordent": "<ornaments><mordent/></ornaments>",
    "mordent": "<ornaments><mordent/></ornaments>",
    "uppermordent": "<ornaments><inverted-mordent/></ornaments>",
    "pralltriller": "<ornaments><inverted-mordent/></ornaments>",
    "turn": "<ornaments><turn/></ornaments>",
    "invertedturn": "<ornaments><inverted-turn/></ornaments>",
    "fermata": "<fermata/>",
    "accent": "<articulations><accent/></articulations>",
    "emphasis": "<articulations><accent/></articulations>",
    ">": "<articulations><accent/></articulations>",
    "^": "<articulations><strong-accent/></articulations>",
    "marcato": "<articulations><strong-accent/></articulations>",
    "staccato": "<articulations><staccato/></articulations>",
    "wedge": "<articulations><staccatissimo/></articulations>",
    "tenuto": "<articulations><tenuto/></articulations>",
    "arpeggio": "<arpeggiate/>",
}
_SHORTHAND = {
    ".": "staccato",
    "~": "turn",
    "H": "fermata",
    "L": "accent",
    "M": "lowermordent",
    "P": "uppermordent",
    "T": "trill",
    "O": "coda",
    "S": "segno",
}
_TOKEN = re.compile(
    r"""
    (?P<field>\[[A-Za-z]:[^\]]*\])
  | (?P<text>"[^"]*")
  | (?P<deco>![^!\s]+!|\+[a-z<>().0-9]+\+)
  | (?P<bar>:*\|*\[?\|+\]?:*(?:[1-9][0-9,-]*)?|::+|:\|?|\[[1-9][0-9,-]*)
  | (?P<grace>\{/?|\})
  | (?P<tuplet>\((?P<p>[2-9])(?::(?P<q>[2-9]?))?(?::(?P<r>[0-9]*))?)
  | (?P<chord>\[(?=[\^_=A-Ga-g!".~uv]))
  | (?P<endchord>\](?P<clen>[0-9]*(?:/+[0-9]*)?))
  | (?P<note>(?P<acc>\^\^|\^|__|_|=)?(?P<step>[A-Ga-g])(?P<oct>[,']*)(?P<len>[0-9]*(?:/+[0-9]*)?))
  | (?P<rest>[zxZX](?P<rlen>[0-9]*(?:/+[0-9]*)?))
  | (?P<broken>>+|<+)
  | (?P<tie>-)
  | (?P<slur>[()])
  | (?P<short>[.~HLMPTOSuv])
    """,
    re.VERBOSE,
)
_FIELD = re.compile(r"^([A-Za-z]):(.*)$")


def split_tunes(text: str) -> list[str]:
    """Return the tunes of a book, each with what stands in the head of the file."""
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    starts = [i for i, line in enumerate(lines) if re.match(r"X:\s*\d*", line)]
    if not starts:
        return [text] if any(line.startswith("K:") for line in lines) else []
    head = [line for line in lines[: starts[0]] if re.match(r"[LMQ]:", line)]
    ends = [*starts[1:], len(lines)]
    tunes = ["\n".join(head + lines[a:b]) for a, b in zip(starts, ends, strict=True)]
    return [tune for tune in tunes if re.search(r"(?m)^K:", tune)]


@dataclass
class _Note:
    length: Fraction  # of a whole note
    pitches: list[tuple[str, int, int]]  # step, alter, octave; none for a rest
    ratio: tuple[int, int] = (1, 1)
    edge: str = ""  # "start", "stop" or both of a tuplet
    tied: bool = False
    tie_end: bool = False
    grace: bool = False
    signs: list[str] = field(default_factory=list)
    slurs: list[str] = field(default_factory=list)


@dataclass
class _Bar:
    items: list[_Note | str] = field(default_factory=list)  # a string is XML that stands between
    left: str = ""
    right: str = ""
    ending: str = ""
    stop_ending: bool = False


@dataclass
class _Voice:
    meter: tuple[int, int]
    unit: Fraction
    fifths: int
    alters: dict[str, int]
    bars: list[_Bar] = field(default_factory=lambda: [_Bar()])
    inside: dict[tuple[str, int], int] = field(default_factory=dict)
    decorations: list[str] = field(default_factory=list)
    ties: set[tuple[str, int, int]] = field(default_factory=set)
    tuplet: list[int] = field(default_factory=list)  # p, q, notes left, notes in all
    broken: Fraction | None = None
    ending_open: bool = False


def abc_to_musicxml(tune: str) -> str:
    """One tune as a partwise MusicXML score, one part a voice."""
    title, meter, unit, key, tempo = "", (4, 4), None, "C", ""
    voices: dict[str, _Voice] = {}
    names: dict[str, str] = {}
    current = ""
    in_head = True
    for raw in tune.split("\n"):
        line = re.sub(r"(?<!\\)%.*", "", raw).rstrip().rstrip("\\")
        match = _FIELD.match(line)
        if match and in_head:
            name, value = match[1], match[2].strip()
            if name == "T" and not title:
                title = value
            elif name == "M":
                meter = _meter(value)
            elif name == "L":
                unit = Fraction(value.replace(" ", "") or "1/8")
            elif name == "Q":
                tempo = value
            elif name == "V":
                label = value.split()[0] if value.split() else "1"
                found = re.search(r'(?:name|nm)="([^"]*)"', value)
                names[label] = found[1] if found else label
            elif name == "K":
                key, in_head = value, False
            continue
        if in_head:
            continue
        if unit is None:
            unit = Fraction(1, 16) if Fraction(*meter) < Fraction(3, 4) else Fraction(1, 8)
        if match and match[1] == "V":
            current = match[2].split()[0] if match[2].split() else "1"
            names.setdefault(current, current)
            continue
        if match and match[1] not in "KLMQ":
            continue
        if inline := re.match(r"\[V:\s*([^\]\s]+)[^\]]*\]", line):
            current = inline[1]
            names.setdefault(current, current)
            line = line[inline.end() :]
        if not line.strip():
            continue
        label = current or next(iter(names), "1")
        if label not in voices:
            fifths, alters = _key(key)
            voices[label] = _Voice(meter, unit, fifths, alters)
            voices[label].bars[0].items.append(_attributes(voices[label], first=True))
            if tempo and len(voices) == 1:
                voices[label].bars[0].items.append(_tempo(tempo, unit))
        voice = voices[label]
        if match:
            _apply_field(voice, match[1], match[2].strip())
        else:
            _read_line(voice, line)
    return _written(title, voices, names)


def _meter(text: str) -> tuple[int, int]:
    if text.startswith("C|"):
        return (2, 2)
    found = re.match(r"\(?([\d+ ]+)\)?\s*/\s*(\d+)", text)
    if not found:
        return (4, 4)
    return sum(int(x) for x in found[1].split("+")), int(found[2])


def _key(text: str) -> tuple[int, dict[str, int]]:
    """Return sharps (flats negative), and how every step is altered."""
    found = re.match(r"\s*([A-G])([#b]?)\s*([A-Za-z]*)", text)
    fifths = 0
    if found:
        mode = found[3].lower()
        shift = _MODES.get(mode[:3], _MODES["m"] if mode == "m" else 0)
        fifths = _FIFTHS[found[1]] + {"#": 7, "b": -7}.get(found[2], 0) + shift
    if text.strip().startswith(("HP", "Hp")):
        fifths = 2
    fifths = max(-7, min(7, fifths))
    alters = dict.fromkeys(_SHARPS[: max(fifths, 0)], 1)
    alters.update(dict.fromkeys(_FLATS[: max(-fifths, 0)], -1))
    for sign, step in re.findall(r"(?<=[\s])(\^\^?|__?|=)([A-Ga-g])", text):
        alters[step.upper()] = {"^": 1, "^^": 2, "_": -1, "__": -2, "=": 0}[sign]
    return fifths, alters


def _length(text: str) -> Fraction:
    """Return ``3``, ``/``, ``//``, ``3/2``."""
    if not text:
        return Fraction(1)
    number, slash, below = text.partition("/")
    value = Fraction(int(number or 1))
    if slash:
        halves = len(slash + below) - len((slash + below).lstrip("/"))
        digits = below.lstrip("/")
        value /= int(digits) if digits and int(digits) else 2**halves
    return value


def _attributes(voice: _Voice, *, first: bool = False, meter: bool = False) -> str:
    beats, kind = voice.meter
    time = f"<time><beats>{beats}</beats><beat-type>{kind}</beat-type></time>"
    clef = "<clef><sign>G</sign><line>2</line></clef>" if first else ""
    divisions = f"<divisions>{_DIVISIONS}</divisions>" if first else ""
    key = f"<key><fifths>{voice.fifths}</fifths></key>" if first or not meter else ""
    return f"<attributes>{divisions}{key}{time if first or meter else ''}{clef}</attributes>"


def _tempo(text: str, unit: Fraction) -> str:
    """Return a tempo field as a direction: its words, and the mark in quarters a minute."""
    words = " ".join(re.findall(r'"([^"]*)"', text))
    rest = re.sub(r'"[^"]*"', "", text)
    found = re.search(r"((?:\d+/\d+\s*)*)=\s*(\d+(?:\.\d+)?)", rest)
    bpm = None
    if found:
        units = [Fraction(x) for x in found[1].split()] or [unit]
        bpm = float(sum(units) * 4) * float(found[2])
    elif plain := re.fullmatch(r"\s*(\d+)\s*", rest):
        bpm = float(unit * 4) * float(plain[1])
    kinds = f"<direction-type><words>{escape(words)}</words></direction-type>" if words else ""
    if bpm:
        kinds += (
            "<direction-type><metronome><beat-unit>quarter</beat-unit>"
            f"<per-minute>{bpm:g}</per-minute></metronome></direction-type>"
        )
    return f"<direction>{kinds}</direction>" if kinds else ""


def _direction(inside: str) -> str:
    return f"<direction><direction-type>{inside}</direction-type></direction>"


def _apply_field(voice: _Voice, name: str, value: str) -> None:
    if name == "K":
        voice.fifths, voice.alters = _key(value)
        voice.inside.clear()
        voice.bars[-1].items.append(_attributes(voice))
    elif name == "M":
        voice.meter = _meter(value)
        voice.bars[-1].items.append(_attributes(voice, meter=True))
    elif name == "L":
        voice.unit = Fraction(value.replace(" ", "") or "1/8")
    elif name == "Q":
        voice.bars[-1].items.append(_tempo(value, voice.unit))


def _read_line(voice: _Voice, line: str) -> None:
    at = 0
    grace = False
    chord: _Note | None = None
    slurs = 0
    while at < len(line):
        match = _TOKEN.match(line, at)
        if not match or not match[0]:
            at += 1
            continue
        at = match.end()
        kind = match.lastgroup
        kind = next(k for k in _KINDS if match[k] is not None)
        if kind == "field":
            _apply_field(voice, match[0][1], match[0][3:-1].strip())
        elif kind == "deco":
            _decorate(voice, match[0][1:-1])
        elif kind == "short":
            _decorate(voice, _SHORTHAND.get(match[0], ""))
        elif kind == "bar":
            _bar(voice, match[0])
        elif kind == "grace":
            grace = match[0] != "}"
        elif kind == "tuplet":
            p = int(match["p"])
            compound = voice.meter[1] == 8 and voice.meter[0] % 3 == 0
            usual = {2: 3, 3: 2, 4: 3, 6: 2, 8: 3}.get(p, 3 if compound else 2)
            count = int(match["r"]) if match["r"] else p
            voice.tuplet = [p, int(match["q"]) if match["q"] else usual, count, count]
        elif kind == "chord":
            chord = _Note(Fraction(0), [])
        elif kind == "endchord" and chord is not None:
            chord.length *= _length(match["clen"])
            _add(voice, chord, grace=grace, slurs=slurs)
            chord, slurs = None, 0
        elif kind == "note":
            pitch = _pitch(voice, match)
            length = _length(match["len"]) * voice.unit
            if chord is not None:
                chord.pitches.append(pitch)
                chord.length = chord.length or length
            else:
                _add(voice, _Note(length, [pitch]), grace=grace, slurs=slurs)
                slurs = 0
        elif kind == "rest":
            if match[0][0] in "ZX":
                count = int(_length(match["rlen"]))
                whole = Fraction(*voice.meter)
                for number in range(min(count, 1000)):
                    _add(voice, _Note(whole, []), grace=False, slurs=0)
                    if number + 1 < count:
                        _bar(voice, "|")
            else:
                length = _length(match["rlen"]) * voice.unit
                _add(voice, _Note(length, []), grace=grace, slurs=0)
        elif kind == "broken":
            _broken(voice, match[0])
        elif kind == "tie":
            last = _last(voice)
            if last is not None:
                last.tied = True
                voice.ties = set(last.pitches)
        elif kind == "slur":
            last = _last(voice)
            if match[0] == "(":
                slurs += 1
            elif last is not None:
                last.slurs.append("stop")


_KINDS = (
    "field",
    "text",
    "deco",
    "bar",
    "grace",
    "tuplet",
    "chord",
    "endchord",
    "note",
    "rest",
    "broken",
    "tie",
    "slur",
    "short",
)


def _decorate(voice: _Voice, name: str) -> None:
    items = voice.bars[-1].items
    if name in _DYNAMICS:
        items.append(_direction(f"<dynamics><{name}/></dynamics>"))
    elif name in ("crescendo(", "<(", "diminuendo(", ">("):
        grows = name in ("crescendo(", "<(")
        items.append(_direction(f'<wedge type="{"crescendo" if grows else "diminuendo"}"/>'))
    elif name in ("crescendo)", "<)", "diminuendo)", ">)"):
        items.append(_direction('<wedge type="stop"/>'))
    elif name in ("segno", "coda"):
        items.append(_direction(f"<{name}/>"))
    elif name in ("D.C.", "D.S.", "fine", "dacoda", "D.C.alfine", "D.S.alfine", "D.C.alcoda"):
        words = {"dacoda": "To Coda", "fine": "Fine"}.get(name, name.replace("al", " al "))
        items.append(_direction(f"<words>{words}</words>"))
    elif name in _SIGNS:
        voice.decorations.append(_SIGNS[name])


def _pitch(voice: _Voice, match: re.Match[str]) -> tuple[str, int, int]:
    step = match["step"].upper()
    octave = (5 if match["step"].islower() else 4) + match["oct"].count("'")
    octave -= match["oct"].count(",")
    if match["acc"]:
        alter = {"^": 1, "^^": 2, "_": -1, "__": -2, "=": 0}[match["acc"]]
        voice.inside[step, octave] = alter
    else:
        alter = voice.inside.get((step, octave), voice.alters.get(step, 0))
        tied = [a for s, a, o in voice.ties if (s, o) == (step, octave)]
        alter = tied[0] if tied and (step, octave) not in voice.inside else alter
    return step, alter, octave


def _last(voice: _Voice) -> _Note | None:
    for bar in reversed(voice.bars[-2:]):
        for item in reversed(bar.items):
            if isinstance(item, _Note) and not item.grace:
                return item
    return None


def _add(voice: _Voice, note: _Note, *, grace: bool, slurs: int) -> None:
    note.grace = grace
    note.slurs += ["start"] * slurs
    if not grace:
        note.signs, voice.decorations = voice.decorations, []
        note.tie_end = bool(voice.ties & set(note.pitches))
        voice.ties = set()
        if voice.broken is not None:
            note.length *= voice.broken
            voice.broken = None
        if voice.tuplet:
            p, q, left, count = voice.tuplet
            note.ratio = (p, q)
            note.edge = "start" * (left == count) + "stop" * (left == 1)
            voice.tuplet = [p, q, left - 1, count] if left > 1 else []
    voice.bars[-1].items.append(note)


def _broken(voice: _Voice, text: str) -> None:
    last = _last(voice)
    if last is None:
        return
    small = Fraction(1, 2 ** len(text))
    longer, shorter = 2 - small, small
    last.length *= longer if text[0] == ">" else shorter
    voice.broken = shorter if text[0] == ">" else longer


def _bar(voice: _Voice, text: str) -> None:
    bar = voice.bars[-1]
    ending = re.search(r"[1-9][0-9,-]*$", text)
    sign = text[: ending.start()] if ending else text
    closes = sign.startswith(":")
    opens = sign.endswith(":") and (len(sign) > 1 and (sign.strip(":") != "" or len(sign) > 1))
    if sign == ":" or (closes and not opens and "|" not in sign):
        opens = sign == "::"
    filled = any(isinstance(item, _Note) for item in bar.items)
    if filled and sign != "[":
        bar.right = "backward" if closes else ("final" if "|]" in sign or "||" in sign else "")
        if voice.ending_open and (closes or bar.right == "final"):
            bar.stop_ending, voice.ending_open = True, False
        bar = _Bar()
        voice.bars.append(bar)
        voice.inside.clear()
    elif closes and len(voice.bars) > 1:
        voice.bars[-2].right = "backward"
    if opens:
        bar.left = "forward"
    if ending:
        if voice.ending_open and len(voice.bars) > 1:
            voice.bars[-2].stop_ending = True
        bar.ending = _numbers(ending[0])
        voice.ending_open = True


def _numbers(text: str) -> str:
    """Return ``1,3-4`` as MusicXML lists the numbers of an ending."""
    found: list[int] = []
    for item in text.strip(",-").split(","):
        first, _, last = item.partition("-")
        found += range(int(first), int(last or first) + 1)
    return ",".join(map(str, found[:32]))


def _written(title: str, voices: dict[str, _Voice], names: dict[str, str]) -> str:
    listed = list(voices)
    for voice in voices.values():
        last = voice.bars[-1]
        if len(voice.bars) > 1 and not any(isinstance(i, _Note) for i in last.items):
            voice.bars.pop()
        if voice.ending_open:
            voice.bars[-1].stop_ending = True
    longest = max((len(v.bars) for v in voices.values()), default=0)
    parts = "".join(
        f'<score-part id="P{n}"><part-name>{escape(names.get(label, label))}</part-name>'
        "</score-part>"
        for n, label in enumerate(listed, 1)
    )
    body = []
    for n, label in enumerate(listed, 1):
        ending = ""
        measures = []
        for number in range(longest):
            bars = voices[label].bars
            bar = bars[number] if number < len(bars) else _Bar()
            ending = bar.ending or ending
            measures.append(_measure(number + 1, bar, ending))
            if bar.stop_ending:
                ending = ""
        body.append(f'<part id="P{n}">{"".join(measures)}</part>')
    return (
        '<score-partwise version="4.0">'
        f"<work><work-title>{escape(title)}</work-title></work>"
        f"<part-list>{parts}</part-list>{''.join(body)}</score-partwise>"
    )


def _measure(number: int, bar: _Bar, ending: str) -> str:
    left = right = ""
    if bar.left or bar.ending:
        style = "<bar-style>heavy-light</bar-style>" if bar.left else ""
        left = f'<barline location="left">{style}'
        left += f'<ending number="{bar.ending}" type="start"/>' if bar.ending else ""
        left += '<repeat direction="forward"/>' if bar.left else ""
        left += "</barline>"
    if bar.right or bar.stop_ending:
        right = '<barline location="right">'
        right += "<bar-style>light-heavy</bar-style>" if bar.right else ""
        right += f'<ending number="{ending}" type="stop"/>' if bar.stop_ending and ending else ""
        right += '<repeat direction="backward"/>' if bar.right == "backward" else ""
        right += "</barline>"
    notes = "".join(i if isinstance(i, str) else _note(i) for i in bar.items)
    return f'<measure number="{number}">{left}{notes}{right}</measure>'


def _pieces(length: Fraction) -> list[Fraction]:
    """Return a length as lengths that have a sign: a power of two, with up to two dots."""
    found = []
    for _ in range(12):
        if length < Fraction(1, 128):
            break
        base = Fraction(4)
        while base > length:
            base /= 2
        for dotted in (base * Fraction(7, 4), base * Fraction(3, 2), base):
            if dotted <= length:
                found.append(dotted)
                length -= dotted
                break
    return found or [Fraction(1, 128)]


def _note(note: _Note) -> str:
    pieces = [note.length] if note.grace else _pieces(note.length)
    out = []
    for number, length in enumerate(pieces):
        first, last = number == 0, number == len(pieces) - 1
        base = Fraction(4)
        while base > length:
            base /= 2
        dots = {Fraction(1): 0, Fraction(3, 2): 1, Fraction(7, 4): 2}.get(length / base, 0)
        kind = _TYPES[min(max(_power(base), 0), len(_TYPES) - 1)]
        p, q = note.ratio
        duration = int(length * 4 * _DIVISIONS * q / p)
        for place, pitch in enumerate(note.pitches or [None]):
            start = note.pitches and (note.tied or not last)
            stop = note.pitches and (note.tie_end or not first)
            xml = "<note>"
            xml += "<grace/>" if note.grace else ""
            xml += "<chord/>" if place else ""
            if pitch is None:
                xml += "<rest/>"
            else:
                step, alter, octave = pitch
                xml += f"<pitch><step>{step}</step><alter>{alter}</alter>"
                xml += f"<octave>{octave}</octave></pitch>"
            xml += "" if note.grace else f"<duration>{max(duration, 1)}</duration>"
            if not note.grace:
                xml += '<tie type="stop"/>' if stop else ""
                xml += '<tie type="start"/>' if start else ""
            xml += f"<voice>1</voice><type>{kind}</type>" + "<dot/>" * dots
            if note.ratio != (1, 1):
                xml += f"<time-modification><actual-notes>{p}</actual-notes>"
                xml += f"<normal-notes>{q}</normal-notes></time-modification>"
            marks = ""
            if not note.grace:
                marks += '<tied type="stop"/>' if stop else ""
                marks += '<tied type="start"/>' if start else ""
            if not place:
                if note.edge.startswith("start") and first:
                    marks += '<tuplet type="start"/>'
                if note.edge.endswith("stop") and last:
                    marks += '<tuplet type="stop"/>'
                marks += "".join(f'<slur number="1" type="{s}"/>' for s in note.slurs)
                marks += "".join(note.signs) if first else ""
            xml += f"<notations>{marks}</notations>" if marks else ""
            out.append(xml + "</note>")
    return "".join(out)


def _power(base: Fraction) -> int:
    """Place in ``_TYPES``: a whole note is 3."""
    place = 3
    while base > 1:
        base, place = base / 2, place - 1
    while base < 1:
        base, place = base * 2, place + 1
    return place
