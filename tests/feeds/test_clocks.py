"""Whatever a service's clock does, and however late it lists, nothing is lost: against a model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from hypothesis import given, settings
from hypothesis import strategies as st

import refold
from refold.core.clock import rfc3339, to_us
from refold.feeds import Feed, JsonService, Poller, Source
from refold.feeds.cursor import RECENT_MAX, FeedReceived, FeedState
from refold.feeds.http import Answer
from tests.feeds.listing import NOON, US, to_appends
from tests.support.soak import bound

OVERLAP_S = 60
LATE_S_MAX = 40
STEP_S_MAX = 200
"""A poll may come later than the overlap reaches back."""


class Listed(NamedTuple):
    """A transaction, and from when on it is listed, by the true time."""

    transaction: dict[str, Any]
    from_us: int


class Fake(JsonService):
    """A service without a network: its true time, its wrong clock, and what it lists."""

    def __init__(self) -> None:
        super().__init__("http://127.0.0.1:1")
        self.true_us = NOON
        self.ahead_us = 0
        self.listed: list[Listed] = []

    def happen(self, late_s: int) -> None:
        """A transaction, now by the wrong clock, listed later."""
        at = rfc3339(self.true_us + self.ahead_us)
        transaction = {"id": f"t{len(self.listed)}", "type": "deposit", "amount": "1", "at": at}
        self.listed.append(Listed(transaction, self.true_us + late_s * US))

    def get(
        self,
        path: str = "",
        params: Mapping[str, str] | None = None,
        *,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """What is listed by now, with the clock as a Date header tells it."""
        since_us = to_us((params or {}).get("since", "1970-01-01"))
        items = [
            each.transaction
            for each in self.listed
            if each.from_us <= self.true_us and to_us(each.transaction["at"]) >= since_us
        ]
        said_us = (self.true_us + self.ahead_us) // US * US + US // 2
        return Answer({"transactions": items}, (said_us - self.true_us, US // 2))


step = st.one_of(
    st.tuples(st.just("happen"), st.integers(0, LATE_S_MAX)),
    st.tuples(st.just("pass"), st.integers(0, STEP_S_MAX)),
    st.tuples(st.just("set"), st.sampled_from([-86_400, -3_600, -30, -2, 2, 45, 3_600, 86_400])),
)


@settings(max_examples=bound(100, 5_000))
@given(st.lists(step, max_size=40))
def test_nothing_is_lost_by_a_clock_that_jumps(steps: list[tuple[str, int]]) -> None:
    """Transactions that are late by less than the overlap are all read, each once.

    The clock may be set by any amount, once between any two polls.
    """
    service, is_set = Fake(), False
    with refold.open("memory:") as store:
        source = Source(name="bank")
        poller = Poller(
            store, service, source, to_appends, overlap_s=OVERLAP_S, clock=lambda: service.true_us
        )
        poller.poll()
        for what, amount in steps:
            if what == "happen":
                service.happen(amount)
            elif what == "pass":
                service.true_us += amount * US
                poller.poll()
                is_set = False
            elif not is_set:
                service.ahead_us += amount * US
                is_set = True
        for _ in range(2):
            service.true_us += LATE_S_MAX * US
            poller.poll()
        read = [event.data["id"] for event in store.read_all(types=["test.deposited"])]
        assert sorted(read) == sorted(each.transaction["id"] for each in service.listed)


def test_what_is_remembered_is_bounded() -> None:
    """Past its bound the oldest is forgotten; the store still knows it by its key."""
    book = FeedState()
    for number in range(RECENT_MAX + 5):
        came = FeedReceived(id=f"t{number}", type="x", digest="d", at_us=number, transaction={})
        book = Feed.evolve(book, came)
    assert len(book.recent) == RECENT_MAX
    assert "t4" not in book.recent
    assert "t5" in book.recent
    assert book.received == {"x": RECENT_MAX + 5}
