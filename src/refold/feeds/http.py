"""Requests to a JSON service: exact numbers, bounded answers, retries that the service can bear."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from urllib.parse import urlsplit

import msgspec

from refold.core.clock import to_us
from refold.core.pacing import RETRY_AFTER_MAX_S, Pace, RateLimiter, backoff_s, retry_after_s
from refold.engine.store import system_clock
from refold.errors import Rejected, Unavailable, UsageError
from refold.ports import Clock

if TYPE_CHECKING:
    import httpx

ANSWER_BYTES_MAX: Final = 16 * 1024 * 1024
SAID_CHARS_MAX: Final = 300
DATE_STEP_US: Final = 1_000_000
"""A ``Date`` header names whole seconds (RFC 9110, section 5.6.7)."""
_HERE: Final = ("all://127.0.0.1", "all://localhost", "all://[::1]")
_COME_BACK: Final = frozenset({408, 425, 429})
_decode = msgspec.json.Decoder(float_hook=Decimal).decode


class Answer(NamedTuple):
    """What a service said: ``value`` is its JSON, numbers with a point as Decimal.

    ``skew`` is how far its clock is ahead of this one by its ``Date`` header, and the error of
    that, in microseconds; None without the header.
    """

    value: Any
    skew: tuple[int, int] | None


class RealPace:
    """The machine's own time, and its chance: nothing that is recorded depends on them."""

    def now_s(self) -> float:
        """Seconds of the monotonic clock."""
        return time.monotonic()

    def wait(self, seconds: float) -> None:
        """Sleep."""
        time.sleep(seconds)

    def roll(self) -> float:
        """From the shared generator."""
        return random.random()


class JsonService:
    """A service over HTTP that speaks JSON. Safe between threads.

    ``url`` is what paths are added to. ``timeout_s`` bounds a whole answer. A request is sent at
    most ``tries_max`` times, at most ``requests_per_second`` of them, and after a failure only
    once a wait with jitter has passed: at first up to ``first_delay_s``, then doubled. Where the
    service says ``Retry-After``, nobody asks before that, and over 120 seconds is a failure.
    ``pace`` is what waits; when it raises, the request ends so.
    """

    def __init__(
        self,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        timeout_s: float = 10.0,
        tries_max: int = 6,
        first_delay_s: float = 0.25,
        requests_per_second: float | None = None,
        clock: Clock = system_clock,
        pace: Pace | None = None,
    ) -> None:
        if not timeout_s > 0 or tries_max < 1:
            raise UsageError(f"{timeout_s=} must be over 0, {tries_max=} at least 1")
        self.url = _checked(url)
        self.requests = 0
        self._headers = _checked_headers(headers)
        self._timeout_s = timeout_s
        self._tries_max = tries_max
        self._first_delay_s = first_delay_s
        self._limiter = RateLimiter(requests_per_second)
        self._clock = clock
        self._pace = pace or RealPace()
        self._lock = threading.Lock()
        self._client: httpx.Client | None = None

    def get(
        self,
        path: str = "",
        params: Mapping[str, str] | None = None,
        *,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """``GET``; raises as :meth:`request` does."""
        return self.request("GET", path, params=params, headers=headers)

    def request(
        self,
        method: str,
        path: str = "",
        *,
        params: Mapping[str, str] | None = None,
        body: object = None,
        headers: Mapping[str, str] | None = None,
        tries_max: int | None = None,
    ) -> Answer:
        """Ask until there is an answer. What is not ``GET`` must bear to be sent again.

        Raises :class:`~refold.errors.Rejected` (``status``, and ``answer``: its JSON) when the
        service refuses, and :class:`~refold.errors.Unavailable` when it gives no answer: its
        ``code`` is ``unreachable``, ``timeout``, ``broken``, ``busy`` or ``garbage``, and but for
        the first the request may have been carried out.
        """
        tries_max = self._tries_max if tries_max is None else tries_max
        for attempt in range(1, tries_max + 1):
            try:
                return self._once(method, path, params=params, body=body, headers=headers)
            except Unavailable as failure:
                asked_s = failure.facts.get("retry_after_s")
                if attempt == tries_max or (asked_s or 0) > RETRY_AFTER_MAX_S:
                    raise
                if asked_s is not None:
                    # The service means everyone, not only the one it told.
                    self._limiter.hold(self._pace.now_s() + asked_s)
                self._pace.wait(backoff_s(attempt, self._pace.roll(), first_s=self._first_delay_s))
        raise AssertionError("the loop above returns or raises")

    def close(self) -> None:
        """Let go of connections; the service can be asked again."""
        with self._lock:
            client, self._client = self._client, None
        if client is not None:
            client.close()

    def _once(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None,
        body: object,
        headers: Mapping[str, str] | None,
    ) -> Answer:
        now_s = self._pace.now_s()
        pause_s = self._limiter.reserve(now_s) - now_s
        if pause_s > 0:
            self._pace.wait(pause_s)
        sent_us = self._clock()
        url = f"{self.url}{path}"
        status, said, content = self._sent(method, url, params=params, body=body, headers=headers)
        skew = _skew(said.get("date"), sent_us, self._clock())
        if 200 <= status < 300:
            return Answer(_json(content, url), skew)
        why = f"{url}: status {status}: {_shown(content)}"
        if status in _COME_BACK or status >= 500:
            asked_s = retry_after_s(said.get("retry-after"), now=datetime.now(UTC))
            raise Unavailable(why, code="busy", url=url, status=status, retry_after_s=asked_s)
        raise Rejected(why, url=url, status=status, answer=_value(content))

    def _sent(
        self,
        method: str,
        url: str,
        *,
        params: Mapping[str, str] | None,
        body: object,
        headers: Mapping[str, str] | None,
    ) -> tuple[int, Mapping[str, str], bytes]:
        import httpx

        said = {**self._headers, **_checked_headers(headers)}
        sent = None if body is None else msgspec.json.encode(body)
        if sent is not None:
            said["content-type"] = "application/json"
        until_s = time.monotonic() + self._timeout_s
        try:
            with self._connected().stream(
                method, url, params=params, content=sent, headers=said
            ) as response:
                content = bytearray()
                for chunk in response.iter_bytes():
                    content += chunk
                    self._check(len(content), until_s, url)
                return response.status_code, response.headers, bytes(content)
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            raise _failure(url, f"no connection: {error}", code="unreachable") from error
        except httpx.TimeoutException as error:
            raise self._late(url) from error
        except httpx.DecodingError as error:
            raise _failure(
                url, f"the answer cannot be unpacked: {error}", code="garbage"
            ) from error
        except httpx.TransportError as error:
            raise _failure(url, f"the connection broke: {error}", code="broken") from error

    def _connected(self) -> httpx.Client:
        import httpx

        with self._lock:
            if self._client is None:
                # No proxy of the environment's leads to this machine.
                self._client = httpx.Client(
                    timeout=httpx.Timeout(self._timeout_s), mounts=dict.fromkeys(_HERE)
                )
            self.requests += 1
            return self._client

    def _check(self, size_bytes: int, until_s: float, url: str) -> None:
        """Bound an answer that keeps coming, byte by byte or without end."""
        if size_bytes > ANSWER_BYTES_MAX:
            raise _failure(url, f"the answer is over {ANSWER_BYTES_MAX} bytes", code="garbage")
        if time.monotonic() > until_s:
            raise self._late(url)

    def _late(self, url: str) -> Unavailable:
        return _failure(url, f"no whole answer in {self._timeout_s:g} s", code="timeout")


def _checked(url: str) -> str:
    refusal = UsageError(f"{url!r} is not the URL of a service such as https://example.org/api")
    try:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.port == 0:
            raise refusal
    except ValueError:
        raise refusal from None
    if "@" in parts.netloc:
        raise UsageError("the URL holds a user or password: give headers= instead")
    if parts.query or parts.fragment:
        raise UsageError("the URL holds parameters: give params= instead")
    return url.rstrip("/")


def _checked_headers(headers: Mapping[str, str] | None) -> dict[str, str]:
    """The headers; what none can carry is refused without naming it, for it may be a secret."""
    for name, value in (headers or {}).items():
        if not (value.isascii() and value.isprintable() and value == value.strip()):
            raise UsageError(f"the header {name!r} has a value that no header can have")
    return dict(headers or {})


def _failure(url: str, message: str, *, code: str) -> Unavailable:
    return Unavailable(f"{url}: {message}", code=code, url=url)


def _json(content: bytes, url: str) -> Any:
    try:
        return _decode(content)
    except (msgspec.DecodeError, RecursionError) as error:
        raise _failure(url, f"the answer is not JSON: {_shown(content)}", code="garbage") from error


def _value(content: bytes) -> Any:
    """The JSON of an answer, None where it is none."""
    try:
        return _decode(content)
    except (msgspec.DecodeError, RecursionError):
        return None


def _shown(content: bytes) -> str:
    return content[:SAID_CHARS_MAX].decode(errors="replace").strip()


def _skew(date: str | None, sent_us: int, got_us: int) -> tuple[int, int] | None:
    """How far the service's clock is ahead, and the error of that."""
    # Some 10 ms, which a start without network need not spend.
    from email.utils import parsedate_to_datetime

    try:
        moment = None if date is None else parsedate_to_datetime(date)
    except (ValueError, OverflowError):
        moment = None
    if moment is None:
        return None
    said_us = to_us(moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC))
    half_us = DATE_STEP_US // 2
    return said_us + half_us - (sent_us + got_us) // 2, half_us + max(0, got_us - sent_us) // 2
