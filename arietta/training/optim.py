"""Build the optimisers of a recipe."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from arietta.training.config import Optimiser

NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)
"""Coefficients of Muon's quintic iteration (https://kellerjordan.github.io/posts/muon/)."""


class StackedMuon(torch.optim.Optimizer):
    """Step like ``torch.optim.Muon`` (Nesterov, match_rms_adamw), all matrices of a shape at once.

    The matrices of one shape are orthogonalised in one stack: a step is a few large products, not
    hundreds of small ones. Sharded matrices are not supported.

    Args:
        params: matrices to update.
        lr: learning rate; the update has the size of AdamW's, so both can use one rate.
        momentum: momentum of the gradient, 0..1.
        weight_decay: weight decay as a share of ``lr``.
        iterations: Newton-Schulz iterations; the published number is 5.
    """

    def __init__(
        self,
        params: Iterable[Tensor],
        lr: float,
        momentum: float,
        weight_decay: float,
        iterations: int = 5,
    ) -> None:
        defaults = {"momentum": momentum, "weight_decay": weight_decay, "iterations": iterations}
        super().__init__(params, {"lr": lr, **defaults})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> None:  # type: ignore[override]
        """Take one optimiser step."""
        del closure
        for group in self.param_groups:
            stacks: dict[torch.Size, list[Tensor]] = {}
            for p in group["params"]:
                if p.grad is not None:
                    stacks.setdefault(p.shape, []).append(p)
            for shape, params in stacks.items():
                for p in params:
                    if "momentum" not in self.state[p]:
                        self.state[p]["momentum"] = torch.zeros_like(p)
                kept = [self.state[p]["momentum"] for p in params]
                gradients = [p.grad for p in params if p.grad is not None]
                torch._foreach_lerp_(kept, gradients, 1 - group["momentum"])
                ahead = torch._foreach_lerp(gradients, kept, group["momentum"])
                update = orthogonal(torch.stack(ahead), group["iterations"])
                torch._foreach_mul_(params, 1 - group["lr"] * group["weight_decay"])
                torch._foreach_add_(
                    params,
                    [u.to(p.dtype) for u, p in zip(update.unbind(), params, strict=True)],
                    alpha=-group["lr"] * 0.2 * max(shape) ** 0.5,
                )


def orthogonal(x: Tensor, iterations: int) -> Tensor:
    """Return matrices (N, R, C) with their singular values near 1, in bfloat16."""
    a, b, c = NEWTON_SCHULZ
    x = x.bfloat16()
    tall = x.shape[1] > x.shape[2]
    if tall:
        x = x.mT.contiguous()
    x = x / x.norm(dim=(1, 2), keepdim=True).clamp(min=1e-7)
    for _ in range(iterations):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.mT if tall else x


def build_optimisers(
    module: nn.Module, settings: Optimiser, *, fused: bool = True, sharded: bool = False
) -> list[torch.optim.Optimizer]:
    """Build AdamW for all weights, or Muon for the matrices of the layers and AdamW for the rest.

    Parameters that need no gradient are not changed. AdamW of the paper (specification F) decays
    norms and embeddings too.

    Args:
        module: module to optimise.
        settings: optimiser settings of the recipe.
        fused: whether AdamW updates all parameters in one launch.
        sharded: whether matrices are sharded over processes and thus cannot be stacked.
    """
    named = [(n, p) for n, p in module.named_parameters() if p.requires_grad]
    inner = {n for n, p in named if p.dim() == 2 and "layers." in n}
    found: list[torch.optim.Optimizer] = []
    rest = named
    if settings.kind == "muon":
        matrices = [p for n, p in named if n in inner]
        if sharded:
            # "match_rms_adamw" scales Muon's update to the size of AdamW's: both can use one rate.
            found.append(
                torch.optim.Muon(
                    matrices,
                    lr=settings.lr,
                    momentum=settings.momentum,
                    weight_decay=settings.weight_decay,
                    adjust_lr_fn="match_rms_adamw",
                )
            )
        else:
            found.append(
                StackedMuon(matrices, settings.lr, settings.momentum, settings.weight_decay)
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
