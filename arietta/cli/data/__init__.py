"""``arietta data``: folders of MIDI -> datasets."""

from __future__ import annotations

from arietta.cli.console import new_app
from arietta.cli.data.build import build
from arietta.cli.data.pairs import pairs
from arietta.cli.data.push import push
from arietta.cli.data.stats import stats

app = new_app()


@app.callback()
def data() -> None:
    """Build datasets out of MIDI files, look at them, and share them.

    \b
    Examples:
      arietta data build my-midi -o dataset
      arietta data stats dataset --png dataset.png
      arietta data pairs my-takes -o pairs.parquet
    """


app.command()(pairs)
app.command()(build)
app.command()(stats)
app.command()(push)
