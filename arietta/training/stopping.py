"""Finish a step before a signal ends a run: Ctrl-C, or the SIGTERM of a scheduler."""

from __future__ import annotations

import signal
import threading
import time
from types import FrameType, TracebackType

AGAIN_S = 1.0
"""A launcher repeats the signal that a terminal sent to all processes; people take longer."""


class StopSignals:
    """Remember the first SIGINT or SIGTERM; used as a context.

    A SIGINT that comes ``AGAIN_S`` seconds later, or later still, interrupts at once. Signals that
    are ignored stay so, and outside the main thread nothing is changed.

    Attributes:
        number: the signal that came, or 0.
    """

    def __init__(self) -> None:
        self.number = 0
        self._since = 0.0
        self._before: dict[int, object] = {}

    def __enter__(self) -> StopSignals:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                if signal.getsignal(number) is not signal.SIG_IGN:
                    self._before[number] = signal.signal(number, self._take)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    def _take(self, number: int, frame: FrameType | None) -> None:
        del frame
        now = time.monotonic()
        if not self.number:
            self.number, self._since = number, now
        elif number == signal.SIGINT and now - self._since >= AGAIN_S:
            raise KeyboardInterrupt
