"""``arietta serve``: the HTTP server."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any

import typer

from arietta.cli.console import new_app, say
from arietta.errors import UsageError

app = new_app()

HostOption = Annotated[str, typer.Option(metavar="ADDRESS", help="Address to listen on.")]
PortOption = Annotated[int, typer.Option(metavar="N", help="Port; 0 takes a free one.")]
ModelOption = Annotated[
    str | None, typer.Option(metavar="NAME|PATH", help="What generates. [default: small]")
]
IndexOption = Annotated[
    list[str] | None,
    typer.Option(
        "--index", metavar="NAME=FOLDER", help="An index to search, by name; may be repeated."
    ),
]
AllowOption = Annotated[
    list[str] | None,
    typer.Option(
        "--allow-host",
        metavar="NAME",
        help="A name that clients may call the server by, as behind a proxy; may be repeated.",
    ),
]
ThreadsOption = Annotated[
    int | None, typer.Option(metavar="N", help="Processor threads. [default: all cores]")
]


@app.command()
def serve(
    host: HostOption = "127.0.0.1",
    port: PortOption = 8337,
    model: ModelOption = None,
    index: IndexOption = None,
    allow_host: AllowOption = None,
    threads: ThreadsOption = None,
) -> None:
    """Serve generation, rendering, search and sound over HTTP, for many listeners at once.

    Only this machine can reach it unless --host says otherwise; then the environment variable
    ARIETTA_TOKEN must hold a token, which clients show, and TLS is left to a proxy. Needs the extra
    arietta[studio]. The addresses that there are: /openapi.json.

    \b
    Examples:
      arietta serve
      arietta serve --port 9000 --index mine=my-index
    """
    from arietta.server.run import serve as run

    run(
        settings_of(host, port, model, index, allow_host, threads),
        lambda address: say(f"arietta serves at {address} (stop it with Ctrl+C)"),
    )


def settings_of(
    host: str,
    port: int,
    model: str | None,
    index: list[str] | None,
    allow_host: list[str] | None,
    threads: int | None,
    **more: Any,
) -> Any:
    """Return the settings of the server that the options ask for.

    Raises:
        UsageError: an option is out of range, or the address needs a token.
    """
    from arietta.server.settings import ServerSettings

    indexes = {}
    for one in index or ():
        name, equals, folder = one.partition("=")
        if not name or not equals or not folder:
            raise UsageError(f"--index {one}: write NAME=FOLDER")
        indexes[name] = str(Path(folder)) if "://" not in folder else folder
    return ServerSettings(
        host=host,
        port=port,
        token=os.environ.get("ARIETTA_TOKEN") or None,
        hosts=tuple(allow_host or ()),
        model=model,
        indexes=indexes,
        threads=threads,
        **more,
    )
