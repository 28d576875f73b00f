"""Optimisers of a recipe."""

from __future__ import annotations

import torch
from torch import nn

from arietta.training.config import Optimiser


def build_optimisers(
    module: nn.Module, settings: Optimiser, *, fused: bool = True
) -> list[torch.optim.Optimizer]:
    """AdamW on everything, or Muon on the matrices of the layers and AdamW on the rest.

    Parameters that need no gradient are left alone. The paper's AdamW (specification F) decays
    norms and embeddings too.
    """
    named = [(n, p) for n, p in module.named_parameters() if p.requires_grad]
    inner = {n for n, p in named if p.dim() == 2 and "layers." in n}
    found: list[torch.optim.Optimizer] = []
    rest = named
    if settings.kind == "muon":
        # "match_rms_adamw" scales Muon's update to AdamW's size, so that one rate serves both.
        found.append(
            torch.optim.Muon(
                [p for n, p in named if n in inner],
                lr=settings.lr,
                momentum=settings.momentum,
                weight_decay=settings.weight_decay,
                adjust_lr_fn="match_rms_adamw",
            )
        )
        rest = [(n, p) for n, p in named if n not in inner]
    decayed = [p for n, p in rest if settings.decay_all or n in inner]
    plain = [p for n, p in rest if not (settings.decay_all or n in inner)]
    groups = [{"params": decayed, "weight_decay": settings.weight_decay}] if decayed else []
    if plain:
        groups.append({"params": plain, "weight_decay": 0.0})
    found.append(
        torch.optim.AdamW(
            groups, lr=settings.lr, betas=settings.betas, eps=settings.eps, fused=fused
        )
    )
    return found
