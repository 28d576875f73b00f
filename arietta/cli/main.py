"""The command table. A command's module is imported only when it runs.

Exit codes: 0 done, 1 could not be done (one line says why), 2 wrong usage, 130 interrupted,
143 ended by SIGTERM with the state of a training saved.
"""

from __future__ import annotations

import os
import sys
from importlib import import_module

TYPE_CHECKING = False  # see arietta/__init__.py
if TYPE_CHECKING:
    from typing import Any, NoReturn

# In the order a newcomer meets them: name -> what it does.
COMMANDS = {
    "generate": "continue a piano performance, or improvise from nothing",
    "fill": "fill a gap: this bar again, another left hand, the missing middle",
    "render": "play a score with expression",
    "studio": "the page to play with: continue, perform, choose between takes",
    "serve": "the same over HTTP, for many listeners at once",
    "play": "hear a MIDI file",
    "duet": "play with the model on your MIDI keyboard: it answers when you stop",
    "synth": "turn a MIDI file into WAV, FLAC, OGG or MP3",
    "transcribe": "turn a recording of a piano into a MIDI file",
    "info": "what is in a MIDI file",
    "score": "how surprising each note of a file is: find the wrong ones",
    "embed": "MIDI files -> vectors, near each other where pieces are alike",
    "index": "make MIDI files searchable by likeness",
    "search": "find pieces, and passages of them, that are like a file",
    "classify": "tell what a piece is, by the shipped classifier or your own",
    "map": "a picture of a collection: like pieces lie together",
    "data": "build datasets from MIDI, and look at them",
    "train": "train a model by a recipe",
    "evaluate": "measure a model on your files",
    "listen": "make a listening test, and analyse its answers",
    "models": "list, inspect, fetch and convert models",
    "tokenize": "MIDI file -> token ids",
    "detokenize": "token ids -> MIDI file",
    "bench": "measure this machine",
}

USAGE = """\
Usage: arietta COMMAND [OPTIONS] ...

Piano MIDI models on a plain CPU.

Commands:
{commands}

Options:
  --version   print the version and exit
  --debug     with any command: show the traceback of an error
  -h, --help  this text; `arietta COMMAND --help` for a command's own

Start here:
  arietta generate                       improvise half a minute with the shipped model
  arietta generate my.mid -o more.mid    continue your own playing
  arietta play more.mid                  hear it
"""


def main(argv: list[str] | None = None) -> NoReturn:
    """Run one command and exit with its code."""
    sys.exit(run(sys.argv[1:] if argv is None else argv))


def run(argv: list[str]) -> int:
    """Run one command; the exit code."""
    debug = "--debug" in argv
    argv = [word for word in argv if word != "--debug"]
    name = argv[0] if argv else "--help"
    if name in ("-h", "--help", "help"):
        width = max(map(len, COMMANDS))
        lines = (f"  {n:<{width}}  {what}" for n, what in COMMANDS.items())
        sys.stdout.write(USAGE.format(commands="\n".join(lines)))
        return 0
    if name in ("--version", "-V"):
        from arietta._version import __version__

        sys.stdout.write(f"arietta {__version__}\n")
        return 0
    if name not in COMMANDS:
        import difflib

        near = difflib.get_close_matches(name, COMMANDS, 1)
        hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(COMMANDS)}"
        return _fail(f"there is no command {name!r}; {hint}", 2)
    try:
        code = _call(name, argv[1:])
        sys.stdout.flush()
        return code
    except BrokenPipeError:
        # Whoever read our output has seen enough; keep the interpreter from complaining at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except KeyboardInterrupt:
        return _fail("stopped", 130)
    except MemoryError:
        if debug:
            raise
        return _fail("not enough memory for this", 1)
    except Exception as error:
        if debug:
            raise
        return _report(name, error)


def _call(name: str, args: list[str]) -> int:
    from typer import Abort

    app: Any = import_module(f"arietta.cli.{name}").app
    try:
        code = app(args, prog_name=f"arietta {name}", standalone_mode=False)
    except Abort:
        raise KeyboardInterrupt from None
    except SystemExit as leaving:  # how the option parser answers a closed pipe
        code = leaving.code
    return code if isinstance(code, int) else 0


def _report(name: str, error: Exception) -> int:
    from arietta.cli.flags import with_flags
    from arietta.errors import AriettaError

    if isinstance(error, AriettaError):
        return _fail(with_flags(str(error)), error.exit_code)
    usage = getattr(error, "format_message", None)  # the option parser's own errors
    if usage is not None:
        context = getattr(error, "ctx", None)
        path = context.command_path if context is not None else f"arietta {name}"
        message = usage().replace("Value error, ", "")  # its name for the reason that follows
        return _fail(f"{message} (see `{path} --help`)", 2)
    # An image for training may lack what only plays or renders.
    if isinstance(error, ModuleNotFoundError) and error.name:
        package = error.name.split(".")[0]
        if package != "arietta":
            return _fail(f"this needs {package}, which is not installed: pip install {package}", 1)
    what = f"{type(error).__name__}: {error}"
    return _fail(f"a fault of ours, please report it: {what} (--debug shows where)", 1)


def _fail(message: str, code: int) -> int:
    from arietta.cli.console import printable

    line = printable(" ".join(message.split()))
    sys.stderr.write(f"arietta: error: {line}\n" if code != 130 else f"arietta: {line}\n")
    return code
