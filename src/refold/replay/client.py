"""An OpenAI-compatible endpoint as a candidate."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping
from datetime import UTC, datetime
from time import monotonic
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import SplitResult, urlsplit, urlunsplit

import msgspec

from refold.core.pacing import retry_after_s
from refold.errors import UsageError
from refold.replay.candidate import FailureKind, ModelFailure
from refold.replay.completion import parse_completion, snippet
from refold.replay.decision import Action
from refold.replay.request import ChatRequest

if TYPE_CHECKING:
    import httpx

RESPONSE_BYTES_MAX: Final = 16 * 1024 * 1024
KEY_VARIABLES: Final = ("REFOLD_API_KEY", "OPENAI_API_KEY")
CONNECT_TIMEOUT_S: Final = 10.0
_PATH: Final = "/chat/completions"
_HERE: Final = ("all://127.0.0.1", "all://localhost", "all://[::1]")
_COME_BACK: Final = frozenset({408, 409, 425, 429})


class ChatEndpoint:
    """A service that speaks ``POST <base_url>/chat/completions``, as OpenAI's and many others do.

    ``base_url`` ends as the provider gives it, mostly in ``/v1``. ``model`` is asked for where the
    variant names none; put it into the variant where it is what you compare. ``api_key`` is by
    default that of the environment: ``REFOLD_API_KEY``, else ``OPENAI_API_KEY``. ``timeout_s``
    bounds a whole answer. ``headers`` are sent along. Safe between threads; connections are made
    when first needed and let go by :meth:`close`, after which it can be used again.
    """

    def __init__(
        self,
        base_url: str,
        *,
        model: str | None = None,
        api_key: str | None = None,
        timeout_s: float = 120.0,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        if not timeout_s > 0:
            raise UsageError(f"timeout_s={timeout_s!r} must be over 0", argument="timeout_s")
        parts = _checked_url(base_url)
        self._target = urlunsplit(parts._replace(path=f"{parts.path.rstrip('/')}{_PATH}"))
        # A query may hold a key, and this is what errors name.
        self.url = self._target.partition("?")[0]
        self.model = model
        self.timeout_s = timeout_s
        self._headers = {"content-type": "application/json", **(headers or {})}
        if key := (_key_of_environment() if api_key is None else api_key).strip():
            self._headers["authorization"] = f"Bearer {_checked_key(key)}"
        self._lock = threading.Lock()
        self._client: httpx.Client | None = None

    def __call__(self, request: ChatRequest) -> Action:
        """Ask once; raises :class:`~refold.replay.ModelFailure` when there is no answer."""
        if request.model is None:
            raise UsageError(
                f"no model to ask {self.url} for: the record of {request.at} names none, so give "
                "Variant(model=…) or ChatEndpoint(model=…)",
                at=request.at,
            )
        status, headers, content = self._post(msgspec.json.encode(request.body()))
        if not 200 <= status < 300:
            raise self._refusal(status, headers, content)
        try:
            completion = msgspec.json.decode(content)
        except (msgspec.DecodeError, RecursionError) as error:
            raise self._failure(
                f"the answer is not JSON: {snippet(_text(content))}", "garbage"
            ) from error
        return parse_completion(completion)

    def close(self) -> None:
        """Let go of connections; what is under way on them fails."""
        with self._lock:
            client, self._client = self._client, None
        if client is not None:
            client.close()

    def __repr__(self) -> str:
        return f"ChatEndpoint({self.url!r}, model={self.model!r})"

    def _post(self, body: bytes) -> tuple[int, Mapping[str, str], bytes]:
        import httpx

        until_s = monotonic() + self.timeout_s
        try:
            with self._connected().stream("POST", self._target, content=body) as response:
                content = bytearray()
                for chunk in response.iter_bytes():
                    content += chunk
                    self._check_answer(len(content), until_s)
                return response.status_code, response.headers, bytes(content)
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            raise self._failure(f"no connection: {error}", "unreachable") from error
        except httpx.TimeoutException as error:
            raise self._late() from error
        except httpx.DecodingError as error:
            raise self._failure(f"the answer cannot be unpacked: {error}", "garbage") from error
        except httpx.TransportError as error:
            raise self._failure(f"the connection broke: {error}", "busy") from error

    def _connected(self) -> httpx.Client:
        import httpx

        with self._lock:
            if self._client is None:
                connect_s = min(self.timeout_s, CONNECT_TIMEOUT_S)
                self._client = httpx.Client(
                    headers=self._headers,
                    timeout=httpx.Timeout(self.timeout_s, connect=connect_s),
                    # The pool of workers bounds the connections.
                    limits=httpx.Limits(max_connections=None),
                    # No proxy of the environment's leads to this machine.
                    mounts=dict.fromkeys(_HERE),
                )
            return self._client

    def _check_answer(self, size_bytes: int, until_s: float) -> None:
        """Bound an answer that keeps coming, byte by byte or without end."""
        if size_bytes > RESPONSE_BYTES_MAX:
            raise self._failure(f"the answer is over {RESPONSE_BYTES_MAX} bytes", "garbage")
        if monotonic() > until_s:
            raise self._late()

    def _refusal(self, status: int, headers: Mapping[str, str], content: bytes) -> ModelFailure:
        kind: FailureKind = "busy" if status in _COME_BACK or status >= 500 else "refused"
        asked = retry_after_s(headers.get("retry-after"), now=datetime.now(UTC))
        why = f"status {status}: {snippet(_said(content))}"
        return ModelFailure(f"{self.url}: {why}", kind=kind, status=status, retry_after_s=asked)

    def _late(self) -> ModelFailure:
        return self._failure(f"no whole answer in {self.timeout_s:g} s", "timeout")

    def _failure(self, message: str, kind: FailureKind) -> ModelFailure:
        return ModelFailure(f"{self.url}: {message}", kind=kind)


def _checked_url(base_url: str) -> SplitResult:
    refusal = UsageError(
        f"{base_url!r} is not the URL of a service: give one such as https://api.openai.com/v1",
        url=base_url,
    )
    try:
        parts = urlsplit(base_url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.port == 0:
            raise refusal
    except ValueError:
        raise refusal from None
    if "@" in parts.netloc:
        raise UsageError("the URL holds a user or password: give api_key= or headers= instead")
    return parts


def _checked_key(key: str) -> str:
    # Not named in the message, and not left to the HTTP library, whose message would name it.
    if not (key.isascii() and key.isprintable()):
        raise UsageError("the API key holds characters that no header can carry")
    return key


def _key_of_environment() -> str:
    return next((key for name in KEY_VARIABLES if (key := os.environ.get(name))), "")


def _text(content: bytes) -> str:
    return content.decode(errors="replace").strip()


def _said(content: bytes) -> str:
    """The message of an error answer, else its beginning."""
    try:
        answer: Any = msgspec.json.decode(content)
        return str(answer["error"]["message"])
    except (msgspec.DecodeError, RecursionError, KeyError, TypeError):
        return _text(content)
