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
from typing import Annotated, Any, Final, Self

import msgspec

from refold.demo.agent import MODEL, answer
from refold.demo.ways import WAYS
from refold.errors import Unavailable

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
    """Serves the demo agent while its ``with`` block runs; ``base_url`` ends in ``/v1``."""

    model: Final = MODEL

    def __init__(self) -> None:
        try:
            self._http = _Http(("127.0.0.1", 0), _Handler)
        except OSError as error:
            raise Unavailable(f"the demo cannot listen on 127.0.0.1: {error.strerror}") from error
        self._http.answered = []
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.05,), daemon=True)
        self.base_url = f"http://127.0.0.1:{self._http.server_port}/v1"

    @property
    def requests(self) -> int:
        """How many chat requests were answered so far."""
        return len(self._http.answered)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()


def completion(request: Mapping[str, Any]) -> dict[str, Any]:
    """The whole answer to a chat request, the same for the same request."""
    asked = json.dumps(request, sort_keys=True, ensure_ascii=False)
    identity = hashlib.sha256(asked.encode()).hexdigest()[:24]
    way = WAYS.get(request["model"])
    reply = answer(request, chance=int(identity[:12], 16)) if way is None else way(request)
    calls = [
        {
            "id": f"call_{identity[:10]}{place}",
            "type": "function",
            "function": {"name": name, "arguments": json.dumps(arguments)},
        }
        for place, (name, arguments) in enumerate(reply.calls)
    ]
    message: dict[str, Any] = {"role": "assistant", "content": reply.text or None}
    if calls:
        message["tool_calls"] = calls
    prompt_tokens = len(asked) // CHARS_A_TOKEN
    completion_tokens = len(json.dumps(message, ensure_ascii=False)) // CHARS_A_TOKEN
    finish_reason = "tool_calls" if calls else "stop"
    cost = (prompt_tokens * PRICE_IN + completion_tokens * PRICE_OUT) / 1_000_000
    return {
        "id": f"chatcmpl-{identity}",
        "object": "chat.completion",
        "created": 0,
        "model": request["model"],
        "system_fingerprint": FINGERPRINT,
        "choices": [{"index": 0, "message": message, "finish_reason": finish_reason}],
        "usage": {
            "prompt_tokens": prompt_tokens,
            "completion_tokens": completion_tokens,
            "total_tokens": prompt_tokens + completion_tokens,
            "cost": str(cost),
        },
    }


class _Http(ThreadingHTTPServer):
    answered: list[str]
    """The id of each answer: lists are appended to by many threads at once."""


class _Tool(msgspec.Struct):
    function: dict[str, Any]


class _Asked(msgspec.Struct):
    """What the agent relies on in a request; the rest of it is as it was sent."""

    messages: Annotated[list[dict[str, Any]], msgspec.Meta(min_length=1)]
    model: str
    tools: list[_Tool] | None = None
    stream: bool | None = None


class _Refused(Exception):
    """Status, code and message of an answer that is an error."""


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
            self._refuse(*refused.args)
        except Exception as error:
            # Messages of a shape nobody foresaw; the line must not go dead over them.
            self._refuse(500, "unforeseen", f"{type(error).__name__}: {error}")
        else:
            self.server.answered.append(answered["id"])
            self._send(200, answered)

    def do_GET(self) -> None:
        if self.path.rstrip("/") == "/v1/models":
            self._send(200, {"object": "list", "data": [{"id": MODEL, "object": "model"}]})
        else:
            self._refuse(404, "not_found", f"nothing at {self.path}")

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing: the demo's own output is what counts."""

    def _request(self) -> dict[str, Any]:
        """The chat request, of a shape that the agent can rely on."""
        length = self.headers.get("Content-Length", "")
        if not length.isdigit() or int(length) > REQUEST_BYTES_MAX:
            self.close_connection = True
            raise _Refused(413, "too_large", f"send Content-Length of at most {REQUEST_BYTES_MAX}")
        body = self.rfile.read(int(length))
        if self.path != _COMPLETIONS:
            raise _Refused(404, "not_found", f"nothing at {self.path}: POST {_COMPLETIONS}")
        try:
            request: dict[str, Any] = msgspec.json.decode(body)
            asked = msgspec.convert(request, _Asked)
        except ValueError as error:
            raise _Refused(400, "bad_request", f"no chat request: {error}") from None
        if asked.model != MODEL and asked.model not in WAYS:
            raise _Refused(404, "model_not_found", f"the demo serves the model {MODEL} alone")
        if asked.stream:
            raise _Refused(400, "bad_request", "the demo does not stream")
        return request

    def _refuse(self, status: int, code: str, message: str) -> None:
        kind = "server_error" if status >= 500 else "invalid_request_error"
        self._send(status, {"error": {"message": message, "type": kind, "code": code}})

    def _send(self, status: int, value: object) -> None:
        body = msgspec.json.encode(value)
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
