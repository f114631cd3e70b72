"""Model calls against a server on this machine: what they cost the thread that makes them."""

from __future__ import annotations

import json
import multiprocessing
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from multiprocessing.connection import Connection
from statistics import median
from time import thread_time
from typing import Any, Final

CHUNKS: Final = 400
REQUEST: Final = {
    "model": "m",
    "messages": [{"role": "user", "content": f"{n} " + "y" * 300} for n in range(45)],
}
"""About 15 KB."""
_HEAD: Final = {"id": "c", "created": 1, "model": "m"}
_WHOLE: Final = json.dumps(
    {
        **_HEAD,
        "object": "chat.completion",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "x" * 500},
                "finish_reason": "stop",
            }
        ],
        "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
    }
).encode()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        """Quiet."""

    def do_POST(self) -> None:
        """An answer, streamed where that is asked for."""
        body = self.rfile.read(int(self.headers["content-length"]))
        streamed = b'"stream":true' in body
        self.send_response(200)
        if not streamed:
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(_WHOLE)))
            self.end_headers()
            self.wfile.write(_WHOLE)
            return
        self.send_header("content-type", "text/event-stream")
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        for number in range(CHUNKS):
            choice = {"index": 0, "delta": {"content": f"w{number} "}, "finish_reason": None}
            chunk = {**_HEAD, "object": "chat.completion.chunk", "choices": [choice]}
            self._piece(b"data: " + json.dumps(chunk).encode() + b"\n\n")
        self._piece(b"data: [DONE]\n\n")
        self.wfile.write(b"0\r\n\r\n")

    def _piece(self, data: bytes) -> None:
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
        self.wfile.flush()


def _serve(told: Connection) -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Handler) as server:
        told.send(server.server_port)
        server.serve_forever()


@contextmanager
def serving() -> Iterator[str]:
    """The URL of a server in a process of its own."""
    mine, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(
        target=_serve, args=(theirs,), daemon=True
    )
    process.start()
    try:
        yield f"http://127.0.0.1:{mine.recv()}/v1/chat/completions"
    finally:
        process.kill()
        process.join()


def caller_s(client: Any, url: str, *, streamed: bool, calls: int) -> float:
    """Processor seconds of this thread a call, or a chunk of a streamed one: the median."""
    request = {**REQUEST, "stream": True} if streamed else REQUEST
    body = json.dumps(request, separators=(",", ":")).encode()
    headers, took_s = {"content-type": "application/json"}, []
    for _ in range(calls):
        started = thread_time()
        with client.stream("POST", url, content=body, headers=headers) as answer:
            for _ in answer.iter_raw():
                pass
        took_s.append(thread_time() - started)
    return median(took_s) / (CHUNKS if streamed else 1)
