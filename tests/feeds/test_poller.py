"""Transactions of a service become events: each once, none lost."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

import refold
from refold import Append, Event
from refold.errors import Rejected, Unavailable, UsageError
from refold.feeds import JsonService, Polled, Poller, Source, Transaction
from tests.feeds.listing import NOON, US, Listing, Reply, asking, serving, to_appends
from tests.support.stores import KINDS, url_of

HOUR_S = 3_600


@pytest.fixture
def listing() -> Iterator[Listing]:
    with serving() as listing:
        yield listing


@pytest.fixture
def service(listing: Listing) -> Iterator[JsonService]:
    with asking(listing) as service:
        yield service


@pytest.fixture(params=KINDS)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[refold.Store]:
    with refold.open(url_of(request.param, tmp_path), synchronous="NORMAL") as store:
        yield store


def poller(store: refold.Store, service: JsonService, **options: Any) -> Poller:
    """A poller of the bank, with a minute of overlap, at noon."""
    defaults: dict[str, Any] = {"overlap_s": 60, "clock": lambda: NOON, "to_appends": to_appends}
    source = options.pop("source", Source(name="bank", params={"agent_id": "7"}))
    settings = defaults | options
    return Poller(store, service, source, settings.pop("to_appends"), **settings)


def deposited(store: refold.Store) -> list[str]:
    """The ids of the transactions that became events, in the order of the log."""
    return [event.data["id"] for event in store.read_all(types=["test.deposited"])]


# -- each once --------------------------------------------------------------------------------


def test_a_transaction_becomes_events_once(
    listing: Listing, service: JsonService, store: refold.Store
) -> None:
    """Reading it again stores nothing; one that is new is stored beside it."""
    listing.add("t1", 1)
    bank = poller(store, service)
    assert bank.poll() == Polled(received=1, pages=1)
    assert bank.poll() == Polled(repeated=1, pages=1)
    listing.add("t2", 2)
    assert bank.poll() == Polled(received=1, repeated=1, pages=1)
    assert deposited(store) == ["t1", "t2"]
    assert listing.asked[0] == {"agent_id": "7"}


def test_the_events_of_a_transaction_say_when_and_whence(
    listing: Listing, service: JsonService, store: refold.Store
) -> None:
    """They have the service's time and name; the feed keeps the transaction as it came."""
    listing.add("t1", 30, note={"deep": [1, "x"]})
    poller(store, service).poll()
    (event,) = store.read("account-1")
    assert event.occurred_at_us == NOON + 30 * US
    assert event.metadata == {"feed": "bank", "transaction": "t1"}
    kept = next(store.read("feed-bank"))
    assert (kept.type, kept.occurred_at_us) == ("feed.received", NOON + 30 * US)
    assert kept.data["transaction"] == listing.transactions[0]
    assert kept.position == event.position - 1


def test_an_event_keeps_a_time_of_its_own(
    listing: Listing, service: JsonService, store: refold.Store
) -> None:
    """The mapping may know better when it happened."""
    listing.add("t1", 30)
    own = Event("test.deposited", {"id": "t1"}, occurred_at=NOON)
    poller(store, service, to_appends=lambda _t: [Append("account-1", [own])]).poll()
    assert next(store.read("account-1")).occurred_at_us == NOON


def test_numbers_are_exact(listing: Listing, service: JsonService, store: refold.Store) -> None:
    """What JSON writes with a point reaches the mapping as a Decimal, digit for digit."""
    seen: list[Any] = []

    def mapping(transaction: Transaction) -> Sequence[Append]:
        seen.append(transaction.data["amount"])
        return []

    listing.replies = [
        Reply(
            200, b'{"transactions": [{"id": "t1", "type": "x", "amount": 0.10000000000000000001}]}'
        )
    ]
    poller(store, service, to_appends=mapping).poll()
    assert seen == [Decimal("0.10000000000000000001")]
    kept = next(store.read("feed-bank")).data["transaction"]["amount"]
    assert kept == "0.10000000000000000001"


def test_what_moves_together_is_stored_together(
    listing: Listing, service: JsonService, store: refold.Store
) -> None:
    """A transaction that concerns several streams is in all of them or in none."""

    def mapping(transaction: Transaction) -> Sequence[Append]:
        taken = 5 if transaction.id == "t1" else refold.NO_STREAM
        event = Event("test.moved")
        return [Append("account-1", [event]), Append("account-2", [event], expected=taken)]

    listing.add("t1", 1)
    bank = poller(store, service, to_appends=mapping)
    with pytest.raises(refold.Conflict):
        bank.poll()
    assert list(store.read_all()) == []


def test_nothing_new_writes_nothing(
    listing: Listing, service: JsonService, store: refold.Store
) -> None:
    """A feed that is asked every second does not fill the log; its second page changes nothing."""
    listing.per_page = 2
    for number in range(5):
        listing.add(f"t{number}", number)
    bank = poller(store, service)
    bank.poll()
    head = store.log_head()
    assert [bank.poll() for _ in range(3)] == [Polled(repeated=5, pages=3)] * 3
    assert store.log_head() == head


def test_two_feeds_may_use_the_same_ids(
    listing: Listing, service: JsonService, store: refold.Store
) -> None:
    """A transaction's id is unique at its own service only."""
    listing.add("t1", 1)
    poller(store, service).poll()
    poller(store, service, source=Source(name="other")).poll()
    assert deposited(store) == ["t1", "t1"]


def test_ids_of_any_kind_are_told_apart(
    listing: Listing, service: JsonService, store: refold.Store
) -> None:
    """Numbers, long ones, control characters; without an id, the content is what counts."""
    ids = [7, "x" * 300, "x" * 301, "a\nb", "a\tb", None, "", " ", "☃"]
    for number, id in enumerate(ids):
        listing.transactions.append({"id": id, "type": "deposit", "amount": "1", "n": number})
    bank = poller(store, service)
    assert bank.poll().received == len(ids)
    assert bank.poll().repeated == len(ids)


@pytest.mark.parametrize("threads", [4])
def test_pollers_at_the_same_time_store_each_once(
    tmp_path: Path, listing: Listing, service: JsonService, threads: int
) -> None:
    """Any number of them may read one feed into one store."""
    for number in range(50):
        listing.add(f"t{number}", number)
    with refold.open(tmp_path / "log.db", synchronous="NORMAL") as store:
        tallies: list[Polled] = []
        workers = [
            threading.Thread(target=lambda: tallies.append(poller(store, service).poll()))
            for _ in range(threads)
        ]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        assert sorted(deposited(store)) == sorted(t["id"] for t in listing.transactions)
        assert sum(tally.received for tally in tallies) == 50
        assert sum(tally.repeated for tally in tallies) == 50 * (threads - 1)
        assert poller(store, service).status().received == {"deposit": 50}


# -- none lost --------------------------------------------------------------------------------


def test_late_and_unordered_transactions_are_found_within_the_overlap(
    listing: Listing, service: JsonService, store: refold.Store
) -> None:
    """A round starts a minute before the latest time that was seen."""
    listing.now_us = NOON + 500 * US
    listing.add("t3", 300)
    bank = poller(store, service, clock=lambda: listing.now_us)
    bank.poll()
    listing.transactions.insert(0, listing.transactions.pop())
    listing.add("t2", 241)
    listing.add("t1", 239)
    assert bank.poll().received == 1
    assert deposited(store) == ["t3", "t2"]
    assert bank.poll_since(NOON).received == 1
    assert deposited(store) == ["t3", "t2", "t1"]


def test_reading_from_a_later_moment_skips_nothing(
    listing: Listing, service: JsonService, store: refold.Store
) -> None:
    """``poll_since`` a moment past the cursor starts at the cursor all the same."""
    listing.now_us = NOON + 500 * US
    bank = poller(store, service, clock=lambda: listing.now_us)
    listing.add("t1", 1)
    bank.poll()
    listing.add("t2", 100)
    listing.add("t3", 400)
    bank.poll_since(NOON + 300 * US)
    assert deposited(store) == ["t1", "t2", "t3"]


def test_a_round_over_the_bound_goes_on_where_it_stopped(
    listing: Listing, service: JsonService, store: refold.Store
) -> None:
    """The token of the next page is kept, so a long history is read in bounded rounds."""
    listing.per_page = 2
    for number in range(7):
        listing.add(f"t{number}", 7 - number)
    assert poller(store, service, pages_max=2).poll() == Polled(received=4, pages=2, is_over=False)
    again = poller(store, service, pages_max=2)
    assert again.poll() == Polled(received=3, pages=2)
    assert [asked.get("page") for asked in listing.asked] == [None, "2", "4", "6"]
    assert len(deposited(store)) == 7


def test_a_token_that_has_expired_is_done_without(
    listing: Listing, service: JsonService, store: refold.Store
) -> None:
    """The round starts again from its time, not from its token."""
    listing.per_page = 2
    for number in range(5):
        listing.add(f"t{number}", number)
    bank = poller(store, service, pages_max=1)
    bank.poll()
    listing.replies = [Reply(410)]
    bank = poller(store, service)
    assert bank.poll() == Polled(received=3, repeated=2, pages=3)
    assert deposited(store) == [f"t{number}" for number in range(5)]


def test_a_moment_asked_for_in_the_midst_of_a_round_leaves_nothing_out(
    listing: Listing, service: JsonService, store: refold.Store
) -> None:
    """A round that was cut off is owed its further pages, wherever the next one is to start."""
    listing.now_us = NOON + 500 * US
    listing.per_page = 2
    for number in range(7):
        listing.add(f"t{number}", 100 * number)
    poller(store, service, pages_max=1).poll()
    poller(store, service).poll_since(NOON + 450 * US)
    assert sorted(deposited(store)) == [f"t{number}" for number in range(7)]


@pytest.mark.parametrize("failing", range(8))
def test_a_round_that_fails_anywhere_is_made_good(
    listing: Listing,
    service: JsonService,
    store: refold.Store,
    failing: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whichever write fails, the next round stores what is missing and nothing twice.

    The newest come first, and there is no overlap to hide behind.
    """
    listing.per_page, listing.now_us = 2, NOON + 1_000 * US
    for number in range(5):
        listing.add(f"t{number}", 900 - 100 * number)
    appends = iter(range(100))
    append = store._writer.append

    def fail(*args: Any, **options: Any) -> Any:
        if next(appends) == failing:
            raise Unavailable("the disk is full")
        return append(*args, **options)

    bank = poller(store, service, overlap_s=0)
    monkeypatch.setattr(store._writer, "append", fail)
    with pytest.raises(Unavailable):
        bank.poll()
    bank.poll()
    assert deposited(store) == [f"t{number}" for number in range(5)]
    assert bank.status().cursor_us == NOON + 900 * US


def test_a_service_that_fails_loses_nothing_that_was_read(
    listing: Listing, service: JsonService, store: refold.Store
) -> None:
    """What came before the failure is stored; the rest comes with the next round."""
    listing.per_page = 2
    for number in range(4):
        listing.add(f"t{number}", number)
    page = json.dumps({"transactions": listing.transactions[:2], "next": "2"}).encode()
    listing.replies = [Reply(200, page)] + [Reply(500)] * 6
    bank = poller(store, service)
    with pytest.raises(Unavailable):
        bank.poll()
    assert deposited(store) == ["t0", "t1"]
    bank.poll()
    assert deposited(store) == ["t0", "t1", "t2", "t3"]


# -- what cannot be understood ------------------------------------------------------------------


def test_an_unknown_type_is_kept_counted_and_holds_up_nobody(
    listing: Listing, service: JsonService, store: refold.Store
) -> None:
    """It is an event of the feed with all that it said; those after it are stored."""
    listing.add("t1", 1, kind="jackpot_share", pool=[1, {"x": 2}])
    listing.add("t2", 2)
    bank = poller(store, service)
    assert bank.poll() == Polled(received=1, unrecognized=1, pages=1)
    assert bank.poll() == Polled(repeated=2, pages=1)
    kept = next(store.read_all(types=["feed.unrecognized"]))
    assert (kept.data["id"], kept.data["type"]) == ("t1", "jackpot_share")
    assert json.loads(kept.data["text"]) == listing.transactions[0]
    status = bank.status()
    assert (status.received, status.unrecognized) == ({"deposit": 1}, {"jackpot_share": 1})


def test_a_transaction_that_breaks_the_mapping_is_set_aside_with_its_error(
    listing: Listing, service: JsonService, store: refold.Store
) -> None:
    """Neither an exception nor an event that cannot be stored stops the feed."""

    def mapping(transaction: Transaction) -> Sequence[Append] | None:
        if transaction.id == "t1":
            raise KeyError("amount")
        bad = [Event("test.bad", {"x": float("nan")})] if transaction.id == "t2" else []
        return [Append("account-1", bad or [Event("test.deposited", {"id": transaction.id})])]

    for number in (1, 2, 3):
        listing.add(f"t{number}", number)
    bank = poller(store, service, to_appends=mapping)
    assert bank.poll() == Polled(received=1, unrecognized=2, pages=1)
    errors = [e.data["error"] for e in store.read_all(types=["feed.unrecognized"])]
    assert errors[0] == "KeyError: 'amount'"
    assert errors[1].startswith("InvalidEvent: ")
    assert deposited(store) == ["t3"]


@pytest.mark.parametrize("item", [None, 7, "x", [], {}, {"id": {}, "type": 3}])
def test_a_transaction_of_no_shape_is_kept(
    listing: Listing, service: JsonService, store: refold.Store, item: Any
) -> None:
    """Even what is no object at all is recorded once, as it came."""
    listing.transactions = [item]
    listing.replies = [Reply(200, json.dumps({"transactions": [item]}).encode())] * 2
    bank = poller(store, service)
    assert [bank.poll().unrecognized, bank.poll().unrecognized] == [1, 0]
    kept = json.loads(next(store.read("feed-bank")).data["text"])
    assert kept == (item if isinstance(item, dict) else {"value": item})


def test_what_is_understood_later_is_made_good_once(
    listing: Listing, service: JsonService, store: refold.Store
) -> None:
    """With a mapping that knows the type, what was kept becomes events, at its own time."""
    listing.add("t1", 1, kind="bonus")
    listing.add("t2", 2, kind="omen")
    poller(store, service).poll()

    def wiser(transaction: Transaction) -> Sequence[Append] | None:
        if transaction.type != "bonus":
            return None
        return [Append("account-1", [Event("test.deposited", {"id": transaction.id})])]

    bank = poller(store, service, to_appends=wiser)
    assert bank.poll() == Polled(repeated=2, pages=1)
    assert [bank.reconsider(), bank.reconsider()] == [1, 0]
    (event,) = store.read("account-1")
    assert (event.data["id"], event.occurred_at_us) == ("t1", NOON + US)
    status = bank.status()
    assert (status.received, status.unrecognized) == ({"bonus": 1}, {"omen": 1})


def test_another_mapping_changes_nothing_that_is_stored(
    listing: Listing, service: JsonService, store: refold.Store
) -> None:
    """A transaction read again under a changed mapping is known by its content, not its events."""
    listing.add("t1", 1)
    poller(store, service).poll()
    other = poller(store, service, to_appends=lambda _t: [Append("other-1", [Event("test.x")])])
    assert other.poll_since(None) == Polled(repeated=1, pages=1)
    for number in range(2):  # And where it is too old to be remembered.
        store.append("feed-bank", [Event("feed.polled", {"since_us": NOON + HOUR_S * US + number})])
        assert other.poll_since(None) == Polled(repeated=1, pages=1)
    assert store.head("other-1") == -1


@pytest.mark.parametrize("is_remembered", [True, False])
def test_a_transaction_that_changed_is_reported_and_changes_nothing(
    listing: Listing, service: JsonService, store: refold.Store, is_remembered: bool
) -> None:
    """The first word stands; the second is an event of the feed, recorded once."""
    listing.add("t1", 1)
    bank = poller(store, service)
    bank.poll()
    if not is_remembered:
        store.append("feed-bank", [Event("feed.polled", {"since_us": NOON + HOUR_S * US})])
    listing.transactions[0]["amount"] = "99"
    assert bank.poll_since(None) == Polled(contradicted=1, pages=1)
    assert bank.poll_since(None) == Polled(repeated=1, pages=1)
    (event,) = store.read_all(types=["feed.contradicted"])
    assert json.loads(event.data["text"])["amount"] == "99"
    assert [e.data["amount"] for e in store.read("account-1")] == ["1.50"]
    assert bank.status().contradicted == 1


@pytest.mark.parametrize(
    "body", [b"[]", b'{"transactions": 7}', b'{"transactions": [], "next": "1"}', b"<html>"]
)
def test_an_answer_that_is_no_page_is_a_failure(
    listing: Listing, service: JsonService, store: refold.Store, body: bytes
) -> None:
    """Nothing is taken from it; a page that names itself as the next would never end."""
    listing.replies = [Reply(200, body)] * 10
    with pytest.raises(Unavailable) as raised:
        poller(store, service).poll()
    assert raised.value.code == "garbage"


def test_a_refusal_is_passed_on(
    listing: Listing, service: JsonService, store: refold.Store
) -> None:
    """A wrong key is for somebody to see."""
    listing.replies = [Reply(401)]
    with pytest.raises(Rejected) as raised:
        poller(store, service).poll()
    assert raised.value.status == 401


# -- clocks -----------------------------------------------------------------------------------


def test_the_skew_of_the_service_is_measured_and_recorded(
    listing: Listing, service: JsonService, store: refold.Store
) -> None:
    """Half an hour ahead is recorded as such, with the error of a header of whole seconds."""
    listing.now_us = NOON + 1_800 * US
    bank = poller(store, service)
    bank.poll()
    status = bank.status()
    assert status.skew_us == pytest.approx(1_800 * US, abs=US)
    assert status.skew_error_us == US // 2


def test_a_clock_that_is_set_back_hides_nothing(
    listing: Listing, service: JsonService, store: refold.Store
) -> None:
    """What is stamped before the cursor, because the clock went back, is read all the same."""
    listing.now_us = NOON + HOUR_S * US
    listing.add("t1", HOUR_S)
    bank = poller(store, service)
    bank.poll()
    listing.now_us = NOON + 100 * US
    listing.add("t2", 99)
    bank.poll()
    assert deposited(store) == ["t1", "t2"]
    listing.add("t3", 100)
    assert bank.poll().received == 1


def test_a_clock_that_is_set_forward_hides_nothing_that_comes_late(
    listing: Listing, store: refold.Store
) -> None:
    """What was stamped before and comes after is asked for until the overlap has passed."""
    now_us = NOON
    with asking(listing, clock=lambda: now_us) as service:
        listing.add("t1", -1)
        bank = poller(store, service, clock=lambda: now_us)
        bank.poll()
        listing.now_us = NOON + HOUR_S * US
        listing.add("t3", HOUR_S)
        bank.poll()
        listing.add("t2", -2)
        bank.poll()
        assert deposited(store) == ["t1", "t3", "t2"]
        now_us += 100 * US
        listing.now_us += 100 * US
        listing.add("t4", HOUR_S + 99)
        bank.poll()
        bank.poll()
        assert listing.asked[-1]["since"] == "2026-03-01T13:00:39Z"


def test_a_transaction_from_the_future_does_not_hide_the_present(
    listing: Listing, service: JsonService, store: refold.Store
) -> None:
    """The cursor does not pass the service's own clock."""
    listing.add("t1", HOUR_S)
    bank = poller(store, service)
    bank.poll()
    listing.add("t2", 0)
    bank.poll()
    assert deposited(store) == ["t1", "t2"]


def test_without_times_everything_is_read_each_round(
    listing: Listing, service: JsonService, store: refold.Store
) -> None:
    """A service that says no time is read from the start; the keys keep each once."""
    listing.transactions = [{"id": "t1", "type": "deposit", "amount": 1}]
    bank = poller(store, service)
    bank.poll()
    listing.transactions.append({"id": "t2", "type": "deposit", "amount": 2, "at": "soon"})
    assert bank.poll() == Polled(received=1, repeated=1, pages=1)
    assert "since" not in listing.asked[-1]


# -- the rest ---------------------------------------------------------------------------------


def test_run_goes_on_after_a_failure_until_it_is_stopped(
    listing: Listing, service: JsonService, store: refold.Store
) -> None:
    """A service that does not answer is told of, and asked again."""
    listing.add("t1", 1)
    listing.replies = [Reply(503)] * 6
    stop = threading.Event()
    failures: list[Unavailable] = []
    listing.before_reply = lambda: stop.set() if len(listing.asked) > 8 else None
    poller(store, service).run(stop, every_s=0, failed=failures.append)
    assert [failure.status for failure in failures] == [503]
    assert deposited(store) == ["t1"]


@pytest.mark.parametrize("name", ["", "x" * 61, "a~b", "a\nb", "a/b"])
def test_a_name_that_cannot_name_a_stream_is_refused(name: str) -> None:
    """Said when the source is made, not when something has come."""
    with pytest.raises((UsageError, refold.InvalidEvent)):
        Source(name=name)
