"""``arietta evaluate``: how good a model is, as figures."""

from __future__ import annotations

from arietta.cli.console import new_app
from arietta.cli.evaluate.continuations import continuations
from arietta.cli.evaluate.few_label import few_label
from arietta.cli.evaluate.likelihood import likelihood
from arietta.cli.evaluate.probe import probe
from arietta.cli.evaluate.rendering import rendering
from arietta.cli.evaluate.retrieval import retrieval
from arietta.cli.evaluate.steering import steering

app = new_app()


@app.callback()
def evaluate() -> None:
    """Measure models on music that they were not trained on.

    \b
    Examples:
      arietta evaluate likelihood my-midi/
      arietta evaluate likelihood dataset --split test --model small --model mine --json
    """


app.command()(probe)
app.command()(rendering)
app.command()(likelihood)
app.command()(continuations)
app.command()(retrieval)
app.command()(steering)
app.command()(few_label)
