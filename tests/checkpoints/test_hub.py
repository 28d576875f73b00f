"""Models and datasets on the hub: a stand-in on this machine takes what would go there."""

from __future__ import annotations

import base64
import json
import shutil
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml
from huggingface_hub import constants

from arietta.api import data
from arietta.checkpoints.hub import push_files
from arietta.cli.main import run
from arietta.data.card import CARD
from arietta.data.shards import DESCRIPTION, MANIFEST, open_dataset
from arietta.errors import CheckpointError, OutputError, UsageError
from arietta.models.card import push_model
from arietta.paths import assets_dir


class Hub(ThreadingHTTPServer):
    """Speaks as much of the hub's language as a small commit needs.

    Attributes:
        made: bodies of the repositories that were made.
        files: path of the repository -> name -> content.
        messages: of the commits.
        answer: status of every answer.
    """

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.made: list[dict[str, Any]] = []
        self.files: dict[str, dict[str, bytes]] = {}
        self.messages: list[str] = []
        self.answer = 200


def address(server: Hub) -> str:
    return f"http://127.0.0.1:{server.server_address[1]}"


def hidden(made: dict[str, Any]) -> bool:
    """Whether a repository is for its owner alone; older clients say ``private``."""
    return made.get("private") is True or made.get("visibility") == "private"


class _Handler(BaseHTTPRequestHandler):
    server: Hub

    def log_message(self, *_: object) -> None:
        return

    def do_GET(self) -> None:
        self._say({"message": "there is nothing to read"}, 404)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.server.answer != 200:
            self._say({"error": "no"}, self.server.answer)
        elif self.path == "/api/repos/create":
            made = json.loads(body)
            self.server.made.append(made)
            prefix = "datasets/" if made["type"] == "dataset" else ""
            repo = f"{prefix}{made['organization']}/{made['name']}"
            self._say({"url": f"{address(self.server)}/{repo}"})
        elif self.path == "/api/validate-yaml":
            front = json.loads(body)["content"].split("---")[1]
            assert yaml.safe_load(front)["tags"] == ["midi", "piano", "music"]
            self._say({"errors": [], "warnings": []})
        elif "/preupload/" in self.path:
            names = [one["path"] for one in json.loads(body)["files"]]
            kinds = [{"path": n, "uploadMode": "regular", "shouldIgnore": False} for n in names]
            self._say({"files": kinds})
        else:
            assert "/commit/" in self.path
            place = self.path.removeprefix("/api/").partition("/commit/")[0]
            lines = [json.loads(line) for line in body.splitlines()]
            for line in lines:
                value = line["value"]
                if line["key"] == "header":
                    self.server.messages.append(value["summary"])
                else:
                    content = base64.b64decode(value["content"])
                    self.server.files.setdefault(place, {})[value["path"]] = content
            url = f"{address(self.server)}/{place.removeprefix('models/')}/commit/1"
            self._say({"commitUrl": url, "commitOid": "1", "success": True})

    def _say(self, value: Any, status: int = 200) -> None:
        text = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    server = Hub()
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    monkeypatch.setattr(constants, "ENDPOINT", address(server))
    monkeypatch.setenv("HF_TOKEN", "hf_test")
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def dataset(tmp_path: Path, prompts_dir: Path) -> Path:
    data.build([prompts_dir], tmp_path / "set", settings=data.settings_of("none"), workers=1)
    return tmp_path / "set"


def test_a_model_goes_with_settings_and_card(hub: Hub) -> None:
    assert run(["models", "push", "small", "you/small"]) == 0
    assert [hidden(one) for one in hub.made] == [True]
    files = hub.files["models/you/small"]
    folder = assets_dir() / "small"
    assert set(files) == {"model.safetensors", "config.json", "README.md"}
    assert files["model.safetensors"] == (folder / "model.safetensors").read_bytes()
    card = files["README.md"].decode()
    assert card.startswith('---\nlicense: other\nlicense_name: "CC-BY-NC-SA-4.0"\n')
    assert card.endswith((folder / "README.md").read_text("utf-8"))
    assert hub.messages == ["Add small"]


def test_a_model_without_terms_stays_here(hub: Hub, tmp_path: Path) -> None:
    own = tmp_path / "own"
    shutil.copytree(assets_dir() / "performer", own)
    values = json.loads((own / "config.json").read_text("utf-8"))
    del values["licence"]
    (own / "config.json").write_text(json.dumps(values))
    with pytest.raises(UsageError, match="`licence`"):
        push_model(str(own), "you/own")
    assert not hub.made
    push_model(str(own), "you/own", licence="CC0-1.0", private=False)
    sent = json.loads(hub.files["models/you/own"]["config.json"])
    assert sent["licence"] == "CC0-1.0" and [hidden(one) for one in hub.made] == [False]
    public = tmp_path / "public.safetensors"
    shutil.copy(own / "model.safetensors", public)
    with pytest.raises(CheckpointError):
        push_model(str(public), "you/own", licence="CC0-1.0")


def test_a_dataset_goes_with_its_card(hub: Hub, dataset: Path) -> None:
    with pytest.raises(UsageError, match="`licence`"):
        data.push(dataset, "you/piano")
    place = data.push(dataset, "you/piano", licence="CC-BY-4.0")
    assert place == f"{address(hub)}/datasets/you/piano"
    files = hub.files["datasets/you/piano"]
    shards = {shard.file for shard in open_dataset(dataset).shards}
    assert set(files) == {*shards, DESCRIPTION, CARD}
    for name in shards:
        assert files[name] == (dataset / name).read_bytes()
    card = files[CARD].decode()
    assert "license: cc-by-4.0" in card and 'load_dataset("you/piano"' in card
    # Paths of one's own files go along only when that is asked for.
    data.push(dataset, "you/piano", licence="CC-BY-4.0", manifest=True)
    assert MANIFEST in hub.files["datasets/you/piano"]
    # A card of one's own is not replaced.
    mine = "---\ntags: [midi, piano, music]\n---\n# Mine\n"
    (dataset / CARD).write_text(mine)
    data.push(dataset, "you/piano", licence="CC-BY-4.0")
    assert hub.files["datasets/you/piano"][CARD] == mine.encode()


def test_what_the_hub_refuses_is_told(hub: Hub, capsys: pytest.CaptureFixture[str]) -> None:
    hub.answer = 401
    assert run(["models", "push", "small", "you/small"]) == 1
    told = capsys.readouterr().err
    assert "hf auth login" in told and len(told.splitlines()) == 1
    hub.answer = 400
    with pytest.raises(OutputError, match="status 400"):
        push_files("you/a", "model", {"a": b"a"}, message="a")
    with pytest.raises(UsageError, match="OWNER/NAME"):
        push_files("small", "model", {"a": b"a"}, message="a")


def test_no_way_to_the_hub_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(OutputError, match="cannot be reached"):
        push_files("you/a", "model", {"a": b"a"}, message="a")
