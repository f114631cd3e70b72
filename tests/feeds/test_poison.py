"""One item of a page that nothing can hold costs itself alone: it is kept, told and counted."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import refold
from refold import Append, Event
from refold.errors import Unavailable
from refold.feeds import JsonService, Polled, Poller, Source, Transaction
from refold.feeds.reading import LEVELS_MAX, read_json, readable
from refold.feeds.source import read_transaction
from refold.http import decode_exactly
from tests.feeds.listing import NOON, Listing, Reply, asking, serving

DEEP = 5_000
POISON: dict[str, bytes] = {
    "an exponent that no Decimal has": b'"amount": 1.0e9999999999999999999',
    "one below": b'"amount": 1.0e-9999999999999999999',
    "not a number": b'"amount": NaN',
    "endless": b'"amount": -Infinity',
    "more digits than Python reads": b'"amount": ' + b"9" * 5_000,
    "half a pair": rb'"name": "\ud800"',
    "half a pair in a key": rb'"\udc00": 1',
    "half a pair for a type": rb'"type": "\ud800"',
    "no UTF-8": b'"name": "\xff\xfe"',
    "a key said twice": b'"amount": 1, "amount": 2',
    "endless lists": b'"x": ' + b"[" * DEEP + b"]" * DEEP,
    "endless objects": b'"x": ' + b'{"a":' * DEEP + b"1" + b"}" * DEEP,
    "too deep for a store": b'"x": ' + b"[" * 900 + b"]" * 900,
    "too long for a store": b'"x": "' + b"x" * 9_000_000 + b'"',
}


@pytest.fixture(name="listing")
def _listing() -> Iterator[Listing]:
    with serving() as listing:
        yield listing


@pytest.fixture(name="service")
def _service(listing: Listing) -> Iterator[JsonService]:
    with asking(listing, tries_max=1) as service:
        yield service


@pytest.fixture(name="store")
def _store() -> Iterator[refold.Store]:
    with refold.open("memory:") as store:
        yield store


def page(*items: bytes) -> Reply:
    """An answer whose transactions these are."""
    return Reply(200, b'{"transactions": [' + b", ".join(items) + b'], "next": null}')


def item(id: str, more: bytes = b'"amount": 1.50') -> bytes:
    """A transaction at noon, with one more part."""
    kind = b"" if b'"type"' in more else b'"type": "deposit", '
    said = b'{"id": "%s", %s"at": "2026-03-01T12:00:00Z", %s}'
    return said % (id.encode(), kind, more)


def booked(transaction: Transaction) -> list[Append]:
    """One event a transaction, whatever it is."""
    return [Append("account-1", [Event("test.moved", {"id": transaction.id})])]


@pytest.mark.parametrize("kind", POISON)
def test_the_others_go_on(
    listing: Listing, service: JsonService, store: refold.Store, kind: str
) -> None:
    """Those before and after it are events; it is kept with its id, told why, and not asked for."""
    listing.replies = [page(item("t1"), item("t2", POISON[kind]), item("t3"))] * 2
    bank = Poller(store, service, Source(name="bank"), booked, clock=lambda: NOON)
    assert bank.poll() == Polled(received=2, unrecognized=1, pages=1)
    assert bank.poll() == Polled(repeated=3, pages=1)
    (kept,) = store.read_all(types=["feed.unrecognized"])
    assert kept.data["id"] == "t2"
    assert kept.data["error"].startswith(("ValueError: unreadable: /", "InvalidEvent: "))
    assert [one.data["id"] for one in store.read("account-1")] == ["t1", "t3"]
    assert sum(bank.status().unrecognized.values()) == 1


@pytest.mark.parametrize(
    "said", [b"NaN", b"1.0e9999999999999999999", rb'"\ud800"', b'"\xff"', b"9" * 5_000]
)
def test_outside_of_a_list_it_costs_the_answer(
    listing: Listing, service: JsonService, said: bytes
) -> None:
    """There is no item that it could be held against."""
    listing.replies = [Reply(200, b'{"balance": ' + said + b"}")]
    with pytest.raises(Unavailable) as raised:
        service.get()
    assert raised.value.code == "garbage"


def test_a_time_that_a_store_refuses_costs_the_time(
    listing: Listing, service: JsonService, store: refold.Store
) -> None:
    """Whatever ``read_transaction`` gives for a time, the feed goes on."""

    def read(item: Any) -> Transaction:
        at_us = 10**30 if item["id"] == "t2" else NOON
        return Transaction(item["id"], "deposit", at_us, item)

    listing.replies = [page(item("t1"), item("t2"), item("t3"))]
    source = Source(name="bank", read_transaction=read)
    bank = Poller(store, service, source, booked, clock=lambda: NOON)
    assert bank.poll() == Polled(received=2, unrecognized=1, pages=1)


def _raises(item: Any) -> Transaction:
    if item["id"] == "t2":
        raise KeyError("when")
    return read_transaction(item)


def _gives_no_json(item: Any) -> Transaction:
    data = {"value": object()} if item["id"] == "t2" else item
    return Transaction(item["id"], "deposit", NOON, data)


def _gives_no_name(item: Any) -> Transaction:
    id: Any = 7 if item["id"] == "t2" else item["id"]
    return Transaction(id, "deposit", NOON, item)


@pytest.mark.parametrize("read", [_raises, _gives_no_json, _gives_no_name])
def test_an_item_that_its_reader_fails_on_waits_for_a_better_one(
    listing: Listing,
    service: JsonService,
    store: refold.Store,
    read: Callable[[Any], Transaction],
) -> None:
    """Then it is events under its own id: once, though the service lists it again."""
    replies = [page(item("t1"), item("t2"), item("t3"))]
    listing.replies = replies * 3
    source = Source(name="bank", read_transaction=read)
    bank = Poller(store, service, source, booked, clock=lambda: NOON)
    assert bank.poll() == Polled(received=2, unrecognized=1, pages=1)
    assert bank.reconsider() == 0
    mended = Poller(store, service, Source(name="bank"), booked, clock=lambda: NOON)
    assert [mended.reconsider(), mended.reconsider()] == [1, 0]
    assert mended.poll().received == 0
    assert bank.poll().received == 0
    assert [one.data["id"] for one in store.read("account-1")] == ["t1", "t3", "t2"]
    assert mended.status().unrecognized == {}
    assert mended.status().received == {"deposit": 3}


def test_an_item_that_came_by_itself_meanwhile_is_not_doubled(
    listing: Listing, service: JsonService, store: refold.Store
) -> None:
    """The better reader polled before it was told to reconsider."""
    listing.replies = [page(item("t2"))] * 2
    source = Source(name="bank", read_transaction=_raises)
    Poller(store, service, source, booked, clock=lambda: NOON).poll()
    mended = Poller(store, service, Source(name="bank"), booked, clock=lambda: NOON)
    assert mended.poll().received == 1
    assert [mended.reconsider(), mended.reconsider()] == [1, 0]
    assert store.head("account-1") == 0


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.decimals(allow_nan=False, allow_infinity=False, places=3)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda children: st.lists(children) | st.dictionaries(st.text(), children),
    max_leaves=20,
)


@given(JSON)
def test_what_can_be_read_is_read_as_ever(value: Any) -> None:
    """Digit for digit as the strict reader has it, and nothing of it is unread."""
    import msgspec

    content = msgspec.json.Encoder(decimal_format="number").encode([value])
    unread: list[str] = []
    assert readable(read_json(content), unread) == decode_exactly(content)
    assert unread == []


def test_only_what_is_too_deep_becomes_text() -> None:
    """Its neighbours stay, and it is there to the letter."""
    deep = "[" * (LEVELS_MAX + 5) + '"]"' + "]" * (LEVELS_MAX + 5)
    found = read_json(f'[{deep}, {{"a": [1.50, "[["]}}]'.encode())
    assert found[1] == {"a": [Decimal("1.50"), "[["]}
    inner, levels = found[0], 0
    while isinstance(inner, list):
        inner, levels = inner[0], levels + 1
    assert inner == deep[levels : len(deep) - levels]
