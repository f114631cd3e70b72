"""What every store does when it appends."""

from __future__ import annotations

from itertools import product

import pytest

from refold.core.event import Event
from refold.core.expected import ANY, NO_STREAM, STREAM_EXISTS, Expected
from refold.core.fold import Decider
from refold.engine.append import Append
from refold.errors import Conflict, InvalidEvent, NotFound, Rejected, UsageError
from tests.conformance.sample import (
    HandClock,
    Ledger,
    OpenStore,
    Said,
    ledger,
    raised,
    said,
    texts,
)

HEADS = (-1, 0, 4)
EXPECTATIONS: tuple[Expected, ...] = (ANY, NO_STREAM, STREAM_EXISTS, 0, 1, 4, 5)


def is_met(expected: Expected, head: int) -> bool:
    """The rule itself, written out: whether a stream at ``head`` is as expected."""
    if expected is ANY:
        return True
    if expected is NO_STREAM:
        return head == -1
    if expected is STREAM_EXISTS:
        return head >= 0
    return expected == head


class Appending:
    """Appends to one stream: places, expected versions, what is refused."""

    def test_an_append_says_where_its_events_stand(self, open_store: OpenStore) -> None:
        """Versions count from 0 in a stream, positions from 1 in the log, without gaps."""
        store = open_store(clock=HandClock(77))
        first = store.append("call-1", said("a", "b"))
        other = store.append("call-2", said("c"))
        second = store.append("call-1", said("d", "e", "f"))
        assert (first.version, first.position, first.event_count) == (1, 2, 2)
        assert (other.version, other.position, other.event_count) == (0, 3, 1)
        assert (second.version, second.position, second.event_count) == (4, 6, 3)
        assert second.ids == ["call-1@2", "call-1@3", "call-1@4"]
        assert (second.stream, second.recorded_at_us, second.duplicate) == ("call-1", 77, False)
        assert [e.id for e in store.read("call-1")] == first.ids + second.ids
        assert [e.position for e in store.read_all()] == [1, 2, 3, 4, 5, 6]
        assert (store.head("call-1"), store.head("call-2"), store.log_head()) == (4, 0, 6)

    @pytest.mark.parametrize(("head", "expected"), list(product(HEADS, EXPECTATIONS)))
    def test_an_append_is_stored_when_its_expectation_is_met_and_only_then(
        self, open_store: OpenStore, head: int, expected: Expected
    ) -> None:
        """Each expectation against a stream that is missing, that has 1 event, that has 5."""
        store = open_store()
        if head >= 0:
            store.append("call-1", said(*"abcde"[: head + 1]))
        if is_met(expected, head):
            assert store.append("call-1", said("x"), expected=expected).version == head + 1
            return
        error = raised(Conflict, store.append, "call-1", said("x"), expected=expected)
        assert (error.stream, error.expected, error.actual) == ("call-1", expected, head)
        assert error.retry == "redecide"
        assert (store.head("call-1"), store.log_head()) == (head, head + 1)

    def test_one_of_two_appends_that_expect_the_same_version_wins(
        self, open_store: OpenStore
    ) -> None:
        """The second one conflicts, even where it would have started at another version."""
        store = open_store()
        store.append("call-1", said("a", "b", "c"))
        store.append("call-1", said("won", "twice"), expected=2)
        assert raised(Conflict, store.append, "call-1", said("lost"), expected=2).actual == 4
        assert raised(Conflict, store.append, "call-1", said("inside"), expected=3).actual == 4
        assert texts(list(store.read("call-1"))) == ["a", "b", "c", "won", "twice"]

    @pytest.mark.parametrize("expected", [-1, True, "any", 1.0, None])
    def test_what_no_stream_can_be_at_is_a_wrong_call(
        self, open_store: OpenStore, expected: Expected
    ) -> None:
        """A wrong ``expected`` is refused before anything is written."""
        store = open_store()
        raised(UsageError, store.append, "call-1", said("a"), expected=expected)
        assert store.log_head() == 0

    def test_an_append_with_one_bad_event_stores_none_of_them(self, open_store: OpenStore) -> None:
        """All or none; the error says which event, and where inside it."""
        store = open_store()
        events = [*said("a"), Event("test.bad", {"x": [1, {"y": float("nan")}]}), *said("b")]
        error = raised(InvalidEvent, store.append, "call-1", events)
        assert (error.index, error.path) == (1, "/x/1/y")
        raised(InvalidEvent, store.append, "call-1", [])
        raised(NotFound, store.read, "call-1")
        assert (store.head("call-1"), store.log_head()) == (-1, 0)

    def test_an_event_comes_back_as_it_was_given(self, open_store: OpenStore) -> None:
        """Type, schema, payload, metadata and both times; what the event says goes on top."""
        store = open_store(clock=HandClock(5_000_000))
        own = Event(
            "test.noted.v3",
            {"a": [1, None, "é"]},
            metadata={"actor": "her", "own": 1},
            occurred_at="1970-01-01T00:00:01Z",
        )
        store.append("call-1", [own, Said("hi")], metadata={"actor": "him", "trace": "t"})
        noted, spoken = store.read("call-1")
        assert (noted.type, noted.schema, noted.data) == ("test.noted", 3, {"a": [1, None, "é"]})
        assert noted.metadata == {"actor": "her", "trace": "t", "own": 1}
        assert (noted.occurred_at_us, noted.recorded_at_us) == (1_000_000, 5_000_000)
        assert (spoken.event, spoken.metadata) == (Said("hi"), {"actor": "him", "trace": "t"})
        assert (spoken.occurred_at_us, spoken.recorded_at_us) == (5_000_000, 5_000_000)

    def test_a_clock_that_goes_back_does_not_take_recorded_at_along(
        self, open_store: OpenStore
    ) -> None:
        """``recorded_at`` never goes backwards along positions, in all streams together."""
        clock = HandClock()
        store = open_store(clock=clock)
        answers = []
        for clock.us, stream in ((50, "call-1"), (20, "call-2"), (49, "call-1"), (51, "call-2")):
            answers.append(store.append(stream, said("a", "b")).recorded_at_us)
        assert answers == [50, 50, 50, 51]
        assert [e.recorded_at_us for e in store.read_all()] == [50] * 6 + [51] * 2


class Together:
    """Appends to several streams at once."""

    def test_several_streams_are_appended_to_together(self, open_store: OpenStore) -> None:
        """Each part has its own expectation and metadata; positions follow the parts' order."""
        store = open_store()
        store.append("call-2", said("before"))
        answers = store.append_together(
            [
                Append("call-1", said("a", "b"), NO_STREAM, {"part": 1}),
                Append("call-2", said("c"), 0, {"part": 2}),
                Append("call-3", said("d"), ANY),
            ]
        )
        assert [(a.stream, a.version, a.position) for a in answers] == [
            ("call-1", 1, 3),
            ("call-2", 1, 4),
            ("call-3", 0, 5),
        ]
        assert texts(list(store.read_all(after=1))) == ["a", "b", "c", "d"]
        assert [e.metadata.get("part") for e in store.read_all(after=1)] == [1, 1, 2, None]

    def test_one_refused_part_refuses_them_all(self, open_store: OpenStore) -> None:
        """Whichever part does not meet its expectation, nothing is stored anywhere."""
        store = open_store()
        store.append("call-1", said("a"))
        good = [Append("call-1", said("b"), 0), Append("call-2", said("c"), NO_STREAM)]
        bad = Append("call-3", said("d"), STREAM_EXISTS)
        for place in range(3):
            parts = [*good[:place], bad, *good[place:]]
            assert raised(Conflict, store.append_together, parts).stream == "call-3"
        assert [info.stream for info in store.streams()] == ["call-1"]
        assert store.log_head() == 1

    def test_one_stream_may_come_twice(self, open_store: OpenStore) -> None:
        """A later part expects what the earlier parts have made of the stream."""
        store = open_store()
        parts = [
            Append("call-1", said("a", "b"), NO_STREAM),
            Append("call-2", said("c"), NO_STREAM),
            Append("call-1", said("d"), 1),
            Append("call-1", said("e"), STREAM_EXISTS),
        ]
        answers = store.append_together(parts)
        assert [(a.version, a.position) for a in answers] == [(1, 2), (0, 3), (2, 4), (3, 5)]
        assert texts(list(store.read("call-1"))) == ["a", "b", "d", "e"]
        twice_new = [Append("call-3", said("x"), NO_STREAM)] * 2
        assert raised(Conflict, store.append_together, twice_new).actual == 0
        assert store.head("call-3") == -1

    def test_no_part_at_all_is_a_wrong_call(self, open_store: OpenStore) -> None:
        """An append to nowhere is refused."""
        store = open_store()
        raised(UsageError, store.append_together, [])


class Keys:
    """Appends that carry a key."""

    @pytest.mark.parametrize("expected", [ANY, NO_STREAM, STREAM_EXISTS, 0])
    def test_a_repeated_key_gives_the_first_answer(
        self, open_store: OpenStore, expected: Expected
    ) -> None:
        """For every expectation, even though it no longer holds; nothing is stored again."""
        clock = HandClock(10)
        store = open_store(clock=clock)
        if expected is not NO_STREAM:
            store.append("call-1", said("before"))
        first = store.append("call-1", said("a", "b"), expected=expected, key="tx-1")
        store.append("call-1", said("after"))
        clock.us = 99
        again = store.append("call-1", said("a", "b"), expected=expected, key="tx-1")
        assert again == first._replace(duplicate=True)
        assert again.recorded_at_us == 10
        assert texts(list(store.read("call-1")))[-3:] == ["a", "b", "after"]

    def test_what_an_append_expects_is_not_part_of_what_its_key_stands_for(
        self, open_store: OpenStore
    ) -> None:
        """A retry may have read again and expect a newer version: it is the same append."""
        store = open_store()
        store.append("call-1", said("a"), expected=NO_STREAM, key="tx-1")
        assert store.append("call-1", said("a"), expected=0, key="tx-1").duplicate
        assert store.head("call-1") == 0

    def test_a_key_used_for_other_bytes_is_refused(self, open_store: OpenStore) -> None:
        """Other events, metadata, stream, time, or another split: all are other appends."""
        store = open_store()
        store.append("call-1", said("a", "b"), key="tx-1", metadata={"n": 1})
        others = [
            [Append("call-1", said("a", "B"), ANY, {"n": 1})],
            [Append("call-1", said("a"), ANY, {"n": 1})],
            [Append("call-1", said("a", "b"), ANY, {"n": 2})],
            [Append("call-1", said("a", "b"), ANY)],
            [Append("call-2", said("a", "b"), ANY, {"n": 1})],
            [
                Append("call-1", said("a"), ANY, {"n": 1}),
                Append("call-1", said("b"), ANY, {"n": 1}),
            ],
            [Append("call-1", [Event.of(Said("a"), occurred_at=1), Said("b")], ANY, {"n": 1})],
        ]
        for parts in others:
            error = raised(UsageError, store.append_together, parts, key="tx-1")
            assert (error.code, error.key) == ("key_reused", "tx-1")
            assert (error.stream, error.version) == ("call-1", 0)
        assert store.log_head() == 2

    def test_a_key_spans_all_the_parts_of_an_append(self, open_store: OpenStore) -> None:
        """A repeated append to several streams gives every first answer again."""
        store = open_store()
        parts = [
            Append("call-1", said("a"), NO_STREAM),
            Append("call-2", said("b", "c"), NO_STREAM),
            Append("call-1", said("d"), 0),
        ]
        first = store.append_together(parts, key="tx-1")
        store.append("call-2", said("after"))
        again = store.append_together(parts, key="tx-1")
        assert again == [answer._replace(duplicate=True) for answer in first]
        assert store.log_head() == 5
        raised(UsageError, store.append_together, parts[:2], key="tx-1")
        raised(UsageError, store.append_together, parts[::-1], key="tx-1")

    def test_a_refused_append_leaves_its_key_free(self, open_store: OpenStore) -> None:
        """A key stands for what was stored, not for what was tried."""
        store = open_store()
        raised(Conflict, store.append, "call-1", said("a"), expected=3, key="tx-1")
        stored = store.append("call-1", said("b"), expected=NO_STREAM, key="tx-1")
        assert not stored.duplicate
        assert store.append("call-1", said("b"), expected=NO_STREAM, key="tx-1").duplicate

    def test_keys_are_apart(self, open_store: OpenStore) -> None:
        """Equal events under two keys, and under none, are as many appends."""
        store = open_store()
        for key in ("tx-1", "tx-2", "TX-1", "tx-1 ", None, None):
            assert not store.append("call-1", said("a"), key=key).duplicate
        assert store.head("call-1") == 5


class Deciding:
    """``execute``: fold, decide, append."""

    def test_a_command_is_decided_against_the_folded_state(self, open_store: OpenStore) -> None:
        """The events that it gives are appended at the version that was read."""
        store = open_store()
        echo: Decider[Ledger, str] = Decider(
            ledger, lambda command, state: said(f"{command}{len(state.texts)}")
        )
        for version in range(3):
            answer = store.execute("call-1", echo, "n")
            assert answer is not None
            assert answer.version == version
        assert texts(list(store.read("call-1"))) == ["n0", "n1", "n2"]

    def test_nothing_to_do_and_no_are_two_answers(self, open_store: OpenStore) -> None:
        """No events give None, a rejection is raised; neither makes a stream."""
        store = open_store()
        idle: Decider[Ledger, str] = Decider(ledger, lambda _command, _state: [])
        assert store.execute("call-1", idle, "x") is None
        refusing: Decider[Ledger, str] = Decider(ledger, lambda _command, _state: Rejected("no"))
        assert raised(Rejected, store.execute, "call-1", refusing, "x").reason == "no"
        assert store.head("call-1") == -1

    def test_a_command_that_lost_a_race_is_decided_again(self, open_store: OpenStore) -> None:
        """It sees what won; after ten lost races the conflict is the caller's."""
        store, rival = open_store(), open_store()
        seen: list[int] = []

        def decide(rivals: int, state: Ledger) -> list[Said]:
            seen.append(len(state.texts))
            if len(seen) <= rivals:
                rival.append("call-1", said("rival"))
            return said("mine")

        assert store.execute("call-1", Decider(ledger, decide), 2) is not None
        assert (seen, texts(list(store.read("call-1")))) == ([0, 1, 2], ["rival", "rival", "mine"])
        seen.clear()
        raised(Conflict, store.execute, "call-1", Decider(ledger, decide), 99)
        assert len(seen) == 10
