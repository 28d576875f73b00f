"""Train tables of token vectors that share feature vectors between similar tokens.

A row of an embedding or of a head is its own vector plus the sum of feature vectors: for a note
those of its pitch, pitch class, octave and velocity; for an onset, a duration or a wait the values
between knots every 5, 20 and 100 steps and every fortieth of the logarithmic scale, interpolated
linearly; and one vector for its kind. So a rare token learns from its neighbours.
``folded`` returns the plain tables, which a checkpoint stores; inference does not change.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrize

from arietta.models.aria.clock import BEFORE, MAX_WAIT, WAIT_ROWS
from arietta.models.aria.config import AriaConfig
from arietta.models.aria.torch_module import AriaDecoder
from arietta.tokenizers.vocabulary import CONTROL_LEVELS, Vocabulary, vocabulary

KNOT_STEPS = (5, 20, 100)
LOG_KNOTS = 41
_SLOTS = 9
_ORIGINAL = ".parametrizations.weight.original"

Entry = tuple[int, float]
"""Number of a feature, and its weight."""


class _Features:
    """Number the features of a table."""

    def __init__(self) -> None:
        self.count = 0

    def block(self, size: int) -> int:
        """Return the first of ``size`` new features."""
        first = self.count
        self.count += size
        return first


class _Knots:
    """Interpolate features of a number of steps of 10 ms, from 0 to ``last``."""

    def __init__(self, features: _Features, last: int) -> None:
        self._last = last
        self._linear = [(d, features.block(last // d + 2)) for d in KNOT_STEPS]
        self._log = features.block(LOG_KNOTS)

    def entries(self, steps: int) -> list[Entry]:
        """Return the features of a value."""
        found: list[Entry] = []
        for distance, first in self._linear:
            found += _between(first, steps / distance)
        place = math.log2(1 + steps) / math.log2(1 + self._last) * (LOG_KNOTS - 1)
        return found + _between(self._log, place)


def _between(first: int, place: float) -> list[Entry]:
    """Return the two knots around a place, weighted by proximity."""
    low = int(place)
    share = place - low
    return [(first + low, 1 - share), *([(first + low + 1, share)] if share else [])]


def token_features(vocab: Vocabulary) -> tuple[list[list[Entry]], int]:
    """Return the features of each id of an absolute vocabulary, and the number of features."""
    features = _Features()
    pitch, pitch_class, octave = features.block(128), features.block(12), features.block(11)
    velocity, kind = features.block(13), features.block(5)
    n_durations = vocab.onset_start - vocab.dur_start
    duration = _Knots(features, n_durations)
    onset = _Knots(features, vocab.fill_start - vocab.onset_start)
    level = features.block(3 * CONTROL_LEVELS)
    rows: list[list[Entry]] = []
    for i in range(vocab.size):
        if vocab.note_start <= i < vocab.drum_start:
            key, step = divmod(i - vocab.note_start, vocab.velocities)
            key %= 128
            loud = step + vocab.first_step
            rows.append(
                [
                    (pitch + key, 1.0),
                    (pitch_class + key % 12, 1.0),
                    (octave + key // 12, 1.0),
                    (velocity + loud, 1.0),
                    (kind, 1.0),
                ]
            )
        elif vocab.dur_start <= i < vocab.onset_start:
            rows.append([*duration.entries(i - vocab.dur_zero), (kind + 1, 1.0)])
        elif vocab.onset_start <= i < vocab.pedal_start:
            rows.append([*onset.entries(i - vocab.onset_start), (kind + 2, 1.0)])
        elif vocab.control_start <= i:
            rows.append([(level + i - vocab.control_start, 1.0), (kind + 3, 1.0)])
        else:
            rows.append([])
    return rows, features.count


def wait_features() -> tuple[list[list[Entry]], int]:
    """Return the features of each row of the wait tables, and the number of features."""
    features = _Features()
    knots = _Knots(features, MAX_WAIT)
    kind = features.block(1)
    rows = [[*knots.entries(w), (kind, 1.0)] for w in range(BEFORE)]
    return rows + [[] for _ in range(WAIT_ROWS - BEFORE)], features.count


class SharedFeatures(nn.Module):
    """Add the sum of the features of a row to its own vector.

    Args:
        rows: features of each row.
        count: number of features.
        width: size of a vector.
        std: standard deviation of fresh feature vectors; with 0 the table does not change at first.
    """

    index: Tensor
    weight: Tensor

    def __init__(self, rows: Sequence[Sequence[Entry]], count: int, width: int, std: float) -> None:
        super().__init__()
        index = np.zeros((len(rows), _SLOTS), np.int64)
        weight = np.zeros((len(rows), _SLOTS), np.float32)
        for i, row in enumerate(rows):
            for j, (feature, share) in enumerate(row):
                index[i, j], weight[i, j] = feature, share
        self.features = nn.Parameter(torch.randn(count, width) * std)
        self.register_buffer("index", torch.from_numpy(index), persistent=False)
        self.register_buffer("weight", torch.from_numpy(weight), persistent=False)

    def forward(self, own: Tensor) -> Tensor:
        """Return the table (rows, width) from the own vectors of its rows."""
        shared = F.embedding_bag(
            self.index, self.features, per_sample_weights=self.weight, mode="sum"
        )
        return own + shared


def share_features(decoder: AriaDecoder, vocabulary_name: str, *, fresh: bool) -> None:
    """Train the tables of a decoder as own vectors plus shared features.

    Args:
        decoder: decoder of an absolute vocabulary; changed in place.
        vocabulary_name: name of its vocabulary.
        fresh: whether the weights are random; if so, the features start at random too.
    """
    config: AriaConfig = decoder.config
    std = 0.02 if fresh else 0.0
    tokens, waits = token_features(vocabulary(vocabulary_name)), wait_features()
    kinds = {"model.tok_embeddings": tokens, "lm_head": tokens}
    kinds |= {"model.wait_embeddings": waits, "wait_head": waits}
    for name, (rows, count) in kinds.items():
        if f"{name}.weight" not in config.tensor_shapes():
            continue
        module = decoder.get_submodule(name)
        assert isinstance(module.weight, Tensor)
        if fresh:
            with torch.no_grad():
                module.weight.mul_(0.5)
        shared = SharedFeatures(rows, count, config.d_model, std)
        parametrize.register_parametrization(module, "weight", shared)


def folded(decoder: AriaDecoder, state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return a state dict with plain tables.

    Args:
        decoder: decoder whose tables may share features.
        state: weights of the decoder.
    """
    modules = dict(decoder.named_modules())
    plain: dict[str, Tensor] = {}
    for name, value in state.items():
        if name.endswith(_ORIGINAL):
            table = name.removesuffix(_ORIGINAL)
            shared = modules[f"{table}.parametrizations.weight.0"]
            assert isinstance(shared, SharedFeatures)
            features = state[f"{table}.parametrizations.weight.0.features"]
            bag = F.embedding_bag(
                shared.index.cpu(),
                features.float().cpu(),
                per_sample_weights=shared.weight.cpu(),
                mode="sum",
            )
            plain[f"{table}.weight"] = value.float().cpu() + bag
        elif ".parametrizations." not in name:
            plain[name] = value
    return plain
