"""The MIDI ports of this machine, by mido and python-rtmidi (the extra ``live``)."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from arietta.errors import InputError, MissingExtraError, OutputError

_NEWEST_WHEEL = (3, 12)
CLIENT = "Arietta"


class PortNames(NamedTuple):
    """The ports that can be opened."""

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


def backend(name: str | None = None) -> Any:
    """Return what opens ports.

    Args:
        name: of a mido backend, such as ``mido.backends.rtmidi/UNIX_JACK``; python-rtmidi with the
            system's own interface by default.

    Raises:
        MissingExtraError: mido or python-rtmidi is not installed.
    """
    try:
        import mido

        return mido.Backend(name or "mido.backends.rtmidi", load=True)
    except ImportError:
        raise _missing(sys.version_info[:2]) from None


def _missing(version: tuple[int, int]) -> MissingExtraError:
    what = "playing on MIDI ports"
    if version > _NEWEST_WHEEL:
        what += (
            f" (python-rtmidi has no ready-made package for Python {version[0]}.{version[1]}:"
            " use Python 3.11 or 3.12, or install a C++ compiler first)"
        )
    return MissingExtraError(what, "live")


def port_names(ports: Any) -> PortNames:
    """Return the names of the ports there are.

    Raises:
        InputError: the system has no MIDI at all.
    """
    try:
        return PortNames(
            tuple(dict.fromkeys(ports.get_input_names())),
            tuple(dict.fromkeys(ports.get_output_names())),
        )
    except Exception as error:
        raise InputError(f"this system offers no MIDI ports ({_reason(error)})") from None


def choose(wanted: str | None, names: Sequence[str], what: str) -> str:
    """Return the port that a name or a part of it means; without a name the only one.

    Args:
        wanted: name, part of a name in any case, or None.
        names: of the ports there are.
        what: ``input`` or ``output``.

    Raises:
        InputError: there is no such port, or more than one.
    """
    if wanted is None:
        if len(names) == 1:
            return names[0]
        raise InputError(f"`{what}_port` is needed: {_listed(names, what)}")
    if wanted in names:
        return wanted
    found = [name for name in names if wanted.lower() in name.lower()]
    if len(found) == 1:
        return found[0]
    many = "means several ports" if found else "is no port"
    raise InputError(f"`{what}_port` {wanted!r} {many}: {_listed(found or names, what)}")


def _listed(names: Sequence[str], what: str) -> str:
    if not names:
        return (
            f"there is no MIDI {what} on this machine; connect a keyboard, or start a"
            " software synthesizer or a loopback driver"
        )
    return f"there are {', '.join(names)}"


def same_device(one: str, other: str) -> bool:
    """Whether an input and an output belong to one instrument, which may send back its own notes.

    Systems name the two sides alike but for a number of the port at the end.
    """
    return _device(one) == _device(other)


def _device(name: str) -> str:
    return name.rstrip("0123456789: ").lower()


class MidiOut:
    """An output port.

    Raises:
        OutputError: it cannot be opened.
    """

    def __init__(self, ports: Any, name: str, *, virtual: bool = False) -> None:
        self._ports, self._name, self._virtual = ports, name, virtual
        try:
            self._port = ports.open_output(name, virtual=virtual, client_name=CLIENT)
        except Exception as error:
            raise OutputError(f"MIDI output {name!r} cannot be opened ({_reason(error)})") from None

    def send(self, data: tuple[int, ...]) -> None:
        """Send a message.

        Raises:
            OutputError: the port is gone.
        """
        from mido import Message

        try:
            self._port.send(Message.from_bytes(data))
        except Exception as error:
            raise OutputError(f"MIDI output {self._name!r} is gone ({_reason(error)})") from None

    def check(self) -> None:
        """Look whether the port is still there.

        Raises:
            OutputError: it is gone.
        """
        if self._port.closed:
            raise OutputError(f"MIDI output {self._name!r} is closed")
        if not self._virtual and self._name not in port_names(self._ports).outputs:
            raise OutputError(f"MIDI output {self._name!r} is gone; was it unplugged?")

    def close(self) -> None:
        """Close the port."""
        self._port.close()


class MidiIn:
    """An input port whose messages go to a function, from a thread of the system.

    Args:
        ports: see ``backend``.
        name: of the port.
        take: gets the bytes of every message.
        failed: gets what goes wrong in ``take``, which would otherwise end unseen.

    Raises:
        InputError: it cannot be opened.
    """

    def __init__(
        self,
        ports: Any,
        name: str,
        take: Callable[[list[int]], None],
        failed: Callable[[BaseException], None],
        *,
        virtual: bool = False,
    ) -> None:
        self._ports, self._name, self._virtual = ports, name, virtual

        def receive(message: Any) -> None:
            try:
                take(message.bytes())
            except BaseException as error:
                failed(error)

        try:
            self._port = ports.open_input(
                name, virtual=virtual, client_name=CLIENT, callback=receive
            )
        except Exception as error:
            raise InputError(f"MIDI input {name!r} cannot be opened ({_reason(error)})") from None

    def check(self) -> None:
        """Look whether the port is still there.

        Raises:
            InputError: it is gone.
        """
        if self._port.closed:
            raise InputError(f"MIDI input {self._name!r} is closed")
        if not self._virtual and self._name not in port_names(self._ports).inputs:
            raise InputError(f"MIDI input {self._name!r} is gone; was it unplugged?")

    def close(self) -> None:
        """Close the port."""
        self._port.close()


def _reason(error: Exception) -> str:
    return str(error).strip() or type(error).__name__
