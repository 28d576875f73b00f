"""Written marks -> what they ask of every note, of the tempo and of the pedal.

Dynamics by staff, hairpins and words between them, accents, touch, slurs, fermatas, rolled chords,
metronome marks and tempo words, gradual changes of tempo, pedal marks. Everything is placed in the
order in which the bars are played. Where a jump leads back, what held there on the page holds
again.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from arietta.arrays import FloatArray
from arietta.notation.mei import ID, Element, tag_of, text_of
from arietta.notation.sheet import (
    PLAIN,
    PORTATO,
    STACCATISSIMO,
    STACCATO,
    TENUTO,
)
from arietta.notation.timeline import SheetNote, Timeline

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

_WORD_DYNAMICS = {
    "pianissimo": 33,
    "piano": 49,
    "mezzopiano": 64,
    "mezzoforte": 80,
    "forte": 96,
    "fortissimo": 112,
}
_ACCENTED = {
    "sf": 26,
    "sfz": 28,
    "sffz": 34,
    "sfffz": 38,
    "fz": 24,
    "ffz": 30,
    "rf": 20,
    "rfz": 22,
    "rinf": 20,
    "rinforzando": 20,
    "sforzando": 26,
    "sforzato": 26,
}
"""Velocity steps that a note stands out."""

_THEN_SOFT = {"fp": 96, "ffp": 112, "mfp": 80, "sfp": 96, "sffp": 112, "sfzp": 96}
"""Attacks after which it is soft at once: the velocity of the attack."""

_ACCENT, _MARCATO = 18, 26
_HAIRPIN = 16  # velocity steps, where no dynamic is written at its end
_UNMARKED = 90.0  # velocity of a score without dynamics, as verovio plays it
_START = 72.0  # where a hairpin begins before any dynamic
_SMUFL = str.maketrans(
    {"\ue520": "p", "\ue521": "m", "\ue522": "f", "\ue523": "r", "\ue524": "s", "\ue525": "z"}
)

_LOUDER = re.compile(r"\bcresc|\brinforz|\baccresc")
_SOFTER = re.compile(r"\bdim(?:in)?\b|\bdiminuendo|\bdecr|\bmorendo|\bsmorz|\bcalando|\bperdend")

TEMPO_WORDS = (
    ("prestissimo", 200),
    ("presto", 180),
    ("vivacissimo", 170),
    ("vivace", 152),
    ("vivo", 152),
    ("allegro moderato", 116),
    ("allegro ma non troppo", 120),
    ("allegro assai", 144),
    ("allegro", 132),
    ("allegretto", 112),
    ("moderato", 104),
    ("andantino", 88),
    ("andante", 80),
    ("adagietto", 72),
    ("adagio", 66),
    ("larghetto", 60),
    ("lento", 54),
    ("largo", 48),
    ("grave", 42),
    ("sehr langsam", 48),
    ("langsam", 56),
    ("mässig", 100),
    ("mäßig", 100),
    ("lebhaft", 138),
    ("sehr schnell", 180),
    ("schnell", 156),
    ("bewegt", 120),
    ("très lent", 46),
    ("lentement", 56),
    ("lent", 56),
    ("modéré", 100),
    ("très vif", 170),
    ("vif", 152),
    ("vivement", 152),
    ("vite", 156),
    ("rapide", 160),
    ("animé", 132),
    ("slowly", 60),
    ("slow", 60),
    ("moderately", 100),
    ("fast", 144),
    ("lively", 138),
)
"""Quarters a minute of tempo words, as metronomes and editors give them."""

_BACK = re.compile(r"\ba tempo\b|\bim (?:zeitmass|zeitmaß|tempo)\b|\bau mouvement\b")
_FIRST = re.compile(r"\btempo (?:i\b|primo|1)|\b1[°o]? tempo\b|\bprimo tempo\b")
_SLOWER = re.compile(
    r"\brit(?:\.|ard|en|$|\b)|\brall|\ballarg|\bslarg|\bcalando|\bmorendo|\bsmorz|\bs?lentando"
    r"|\bzögern|\bzurückhalt|\bverlangsam|\bnachlassen|\bcéde[rz]|\ben cédant|\bralenti|\bretenu"
    r"|\bslowing|\bbroaden"
)
_FASTER = re.compile(
    r"\baccel|\bstring(?:\b|endo)|\baffrett|\bstretto\b|\bincalz|\bpressez|\bserrez"
    r"|\ben (?:press|serr|anim)ant|\bdrängend|\bbeschleunig"
)
_AT_ONCE = re.compile(r"\britenuto\b|\briten\.")
_SCALES = (
    (re.compile(r"\bdoppio movimento\b|\bdoppelt so schnell\b"), 2.0),
    (re.compile(r"\bpi[uù] (?:mosso|animato|vivo|allegro)\b|\bpoco pi[uù] mosso\b"), 1.15),
    (re.compile(r"\bschneller\b|\bbewegter\b|\bplus (?:vite|animé|vif)\b|\bfaster\b"), 1.15),
    (re.compile(r"\bmeno (?:mosso|allegro|vivo)\b|\bpi[uù] (?:lento|adagio|largo)\b"), 0.85),
    (re.compile(r"\blangsamer\b|\bmoins vite\b|\bplus lent\b|\bslower\b"), 0.85),
)
_DRY = re.compile(r"\b(?:senza|sans|ohne|no|without) (?:il )?p[eé]d")
_WET = re.compile(r"\b(?:con|mit|avec|with) (?:il )?p[eé]d")

_FERMATA = 1.8  # times as long
_GRADUAL = 8.0  # quarters that a change of tempo takes where nothing ends it
_REACH = 16.0  # quarters within which the next mark ends a change
_RIT, _ACCEL = 0.7, 1.35
_PEDAL_GAP_SECONDS = 0.09  # the pedal is up between two marks
_BETWEEN = 4.5  # quarters between two pedal marks that still belong together


class _Event(NamedTuple):
    """A mark where it is played."""

    start: float
    end: float | None
    bar: int
    element: Element
    staffs: frozenset[int]  # empty: all
    layer: str


@dataclass
class Level:
    """A change of loudness: a level, or a way towards the next one."""

    start: float
    end: float | None
    level: float
    change: int
    staffs: frozenset[int]
    layer: str = ""


class Marks:
    """All marks of a score.

    Args:
        tree: the MEI.
        line: the score as played.
    """

    def __init__(self, tree: Element, line: Timeline) -> None:
        self.line = line
        self.end = max((bar.start + bar.length for bar in line.bars), default=0.0)
        self._units = [m.meter[1] for m in line.measures]
        self._at: dict[tuple[int, str], list[SheetNote]] = {}
        for name, strokes in line.by_name.items():
            for stroke in strokes:
                self._at.setdefault((stroke.bar, name), []).append(stroke)
        self._played: dict[int, list[int]] = {}
        for number, bar in enumerate(line.bars):
            self._played.setdefault(bar.measure, []).append(number)
        self.events: list[_Event] = []
        for index, measure in enumerate(line.measures):
            for element in measure.element:
                if tag_of(element) != "staff":
                    self.events += self._placed(index, element)
        # Attributes on notes are marks as well.
        self.events.sort(key=lambda event: event.start)
        self._jumps = [
            number
            for number, (a, b) in enumerate(zip(line.bars, line.bars[1:], strict=False), 1)
            if b.measure != a.measure + 1
        ]
        first = next((e for e in tree.iter() if tag_of(e) == "scoreDef"), None)
        self._first_bpm = _positive(first.get("midi.bpm")) if first is not None else None

    def of(self, *tags: str) -> Iterator[_Event]:
        """Return marks of some kinds, by time."""
        return (event for event in self.events if tag_of(event.element) in tags)

    def _placed(self, measure: int, element: Element) -> Iterator[_Event]:
        """Return a mark, every time that its bar is played."""
        staffs = frozenset(int(s) for s in element.get("staff", "").split() if s.isdecimal())
        layer = element.get("layer", "")
        start_id = element.get("startid", "")[1:]
        end_id = element.get("endid", "")[1:]
        for number in self._played.get(measure, ()):
            bar = self.line.bars[number]
            strokes = self._at.get((number, start_id), [])
            if strokes:
                start = min(stroke.onset for stroke in strokes)
                own = staffs or frozenset(stroke.staff for stroke in strokes)
            elif (number, start_id) in self.line.rests:
                start, own = self.line.rests[number, start_id][0], staffs
            else:
                start = bar.start + _beat(element.get("tstamp")) * 4 / self._units[measure]
                own = staffs
            end: float | None = None
            if element.get("tstamp2"):
                end = self._end(number, element.get("tstamp2", ""))
            elif end_id:
                end = self._end_of(number, end_id)
            yield _Event(start, end, number, element, own, layer)

    def _end(self, number: int, text: str) -> float:
        bars, _, beat = text.rpartition("m+")
        further = int(bars) if bars.isdecimal() else 0
        played = self.line.bars
        last = number
        for _ in range(further):
            following = last + 1
            if following >= len(played) or played[following].measure != played[last].measure + 1:
                return played[last].start + played[last].length
            last = following
        at = played[last].start + _beat(beat) * 4 / self._units[played[last].measure]
        return min(at, played[last].start + played[last].length)

    def _end_of(self, number: int, name: str) -> float | None:
        for bar in range(number, min(number + 64, len(self.line.bars))):
            strokes = self._at.get((bar, name))
            if strokes:
                return min(stroke.onset for stroke in strokes)
            if (bar, name) in self.line.rests:
                return self.line.rests[bar, name][0]
        return None

    # ---- loudness ------------------------------------------------------------------------------

    def loudness(self, notes: list[SheetNote]) -> tuple[FloatArray, FloatArray]:
        """Return the (n,) level that holds, NaN where none is written, and (n,) accents."""
        events, accents = self._levels()
        onset = np.array([note.onset for note in notes])
        staff = np.array([note.staff for note in notes])
        level = np.full(len(notes), np.nan)
        for number in np.unique(staff):
            rows = np.flatnonzero(staff == number)
            mine = self._holding(int(number), events)
            common = [event for event in mine if not event.layer]
            if common:
                level[rows] = _course(common, self.end)(onset[rows])
            voices = {event.layer for event in mine if event.layer}
            for voice in voices:
                own = [event for event in mine if event.layer in ("", voice)]
                here = [row for row in rows.tolist() if notes[row].layer == voice]
                level[here] = _course(own, self.end)(onset[here])
        accent = np.zeros(len(notes))
        for event, steps in accents:
            exact = np.array([not event.staffs or n.staff in event.staffs for n in notes], bool)
            part = np.array(
                [len(event.staffs) == 1 and self._shared(n.staff, event.staffs) for n in notes],
                bool,
            )
            near = (onset >= event.start - 0.03) & (onset < event.start + 1.0)
            rows = np.flatnonzero(near & exact)
            if not len(rows):
                rows = np.flatnonzero(near & part)
            if len(rows):
                first = onset[rows].min()
                rows = rows[onset[rows] < first + 0.03]
                accent[rows] = np.maximum(accent[rows], steps)
        for row, note in enumerate(notes):
            signs = _articulations(note)
            if "marc" in signs:
                accent[row] = max(accent[row], _MARCATO)
            elif signs & {"acc", "stress", "acc-inv", "acc-long"}:
                accent[row] = max(accent[row], _ACCENT)
        return level, accent

    def _shared(self, staff: int, others: frozenset[int]) -> bool:
        """Return whether a staff belongs to the same part as another."""
        part = self.line.staffs.get(staff, ("", -staff, 0, 1))[1]
        return any(self.line.staffs.get(o, ("", -o, 0, 1))[1] == part for o in others)

    def _levels(self) -> tuple[list[Level], list[tuple[_Event, float]]]:
        found: list[Level] = []
        accents: list[tuple[_Event, float]] = []
        for event in self.of("dynam", "hairpin", "dir", "tempo"):
            element = event.element
            if tag_of(element) == "hairpin":
                change = -1 if element.get("form") == "dim" else 1
                found.append(Level(event.start, event.end, 0, change, event.staffs, event.layer))
                continue
            text = text_of(element).translate(_SMUFL).lower()
            words = re.findall(r"[a-zùé]+", text)
            level: float | None = None
            if tag_of(element) == "dynam":
                given = _positive(element.get("val"))
                joined = "".join(words)
                for word in (*words, joined):
                    if word in _THEN_SOFT:
                        level = float(DYNAMICS["p"])
                        accents.append((event, _THEN_SOFT[word] - level))
                    elif word in _ACCENTED:
                        accents.append((event, float(_ACCENTED[word])))
                    elif word in DYNAMICS or word in _WORD_DYNAMICS:
                        level = float(DYNAMICS.get(word) or _WORD_DYNAMICS[word])
                    if len(words) == 1:
                        break
                if (
                    (given and level is not None and not set(words) & _THEN_SOFT.keys())
                    or (given and level is None and not words)
                    or (given and level is None and not _ACCENTED.keys() & set(words))
                ):
                    level = min(given, 127.0)
            change = 1 if _LOUDER.search(text) else -1 if _SOFTER.search(text) else 0
            if level is not None:
                found.append(Level(event.start, None, level, 0, event.staffs, event.layer))
            if change:
                found.append(Level(event.start, event.end, 0, change, event.staffs, event.layer))
        found += self._again(found)
        # A level comes before the change that begins with it.
        return sorted(found, key=lambda item: (item.start, item.change != 0)), accents

    def _again(self, found: list[Level]) -> list[Level]:
        """Return what held on the page where a jump leads to."""
        back: list[Level] = []
        for number in self._jumps:
            bar = self.line.bars[number]
            before = [n for n in range(number) if self.line.bars[n].measure < bar.measure]
            last = max(before, key=lambda n: self.line.bars[n].measure, default=None)
            if last is None:
                continue
            limit = self.line.bars[last].start + self.line.bars[last].length - 1e-6
            newest: dict[frozenset[int], Level] = {}
            for item in sorted(found, key=lambda item: item.start):
                if item.level and item.start < limit:
                    newest[item.staffs] = item
            for staffs, item in newest.items():
                back.append(Level(bar.start, None, item.level, 0, staffs, item.layer))
        # What is written there itself is stronger.
        kept = []
        for item in back:
            if not any(
                other.level and abs(other.start - item.start) < 0.03 and other.staffs == item.staffs
                for other in found
            ):
                kept.append(item)
        return kept

    def _holding(self, staff: int, events: list[Level]) -> list[Level]:
        """Which dynamics a staff obeys: its own, its part's, or everybody's where it has none."""
        part = self.line.staffs.get(staff, ("", -staff, 0, 1))[1]
        mates = {n for n, row in self.line.staffs.items() if row[1] == part} | {staff}
        own = [e for e in events if not e.staffs or staff in e.staffs]
        ours = [e for e in events if not e.staffs or e.staffs & mates]
        counts = {n: sum(bool(e.level) and n in e.staffs for e in events) for n in mates}
        marked = counts.get(staff, 0)
        if marked and marked * 2 >= max(counts.values()):
            return own
        if not any(e.level or e.change for e in ours):
            return events
        # Where both staves of a part have a mark at once, each keeps its own.
        mine = [e.start for e in own if e.level]
        return [
            e
            for e in ours
            if e in own or not e.level or not any(abs(e.start - t) < 0.03 for t in mine)
        ]

    # ---- touch ---------------------------------------------------------------------------------

    def touches(self, notes: list[SheetNote]) -> tuple[list[int], list[bool]]:
        """Return touch of every note, and whether a slur leads on from it."""
        slurred = [False] * len(notes)
        rows: dict[tuple[int, str], list[int]] = {}
        for row, note in enumerate(notes):
            rows.setdefault((note.staff, note.layer), []).append(row)
        onsets = {key: [notes[row].onset for row in items] for key, items in rows.items()}
        for event in self.of("slur"):
            name = event.element.get("startid", "")[1:]
            first = self._at.get((event.bar, name), [])
            end = event.end
            if not first or end is None:
                continue
            key = (first[0].staff, first[0].layer)
            for row, onset in zip(rows.get(key, ()), onsets.get(key, ()), strict=True):
                if event.start - 1e-6 <= onset < end - 1e-6:
                    slurred[row] = True
        touch = []
        for row, note in enumerate(notes):
            signs = _articulations(note)
            short = bool(signs & {"stacc", "dot"})
            if signs & {"stacciss", "spicc"}:
                touch.append(STACCATISSIMO)
            elif short and ("ten" in signs or slurred[row]):
                touch.append(PORTATO)
                slurred[row] = False
            elif short:
                touch.append(STACCATO)
            else:
                touch.append(TENUTO if "ten" in signs else PLAIN)
        return touch, slurred

    def rolls(self) -> list[list[SheetNote]]:
        """Return rolled chords, each in the order of its roll."""
        found = []
        for event in self.of("arpeg"):
            names = [n[1:] for n in event.element.get("plist", "").split()]
            names = names or [event.element.get("startid", "")[1:]]
            chord: dict[int, SheetNote] = {}
            for name in names:
                for stroke in self._at.get((event.bar, name), ()):
                    chord[id(stroke)] = stroke
            down = event.element.get("order") == "down"
            strokes = sorted(chord.values(), key=lambda s: s.pitch, reverse=down)
            if len(strokes) > 1 and event.element.get("order") != "nonarp":
                found.append(strokes)
        return found

    def held(self) -> list[tuple[float, float, frozenset[int]]]:
        """Return (start, end, strokes) of what a fermata stands over."""
        found: list[tuple[float, float, frozenset[int]]] = []
        for event in self.of("fermata"):
            name = event.element.get("startid", "")[1:]
            strokes = self._at.get((event.bar, name), [])
            if (event.bar, name) in self.line.rests:
                found.append((*self.line.rests[event.bar, name], frozenset()))
                continue
            if not strokes:
                here = [n for n in self.line.notes if n.bar == event.bar or n.bar == event.bar - 1]
                strokes = [n for n in here if n.onset <= event.start + 0.03 < n.offset]
                bar = self.line.bars[event.bar]
                if not strokes and event.start > bar.start + bar.length - 0.03:  # over the bar line
                    strokes = [n for n in here if abs(n.offset - event.start) < 0.03]
            if strokes:
                start, end = min(n.onset for n in strokes), max(n.offset for n in strokes)
                found.append((start, end, frozenset(map(id, strokes))))
        for note in self.line.notes:
            if note.element.get("fermata") or note.owner.get("fermata"):
                found.append((note.onset, note.offset, frozenset([id(note)])))
        return found

    # ---- tempo ---------------------------------------------------------------------------------

    def tempo(self) -> _Tempo:
        """Return how fast every place is, in quarters a minute."""
        found: list[_Change] = []
        if self._first_bpm:
            found.append(_Change(0.0, "set", self._first_bpm))
        for event in self.of("tempo", "dir"):
            found += _tempo_changes(event)
        numbers = {round(c.start, 2) for c in found if c.kind == "set"}
        found = [c for c in found if c.kind != "word" or round(c.start, 2) not in numbers]
        page = sorted(found, key=lambda c: c.start)
        for number in self._jumps:
            bar = self.line.bars[number]
            if any(abs(c.start - bar.start) < 0.02 and c.kind in ("set", "word") for c in page):
                continue
            first = self._played[bar.measure][0]
            if first < number:  # it was played before, with the tempo that it had then
                found.append(_Change(bar.start, "like", self.line.bars[first].start))
            else:
                found.append(_Change(bar.start, "stop", 0.0))
        return _Tempo(found, self.held(), self.end)

    # ---- pedal ---------------------------------------------------------------------------------

    def pedal(
        self, tempo: _Tempo
    ) -> tuple[list[tuple[float, int]], list[tuple[float, float]], list[tuple[float, float]]]:
        """Return (quarter, value) of the pedal, stretches that its marks rule, those without."""
        marks: list[tuple[float, int]] = []
        down = False
        for event in self.of("pedal"):
            if event.element.get("func") in ("soft", "sostenuto"):
                continue
            direction = event.element.get("dir", "")
            if direction == "up":
                marks.append((event.start, 0))
                down = False
            elif direction == "bounce" or (direction in ("down", "half") and down):
                marks += [(event.start, 0), (event.start, 127)]
                down = True
            elif direction in ("down", "half"):
                marks.append((event.start, 127 if direction == "down" else 64))
                down = True
                if event.end is not None:
                    marks.append((event.end, 0))
                    down = False
        marks.sort(key=lambda mark: mark[0])
        if down:
            marks.append((self.end, 0))
        out: list[tuple[float, int]] = []
        for at, value in marks:
            gap = _PEDAL_GAP_SECONDS * tempo.at(at) / 60
            if value and out and out[-1][1] == 0 and at - out[-1][0] < gap:
                if len(out) > 1 and out[-1][0] - gap > out[-2][0] and out[-1][0] < at - 1e-6:
                    out[-1] = (at - gap, 0)
                else:
                    at = out[-1][0] + gap
            out.append((at, value))
        spans: list[tuple[float, float]] = []
        start: float | None = None
        for at, value in out:
            if value and start is None:
                start = at
            elif not value and start is not None:
                if spans and start - spans[-1][1] <= _BETWEEN:
                    spans[-1] = (spans[-1][0], at)
                else:
                    spans.append((start, at))
                start = None
        dry: list[tuple[float, float]] = []
        begin: float | None = None
        changes = [(e.start, text_of(e.element).lower()) for e in self.of("dir", "tempo", "dynam")]
        changes += [(at, "con ped") for at, value in out if value]
        for at, text in sorted(changes):
            if begin is None and _DRY.search(text):
                begin = at
            elif begin is not None and _WET.search(text):
                dry.append((begin, at))
                begin = None
        if begin is not None:
            dry.append((begin, self.end))
        return out, spans, dry


class _Change(NamedTuple):
    """A mark of tempo: ``set``, ``word``, ``back``, ``first``, ``scale``, ``once``, ``way``,
    ``like``, ``stop``."""

    start: float
    kind: str
    value: float
    end: float | None = None


def _tempo_changes(event: _Event) -> list[_Change]:
    """Return what a tempo mark or a word says."""
    element, start = event.element, event.start
    text = text_of(element).lower()
    number = _positive(element.get("mm"))
    if number:
        unit = _positive(element.get("mm.unit")) or 4.0
        dots = _positive(element.get("mm.dots")) or 0.0
        return [_Change(start, "set", number * 4 / unit * (2 - 0.5**dots))]
    number = _positive(element.get("midi.bpm"))
    if not number and (us := _positive(element.get("midi.mspb"))):
        number = 60_000_000 / us
    if number:
        return [_Change(start, "set", number)]
    if _FIRST.search(text):
        return [_Change(start, "first", 0.0)]
    found: list[_Change] = []
    if _BACK.search(text):
        found.append(_Change(start, "back", 0.0))
    little = 0.5 if re.search(r"\bpoco\b", text) else 1.3 if "molto" in text else 1.0
    if _AT_ONCE.search(text):
        found.append(_Change(start, "once", 0.85**little))
    elif _SLOWER.search(text):
        found.append(_Change(start, "way", _RIT**little, event.end))
    elif _FASTER.search(text):
        found.append(_Change(start, "way", _ACCEL**little, event.end))
    if found:
        return found
    for pattern, value in _SCALES:
        if pattern.search(text):
            return [_Change(start, "scale", value)]
    if tag_of(element) == "tempo" or event.start < 0.02 or text[:1].isalpha():
        for word, bpm in TEMPO_WORDS:
            if re.search(rf"(?<!\w){word}(?!\w)", text):
                return [_Change(start, "word", float(bpm))]
    return []


class _Tempo:
    """The tempo of a score as a curve.

    Attributes:
        source: ``mark``, ``words`` or empty.
        changes: (start, end, direction) of gradual changes.
        guessed: the words that were guessed from, with their numbers.
    """

    def __init__(
        self,
        found: list[_Change],
        held: list[tuple[float, float, frozenset[int]]],
        end: float,
    ) -> None:
        order = {
            "stop": 0,
            "like": 0,
            "set": 1,
            "word": 1,
            "first": 1,
            "back": 1,
            "scale": 2,
            "once": 2,
        }
        found = sorted(found, key=lambda c: (c.start, order.get(c.kind, 3)))
        fixed = [c for c in found if c.kind in ("set", "word")]
        self.source = {"set": "mark", "word": "words"}[fixed[0].kind] if fixed else ""
        self.guessed = [c for c in fixed if c.kind == "word"]
        self.held = [(a, b) for a, b, _ in held if b > a]
        self.changes: list[tuple[float, float, int]] = []
        first = fixed[0].value if fixed else 120.0
        points: list[tuple[float, float]] = [(0.0, first)]
        base = before = first  # what "a tempo" goes back to, and what it was before "meno mosso"
        now = first
        bases: list[tuple[float, float]] = [(0.0, first)]
        for place, change in enumerate(found):
            at = change.start
            if change.kind == "way":
                later = [c for c in found[place + 1 :] if c.start > at + 0.02 and c.kind != "way"]
                following = later[0].start if later else None
                until = change.end if change.end is not None else None
                if until is None or until <= at:
                    if following is not None and following - at <= _REACH:
                        until = following
                    elif end - at <= _REACH:
                        until = end
                    else:
                        until = at + _GRADUAL
                if following is not None:
                    until = min(until, following)
                points += [(at, now), (until, now * change.value)]
                self.changes.append((at, until, 1 if change.value > 1 else -1))
                now *= change.value
                if (following is None and until < end - 1e-6) or (
                    following is not None and following - until > _GRADUAL
                ):
                    points.append((until, base))
                    now = base
                continue
            if change.kind in ("set", "word"):
                base = now = before = change.value
            elif change.kind == "back":
                # Behind "meno mosso" the tempo before it; behind a rit. there, "meno mosso".
                base = before if now == base else base
                now = before = base
            elif change.kind == "stop":
                now = base
            elif change.kind == "first":
                base = now = before = first
            elif change.kind == "scale":
                before = base
                base = now = base * change.value
            elif change.kind == "once":
                now = base * change.value
            elif change.kind == "like":
                base = now = [b for t, b in bases if t <= change.value + 1e-6][-1]
            bases.append((at, base))
            points.append((at, now))
        self._points = _clean(points)
        self.end = end

    def at(self, quarter: float) -> float:
        """Return quarters a minute at a place, fermatas left out."""
        times = [t for t, _ in self._points]
        i = max(int(np.searchsorted(times, quarter + 1e-6, side="right")) - 1, 0)
        t0, v0 = self._points[i]
        if i + 1 < len(self._points):
            t1, v1 = self._points[i + 1]
            if t1 > t0 and self._way(t0, t1):
                return float(v0 * (v1 / v0) ** ((quarter - t0) / (t1 - t0)))
        return float(v0)

    def _way(self, t0: float, t1: float) -> bool:
        return any(a - 1e-6 <= t0 and t1 <= b + 1e-6 for a, b, _ in self.changes)

    def steps(self) -> list[tuple[float, float]]:
        """Return (quarter, quarters a minute) of every constant tempo, fermatas included."""
        places = {0.0} | {t for t, _ in self._points if t <= self.end}
        for a, b, _ in self.changes:
            places |= {float(x) for x in np.arange(a, min(b, self.end), 0.5)} | {b}
        for a, b in self.held:
            places |= {a, b}
        ordered = sorted(p for p in places if p <= self.end)
        found = []
        for place, following in zip(ordered, [*ordered[1:], self.end], strict=True):
            middle = (place + following) / 2 if self._inside(place) else place
            bpm = self.at(middle)
            if any(a - 1e-6 <= place < b - 1e-6 for a, b in self.held):
                bpm /= _FERMATA
            found.append((place, min(max(bpm, 4.0), 1500.0)))
        return found

    def _inside(self, place: float) -> bool:
        return any(a - 1e-6 <= place < b - 1e-6 for a, b, _ in self.changes)

    def seconds(self, start: float, end: float) -> float:
        """Return time between two places, fermatas left out."""
        return (end - start) * 60 / self.at((start + end) / 2)


def _clean(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Points by time; of several at one place that do not begin a way, the last."""
    out: list[tuple[float, float]] = []
    for point in sorted(points, key=lambda p: p[0]):
        if out and abs(out[-1][0] - point[0]) < 1e-6:
            if len(out) > 1 and abs(out[-2][0] - point[0]) < 1e-6:
                out[-1] = point
            else:
                out.append((point[0], point[1]))
        else:
            out.append(point)
    return out


def _course(events: list[Level], end: float) -> _Course:
    return _Course(events, end)


class _Course:
    """Loudness over time, from levels and the ways between them."""

    def __init__(self, events: list[Level], end: float) -> None:
        levels = [e for e in events if e.level]
        ways = [e for e in events if not e.level]
        times: list[float] = [-1.0]
        if levels and not (ways and ways[0].start < levels[0].start):
            now = levels[0].level
        elif levels:
            toward = ways[0].change * (levels[0].level - _START) > 0
            now = _START if toward else levels[0].level
            now = min(max(now, 20.0), 110.0)
            if not toward:
                now = min(max(_START, 20.0), 110.0)
        else:
            now = _START
        values: list[float] = [now]
        self.known = bool(levels or ways)
        for place, event in enumerate(events):
            at = event.start
            if event.level:
                times += [max(at - 0.02, times[-1]), max(at - 0.01, times[-1])]
                values += [now, event.level]
                now = event.level
                continue
            later = [e for e in levels if e.start > at + 0.02]
            mark = later[0] if later else None
            until = event.end
            if until is None or until <= at:
                reach = _REACH * 2 if mark is not None else _REACH
                until = min(at + reach, end)
                if mark is not None and mark.start - at <= reach:
                    until = mark.start
            target = now + event.change * _HAIRPIN
            if mark is not None and mark.start <= until + 1.0:
                if (mark.level - now) * event.change > 0:
                    target = mark.level
                until = min(until, mark.start)
            # Where another way begins before the end of this one, it is reached there.
            following = [
                e.start for e in events[place + 1 :] if not e.level and e.start > at + 0.02
            ]
            if following:
                until = min(until, following[0])
            target = min(max(target, 8.0), 127.0)
            times += [max(at, times[-1]), max(until - 0.03, at, times[-1])]
            values += [now, target]
            now = target
        times.append(max(end, times[-1]) + 1.0)
        values.append(now)
        self.times, self.values = times, values

    def __call__(self, onset: FloatArray) -> FloatArray:
        """Return (n,) level at places."""
        found: FloatArray = np.interp(onset, self.times, self.values)
        return found


def plain_velocity(level: FloatArray, accent: FloatArray) -> FloatArray:
    """Return (n,) velocities as a notation program would play them."""
    velocity = np.where(np.isfinite(level), level, _UNMARKED) + accent
    return np.clip(np.rint(velocity), 1, 127)


def _articulations(note: SheetNote) -> set[str]:
    """Return names of the articulations of a note, its own and its chord's."""
    found: set[str] = set()
    for element in (note.element, note.owner):
        found |= set(element.get("artic", "").split())
        for child in element:
            if tag_of(child) == "artic":
                found |= set(child.get("artic", "").split())
    return found


def _beat(text: str | None) -> float:
    """Return beats from the beginning of a measure of a time stamp, which counts from 1."""
    try:
        return max(float(text or 1) - 1, 0.0)
    except ValueError:
        return 0.0


def _positive(text: str | None) -> float | None:
    """Return a number above 0; None for anything else."""
    try:
        value = float(text or 0)
    except ValueError:
        return None
    return value if np.isfinite(value) and value > 0 else None


__all__ = ["DYNAMICS", "ID", "TEMPO_WORDS", "Marks", "plain_velocity"]
