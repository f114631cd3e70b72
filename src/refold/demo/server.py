"""The demo agent behind ``POST /v1/chat/completions`` on this machine.

The same request and answer format as an OpenAI-compatible endpoint
(https://platform.openai.com/docs/api-reference/chat), so that the demo's recordings and replays
go the way those of a real model go. Only 127.0.0.1 is served.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Mapping
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Final, Self

from refold.demo.agent import MODEL, Reply, answer

REQUEST_BYTES_MAX: Final = 4_000_000
IDLE_S: Final = 30
CHARS_A_TOKEN: Final = 4
"""About what a tokeniser would make of it; the demo has none."""
PRICE_IN: Final = Decimal("0.15")
PRICE_OUT: Final = Decimal("0.60")
"""Made-up dollars for a million tokens, so that there is a cost to compare."""
FINGERPRINT: Final = "rule-based-stand-in-not-a-model"
_COMPLETIONS: Final = "/v1/chat/completions"


class DemoServer:
    """Serves the demo agent while its ``with`` block runs; ``base_url`` ends in ``/v1``.

    ``requests`` counts the chat requests that were answered.
    """

    def __init__(self) -> None:
        self._http = _Http(("127.0.0.1", 0), _Handler)
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.05,), daemon=True)
        self.base_url = f"http://127.0.0.1:{self._http.server_port}/v1"

    @property
    def requests(self) -> int:
        """How many chat requests were answered so far."""
        return self._http.answered

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()


def completion(request: Mapping[str, Any]) -> dict[str, Any]:
    """The whole answer to a chat request, the same for the same request."""
    asked = json.dumps(request, sort_keys=True, ensure_ascii=False)
    reply = answer(request, asked)
    identity = hashlib.sha256(asked.encode()).hexdigest()[:24]
    message = _message(reply, identity)
    prompt_tokens = len(asked) // CHARS_A_TOKEN
    completion_tokens = len(json.dumps(message, ensure_ascii=False)) // CHARS_A_TOKEN
    cost = (prompt_tokens * PRICE_IN + completion_tokens * PRICE_OUT) / 1_000_000
    return {
        "id": f"chatcmpl-{identity}",
        "object": "chat.completion",
        "created": 0,
        "model": MODEL,
        "system_fingerprint": FINGERPRINT,
        "choices": [
            {
                "index": 0,
                "message": message,
                "finish_reason": "tool_calls" if reply.calls else "stop",
            }
        ],
        "usage": {
            "prompt_tokens": prompt_tokens,
            "completion_tokens": completion_tokens,
            "total_tokens": prompt_tokens + completion_tokens,
            "cost": str(cost),
        },
    }


def _message(reply: Reply, identity: str) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": reply.text or None}
    if reply.calls:
        message["tool_calls"] = [
            {
                "id": f"call_{identity[:10]}{place}",
                "type": "function",
                "function": {"name": name, "arguments": json.dumps(arguments)},
            }
            for place, (name, arguments) in enumerate(reply.calls)
        ]
    return message


class _Http(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.answered = 0
        self.lock = threading.Lock()

    def count(self) -> None:
        with self.lock:
            self.answered += 1


class _Refused(Exception):
    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status, self.code, self.message = status, code, message

    def body(self, kind: str) -> dict[str, Any]:
        """The answer that says so, in the provider's shape."""
        return {"error": {"message": self.message, "type": kind, "code": self.code}}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # One write an answer and no waiting for more: a reply takes a millisecond, not forty.
    wbufsize = -1
    disable_nagle_algorithm = True
    timeout = IDLE_S
    server: _Http

    def do_POST(self) -> None:
        try:
            answered = completion(self._request())
        except _Refused as refused:
            self._send(refused.status, refused.body("invalid_request_error"))
        except Exception as error:
            # Messages of a shape nobody foresaw; the line must not go dead over them.
            unforeseen = _Refused(500, "unforeseen", f"{type(error).__name__}: {error}")
            self._send(500, unforeseen.body("server_error"))
        else:
            self.server.count()
            self._send(200, answered)

    def do_GET(self) -> None:
        if self.path.rstrip("/") == "/v1/models":
            self._send(200, {"object": "list", "data": [{"id": MODEL, "object": "model"}]})
        else:
            self._send(404, {"error": {"message": f"nothing at {self.path}", "code": "not_found"}})

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing: the demo's own output is what counts."""

    def _request(self) -> dict[str, Any]:
        body = self._body()
        if self.path != _COMPLETIONS:
            raise _Refused(404, "not_found", f"nothing at {self.path}: POST {_COMPLETIONS}")
        try:
            request = json.loads(body)
        except ValueError as error:
            raise _Refused(400, "bad_json", f"the body is not JSON: {error}") from None
        return _checked(request)

    def _body(self) -> bytes:
        length = self.headers.get("Content-Length", "")
        if not length.isdigit() or int(length) > REQUEST_BYTES_MAX:
            self.close_connection = True
            raise _Refused(413, "too_large", f"send Content-Length of at most {REQUEST_BYTES_MAX}")
        return self.rfile.read(int(length))

    def _send(self, status: int, value: object) -> None:
        body = json.dumps(value, ensure_ascii=False).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def _checked(request: Any) -> dict[str, Any]:
    """A chat request whose shape the agent can rely on."""
    if not isinstance(request, dict) or not isinstance(request.get("messages"), list):
        raise _Refused(400, "bad_request", "messages must be a list")
    if not request["messages"] or not all(isinstance(m, dict) for m in request["messages"]):
        raise _Refused(400, "bad_request", "messages must hold at least one object")
    if request.get("model") != MODEL:
        raise _Refused(404, "model_not_found", f"the demo serves the model {MODEL} alone")
    if request.get("stream"):
        raise _Refused(400, "bad_request", "the demo does not stream")
    tools = request.get("tools") or []
    if not all(isinstance(t, dict) and isinstance(t.get("function"), dict) for t in tools):
        raise _Refused(400, "bad_request", "tools must be functions")
    return request
