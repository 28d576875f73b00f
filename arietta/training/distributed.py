"""Run one or more processes through Hugging Face Accelerate, which only this file imports.

One process is the default; ``accelerate launch`` or torchrun start more (DDP), and an FSDP section
in the accelerate configuration shards weights and optimiser (FSDP2).
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from arietta.errors import MissingExtraError


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
        # gradient accumulation.
        self._accelerator = Accelerator(cpu=cpu, mixed_precision="no")
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
        module, *prepared = self._accelerator.prepare(module, *optimisers)
        return module, prepared

    def unsynchronised(self, module: nn.Module) -> AbstractContextManager[None]:
        """Accumulate the gradients of backward passes without synchronisation."""
        inside: AbstractContextManager[None] = self._accelerator.no_sync(module)
        return inside

    def backward(self, loss: Tensor) -> None:
        """Run the backward pass."""
        self._accelerator.backward(loss)

    def clip(self, module: nn.Module, norm: float) -> None:
        """Clip the gradient's norm over all processes."""
        self._accelerator.clip_grad_norm_(module.parameters(), norm)

    def mean(self, value: Tensor) -> Tensor:
        """Return the mean over the processes."""
        found: Tensor = self._accelerator.reduce(value, "mean")
        return found

    def total(self, value: Tensor) -> Tensor:
        """Return the sum over the processes."""
        found: Tensor = self._accelerator.reduce(value, "sum")
        return found

    def gather(self, value: Tensor) -> Tensor:
        """Return the values of all processes in order of rank, without gradients."""
        found: Tensor = self._accelerator.gather(value) if self.world > 1 else value
        return found

    def wait(self) -> None:
        """Wait for the other processes."""
        self._accelerator.wait_for_everyone()

    def save_state(self, folder: Path) -> None:
        """Save weights, optimisers and random states; every process calls this."""
        self._accelerator.save_state(str(folder))

    def load_state(self, folder: Path) -> None:
        """Load what ``save_state`` saved."""
        self._accelerator.load_state(str(folder))

    def whole_state_dict(self, module: nn.Module) -> dict[str, Tensor]:
        """Return all weights on the main process; every process calls this."""
        found: dict[str, Tensor] = self._accelerator.get_state_dict(module)
        return found

    def end(self) -> None:
        """Leave the process group."""
        self._accelerator.end_training()
