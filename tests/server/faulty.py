"""A proxy before a served store that does to each request what a script says."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar

import httpx2

BUSY, GATEWAY, UNHEARD, UNANSWERED, SILENT, PASS = (
    "busy", "gateway", "unheard", "unanswered", "silent", "pass",
)  # fmt: skip
"""429; 502 with a page; cut before it is passed on; cut after; taken and nothing said; passed."""


class _Proxy(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    base: ClassVar[str]
    faults: ClassVar[list[Any]]
    asked: ClassVar[list[tuple[str, Any]]]
    over: ClassVar[threading.Event]
    lock: ClassVar[threading.Lock]

    def do_GET(self) -> None:
        self._pass_on()

    def do_POST(self) -> None:
        self._pass_on()

    def _pass_on(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        with self.lock:
            fault = self.faults.pop(0) if self.faults else PASS
            self.asked.append((f"{self.command} {self.path}", fault))
        self.close_connection = True
        match fault:
            case "busy":
                self._say(429, b"later", {"retry-after": "0.05"})
            case "gateway":
                self._say(502, b"<h1>Bad gateway</h1>", {"content-type": "text/html"})
            case "unheard":
                pass
            case "silent":
                self.over.wait()
            case "unanswered":
                self._forward(body, bytes_max=0)
            case int(bytes_max):
                self._forward(body, bytes_max=bytes_max)
            case _:
                self._forward(body, bytes_max=None)

    def _say(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {**headers, "content-length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def _forward(self, body: bytes, *, bytes_max: int | None) -> None:
        """Pass a request on; of the answer's body so many bytes, None: all."""
        sent = {key: self.headers[key] for key in self.headers if key.lower() != "host"}
        with (
            httpx2.Client(base_url=self.base, timeout=60) as client,
            client.stream(self.command, self.path, content=body, headers=sent) as answer,
            suppress(OSError),
        ):
            if bytes_max == 0:
                answer.read()
                return
            self.send_response(answer.status_code)
            for name, value in answer.headers.items():
                if name.lower() not in ("transfer-encoding", "connection", "content-encoding"):
                    self.send_header(name, value)
            self.send_header("connection", "close")
            self.end_headers()
            for chunk in answer.iter_bytes():
                self.wfile.write(chunk[:bytes_max])
                self.wfile.flush()
                if bytes_max is not None and (bytes_max := bytes_max - len(chunk)) <= 0:
                    return

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def faulty(base: str, faults: list[Any]) -> Iterator[tuple[str, list[tuple[str, Any]]]]:
    """The address of the proxy, and what was asked of it and done so far.

    A whole number among ``faults`` cuts the answer after so many bytes; behind the last all pass.
    """
    over, asked = threading.Event(), list[tuple[str, Any]]()
    given = {"base": base, "faults": faults, "asked": asked, "over": over, "lock": threading.Lock()}
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Proxy", (_Proxy,), given))
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", asked
    finally:
        over.set()
        server.shutdown()
        thread.join()
        server.server_close()
