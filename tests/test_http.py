"""Requests are spread by arithmetic on times that are given."""

import time
from datetime import UTC, datetime
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from refold.errors import UsageError
from refold.http import HttpClient, _Wire, retry_after_s
from refold.pacing import BACKOFF_MAX_S, RateLimiter, backoff_s
from tests.support.chat_server import ChatServer

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


def test_without_a_word_of_the_connection_the_time_is_that_since_it_was_sent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Never that since the machine was started."""

    async def silent(*_: object) -> None:
        """What a library that tells nothing of its connections calls."""

    monkeypatch.setattr(_Wire, "__call__", silent)
    client, began_s = HttpClient(timeout_s=10.0), time.monotonic()
    with ChatServer(lambda _: {"role": "assistant", "content": "ok"}) as server:
        url = f"{server.base_url}/chat/completions"
        reply = client.wait(client.send("POST", url, content=b'{"messages": []}'))
    client.close()
    assert 0 < reply.took_s <= time.monotonic() - began_s
