"""A model's endpoint on 127.0.0.1 that answers, or fails to in a way of your choice."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Answer = Callable[[dict[str, Any]], tuple[int, bytes]]


def says(text: str) -> Answer:
    """An endpoint that always answers with these words."""

    def answer(request: dict[str, Any]) -> tuple[int, bytes]:
        message = {"role": "assistant", "content": text}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        usage = {"prompt_tokens": 10, "completion_tokens": 2, "total_tokens": 12}
        told = {"id": "x", "model": request["model"], "choices": [choice], "usage": usage}
        return 200, json.dumps(told).encode()

    return answer


def status(code: int) -> Answer:
    """An endpoint that refuses with this status."""
    return lambda _request: (code, b'{"error": {"message": "not today"}}')


def garbage(_request: dict[str, Any]) -> tuple[int, bytes]:
    """An endpoint whose answer is no answer."""
    return 200, b"<html>hello</html>"


class Endpoint:
    """Where it is, and what it was asked."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.requests: list[dict[str, Any]] = []
        self.keys: list[str | None] = []
        self.closing = threading.Event()


@contextmanager
def serving(answer: Answer | None) -> Iterator[Endpoint]:
    """Serve until the block ends; without an answer, requests hang until then."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            length = int(self.headers["content-length"])
            request = json.loads(self.rfile.read(length))
            endpoint.requests.append(request)
            endpoint.keys.append(self.headers["authorization"])
            if answer is None:
                endpoint.closing.wait()
                return
            code, body = answer(request)
            self.send_response(code)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    endpoint = Endpoint(f"http://127.0.0.1:{server.server_port}/v1")
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield endpoint
    finally:
        endpoint.closing.set()
        server.shutdown()
        thread.join()
        server.server_close()
