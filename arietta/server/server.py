"""What all routes of one server share."""

from __future__ import annotations

import asyncio
import gc
import itertools
import secrets
from typing import TYPE_CHECKING

from arietta.api.serving import Service
from arietta.server.jobs import Jobs
from arietta.server.metrics import Metrics
from arietta.server.settings import ServerSettings
from arietta.server.workers import Workers

if TYPE_CHECKING:
    from arietta.midi.piece import Piece


class Server:
    """What the routes share.

    Args:
        settings: limits and addresses.
    """

    def __init__(self, settings: ServerSettings) -> None:
        self.settings = settings
        self.service = Service(
            settings.model,
            threads=settings.threads,
            max_rows=settings.max_rows,
            max_waiting=settings.max_waiting,
            max_cache_bytes=settings.max_cache_bytes,
        )
        self.workers = Workers(settings)
        self.jobs = Jobs(settings)
        self.metrics = Metrics()
        self.ready = False
        self._start = secrets.token_hex(4)
        self._numbers = itertools.count(1)

    def next_id(self) -> str:
        """Return a name for a request that no other has."""
        return f"{self._start}-{next(self._numbers)}"

    async def piece(self, file: tuple[str, bytes] | None) -> Piece | None:
        """Return a client's piece, read by a worker."""
        if file is None:
            return None
        found: Piece = await self.workers.run("piece", file)
        return found

    async def open(self) -> None:
        """Load what every request needs."""
        self.workers.start()
        await asyncio.to_thread(self.service.model)
        # What is loaded stays; without it, looking for garbage takes a hundredth of the time.
        gc.collect()
        gc.freeze()
        self.ready = True

    def close(self) -> None:
        """End the loop, the workers and the jobs."""
        self.ready = False
        self.service.close()
        self.jobs.stop()
        self.workers.stop()
        gc.unfreeze()
