"""MIDI ports in memory, in the shape of a mido backend."""

from __future__ import annotations

from typing import Any


class BrokenPorts:
    """A system whose MIDI does not work."""

    def __getattr__(self, name: str) -> Any:
        def fail(*args: Any, **more: Any) -> Any:
            raise OSError("no sequencer device")

        return fail


class Ports:
    """Ports in memory, in the shape of a mido backend."""

    def __init__(self) -> None:
        self.inputs, self.outputs = ["Keys 1"], ["Synth 1"]
        self.callback: Any = None
        self.closed = False
        self.sent: list[Any] = []

    def get_input_names(self) -> list[str]:
        return self.inputs

    def get_output_names(self) -> list[str]:
        return self.outputs

    def open_input(self, name: str, *, callback: Any, **more: Any) -> Ports:
        self.callback = callback
        return self

    def open_output(self, name: str, **more: Any) -> Ports:
        return self

    def send(self, message: Any) -> None:
        if self.closed:
            raise ValueError("send() called on closed port")
        self.sent.append(message.bytes())

    def close(self) -> None:
        self.closed = True
