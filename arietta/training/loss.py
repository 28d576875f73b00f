"""Compute the next-token loss in a module, so that head and loss are compiled and sharded too."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from arietta.models.aria.clock import SEGMENT_STEPS
from arietta.models.aria.torch_module import AriaDecoder, cursors, wait_rows


class NextToken(nn.Module):
    """Compute the mean next-token cross entropy of rows (specification F).

    Args:
        decoder: the language model.
        pad: id that is not a target.
        precision: ``bf16`` for autocast, ``f32`` for no autocast.
    """

    def __init__(self, decoder: AriaDecoder, pad: int, precision: str) -> None:
        super().__init__()
        self.decoder = decoder
        self.pad = pad
        self.autocast = precision == "bf16"

    def compile(self, *args: Any, **kwargs: Any) -> None:
        """Compile the trunk if the model has waits, else the whole module.

        With waits the number of tokens of each kind changes from step to step.
        """
        if self.decoder.config.waits is None:
            super().compile(*args, **kwargs)
        else:
            self.decoder.model.compile(*args, **kwargs)

    def forward(self, rows: Tensor) -> Tensor:
        """Return the loss in nats per token, a float32 scalar.

        Args:
            rows: (B, T + 1) ids; position t predicts position t + 1.
        """
        if self.decoder.config.waits is not None:
            return self._by_kind(rows)
        with torch.autocast(rows.device.type, dtype=torch.bfloat16, enabled=self.autocast):
            logits = self.decoder(rows[:, :-1])
        return F.cross_entropy(
            logits.float().flatten(0, 1), rows[:, 1:].flatten(), ignore_index=self.pad
        )

    def _by_kind(self, rows: Tensor) -> Tensor:
        """Return the loss of a model with waits, where the kind of the next token is known.

        Only the possible rows of the head are computed: onsets after a note, durations after an
        onset, all other rows elsewhere. The result equals the loss of ``AriaDecoder.logits`` over
        the targets. Controls, and the ids between <FILL> and <MID>, are inputs but not targets.
        """
        clock = self.decoder.model.clock
        assert clock is not None
        ids, target = rows[:, :-1], rows[:, 1:]
        with torch.autocast(rows.device.type, dtype=torch.bfloat16, enabled=self.autocast):
            hidden = self.decoder.model(ids)[0]
        learned = (target != self.pad) & (target < clock.control_start)
        if clock.fill >= 0:
            opened = (target == clock.fill).cumsum(1) > 0
            closed = (target == clock.mid).cumsum(1) > 0
            learned &= ~opened | (closed & (target != clock.mid))
        note = (ids >= clock.note_start) & (ids < clock.dur_start)
        onset = (ids >= clock.onset_start) & (ids < clock.onset_end)
        # If a row cuts an event off, another piece may follow.
        is_onset = (target >= clock.onset_start) & (target < clock.onset_end)
        is_duration = (target >= clock.dur_start) & (target < clock.onset_start)
        learned &= torch.where(
            note, is_onset, torch.where(onset, is_duration, ~(is_onset | is_duration))
        )
        table, waits = self.decoder.table("lm_head"), self.decoder.table("wait_head")
        cursor = cursors(ids, clock)
        onsets = slice(clock.onset_start, clock.onset_end)

        def loss(where: Tensor, table: Tensor, first: int) -> Tensor:
            chosen, wanted = hidden[where], target[where] - first
            with torch.autocast(rows.device.type, dtype=torch.bfloat16, enabled=self.autocast):
                logits = F.linear(chosen, table).float()
                if first == clock.onset_start:
                    steps = torch.arange(SEGMENT_STEPS, device=rows.device)
                    shift = wait_rows(steps, cursor[where][:, None])
                    logits = logits + F.linear(chosen, waits).float().gather(1, shift)
            return F.cross_entropy(logits, wanted, reduction="sum")

        kinds = (
            (learned & note, table[onsets], clock.onset_start),
            (learned & onset, table[clock.dur_start : onsets.start], clock.dur_start),
        )
        total = sum((loss(*kind) for kind in kinds), torch.zeros((), device=rows.device))
        rest = learned & ~note & ~onset
        others = torch.cat((table[: clock.dur_start], table[onsets.stop :]))
        # Ids behind the onsets move up to the end of the notes.
        moved = target - (target >= onsets.stop) * (onsets.stop - clock.dur_start)
        with torch.autocast(rows.device.type, dtype=torch.bfloat16, enabled=self.autocast):
            logits = F.linear(hidden[rest], others).float()
        total = total + F.cross_entropy(logits, moved[rest], reduction="sum")
        return total / learned.sum()
