"""Processes and devices: the only file that knows the distributed engine, Hugging Face Accelerate.

One process is the plain case; ``accelerate launch`` or torchrun bring more (DDP), and an FSDP
section in the accelerate configuration shards weights and optimiser (FSDP2).
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from arietta.errors import MissingExtraError


class Processes:
    """This process among its peers.

    Attributes:
        rank, world: number of this process, and how many there are.
        device: torch device of this process.

    Args:
        cpu: stay on the processor even where there is a GPU.
    """

    def __init__(self, *, cpu: bool = False) -> None:
        try:
            from accelerate import Accelerator
        except ImportError:
            raise MissingExtraError("training", "train") from None
        # Autocast and accumulation are the loop's business: the model's forward holds the one,
        # the fixed number of data streams decides the other.
        self._accelerator = Accelerator(cpu=cpu, mixed_precision="no")
        self.rank: int = self._accelerator.process_index
        self.world: int = self._accelerator.num_processes
        self.device: torch.device = self._accelerator.device

    @property
    def is_main(self) -> bool:
        """Whether this process writes what is written once."""
        return self.rank == 0

    @property
    def sharded(self) -> bool:
        """Whether weights are sharded over the processes."""
        return bool(self._accelerator.distributed_type.value == "FSDP")

    def prepare(
        self, module: nn.Module, optimisers: list[torch.optim.Optimizer]
    ) -> tuple[nn.Module, list[Any]]:
        """Module and optimisers on this process's device, kept in step with the others'."""
        module, *prepared = self._accelerator.prepare(module, *optimisers)
        return module, prepared

    def unsynchronised(self, module: nn.Module) -> AbstractContextManager[None]:
        """Backward passes inside keep their gradients to themselves (accumulation)."""
        inside: AbstractContextManager[None] = self._accelerator.no_sync(module)
        return inside

    def backward(self, loss: Tensor) -> None:
        """Backward pass."""
        self._accelerator.backward(loss)

    def clip(self, module: nn.Module, norm: float) -> None:
        """Clip the gradient's norm over all processes."""
        self._accelerator.clip_grad_norm_(module.parameters(), norm)

    def mean(self, value: Tensor) -> Tensor:
        """Mean over the processes."""
        found: Tensor = self._accelerator.reduce(value, "mean")
        return found

    def total(self, value: Tensor) -> Tensor:
        """Sum over the processes."""
        found: Tensor = self._accelerator.reduce(value, "sum")
        return found

    def gather(self, value: Tensor) -> Tensor:
        """The values of all processes one after the other, in order of rank; without gradients."""
        found: Tensor = self._accelerator.gather(value) if self.world > 1 else value
        return found

    def wait(self) -> None:
        """Wait for the others."""
        self._accelerator.wait_for_everyone()

    def save_state(self, folder: Path) -> None:
        """Weights, optimisers and random states into a folder; every process takes part."""
        self._accelerator.save_state(str(folder))

    def load_state(self, folder: Path) -> None:
        """Inverse of ``save_state``."""
        self._accelerator.load_state(str(folder))

    def whole_state_dict(self, module: nn.Module) -> dict[str, Tensor]:
        """All weights on the main process; every process takes part."""
        found: dict[str, Tensor] = self._accelerator.get_state_dict(module)
        return found

    def end(self) -> None:
        """Leave the group in order."""
        self._accelerator.end_training()
