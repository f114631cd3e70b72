"""A local server of the chat completions API that answers with a function, or badly on purpose."""

from __future__ import annotations

import json
import threading
from collections import deque
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, NamedTuple, Self

Body = dict[str, Any]


class Fault(NamedTuple):
    """An answer that is none: a status with a body, or no answer for as long as the server runs."""

    status: int = 500
    body: bytes = b'{"error": {"message": "out of order"}}'
    headers: dict[str, str] = {}
    hangs: bool = False


def busy(retry_after_s: str = "0") -> Fault:
    """Too many requests; come back in so many seconds."""
    return Fault(429, b'{"error": {"message": "slow down"}}', {"Retry-After": retry_after_s})


BROKEN = Fault()
GARBAGE = Fault(200, b"<html>not JSON</html>")
OTHER_JSON = Fault(200, b'{"answer": 42}')
HANG = Fault(hangs=True)


class ChatServer:
    """Serves ``POST /v1/chat/completions`` on a free port of 127.0.0.1; use it in a ``with``.

    ``answer`` gets the request and returns the assistant message. ``faults`` are answered first,
    one each, then ``always`` if it is set. ``requests`` holds the bodies that came, ``headers``
    theirs.
    """

    def __init__(self, answer: Callable[[Body], Body]) -> None:
        self.requests: list[Body] = []
        self.headers: list[dict[str, str]] = []
        self.faults: deque[Fault] = deque()
        self.always: Fault | None = None
        self._answer = answer
        self._lock = threading.Lock()
        self._released = threading.Event()
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.chat = self
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))

    @property
    def base_url(self) -> str:
        """What a client is given."""
        return f"http://127.0.0.1:{self._server.server_address[1]}/v1"

    def respond(self, body: Body, headers: dict[str, str]) -> tuple[int, bytes, dict[str, str]]:
        """Status, bytes and headers of the answer to a request."""
        with self._lock:
            self.requests.append(body)
            self.headers.append(headers)
            fault = self.faults.popleft() if self.faults else self.always
        if fault is not None:
            if fault.hangs:
                self._released.wait()
            return fault.status, fault.body, fault.headers
        completion = completion_of(body, self._answer(body))
        return 200, json.dumps(completion).encode(), {}

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._released.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def completion_of(body: Body, message: Body) -> Body:
    """A chat completion; tokens are a quarter of the characters, which is near enough."""
    asked, answered = len(json.dumps(body["messages"])), len(json.dumps(message))
    return {
        "id": "chatcmpl-local",
        "object": "chat.completion",
        "model": body.get("model"),
        "choices": [
            {
                "index": 0,
                "message": message,
                "finish_reason": "tool_calls" if message.get("tool_calls") else "stop",
            }
        ],
        "usage": {
            "prompt_tokens": asked // 4,
            "completion_tokens": answered // 4,
            "total_tokens": asked // 4 + answered // 4,
        },
    }


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128
    chat: ChatServer


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    # One packet an answer: headers and body apart wait for the client's delayed acknowledgement.
    wbufsize = -1
    server: _Server

    def do_POST(self) -> None:
        length = int(self.headers["Content-Length"])
        body = json.loads(self.rfile.read(length))
        if self.path != "/v1/chat/completions":
            self._send(404, b'{"error": {"message": "no such path"}}', {})
            return
        sent = {name.lower(): value for name, value in self.headers.items()}
        status, content, headers = self.server.chat.respond(body, sent)
        self._send(status, content, headers)

    def _send(self, status: int, content: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)
        self.wfile.flush()

    def handle(self) -> None:
        # A client that gave up waiting has closed the connection.
        try:
            super().handle()
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    def finish(self) -> None:
        try:
            super().finish()
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    def log_message(self, format: str, *args: Any) -> None:
        """Keep the output of the tests clean."""
