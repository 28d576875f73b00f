"""Scores in notation become pieces, with everything a renderer can use."""

from __future__ import annotations

import re
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

from arietta.errors import InputError, MissingExtraError
from arietta.notation import reader, sources
from arietta.notation.reader import read_score
from arietta.notation.score_notes import LEFT, RIGHT, ScoreNotes

TRILL = "<notations><ornaments><trill-mark/></ornaments></notations>"


@pytest.fixture
def trilled(golden_dir: Path) -> Path:
    """Three bars for two hands, made for this test: a repeat, a tie over it, p and f, pedal."""
    return golden_dir / "scores" / "small.musicxml"


@pytest.fixture
def small(trilled: Path, tmp_path: Path) -> Path:
    """The same without its trill."""
    return variant(trilled, tmp_path / "small.musicxml", "")


def variant(source: Path, path: Path, ornament: str) -> Path:
    text = source.read_text("utf-8")
    assert TRILL in text
    path.write_text(text.replace(TRILL, ornament), "utf-8")
    return path


def test_music_xml(small: Path) -> None:
    pytest.importorskip("verovio")
    piece = read_score(small)
    score = ScoreNotes.from_piece(piece)
    # Two bars twice; the tied note of the second ending lasts over the third.
    assert score.pitch.tolist() == [55, 67, 69, 50, 72, 71] * 2
    assert score.onset_quarter[[0, 1, 2, 3, 6, 8]].tolist() == [0, 0, 1, 3, 6, 7]
    assert score.duration_quarter[[0, 1, 2]].tolist() == [3, 1, 2]
    assert score.hand.tolist() == [LEFT, RIGHT, RIGHT, LEFT, RIGHT, RIGHT] * 2
    assert score.bar.tolist() == [1, 1, 1, 2, 2, 2, 3, 3, 3, 4, 4, 4]
    assert piece.tempo.us_per_quarter.tolist() == [666_667]
    assert piece.key_signatures[0] == (0, 1, False)
    assert piece.pedals.value.tolist() == [127, 0, 127, 0]
    # p in the first bar, f in the second, in the repeat as well.
    assert score.velocity.tolist() == [49, 49, 49, 96, 96, 96] * 2


def test_compressed_music_xml_is_the_same(small: Path, tmp_path: Path) -> None:
    pytest.importorskip("verovio")
    packed = tmp_path / "small.mxl"
    container = '<?xml version="1.0"?><container><rootfiles><rootfile full-path="a.xml"/>'
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("META-INF/container.xml", container + "</rootfiles></container>")
        archive.write(small, "a.xml")
    notes, plain = read_score(packed).notes, read_score(small).notes
    assert np.array_equal(notes.onset_tick, plain.onset_tick)
    assert np.array_equal(notes.velocity, plain.velocity)


def test_hairpins_lead_from_one_dynamic_to_the_next(small: Path, tmp_path: Path) -> None:
    pytest.importorskip("verovio")
    start = '<direction><direction-type><wedge type="crescendo"/></direction-type></direction>'
    stop = '<direction><direction-type><wedge type="stop"/></direction-type></direction>'
    text = small.read_text("utf-8")
    first, second = text.index("<note>"), text.index('<measure number="2">') + 20
    path = tmp_path / "hairpin.musicxml"
    path.write_text(text[:first] + start + text[first:second] + stop + text[second:], "utf-8")
    velocity = ScoreNotes.from_piece(read_score(path)).velocity
    assert velocity[1] == 49 and 49 < velocity[2] < 96 and velocity[4] == 96


def test_ornaments_are_played_out(trilled: Path, tmp_path: Path) -> None:
    pytest.importorskip("verovio")
    score = ScoreNotes.from_piece(read_score(trilled))
    first = score.onset_quarter < 1
    assert score.pitch[first].tolist() == [55, *[67, 69] * 4, 67]  # a G major scale: not A flat
    assert score.offset_tick[first].max() == 3 * score.division  # the bass is left alone
    assert np.all(score.pitch[score.onset_quarter == 6] == [55, 67])  # the repeat as well
    for sign, wanted in {
        "mordent": [67, 66, 67],
        "inverted-mordent": [67, 69, 67],
        "turn": [69, 67, 66, 67],
        "inverted-turn": [66, 67, 69, 67],
    }.items():
        ornament = TRILL.replace("trill-mark", sign)
        path = variant(trilled, tmp_path / f"{sign}.musicxml", ornament)
        score = ScoreNotes.from_piece(read_score(path))
        high = (score.onset_quarter < 1) & (score.hand == RIGHT)
        assert score.pitch[high].tolist() == wanted, sign
        assert score.offset_tick[high].max() == score.division


def test_kern_and_abc(tmp_path: Path) -> None:
    pytest.importorskip("verovio")
    kern = (
        "**kern\t**kern\n*clefF4\t*clefG2\n*M2/4\t*M2/4\n=1\t=1\n4C\t4c\n4D\t4d\n==\t==\n*-\t*-\n"
    )
    (tmp_path / "a.krn").write_text(kern)
    (tmp_path / "a.abc").write_text("X:1\nT:a\nM:4/4\nL:1/4\nK:C\n|: C D E F | G4 :|\n")
    assert sorted(read_score(tmp_path / "a.krn").notes.pitch.tolist()) == [48, 50, 60, 62]
    assert read_score(tmp_path / "a.abc").notes.pitch.tolist() == [60, 62, 64, 65, 67] * 2


def test_midi_needs_no_extra(prompts_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "_verovio", lambda: pytest.fail("verovio for a MIDI file"))
    assert len(read_score(prompts_dir / "waltz.mid"))


@pytest.mark.parametrize("name", ["text.musicxml", "empty.mei", "text.mxl", "gone.musicxml"])
def test_what_cannot_be_read_is_refused(tmp_path: Path, name: str) -> None:
    pytest.importorskip("verovio")
    if not name.startswith("gone"):
        (tmp_path / name).write_text("hello" * name.startswith("text"))
    with pytest.raises(InputError, match=name):
        read_score(tmp_path / name)


def test_a_bomb_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "MAX_UNPACKED", 1000)
    with zipfile.ZipFile(tmp_path / "a.mxl", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.xml", " " * 10_000)
    with pytest.raises(InputError, match="10,000 bytes"):
        read_score(tmp_path / "a.mxl")


def test_without_verovio_one_line_says_how(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "verovio", None)
    reader._verovio.cache_clear()
    with pytest.raises(MissingExtraError, match=r"arietta\[score\]"):
        read_score(small)


def test_a_score_that_its_reader_does_not_survive_is_refused(small: Path, tmp_path: Path) -> None:
    """Verovio divides by the lower number of a metre, also where there is none."""
    whole = small.read_text()
    path = tmp_path / "a.musicxml"
    for lower in ("<beat-type>0</beat-type>", "<beat-type></beat-type>", "", "<beat-type>"):
        path.write_text(re.sub("<beat-type>.*?</beat-type>", lower, whole))
        with pytest.raises(InputError, match="damaged; it is no score"):
            read_score(path)
