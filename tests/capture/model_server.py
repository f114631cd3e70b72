"""A local server that speaks the protocols of the model APIs, as scripted."""

from __future__ import annotations

import gzip
import json
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

WORDS = ["Hi ", "café ", "… ", "\U0001f600", " done"]


@dataclass
class Reply:
    """One answer: sent in pieces of ``size`` bytes, with a pause before each.

    ``cut`` ends the connection after so many bytes; ``wait_s`` passes before the head.
    """

    body: bytes
    type: str = "application/json"
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    size: int = 19
    cut: int | None = None
    wait_s: float = 0.0
    pause_s: float = 0.0


@dataclass
class Received:
    """One request as it came."""

    path: str
    headers: dict[str, str]
    body: bytes


def zipped(reply: Reply) -> Reply:
    """The same answer, packed."""
    reply.body = gzip.compress(reply.body)
    reply.headers = {**reply.headers, "content-encoding": "gzip"}
    return reply


def chat(text: str = "".join(WORDS), **extra: Any) -> Reply:
    """A chat completion, whole."""
    message = {"role": "assistant", "content": text, **extra}
    body = {
        "id": "c1",
        "object": "chat.completion",
        "created": 1,
        "model": "m-1",
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 7, "completion_tokens": 5, "total_tokens": 12},
    }
    return Reply(json.dumps(body, ensure_ascii=False).encode())


def chat_stream(words: Iterable[str] = WORDS, **options: Any) -> Reply:
    """A chat completion, streamed, with a comment and both line ends."""
    head = {"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": "m-1"}
    deltas: list[dict[str, Any]] = [{"role": "assistant", "content": ""}]
    deltas += [{"content": word} for word in words]
    chunks = [
        {**head, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]}
        for delta in deltas
    ]
    chunks.append({**head, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
    usage = {"prompt_tokens": 7, "completion_tokens": 5, "total_tokens": 12}
    chunks.append({**head, "choices": [], "usage": usage})
    lines = [b"data: " + json.dumps(c, ensure_ascii=False).encode() + b"\r\n\r\n" for c in chunks]
    body = b": keep-alive\n\n" + b"".join(lines) + b"data: [DONE]\n\n"
    return Reply(body, "text/event-stream", **options)


def messages_stream(words: Iterable[str] = WORDS, **options: Any) -> Reply:
    """An Anthropic message, streamed."""
    message: dict[str, Any] = {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "x-1",
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": {"input_tokens": 7, "output_tokens": 1},
    }
    block = {"type": "text", "text": ""}
    events: list[dict[str, Any]] = [{"type": "message_start", "message": message}]
    events += [{"type": "content_block_start", "index": 0, "content_block": block}]
    events += [{"type": "ping"}]
    events += [
        {
            "type": "content_block_delta",
            "index": 0,
            "delta": {"type": "text_delta", "text": word},
        }
        for word in words
    ]
    events += [{"type": "content_block_stop", "index": 0}]
    ended = {"stop_reason": "end_turn", "stop_sequence": None}
    events += [{"type": "message_delta", "delta": ended, "usage": {"output_tokens": 5}}]
    events += [{"type": "message_stop"}]
    body = b"".join(
        b"event: %s\ndata: %s\n\n"
        % (each["type"].encode(), json.dumps(each, ensure_ascii=False).encode())
        for each in events
    )
    return Reply(body, "text/event-stream", **options)


class ModelServer(ThreadingHTTPServer):
    """Answers as its script says, one reply a request, the last for all that follow."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.script: list[Reply] = [chat()]
        self.received: list[Received] = []
        self.sent: list[bytes] = []
        self.pieces = 0
        self.turn = threading.Lock()

    @property
    def url(self) -> str:
        """Where it answers, without a path."""
        return f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that leaves is no news."""


class _Handler(BaseHTTPRequestHandler):
    server: ModelServer
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        """Quiet."""

    def do_GET(self) -> None:
        self._answer(b"")

    def do_POST(self) -> None:
        if self.headers.get("transfer-encoding") == "chunked":
            self._answer(b"".join(self._chunks()))
        else:
            self._answer(self.rfile.read(int(self.headers.get("content-length", 0))))

    def _chunks(self) -> Iterator[bytes]:
        while size := int(self.rfile.readline(), 16):
            yield self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()

    def _answer(self, body: bytes) -> None:
        server = self.server
        with server.turn:
            headers = {name.lower(): value for name, value in self.headers.items()}
            server.received.append(Received(self.path, headers, body))
            script = server.script
            reply = script.pop(0) if len(script) > 1 else script[0]
            server.sent.append(reply.body)
        time.sleep(reply.wait_s)
        self.send_response(reply.status)
        for name, value in {"content-type": reply.type, **reply.headers}.items():
            self.send_header(name, value)
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        for at in range(0, len(reply.body[: reply.cut]), reply.size):
            piece = reply.body[: reply.cut][at : at + reply.size]
            time.sleep(reply.pause_s)
            self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
            self.wfile.flush()
            server.pieces += 1
        if reply.cut is None:
            self.wfile.write(b"0\r\n\r\n")
        self.close_connection = reply.cut is not None


@contextmanager
def serving() -> Iterator[ModelServer]:
    """A server for a block."""
    server = ModelServer()
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
