"""Small scores that were once read wrongly, one a kind of fault, and siblings with other values.

``tests/cases/score/cases.csv`` says of each what is right.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from arietta.errors import InputError
from arietta.notation.abc import abc_to_musicxml, split_tunes
from arietta.notation.reader import read_score
from arietta.notation.score_notes import LEFT, NO_HAND, RIGHT, ScoreNotes

pytest.importorskip("verovio")
CASES = Path(__file__).parent.parent / "cases" / "score"

ELSEWHERE = {"level-pp-throughout-a", "level-ff-throughout-a", "tempo-kept-a"}
"""MIDI files: how they are played is tested in ``tests/rendering/test_marks.py``."""


def score_of(name: str, tmp_path: Path, *changes: tuple[str, str]) -> ScoreNotes:
    """A case, with some of its text replaced."""
    source = CASES / name
    if not changes:
        return ScoreNotes.from_piece(read_score(source))
    text = source.read_text("utf-8")
    for old, new in changes:
        assert old in text, old
        text = text.replace(old, new)
    path = tmp_path / name
    path.write_text(text, "utf-8")
    return ScoreNotes.from_piece(read_score(path))


def pitches(score: ScoreNotes) -> list[int]:
    return score.pitch.tolist()


def velocities(score: ScoreNotes, pitch: range = range(128)) -> list[int]:
    return score.velocity[np.isin(score.pitch, list(pitch))].tolist()


def quarter_seconds(score: ScoreNotes, quarter: float, length: float = 1.0) -> float:
    ms = score.piece.tempo.ms_at(np.array([quarter, quarter + length]) * score.division)
    return float(ms[1] - ms[0]) / 1000


def two_staves(path: Path) -> None:
    a = score_of("dyn-two-staves-a.musicxml", path)
    assert velocities(a, range(60, 128)) == [96] * 4
    assert velocities(a, range(60)) == [49] * 4
    b = score_of("dyn-two-staves-a.musicxml", path, ("<f/>", "<pp/>"), ("<p/>", "<ff/>"))
    assert velocities(b, range(60, 128)) == [33] * 4
    assert velocities(b, range(60)) == [112] * 4
    assert a.hand.tolist() == [LEFT, RIGHT] * 4


def two_parts(path: Path) -> None:
    a = score_of("dyn-two-parts-a.musicxml", path)
    assert velocities(a, range(72, 128)) == [96] * 4
    assert velocities(a, range(72)) == [33] * 4


def sforzando(path: Path) -> None:
    for sign in ("sf", "sfz", "fz", "rfz", "sffz"):
        score = score_of("dyn-sforzando-a.musicxml", path, ("<sf/>", f"<{sign}/>"))
        level = score.velocity.astype(int)
        assert level[[0, 1, 3]].tolist() == [49] * 3 and level[2] >= 69, sign
        assert level[4] >= 90 and level[5:].tolist() == [49] * 3


def accents(path: Path) -> None:
    level = velocities(score_of("dyn-accents-a.musicxml", path))
    assert level[0] == level[2] == 49 and level[1] >= 60 and level[3] > level[1]


def subito(path: Path) -> None:
    level = velocities(score_of("dyn-cresc-subito-p-a.musicxml", path))
    assert np.all(np.diff(level[:4]) > 0) and level[3] >= 60
    assert level[4:] == [49] * 4
    b = score_of("dyn-cresc-subito-p-a.musicxml", path, ("<p/>", "<mf/>"))
    assert np.all(np.diff(b.velocity[:4].astype(int)) > 0) and b.velocity[4] == 80
    c = score_of("dyn-cresc-subito-p-a.musicxml", path, ('"crescendo"', '"diminuendo"'))
    assert np.all(np.diff(c.velocity[:4].astype(int)) < 0)


def hairpin_in_repeat(path: Path) -> None:
    level = velocities(score_of("dyn-hairpin-in-repeat-a.musicxml", path))
    assert np.all(np.diff(level[:4]) > 0) and np.all(np.diff(level[4:8]) > 0)
    assert level[4] == 49 and level[8] == 96


def words(path: Path) -> None:
    level = velocities(score_of("dyn-words-a.musicxml", path))
    assert np.all(np.diff(level[:8]) > 0) and level[0] == 49 and level[8:] == [96] * 4
    for text in ("dim.", "decresc.", "diminuendo", "morendo"):
        score = score_of(
            "dyn-words-a.musicxml", path, ("cresc.", text), ("<p/>", "<ff/>"), ("<f/>", "<p/>")
        )
        assert np.all(np.diff(score.velocity[:8].astype(int)) < 0), text


def sound_attribute(path: Path) -> None:
    assert velocities(score_of("dyn-sound-attribute-a.musicxml", path)) == [49, 49, 96, 96]


def midbar(path: Path) -> None:
    score = score_of("tempo-midbar-a.musicxml", path)
    assert [round(quarter_seconds(score, q), 3) for q in (0, 1, 2, 3, 4)] == [0.5, 0.5, 1, 1, 1]


def dotted_unit(path: Path) -> None:
    score = score_of("tempo-dotted-unit-a.musicxml", path)
    assert quarter_seconds(score, 0, 1.5) == pytest.approx(1.0, abs=0.002)
    mark = "<per-minute>60</per-minute>"
    b = score_of("tempo-dotted-unit-a.musicxml", path, (mark, mark.replace("60", "80")))
    assert quarter_seconds(b, 0, 1.5) == pytest.approx(0.75, abs=0.002)
    c = score_of("tempo-dotted-unit-a.musicxml", path, ("unit>quarter<", "unit>eighth<"))
    assert quarter_seconds(c, 0, 0.75) == pytest.approx(1.0, abs=0.002)


def dotted_mei(path: Path) -> None:
    score = score_of("tempo-dotted-mei-a.mei", path)
    assert quarter_seconds(score, 0) == pytest.approx(60 / 90, abs=0.002)
    b = score_of("tempo-dotted-mei-a.mei", path, ('mm="60" mm.unit="4"', 'mm="40" mm.unit="2"'))
    assert quarter_seconds(b, 0) == pytest.approx(0.5, abs=0.002)


def tempo_words(path: Path) -> None:
    for word, low, high in (
        ("Adagio", 60, 76),
        ("Presto", 168, 190),
        ("Andante cantabile", 72, 92),
        ("Allegro ma non troppo", 112, 138),
        ("Langsam", 44, 66),
        ("Lentement", 40, 66),
    ):
        score = score_of("tempo-words-a.musicxml", path, ("Adagio", word))
        assert low <= 60 / quarter_seconds(score, 0) <= high, word
        assert any("tempo words" in remark for remark in score.remarks)


def rit(path: Path) -> None:
    score = score_of("tempo-rit-a.musicxml", path)
    lasts = [quarter_seconds(score, q) for q in range(12)]
    assert np.allclose(lasts[:4], 0.5, atol=0.01) and np.all(np.diff(lasts[4:8]) > 0)
    assert lasts[7] > 0.6 and np.allclose(lasts[8:], 0.5, atol=0.01)
    for text, sign in (("accel.", -1), ("stringendo", -1), ("slentando", 1), ("allarg.", 1)):
        b = score_of("tempo-rit-a.musicxml", path, ("rit.", text))
        lasts = [quarter_seconds(b, q) for q in range(12)]
        assert np.all(np.diff(lasts[4:8]) * sign > 0), text
        assert np.allclose(lasts[8:], 0.5, atol=0.01)
    for text, sign in (("meno mosso", 1), ("ritenuto", 1), ("più mosso", -1), ("langsamer", 1)):
        b = score_of("tempo-rit-a.musicxml", path, ("rit.", text))
        lasts = [quarter_seconds(b, q) for q in range(12)]
        assert np.all(np.sign(np.array(lasts[4:8]) - 0.5) == sign), text
        assert np.allclose(lasts[8:], 0.5, atol=0.01), text  # and back


def fermata(path: Path) -> None:
    score = score_of("fermata-a.musicxml", path)
    assert quarter_seconds(score, 3) > 1.4 * quarter_seconds(score, 2)
    assert quarter_seconds(score, 4) == pytest.approx(quarter_seconds(score, 2), abs=0.002)
    line = '<barline location="right"><fermata/></barline></measure>'
    over = score_of(  # over the bar line, it holds what ends there
        "fermata-a.musicxml",
        path,
        ("<notations><fermata/></notations>", ""),
        ('</measure><measure number="2">', line + '<measure number="2">'),
    )
    assert over.piece.tempo.us_per_quarter.tolist() == score.piece.tempo.us_per_quarter.tolist()
    last = "<note><pitch><step>F</step><octave>4</octave></pitch>"
    sign = "<notations><fermata/></notations>"
    rest = score_of(  # on a rest, it holds the rest
        "fermata-a.musicxml", path, (last, "<note><rest/>"), (sign, ""),
        ("<rest/><duration>4</duration><voice>1</voice><type>quarter</type>",
         f"<rest/><duration>4</duration><voice>1</voice><type>quarter</type>{sign}"),
    )  # fmt: skip
    lasts = [quarter_seconds(rest, q) for q in range(8)]
    usual = lasts[0]
    assert np.allclose(lasts, [usual, usual, usual, 1.8 * usual] * 2, atol=0.002)


def staccato(path: Path) -> None:
    score = score_of("artic-staccato-a.musicxml", path)
    assert score.duration_quarter.tolist() == [0.5, 0.25, 1.0, 1.0]
    b = score_of("artic-staccato-a.musicxml", path, ("<tenuto/>", "<staccato/><tenuto/>"))
    assert b.duration_quarter[2] == 0.75


def arpeggio(path: Path) -> None:
    score = score_of("arpeggio-held-a.musicxml", path)
    assert score.onset_quarter[:4].tolist() == [0] * 4  # the roll is one chord
    assert score.duration_quarter[:4].tolist() == [2] * 4
    marks = score.note_marks
    assert marks is not None
    assert len(set(marks.roll[:4].tolist())) == 1 and marks.roll_place[:4].tolist() == [0, 1, 2, 3]


def upbeat(path: Path) -> None:
    score = score_of("bars-upbeat-a.musicxml", path)
    assert (score.bar_tick / score.division).tolist() == [0, 1, 5, 9]
    assert [row[1:] for row in score.piece.time_signatures] == [(1, 4), (4, 4)]


def short_bar(path: Path) -> None:
    score = score_of("bars-short-bar-a.musicxml", path)
    assert (score.bar_tick / score.division).tolist() == [0, 4, 6]


def pedal_change(path: Path) -> None:
    score = score_of("pedal-change-a.musicxml", path)
    pedals = score.piece.pedals
    assert pedals.value.tolist() == [127, 0] * 3
    ms = score.piece.tempo.ms_at(pedals.tick)
    assert np.all(np.diff(ms)[1::2] >= 50)
    assert (pedals.tick[[1, 3]] / score.division).tolist() == [4, 8]


def pedal_marks(path: Path) -> None:
    score = score_of("pedal-marks-ignored-a.musicxml", path)
    assert score.marks.pedalled and not score.marks.dry
    text = (CASES / "pedal-marks-ignored-a.musicxml").read_text("utf-8")
    text = re.sub(r"<direction><direction-type><pedal.*?</direction>", "", text)
    dry = "<direction><direction-type><words>senza ped.</words></direction-type></direction>"
    other = path / "dry.musicxml"
    other.write_text(text.replace("</attributes>", "</attributes>" + dry, 1), "utf-8")
    b = ScoreNotes.from_piece(read_score(other))
    assert b.marks.dry[0][0] == 0 and b.marks.dry[0][1] >= 48 and not b.marks.pedalled


def trill_accidental(path: Path) -> None:
    score = score_of("orn-trill-accidental-a.musicxml", path)
    assert set(pitches(score)[:-1]) == {72, 73}
    # The next step, not the same one raised: a sharp over C is D sharp, and B flat goes to C.
    text = (CASES / "orn-trill-accidental-a.musicxml").read_text("utf-8")
    sign = re.search(r"<accidental-mark[^>]*>flat</accidental-mark>", text)
    assert sign is not None
    sharp = (sign[0], sign[0].replace("flat", "sharp"))
    assert set(pitches(score_of("orn-trill-accidental-a.musicxml", path, sharp))[:-1]) == {72, 75}
    low = (("<step>C</step><octave>5", "<step>B</step><alter>-1</alter><octave>4"), (sign[0], ""))
    assert set(pitches(score_of("orn-trill-accidental-a.musicxml", path, *low))[:-1]) == {70, 72}
    assert set(pitches(score_of("orn-trill-speed-a.musicxml", path))[:-1]) == {72, 74}


def delayed_turn(path: Path) -> None:
    score = score_of("orn-delayed-turn-a.musicxml", path)
    assert pitches(score)[:5] == [72, 74, 72, 71, 72]
    assert score.onset_quarter[1] > 1.0


def trill_speed(path: Path) -> None:
    for bpm in (200, 120, 60, 40):
        mark = "<per-minute>200</per-minute>"
        score = score_of("orn-trill-speed-a.musicxml", path, (mark, mark.replace("200", str(bpm))))
        first = score.onset_quarter < 2
        rate = np.count_nonzero(first) / quarter_seconds(score, 0, 2)
        assert 9 <= rate <= 14, bpm


def two_note_tremolo(path: Path) -> None:
    for marks, steps in ((3, 32), (2, 16)):
        score = score_of(
            "trem-two-notes-a.musicxml",
            path,
            ('"start">3', f'"start">{marks}'),
            ('"stop">3', f'"stop">{marks}'),
        )
        assert pitches(score) == [60, 67] * (steps // 2) + [64]
        assert np.allclose(np.diff(score.onset_quarter[:-1]), 4 / steps, atol=0.003)


def tie_end(path: Path) -> None:
    score = score_of("repeat-tie-end-a.musicxml", path)
    rows = score.pitch == 64
    assert score.onset_quarter[rows].tolist() == [7, 15]
    assert score.duration_quarter[rows].tolist() == [1, 5]


def same_ids(path: Path) -> None:
    score = score_of("repeat-same-ids-a.musicxml", path)
    assert pitches(score)[::4] == [60, 62, 64, 65, 62, 64, 67]
    b = score_of("repeat-same-ids-a.musicxml", path, ('coda="1"', 'coda="x"'))
    assert pitches(b) == pitches(score)


def words_only(path: Path) -> None:
    score = score_of("repeat-words-only-a.musicxml", path)
    assert pitches(score)[::4] == [60, 62, 64, 60, 62]


def measure_repeat(path: Path) -> None:
    score = score_of("measure-repeat-a.musicxml", path)
    assert pitches(score) == [60, 62, 64, 65] * 2 + [67] * 4


def measure_repeat_mei(path: Path) -> None:
    assert pitches(score_of("measure-repeat-mei-a.mei", path)) == [60, 62, 64, 65] * 2
    bar = '<measure n="2"><staff n="1"><layer n="1"><mRpt/></layer></staff></measure>'
    three = score_of("measure-repeat-mei-a.mei", path, (bar, bar + bar.replace('"2"', '"3"')))
    assert pitches(three) == [60, 62, 64, 65] * 3


def sic_corr(path: Path) -> None:
    assert pitches(score_of("mei-sic-corr-a.mei", path)) == [60, 62, 64, 65]
    b = score_of(
        "mei-sic-corr-a.mei", path, ("<sic>", "<orig>"), ("</sic>", "</orig>"), ("corr>", "reg>")
    )
    assert pitches(b) == [60, 62, 64, 65]


def two_movements(path: Path) -> None:
    name = "mei-two-movements-a.mei"
    score = score_of(name, path)
    assert pitches(score) == [60] and any("2 movements" in r for r in score.remarks)
    assert read_score(CASES / name, movement=2).notes.pitch.tolist() == [67]
    with pytest.raises(InputError, match="`movement` 3"):
        read_score(CASES / name, movement=3)


def two_tunes(path: Path) -> None:
    name = "abc-two-tunes-a.abc"
    score = score_of(name, path)
    assert pitches(score) == [60, 62, 64, 65] and any("2 tunes" in r for r in score.remarks)
    assert read_score(CASES / name, movement=2).notes.pitch.tolist() == [79] * 4


def abc_repeats(path: Path) -> None:
    assert pitches(score_of("abc-repeats-a.abc", path))[::4] == [60, 60, 62, 62]
    old = "|:CCCC::DDDD:|"
    for text, wanted in (
        ("|:CCCC|1 DDDD:|2 EEEE|]", [60, 62, 60, 64]),
        ("CCCC|[1 DDDD:|[2 EEEE|]", [60, 62, 60, 64]),
        ("|:CCCC|1,2 DDDD:|3 EEEE||FFFF|", [60, 62, 60, 62, 60, 64, 65]),
        ("CCCC:|:DDDD:|EEEE|", [60, 60, 62, 62, 64]),
    ):
        score = score_of("abc-repeats-a.abc", path, (old, text))
        assert pitches(score)[::4] == wanted, text


def abc_tempo_key(path: Path) -> None:
    score = score_of("abc-tempo-key-a.abc", path)
    assert quarter_seconds(score, 0, 0.5) == pytest.approx(1 / 3, abs=0.002)
    b = score_of(
        "abc-tempo-key-a.abc", path, ("K:C\n", "K:G\n"), ("CDE FGA|", "FFF FFF|[K:C]FFF FFF|")
    )
    assert pitches(b) == [66] * 6 + [65] * 6


def cue_notes(path: Path) -> None:
    score = score_of("cue-notes-a.musicxml", path)
    assert pitches(score) == [72, 74, 76] and any("cue" in remark for remark in score.remarks)


def byte_order_mark(path: Path) -> None:
    score = score_of("file-bom-a.musicxml", path)
    assert len(score) == 24 and not score.remarks
    text = (CASES / "file-bom-a.musicxml").read_text("utf-8-sig").replace("UTF-8", "UTF-16")
    other = path / "utf16.musicxml"
    other.write_bytes(text.encode("utf-16"))
    assert pitches(ScoreNotes.from_piece(read_score(other))) == pitches(score)


def latin1(path: Path) -> None:
    assert pitches(score_of("file-latin1-a.musicxml", path)) == [60, 62, 64, 65]


def cut_off(path: Path) -> None:
    score = score_of("file-cut-off-a.musicxml", path)
    assert len(score) == 16 and any("ends early" in remark for remark in score.remarks)


CHECKS: dict[str, Callable[[Path], None]] = {
    "dyn-two-staves-a": two_staves,
    "dyn-two-parts-a": two_parts,
    "dyn-sforzando-a": sforzando,
    "dyn-accents-a": accents,
    "dyn-cresc-subito-p-a": subito,
    "dyn-hairpin-in-repeat-a": hairpin_in_repeat,
    "dyn-words-a": words,
    "dyn-sound-attribute-a": sound_attribute,
    "tempo-midbar-a": midbar,
    "tempo-dotted-unit-a": dotted_unit,
    "tempo-dotted-mei-a": dotted_mei,
    "tempo-words-a": tempo_words,
    "tempo-rit-a": rit,
    "fermata-a": fermata,
    "artic-staccato-a": staccato,
    "arpeggio-held-a": arpeggio,
    "bars-upbeat-a": upbeat,
    "bars-short-bar-a": short_bar,
    "pedal-change-a": pedal_change,
    "pedal-marks-ignored-a": pedal_marks,
    "orn-trill-accidental-a": trill_accidental,
    "orn-delayed-turn-a": delayed_turn,
    "orn-trill-speed-a": trill_speed,
    "trem-two-notes-a": two_note_tremolo,
    "repeat-tie-end-a": tie_end,
    "repeat-same-ids-a": same_ids,
    "repeat-words-only-a": words_only,
    "measure-repeat-a": measure_repeat,
    "measure-repeat-mei-a": measure_repeat_mei,
    "mei-sic-corr-a": sic_corr,
    "mei-two-movements-a": two_movements,
    "abc-two-tunes-a": two_tunes,
    "abc-repeats-a": abc_repeats,
    "abc-tempo-key-a": abc_tempo_key,
    "cue-notes-a": cue_notes,
    "file-bom-a": byte_order_mark,
    "file-latin1-a": latin1,
    "file-cut-off-a": cut_off,
}


@pytest.mark.parametrize("name", CHECKS)
def test_case(name: str, tmp_path: Path) -> None:
    CHECKS[name](tmp_path)


def test_every_case_is_tested() -> None:
    with (CASES / "cases.csv").open(encoding="utf-8", newline="") as file:
        names = {Path(row["name"]).stem for row in csv.DictReader(file)}
    assert names == CHECKS.keys() | ELSEWHERE


def test_other_formats_are_refused_with_the_way_out(tmp_path: Path) -> None:
    for name, way in (("a.mscz", "MusicXML"), ("b.ly", "lilypond"), ("c.sib", "MusicXML")):
        with pytest.raises(InputError, match=way):
            read_score(tmp_path / name)


def test_a_voice_beside_a_piano_leaves_the_hands_to_the_piano(tmp_path: Path) -> None:
    text = (CASES / "dyn-two-staves-a.musicxml").read_text("utf-8")
    part = '<score-part id="P0"><part-name>Voice</part-name></score-part>'
    note = "<note><pitch><step>C</step><octave>6</octave></pitch><duration>16</duration>"
    start = text.index("<attributes>")
    body = text[start : text.index("</attributes>")].split("<staves>")[0]
    voice = (
        f'<part id="P0"><measure number="1">{body}<clef><sign>G</sign><line>2</line></clef>'
        f"</attributes>{note}<voice>1</voice><type>whole</type></note></measure></part>"
    )
    text = text.replace("<part-list>", "<part-list>" + part)
    text = text.replace("</part-list>", "</part-list>" + voice)
    (tmp_path / "song.musicxml").write_text(text, "utf-8")
    score = ScoreNotes.from_piece(read_score(tmp_path / "song.musicxml"))
    hands = dict(zip(score.pitch.tolist(), score.hand.tolist(), strict=True))
    assert hands[84] == NO_HAND and hands[72] == RIGHT and hands[48] == LEFT


def test_abc_keeps_voices_tuplets_broken_rhythm_ties_and_grace_notes(tmp_path: Path) -> None:
    body = "V:1\n(3CDE F>G|A-A {c}B ^F F|\nV:2\nC,4|[C,E,]4|\n"
    path = tmp_path / "a.abc"
    path.write_text("X:1\nM:4/4\nL:1/4\nK:C\n" + body)
    score = ScoreNotes.from_piece(read_score(path))
    upper = score.part == 0
    assert score.pitch[upper].tolist() == [60, 62, 64, 65, 67, 69, 72, 71, 66, 66]
    assert score.duration_quarter[upper][5] == 2  # tied
    assert np.allclose(score.onset_quarter[upper][:5], [0, 2 / 3, 4 / 3, 2, 3.5], atol=0.003)
    assert score.pitch[~upper].tolist() == [48, 48, 52]
    assert len(split_tunes("nothing")) == 0 and "<note>" in abc_to_musicxml(path.read_text())
