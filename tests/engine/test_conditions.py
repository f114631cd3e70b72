"""Appends on condition that no event of a query has come: alone, in races, and beside the rest."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import refold
from refold import Append, Event, Query
from refold.core.fold import Fold
from refold.engine.store import Store
from refold.errors import Conflict, InvalidEvent, UsageError
from tests.engine.conditional import Report, check_conditions, work

WAIT_S = 60
WORKERS = 4


@pytest.fixture(params=["memory:", "log.db"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    """A store of either kind."""
    url = request.param if request.param == "memory:" else tmp_path / request.param
    with refold.open(url, synchronous="NORMAL") as opened:
        yield opened


def said(*types: str) -> list[Event]:
    """An event of each of the types."""
    return [Event(f"test.{name}") for name in types]


def is_refused(store: Store, query: Query, after: int, stream: str = "other-1") -> bool:
    """Whether an append on a condition is refused; it leaves nothing behind that matches."""
    before = store.log_head()
    try:
        store.append(stream, said("probe"), unless=query, after=after)
    except Conflict as conflict:
        assert conflict.actual > conflict.expected == after
        assert conflict.query == repr(query)
        assert store.log_head() == before
        return True
    return False


TYPED = Query(types=["test.a"])
TAGGED = Query(tags=["x:1"])
BOTH = Query(types=["test.a"], tags=["x:1"])


@pytest.mark.parametrize(
    ("types", "tags", "refused"),
    [
        ("a", ["x:1"], {TYPED, TAGGED, BOTH}),
        ("a", [], {TYPED}),
        ("b", ["x:1"], {TAGGED}),
        ("a", ["x:2"], {TYPED}),
        ("ba", ["x:1", "x:2"], {TYPED, TAGGED, BOTH}),
        ("b", [], set()),
    ],
)
def test_a_condition_is_about_types_and_tags(
    store: Store, types: str, tags: list[str], refused: set[Query]
) -> None:
    """An event of any of the types and with all of the tags refuses; no other does."""
    store.append("call-1", said(*types), tags=tags)
    assert {query for query in (TYPED, TAGGED, BOTH) if is_refused(store, query, 0)} == refused


def test_a_condition_of_several_tags_wants_all_of_them(store: Store) -> None:
    """And of several queries any."""
    store.append("call-1", said("a"), tags=["x:1"])
    store.append("call-2", said("a"), tags=["x:2"])
    both = Query(tags=["x:1", "x:2"])
    assert not is_refused(store, both, 0)
    assert is_refused(store, both | Query(tags=["x:2"]), 0)
    store.append("call-3", said("b"), tags=["x:2", "x:1"])
    assert is_refused(store, both, 0)


def test_an_event_at_the_position_itself_does_not_count(store: Store) -> None:
    """Only what came after it."""
    store.append("call-1", said("a"), tags=["x:1"])
    store.append("call-1", said("b"))
    for query in (TYPED, TAGGED, BOTH):
        assert is_refused(store, query, 0)
        assert not is_refused(store, query, 1)


@pytest.mark.parametrize("packed", [False, True])
def test_a_position_may_be_within_an_append(tmp_path: Path, packed: bool) -> None:
    """What refuses is an event after it, not the append that it is in; packed or not."""
    with refold.open(tmp_path / "log.db", synchronous="NORMAL") as store:
        check_within(store, packed=packed)


def test_a_position_may_be_within_an_append_in_memory() -> None:
    """The same there."""
    with refold.open("memory:") as store:
        check_within(store, packed=False)


def check_within(store: Store, *, packed: bool) -> None:
    """An append of a, b, c, b at positions 1 to 4, and the conditions that are about its parts."""
    store.append("call-1", said("a", "b", "c", "b"), tags=["x:1"])
    store.append("call-2", said("z"))
    if packed:
        assert store.compact().events
    for name, last in (("a", 1), ("b", 4), ("c", 3)):
        query = Query(types=[f"test.{name}"])
        narrow = Query(types=[f"test.{name}"], tags=["x:1"])
        for after in range(5):
            assert is_refused(store, query, after) == (after < last), (name, after)
            assert is_refused(store, narrow, after) == (after < last), (name, after)
    assert [is_refused(store, TAGGED, after) for after in range(6)] == [True] * 4 + [False] * 2


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


def test_every_schema_of_a_type_counts(store: Store) -> None:
    """A type means all its schemas, in the condition as in reading."""
    store.append("call-1", [Event("test.a.v2")])
    assert is_refused(store, TYPED, 0)
    assert is_refused(store, Query(types=["test.a.v3"]), 0)


def test_branches_do_not_count(store: Store) -> None:
    """What might have been refuses nothing; an append to a branch may be conditional itself."""
    store.append("call-1", said("z"))
    store.branch("call-1").adding(*said("a")).save("call-1~b")
    store.append("call-1~b", said("a"), tags=["x:1"])
    for query in (TYPED, TAGGED, BOTH):
        assert not is_refused(store, query, 0)
        assert list(store.read_all(matching=query)) == []
    store.append("call-1", said("a"))
    assert is_refused(store, TYPED, 0, stream="call-1~b")


def test_a_condition_stands_beside_an_expected_version(store: Store) -> None:
    """Both must hold; either refuses alone."""
    store.append("call-1", said("a"))
    with pytest.raises(Conflict) as caught:
        store.append("call-1", said("b"), expected=7, unless=TYPED, after=1)
    assert caught.value.expected == 7
    with pytest.raises(Conflict) as caught:
        store.append("call-1", said("b"), expected=0, unless=TYPED, after=0)
    assert caught.value.actual == 1
    assert store.append("call-1", said("b"), expected=0, unless=TYPED, after=1).position == 2


def test_a_condition_holds_for_all_the_streams_of_an_append(store: Store) -> None:
    """All or none; its own events do not stand in its way."""
    parts = [Append("call-1", said("a")), Append("call-2", said("a"))]
    assert len(store.append_together(parts, unless=TYPED)) == 2
    with pytest.raises(Conflict):
        store.append_together(parts, unless=TYPED)
    assert store.log_head() == 2
    store.append_together(parts, unless=TYPED, after=2)


def test_a_stored_key_is_answered_before_its_condition(store: Store) -> None:
    """A retry finds its first answer, though its own event would refuse it."""
    first = store.append("call-1", said("a"), key="tx-1", unless=TYPED)
    again = store.append("call-1", said("a"), key="tx-1", unless=TYPED)
    assert again == first._replace(duplicate=True)
    with pytest.raises(UsageError) as caught:
        store.append("call-1", said("b"), key="tx-1", unless=TYPED)
    assert caught.value.code == "key_reused"


def test_a_refused_condition_leaves_its_key_free(store: Store) -> None:
    """The key may be used for what is decided next."""
    store.append("call-1", said("a"))
    with pytest.raises(Conflict):
        store.append("call-1", said("b"), key="tx-1", unless=TYPED)
    assert store.find("tx-1") is None
    assert not store.append("call-1", said("c"), key="tx-1", unless=TYPED, after=1).duplicate


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


def test_a_query_is_read_and_folded_as_it_is_checked(store: Store) -> None:
    """``read_all(matching=…)`` gives its events once, in order; a fold says how far it looked."""
    store.append("call-1", said("a", "b"), tags=["x:1"])
    store.append("call-2", said("a"))
    store.append("call-3", said("c", "a"), tags=["x:1", "x:2"])
    counting: Fold[int] = Fold("count", lambda: 0)
    counting.on("test.a", "test.b", "test.c")(lambda state, event: state + 1)
    for query, positions in (
        (TYPED, [1, 3, 5]),
        (TAGGED, [1, 2, 4, 5]),
        (BOTH, [1, 5]),
        (TYPED | TAGGED, [1, 2, 3, 4, 5]),
        (Query(tags=["x:9"]), []),
    ):
        assert [e.position for e in store.read_all(matching=query)] == positions
        assert [e.position for e in store.read_all(matching=query, after=3)] == [
            position for position in positions if position > 3
        ]
        assert store.fold(query, counting) == (len(positions), -1, 5)
        assert store.fold(query, counting, position=3).state == len(
            [position for position in positions if position <= 3]
        )


def test_tags_are_in_the_metadata(store: Store) -> None:
    """However they were given; without repeats."""
    store.append("call-1", said("a"), tags=["x:1", "x:1"], metadata={"by": "ann"})
    store.append("call-1", said("a"), metadata={"tags": ["x:2"]}, tags=["x:1"])
    store.append("call-1", said("a"), metadata={"tags": ["x:2"]})
    found = [e.metadata for e in store.read("call-1")]
    assert found == [
        {"by": "ann", "tags": ["x:1"]},
        {"tags": ["x:1", "x:2"]},
        {"tags": ["x:2"]},
    ]
    assert [e.version for e in store.read_all(matching=Query(tags=["x:2"]))] == [1, 2]


@pytest.mark.parametrize(
    "tags", ["x:1", ["x" * 256], ["a\nb"], [""], [1], [str(n) for n in range(33)]]
)
def test_wrong_tags_are_refused(store: Store, tags: object) -> None:
    """Text in the place of a list, what is too long or no name, too many."""
    with pytest.raises(InvalidEvent):
        store.append("call-1", said("a"), tags=tags)  # type: ignore[arg-type]
    with pytest.raises(InvalidEvent):
        store.append("call-1", said("a"), metadata={"tags": tags})
    assert store.log_head() == 0


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


@pytest.mark.parametrize("url", ["memory:", "log.db"])
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
        where = url if url == "memory:" else tmp_path / url
        async with refold.open_async(where, synchronous="NORMAL") as store:
            claims = [claim(store, name, task) for task in range(tasks) for name in range(names)]
            told = [position for position in await asyncio.gather(*claims) if position]
            log = [event async for event in store.read_all()]
            assert sorted(told) == [event.position for event in log] == list(range(1, names + 1))
            assert {event.data["name"] for event in log} == set(range(names))

    asyncio.run(run())
