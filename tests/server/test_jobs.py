"""Trainings as jobs: their life, and what a training tells; the training itself is another test."""

from __future__ import annotations

import multiprocessing
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from arietta.api.serving import served_models, trained_dir
from arietta.server import jobs as jobs_file
from arietta.server.jobs import Jobs, train_files
from arietta.server.problems import Problem
from arietta.server.settings import ServerSettings
from tests.server import slow_training


@pytest.fixture
def jobs(monkeypatch):
    monkeypatch.setattr(jobs_file, "train_files", slow_training.train_files)
    made = Jobs(ServerSettings())
    yield made
    made.stop()


def wait(condition) -> None:
    until = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.01)


FILES = [("../../a.mid", b"MThd"), ("b.mid", b"MThd")]


def test_a_job_is_done_paused_and_ended(jobs) -> None:
    job = jobs.add(FILES, "finetune-folder", None)
    later = jobs.add(FILES, "finetune-folder", None)
    wait(lambda: job.curve)
    assert job.state == "running" and later.state == "queued"
    folder = trained_dir() / job.id
    assert sorted(file.name for file in (folder / "files").iterdir()) == ["00000.mid", "00001.mid"]
    assert not list(trained_dir().parent.glob("a.mid"))
    jobs.pause(job.id)
    wait(lambda: job.state == "paused")
    time.sleep(0.3)
    done = job.progress["done"]
    time.sleep(0.3)
    assert job.progress["done"] == done
    jobs.pause(job.id, resume=True)
    wait(lambda: job.progress["done"] > done)
    process = job.process
    jobs.cancel(job.id)
    assert job.to_dict()["state"] == "cancelled" and not folder.exists()
    wait(lambda: not process.is_alive())
    wait(lambda: later.state == "running")
    jobs.cancel(later.id)
    jobs.cancel(later.id)  # twice does no harm
    assert later.state == "cancelled"


def test_a_job_whose_process_dies_has_failed(jobs) -> None:
    job = jobs.add([("die.mid", b"")], "finetune-folder", None)
    wait(lambda: job.state == "failed")
    assert job.to_dict()["error"]["mend"]


def test_jobs_are_bounded(jobs, monkeypatch) -> None:
    monkeypatch.setattr(jobs_file, "MAX_WAITING", 1)
    first = jobs.add(FILES, "finetune-folder", None)
    wait(lambda: first.state == "running")
    jobs.add(FILES, "finetune-folder", None)
    with pytest.raises(Problem) as caught:
        jobs.add(FILES, "finetune-folder", None)
    assert caught.value.status == 429


def test_what_a_training_tells(prompts_dir: Path, tmp_path: Path, monkeypatch) -> None:
    def train(recipe, data, out, *, steps, report):
        assert recipe == "finetune-folder" and [one.name for one in data.iterdir()] == ["00000.mid"]
        for step in (1, 2):
            report("x", SimpleNamespace(step=step, steps=2, loss=3.0 - step, seconds_left=1.0))
        figures = {"model": "m", "steps": 2, "valid_nats_per_token": 0.5}
        return SimpleNamespace(to_dict=lambda: {"mine": figures})

    monkeypatch.setattr("arietta.api.training.train", train)
    monkeypatch.setattr("os.setsid", lambda: None)
    monkeypatch.setattr("os.nice", lambda _: None)
    monkeypatch.setattr("signal.signal", lambda *_: None)
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "00000.mid").write_bytes((prompts_dir / "waltz.mid").read_bytes())
    (tmp_path / "files" / "00001.mid").write_bytes(b"nothing")
    ours, theirs = multiprocessing.Pipe()
    names = {"00000.mid": "waltz.mid", "00001.mid": "bad.mid"}
    settings = {"names": names, "recipe": "finetune-folder", "steps": None}
    thread = threading.Thread(target=train_files, args=(theirs, tmp_path, settings))
    thread.start()
    told = []
    while not told or told[-1][0] not in ("done", "failed"):
        assert ours.poll(20)
        told.append(ours.recv())
    thread.join()
    kept, refused = told[0][1]
    assert kept == ["waltz.mid"] and refused[0]["name"] == "bad.mid" and "MThd" in refused[0]["why"]
    assert next(value for kind, value in told if kind == "point") == (1, 2.0)
    assert told[-1] == ("done", {"nats_before": 2.0, "steps": 2, "valid_nats_per_token": 0.5})


def test_trained_models_are_served_by_a_name_of_ours() -> None:
    model = trained_dir() / "0123" / "run" / "model"
    model.mkdir(parents=True)
    (model / "config.json").write_text("{}")
    assert served_models()["mine-0123"] == str(model)
