"""Compute the next-token loss in a module, so that head and loss are compiled and sharded too."""

from __future__ import annotations

from collections.abc import Sequence
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
        teacher: while training, its probabilities are the targets instead of the tokens
            themselves (distillation, arXiv 1503.02531); None for the tokens.
    """

    def __init__(
        self, decoder: AriaDecoder, pad: int, precision: str, teacher: AriaDecoder | None = None
    ) -> None:
        super().__init__()
        self.decoder = decoder
        self.pad = pad
        self.autocast = precision == "bf16"
        # In a tuple it is no part of the module: neither trained, nor saved, nor sharded.
        self._teacher = () if teacher is None else (teacher.requires_grad_(False).eval(),)

    def compile(self, *args: Any, **kwargs: Any) -> None:
        """Compile the trunk if the model has waits, else the whole module.

        With waits the number of tokens of each kind changes from step to step.
        """
        if self.decoder.config.waits is None:
            super().compile(*args, **kwargs)
            return
        for decoder in (self.decoder, *self._teacher):
            decoder.model.compile(*args, **kwargs)

    def forward(self, rows: Tensor) -> Tensor:
        """Return the loss in nats per token, a float32 scalar.

        Args:
            rows: (B, T + 1) ids; position t predicts position t + 1.
        """
        ids, target = rows[:, :-1], rows[:, 1:]
        if self.decoder.config.waits is None:
            learned = target != self.pad
            if not (self.training and self._teacher):
                # Nothing here has a size that depends on values: a GPU need not wait to tell it.
                loss = F.cross_entropy(
                    self._logits(self.decoder, ids).flatten(0, 1),
                    target.flatten(),
                    ignore_index=self.pad,
                    reduction="sum",
                )
                return loss / learned.sum()
            places, wanted, find_logits = [learned], [target[learned]], self._plain_logits
        else:
            places, wanted = self._kinds(ids, target)
            find_logits = self._logits_by_kind
        logits = find_logits(self.decoder, ids, places)
        targets: Sequence[Tensor] = wanted
        if self.training and self._teacher:
            with torch.no_grad():
                teacher = self._teacher[0].to(rows.device)
                targets = [found.softmax(-1) for found in find_logits(teacher, ids, places)]
        losses = [
            F.cross_entropy(found, goal, reduction="sum")
            for found, goal in zip(logits, targets, strict=True)
        ]
        return torch.stack(losses).sum() / sum(len(goal) for goal in wanted)

    def _logits(self, decoder: AriaDecoder, ids: Tensor) -> Tensor:
        """Return float32 logits (B, T, V) of ids (B, T)."""
        with torch.autocast(ids.device.type, dtype=torch.bfloat16, enabled=self.autocast):
            found: Tensor = decoder(ids)
        return found.float()

    def _plain_logits(
        self, decoder: AriaDecoder, ids: Tensor, places: Sequence[Tensor]
    ) -> list[Tensor]:
        """Return logits (N, V) at the places (B, T) of a model without waits."""
        logits = self._logits(decoder, ids)
        return [logits[where] for where in places]

    def _kinds(self, ids: Tensor, target: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """Return where (B, T) each kind of token is learned, and its number within the kind.

        The kinds are onsets, which follow notes; durations, which follow onsets; all others.
        Controls, and the ids between <FILL> and <MID>, are inputs but not targets.
        """
        clock = self.decoder.model.clock
        assert clock is not None
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
        places = [learned & note, learned & onset, learned & ~note & ~onset]
        # Ids behind the onsets move up to the end of the notes.
        moved = target - (target >= clock.onset_end) * (clock.onset_end - clock.dur_start)
        numbers = (target - clock.onset_start, target - clock.dur_start, moved)
        return places, [n[where] for n, where in zip(numbers, places, strict=True)]

    def _logits_by_kind(
        self, decoder: AriaDecoder, ids: Tensor, places: Sequence[Tensor]
    ) -> list[Tensor]:
        """Return logits (N, rows of the kind) at the places of each kind, see ``_kinds``.

        Only the possible rows of the head are computed. The loss equals that of
        ``AriaDecoder.logits`` over the targets.
        """
        clock = decoder.model.clock
        assert clock is not None
        table, waits = decoder.table("lm_head"), decoder.table("wait_head")
        others = torch.cat((table[: clock.dur_start], table[clock.onset_end :]))
        at_onset, at_duration, elsewhere = places
        with torch.autocast(ids.device.type, dtype=torch.bfloat16, enabled=self.autocast):
            hidden = decoder.model(ids)[0]
            before = hidden[at_onset]
            onsets = F.linear(before, table[clock.onset_start : clock.onset_end]).float()
            shifts = F.linear(before, waits).float()
            durations = F.linear(hidden[at_duration], table[clock.dur_start : clock.onset_start])
            rest = F.linear(hidden[elsewhere], others)
        steps = torch.arange(SEGMENT_STEPS, device=ids.device)
        shift = wait_rows(steps, cursors(ids, clock)[at_onset][:, None])
        return [onsets + shifts.gather(1, shift), durations.float(), rest.float()]
