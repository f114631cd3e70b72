"""How fast a run asks: rates a minute, a pause that all keep, and one probe through an outage."""

import asyncio
from dataclasses import replace
from heapq import heappop, heappush
from itertools import pairwise
from math import ceil

import msgspec
import pytest

from refold.replay import Action, ChatEndpoint, ChatRequest, ModelFailure
from refold.replay.candidate import Candidate
from refold.replay.options import STAGGER_S, RunOptions
from refold.replay.requests import Asker, Outcome
from tests.replay.stories import as_message
from tests.replay.test_requests import StillPace
from tests.support.chat_server import ChatServer, Fault

LIMIT = 100
REQUEST = ChatRequest(
    messages=[{"role": "user", "content": "x" * 2_000}], model="m", params={"max_tokens": LIMIT}
)
HELD = ceil(len(msgspec.json.encode(REQUEST.body())) / 2) + LIMIT
"""The tokens that the request is taken to need: one every two bytes, and what it may answer."""


class Exact(StillPace):
    """A clock that stands still until all only wait, and then is at the next who is to wake."""

    def __init__(self) -> None:
        super().__init__()
        self._waiting: list[tuple[float, int, asyncio.Future[None]]] = []
        self._ticking: asyncio.Task[None] | None = None

    async def sleep(self, seconds: float) -> None:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heappush(self._waiting, (self.at_s + seconds, id(future), future))
        self._ticking = self._ticking or asyncio.create_task(self._tick())
        await future

    async def _tick(self) -> None:
        while self._waiting:
            for _ in range(40):
                await asyncio.sleep(0)
            self.at_s, _, future = heappop(self._waiting)
            if not future.done():
                future.set_result(None)
        self._ticking = None


class Noting:
    """Answers at once, and notes when it was asked; ``failures`` come first, one each."""

    def __init__(self, pace: Exact, *failures: ModelFailure) -> None:
        self.asked_s: list[float] = []
        self._pace, self._failures = pace, [*failures]

    async def __call__(self, request: ChatRequest) -> Action:
        self.asked_s.append(self._pace.at_s - 100.0)
        if self._failures:
            raise self._failures.pop(0)
        return Action(text="ok")


def asker(candidate: Candidate, pace: Exact, options: RunOptions) -> Asker:
    """Who asks as a run with these options would, on a clock of the test's."""
    return replace(options.asker(candidate, {}), pace=pace)


def asked_s(options: RunOptions, *failures: ModelFailure, many: int = 8) -> list[float]:
    """At what seconds so many decisions were asked, all of them wanting to go at once."""
    pace = Exact()
    candidate = Noting(pace, *failures)

    async def all_of_them() -> list[Outcome]:
        asking = asker(candidate, pace, options)
        return await asyncio.gather(*(asking.ask(REQUEST) for _ in range(many)))

    assert all(outcome.action is not None for outcome in asyncio.run(all_of_them()))
    return sorted(candidate.asked_s)


@pytest.mark.parametrize(
    ("options", "interval_s"),
    [
        (RunOptions(requests_per_minute=30), 2.0),
        (RunOptions(requests_per_second=4), 0.25),
        (RunOptions(requests_per_second=4, requests_per_minute=30), 2.0),
        (RunOptions(requests_per_second=0.25, requests_per_minute=30), 4.0),
        (RunOptions(tokens_per_minute=HELD * 60), 1.0),
        (RunOptions(tokens_per_minute=HELD * 6), 10.0),
        (RunOptions(tokens_per_minute=HELD * 60, requests_per_minute=12), 5.0),
        (RunOptions(tokens_per_minute=HELD * 6, requests_per_minute=12), 10.0),
    ],
)
def test_requests_keep_to_the_slowest_of_their_rates(
    options: RunOptions, interval_s: float
) -> None:
    """Those of an account, by requests and by the tokens that each may take; retries count too."""
    busy = ModelFailure("wait", kind="busy", status=429)
    for failures in ([], [busy]):
        moments = asked_s(options, *failures)
        assert len(moments) == 8 + len(failures)
        assert moments == pytest.approx([n * interval_s for n in range(len(moments))])


def test_tokens_are_those_of_the_answers_once_enough_are_known() -> None:
    """A guess is for the beginning; an account is then used as far as it goes."""
    size = len(msgspec.json.encode(REQUEST.body()))
    pace = Exact()
    moments: list[float] = []

    async def candidate(request: ChatRequest) -> Action:
        moments.append(pace.at_s)
        usage = {"input_tokens": size // 10, "output_tokens": 5}
        return msgspec.convert({"text": "ok", "usage": usage}, Action)

    async def one_after_another() -> None:
        asking = asker(candidate, pace, RunOptions(tokens_per_minute=HELD * 60))
        for _ in range(30):
            await asking.ask(REQUEST)

    asyncio.run(one_after_another())
    waits = [later - sooner for sooner, later in pairwise(moments)]
    assert waits[5] == pytest.approx(1.0, abs=0.01)
    assert waits[-1] == pytest.approx((size // 10 + LIMIT) / HELD, abs=0.01)


def test_a_pause_that_one_is_told_all_keep() -> None:
    """The service means them all: who waits for a turn that was given before waits anew."""
    told = ModelFailure("wait", kind="busy", status=429, retry_after_s=7.0)
    moments = asked_s(RunOptions(requests_per_second=10), told)
    assert moments[0] == 0.0
    assert len(moments) == 9
    assert moments[1:] == pytest.approx([7.0 + n / 10 for n in range(8)])


def test_who_waited_for_a_pause_to_end_goes_in_turn() -> None:
    """All at once would be too many again."""
    pace = Exact()
    candidate = Noting(pace)

    async def all_of_them() -> None:
        asking = asker(candidate, pace, RunOptions())
        asking.limiter.hold(pace.now_s() + 7.0)
        await asyncio.gather(*(asking.ask(REQUEST) for _ in range(8)))

    asyncio.run(all_of_them())
    assert candidate.asked_s == pytest.approx([7.0 + n * STAGGER_S for n in range(8)])


def test_milliseconds_that_a_service_asks_for_come_through_from_the_wire() -> None:
    """As OpenAI and Azure send them, beside the rounded seconds."""
    slow = Fault(429, b"{}", {"retry-after-ms": "250", "Retry-After": "1"})
    with ChatServer(as_message) as server:
        server.faults.append(slow)
        endpoint = ChatEndpoint(server.base_url)
        with pytest.raises(ModelFailure) as failed:
            endpoint(REQUEST)
        endpoint.close()
    assert (failed.value.kind, failed.value.retry_after_s) == ("busy", 0.25)


def test_while_a_service_is_away_one_asks_at_a_time_and_then_all() -> None:
    """Half open: whoever probes is alone; what it is answered lets the others go at once."""
    pace = Exact()
    under_way: list[int] = []
    most = {"away": 0, "back": 0}

    async def candidate(request: ChatRequest) -> Action:
        now_s = pace.at_s - 100.0
        under_way.append(1)
        # The first of all to see it were under way when it began.
        when = "back" if now_s >= 120.0 else "away" if now_s >= 20.0 else ""
        most[when] = max(most.get(when, 0), len(under_way))
        try:
            await pace.sleep(0.5)
            if now_s < 120.0:
                raise ModelFailure("away", kind="busy", status=503)
            return Action(text="ok")
        finally:
            under_way.pop()

    async def all_of_them() -> list[Outcome]:
        asking = asker(candidate, pace, RunOptions(outage_max_s=600.0))
        asking._breaker.has_answered = True
        return await asyncio.gather(*(asking.ask(REQUEST) for _ in range(8)))

    outcomes = asyncio.run(all_of_them())
    assert all(outcome.action is not None for outcome in outcomes)
    assert most["away"] == 1
    assert most["back"] > 1
