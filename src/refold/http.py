"""One HTTP client: a request sent once, within bounds, and what follows from the answer.

When it is sent again: :mod:`refold.pacing`.
"""

from __future__ import annotations

import asyncio
import re
import threading
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar
from urllib.parse import SplitResult, parse_qsl, urlsplit

import msgspec

from refold import secrecy
from refold.errors import RefoldError, Rejected, Unavailable, UsageError
from refold.event_loop import LoopThread

if TYPE_CHECKING:
    import ssl

    import httpx2

T = TypeVar("T")

ANSWER_BYTES_MAX: Final = 16 * 1024 * 1024
CONNECT_MAX_S: Final = 10.0
CONNECT_SHARE: Final = 0.9
"""So much of the whole time may go into connecting: what fails then was surely not carried out."""
SAID_CHARS_MAX: Final = 300
_COME_BACK: Final = frozenset({408, 425, 429})
_HERE: Final = ("all://127.0.0.1", "all://localhost", "all://[::1]")
_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_NOT_JSON: Final = (msgspec.DecodeError, ValueError, RecursionError, ArithmeticError)
decode_exactly: Final = msgspec.json.Decoder(float_hook=Decimal).decode
"""JSON with its numbers digit for digit: those with a point are Decimal."""


def retry_after_s(headers: Mapping[str, str], *, now: datetime) -> float | None:
    """Seconds for which a service asks to be left alone; None where it says nothing of use.

    ``retry-after-ms``, which OpenAI and Azure send, else ``retry-after``: a number of seconds or a
    date (RFC 9110, section 10.2.3).
    """
    for name, a_second in (("retry-after-ms", 1_000), ("retry-after", 1)):
        text = headers.get(name, "").strip()
        if text.isascii() and text.replace(".", "", 1).isdigit():
            return float(text) / a_second
    moment = http_date(headers.get("retry-after", ""))
    return None if moment is None else max(0.0, (moment - now).total_seconds())


def http_date(text: str) -> datetime | None:
    """The moment that a header names, in UTC; None where it names none."""
    # Some 10 ms, which a start without network need not spend.
    from email.utils import parsedate_to_datetime

    try:
        moment = parsedate_to_datetime(text)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        return None


# -- what is sent, and what comes back ------------------------------------------------------------


class Reply(NamedTuple):
    """An answer of status 2xx; ``url`` is what it came from, without what may be secret.

    ``took_s`` is the time on the wire: from when a connection took the content of the request (from
    when it was sent, where it has none) to the last byte of the answer; ``first_s`` that to the
    piece of its body with which it ``begins``, 0 where none came.
    """

    url: str
    headers: Mapping[str, str]
    content: bytes
    took_s: float = 0.0
    first_s: float = 0.0


class _Content:
    """The content of a request; ``taken_s`` is when a connection took it, or when it was given."""

    def __init__(self, content: bytes | None) -> None:
        self._content = content
        self.taken_s = time.monotonic()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        self.taken_s = time.monotonic()
        yield self._content or b""


class HttpClient:
    """Sends requests with JSON, each once. Safe between threads and event loops.

    ``timeout_s`` bounds a whole answer, and 16 MiB; redirects are not followed, and no proxy of
    the environment's leads to this machine. Errors name neither headers nor parameters, nor what a
    service repeats of the headers; values of headers and parameters that are secrets by their names
    are taken out of whatever it answers. Nothing of a request is logged, and no error of a library
    hangs on one of ours. Connections are made when first needed and let go by ``close`` and
    ``aclose``, after which the client can be used again.
    """

    def __init__(
        self,
        *,
        headers: Mapping[str, str] | None = None,
        timeout_s: float,
        come_back: frozenset[int] = frozenset(),
    ) -> None:
        if not timeout_s > 0:
            raise UsageError(f"timeout_s={timeout_s!r} must be over 0", argument="timeout_s")
        self.timeout_s = timeout_s
        self._headers = checked_headers(headers)
        self._come_back = _COME_BACK | come_back
        self._clients: dict[asyncio.AbstractEventLoop, list[httpx2.AsyncClient]] = {}
        self._idle: dict[asyncio.AbstractEventLoop, list[httpx2.AsyncClient]] = {}
        self._lock = threading.Lock()
        self._thread: LoopThread | None = None
        self._tls: ssl.SSLContext | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        """One for another process, which makes its own connections; headers go along."""
        how: dict[str, Any] = {"headers": self._headers, "come_back": self._come_back}
        return partial(HttpClient, timeout_s=self.timeout_s, **how), ()

    async def send(
        self,
        method: str,
        url: str,
        *,
        params: Mapping[str, str] | None = None,
        content: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        begins: Callable[[bytes], bool] = bool,
    ) -> Reply:
        """The reply; ``begins`` is asked of each piece of its body until it says yes.

        Raises :class:`~refold.errors.Rejected` (``status``, and ``answer``: its JSON) when the
        service refuses, and :class:`~refold.errors.Unavailable` when it gives no answer: its
        ``code`` is ``unreachable``, ``timeout``, ``broken``, ``busy`` (with ``status`` and
        ``retry_after_s``; also for the statuses of ``come_back``) or ``garbage``.
        """
        said = self._headers if headers is None else {**self._headers, **checked_headers(headers)}
        body, first_s = _Content(content), 0.0
        sent: dict[str, Any] = {"params": params, "headers": said}
        if content is not None:
            own = {"content-type": "application/json", "content-length": str(len(content))}
            sent = {"params": params, "headers": {**said, **own}, "content": body}
        shown = secrecy.without_keys(url.partition("?")[0])
        named = (*said.items(), *(params or {}).items(), *parse_qsl(urlsplit(url).query))
        secrets, every = _hidden(named), _written(tuple(said.values()))
        token = secrecy.SENDING.set(True)
        client, idle = None, list["httpx2.AsyncClient"]()
        try:
            client, idle = self.ready()
            async with (
                asyncio.timeout(self.timeout_s),
                client.stream(method, _parsed(url), **sent) as response,
            ):
                answer = bytearray()
                async for chunk in response.aiter_bytes():
                    if not first_s and begins(chunk):
                        first_s = time.monotonic()
                    answer += chunk
                    if len(answer) > ANSWER_BYTES_MAX:
                        why = f"the answer is over {ANSWER_BYTES_MAX} bytes"
                        raise no_answer(shown, why, code="garbage")
                took = time.monotonic() - body.taken_s, max(0.0, first_s - body.taken_s)
                content = secrecy.without(bytes(answer), secrets)
                reply = Reply(shown, response.headers, content, *took)
                return self._judged(response.status_code, reply, every)
        except RefoldError:
            raise
        except Exception as error:
            code, why = self._failure(error)
        finally:
            secrecy.SENDING.reset(token)
            if client is not None:
                idle.append(client)
        # Not from the library's error: its words and its traceback may hold what is secret.
        hidden = secrecy.without(why.encode(), [*secrets, *every]).decode()
        raise no_answer(shown, hidden, code=code)

    def _failure(self, error: Exception) -> tuple[str, str]:
        """The code and the words for what a library raised."""
        import httpx2

        match error:
            case httpx2.ConnectError() | httpx2.ConnectTimeout():
                return "unreachable", f"no connection: {_reason(error)}"
            case TimeoutError() | httpx2.TimeoutException():
                return "timeout", f"no whole answer in {self.timeout_s:g} s"
            case httpx2.DecodingError():
                return "garbage", f"it cannot be unpacked: {error}"
            case httpx2.TransportError():
                return "broken", f"the connection broke: {error}"
        # An address that is none, or a proxy or certificates that the environment names.
        return "unreachable", f"it cannot be asked ({type(error).__name__}): see URL and proxies"

    def wait(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """What a coroutine that sends gives or raises, for a caller that is on no event loop."""
        with self._lock:
            if self._thread is None or not self._thread.is_alive():
                self._thread = LoopThread()
            thread = self._thread
        return thread.run(coroutine)

    def close(self) -> None:
        """Let go of the connections that :meth:`wait` used; what is under way on them fails."""
        thread, self._thread = self._thread, None
        if thread is not None and thread.is_alive():
            thread.run(self.aclose())
            thread.close()

    async def aclose(self) -> None:
        """Let go of the connections of the event loop that this runs on."""
        loop = asyncio.get_running_loop()
        self._idle.pop(loop, None)
        for client in self._clients.pop(loop, ()):
            await client.aclose()

    def ready(self) -> tuple[httpx2.AsyncClient, list[httpx2.AsyncClient]]:
        """What sends one request on the event loop that this runs on, and where it goes back to.

        Each has a connection of its own: a pool looks at all of its connections for each request.
        """
        loop = asyncio.get_running_loop()
        idle = self._idle.setdefault(loop, [])
        if idle:
            return idle.pop(), idle
        made = self._made()
        self._clients.setdefault(loop, []).append(made)
        return made, idle

    def _made(self) -> httpx2.AsyncClient:
        import httpx2

        connect_s = min(self.timeout_s * CONNECT_SHARE, CONNECT_MAX_S)
        with self._lock:
            if self._tls is None:
                self._tls = httpx2.create_ssl_context()
                secrecy.keep_out_of_logs()
        return httpx2.AsyncClient(
            verify=self._tls,
            timeout=httpx2.Timeout(None, connect=connect_s),
            # Who asks bounds how much is asked at a time.
            limits=httpx2.Limits(max_connections=None),
            mounts=dict.fromkeys(_HERE),
        )

    def _judged(self, status: int, reply: Reply, secrets: Sequence[str]) -> Reply:
        """The reply, unless its status says that it is none."""
        if 200 <= status < 300:
            return reply
        content = secrecy.without(reply.content, secrets)
        answer = _json_or_none(content)
        facts: dict[str, Any] = {"url": reply.url, "status": status}
        why = f"{reply.url}: status {status}: {_shown(content, answer)}"
        if status in self._come_back or status >= 500:
            asked_s = retry_after_s(reply.headers, now=datetime.now(UTC))
            raise Unavailable(why, code="busy", retry_after_s=asked_s, **facts)
        raise Rejected(why, answer=answer, **facts)


# -- checks and words -----------------------------------------------------------------------------


def checked_url(
    url: str, *, name: str = "the URL", instead: str = "give api_key= or headers= instead"
) -> SplitResult:
    """The parts of a service's URL; one that holds a password is refused without showing it.

    ``name`` is what it is called then, ``instead`` what to do.
    """
    if "@" in url.partition("://")[2].partition("/")[0]:
        raise UsageError(f"{name} holds a user or password: {instead}")
    # What may be a password or a key is not named.
    named = "this" if {*url} & {*"@?#"} else repr(url)
    refusal = UsageError(f"{named} is not the URL of a service such as https://example.org/v1")
    try:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.port == 0:
            raise refusal
        if parts.fragment:  # It is sent to nobody, and may be meant for a secret.
            raise UsageError("the URL has a part after #, which is not sent: leave it out")
    except ValueError:
        raise refusal from None
    if not url.isprintable() or " " in url:
        raise refusal
    return parts


def checked_headers(headers: Mapping[str, str] | None) -> dict[str, str]:
    """The headers; what none can carry is refused without naming it, for it may be a secret."""
    for number, (name, value) in enumerate((headers or {}).items(), 1):
        if not isinstance(name, str) or _NAME.fullmatch(name) is None:
            raise UsageError(f"header {number} has a name that no header can have")
        is_text = isinstance(value, str) and value.isascii() and value.isprintable()
        if not is_text or value != value.strip():
            raise UsageError(f"the header {name!r} has a value that no header can have")
    return dict(headers or {})


@lru_cache(maxsize=256)
def _parsed(url: str) -> httpx2.URL:
    import httpx2

    return httpx2.URL(url)


@lru_cache(maxsize=256)
def _hidden(named: tuple[tuple[str, str], ...]) -> tuple[str, ...]:
    return tuple(secrecy.of(named))


@lru_cache(maxsize=256)
def _written(values: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(secrecy.forms(values))


def decoded(reply: Reply, decode: Callable[[bytes], Any] = msgspec.json.decode) -> Any:
    """The JSON of a reply; raises :class:`~refold.errors.Unavailable` (``garbage``) for none."""
    try:
        return decode(reply.content)
    except _NOT_JSON:
        why = f"the answer is not JSON: {_shown(reply.content)}"
        raise no_answer(reply.url, why, code="garbage") from None


def no_answer(url: str, why: str, *, code: str) -> Unavailable:
    """The error for a request without an answer of use."""
    return Unavailable(f"{url}: {why}", code=code, url=url)


def _reason(error: BaseException) -> BaseException:
    """What the system said of a connection: libraries wrap it in words of their own."""
    inner: BaseException | None = error
    while inner is not None and not getattr(inner, "errno", None):
        several = getattr(inner, "exceptions", (None,))
        inner = several[0] or inner.__cause__ or inner.__context__
    return inner or error


def _shown(content: bytes, answer: Any = None) -> str:
    """What a service said: the message of an error answer, else its beginning."""
    match answer:
        case {"error": {"message": str(text)}}:
            pass
        case _:
            text = content.decode(errors="replace").strip()
    return text if len(text) <= SAID_CHARS_MAX else f"{text[:SAID_CHARS_MAX]}…"


def _json_or_none(content: bytes) -> Any:
    try:
        return decode_exactly(content)
    except _NOT_JSON:
        return None
