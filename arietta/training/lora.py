"""Add low-rank adapters through the peft library, and merge them into plain weights."""

from __future__ import annotations

import torch
from torch import Tensor

from arietta.errors import MissingExtraError
from arietta.models.aria.torch_module import AriaDecoder
from arietta.training.config import Lora

_TARGETS = ["mixed_qkv", "att_proj_linear", "ff_gate_proj", "ff_up_proj", "ff_down_proj"]
_A, _B, _BASE = ".lora_A.default.weight", ".lora_B.default.weight", ".base_layer.weight"


def add_adapters(decoder: AriaDecoder, settings: Lora) -> None:
    """Add adapters to all matrices of the layers; freeze all other weights.

    Raises:
        MissingExtraError: peft is not installed.
    """
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ImportError:
        raise MissingExtraError("low-rank finetuning", "lora") from None
    for parameter in decoder.parameters():
        parameter.requires_grad_(False)
    config = LoraConfig(
        r=settings.rank,
        lora_alpha=settings.alpha,  # type: ignore[arg-type]  # a float works as well
        lora_dropout=settings.dropout,
        target_modules=_TARGETS,
        bias="none",
    )
    inject_adapter_in_model(config, decoder)


def merged_state(state: dict[str, Tensor], settings: Lora) -> dict[str, Tensor]:
    """Return plain weights under the names of the decoder, with the adapters merged."""
    scale = settings.alpha / settings.rank
    merged = {}
    for name, value in state.items():
        if name.endswith((_A, _B)):
            continue
        if name.endswith(_BASE):
            layer = name.removesuffix(_BASE)
            change = torch.mm(state[layer + _B].float(), state[layer + _A].float()) * scale
            merged[layer + ".weight"] = value + change.to(value.device)
        else:
            merged[name] = value
    return merged
