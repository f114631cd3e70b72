"""A service over HTTP that speaks JSON, as a feed reads it: exact numbers, and its clock."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import msgspec

from refold.core.clock import to_us
from refold.engine.store import system_clock
from refold.errors import Unavailable, UsageError, is_number, refuse_unless, shown
from refold.feeds.reading import read_json
from refold.http import HttpClient, Reply, checked_url, decoded, http_date
from refold.pacing import Pace, RateLimiter, Retries
from refold.ports import Clock

DATE_STEP_US: Final = 1_000_000
"""A ``Date`` header names whole seconds (RFC 9110, section 5.6.7)."""


class Answer(NamedTuple):
    """What a service said: ``value`` is its JSON, numbers with a point as Decimal.

    What cannot be read of an item of a list is text, :class:`~refold.feeds.reading.UnreadText`.
    ``skew`` is how far its clock is ahead of this one by its ``Date`` header, and the error of
    that, in microseconds; None without the header.
    """

    value: Any
    skew: tuple[int, int] | None


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
        if not (isinstance(tries_max, int) and tries_max >= 1):
            raise UsageError(f"tries_max={shown(tries_max)} must be at least 1, a whole number")
        refuse_unless(is_number(first_delay_s), "a number of seconds", first_delay_s=first_delay_s)
        parts = checked_url(url)
        if parts.query or parts.fragment:
            raise UsageError("the URL holds parameters: give params= instead")
        self.url = url.rstrip("/")
        self._http = HttpClient(headers=headers, timeout_s=timeout_s)
        self._tries_max = tries_max
        self._first_delay_s = first_delay_s
        self._limiter = RateLimiter(requests_per_second)
        self._clock = clock
        self._pace = pace or Pace()

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
        refuse_unless(isinstance(path, str), "text", path=path)
        if path and path[0] not in "/?":
            raise UsageError(
                f"the path {path.partition('?')[0]!r} begins with no /", argument="path"
            )
        if not isinstance(params, Mapping | None) or not all(
            isinstance(n, str) for n in params or ()
        ):
            raise UsageError("params are given by name, such as {'team': 'voice'}")
        if tries_max is not None:
            refuse_unless(isinstance(tries_max, int), "a whole number", tries_max=tries_max)
        try:
            content = None if body is None else msgspec.json.encode(body)
        except (TypeError, ValueError, RecursionError) as error:
            raise UsageError(f"the body cannot be JSON: {error}", argument="body") from error
        sent: dict[str, Any] = {"params": params, "content": content, "headers": headers}
        retries = Retries(
            tries_max or self._tries_max, self._limiter, self._pace, first_s=self._first_delay_s
        )
        while True:
            if (turn_s := retries.turn_s()) > 0:
                self._pace.wait(turn_s)
            try:
                return self._once(method, f"{self.url}{path}", sent)
            except Unavailable as failure:
                pause_s = retries.pause_s(failure.code, failure.facts.get("retry_after_s"))
                if pause_s is None:
                    raise
                self._pace.wait(pause_s)

    def close(self) -> None:
        """Let go of connections; the service can be asked again."""
        self._http.close()

    def _once(self, method: str, url: str, sent: Mapping[str, Any]) -> Answer:
        sent_us = self._clock()
        reply = self._http.wait(self._http.send(method, url, **sent))
        return Answer(decoded(reply, read_json), _skew(reply, sent_us, self._clock()))


def _skew(reply: Reply, sent_us: int, got_us: int) -> tuple[int, int] | None:
    """How far the service's clock is ahead, and the error of that."""
    moment = http_date(reply.headers.get("date", ""))
    if moment is None:
        return None
    half_us = DATE_STEP_US // 2
    ahead_us = to_us(moment) + half_us - (sent_us + got_us) // 2
    return ahead_us, half_us + max(0, got_us - sent_us) // 2
