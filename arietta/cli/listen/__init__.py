"""``arietta listen``: listening tests, from pairs of files to a table of preferences."""

from __future__ import annotations

from arietta.cli.console import new_app
from arietta.cli.listen.analyse import analyse
from arietta.cli.listen.build import build

app = new_app()


@app.callback()
def listen() -> None:
    """Make a listening test, and analyse the answers of its listeners.

    \b
    Examples:
      arietta listen build pairs.csv -o test
      arietta listen analyse answers --key test/key.json
    """


app.command()(build)
app.command()(analyse)
