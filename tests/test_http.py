"""Requests are spread by arithmetic on times that are given."""

import time
from datetime import UTC, datetime
from itertools import pairwise
from types import SimpleNamespace

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from refold.errors import UsageError
from refold.http import HttpClient, retry_after_s
from refold.pacing import BACKOFF_MAX_S, RateLimiter, backoff_s
from tests.capture.model_server import serving

NOON = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


def test_requests_are_spread_over_time() -> None:
    """Each gets a moment of its own, an interval after the one before."""
    limiter = RateLimiter(4)
    assert [limiter.reserve(10.0) for _ in range(3)] == [10.0, 10.25, 10.5]
    assert limiter.reserve(20.0) == 20.0


def test_time_that_was_not_used_is_not_saved_up() -> None:
    """After a pause there is no burst."""
    limiter = RateLimiter(2)
    limiter.reserve(0.0)
    assert [limiter.reserve(100.0), limiter.reserve(100.0)] == [100.0, 100.5]


def test_without_a_limit_everyone_goes_at_once_but_for_a_hold() -> None:
    """A pause that the service asked for holds for all."""
    limiter = RateLimiter()
    assert [limiter.reserve(1.0), limiter.reserve(1.0)] == [1.0, 1.0]
    limiter.hold(5.0)
    limiter.hold(3.0)
    assert limiter.reserve(1.0) == 5.0


@given(st.floats(0.1, 1_000), st.lists(st.floats(0, 100), min_size=2, max_size=50))
def test_no_two_requests_are_closer_than_the_interval(rate: float, steps: list[float]) -> None:
    """The rate holds whenever requests come."""
    limiter, now_s = RateLimiter(rate), 0.0
    moments = []
    for step in steps:
        now_s += step
        moments.append(limiter.reserve(now_s))
    gaps = [after - before for before, after in pairwise(moments)]
    assert min(gaps) >= 1 / rate - 1e-9


@pytest.mark.parametrize("rate", [0, -1, float("nan")])
def test_a_rate_that_lets_nothing_pass_is_refused(rate: float) -> None:
    """None is how to say no limit."""
    with pytest.raises(UsageError):
        RateLimiter(rate)


def test_waits_grow_to_a_limit_and_are_spread_by_chance() -> None:
    """Doubling up to the limit, times a number from 0 to 1."""
    assert [backoff_s(attempt, 1.0) for attempt in (1, 2, 3)] == [0.5, 1.0, 2.0]
    assert backoff_s(50, 1.0) == BACKOFF_MAX_S
    assert backoff_s(3, 0.25) == 0.5
    waits = [backoff_s(n, 1.0, first_s=1.0, longest_s=10.0) for n in (1, 2, 3, 4, 5, 9_999)]
    assert waits == [1.0, 2.0, 4.0, 8.0, 10.0, 10.0]
    assert backoff_s(3, 0.5, first_s=1.0, longest_s=10.0) == 2.0


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        (None, None),
        ("0", 0.0),
        (" 7 ", 7.0),
        ("1.5", 1.5),
        ("Sun, 01 Mar 2026 12:00:30 GMT", 30.0),
        ("Sun, 01 Mar 2026 11:00:00 GMT", 0.0),
        ("soon", None),
        ("-3", None),
        ("²", None),
        ("", None),
    ],
)
def test_retry_after_is_seconds_or_a_date(header: str | None, seconds: float | None) -> None:
    """Both forms of RFC 9110; what is neither is as good as absent."""
    headers = {} if header is None else {"retry-after": header}
    assert retry_after_s(headers, now=NOON) == seconds


@pytest.mark.parametrize(
    ("milliseconds", "seconds"), [("20000", 20.0), ("0.5", 0.0005), ("", 7.0), ("soon", 7.0)]
)
def test_milliseconds_come_before_seconds(milliseconds: str, seconds: float) -> None:
    """OpenAI and Azure say both, and the seconds are rounded."""
    headers = {"retry-after-ms": milliseconds, "retry-after": "7"}
    assert retry_after_s(headers, now=NOON) == seconds


@pytest.mark.parametrize("content", [b'{"messages": []}', None])
def test_the_time_of_a_request_begins_with_it(content: bytes | None) -> None:
    """Without content as with it: never when the machine was started, nor before it was sent."""
    client, began_s = HttpClient(timeout_s=10.0), time.monotonic()
    with serving() as server:
        reply = client.wait(client.send("POST" if content else "GET", server.url, content=content))
        (received,) = server.received
    client.close()
    assert received.body == (content or b"")
    assert "transfer-encoding" not in received.headers
    assert 0 < reply.took_s <= time.monotonic() - began_s


def test_a_connection_that_is_being_made_is_none_of_the_answers_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """On a clock that moves with each connection: the answer took none of it."""
    now_s = 0.0
    monkeypatch.setattr("refold.http.time", SimpleNamespace(monotonic=lambda: now_s))

    class Connecting(httpx2.AsyncHTTPTransport):
        async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
            nonlocal now_s
            now_s += 7.0
            return await super().handle_async_request(request)

    client = HttpClient(timeout_s=10.0)
    monkeypatch.setattr(client, "_made", lambda: httpx2.AsyncClient(transport=Connecting()))
    with serving() as server:
        reply = client.wait(client.send("POST", server.url, content=b"{}"))
    client.close()
    assert (now_s, reply.took_s) == (7.0, 0.0)
