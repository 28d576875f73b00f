"""Tables about files, and how what they say is sorted."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from arietta.data.metadata import MetadataTable, describe, known_composer
from arietta.errors import InputError


def table(path: Path, content: object) -> MetadataTable:
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return MetadataTable.read(path)


def test_the_layout_of_aria_midi(tmp_path: Path) -> None:
    found = table(
        tmp_path / "metadata.json",
        {
            "12": {
                "metadata": {"composer": "chopin", "opus": 25, "piece_number": 8, "form": "etude"},
                "audio_scores": {"0": 0.97, "1": 0.5},
            }
        },
    )
    fields = found.lookup("data/aa/000012_1.mid")
    assert fields["audio_score"] == "0.5"
    described = describe(fields)
    assert (described.composer, described.opus, described.number) == ("chopin", "25", "8")
    assert described.metadata["form"] == "étude"
    assert found.lookup("data/aa/000013_0.mid") == {} == found.lookup("notes.mid")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", "path,composer\nx/one.mid,Ravel\n"),
        ("a.csv", "\ufefffile,composer\none.mid,Ravel\n"),
        ("a.csv", "id,composer\none,Ravel\n"),
        ("a.json", {"x/one.mid": {"composer": "Ravel", "year": None}}),
        ("a.json", [{"path": "one.mid", "composer": ["Ravel"]}]),
    ],
)
def test_a_file_is_found_by_path_name_or_stem(tmp_path: Path, name: str, content: object) -> None:
    found = table(tmp_path / name, content).lookup("x/one.mid")
    assert found["composer"] == "Ravel"
    assert "year" not in found


@pytest.mark.parametrize(
    ("name", "content"),
    [("a.csv", "title\nx\n"), ("a.json", "{"), ("a.json", {}), ("a.json", [1]), ("a.json", "3")],
)
def test_other_tables_are_refused(tmp_path: Path, name: str, content: object) -> None:
    with pytest.raises(InputError, match=name):
        table(tmp_path / name, content)


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("Johann Sebastian Bach", "bach"),
        ("Bach, Johann Sebastian", "bach"),
        ("J. S. Bach", "bach"),
        ("JS Bach", "bach"),
        ("bach", "bach"),
        ("Johann Christian Bach", None),
        ("Carl Philipp Emanuel Bach", None),
        ("Wolfgang Amadeus Mozart", "mozart"),
        ("Leopold Mozart", None),
        ("Alessandro Scarlatti", None),
        ("Ludwig van Beethoven", "beethoven"),
        ("Beethoven, Ludwig van", "beethoven"),
        ("Franz Schubert / Franz Liszt", "liszt"),
        ("FRÉDÉRIC CHOPIN", "chopin"),
        ("Alexander Scriabin", None),
        ("", None),
        (" / ", None),
    ],
)
def test_composers_by_any_usual_spelling(name: str, label: str | None) -> None:
    assert known_composer(name) == label


def test_what_is_said_is_kept_and_sorted() -> None:
    described = describe(
        {
            "id": "7",
            "split": "test",
            "piece_id": "p1",
            "dup_of": "other",
            "composer": "Frédéric Chopin",
            "style": "classical",
            "Piece Number": "2",
            "performer": "N. N.",
            "notes": "900",
            "title": "",
        }
    )
    assert (described.split, described.group, described.duplicate_of) == ("test", "p1", "other")
    assert described.number == "2"
    assert described.metadata == {
        "composer": "chopin",
        "composer_name": "Frédéric Chopin",
        "genre": "classical",
        "style": "classical",
        "piece_number": "2",
        "performer": "N. N.",
    }


def test_tags_are_inferred_only_on_request() -> None:
    known = {"title": "Nocturne in E-flat"}
    assert "form" not in describe(known).metadata
    found = describe(known, infer_from="op_9 chopin live")
    assert found.metadata["form"] == "nocturne"
    assert found.metadata["composer"] == "chopin"
    # What a table says goes before what a name suggests.
    assert describe({"composer": "Field"}, infer_from="chopin").metadata["composer"] == "Field"


def test_every_known_composer_has_a_name() -> None:
    names = ("Joseph Haydn", "Frédéric Chopin", "chopin", "Scott Joplin")
    assert [describe({"composer": n}).metadata["composer_name"] for n in names] == list(names)
    assert describe({"composer": "Joseph Haydn"}).metadata["composer"] == "Joseph Haydn"
    found = describe({}, infer_from="chopin nocturne").metadata
    assert found["composer"] == found["composer_name"] == "chopin"
    assert "composer_name" not in describe({"title": "A"}).metadata
