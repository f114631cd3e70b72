"""Transactions that a service makes hard to keep: odd ids, no real time, events of no use."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pytest

import refold
from refold import Append, Event
from refold.errors import Unavailable, UsageError
from refold.feeds import JsonService, Page, Polled, Poller, Source, Transaction
from tests.feeds.listing import NOON, Listing, asking, serving


@pytest.fixture(name="listing")
def _listing() -> Iterator[Listing]:
    with serving() as listing:
        yield listing


@pytest.fixture(name="service")
def _service(listing: Listing) -> Iterator[JsonService]:
    with asking(listing) as service:
        yield service


@pytest.fixture(name="store")
def _store() -> Iterator[refold.Store]:
    with refold.open("memory:") as store:
        yield store


def test_an_id_may_look_like_what_the_feed_notes_of_another(
    listing: Listing, service: JsonService, store: refold.Store
) -> None:
    """An id with a slash in it hides no other, and is hidden by none."""
    known = False

    def to_appends(transaction: Transaction) -> Sequence[Append] | None:
        return [Append("account-1", [Event("test.moved")])] if known else None

    listing.add("t1", 1)
    listing.add("t1/recognized", 2)
    bank = Poller(store, service, Source(name="bank"), to_appends, clock=lambda: NOON)
    assert bank.poll().unrecognized == 2
    known = True
    assert bank.reconsider() == 2
    assert store.head("account-1") == 1


def test_events_that_cannot_be_stored_hold_up_nobody(
    listing: Listing, service: JsonService, store: refold.Store
) -> None:
    """Nor when what was unrecognized is tried again: what can be stored is, whatever is beside."""
    known = False

    def to_appends(transaction: Transaction) -> Sequence[Append] | None:
        data = {"amount": float("nan")} if transaction.id == "t1" else {}
        return [Append("account-1", [Event("test.moved", data)])] if known else None

    for number in range(3):
        listing.add(f"t{number}", number)
    bank = Poller(store, service, Source(name="bank"), to_appends, clock=lambda: NOON)
    assert bank.poll().unrecognized == 3
    known = True
    assert [bank.reconsider(), bank.reconsider()] == [2, 0]
    assert bank.status().unrecognized == {"deposit": 1}


def test_a_time_in_the_year_1_is_read_from(
    listing: Listing, service: JsonService, store: refold.Store
) -> None:
    """What some services give for no time at all: the round after it asks from there on."""
    listing.add("t1", at="0001-01-01T00:00:00Z")
    bank = Poller(store, service, Source(name="bank"), lambda _: [], clock=lambda: NOON)
    assert bank.poll() == Polled(received=1, pages=1)
    assert bank.poll() == Polled(repeated=1, pages=1)
    assert listing.asked[-1] == {"since": "0001-01-01T00:00:00Z"}


MOVED = Event("test.moved")


@pytest.mark.parametrize(
    "answer",
    [
        [MOVED],
        MOVED,
        Append("account-1", [MOVED]),
        [Append("account-1", MOVED)],  # type: ignore[arg-type]
        [Append("account-1", "test.moved")],
        [Append("account-1", [MOVED], metadata="m")],  # type: ignore[arg-type]
        [Append("account-1", [object()])],
        [Append("", [MOVED])],
        [Append("account-1", [MOVED], key="k")],
        "account-1",
        7,
        True,
    ],
)
def test_an_answer_that_is_no_list_of_appends_is_kept_with_the_advice(
    listing: Listing, service: JsonService, store: refold.Store, answer: Any
) -> None:
    """As when the function raises: nobody is held up, and it is made good once it is mended."""

    def to_appends(transaction: Transaction) -> Any:
        return answer if transaction.id == "t1" else [Append("account-2", [MOVED])]

    listing.add("t1", 1)
    listing.add("t2", 2)
    bank = Poller(store, service, Source(name="bank"), to_appends, clock=lambda: NOON)
    assert bank.poll() == Polled(received=1, unrecognized=1, pages=1)
    (kept,) = store.read_all(types=["feed.unrecognized"])
    assert kept.data["error"].split(":")[0] in ("UsageError", "InvalidEvent")
    assert bank.reconsider() == 0
    mended = Poller(store, service, Source(name="bank"), lambda _: [Append("account-1", [MOVED])])
    assert mended.reconsider() == 1
    assert store.head("account-1") == 0


def test_any_series_of_appends_will_do(
    listing: Listing, service: JsonService, store: refold.Store
) -> None:
    """A generator too."""

    def to_appends(transaction: Transaction) -> Any:
        yield Append("account-1", [MOVED])

    listing.add("t1", 1)
    assert Poller(store, service, Source(name="bank"), to_appends).poll().received == 1


def broken(_: Any) -> Any:
    """What reading another service's answer does."""
    raise KeyError("rows")


def test_a_page_that_cannot_be_read_is_named(
    listing: Listing, service: JsonService, store: refold.Store
) -> None:
    """Whatever the function raises, it is an error of refold with the feed and the page."""
    listing.add("t1", 1)
    bank = Poller(store, service, Source(name="bank", read_page=broken), lambda _: [])
    with pytest.raises(Unavailable) as raised:
        bank.poll()
    error = raised.value
    assert (error.code, error.feed, error.page) == ("garbage", "bank", None)
    assert isinstance(error.__cause__, KeyError)


def test_a_later_page_that_cannot_be_read_is_named_by_its_token(
    listing: Listing, service: JsonService, store: refold.Store
) -> None:
    """The first page is stored, and the next round goes on with the second."""

    def read_page(answer: Any) -> Page:
        if is_broken and answer["next"] is None:
            raise TypeError("no rows")
        return Page(answer["transactions"], answer["next"])

    is_broken = True
    listing.per_page = 1
    listing.add("t1", 1)
    listing.add("t2", 2)
    source = Source(name="bank", read_page=read_page)
    bank = Poller(store, service, source, lambda _: [], clock=lambda: NOON)
    with pytest.raises(Unavailable) as raised:
        bank.poll()
    assert raised.value.page == "1"
    assert bank.status().received == {"deposit": 1}
    is_broken = False
    assert bank.poll().received == 1


@pytest.mark.parametrize(
    "functions",
    [
        {"read_page": lambda answer: answer["transactions"]},
        {"read_page": lambda answer: (answer["transactions"], None)},
        {"read_page": lambda answer: Page(answer["transactions"], 2)},  # type: ignore[arg-type]
        {"read_transaction": lambda item: item},
    ],
)
def test_a_reading_function_that_gives_something_else_is_refused(
    listing: Listing, service: JsonService, store: refold.Store, functions: dict[str, Any]
) -> None:
    """That is the program's error, not the service's: asking again would not help."""
    listing.add("t1", 1)
    bank = Poller(store, service, Source(name="bank", **functions), lambda _: [])
    with pytest.raises(UsageError) as raised:
        bank.poll()
    assert raised.value.feed == "bank"
