"""Next-token loss as a module, so that compiling and sharding take in head and loss as well."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from arietta.models.aria.torch_module import AriaDecoder


class NextToken(nn.Module):
    """Mean next-token cross entropy of rows under a decoder (specification F).

    Args:
        decoder: the language model.
        pad: id whose predictions do not count.
        precision: ``bf16`` for autocast, ``f32`` for none.
    """

    def __init__(self, decoder: AriaDecoder, pad: int, precision: str) -> None:
        super().__init__()
        self.decoder = decoder
        self.pad = pad
        self.autocast = precision == "bf16"

    def forward(self, rows: Tensor) -> Tensor:
        """Nats per token, a float32 scalar.

        Args:
            rows: (B, T + 1) ids; position t predicts position t + 1.
        """
        with torch.autocast(rows.device.type, dtype=torch.bfloat16, enabled=self.autocast):
            logits = self.decoder(rows[:, :-1])
        return F.cross_entropy(
            logits.float().flatten(0, 1), rows[:, 1:].flatten(), ignore_index=self.pad
        )
