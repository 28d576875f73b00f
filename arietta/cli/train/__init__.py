"""``arietta train``: a recipe and a dataset (or a folder of MIDI) -> a model."""

from __future__ import annotations

from arietta.cli.train.command import app

__all__ = ["app"]
