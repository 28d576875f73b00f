"""Every limit of the server, each declared once with its unit.

The options of ``arietta serve`` follow from these fields; see ``arietta.settings``.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field

from arietta.errors import UsageError
from arietta.settings import check, parameter

MIB = 2**20
LOOPBACK = ("127.0.0.1", "::1", "localhost")


@dataclass(frozen=True)
class ServerSettings:
    """How the server listens, and what it grants.

    Attributes:
        host: address to listen on; others than this machine's own need a token.
        port: TCP port; 0 takes a free one.
        token: what a client has to show as ``Authorization: Bearer TOKEN``; None asks for none.
        hosts: further names that clients may call the server by, as behind a proxy.
        model: what generates by default; None is the shipped model.
        indexes: name -> folder of an index that may be searched.
        opened: name and bytes of the file that the page opens with.
        max_upload_bytes: of one request's body.
        max_training_bytes: of the body that brings files to train on.
        max_notes: of one uploaded piece.
        max_piece_seconds: of one uploaded piece, silence included.
        max_new_seconds: of music for one take.
        max_takes: of one request, decided and rendered ones alike.
        max_rows: takes of all requests that are decided side by side.
        max_cache_bytes: of memory for the past of the takes that are decided.
        max_waiting: requests that wait for room.
        max_connections: open at once.
        header_seconds: until a client has sent the head of a request.
        body_seconds: until a client has sent the body of a request.
        send_seconds: that a client may leave an answer unread.
        work_seconds: of work on one request by a worker.
        worker_memory_bytes: of address space of one worker.
        workers: processes that read files and do everything else than generating.
        threads: processor threads of the generating model; None takes all physical cores.
        max_training_seconds: of one training job.
        retry_seconds: after which a refused client should come back.
        warm: load what performs scores at once, so that the first slider moves at once.
    """

    host: str = parameter("127.0.0.1", "Address to listen on.", metavar="ADDRESS")
    port: int = parameter(8337, "Port to listen on; 0 takes a free one.", low=0, high=65535)
    token: str | None = None
    hosts: tuple[str, ...] = ()
    model: str | None = None
    indexes: Mapping[str, str] = field(default_factory=dict)
    opened: tuple[str, bytes] | None = None
    max_upload_bytes: int = parameter(8 * MIB, "Bytes of one request.", above=0)
    max_training_bytes: int = parameter(256 * MIB, above=0)
    max_notes: int = parameter(200_000, "Notes of one uploaded piece.", above=0)
    max_piece_seconds: float = parameter(4 * 3600.0, above=0)
    max_new_seconds: float = parameter(600.0, "Seconds of new music a take.", above=0)
    max_takes: int = parameter(64, "Takes of one request.", above=0)
    max_rows: int = parameter(256, "Takes decided side by side, of all requests.", above=0)
    max_cache_bytes: int = parameter(4096 * MIB, "Bytes of memory for all takes.", above=0)
    max_waiting: int = parameter(64, "Requests that wait for room.", low=0)
    max_connections: int = parameter(512, "Connections at once.", above=0)
    header_seconds: float = parameter(10.0, above=0)
    body_seconds: float = parameter(30.0, above=0)
    send_seconds: float = parameter(30.0, above=0)
    work_seconds: float = parameter(60.0, "Seconds of work on one request.", above=0)
    worker_memory_bytes: int = parameter(4096 * MIB, above=0)
    workers: int = parameter(2, "Processes for everything but generating.", low=1, high=64)
    threads: int | None = parameter(None, "Processor threads of the model.", above=0)
    max_training_seconds: float = parameter(24 * 3600.0, above=0)
    retry_seconds: int = parameter(2, above=0)
    warm: bool = False

    def __post_init__(self) -> None:
        check(self)
        if not self.is_local and not self.token:
            raise UsageError(
                f"`host` {self.host} can be reached from other machines: set a token in the"
                " environment variable ARIETTA_TOKEN, and leave TLS to a proxy"
            )

    @classmethod
    def from_environment(cls) -> ServerSettings:
        """Return the settings that environment variables give, for servers without a command line.

        ``ARIETTA_HOST``, ``ARIETTA_TOKEN``, ``ARIETTA_MODEL``; ``ARIETTA_HOSTS`` has names with
        commas between them.
        """
        known = os.environ
        return cls(
            host=known.get("ARIETTA_HOST", cls.host),
            token=known.get("ARIETTA_TOKEN") or None,
            model=known.get("ARIETTA_MODEL") or None,
            hosts=tuple(filter(None, known.get("ARIETTA_HOSTS", "").split(","))),
        )

    @property
    def is_local(self) -> bool:
        """Whether only this machine can reach the server."""
        return self.host in LOOPBACK

    @property
    def known_hosts(self) -> frozenset[str] | None:
        """Names, without port, that a request may be addressed to.

        None for any, where no names were given and a token is needed anyway: a page that comes in
        under a stranger's name does not know it.
        """
        if self.is_local or self.hosts:
            return frozenset({*LOOPBACK, self.host, *self.hosts})
        return None
