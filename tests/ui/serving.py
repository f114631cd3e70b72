"""The pages of a store, served by a real server, and a reader of them."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import httpx2
import uvicorn
from starlette.types import ASGIApp

import refold
from refold.ui import app
from refold.ui.writing import Writing

LIMIT_S = 30


@contextmanager
def served(
    store: refold.Store, *, writing: Writing | None = None, patience_s: float = LIMIT_S
) -> Iterator[httpx2.Client]:
    """A client of the pages of a store, which are whole, unless they are not to wait for that."""
    application = app(store, writing=writing)
    application.state.patience_s = patience_s
    with serving(application) as client:
        yield client


@contextmanager
def serving(application: ASGIApp) -> Iterator[httpx2.Client]:
    """A client of an application, which is served on a free port until the block ends."""
    at = socket.socket()
    at.bind(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(application, log_level="warning", ws="none"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [at]})
    thread.start()
    until = time.monotonic() + LIMIT_S
    while not server.started and time.monotonic() < until:
        time.sleep(0.01)
    try:
        base = f"http://127.0.0.1:{at.getsockname()[1]}"
        with httpx2.Client(base_url=base, timeout=2 * LIMIT_S) as client:
            yield client
    finally:
        server.should_exit = True
        thread.join(LIMIT_S)
        at.close()
