"""Public single-file checkpoints <-> ours, strict in both directions (specification D.3, D.4).

The public tensor names are ours, so converting is checking: every tensor is accounted for, the
settings follow from the shapes, and whatever does not fit is named.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from arietta.arrays import Float32Array
from arietta.checkpoints.tensors import (
    CheckpointTensors,
    Shape,
    StoredType,
    TensorFile,
    check_shapes,
    write_bytes,
    write_tensors,
)
from arietta.errors import CheckpointError
from arietta.models.aria.config import AriaConfig
from arietta.output import check_output

PUBLIC_VOCABULARIES: dict[int, str] = {
    17_727: "full",
    17_729: "full-pedal",
    17_728: "full-delimiter",
    17_730: "full-pedal-delimiter",
    2_675: "piano-demo",
}
"""Rows of the embedding -> tokenizer, for every public vocabulary a model may have."""

OWN_VOCABULARIES: dict[int, str] = {2_565: "piano", 2_605: "piano-fill"}
"""The same for our own vocabularies."""

# What may stand in front of every name: compiled training adds the first, accelerate one module.
_COMPILED = "_orig_mod."
_ROOTS = (
    "model.tok_embeddings.",
    "model.encode_layers.",
    "model.out_layer_norm.",
    "lm_head.",
    "emb_head.",
    "class_head.",
    "embedding_adapter.",
)
_EMBEDDING = "model.tok_embeddings.weight"
_LAYER = re.compile(r"model\.encode_layers\.(\d+)\.")
_HEAD_DIM = 64  # of every published size
_HEADS = {"lm_head.weight": "lm", "emb_head.weight": "embedding", "class_head.weight": "classifier"}


def tokenizer_for(vocab_size: int, *, source: object) -> str:
    """Name of the tokenizer of a model with so many embedding rows.

    Raises:
        CheckpointError: no known vocabulary has that size.
    """
    name = PUBLIC_VOCABULARIES.get(vocab_size) or OWN_VOCABULARIES.get(vocab_size)
    if name is None:
        known = ", ".join(
            f"{size} ({which})"
            for size, which in {**PUBLIC_VOCABULARIES, **OWN_VOCABULARIES}.items()
        )
        raise CheckpointError(
            f"{source}: its embedding has {vocab_size} rows; known vocabularies have {known}"
        )
    return name


def public_names(stored: Iterable[str], *, source: object) -> dict[str, str]:
    """Public name -> stored name, with ``_orig_mod.`` parts and one leading module name removed.

    Raises:
        CheckpointError: two stored tensors come to the same name.
    """
    plain = {name: name.replace(_COMPILED, "") for name in stored}
    heads = {
        name.partition(".")[0]
        for name in plain.values()
        if not name.startswith(_ROOTS) and name.partition(".")[2].startswith(_ROOTS)
    }
    # Only when every tensor carries the same one; otherwise the check below names the odd ones.
    extra = heads.pop() + "." if len(heads) == 1 else None
    if extra is not None and not all(name.startswith(extra) for name in plain.values()):
        extra = None
    found: dict[str, str] = {}
    for name, short in plain.items():
        short = short if extra is None else short.removeprefix(extra)
        if short in found:
            raise CheckpointError(
                f"{source}: tensors {found[short]} and {name} both stand for {short}"
            )
        found[short] = name
    return found


def infer_config(
    shapes: Mapping[str, Shape], *, source: object, hints: Mapping[str, Any] | None = None
) -> AriaConfig:
    """Model settings from tensor shapes.

    Args:
        shapes: public name -> shape.
        source: for messages.
        hints: what shapes do not tell: ``n_heads`` (default: 64 numbers a head, as published),
            ``max_seq_len`` (default 8192), ``resid_dropout``.

    Raises:
        CheckpointError: the tensors are not those of an Aria decoder.
    """
    embedding = shapes.get(_EMBEDDING)
    if embedding is None or len(embedding) != 2:
        sample = ", ".join(sorted(shapes)[:3]) or "nothing"
        raise CheckpointError(
            f"{source}: not an Aria checkpoint: it has no {_EMBEDDING} (it has {sample}, ...)"
        )
    vocab_size, d_model = embedding
    layers = {int(match[1]) for name in shapes if (match := _LAYER.match(name))}
    heads = [name for name in _HEADS if name in shapes]
    if len(heads) != 1:
        raise CheckpointError(
            f"{source}: an Aria checkpoint has one of {', '.join(_HEADS)};"
            f" this one has {' and '.join(heads) or 'none'}"
        )
    hints = hints or {}
    gate = shapes.get("model.encode_layers.0.ff_gate_proj.weight", (4 * d_model, d_model))
    if gate[0] % d_model:
        raise CheckpointError(
            f"{source}: its feed-forward width {gate[0]} is no multiple of d_model {d_model}"
        )
    n_heads = hints.get("n_heads")
    if n_heads is None:
        if d_model % _HEAD_DIM:
            raise CheckpointError(
                f"{source}: the number of attention heads cannot be told from d_model {d_model};"
                " put a config.json with num_attention_heads beside it"
            )
        n_heads = d_model // _HEAD_DIM
    adapter = shapes.get("embedding_adapter.weight")
    embedding_size = class_size = None
    pooling = "end"
    if heads == ["emb_head.weight"]:
        embedding_size = shapes["emb_head.weight"][0]
    elif heads == ["class_head.weight"]:
        class_size, head_inputs = shapes["class_head.weight"]
        pooling = "full" if head_inputs == 3 * d_model else "end"
    elif adapter is not None:
        embedding_size = adapter[-1]
    config = AriaConfig(
        d_model=d_model,
        n_heads=int(n_heads),
        n_layers=max(layers, default=0) + 1,
        vocab_size=vocab_size,
        ff_mult=gate[0] // d_model,
        max_seq_len=int(hints.get("max_seq_len", 8192)),
        embedding_size=embedding_size,
        class_size=class_size,
        conditioned=heads == ["lm_head.weight"] and adapter is not None,
        pooling=pooling,
        resid_dropout=float(hints.get("resid_dropout", 0.0)),
    )
    check_tensors(config, shapes, source=source)
    return config


def check_tensors(config: AriaConfig, shapes: Mapping[str, Shape], *, source: object) -> None:
    """Compare the tensors that are there with those the settings ask for.

    Raises:
        CheckpointError: tensors are missing, of another shape, or not accounted for.
    """
    check_shapes(config.tensor_shapes(), shapes, source=source)


def kind_of(config: AriaConfig) -> str:
    """``lm``, ``conditioned``, ``embedding`` or ``classifier``."""
    return "conditioned" if config.conditioned else _HEADS[f"{config.head}.weight"]


def read_hints(path: Path) -> dict[str, Any]:
    """Return what a ``config.json`` says that shapes do not: heads, context, dropout.

    Understands the public transformers-style keys (``num_attention_heads``) and our own.

    Raises:
        CheckpointError: the file is not a JSON table.
    """
    if not path.is_file():
        return {}
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise CheckpointError(f"{path}: not readable as JSON") from None
    if not isinstance(values, dict):
        raise CheckpointError(f"{path}: not a JSON table")
    values = {**values, **values.get("model", {})} if "model" in values else values
    known = {
        "n_heads": ("num_attention_heads", "n_heads"),
        "max_seq_len": ("max_seq_len", "max_position_embeddings"),
        "resid_dropout": ("resid_dropout",),
    }
    hints: dict[str, Any] = {}
    for name, keys in known.items():
        for key in keys:
            value = values.get(key)
            if value is None:
                continue
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise CheckpointError(f"{path}: {key} should be a number, not {value!r}")
            hints[name] = value
            break
    return hints


def open_public(
    path: Path, *, hints: Mapping[str, Any] | None = None
) -> tuple[AriaConfig, str, CheckpointTensors]:
    """Return settings, tokenizer name and lazy tensors of a public checkpoint file.

    Args:
        path: a ``.safetensors`` file; a ``config.json`` beside it is consulted.
        hints: overrides for what shapes do not tell, see ``infer_config``.

    Raises:
        CheckpointError: the file is damaged or of another architecture or vocabulary.
    """
    file = TensorFile(path)
    tensors = CheckpointTensors(file, public_names(file.names, source=path))
    shapes = {name: tensors.shape(name) for name in tensors}
    known = {**read_hints(path.parent / "config.json"), **(hints or {})}
    config = infer_config(shapes, source=path, hints=known)
    return config, tokenizer_for(config.vocab_size, source=path), tensors


def write_public(
    path: Path,
    config: AriaConfig,
    tensors: Mapping[str, Float32Array],
    *,
    stored: StoredType = "float32",
    overwrite: bool = False,
) -> None:
    """Write the public form: ``path`` and, beside it, a transformers-style ``config.json``.

    Only public vocabularies can be written so: no public tokenizer has ids for another one.

    Raises:
        CheckpointError: the vocabulary is ours, or a tensor does not fit the settings.
        OutputError: a file exists or cannot be written.
    """
    if config.vocab_size not in PUBLIC_VOCABULARIES:
        which = OWN_VOCABULARIES.get(config.vocab_size, f"{config.vocab_size}-row")
        raise CheckpointError(
            f"a model of the {which} vocabulary has no public form: the public tokenizers have"
            f" {', '.join(str(size) for size in PUBLIC_VOCABULARIES)} ids"
        )
    if stored == "int8":
        raise CheckpointError("the public form is float32, bfloat16 or float16, not int8")
    lazy = tensors if isinstance(tensors, CheckpointTensors) else None
    shapes = {n: lazy.shape(n) if lazy is not None else tensors[n].shape for n in tensors}
    check_tensors(config, shapes, source="the model")
    beside = check_output(path.parent / "config.json", force=overwrite)
    write_tensors(path, tensors, stored=stored, overwrite=overwrite)
    values = {
        "model_type": "aria",
        "hidden_size": config.d_model,
        "num_attention_heads": config.n_heads,
        "num_hidden_layers": config.n_layers,
        "intermediate_size": config.ff_dim,
        "max_seq_len": config.max_seq_len,
        "vocab_size": config.vocab_size,
        "embedding_size": config.embedding_size,
        "pad_token_id": 2,
        "eos_token_id": 1,
        "tie_word_embeddings": False,
        "torch_dtype": stored,
    }
    if config.class_size is not None:
        values["class_size"] = config.class_size
    text = json.dumps(values, indent=2) + "\n"
    write_bytes(beside, text.encode())
