"""Every other address: what it answers, and that no client's name becomes a path."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

from arietta.api.examples import EXAMPLES
from arietta.midi.reader import read_bytes

SCORE = """X:1
T:Little tune
M:3/4
L:1/4
K:G
G A B | c2 B | A G F | G3 |
"""


def file(data: bytes, name: str = "piece.mid") -> dict[str, str]:
    return {"name": name, "data": base64.b64encode(data).decode()}


@pytest.fixture(scope="module")
def tune() -> dict[str, str]:
    return file(SCORE.encode(), "tune.abc")


def test_reading_a_performance(running, waltz) -> None:
    status, found, _ = running.ask("POST", "/v1/read", {"file": waltz})
    assert status == 200 and found["title"] == "waltz" and not found["is_score"]
    notes = found["notes"]
    assert len({len(column) for column in notes.values()}) == 1 and len(notes["pitch"]) == 341
    assert notes["onset_seconds"] == sorted(notes["onset_seconds"])
    assert set(notes["hand"]) == {"left", "right"}
    assert set(found["pedal"]["value"]) == {0, 127} and found["bars_seconds"] == []
    assert found["duration_seconds"] == found["last_release_seconds"] > 50
    assert found["key"]["name"].endswith(("major", "minor"))


def test_reading_a_score(running, tune) -> None:
    pytest.importorskip("verovio")
    found = running.ask("POST", "/v1/read", {"file": tune})[1]
    assert found["is_score"] and found["title"] == "tune"
    assert found["notes"]["pitch"] == [67, 69, 71, 72, 71, 69, 67, 66, 67]
    bars, beats = found["bars_seconds"], found["beats_seconds"]
    assert np.diff(bars) == pytest.approx(np.full(len(bars) - 1, bars[1])) and len(beats) >= 12
    assert set(bars) <= set(beats)


def test_multipart_gives_what_json_gives(running, waltz) -> None:
    data = base64.b64decode(waltz["data"])
    parts = (
        b'--x\r\nContent-Disposition: form-data; name="file"; filename="waltz.mid"\r\n'
        b"Content-Type: audio/midi\r\n\r\n" + data + b"\r\n"
        b'--x\r\nContent-Disposition: form-data; name="settings"\r\n\r\n'
        b'{"quick": true}\r\n--x--\r\n'
    )
    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    status, found, _ = running.ask("POST", "/v1/score", parts, headers)
    same = running.ask("POST", "/v1/score", {"file": waltz, "quick": True})[1]
    assert status == 200 and found == same
    assert len(found["nats"]) == len(found["notes"]["pitch"]) == 341
    top = found["suspicious"]
    assert found["nats"][top[0]] == max(found["nats"]) and len(set(top)) == len(top)


def test_rendering(running, tune) -> None:
    pytest.importorskip("verovio")
    body = {"file": tune, "variations": 2, "controls": {"rubato": 1.5}, "model": "rules"}
    status, found, _ = running.ask("POST", "/v1/render", body)
    assert status == 200 and [take["take"] for take in found["takes"]] == [0, 1]
    for take in found["takes"]:
        assert len(take["notes"]["pitch"]) == 9 and take["tempo"] and take["loudness"]
        assert len(read_bytes(base64.b64decode(take["midi"]))) == 9
        assert len(take["bars_seconds"]) >= 4
    assert found["takes"][0]["notes"] != found["takes"][1]["notes"]
    names = [name for name, _ in running.events("/v1/render", body)]
    assert names == ["take", "take", "end"]


def test_filling(running, waltz) -> None:
    body = {"file": waltz, "from_seconds": 4, "to_seconds": 5, "variations": 1, "of": 2}
    found = running.events("/v1/fill", body)
    assert [name for name, _ in found] == ["start", "take", "end"]
    take = found[1][1]
    assert take["rank"] == 1 and take["new"] >= 0 and "seam_bits_per_note" in take


def test_classes_and_vectors(running, waltz) -> None:
    labels = running.ask("POST", "/v1/classify", {"file": waltz})[1]["labels"]
    assert sum(one["probability"] for one in labels) == pytest.approx(1, abs=1e-3)
    assert labels == sorted(labels, key=lambda one: -one["probability"])
    vector = running.ask("POST", "/v1/embed", {"file": waltz})[1]["vector"]
    assert len(vector) > 100 and np.isfinite(vector).all()


@pytest.mark.parametrize(("accept", "kind"), [("audio/ogg", "OGG"), ("audio/*", "WAV")])
def test_sound(running, accept: str, kind: str, tmp_path: Path) -> None:
    from arietta.midi.piece import Piece

    piece = Piece.from_ms([0, 200], [300, 300], [60, 64], [80, 80])
    body = {"file": file(piece.to_bytes())}
    status, data, _ = running.ask("POST", "/v1/synth", body, {"Accept": accept})
    (tmp_path / "sound").write_bytes(data)
    audio, rate = soundfile.read(tmp_path / "sound")
    assert status == 200 and soundfile.info(tmp_path / "sound").format == kind
    assert len(audio) / rate > 0.5 and np.sqrt((audio**2).mean()) > 0.005
    assert running.ask("POST", "/v1/synth", body, {"Accept": "image/png"})[0] == 406


def test_a_postcard_loads_nothing(running) -> None:
    from arietta.midi.piece import Piece

    piece = Piece.from_ms([0, 200], [300, 300], [60, 64], [80, 80])
    body = {"file": file(piece.to_bytes()), "title": "<script>alert(1)</script>", "seed": 7}
    status, page, headers = running.ask("POST", "/v1/postcard", body)
    text = page.decode()
    assert status == 200 and "attachment" in headers["Content-Disposition"]
    assert "<script>alert" not in text and "seed 7" in text and len(page) < 6 * 2**20
    assert "data:audio/mpeg;base64," in text and "<svg" in text
    assert "http://" not in text.replace("http://www.w3.org/2000/svg", "")
    assert "https://" not in text


def test_collections(running, waltz) -> None:
    assert running.ask("GET", "/v1/indexes")[1] == [{"name": "prompts", "pieces": 2}]
    points = running.ask("GET", "/v1/indexes/prompts/map")[1]["points"]
    assert {point["title"] for point in points} == {"waltz", "smooth jazz"}
    assert all(-1 <= point[axis] <= 1 for point in points for axis in ("x", "y"))
    for by in ("style", "notes"):
        body = {"file": waltz, "index": "prompts", "by": by, "top": 1}
        (match,) = running.ask("POST", "/v1/search", body)[1]["matches"]
        status, data, _ = running.ask("GET", f"/v1/indexes/prompts/pieces/{match['id']}")
        assert status == 200 and len(read_bytes(data)) > 100
    body = {"text": "Jazz", "index": "prompts"}
    (match,) = running.ask("POST", "/v1/search", body)[1]["matches"]
    assert match["title"] == "smooth jazz"


def test_models_and_examples(running) -> None:
    models = running.ask("GET", "/v1/models")[1]
    assert {"small", "performer", "rules"} <= {one["name"] for one in models}
    assert [one["name"] for one in models if one["default"]] == ["small"]
    examples = running.ask("GET", "/v1/examples")[1]
    assert [one["name"] for one in examples] == [one.name for one in EXAMPLES]
    for one in examples:
        assert len(read_bytes(running.ask("GET", f"/v1/examples/{one['name']}")[1])) > 100


PATHS = ("/etc/passwd", "../../pyproject.toml", "..%2f..%2fpyproject.toml", "%2e%2e/x", "~/.ssh")


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    "place",
    [
        "/v1/examples/{}",
        "/v1/indexes/{}/map",
        "/v1/indexes/prompts/pieces/{}",
        "/v1/jobs/{}",
        "/{}",
    ],
)
def test_no_address_reaches_a_file(running, place: str, path: str) -> None:
    status, found, _ = running.ask("GET", place.format(path))
    assert status == 404 and "no" in found["what"].lower()


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("where", ["generate", "score", "classify", "embed", "render", "fill"])
def test_no_name_of_a_model_reaches_a_file(running, waltz, where: str, path: str) -> None:
    body = {"file": waltz, "model": path}
    if where == "fill":
        body |= {"from_seconds": 1, "to_seconds": 2}
    status, found, _ = running.ask("POST", f"/v1/{where}", body)
    assert status == 422 and "not served" in found["why"]


def test_no_name_of_a_file_is_used_as_a_path(running, tune, tmp_path: Path) -> None:
    pytest.importorskip("verovio")
    target = tmp_path / "written.abc"
    found = running.ask("POST", "/v1/read", {"file": {**tune, "name": str(target)}})[1]
    assert found["title"] == "written" and not target.exists()
    bad = file(b"not a score", "../../secret/tune.abc")
    status, found, _ = running.ask("POST", "/v1/read", {"file": bad})
    assert status == 422 and "tmp" not in found["why"] and "secret/" not in found["why"]


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("GET", "/v1/nothing", None, 404),
        ("PUT", "/v1/read", {}, 405),
        ("POST", "/v1/read", b"{", 400),
        ("POST", "/v1/read", b"[" * 100_000, 400),
        ("POST", "/v1/read", [], 422),
        ("POST", "/v1/read", {}, 422),
        ("POST", "/v1/search", {"index": "prompts"}, 422),
        ("POST", "/v1/search", {"index": "other", "text": "x"}, 404),
        ("POST", "/v1/train", {"files": []}, 422),
        ("POST", "/v1/train", {"recipe": "/etc/passwd"}, 422),
        ("GET", "/v1/jobs/none", None, 404),
        ("DELETE", "/v1/jobs/none", None, 404),
        ("POST", "/v1/jobs/none/pause", None, 404),
        ("POST", "/v1/jobs/none/explode", None, 422),
    ],
)
def test_wrong_requests_are_problems(running, method, path, body, status) -> None:
    found, value, headers = running.ask(method, path, body)
    assert found == status and headers.get_content_type() == "application/problem+json"
    assert value["what"] and value["why"] and value["mend"]


def test_other_types_of_bodies(running) -> None:
    for kind, status in (("text/plain", 415), ("multipart/form-data", 400)):
        headers = {"Content-Type": kind}
        assert running.ask("POST", "/v1/read", b"--x\r\nbroken", headers)[0] == status


def test_the_page_and_its_schema(running) -> None:
    status, page, _ = running.ask("GET", "/")
    assert status == 200 and b"<title>Arietta" in page
    schema = running.ask("GET", "/openapi.json")[1]
    posts = [path for path, methods in schema["paths"].items() if "post" in methods]
    assert {"/v1/generate", "/v1/render", "/v1/search", "/v1/synth"} <= set(posts)
    body = schema["paths"]["/v1/generate"]["post"]["requestBody"]["content"]
    assert body["application/json"]["example"]["file"]["name"] == "waltz.mid"
    assert "multipart/form-data" in body
    text = json.dumps(schema)
    known = schema["components"]["schemas"]
    for reference in {part.split('"')[0] for part in text.split("#/components/schemas/")[1:]}:
        assert reference in known


def test_the_file_that_the_studio_opens(strict, waltz) -> None:
    data = base64.b64decode(waltz["data"])
    server = strict(opened=("waltz.mid", data))
    assert server.ask("GET", "/v1/opened")[1] == waltz
