"""The training loop: it learns, resumes to the bit, shares work, and fails with a reason."""

from __future__ import annotations

import csv
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file

import arietta
from arietta.cli import main
from arietta.data.shards import PieceRecord, ShardWriter
from arietta.errors import InputError, Interrupted, OutputError, TrainingError, UsageError
from arietta.generation import samples
from arietta.generation.samples import write_samples
from arietta.training import checkpoints, loop, stopping
from arietta.training.config import load_recipes
from arietta.training.loop import train
from arietta.training.loss import NextToken
from arietta.training.stopping import StopSignals
from tests.training.conftest import TINY, some_notes, tiny


@pytest.fixture(autouse=True)
def one_thread() -> None:
    """Tiny products are slower on more, and other tests run beside these."""
    torch.set_num_threads(1)


def column(run: Path, name: str, file: str = "loss.csv") -> list[float]:
    with (run / file).open() as f:
        return [float(row[name]) for row in csv.DictReader(f)]


def weights(run: Path) -> dict[str, torch.Tensor]:
    return load_file(run / "model" / "model.safetensors")


def same_run(a: Path, b: Path) -> None:
    """Curves and weights are equal to the bit."""
    for file in ("loss.csv", "valid.csv"):
        for name in ("step", "tokens", "nats_per_token"):
            assert column(a, name, file) == column(b, name, file), (file, name)
    ours, theirs = weights(a), weights(b)
    assert ours.keys() == theirs.keys()
    for name, value in ours.items():
        assert torch.equal(value, theirs[name]), name


@pytest.fixture(scope="module")
def whole(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny run, uninterrupted."""
    torch.set_num_threads(1)
    run = tmp_path_factory.mktemp("whole") / "run"
    train(tiny(), dataset, run, cpu=True)
    return run


def test_a_run_logs_every_step_and_leaves_a_model(whole: Path) -> None:
    assert column(whole, "step") == list(range(1, 13))
    assert column(whole, "tokens")[-1] == 128 * 6 + 256 * 6
    assert column(whole, "step", "valid.csv") == [4, 8, 12]
    losses = column(whole, "nats_per_token", "valid.csv")
    assert losses[0] > losses[1] > losses[2]
    norms = column(whole, "gradient_norm")
    assert all(0.1 < norm < 100 for norm in norms) and len(set(norms)) == 12
    assert json.loads((whole / "recipe.json").read_text())["name"] == "tiny"
    assert list((whole / "tensorboard").iterdir())
    out = arietta.load(whole / "model").generate(seconds=1, seed=0)
    assert out.stats.tokens > 0


def test_a_stopped_run_goes_on_to_the_same_bits(dataset: Path, whole: Path, tmp_path: Path) -> None:
    # Within the first stage, at its end, and within the second; dropout draws on random state.
    for steps in (2, 6, 9):
        train(tiny(), dataset, tmp_path / "run", cpu=True, max_steps=steps)
    train(tiny(), dataset, tmp_path / "run", cpu=True)
    same_run(whole, tmp_path / "run")


def test_the_clock_ends_a_run_with_the_rate_at_its_end(dataset: Path, tmp_path: Path) -> None:
    recipe = tiny(
        minutes=0.05,
        stages=[{"seq_len": 64, "rows": 2, "until_tokens": 10**9}],
        schedule={"shape": "trapezoid", "end_ratio": 0.0, "decay_share": 0.5},
        valid_every_steps=10**6,
    )
    states: list[loop.Report] = []
    result = train(recipe, dataset, tmp_path / "run", cpu=True, report=states.append)
    seconds = column(tmp_path / "run", "seconds")
    assert seconds[-2] <= 3.0 <= seconds[-1]
    rates = column(tmp_path / "run", "lr")
    peak = recipe.optimiser.lr
    assert rates[0] == peak
    assert rates[-1] < 0.2 * peak
    assert states[-1].steps == result.steps  # the steps that the clock lets the run come to
    # The last step is validated, and more time lets the run go on.
    assert column(tmp_path / "run", "step", "valid.csv")[-1] == result.steps
    longer = train(replace(recipe, minutes=0.06), dataset, tmp_path / "run", cpu=True)
    assert longer.steps > result.steps


def start(recipe: dict[str, Any], dataset: Path, run: Path, *launcher: str) -> list[str]:
    path = run.parent / "recipe.yaml"
    path.write_text(yaml.safe_dump(recipe))
    module = launcher or ("-m", "arietta")
    return [sys.executable, *module, "train", str(path), str(dataset), "-o", str(run), "--cpu"]


ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}
SHARDED = {
    **ENVIRONMENT,
    "ACCELERATE_USE_FSDP": "true",
    "FSDP_VERSION": "2",
    "FSDP_AUTO_WRAP_POLICY": "TRANSFORMER_BASED_WRAP",
    "FSDP_TRANSFORMER_CLS_TO_WRAP": "EncodeLayer",
}
TORCHRUN = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2")


def test_a_killed_run_goes_on_to_the_same_bits(dataset: Path, whole: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    command = start({**TINY, "checkpoint_every_seconds": 0.0}, dataset, run)
    stop_at = random.Random(0).randrange(2, 10)
    with subprocess.Popen(command, env=ENVIRONMENT, stderr=subprocess.PIPE) as process:
        while process.poll() is None:
            states = checkpoints.saved_states(run)
            if states and int(states[-1].name[-8:]) >= stop_at:
                process.send_signal(signal.SIGKILL)
                break
            time.sleep(0.01)
    assert process.returncode == -signal.SIGKILL, process.stderr
    done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "going on from step" in done.stderr
    same_run(whole, run)
    assert len(checkpoints.saved_states(run)) == 2  # the last K
    assert not list((run / "checkpoints").glob("*.part"))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_finishes_the_step_and_saves_it(
    number: signal.Signals, dataset: Path, whole: Path, tmp_path: Path
) -> None:
    def stop(state: loop.Report) -> None:
        if state.step == 4:
            os.kill(os.getpid(), number)

    before = signal.getsignal(number)
    with pytest.raises(Interrupted, match="stopped after step 5 of 12, the state is saved") as e:
        train(tiny(), dataset, tmp_path / "run", cpu=True, report=stop)
    assert e.value.exit_code == 128 + number
    assert signal.getsignal(number) == before
    assert [path.name for path in checkpoints.saved_states(tmp_path / "run")] == ["step-00000005"]
    train(tiny(), dataset, tmp_path / "run", cpu=True)
    same_run(whole, tmp_path / "run")


def test_a_second_ctrl_c_ends_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    with StopSignals() as signals:
        for _ in range(2):  # a launcher's repetition of the first
            os.kill(os.getpid(), signal.SIGINT)
        assert signals.number == signal.SIGINT
        monkeypatch.setattr(stopping, "AGAIN_S", 0.0)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


def test_the_command_line_says_that_it_was_stopped(
    dataset: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    plain = loop._Run._set_lr

    def stops(self: Any) -> float:
        if self.step == 3:
            os.kill(os.getpid(), signal.SIGTERM)
        return plain(self)

    monkeypatch.setattr(loop._Run, "_set_lr", stops)
    command = start(TINY, dataset, tmp_path / "run")
    assert main.run(command[command.index("train") :]) == 128 + signal.SIGTERM
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("arietta: SIGTERM: stopped after step 4 of 12, the state is saved in")


def test_all_processes_stop_at_one_step(dataset: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    stages = [{"seq_len": 32, "rows": 2, "until_tokens": 10**7}]
    command = start({**TINY, "stages": stages}, dataset, run, *TORCHRUN[1:], "-m", "arietta")
    with subprocess.Popen(command, env=ENVIRONMENT, stderr=subprocess.PIPE, text=True) as process:
        while not (run / "loss.csv").is_file() or len(column(run, "step")) < 3:
            assert process.poll() is None
            time.sleep(0.05)
        process.send_signal(signal.SIGTERM)  # the launcher hands it on
        _, errors = process.communicate(timeout=60)
    assert process.returncode
    (state,) = checkpoints.saved_states(run)
    step = int(column(run, "step")[-1])
    assert state.name == f"step-{step:08d}"
    assert errors.count(f"stopped after step {step} of") == 1


def test_two_processes_see_what_one_sees(dataset: Path, tmp_path: Path) -> None:
    recipe = {**TINY, "resid_dropout": 0.0}
    one, two = tmp_path / "one" / "run", tmp_path / "two" / "run"
    for run in (one, two):
        run.parent.mkdir()
    single = start(recipe, dataset, one)
    for command in (single, start(recipe, dataset, two, *TORCHRUN[1:], "-m", "arietta")):
        done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    for file in ("loss.csv", "valid.csv"):
        assert column(two, "nats_per_token", file) == pytest.approx(
            column(one, "nats_per_token", file), abs=1e-5
        )
    # A state of two processes goes on in one: streams belong to the recipe, not to processes.
    more = {**recipe, "stages": [*TINY["stages"][:1], {**TINY["stages"][1], "until_tokens": 2816}]}
    with pytest.raises(UsageError, match="stages"):
        train(loop_recipe(more), dataset, two, cpu=True)


def loop_recipe(values: dict[str, Any]) -> Any:
    from arietta.training.config import recipe_from

    return recipe_from(values)


@pytest.mark.parametrize(
    ("kind", "stops", "within"),
    # Muon computes in bfloat16, in another order over two processes.
    [("adamw", [12], 1e-5), ("muon", [5, 12], 2e-3)],
)
def test_sharded_weights_learn_the_same(
    kind: str, stops: list[int], within: float, dataset: Path, tmp_path: Path
) -> None:
    """FSDP2 on two gloo processes, stopped and resumed; the validation rows are not shared even."""
    recipe = {
        **TINY,
        "resid_dropout": 0.0,
        "optimiser": {"kind": kind, "lr": 1e-2},
        "data": {**TINY["data"], "valid_rows": 5},
    }
    one, two = tmp_path / "one", tmp_path / "two"
    train(loop_recipe(recipe), dataset, one, cpu=True)
    command = [*TORCHRUN, "-m", "tests.training.sharded_worker", json.dumps(recipe)]
    command += [str(dataset), str(two)]
    for stop in stops:
        done = subprocess.run(
            [*command, str(stop)],
            env=SHARDED,
            capture_output=True,
            text=True,
            timeout=240,
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout.count("all sharded") == 2  # each process
    for file in ("loss.csv", "valid.csv"):
        assert column(two, "nats_per_token", file) == pytest.approx(
            column(one, "nats_per_token", file), abs=within
        )
    ours, theirs = weights(two), weights(one)
    assert ours.keys() == theirs.keys()
    for name, value in ours.items():
        torch.testing.assert_close(value, theirs[name], atol=0.05, rtol=0)
    # One process cannot go on from such a state, says why, and leaves it.
    (*_, state) = checkpoints.saved_states(two)
    with pytest.raises(
        UsageError, match=r"saved with weights sharded .* go on with the launcher"
    ) as e:
        train(loop_recipe(recipe), dataset, two, cpu=True)
    assert "delete" not in str(e.value)
    assert state.is_dir()


def test_one_piece_is_learned_by_heart(tmp_path: Path) -> None:
    with ShardWriter(tmp_path / "set", "grid") as writer:
        for split in ("train", "valid"):
            writer.add(PieceRecord(f"piece-{split}", split), some_notes(40, 3))
    changes = [
        "model.d_model=64",
        "model.max_seq_len=64",
        "stages=[{seq_len: 64, rows: 2, until_tokens: 25600}]",
        "precision=f32",
    ]
    (recipe,) = load_recipes("overfit-one-piece", changes).values()
    result = train(recipe, tmp_path / "set", tmp_path / "run", cpu=True)
    assert column(tmp_path / "run", "nats_per_token")[0] > 7
    assert result.train_loss < 0.35


def test_a_loss_that_is_no_number_names_its_batch(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = NextToken.forward
    calls = iter(range(1000))

    def breaks(self: Any, rows: torch.Tensor) -> torch.Tensor:
        loss = plain(self, rows)
        return loss * float("nan") if self.training and next(calls) == 9 else loss

    monkeypatch.setattr(NextToken, "forward", breaks)
    with pytest.raises(TrainingError, match=r"step 4: the loss is nan on a batch of piece-\d+"):
        train(tiny(checkpoint_every_seconds=0.0), dataset, tmp_path / "run", cpu=True)
    (batch,) = (tmp_path / "run").glob("bad-batch-*.npz")
    with np.load(batch) as arrays:
        assert [arrays[k].shape for k in arrays.files] == [(2, 33), (2, 33)]
    # The states before it are finite, and the run can go on from them.
    monkeypatch.undo()
    assert len(column(tmp_path / "run", "step")) == 4
    assert train(tiny(), dataset, tmp_path / "run", cpu=True).steps == 12


def test_a_full_disk_leaves_the_state_before(
    dataset: Path, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    train(tiny(), dataset, run, cpu=True, max_steps=3)
    (before,) = checkpoints.saved_states(run)

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(OutputError, match=r"No space left.*step-00000003 is intact"):
        train(tiny(), dataset, run, cpu=True, max_steps=5)
    assert checkpoints.saved_states(run) == [before]
    assert not list((run / "checkpoints").glob("*.part"))
    monkeypatch.undo()
    train(tiny(), dataset, run, cpu=True)
    same_run(whole, run)


def test_a_damaged_state_is_named(dataset: Path, tmp_path: Path) -> None:
    from arietta.errors import CheckpointError

    run = tmp_path / "run"
    train(tiny(), dataset, run, cpu=True, max_steps=2)
    (state,) = checkpoints.saved_states(run)
    (state / "optimizer.bin").write_bytes(b"torn")
    with pytest.raises(CheckpointError, match="step-00000002"):
        train(tiny(), dataset, run, cpu=True)


def test_adapters_leave_a_plain_model_that_differs(dataset: Path, tmp_path: Path) -> None:
    small = tiny(stages=[{"seq_len": 64, "rows": 2, "until_tokens": 256}], resid_dropout=0.0)
    base = train(small, dataset, tmp_path / "base", cpu=True).model
    recipe = tiny(
        model=None,
        init=str(base),
        lora={"rank": 2, "alpha": 4.0},
        stages=[{"seq_len": 64, "rows": 2, "until_tokens": 256 * 20}],
        resid_dropout=None,
    )
    train(recipe, dataset, tmp_path / "tuned", cpu=True, max_steps=7)
    train(recipe, dataset, tmp_path / "tuned", cpu=True)
    before, after = load_file(base / "model.safetensors"), weights(tmp_path / "tuned")
    assert before.keys() == after.keys()
    changed = {name for name, value in before.items() if not torch.equal(value, after[name])}
    # Every matrix of the layers and nothing else.
    assert changed == {n for n in before if "encode_layers" in n and "norm" not in n}
    losses = column(tmp_path / "tuned", "nats_per_token", "valid.csv")
    assert losses[-1] < losses[0]
    # What was validated is what was merged: the plain model has the same loss.
    again = tiny(model=None, init=str(tmp_path / "tuned" / "model"), resid_dropout=None)
    run = loop._Run(again, dataset, tmp_path / "check", cpu=True, say=lambda _: None)
    run.recipe = recipe
    run._validate(run.task.validation(), None)
    assert run.measured == pytest.approx(losses[-1:], abs=1e-4)


def test_samples_are_written_and_heard(dataset: Path, tmp_path: Path) -> None:
    recipe = tiny(stages=[{"seq_len": 64, "rows": 2, "until_tokens": 256}], samples_every_steps=1)
    train(recipe, dataset, tmp_path / "run", cpu=True, write_samples=write_samples)
    found = sorted((tmp_path / "run" / "samples").glob("*.mid"))
    assert len(found) == 6
    assert all(len(arietta.read(path)) for path in found if "scratch" not in path.name)


def test_slow_samples_are_fewer(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other processes of a run wait meanwhile, and give up after some minutes."""
    recipe = tiny(stages=[{"seq_len": 64, "rows": 2, "until_tokens": 256}], samples_every_steps=1)
    monkeypatch.setattr(samples, "LIMIT_S", 0.0)
    given: list[str] = []

    def write(model: Path, folder: Path, step: int, device: str) -> None:
        given.append(device)
        write_samples(model, folder, step, device)

    train(recipe, dataset, tmp_path / "run", cpu=True, write_samples=write)
    assert given == ["cpu"]
    assert len(list((tmp_path / "run" / "samples").iterdir())) == 1


def test_what_does_not_fit_is_refused(dataset: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="17727"):
        train(tiny(tokenizer="full"), dataset, tmp_path / "a", cpu=True)
    with pytest.raises(InputError, match="no such dataset"):
        train(tiny(), tmp_path / "nothing", tmp_path / "b", cpu=True)
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "thesis.txt").write_text("mine")
    with pytest.raises(UsageError, match="not empty"):
        train(tiny(), dataset, tmp_path / "c", cpu=True)
    assert (tmp_path / "c" / "thesis.txt").read_text() == "mine"
    train(tiny(), dataset, tmp_path / "d", cpu=True, max_steps=1)
    with pytest.raises(UsageError, match="seed"):
        train(tiny(seed=1), dataset, tmp_path / "d", cpu=True)
    shutil.rmtree(tmp_path / "d" / "checkpoints")
    assert train(tiny(), dataset, tmp_path / "d", cpu=True, max_steps=1).steps == 1


def test_two_trainings_do_not_share_a_folder(dataset: Path, tmp_path: Path) -> None:
    with (
        checkpoints.held_run(tmp_path / "run"),
        pytest.raises(OutputError, match="another process is training here"),
    ):
        train(tiny(), dataset, tmp_path / "run", cpu=True, max_steps=1)
    assert train(tiny(), dataset, tmp_path / "run", cpu=True, max_steps=1).steps == 1
