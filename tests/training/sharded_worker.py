"""Train in one of several processes that share the weights, and see that they do.

torchrun ... -m tests.training.sharded_worker RECIPE-AS-JSON DATASET RUN STEPS
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from torch.distributed.tensor import DTensor

from arietta.training.config import recipe_from
from arietta.training.loop import _Run

if __name__ == "__main__":
    recipe, dataset, run, steps = sys.argv[1:]
    training = _Run(
        recipe_from(json.loads(recipe)), Path(dataset), Path(run), cpu=True, say=lambda _: None
    )
    for name, parameter in training.module.named_parameters():
        assert isinstance(parameter, DTensor), name
        assert parameter.to_local().numel() < parameter.numel(), name
    sys.stdout.write("all sharded\n")
    training.step_to_end(int(steps), lambda _: None)
