"""Run one or more processes through Hugging Face Accelerate, which only this file imports.

One process is the default; ``accelerate launch`` or torchrun start more (DDP), and an FSDP section
in the accelerate configuration shards weights and optimiser (FSDP2), on the CPU too.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from arietta.errors import MissingExtraError, UsageError

SHARDS = "sharded"
"""Folder of weights and optimisers in a state that was saved by processes that share them."""


class Processes:
    """Represent this process and its group.

    Attributes:
        rank, world: number of this process, and number of processes.
        device: torch device of this process.

    Args:
        cpu: use the CPU even if there is a GPU.
    """

    def __init__(self, *, cpu: bool = False) -> None:
        try:
            from accelerate import Accelerator
        except ImportError:
            raise MissingExtraError("training", "train") from None
        # The forward pass of the model sets autocast; the fixed number of data streams sets the
        # gradient accumulation. Without ``cpu`` Accelerate would take each of several processes
        # for the only one where there is no GPU.
        cpu = cpu or not torch.accelerator.is_available()
        self._accelerator = Accelerator(cpu=cpu, mixed_precision="no")
        if cpu and self._accelerator.num_processes > 1:
            _shard_on_cpu(self._accelerator)
        self.rank: int = self._accelerator.process_index
        self.world: int = self._accelerator.num_processes
        self.device: torch.device = self._accelerator.device

    @property
    def is_main(self) -> bool:
        """Return whether this process writes the files of the run."""
        return self.rank == 0

    @property
    def sharded(self) -> bool:
        """Return whether weights are sharded over the processes."""
        return bool(self._accelerator.distributed_type.value == "FSDP")

    def prepare(
        self, module: nn.Module, optimisers: list[torch.optim.Optimizer]
    ) -> tuple[nn.Module, list[Any]]:
        """Move module and optimisers to the device and synchronise them over the processes."""
        # A layer returns views, its keys and values, and nothing changes them in place.
        warnings.filterwarnings("ignore", message="FSDP2-wrapped module .* returned a view")
        module, *prepared = self._accelerator.prepare(module, *optimisers)
        self._module, self._optimisers = module, [one.optimizer for one in prepared]
        return module, prepared

    def unsynchronised(self, module: nn.Module) -> AbstractContextManager[None]:
        """Accumulate the gradients of backward passes without synchronisation."""
        inside: AbstractContextManager[None] = self._accelerator.no_sync(module)
        return inside

    def backward(self, loss: Tensor) -> None:
        """Run the backward pass."""
        self._accelerator.backward(loss)

    def clip(self, module: nn.Module, norm: float | None) -> Tensor:
        """Clip the norm of the gradient of all weights; return what it was, a scalar.

        Args:
            module: as prepared, after the backward pass.
            norm: largest norm; None to measure only.
        """
        if norm is None:
            found = nn.utils.get_total_norm(
                [p.grad for p in module.parameters() if p.grad is not None]
            )
        else:
            found = self._accelerator.clip_grad_norm_(module.parameters(), norm)
        return found.full_tensor() if isinstance(found, DTensor) else found

    def mean(self, value: Tensor) -> Tensor:
        """Return the mean over the processes."""
        found: Tensor = self._accelerator.reduce(value, "mean")
        return found

    def to_device(self, value: Tensor) -> Tensor:
        """Copy a tensor of the CPU to the device without waiting for it."""
        if self.device.type == "cuda":
            return value.pin_memory().to(self.device, non_blocking=True)
        return value.to(self.device)

    def total(self, value: Tensor) -> Tensor:
        """Return the sum over the processes."""
        found: Tensor = self._accelerator.reduce(value, "sum")
        return found

    def gather(self, value: Tensor) -> Tensor:
        """Return the values of all processes in order of rank, without gradients."""
        found: Tensor = self._accelerator.gather(value) if self.world > 1 else value
        return found

    def share(self, rows: Tensor, size: int) -> Iterator[tuple[Tensor, bool]]:
        """Yield this process's batches of rows that every process has, and whether each counts.

        All processes yield equally many, so that they stay in step where the forward pass is a
        collective call; a process whose rows have run out yields one that does not count.
        """
        mine = rows[self.rank :: self.world]
        for at in range(0, -(-len(rows) // self.world), size):
            batch = mine[at : at + size]
            yield (batch, True) if len(batch) else (rows[:1], False)

    def wait(self) -> None:
        """Wait for the other processes."""
        self._accelerator.wait_for_everyone()

    def save_state(self, folder: Path) -> None:
        """Save weights, optimisers and random states; every process calls this."""
        if not self.sharded:
            self._accelerator.save_state(str(folder))
            return
        # Accelerate saves one optimiser of a sharded model; Muon comes with AdamW.
        from torch.distributed.checkpoint.state_dict_saver import save

        save(self._shards(), checkpoint_id=folder / SHARDS)
        torch.save(random_states(self.device), folder / f"random-{self.rank}.pt")

    def load_state(self, folder: Path) -> None:
        """Load what ``save_state`` saved.

        The number of processes that share the weights may be another than at the save; they then
        draw other random numbers.
        """
        if not self.sharded:
            self._accelerator.load_state(str(folder))
            return
        from torch.distributed.checkpoint.state_dict import set_state_dict
        from torch.distributed.checkpoint.state_dict_loader import load

        found = self._shards()
        load(found, checkpoint_id=folder / SHARDS)
        set_state_dict(
            self._module,
            self._optimisers,
            model_state_dict=found["model"],
            optim_state_dict=found["optimisers"],
        )
        path = folder / f"random-{self.rank}.pt"
        if path.is_file():
            set_random_states(torch.load(path, weights_only=True), self.device)

    def _shards(self) -> dict[str, Any]:
        from torch.distributed.checkpoint.state_dict import get_state_dict

        model, optimisers = get_state_dict(self._module, self._optimisers)
        return {"model": model, "optimisers": optimisers}

    def whole_state_dict(self, module: nn.Module) -> dict[str, Tensor]:
        """Return all weights on the main process; every process calls this."""
        found: dict[str, Tensor] = self._accelerator.get_state_dict(module)
        return found

    def end(self) -> None:
        """Leave the process group."""
        self._accelerator.end_training()


class Later:
    """Hold numbers that the device still computes, so that reading them waits for them alone.

    Args:
        values: tensor of one dimension; it must not be changed afterwards.
    """

    def __init__(self, values: Tensor) -> None:
        self._values = values
        self._copied = None
        if values.device.type == "cuda":
            self._values = values.to("cpu", non_blocking=True)
            self._copied = torch.cuda.Event()  # type: ignore[no-untyped-call]
            self._copied.record()

    def read(self) -> list[float]:
        """Return the numbers."""
        if self._copied is not None:
            self._copied.synchronize()
        found: list[float] = self._values.tolist()
        return found


def _shard_on_cpu(accelerator: Any) -> None:
    """Shard weights over CPU processes if that is configured; Accelerate does it on GPUs only.

    Raises:
        UsageError: there is a GPU too, over which torch would shard.
    """
    from accelerate import PartialState
    from accelerate.utils import DistributedType, FullyShardedDataParallelPlugin

    if os.environ.get("ACCELERATE_USE_FSDP", "false").lower() != "true":
        return
    if torch.accelerator.is_available():
        raise UsageError("`cpu`: FSDP shards over the CPU only where there is no GPU")
    accelerator.state.fsdp_plugin = FullyShardedDataParallelPlugin(fsdp_version=2)
    accelerator.state.distributed_type = DistributedType.FSDP
    PartialState().distributed_type = DistributedType.FSDP  # of which other states are copies


def random_states(device: torch.device) -> list[Tensor]:
    """Return the random states of the CPU and of the device."""
    if device.type == "cpu":
        return [torch.get_rng_state()]
    return [torch.get_rng_state(), torch.get_device_module(device).get_rng_state(device)]


def set_random_states(states: list[Tensor], device: torch.device) -> None:
    """Restore what ``random_states`` returned."""
    torch.set_rng_state(states[0])
    for state in states[1:]:
        torch.get_device_module(device).set_rng_state(state, device)
