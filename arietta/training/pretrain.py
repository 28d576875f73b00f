"""Next-token training: ``python -m arietta.training.pretrain RECIPE --tokens DIR --out DIR``.

A plain loop: bf16 autocast, Muon for the matrices of the layers, AdamW for the rest, validation,
and a state on disk every few minutes from which the same command goes on.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import json
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor

from arietta.data.tokens import TokenPieces, cut_rows
from arietta.errors import UsageError
from arietta.models.aria import AriaDecoder, initialise
from arietta.tokenizers.aria import AriaTokenizer
from arietta.training.config import Recipe, Stage, load_recipe

Optimisers = tuple[torch.optim.Optimizer, torch.optim.Optimizer]


def build_optimisers(model: AriaDecoder, recipe: Recipe) -> Optimisers:
    """Muon for the matrices of the layers; AdamW for embedding, head and norms."""
    matrices = [p for n, p in model.named_parameters() if p.dim() == 2 and "encode_layers" in n]
    others = [p for n, p in model.named_parameters() if p.dim() == 1 or "encode_layers" not in n]
    # "match_rms_adamw" scales Muon's update to AdamW's size, so that one rate serves both.
    muon = torch.optim.Muon(
        matrices,
        lr=recipe.lr,
        momentum=recipe.momentum,
        weight_decay=recipe.weight_decay,
        adjust_lr_fn="match_rms_adamw",
    )
    adamw = torch.optim.AdamW(others, lr=recipe.lr, betas=recipe.betas, eps=1e-8, weight_decay=0.0)
    return muon, adamw


def token_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Mean next-token cross entropy in nats; logits (B, T, V), targets (B, T)."""
    return F.cross_entropy(logits.float().flatten(0, 1), targets.flatten())


def row_batches(
    pieces: TokenPieces, tokenizer: AriaTokenizer, recipe: Recipe, stage: Stage, skip: int
) -> Iterator[Tensor]:
    """Endless (rows, seq_len + 1) batches of a stage; the first ``skip`` ones are passed over."""

    def epochs() -> Iterator[Any]:
        for epoch in itertools.count():
            rng = np.random.default_rng((recipe.seed, recipe.stages.index(stage), epoch))
            yield from cut_rows(pieces, tokenizer, stage.seq_len, rng, tag_share=recipe.tag_share)

    rows = itertools.islice(epochs(), skip * stage.rows, None)
    while True:
        batch = np.stack(list(itertools.islice(rows, stage.rows)))
        yield torch.from_numpy(batch.astype(np.int64))


def validation_rows(pieces: TokenPieces, tokenizer: AriaTokenizer, seq_len: int) -> Tensor:
    """96 fixed rows of the validation split."""
    rows = list(cut_rows(pieces, tokenizer, seq_len, np.random.default_rng(0), tag_share=0.0))
    return torch.from_numpy(np.stack(rows[:96]).astype(np.int64))


@torch.no_grad()
def validate(model: AriaDecoder, rows: Tensor) -> float:
    """Mean loss over the rows, in nats per token."""
    model.eval()
    losses = []
    for batch in torch.split(rows, 8):
        with torch.autocast(batch.device.type, dtype=torch.bfloat16):
            logits = model(batch[:, :-1])
        losses.append(float(token_loss(logits, batch[:, 1:])) * len(batch))
    model.train()
    return sum(losses) / len(rows)


def save_state(path: Path, state: dict[str, Any]) -> None:
    """Write a state atomically: a full disk or a kill leaves the previous one."""
    part = path.with_suffix(".part")
    torch.save(state, part)
    os.replace(part, path)


def stage_start(recipe: Recipe, stage: Stage) -> int:
    """Tokens seen when a stage begins."""
    before = [s.until_tokens for s in recipe.stages if s.until_tokens < stage.until_tokens]
    return max(before, default=0)


def train(recipe: Recipe, tokens: Path, out: Path, device: str = "cpu") -> Path:
    """Run the recipe to its end, from a saved state if there is one.

    Args:
        recipe: what to run.
        tokens: folder with ``train.npz`` and ``valid.npz``.
        out: folder for state, log and result.
        device: torch device.

    Returns:
        Path of the final weights (float32 safetensors under the public names).
    """
    out.mkdir(parents=True, exist_ok=True)
    tokenizer = AriaTokenizer(recipe.tokenizer)
    pieces = TokenPieces.load(tokens / "train.npz")
    held_out = TokenPieces.load(tokens / "valid.npz")
    if pieces.tokenizer != recipe.tokenizer or tokenizer.vocab_size != recipe.model.vocab_size:
        raise UsageError(
            f"recipe {recipe.name}: tokenizer {recipe.tokenizer} has {tokenizer.vocab_size} ids,"
            f" the model {recipe.model.vocab_size}, the token files are {pieces.tokenizer}"
        )
    model = AriaDecoder(recipe.model)
    initialise(model, recipe.seed)
    model.to(device).train()
    optimisers = build_optimisers(model, recipe)
    seen, seconds = 0, 0.0
    state_path = out / "state.pt"
    if state_path.exists():
        state = torch.load(state_path, map_location=device, weights_only=True)
        model.load_state_dict(state["model"])
        for optimiser, saved in zip(optimisers, state["optimisers"], strict=True):
            optimiser.load_state_dict(saved)
        seen, seconds = state["seen"], state["seconds"]
    (out / "recipe.json").write_text(json.dumps(recipe.to_dict(), indent=1))
    rows = validation_rows(held_out, tokenizer, recipe.stages[-1].seq_len).to(device)
    log_path = out / "loss.csv"
    fresh = not log_path.exists()
    with log_path.open("a", newline="") as log_file:
        log = csv.writer(log_file)
        if fresh:
            log.writerow(["tokens", "seconds", "lr", "train_nats", "valid_nats"])

        def snapshot() -> None:
            save_state(
                state_path,
                {
                    "model": model.state_dict(),
                    "optimisers": [o.state_dict() for o in optimisers],
                    "seen": seen,
                    "seconds": seconds,
                },
            )

        mark = saved_at = time.monotonic()
        recent: list[float] = []
        while seen < recipe.total_tokens:
            stage = recipe.stage_at(seen)
            per_step = stage.rows * stage.seq_len
            skip = (seen - stage_start(recipe, stage)) // per_step
            for batch in row_batches(pieces, tokenizer, recipe, stage, skip):
                lr = recipe.lr_at(seen)
                for optimiser in optimisers:
                    for group in optimiser.param_groups:
                        group["lr"] = lr
                batch = batch.to(device)
                with torch.autocast(device, dtype=torch.bfloat16):
                    logits = model(batch[:, :-1])
                loss = token_loss(logits, batch[:, 1:])
                torch.autograd.backward(loss)
                for optimiser in optimisers:
                    optimiser.step()
                    optimiser.zero_grad(set_to_none=True)
                recent.append(float(loss.detach()))
                if not np.isfinite(recent[-1]):
                    raise UsageError(
                        f"loss is {recent[-1]} after {seen} tokens; lower lr ({recipe.lr})"
                        f" and go on from {state_path}"
                    )
                now = time.monotonic()
                seconds += now - mark
                mark = now
                before, seen = seen, seen + per_step
                if seen // recipe.valid_every_tokens > before // recipe.valid_every_tokens or (
                    seen >= recipe.total_tokens
                ):
                    valid = validate(model, rows)
                    mean = float(np.mean(recent))
                    log.writerow(
                        [seen, f"{seconds:.0f}", f"{lr:.2e}", f"{mean:.4f}", f"{valid:.4f}"]
                    )
                    log_file.flush()
                    recent.clear()
                    mark = time.monotonic()
                if len(recent) % 10 == 9:
                    left = (recipe.total_tokens - seen) * seconds / max(seen, 1)
                    sys.stderr.write(
                        f"\r{seen / 1e6:7.2f} M tokens  loss {np.mean(recent[-50:]):.3f}"
                        f"  {seen / max(seconds, 1e-9):6.0f} tokens/s  {left / 60:5.0f} min left "
                    )
                    sys.stderr.flush()
                if now - saved_at > recipe.checkpoint_every_seconds:
                    snapshot()
                    saved_at = mark = time.monotonic()
                if seen >= stage.until_tokens:
                    break
        snapshot()
    final = out / "model.safetensors"
    save_file({n: p.detach().cpu().contiguous() for n, p in model.state_dict().items()}, final)
    sys.stderr.write(f"\ndone: {final}\n")
    return final


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("recipe", type=Path)
    parser.add_argument("--tokens", type=Path, required=True, help="folder of token files")
    parser.add_argument("--out", type=Path, required=True, help="folder of the run")
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()
    train(load_recipe(arguments.recipe), arguments.tokens, arguments.out, arguments.device)


if __name__ == "__main__":
    main()
