"""Train: step, log, validate, save, resume.

A step takes one micro-batch from each data stream of the recipe. The streams are distributed over
the processes, and each process accumulates over its streams, so a recipe gives the same steps on
one process as on many.
"""

from __future__ import annotations

import csv
import functools
import json
import math
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

import numpy as np
import torch
from torch import Tensor

from arietta.errors import Interrupted, TrainingError, UsageError
from arietta.training.batches import StepBatch, ahead, ahead_in_process, step_batches
from arietta.training.checkpoints import LOCK, held_run, load_state, save_state, saved_states
from arietta.training.config import PlannedStage, Recipe, plan
from arietta.training.distributed import Later, Processes
from arietta.training.hardware import measured_peak_flops
from arietta.training.optim import build_optimisers
from arietta.training.stopping import StopSignals
from arietta.training.tasks.by_name import task_of
from arietta.training.tasks.decoder import Task

RECIPE = "recipe.json"
LOSSES = "loss.csv"
VALIDATION = "valid.csv"

WriteSamples = Callable[[Path, Path, int, str], object]


@dataclass(frozen=True)
class Report:
    """Describe the progress of a run after a step.

    Attributes:
        step, steps: optimiser steps done, and steps of the whole run.
        tokens: tokens trained on.
        loss: smoothed training loss, in the unit of the task (nats per token).
        valid: latest validation loss, or None.
        tokens_per_second: rate of all processes together, since the start of this process.
        peak_share: operations per second as a share of those of a large matrix product.
        seconds_left: remaining time at this rate.
    """

    step: int
    steps: int
    tokens: int
    loss: float
    valid: float | None
    tokens_per_second: float
    peak_share: float
    seconds_left: float


@dataclass(frozen=True, eq=False)
class Result:
    """Hold the result of a finished or stopped run.

    Attributes:
        model: folder of the trained model; its path serves as a model name.
        steps, tokens: optimiser steps done, and tokens trained on.
        train_loss: last smoothed training loss, in the unit of the task (nats per token).
        measures: names of the validation metrics; the first is the loss.
        valid: last value of each metric.
        before: value of each metric before the first step, and
        kept: of the model that was kept; empty for a recipe without ``patience``.
    """

    model: Path
    steps: int
    tokens: int
    train_loss: float
    measures: tuple[str, ...]
    valid: tuple[float, ...]
    before: tuple[float, ...] = ()
    kept: tuple[float, ...] = ()


def train(
    recipe: Recipe,
    data: Path,
    run: Path,
    *,
    cpu: bool = False,
    max_steps: int | None = None,
    report: Callable[[Report], None] = lambda _: None,
    say: Callable[[str], None] = lambda _: None,
    write_samples: WriteSamples = lambda *_: None,
) -> Result:
    """Run a recipe to its end, from the latest saved state if there is one.

    Args:
        recipe: recipe to run.
        data: dataset folder.
        run: folder for states, logs and the model; created if missing.
        cpu: use the CPU even if there is a GPU.
        max_steps: stop after this many steps of the run and save the state.
        report: callback after every step, on the main process.
        say: callback for messages to the user, one line each.
        write_samples: called with the model's folder, a folder for samples, the step and the
            torch device, every ``samples_every_steps`` of the recipe:
            ``generation.samples.write_samples``.

    Raises:
        InputError: there is no dataset, or it has no train split.
        UsageError: recipe, dataset and processes do not fit together, or the run folder holds
            another recipe.
        OutputError: a state cannot be written.
        TrainingError: the loss is not a number.
        Interrupted: Ctrl-C or SIGTERM; the step was finished and its state is saved.
    """
    with held_run(run):
        training = _Run(recipe, data, run, cpu=cpu, say=say, write_samples=write_samples)
        return training.step_to_end(max_steps, report)


@dataclass(frozen=True, eq=False)
class _StepDone:
    """Hold a step whose loss may not be known yet; ``step`` and ``tokens`` include it."""

    step: int
    tokens: int
    lr: float
    batch: StepBatch
    values: Later
    stage_flops: float


class _Meter:
    """Measure loss and speed since the start of this process.

    Args:
        step, tokens: done before.
        peak: operations per second of all processes in a large matrix product.
    """

    def __init__(self, step: int, tokens: int, peak: float) -> None:
        self._step, self._tokens, self._peak = step, tokens, peak
        self._started = time.monotonic()
        self._recent: list[float] = []
        self._flops = 0.0

    def add(self, flops: float, loss: float) -> None:
        """Add a step."""
        self._flops += flops
        self._recent = [*self._recent[-49:], loss]

    @property
    def loss(self) -> float:
        """Return the smoothed loss; not a number before the first step."""
        return float(np.mean(self._recent)) if self._recent else math.nan

    def report(self, done: _StepDone, steps: int, valid: float | None) -> Report:
        """Return the progress after a step of ``steps``."""
        passed = max(1e-9, time.monotonic() - self._started)
        return Report(
            done.step,
            steps,
            done.tokens,
            self.loss,
            valid,
            (done.tokens - self._tokens) / passed,
            self._flops / passed / self._peak,
            max(0, steps - done.step) * passed / (done.step - self._step),
        )


class _Run:
    """Run one recipe in one process."""

    def __init__(
        self,
        recipe: Recipe,
        data: Path,
        run: Path,
        *,
        cpu: bool,
        say: Callable[[str], None],
        write_samples: WriteSamples = lambda *_: None,
    ) -> None:
        self.write_samples = write_samples
        self.processes = processes = Processes(cpu=cpu)
        self.say = say if processes.is_main else lambda _: None
        if recipe.streams % processes.world:
            raise UsageError(
                f"{recipe.name}: {recipe.streams} data streams cannot be shared by"
                f" {processes.world} processes; `changes` streams={processes.world} or a multiple"
            )
        self.recipe, self.data, self.run = recipe, data, run
        self.step = self.tokens = 0
        self.seconds = 0.0
        self.measured: list[float] = []
        self.best: list[float] = []
        self.without_improvement = 0
        self.stopping = False
        self.positions: dict[int, dict[str, Any]] = {}
        torch.manual_seed(recipe.seed + processes.rank)
        self.task = task_of(recipe, data)
        self.resuming = self._claim_folder()
        counted = any(stage.until_epochs is not None for stage in recipe.stages)
        self.planned = plan(recipe, self.task.epoch_tokens() if counted else 0)
        self.steps = self.planned[-1].end_step
        if not self.resuming:
            self.task.begin(self.say)
        module = self.task.module
        if recipe.compile and self._can_compile():
            module.compile()
        optimisers = build_optimisers(module, recipe.optimiser, sharded=processes.sharded)
        self.module, self.optimisers = processes.prepare(module, optimisers)
        if self.resuming:
            progress, self.positions = load_state(run, processes)
            self.step, self.tokens = progress["step"], progress["tokens"]
            self.seconds = progress["seconds"]
            self.measured = progress["measured"]
            self.best, self.without_improvement = progress["best"], progress["without_gain"]
            self.say(f"going on from step {self.step} of {self.steps} in {run}")

    # Setting up

    def _claim_folder(self) -> bool:
        """Write the resolved recipe, or check that the existing one is the same."""
        path = self.run / RECIPE
        resolved = json.loads(json.dumps(self.recipe.to_dict()))
        if path.is_file():
            there = json.loads(path.read_text("utf8"))
            # The settings of saving, and how a step is computed, may change between starts.
            free = {"checkpoint_every_seconds", "keep", "compile", "grad_checkpoint", "minutes"}
            other = [k for k in resolved if k not in free and there.get(k) != resolved[k]]
            if other:
                raise UsageError(
                    f"{self.run}: holds a run of another recipe (it differs in"
                    f" {', '.join(other)}); choose another folder"
                )
        elif self.run.exists() and any(self.run.iterdir()) and self.processes.is_main:
            strange = [
                p.name for p in self.run.iterdir() if p.name not in ("dataset", "labels.json", LOCK)
            ]
            if strange:
                raise UsageError(
                    f"{self.run}: is not empty and holds no run; choose another folder"
                )
        self.processes.wait()
        if self.processes.is_main:
            self.run.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(resolved, indent=1), "utf8")
        return bool(saved_states(self.run))

    def _can_compile(self) -> bool:
        if self.processes.device.type != "cpu" or any(map(shutil.which, ("g++", "clang++"))):
            return True
        self.say("no C++ compiler here: the model runs uncompiled, about 1.5 times slower")
        return False

    # Running

    def step_to_end(self, max_steps: int | None, report: Callable[[Report], None]) -> Result:
        """Train until the end."""
        recipe, processes = self.recipe, self.processes
        end = self.steps if max_steps is None else min(self.steps, max_steps)
        valid = self.task.validation()
        if valid is None:
            self.say("there is no split 'valid': nothing is validated")
        peak = measured_peak_flops(
            processes.device, torch.bfloat16 if recipe.precision == "bf16" else torch.float32
        )
        logs = _Logs(self.run, self.step, self.task.measures) if processes.is_main else None
        make = functools.partial(
            step_batches,
            planned=self.planned,
            step=self.step,
            positions=self.positions,
            rank=processes.rank,
            world=processes.world,
        )
        if processes.device.type == "cuda":
            # A thread would take turns with the one that starts the work of the device.
            batches = ahead_in_process(functools.partial(_task_batches, recipe, self.data, make))
        else:
            batches = ahead(make(self.task))
        saved_step, saved_at = self.step, self.seconds
        meter = _Meter(self.step, self.tokens, peak * processes.world)
        mark = time.monotonic()
        pending: _StepDone | None = None

        def settle() -> None:
            """Read what the last step found, and log it."""
            nonlocal pending
            if pending is None:
                return
            done, pending = pending, None
            loss, norm, *shared = done.values.read()
            if not math.isfinite(loss):
                raise self._not_a_number(loss, done)
            if shared:
                self.seconds += shared[0]
                self.stopping = self.stopping or shared[1] > 0
            meter.add(done.stage_flops, loss)
            if logs:
                logs.loss(done.step, done.tokens, done.lr, loss, self.seconds, norm)
                valid_loss = self.measured[0] if self.measured else None
                report(meter.report(done, self._expected_steps(), valid_loss))

        self.module.train()
        if valid is not None and recipe.patience is not None and not self.measured:
            self._validate(valid, logs)  # the initial model may remain the best
        with StopSignals() as signals:
            try:
                while self.step < end and not (
                    self.stopping or self._out_of_time() or self._out_of_patience()
                ):
                    batch = next(batches)
                    stage = self._stage().stage
                    lr = self._set_lr()
                    now = time.monotonic()
                    values = self._train_step(batch, now - mark, signals.number > 0)
                    if processes.world > 1:
                        mark = now
                    self.step += 1
                    seen = recipe.step_tokens(stage)
                    self.tokens += seen
                    self.positions = batch.after
                    settle()  # the step before: the device is busy with this one meanwhile
                    flops = self.task.flops_per_token(stage.seq_len) * seen
                    pending = _StepDone(self.step, self.tokens, lr, batch, values, flops)
                    if processes.world == 1:
                        now = time.monotonic()
                        self.seconds, mark = self.seconds + now - mark, now
                        self.stopping = signals.number > 0
                    if valid is not None and (
                        self.step % recipe.valid_every_steps == 0
                        or self.step == self.steps
                        or self._out_of_time()
                    ):
                        settle()
                        self._validate(valid, logs)
                    due = self._due(recipe.samples_every_steps) and not self.stopping
                    if self.task.plays and due:
                        settle()
                        self._sample()
                    if self.seconds - saved_at > recipe.checkpoint_every_seconds:
                        settle()
                        self._save()
                        saved_step, saved_at = self.step, self.seconds
                settle()
            finally:
                batches.close()
                if logs:
                    logs.close()
            if saved_step != self.step or not saved_states(self.run):
                self._save()
        if self.stopping and self.step < end:
            number = signals.number or signal.SIGTERM  # of another process
            raise Interrupted(
                f"{signal.Signals(number).name}: stopped after step {self.step} of {self.steps},"
                f" the state is saved in {self.run}; the same command goes on from there",
                number,
            )
        return Result(
            self.run / "model",
            self.step,
            self.tokens,
            meter.loss,
            self.task.measures,
            tuple(self.measured) or (math.nan,) * len(self.task.measures),
            *self._before_and_kept(),
        )

    def _before_and_kept(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Return the metrics before the first step and those of the best model; empty if none."""
        path = self.run / "valid.csv"
        if self.recipe.patience is None or not path.is_file():
            return (), ()
        with path.open(encoding="utf-8", newline="") as file:
            rows = [
                (int(row["step"]), tuple(float(row[name]) for name in self.task.measures))
                for row in csv.DictReader(file)
            ]
        first = next((measured for step, measured in rows if step == 0), ())
        best = max((m for _, m in rows), key=lambda m: self.task.merit(list(m)), default=())
        return first, best

    def _stage(self) -> PlannedStage:
        return next(part for part in self.planned if self.step < part.end_step)

    def _expected_steps(self) -> int:
        """Return the steps of the whole run, as far as the clock lets it come."""
        if self.recipe.minutes is None or not self.seconds:
            return self.steps
        by_clock = round(self.step * 60 * self.recipe.minutes / self.seconds)
        return max(self.step, min(self.steps, by_clock))

    def _out_of_time(self) -> bool:
        minutes = self.recipe.minutes
        return minutes is not None and self.seconds >= 60 * minutes

    def _set_lr(self) -> float:
        schedule = self.recipe.schedule
        lr = self.recipe.optimiser.lr * schedule.factor(self.step, self._expected_steps())
        for optimiser in self.optimisers:
            for group in optimiser.param_groups:
                group["lr"] = lr
        return lr

    def _train_step(self, batch: StepBatch, passed: float, stop: bool) -> Later:
        """Take one optimiser step.

        Args:
            batch: share of this process.
            passed: seconds since the step before began.
            stop: whether a signal has come to this process.

        Returns:
            The mean loss over all processes and the norm of the gradient; of several processes
            also the mean of ``passed`` and of ``stop``, so that all save and end at the same step.
        """
        processes = self.processes
        micro = [self._ids(rows) for rows in batch.micro]
        total = self.task.step(self.module, micro, processes)
        norm = processes.clip(self.module, self.recipe.optimiser.clip_norm)
        for optimiser in self.optimisers:
            optimiser.step()
        for optimiser in self.optimisers:
            optimiser.zero_grad(set_to_none=True)
        found = torch.stack((total.float(), norm.float()))
        if processes.world > 1:
            mine = processes.to_device(torch.tensor((passed, float(stop))))
            found = processes.mean(torch.cat((found, mine)))
        return Later(found)

    def _ids(self, rows: Any) -> Tensor:
        ids = torch.from_numpy(np.ascontiguousarray(rows))
        return self.processes.to_device(ids if ids.is_floating_point() else ids.long())

    def _not_a_number(self, loss: float, done: _StepDone) -> TrainingError:
        step, batch = done.step - 1, done.batch
        path = self.run / f"bad-batch-step-{step}-process-{self.processes.rank}.npz"
        np.savez(path, *batch.micro)
        pieces = sorted({name for row in batch.names for name in row})
        shown = ", ".join(pieces[:8]) + (f" and {len(pieces) - 8} more" if len(pieces) > 8 else "")
        return TrainingError(
            f"step {step}: the loss is {loss} on a batch of {shown}; its token ids are in"
            f" {path}. Lower optimiser.lr or set optimiser.clip_norm (e.g. 1.0) in a new run"
        )

    # Validation

    @torch.no_grad()
    def _validate(self, rows: Tensor, logs: _Logs | None) -> None:
        """Validate the model on the rows."""
        self.module.eval()
        # Uncompiled: compilation of a second graph does not pay off for rare validations.
        with torch.compiler.set_stance("force_eager"):
            self.measured = self.task.validate(self.module, rows, self.processes)
        self.module.train()
        if logs:
            logs.valid(self.step, self.tokens, self.measured, self.seconds)
        self._export_if_best()

    def _export_if_best(self) -> None:
        """With ``patience``, export the model if it is the best so far."""
        if self.recipe.patience is None:
            return
        merit = self.task.merit(self.measured)
        if not self.best or merit > self.best:
            self.best, self.without_improvement = merit, 0
            self._export()
        else:
            self.without_improvement += 1

    def _out_of_patience(self) -> bool:
        patience = self.recipe.patience
        return patience is not None and self.without_improvement >= patience

    def _due(self, every: int) -> bool:
        return every > 0 and self.step % every == 0

    def _sample(self) -> None:
        folder = self._export()
        if self.processes.is_main:
            device = str(self.processes.device)
            self.write_samples(folder, self.run / "samples", self.step, device)

    # Saving

    def _save(self) -> None:
        save_state(
            self.run,
            self.processes,
            {
                "step": self.step,
                "tokens": self.tokens,
                "seconds": self.seconds,
                "measured": self.measured,
                "best": self.best,
                "without_gain": self.without_improvement,
            },
            self.positions,
            self.recipe.keep,
        )
        if not self.best:
            self._export()  # so that the model of an interrupted run can be used

    def _export(self) -> Path:
        """Export the current weights as a model folder; every process calls this."""
        state = self.processes.whole_state_dict(self.module)
        folder = self.run / "model"
        if self.processes.is_main:
            self.task.export(
                folder, state, {"trained_tokens": self.tokens, "trained_steps": self.step}
            )
        self.processes.wait()
        return folder


def _task_batches(
    recipe: Recipe, data: Path, make: Callable[[Task], Iterator[StepBatch]]
) -> Iterator[StepBatch]:
    """Yield the batches of a recipe in a process that has only its settings."""
    return make(task_of(recipe, data))


class _Logs:
    """Write ``loss.csv``, ``valid.csv`` and TensorBoard logs; drop lines after the resumed step."""

    def __init__(self, run: Path, step: int, measures: tuple[str, ...]) -> None:
        self._measures = measures
        self._files: list[TextIO] = []
        self._loss = self._open(
            run / LOSSES, ["step", "tokens", "lr", measures[0], "seconds", "gradient_norm"], step
        )
        self._valid = self._open(run / VALIDATION, ["step", "tokens", *measures, "seconds"], step)
        self._board = None
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            pass  # the csv files hold the same values
        else:
            self._board = SummaryWriter(str(run / "tensorboard"), purge_step=step + 1)

    def _open(self, path: Path, head: list[str], step: int) -> Any:
        rows: list[list[str]] = []
        if path.is_file():
            with path.open(newline="") as file:
                rows = [row for row in _whole_rows(file) if int(row[0]) <= step]
        # Runs that began before gradients were logged have no norms.
        rows = [row + [""] * (len(head) - len(row)) for row in rows]
        part = path.with_suffix(".part")
        with part.open("w", newline="") as file:
            csv.writer(file).writerows([head, *rows])
        part.replace(path)
        opened = path.open("a", newline="", buffering=1)
        self._files.append(opened)
        return csv.writer(opened)

    def loss(
        self, step: int, tokens: int, lr: float, loss: float, seconds: float, norm: float
    ) -> None:
        row = [step, tokens, f"{lr:.6g}", repr(loss), f"{seconds:.1f}", f"{norm:.6g}"]
        self._loss.writerow(row)
        if self._board is not None and (step % 10 == 0 or step < 10):
            self._board.add_scalar(f"train/{self._measures[0]}", loss, step)
            self._board.add_scalar("train/lr", lr, step)
            self._board.add_scalar("train/gradient_norm", norm, step)

    def valid(self, step: int, tokens: int, measured: list[float], seconds: float) -> None:
        self._valid.writerow([step, tokens, *map(repr, measured), f"{seconds:.1f}"])
        if self._board is not None:
            for name, value in zip(self._measures, measured, strict=True):
                self._board.add_scalar(f"valid/{name}", value, step)

    def close(self) -> None:
        for file in self._files:
            file.close()
        if self._board is not None:
            self._board.close()


def _whole_rows(file: TextIO) -> Iterator[list[str]]:
    """Yield the rows below the head; a line that a killed process left unfinished is shorter."""
    rows = csv.reader(file)
    width = len(next(rows, ()))
    return (row for row in rows if len(row) == width and row[0].isdigit())
