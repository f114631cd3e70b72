"""A real HTTP service on 127.0.0.1 that performs an effect once an idempotency key."""

from __future__ import annotations

import json
import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Self

WAIT_S = 60


class EffectServer:
    """Serves ``POST /effects`` with an ``Idempotency-Key``; use it in a ``with``.

    ``performed`` counts the effects of each key, ``asked`` the requests. :meth:`hold` keeps the
    answers back after the effects were performed; ``held`` is released once for each.
    """

    def __init__(self) -> None:
        self.performed = Counter[str]()
        self.asked = Counter[str]()
        self.held = threading.Semaphore(0)
        self._lock = threading.Lock()
        self._answering = threading.Event()
        self._answering.set()
        self._arrived = threading.Condition(self._lock)
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.service = self
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self._server.server_address[1])

    def perform(self, key: str) -> str:
        """Perform an effect, unless it was; the same answer for the same key."""
        with self._arrived:
            self.asked[key] += 1
            if key not in self.performed:
                self.performed[key] += 1
            self._arrived.notify_all()
        if not self._answering.is_set():
            self.held.release()
            assert self._answering.wait(WAIT_S)
        return f"done-{key}"

    def await_asked(self, at_least: int) -> None:
        """Return when so many requests have come in all."""
        with self._arrived:
            assert self._arrived.wait_for(lambda: self.asked.total() >= at_least, WAIT_S)

    def hold(self) -> None:
        """From now on perform, and do not answer."""
        self._answering.clear()

    def release(self) -> None:
        """Answer again, those who wait too."""
        self._answering.set()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.release()
        self._server.shutdown()
        self._thread.join(WAIT_S)
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    service: EffectServer

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that was killed is no news."""


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def do_POST(self) -> None:
        """Perform, then answer."""
        self.rfile.read(int(self.headers["Content-Length"]))
        answer = self.server.service.perform(self.headers["Idempotency-Key"])
        body = json.dumps({"reference": answer}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Silent."""
