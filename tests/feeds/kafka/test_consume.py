"""From a topic into the tables of a projection elsewhere: each event once, whatever comes twice."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import msgspec
import pytest
from confluent_kafka import Consumer, Producer

import refold
from refold.errors import BackendError, RefoldError, Unavailable, UsageError
from refold.feeds.kafka import KafkaFeed, consume
from refold.feeds.kafka.consumer import Consuming
from refold.feeds.kafka.standing import lags
from refold.projections import Projection, Projector, Rows, Table
from tests.feeds.kafka.topics import fill, heads
from tests.support import postgres
from tests.support.kafka import Cluster

pytestmark = pytest.mark.xdist_group("kafka")


class Walk(msgspec.Struct):
    """How far a stream has come, step by step."""

    stream: str
    steps: int
    total: int


WALKS = Table("walks", Walk, key="stream")


def walks(*, fails_at: int | None = None, **given: Any) -> Projection:
    """Counts the steps of each stream, and refuses one that comes out of order."""
    made = Projection("walks", tables=[WALKS], **given)

    @made.on("step.taken")
    def _taken(rows: Rows, event: dict[str, Any], recorded: refold.Recorded) -> None:
        walk = rows.get(WALKS, recorded.stream) or Walk(recorded.stream, 0, 0)
        if recorded.version != walk.steps or event["n"] == fails_at:
            raise ValueError(f"{recorded.id} after {walk.steps} steps")
        rows.put(WALKS, Walk(walk.stream, walk.steps + 1, walk.total + event["n"]))

    return made


def shown(rows: refold.Store) -> dict[str, int]:
    """The steps of each stream in the table."""
    found = Projector(rows, [walks()]).query("SELECT stream, steps FROM walks")
    return dict(found)


def due(store: refold.Store) -> dict[str, int]:
    """What the table must say."""
    return {stream: len(versions) for stream, versions in heads(store).items()}


@pytest.fixture
def store() -> Iterator[refold.Store]:
    """A store to feed from."""
    with refold.open("memory:") as made:
        yield made


@pytest.fixture
def rows() -> Iterator[refold.Store]:
    """The store of the tables."""
    with refold.open("memory:") as made:
        yield made


def test_each_event_counts_once_however_often_it_comes(
    store: refold.Store, rows: refold.Store, brokers: Cluster
) -> None:
    """A second feed of the same source sends all of it again, amid what is new; nothing doubles."""
    topic = brokers.topic("again")
    how: dict[str, Any] = {"bootstrap": brokers.bootstrap}
    fill(store, 300)
    KafkaFeed(store, topic, **how).catch_up()
    taking: dict[str, Any] = {"rows": rows, "once": True, **how}
    assert consume(topic, walks(), **taking) == 300
    fill(store, 30, start=300)
    KafkaFeed(store, topic, name="again-2", mode="structured", **how).catch_up()
    KafkaFeed(store, topic, **how).catch_up()
    assert consume(topic, walks(), **taking) == 30
    assert consume(topic, walks(), **taking) == 0
    assert shown(rows) == due(store)


def test_a_log_that_went_back_and_grew_again_is_told(
    store: refold.Store, rows: refold.Store, brokers: Cluster
) -> None:
    """What stands now at positions that were taken is no repetition: nothing goes on over it."""
    topic = brokers.topic("back", partitions=1)
    how: dict[str, Any] = {"bootstrap": brokers.bootstrap, "source": "urn:agents"}
    taking: dict[str, Any] = {"rows": rows, "bootstrap": brokers.bootstrap, "once": True}
    fill(store, 30)
    KafkaFeed(store, topic, **how).catch_up()
    assert consume(topic, walks(), **taking) == 30
    before = shown(rows)
    with refold.open("memory:") as grown:
        fill(grown, 60)
        KafkaFeed(grown, topic, name="after", **how).catch_up()
    for _ in range(2):
        with pytest.raises(BackendError) as caught:
            consume(topic, walks(), **taking)
        assert (caught.value.code, caught.value.position) == ("log_went_back", 30)
        assert "urn:agents" in str(caught.value)
        assert shown(rows) == before


def test_two_stores_in_one_topic_are_told_apart(
    store: refold.Store, rows: refold.Store, brokers: Cluster
) -> None:
    """Each has positions of its own, from 1: the source, its own unless given, says whose."""
    topic = brokers.topic("shared", partitions=1)
    how: dict[str, Any] = {"bootstrap": brokers.bootstrap}
    fill(store, 20)
    with refold.open("memory:") as other:
        for number in range(10):
            other.append(f"mail-{number % 2}", [refold.Event("step.taken", {"n": number})])
        KafkaFeed(store, topic, **how).catch_up()
        KafkaFeed(other, topic, name="mail", **how).catch_up()
        assert consume(topic, walks(), rows=rows, once=True, **how) == 30
        assert shown(rows) == {**due(store), **due(other)}


def test_a_projection_is_given_what_it_wants(
    store: refold.Store, rows: refold.Store, brokers: Cluster
) -> None:
    """Categories narrow it here as they do beside the log."""
    topic = brokers.topic("wanted")
    fill(store, 14)
    store.append("chat-1", [refold.Event("step.taken", {"n": 0})])
    KafkaFeed(store, topic, bootstrap=brokers.bootstrap).catch_up()
    chats = walks(categories=["chat"])
    consume(topic, chats, rows=rows, bootstrap=brokers.bootstrap, once=True)
    assert dict(Projector(rows, [chats]).query("SELECT stream, steps FROM walks")) == {"chat-1": 1}


def test_a_handler_that_fails_stops_it_before_its_batch(
    store: refold.Store, rows: refold.Store, brokers: Cluster
) -> None:
    """Rows and progress stand where they stood; with the handler mended it goes on from there."""
    topic = brokers.topic("failing", partitions=1)
    taking: dict[str, Any] = {"rows": rows, "bootstrap": brokers.bootstrap, "once": True}
    fill(store, 20)
    KafkaFeed(store, topic, bootstrap=brokers.bootstrap).catch_up()
    consume(topic, walks(), **taking)
    before = shown(rows)
    fill(store, 20, start=20)
    KafkaFeed(store, topic, bootstrap=brokers.bootstrap).catch_up()
    failing = consuming(topic, walks(), rows, brokers)
    failing._projection = walks(fails_at=33)
    with pytest.raises(RefoldError, match=r"failing, partition 0, offset 33: .*call-5@4") as failed:
        failing.run(threading.Event(), True)
    assert (failed.value.code, shown(rows)) == ("not_taken", before)
    assert consume(topic, walks(), **taking) == 20
    assert shown(rows) == due(store)


def test_what_is_no_event_stops_it(rows: refold.Store, brokers: Cluster) -> None:
    """A stranger's message in the topic is told with its place, not passed over."""
    topic = brokers.topic("strange", partitions=1)
    producer = Producer({"bootstrap.servers": brokers.bootstrap})
    producer.produce(topic, b"hello", b"call-1")
    producer.flush(30)
    with pytest.raises(RefoldError, match=r"strange, partition 0, offset 0: .*no event of refold"):
        consume(topic, walks(), rows=rows, bootstrap=brokers.bootstrap, once=True)


def test_who_has_lost_a_partition_changes_nothing_twice(
    store: refold.Store, rows: refold.Store, brokers: Cluster
) -> None:
    """It wakes with messages in hand that another has taken meanwhile, and some that are new."""
    topic = brokers.topic("lost", partitions=1)
    fill(store, 20)
    KafkaFeed(store, topic, bootstrap=brokers.bootstrap).catch_up()
    asleep = consuming(topic, walks(), rows, brokers)
    asleep._consumer.subscribe([topic], on_assign=asleep._assigned)
    held: list[Any] = []
    while len(held) < 20:
        held += [one for one in asleep._consumer.consume(20, 0.1) if asleep._is_event(one)]
    how: dict[str, Any] = {"rows": rows, "bootstrap": brokers.bootstrap, "once": True}
    assert consume(topic, walks(), group="another", **how) == 20
    fill(store, 5, start=20)
    KafkaFeed(store, topic, bootstrap=brokers.bootstrap).catch_up()
    while len(held) < 25:
        held += [one for one in asleep._consumer.consume(5, 0.1) if asleep._is_event(one)]
    assert rows._backend.write(lambda begin: asleep._stored(held, begin)) == 5  # type: ignore[attr-defined]
    assert rows._backend.write(lambda begin: asleep._stored(held, begin)) == 0  # type: ignore[attr-defined]
    assert consume(topic, walks(), group="another", **how) == 0
    assert shown(rows) == due(store)
    asleep._consumer.close()


def test_consumers_of_a_group_share_the_topic(
    store: refold.Store, rows: refold.Store, brokers: Cluster
) -> None:
    """One joins and one leaves while events come; each event is taken by one of them."""
    topic = brokers.topic("competing")
    how: dict[str, Any] = {"bootstrap": brokers.bootstrap}
    stops = [threading.Event() for _ in range(3)]
    feed = KafkaFeed(store, topic, **how)
    with ThreadPoolExecutor() as pool:

        def start(number: int) -> Any:
            return pool.submit(consume, topic, walks(), rows=rows, stop=stops[number], **how)

        taken = [start(0), start(1)]
        for step in range(6):
            fill(store, 60, start=step * 60)
            feed.catch_up()
            if step == 2:
                taken.append(start(2))
            if step == 4:
                stops[0].set()
        taken[0].result(60)
        for stop in stops:
            stop.set()
        shared = sum(one.result(60) for one in taken)
    rest = consume(topic, walks(), rows=rows, once=True, **how)
    assert shared + rest == 360
    assert shown(rows) == due(store)


def test_a_projection_that_has_changed_is_refused(rows: refold.Store) -> None:
    """Its rows were made by something else: before anything is read."""
    Projector(rows, [walks()]).catch_up()
    with pytest.raises(UsageError) as refused:
        consume("t", walks(revision=2), rows=rows, bootstrap="127.0.0.1:1", once=True)
    assert refused.value.code == "projection_changed"


def consuming(
    topic: str, projection: Projection, rows: refold.Store, brokers: Cluster
) -> Consuming:
    """A consumer at work that a test can look into."""
    settings: dict[str, Any] = {
        "bootstrap.servers": brokers.bootstrap,
        "group.id": f"looked-into-{topic}",
        "enable.partition.eof": True,
        "isolation.level": "read_committed",
    }
    return Consuming(Consumer(settings), topic, projection, rows)


def test_it_holds_with_stores_in_postgresql(brokers: Cluster) -> None:
    """A log there is fed from, and a view there is kept: both as in SQLite."""
    topic = brokers.topic("in-postgresql")
    log, view = (postgres.schema_of_its_own() for _ in "12")
    how: dict[str, Any] = {"bootstrap": brokers.bootstrap}
    with refold.open(log) as store, refold.open(view) as rows:
        fill(store, 30)
        assert lags(store) == []
        feed = KafkaFeed(store, topic, exactly_once=True, **how)
        assert (feed.catch_up(), feed.catch_up()) == (30, 0)
        fill(store, 10, start=30)
        assert feed.catch_up() == 10
        assert [consume(topic, walks(), rows=rows, once=True, **how) for _ in "12"] == [40, 0]
        assert shown(rows) == due(store)


def test_a_server_of_the_view_that_ends_a_session_is_not_the_events_fault(brokers: Cluster) -> None:
    """The handler's own question meets it: it is told as away, and the next try takes all."""
    topic = brokers.topic("view-away")
    log, view = (postgres.schema_of_its_own() for _ in "12")
    how: dict[str, Any] = {"bootstrap": brokers.bootstrap}
    ended = Projection("walks", tables=[WALKS])
    failures = iter([True])

    @ended.on("step.taken")
    def _taken(rows: Rows, event: dict[str, Any], recorded: refold.Recorded) -> None:
        if next(failures, False):
            query = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid = "
            rows.execute(f"{query} pg_backend_pid()")
        walk = rows.get(WALKS, recorded.stream) or Walk(recorded.stream, 0, 0)
        rows.put(WALKS, Walk(walk.stream, walk.steps + 1, walk.total + event["n"]))

    with refold.open(log) as store, refold.open(view) as rows:
        fill(store, 12)
        KafkaFeed(store, topic, **how).catch_up()
        with pytest.raises(Unavailable, match="cannot be reached now"):
            consume(topic, ended, rows=rows, once=True, **how)
        assert consume(topic, ended, rows=rows, once=True, **how) == 12
        assert shown(rows) == due(store)
