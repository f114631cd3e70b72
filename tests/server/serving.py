"""A store served by the real server on a free port, and what reads its answers."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx2

import refold
from refold.cli.listening import listening
from refold.server import app
from refold.server.running import CONNECTIONS_MAX, server

LIMIT_S = 60


@contextmanager
def served(
    store: refold.Store, *, connections_max: int = CONNECTIONS_MAX, **how: Any
) -> Iterator[httpx2.Client]:
    """A client of a store that is served until the block ends."""
    at = listening("127.0.0.1", 0)
    running = server(app(store, **how), connections_max=connections_max)
    thread = threading.Thread(target=running.run, kwargs={"sockets": [at]})
    thread.start()
    until = time.monotonic() + LIMIT_S
    while not running.started and time.monotonic() < until:
        time.sleep(0.01)
    try:
        base = f"http://127.0.0.1:{at.getsockname()[1]}"
        with httpx2.Client(base_url=base, timeout=LIMIT_S) as client:
            yield client
    finally:
        running.should_exit = True
        thread.join(LIMIT_S)
        at.close()


def connected(client: httpx2.Client) -> socket.socket:
    """A connection of one's own to the server of a client."""
    made = socket.create_connection(("127.0.0.1", client.base_url.port or 0), timeout=LIMIT_S)
    made.settimeout(LIMIT_S)
    return made


class Told(dict[str, Any]):
    """A server-sent event: ``id``, ``event``, and ``data`` as JSON, those that it has."""


def told(lines: Iterator[str]) -> Iterator[Told]:
    """The server-sent events of the lines of an answer, those that only say how far it is too."""
    fields: dict[str, Any] = {}
    for line in lines:
        if line:
            name, _, value = line.partition(": ")
            fields[name] = f"{fields[name]}\n{value}" if name in fields else value
            continue
        if "data" in fields:
            fields["data"] = json.loads(fields["data"])
        yield Told(fields)
        fields = {}


@contextmanager
def following(client: httpx2.Client, path: str = "/v1/subscribe", **how: Any) -> Iterator[Any]:
    """What a subscriber is told; of what has data only."""
    with client.stream("GET", path, **how) as answer:
        assert answer.status_code == 200, answer.read()
        yield (one for one in told(answer.iter_lines()) if "data" in one)


def append(client: httpx2.Client, stream: str, *data: Any, **how: Any) -> httpx2.Response:
    """An append of events of one type."""
    events = [{"type": "note.taken", "data": one} for one in data]
    return client.post(f"/v1/streams/{stream}/events", json={"events": events, **how})
