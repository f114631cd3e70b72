"""Serving by uvicorn: limits on what a connection may take, and an end that loses nothing."""

from __future__ import annotations

import asyncio
import resource
import signal
import socket
from types import FrameType
from typing import Any, Final

import h11
import uvicorn
from starlette.applications import Starlette
from uvicorn.protocols.http.h11_impl import H11Protocol

from refold.guard import HEAD_BYTES_MAX

CONNECTIONS_MAX: Final = 2_000
FILES_BESIDE: Final = 64
"""Files that the process has open beside its connections."""
HEAD_S_MAX: Final = 10.0
"""The head of a request has come whole after so long, or the connection is closed."""
IDLE_S_MAX: Final = 60
"""A connection that is kept alive is closed when nothing was asked for so long."""
DRAIN_S_MAX: Final = 10
"""What runs when the server is told to end has so long to be answered."""
_FULL: Final = b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 2\r\nconnection: close\r\n\r\n"


def connections_for(wanted: int) -> tuple[int, str | None]:
    """How many connections the process may hold of those wanted, and what to say where fewer.

    Each takes a file of the process; its limit is raised as far as the system allows.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = wanted + FILES_BESIDE
    if soft != resource.RLIM_INFINITY and soft < needed:
        raised = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
        if raised > soft:
            resource.setrlimit(resource.RLIMIT_NOFILE, (raised, hard))
            soft = raised
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return wanted, None
    most = max(soft - FILES_BESIDE, 1)
    why = f"this process may open {soft:,} files, so {most:,} connections in place of {wanted:,}"
    return most, f"{why}; raise the limit: `ulimit -n {needed}`, or LimitNOFILE={needed}"


def server(app: Starlette, *, connections_max: int = CONNECTIONS_MAX) -> Server:
    """A server of the application; ``run(sockets=[…])`` serves until it is told to end."""
    config = uvicorn.Config(
        app,
        http=type("Places", (LimitedConnection,), {"connections_max": connections_max}),
        ws="none",
        lifespan="on",
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=IDLE_S_MAX,
        timeout_graceful_shutdown=DRAIN_S_MAX,
        h11_max_incomplete_event_size=HEAD_BYTES_MAX,
    )
    return Server(config)


class Server(uvicorn.Server):
    """Ends without a loss: answers what runs, tells those who follow, and exits with 0 on SIGTERM.

    A second signal ends it at once.
    """

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin to end."""
        if sig != signal.SIGTERM:
            super().handle_exit(sig, frame)
            return
        self.force_exit = self.should_exit
        self.should_exit = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Take nobody in any more, tell the subscribers, and wait for what runs."""
        app: Any = self.config.app
        getattr(app.state, "end", _nobody_follows)()
        await super().shutdown(sockets)


def _nobody_follows() -> None:
    pass


class LimitedConnection(H11Protocol):
    """A connection that has one of so many places, and only so long to say what it wants."""

    connections_max = CONNECTIONS_MAX
    _head: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take a place, or say that there is none."""
        if len(self.connections) >= self.connections_max:
            transport.write(_FULL)
            transport.close()
            return
        super().connection_made(transport)
        self.app_state = {**self.app_state, "connection": self}
        self._wait_for_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Give the place back."""
        self._stop_waiting()
        if self in self.connections:
            super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Read on; from its first byte the head of a request has a limit."""
        if self not in self.connections:
            return
        if self._head is None and self.conn.their_state is h11.IDLE:
            self._wait_for_head()
        super().data_received(data)
        if self.conn.their_state is not h11.IDLE:
            self._stop_waiting()

    def _wait_for_head(self) -> None:
        self._head = self.loop.call_later(HEAD_S_MAX, self.transport.close)

    def _stop_waiting(self) -> None:
        if self._head is not None:
            self._head.cancel()
            self._head = None
