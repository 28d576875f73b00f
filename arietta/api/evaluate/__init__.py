"""Measure models: the use cases behind ``arietta evaluate``."""

from arietta.api.evaluate.continuations import continuations
from arietta.api.evaluate.few_label import few_label
from arietta.api.evaluate.likelihood import likelihood
from arietta.api.evaluate.probe import probe
from arietta.api.evaluate.rendering import rendering
from arietta.api.evaluate.report import Evaluation
from arietta.api.evaluate.retrieval import retrieval
from arietta.api.evaluate.steering import steering

__all__ = [
    "Evaluation",
    "continuations",
    "few_label",
    "likelihood",
    "probe",
    "rendering",
    "retrieval",
    "steering",
]
