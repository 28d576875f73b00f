"""``arietta studio``: the page in the browser, over a server of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from arietta.cli.console import new_app, note, say
from arietta.cli.serve import IndexOption, ModelOption, PortOption, ThreadsOption, settings_of

app = new_app()


@app.command()
def studio(
    file: Annotated[
        Path | None, typer.Argument(metavar="[FILE]", help="MIDI or MusicXML to open.")
    ] = None,
    port: PortOption = 8337,
    model: ModelOption = None,
    index: IndexOption = None,
    threads: ThreadsOption = None,
    browser: Annotated[
        bool, typer.Option("--browser/--no-browser", help="Open the page in the browser.")
    ] = True,
) -> None:
    """Open the studio: drop a file, press one button, choose between takes.

    Starts a server that only this machine can reach, and opens its page. Needs the extra
    arietta[studio].

    \b
    Examples:
      arietta studio
      arietta studio nocturne.mid
    """
    import webbrowser

    from arietta.server.run import serve

    settings = settings_of(
        "127.0.0.1", port, model, index, None, threads, opened=opened(file), warm=True
    )

    def ready(address: str) -> None:
        say(f"the studio is at {address} (stop it with Ctrl+C)")
        if browser and not webbrowser.open(address):
            note(f"no browser could be opened here; open {address} yourself")

    serve(settings, ready)


def opened(file: Path | None) -> tuple[str, bytes] | None:
    """Return name and bytes of the file that the page opens with.

    Raises:
        InputError: it cannot be read.
    """
    if file is None:
        return None
    from arietta.midi.reader import file_data

    return file.name, file_data(str(file))
