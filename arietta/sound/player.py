"""Playing a finished WAV file through whatever player this machine has."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

# Best first; each takes a WAV path and returns when it has been heard.
_PLAYERS = (
    ("afplay",),
    ("pw-play",),
    ("paplay",),
    ("aplay", "-q"),
    ("play", "-q"),
    ("ffplay", "-nodisp", "-autoexit", "-loglevel", "error"),
)


# These take a WAV file from their standard input and play it while it comes.
_STREAM_PLAYERS = (
    ("aplay", "-q", "-"),
    ("play", "-q", "-t", "wav", "-"),
    ("ffplay", "-nodisp", "-autoexit", "-loglevel", "error", "-"),
)


# Windows plays WAV files itself; winsound is part of its Python.
_WINDOWS = "import sys, winsound; winsound.PlaySound(sys.argv[1], winsound.SND_FILENAME)"


def find_player() -> list[str] | None:
    """Return the command that plays a WAV file here, or None where no sound can come out.

    ``ARIETTA_PLAYER`` names another command. Linux without a sound device counts as silent even
    when a player is installed, unless a sound server is reachable.
    """
    own = os.environ.get("ARIETTA_PLAYER")
    if own:
        return own.split()
    if sys.platform.startswith("linux") and not _linux_has_sound():
        return None
    if sys.platform == "win32":
        return [sys.executable, "-c", _WINDOWS]
    for command in _PLAYERS:
        if shutil.which(command[0]):
            return list(command)
    return None


def find_stream_player() -> list[str] | None:
    """Return the command that plays a WAV file from its standard input while it is written.

    None where no sound can come out, or only finished files can be played. ``ARIETTA_PLAYER`` names
    another command; it reads its standard input if it ends in ``-``.
    """
    own = os.environ.get("ARIETTA_PLAYER")
    if own:
        return own.split() if own.split()[-1] == "-" else None
    if sys.platform.startswith("linux") and not _linux_has_sound():
        return None
    return next((list(c) for c in _STREAM_PLAYERS if shutil.which(c[0])), None)


def play_file(player: list[str], path: Path) -> bool:
    """Play a WAV file to its end; False if the player says it could not."""
    try:
        if player[-1] == "-":
            with path.open("rb") as sound:
                return subprocess.run(player, stdin=sound).returncode == 0
        return subprocess.run([*player, str(path)], stdin=subprocess.DEVNULL).returncode == 0
    except OSError:
        return False


def _linux_has_sound() -> bool:
    if os.environ.get("PULSE_SERVER") or os.environ.get("PIPEWIRE_REMOTE"):
        return True
    runtime = Path(os.environ.get("XDG_RUNTIME_DIR", "/run/user/0"))
    if any((runtime / name).exists() for name in ("pipewire-0", "pulse/native")):
        return True
    devices = Path("/dev/snd")
    return devices.is_dir() and any(p.name.startswith("pcm") for p in devices.iterdir())
