"""Transactions that a service makes hard to keep: odd ids, no real time, events of no use."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pytest

import refold
from refold import Append, Event
from refold.feeds import JsonService, Polled, Poller, Source, Transaction
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
