"""Checkpoints of Pianist Transformer: public single files <-> ours, strict in both directions.

Our form is the folder of ``store`` with ``"architecture": "pianist"``; it holds the tensors that
are used, under their public names. The public file also holds tensors that nothing reads (leftovers
of its base class, specification section 2.2): they are checked by name and shape and left alone,
and written again as copies of those that are used, so that the public code loads the result.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from arietta.arrays import Float32Array
from arietta.checkpoints import store
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
from arietta.models.pianist.config import PianistConfig
from arietta.output import check_output
from arietta.tokenizers.pianist import (
    BOS,
    EOS,
    MASK,
    PAD,
    PEDAL,
    PITCH,
    PLAY,
    SLOT_RANGES,
    TIMING,
    VELOCITY,
    VOCAB_SIZE,
)

ARCHITECTURE = "pianist"
KIND = "renderer"
_TABLE = "model.decoder.embed_tokens.weight"
_HEAD = "lm_head.out_proj.weight"
_NOTES = "model.encoder.embeddings."
_LEFTOVER = "embeddings."


@dataclass(frozen=True, eq=False)
class LoadedPianist(store.OnDisk):
    """A checkpoint whose tensors are checked by name and shape and read when asked for.

    Attributes:
        name: how it was asked for, or what its folder calls it.
        path: the file that holds the tensors.
        config: architecture settings.
        tensors: public name -> float32 array of every tensor that is used, lazy.
        info: everything else the folder's ``config.json`` says.
    """

    name: str
    path: Path
    config: PianistConfig
    tensors: CheckpointTensors
    info: Mapping[str, Any] = field(default_factory=dict)
    kind = KIND
    tokenizer = "pianist"


def unused_tensors(config: PianistConfig) -> dict[str, str]:
    """Name of every leftover of a public file -> the tensor of the same shape that is used."""
    encoder = "model.encoder.embed_tokens.weight"
    found = {encoder: f"{_NOTES}word_embeddings.weight"}
    for name in config.tensor_shapes():
        if name.startswith(_NOTES):
            found[_LEFTOVER + name.removeprefix(_NOTES)] = name
    return found


def is_pianist(path: Path) -> bool:
    """Whether a checkpoint file or folder is of this architecture; nothing is verified."""
    folder = path if path.is_dir() else path.parent
    values = _config_values(folder / store.CONFIG)
    if path.is_dir() and "format" in values:
        return values.get("architecture") == ARCHITECTURE
    file = path / store.WEIGHTS if path.is_dir() else path
    if not file.is_file() or file.suffix != ".safetensors":
        return False
    return f"{_NOTES}word_embeddings.weight" in TensorFile(file).names


def load(name_or_path: str | PathLike[str], *, offline: bool = False) -> LoadedPianist:
    """Load a rendering model by name or path.

    Args:
        name_or_path: a registered name, a hub id, a folder in our form, or a public
            ``.safetensors`` file with its ``config.json`` beside it.
        offline: never ask the hub.

    Raises:
        CheckpointError: there is no such checkpoint, or it is damaged or of another architecture.
    """
    from arietta.checkpoints import registry

    path, expected = registry.locate(name_or_path, offline=offline)
    if path.is_dir() and not (path / store.CONFIG).is_file() and (path / store.WEIGHTS).is_file():
        path = path / store.WEIGHTS
    ours = path.is_dir() and "format" in _config_values(path / store.CONFIG)
    found = load_folder(path) if ours else load_file(path, name=str(name_or_path))
    if expected is not None:
        store.check_hash(found.path, found.sha256, expected)
    return found


def load_folder(folder: Path) -> LoadedPianist:
    """Load a folder in our form.

    Raises:
        CheckpointError: a file is missing, damaged, or does not fit the others.
    """
    values = store.read_config(folder, ARCHITECTURE)
    config = PianistConfig.from_dict(values["model"])
    weights = folder / store.WEIGHTS
    tensors = CheckpointTensors(TensorFile(weights))
    check_shapes(config.tensor_shapes(), {n: tensors.shape(n) for n in tensors}, source=weights)
    known = {"format", "architecture", "model", "tokenizer", "name"}
    found = LoadedPianist(
        str(values.get("name", folder.name)),
        weights,
        config,
        tensors,
        {k: v for k, v in values.items() if k not in known},
    )
    if values.get("sha256") is not None:
        promise = f"{store.CONFIG} was written for"
        store.check_hash(weights, found.sha256, str(values["sha256"]), promise)
    return found


def load_file(path: Path, *, name: str | None = None) -> LoadedPianist:
    """Load a public file in place, or the folder that holds one.

    Raises:
        CheckpointError: the file is damaged or of another architecture.
    """
    path = path / store.WEIGHTS if path.is_dir() else path
    file = TensorFile(path)
    shapes = {n: file.shape(n) for n in file.names}
    config = infer_config(shapes, _config_values(path.parent / store.CONFIG), source=path)
    wanted = config.tensor_shapes()
    if _HEAD in shapes:  # the same tensor as the decoder's table, which some writers repeat
        head, table = file.stored(_HEAD), file.stored(_TABLE)
        if head.shape != table.shape or not np.array_equal(head, table):
            raise CheckpointError(f"{path}: {_HEAD} differs from {_TABLE}; they have to be one")
    optional = {old: wanted[like] for old, like in unused_tensors(config).items()}
    optional[_HEAD] = wanted[_TABLE]
    present = {n: shape for n, shape in optional.items() if n in shapes}
    check_shapes({**wanted, **present}, shapes, source=path)
    return LoadedPianist(
        name or path.stem, path, config, CheckpointTensors(file, {n: n for n in wanted})
    )


def infer_config(
    shapes: Mapping[str, Shape], values: Mapping[str, Any], *, source: object
) -> PianistConfig:
    """Model settings from tensor shapes, and from a public ``config.json`` what they do not tell.

    Without the latter: heads of 128, scores over the root of 256, as published.

    Raises:
        CheckpointError: the tensors are not those of a Pianist Transformer.
    """
    table = shapes.get(_TABLE)
    query = shapes.get("model.decoder.layers.0.self_attn.q_proj.weight")
    key = shapes.get("model.decoder.layers.0.self_attn.k_proj.weight")
    gate = shapes.get("model.decoder.layers.0.mlp.gate_proj.weight")
    if table is None or query is None or key is None or gate is None or len(table) != 2:
        sample = ", ".join(sorted(shapes)[:3]) or "nothing"
        raise CheckpointError(f"{source}: not a Pianist Transformer (it has {sample}, ...)")
    if table[0] != VOCAB_SIZE:
        raise CheckpointError(f"{source}: its vocabulary has {table[0]} ids, not {VOCAB_SIZE}")
    half = values.get("decoder")
    settings = half if isinstance(half, dict) else {}

    def number(name: str, default: float) -> float:
        value = settings.get(name, default)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise CheckpointError(f"{source}: config.json: {name} should be a number")
        return value

    head_dim = int(number("head_dim", 128))

    def layers(which: str) -> int:
        names = (n for n in shapes if n.startswith(f"model.{which}.layers."))
        return len({n.split(".")[3] for n in names})

    return PianistConfig(
        d_model=table[1],
        ff_dim=gate[0],
        n_heads=max(query[0] // head_dim, 1),
        n_kv_heads=max(key[0] // head_dim, 1),
        head_dim=head_dim,
        encoder_layers=layers("encoder"),
        decoder_layers=layers("decoder"),
        vocab_size=table[0],
        attention_divisor=float(number("query_pre_attn_scalar", 256)),
        rope_base=float(number("rope_theta", 10_000)),
        norm_eps=float(number("rms_norm_eps", 1e-6)),
        logit_cap=float(number("final_logit_softcapping", 30)),
    )


def save(
    folder: str | PathLike[str],
    config: PianistConfig,
    tensors: Mapping[str, Float32Array],
    *,
    name: str,
    version: str = "1",
    stored: StoredType = "float32",
    card: str | None = None,
    info: Mapping[str, Any] | None = None,
    overwrite: bool = False,
) -> Path:
    """Write a folder in our form; arguments as for ``aria_checkpoint.save``.

    Raises:
        CheckpointError: the tensors do not fit the settings.
        OutputError: something exists or cannot be written.
    """
    check_shapes(config.tensor_shapes(), _shapes(tensors), source=name)
    return store.write_folder(
        folder,
        tensors,
        {
            "architecture": ARCHITECTURE,
            "name": name,
            "version": version,
            "tokenizer": "pianist",
            "model": config.to_dict(),
            "stored": stored,
            "parameters": config.parameter_count(),
            **(info or {}),
        },
        stored=stored,
        card=card,
        overwrite=overwrite,
    )


class _Public(Mapping[str, Float32Array]):
    """Tensors with the leftovers that the public code expects."""

    def __init__(self, config: PianistConfig, tensors: Mapping[str, Float32Array]) -> None:
        self._tensors = tensors
        used = {n: n for n in config.tensor_shapes()}
        self._like = dict(sorted({**used, **unused_tensors(config)}.items()))

    def __getitem__(self, name: str) -> Float32Array:
        return self._tensors[self._like[name]]

    def __iter__(self) -> Iterator[str]:
        return iter(self._like)

    def __len__(self) -> int:
        return len(self._like)


def write_public(
    path: Path,
    config: PianistConfig,
    tensors: Mapping[str, Float32Array],
    *,
    stored: StoredType = "float32",
    overwrite: bool = False,
) -> None:
    """Write the public form: ``path`` and, beside it, the public ``config.json``.

    Raises:
        CheckpointError: a tensor does not fit the settings, or int8 is asked for.
        OutputError: a file exists or cannot be written.
    """
    if stored == "int8":
        raise CheckpointError("the public form is float32, bfloat16 or float16, not int8")
    check_shapes(config.tensor_shapes(), _shapes(tensors), source="the model")
    beside = check_output(path.parent / store.CONFIG, force=overwrite)
    write_tensors(path, _Public(config, tensors), stored=stored, overwrite=overwrite)
    write_bytes(beside, (json.dumps(public_config(config, stored), indent=2) + "\n").encode())


def public_config(config: PianistConfig, stored: str = "float32") -> dict[str, Any]:
    """Return the public ``config.json`` of these settings (specification section 2.1)."""

    def half(layers: int) -> dict[str, Any]:
        return {
            "attention_bias": False,
            "attention_dropout": 0.0,
            "attn_logit_softcapping": 50.0,
            "dropout_rate": 0.0,
            "eos_token_id": EOS,
            "final_logit_softcapping": config.logit_cap,
            "head_dim": config.head_dim,
            "hidden_activation": "gelu_pytorch_tanh",
            "hidden_size": config.d_model,
            "initializer_range": 0.02,
            "intermediate_size": config.ff_dim,
            "layer_types": [
                "full_attention" if i % 2 else "sliding_attention" for i in range(layers)
            ],
            "max_position_embeddings": 8192,
            "model_type": "t5_gemma_module",
            "num_attention_heads": config.n_heads,
            "num_hidden_layers": layers,
            "num_key_value_heads": config.n_kv_heads,
            "query_pre_attn_scalar": _plain(config.attention_divisor),
            "rms_norm_eps": config.norm_eps,
            "rope_theta": config.rope_base,
            "sliding_window": 4096,
            "use_cache": True,
            "vocab_size": config.vocab_size,
        }

    decoder = {
        **half(config.decoder_layers),
        "cross_attention_hidden_size": config.d_model,
        "is_decoder": True,
    }
    return {
        "architectures": ["PianoT5Gemma"],
        "attention_dropout": 0.0,
        "bos_token_id": BOS,
        "classifier_dropout_rate": 0.0,
        "decoder": dict(sorted(decoder.items())),
        "dropout_rate": 0.0,
        "encoder": half(config.encoder_layers),
        "eos_token_id": EOS,
        "hidden_size": config.d_model,
        "initializer_range": 0.02,
        "is_encoder_decoder": True,
        "mask_token_id": MASK,
        "model_type": "t5gemma",
        "pad_token_id": PAD,
        "pedal_start": PEDAL,
        "pitch_start": PITCH,
        "play_token_id": PLAY,
        "timing_start": TIMING,
        "torch_dtype": stored,
        "use_cache": True,
        "valid_id_range": [list(span) for span in SLOT_RANGES],
        "velocity_start": VELOCITY,
        "vocab_size": config.vocab_size,
    }


def _plain(value: float) -> int | float:
    """256 for 256.0: the public code reads it as a whole number."""
    return int(value) if value == int(value) else value


def _shapes(tensors: Mapping[str, Float32Array]) -> dict[str, Shape]:
    lazy = tensors if isinstance(tensors, CheckpointTensors) else None
    return {n: lazy.shape(n) if lazy is not None else tensors[n].shape for n in tensors}


def _config_values(path: Path) -> dict[str, Any]:
    """Return a ``config.json``, or nothing where there is none.

    Raises:
        CheckpointError: it is not a JSON table.
    """
    if not path.is_file():
        return {}
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise CheckpointError(f"{path}: not readable as JSON") from None
    if not isinstance(values, dict):
        raise CheckpointError(f"{path}: not a JSON table")
    return values
