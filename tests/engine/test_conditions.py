"""Appends on condition that no event of a query has come: what is packed, and races."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import refold
from refold import Event, Query, Rejected
from refold.engine.store import Store
from refold.errors import Conflict, UsageError
from tests.conformance.conditions import BOTH, TAGGED, TYPED, is_refused
from tests.engine.conditional import Report, check_conditions, work
from tests.support.stores import KINDS, url_of

WAIT_S = 60
WORKERS = 4


@pytest.fixture(params=KINDS)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    """A store of each kind."""
    with refold.open(url_of(request.param, tmp_path), synchronous="NORMAL") as opened:
        yield opened


def refuse(command: int, state: int) -> Rejected:
    """Whatever is asked."""
    return Rejected("no", command=command, state=state)


def said(*types: str) -> list[Event]:
    """An event of each of the types."""
    return [Event(f"test.{name}") for name in types]


@pytest.mark.parametrize("after", ["5", None, 1.5, True, -1, -(10**30)])
def test_a_position_is_a_whole_number(store: Store, after: Any) -> None:
    """Refused before it comes into a commit, where it would fail the appends of others too."""
    store.append("call-1", said("a"), tags=["x:1"])
    for query in (TYPED, TAGGED):
        with pytest.raises(UsageError) as caught:
            store.append("call-1", said("a"), unless=query, after=after)
        assert caught.value.argument == "after"
    assert store.log_head() == 1


def test_a_condition_is_a_query(store: Store) -> None:
    """Its name, or its types alone, are none."""
    unless: Any
    for unless in ("test.a", ["test.a"]):
        with pytest.raises(UsageError) as caught:
            store.append("call-1", said("a"), unless=unless)
        assert caught.value.argument == "unless"
        with pytest.raises(UsageError) as caught:
            store.execute("call-1", refold.Decider(refold.Fold("n", int), refuse), 1, over=unless)
        assert caught.value.argument == "over"


def test_a_position_may_be_anywhere(store: Store) -> None:
    """Before the log, or further than any log can go: there is all to read, or nothing."""
    store.append("call-1", said("a"), tags=["x:1"])
    store.append("call-1", said("a"), unless=TAGGED, after=10**30)
    for query in (Query(types=["test.a"]), Query(tags=["x:1"])):
        assert list(store.read_all(after=10**30, matching=query)) == []
        assert next(store.read_all(after=-(10**30), matching=query)).position == 1


@pytest.mark.parametrize("key", ["a\ud800", "a\0b", "a\x1f1", ""])
def test_what_can_be_no_key_is_not_found(store: Store, key: str) -> None:
    """No append was made under it."""
    store.append("call-1", said("a"), key="a")
    assert store.find(key) is None


def test_a_position_may_be_within_a_packed_append(tmp_path: Path) -> None:
    """What refuses is an event after it, not the append nor the segment that it is in."""
    with refold.open(tmp_path / "log.db", synchronous="NORMAL") as store:
        store.append("call-1", said("a", "b", "c", "b"), tags=["x:1"])
        store.append("call-1", said("c"), tags=["x:1"])
        store.append("call-2", said("z"))
        assert store.compact().events == 5
        with pytest.raises(Conflict) as caught:
            store.append("call-1", said("z"), unless=Query(types=["test.b"]))
        assert caught.value.actual == 4  # The end of its append, not of the segment.
        for name, last in (("a", 1), ("b", 4), ("c", 5)):
            for tags in ([], ["x:1"]):
                query = Query(types=[f"test.{name}"], tags=tags)
                refused = [is_refused(store, query, after) for after in range(7)]
                assert refused == [after < last for after in range(7)], (name, tags)
        assert [is_refused(store, TAGGED, after) for after in range(7)] == [True] * 5 + [False] * 2


def test_what_is_packed_between_reading_and_appending_counts(tmp_path: Path) -> None:
    """A compaction hides no event from a condition, and shows none that does not match."""
    with refold.open(tmp_path / "log.db", synchronous="NORMAL") as store:
        store.append("call-1", said("a"), tags=["x:1"])
        read_to = store.log_head()
        store.append("call-1", said("b", "b"), tags=["x:2"])
        store.append("call-2", said("a"), tags=["x:3"])
        store.append("call-2", said("b"))
        store.append("last-1", said("z"))
        assert store.compact().events
        assert is_refused(store, TYPED, read_to)
        assert not is_refused(store, TYPED, 4)
        assert not is_refused(store, TAGGED, read_to)
        assert not is_refused(store, BOTH, read_to)
        assert is_refused(store, BOTH, 0)
        assert not is_refused(store, Query(types=["test.a"], tags=["x:2"]), 0)
        assert is_refused(store, Query(types=["test.b"], tags=["x:2"]), read_to)


def test_more_types_than_there_are_bits(tmp_path: Path) -> None:
    """Types that share a bit of the index are told apart, packed ones too."""
    with refold.open(tmp_path / "log.db", synchronous="NORMAL") as store:
        for number in range(80):
            store.append("call-1", said(f"t{number}"), tags=[f"x:{number % 2}"])
        store.append("last-1", said("z"))
        for _ in range(2):
            for number in (0, 61, 62, 63, 79):
                for after in (0, number, number + 1, 80):
                    for query in (
                        Query(types=[f"test.t{number}"]),
                        Query(types=[f"test.t{number}"], tags=[f"x:{number % 2}"]),
                    ):
                        assert is_refused(store, query, after) == (after <= number)
            store.compact()


def test_of_appends_in_one_commit_the_first_counts(tmp_path: Path) -> None:
    """Those that wait for one commit are conditional on each other too."""
    with refold.open(tmp_path / "log.db", synchronous="NORMAL") as store:
        begun, name = threading.Barrier(9), Query(tags=["name:ann"])

        def claim(number: int) -> int | None:
            begun.wait(WAIT_S)
            try:
                claimed = store.append(f"call-{number}", said("a"), tags=["name:ann"], unless=name)
            except Conflict as conflict:
                return -int(conflict.actual)
            return claimed.position

        with ThreadPoolExecutor(8) as pool:
            claims = [pool.submit(claim, number) for number in range(8)]
            begun.wait(WAIT_S)
            told = sorted(claim.result(WAIT_S) or 0 for claim in claims)
    assert told == [-1] * 7 + [1]


def test_wrong_queries_are_refused() -> None:
    """Of everything, of text in the place of a list, of too many parts."""
    with pytest.raises(UsageError):
        Query()
    with pytest.raises(UsageError):
        Query(types="test.a")
    with pytest.raises(UsageError):
        Query(tags="x:1")
    joined = Query(tags=["x:0"])
    with pytest.raises(UsageError):
        for number in range(33):
            joined |= Query(tags=[f"x:{number}"])


def test_queries_are_values() -> None:
    """Equal by what they match, in whatever order they were written."""
    one, two = Query(types=["a.b", "a.c"], tags=["x:1"]), Query(tags=["y:1"])
    assert one == Query(types=["a.c", "a.b"], tags=["x:1"])
    assert one | two == two | one
    assert len({one | two, two | one, one}) == 2
    assert one != two


def at_once(call: object) -> list[Report]:
    """The reports of workers that begin together."""
    barrier = threading.Barrier(WORKERS)

    def run(worker: int) -> Report:
        barrier.wait(timeout=WAIT_S)
        return call(worker)  # type: ignore[operator,no-any-return]

    with ThreadPoolExecutor(WORKERS) as pool:
        return list(pool.map(run, range(WORKERS), timeout=WAIT_S))


def test_threads_race_on_one_store(store: Store) -> None:
    """No condition is broken by an append that came first, and none is refused for nothing."""
    check_conditions(store, at_once(lambda worker: work(store, worker)))


def test_threads_race_on_stores_of_their_own(tmp_path: Path) -> None:
    """The same where they know of each other only through the file, while it is compacted."""
    done = threading.Event()

    def run(worker: int) -> Report:
        with refold.open(tmp_path / "log.db", synchronous="NORMAL") as own:
            return work(own, worker)

    def pack() -> None:
        with refold.open(tmp_path / "log.db", synchronous="NORMAL") as own:
            while not done.is_set():
                own.compact()

    packing = threading.Thread(target=pack)
    packing.start()
    try:
        reports = at_once(run)
    finally:
        done.set()
        packing.join(WAIT_S)
    with refold.open(tmp_path / "log.db", mode="read") as store:
        check_conditions(store, reports)


@pytest.mark.parametrize("url", KINDS)
def test_tasks_race(tmp_path: Path, url: str) -> None:
    """Of tasks that claim the same names, one gets each; the losers are told by whom."""
    names, tasks = 20, 10

    async def claim(store: refold.AsyncStore, name: int, task: int) -> int | None:
        query = Query(types=["name.claimed"], tags=[f"name:{name}"])
        try:
            done = await store.append(
                f"task-{task}",
                [Event("name.claimed", {"name": name, "task": task})],
                tags=[f"name:{name}"],
                unless=query,
            )
        except Conflict as conflict:
            assert conflict.actual > 0
            return None
        return done.position

    async def run() -> None:
        where = url_of(url, tmp_path)
        async with refold.open_async(where, synchronous="NORMAL") as store:
            claims = [claim(store, name, task) for task in range(tasks) for name in range(names)]
            told = [position for position in await asyncio.gather(*claims) if position]
            log = [event async for event in store.read_all()]
            assert sorted(told) == [event.position for event in log] == list(range(1, names + 1))
            assert {event.data["name"] for event in log} == set(range(names))

    asyncio.run(run())
