"""What a log that outlives its store does besides: reopening, and several stores at once."""

from __future__ import annotations

from refold.core.expected import ANY, NO_STREAM
from refold.engine.append import Append
from refold.errors import Conflict, StoreClosed, UsageError
from tests.conformance.sample import (
    HandClock,
    OpenStore,
    Said,
    ledger,
    raised,
    said,
    texts,
    untyped,
)


class Reopening:
    """One store after another."""

    def test_everything_is_there_again(self, open_store: OpenStore) -> None:
        """Events with their bytes, times and metadata; heads; branches; states."""
        with open_store(clock=HandClock(900)) as store:
            store.append("call-1", said("a", "b"), metadata={"n": 1})
            store.append("call-2", untyped("test.x"))
            store.branch("call-1", at=0).adding(Said("c")).save("call-1~b")
            before = [(e, e.metadata) for e in store.read_all()]
            streams = list(store.streams())
            state = store.fold("call-1~b", ledger)
        with open_store() as store:
            assert [(e, e.metadata) for e in store.read_all()] == before
            assert list(store.streams()) == streams
            assert store.fold("call-1~b", ledger) == state
            assert store.append("call-1", said("d"), expected=1).position == 6

    def test_keys_are_for_ever(self, open_store: OpenStore) -> None:
        """A repeated key finds its append, and a reused one is refused, after reopening too."""
        parts = [Append("call-1", said("a"), NO_STREAM), Append("call-2", said("b"), NO_STREAM)]
        with open_store() as store:
            first = store.append_together(parts, key="tx-1")
        with open_store() as store:
            again = store.append_together(parts, key="tx-1")
            assert again == [answer._replace(duplicate=True) for answer in first]
            error = raised(UsageError, store.append, "call-1", said("other"), key="tx-1")
            assert error.code == "key_reused"
            assert store.log_head() == 2

    def test_recorded_at_does_not_go_back(self, open_store: OpenStore) -> None:
        """The next day's clock may be behind; the log is not."""
        with open_store(clock=HandClock(900)) as store:
            store.append("call-1", said("a"))
        with open_store(clock=HandClock(100)) as store:
            assert store.append("call-1", said("b")).recorded_at_us == 900

    def test_types_keep_their_place(self, open_store: OpenStore) -> None:
        """Filters find events of types that another store's life has added."""
        for number in range(4):
            with open_store() as store:
                names = [f"test.t{number}-{n}" for n in range(20)]
                store.append(f"call-{number}", untyped(*names, "test.always"))
        with open_store() as store:
            assert len(list(store.read_all(types=["test.always"]))) == 4
            assert [e.stream for e in store.read_all(types=["test.t3-19"])] == ["call-3"]

    def test_a_closed_store_refuses(self, open_store: OpenStore) -> None:
        """Reading and appending say that it is closed; closing again is fine."""
        store = open_store()
        store.append("call-1", said("a"))
        store.close()
        store.close()
        raised(StoreClosed, store.append, "call-1", said("b"))
        raised(StoreClosed, store.read, "call-1")
        raised(StoreClosed, store.read_all)
        raised(StoreClosed, store.log_head)


class Sharing:
    """Several stores at once on one log, as several processes would have them."""

    def test_each_sees_what_the_others_append(self, open_store: OpenStore) -> None:
        """At once, in heads, reads, folds and positions."""
        stores = [open_store() for _ in range(3)]
        for number in range(9):
            answer = stores[number % 3].append("call-1", said(f"{number}"), expected=ANY)
            assert (answer.version, answer.position) == (number, number + 1)
            for store in stores:
                assert store.head("call-1") == number
                assert len(store.fold("call-1", ledger).state.texts) == number + 1

    def test_one_of_equal_expectations_wins(self, open_store: OpenStore) -> None:
        """A store that cached an older head does not append on it."""
        one, two = open_store(), open_store()
        one.append("call-1", said("a"), expected=NO_STREAM)
        raised(Conflict, two.append, "call-1", said("x"), expected=NO_STREAM)
        two.append("call-1", said("b"), expected=0)
        assert raised(Conflict, one.append, "call-1", said("x"), expected=0).actual == 1
        one.append("call-1", said("c"), expected=1)
        assert texts(list(two.read("call-1"))) == ["a", "b", "c"]

    def test_new_streams_and_types_do_not_collide(self, open_store: OpenStore) -> None:
        """Each store adds streams and types that the others have not seen."""
        one, two = open_store(), open_store()
        for number in range(5):
            one.append(f"call-{number}", untyped(f"test.one{number}", "test.both"))
            two.append(f"agent-{number}", untyped(f"test.two{number}", "test.both"))
            two.append(f"call-{number}", untyped("test.both"))
        for store in (one, two):
            assert len(list(store.read_all(types=["test.both"]))) == 15
            assert len(list(store.streams())) == 10
            found = list(store.read_all(types=["test.two3"]))
            assert [e.stream for e in found] == ["agent-3"]

    def test_a_key_of_one_is_known_to_the_others(self, open_store: OpenStore) -> None:
        """A retry through another store finds what the first one stored."""
        one, two = open_store(), open_store()
        first = one.append("call-1", said("a"), key="tx-1")
        assert two.append("call-1", said("a"), key="tx-1") == first._replace(duplicate=True)
        raised(UsageError, two.append, "call-1", said("b"), key="tx-1")
        two.append("call-1", said("b"), key="tx-2")
        assert one.append("call-1", said("b"), key="tx-2").duplicate

    def test_their_clocks_make_one_time(self, open_store: OpenStore) -> None:
        """A store whose clock is behind records at the time of the last event."""
        ahead, behind = open_store(clock=HandClock(900)), open_store(clock=HandClock(100))
        behind.append("call-1", said("a"))
        ahead.append("call-1", said("b"))
        behind.append("call-1", said("c"))
        assert [e.recorded_at_us for e in behind.read("call-1")] == [100, 900, 900]
