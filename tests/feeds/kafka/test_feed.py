"""A feed to three brokers of Kafka: what it sends, in which order, what it refuses and tells."""

from __future__ import annotations

import logging
import re
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from signal import SIGCONT, SIGSTOP
from typing import Any

import pytest
from confluent_kafka import Message, Producer

import refold
from refold.engine.subscription import EVENTS_PER_PAGE
from refold.errors import NotFound, RefoldError, Unavailable, UsageError
from refold.feeds.kafka import KafkaFeed, client
from refold.feeds.kafka import feed as feed_module
from refold.feeds.kafka.client import TransactionalSender, sender_of
from refold.feeds.kafka.envelope import Mode, outgoing, partition_of
from tests.feeds.kafka.topics import NUMBERS, by_stream, fill, firsts, heads, held, standings
from tests.support import postgres
from tests.support.kafka import Cluster

pytestmark = pytest.mark.xdist_group("kafka")


@pytest.fixture
def store() -> Iterator[refold.Store]:
    """A store in memory."""
    with refold.open("memory:") as made:
        yield made


@pytest.mark.parametrize("exactly_once", [False, True])
@pytest.mark.parametrize("mode", ["binary", "structured"])
def test_every_event_is_sent_once_in_the_order_of_its_stream(
    store: refold.Store, brokers: Cluster, mode: Mode, exactly_once: bool
) -> None:
    """Two runs of a feed: what was there, and what came since; each event is one message."""
    topic = brokers.topic(f"order-{mode}-{exactly_once}")
    how: dict[str, Any] = {"mode": mode, "exactly_once": exactly_once}
    feed = KafkaFeed(store, topic, bootstrap=brokers.bootstrap, **how)
    assert feed.catch_up() == 0
    fill(store, 700, streams=20)
    assert (feed.catch_up(), feed.catch_up()) == (700, 0)
    fill(store, 50, start=700, streams=20)
    assert KafkaFeed(store, topic, bootstrap=brokers.bootstrap, **how).catch_up() == 50
    found = held(brokers.bootstrap, topic)
    assert by_stream(found) == heads(store)
    assert {one.partition for one in found} == {0, 1, 2}
    assert all(one.partition == partition_of(one.key, 3) for one in found)
    positions = sorted(int(one.headers["ce_position"]) for one in found)
    assert positions == list(range(1, 751))
    if mode == "binary":
        raw = {event.id: event.raw for event in store.read_all()}
        assert {one.headers["ce_id"]: one.value for one in found} == raw


def test_a_stream_is_where_other_producers_put_its_key(
    store: refold.Store, brokers: Cluster
) -> None:
    """Those of librdkafka by ``murmur2``, which is what Java's do: both may share a topic."""
    topic = brokers.topic("beside-others", partitions=5)
    fill(store, 40, streams=40)
    KafkaFeed(store, topic, bootstrap=brokers.bootstrap).catch_up()
    ours = {one.key: one.partition for one in held(brokers.bootstrap, topic)}
    theirs: dict[str, int | None] = {}
    other = Producer({"bootstrap.servers": brokers.bootstrap, "partitioner": "murmur2_random"})

    def told(_: object, message: Message) -> None:
        theirs[(message.key() or b"").decode()] = message.partition()

    for key in ours:
        other.produce(topic, b"", key, on_delivery=told)
    assert other.flush(60) == 0
    assert ours == theirs
    assert set(ours.values()) == {0, 1, 2, 3, 4}


def test_each_log_has_a_source_of_its_own(brokers: Cluster, tmp_path: Path) -> None:
    """So the ids of events are unique in a topic; it is the same in every feed, for good."""
    topic = brokers.topic("sources")
    where = [str(tmp_path / "log.db"), *(postgres.log_of_its_own() for _ in "12")]
    for url in where:
        for feed in ("one", "two"):
            with refold.open(url) as store:
                store.append("call-1", [refold.Event("step.taken")])
                sending = KafkaFeed(store, topic, name=feed, bootstrap=brokers.bootstrap)
                assert (sending.catch_up(), sending.catch_up()) == (store.log_head(), 0)
                assert standings(store)[feed].position == store.log_head()
    found = Counter(
        (one.headers["ce_source"], one.headers["ce_id"]) for one in held(brokers.bootstrap, topic)
    )
    sources = {source for source, _ in found}
    assert all(re.fullmatch(r"urn:uuid:[0-9a-f-]{36}", source) for source in sources)
    assert found == {(one, f"call-1@{n}"): 2 - n for one in sources for n in range(2)}
    assert len(sources) == len(where)


@pytest.mark.parametrize(
    ("kept_on", "settings", "why"),
    [
        (3, {}, None),
        (1, {}, "replicas 1, "),
        (3, {"min.insync.replicas": "1"}, "min.insync.replicas 1, "),
        (3, {"unclean.leader.election.enable": "true"}, "unclean leader election true"),
    ],
)
def test_a_topic_that_one_broker_could_lose_is_told(
    store: refold.Store,
    brokers: Cluster,
    caplog: pytest.LogCaptureFixture,
    kept_on: int,
    settings: dict[str, str],
    why: str | None,
) -> None:
    """Once; where its replication is required, it is refused before anything is sent."""
    topic = brokers.topic(f"kept-on-{kept_on}-{len(settings)}-{next(NUMBERS)}", brokers=kept_on)
    for name, value in settings.items():
        brokers.configure(topic, name, value)
    fill(store, 5)
    how: dict[str, Any] = {"bootstrap": brokers.bootstrap}
    careful = KafkaFeed(store, topic, require_replication=True, **how)
    if why is not None:
        with pytest.raises(UsageError, match=why) as refused:
            careful.catch_up()
        assert refused.value.code == "not_replicated"
        assert standings(store) == {}
        careful = KafkaFeed(store, topic, **how)
    with caplog.at_level(logging.WARNING, "refold.feeds.kafka"):
        assert (careful.catch_up(), careful.catch_up()) == (5, 0)
    told = [one for one in caplog.messages if "may lose events with one broker" in one]
    assert len(told) == (why is not None)


def test_a_feed_reads_no_further_than_it_can_send(
    store: refold.Store, brokers: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Brokers that take nothing hold it up at one page of the log; then each event is sent once."""
    topic = brokers.topic("held-up")
    fill(store, 3 * EVENTS_PER_PAGE)
    given: list[int] = []

    def counted(recorded: refold.Recorded, **how: Any) -> Any:
        if not given:
            brokers.signal(SIGSTOP)
        given.append(recorded.position)
        return outgoing(recorded, **how)

    feed = KafkaFeed(store, topic, bootstrap=brokers.bootstrap, patience_s=1)
    try:
        with monkeypatch.context() as patch:
            patch.setattr(feed_module, "outgoing", counted)
            with pytest.raises(Unavailable, match=r"enough brokers up for min\.insync\.replicas"):
                feed.catch_up()
    finally:
        brokers.signal(SIGCONT)
    assert given == list(range(1, EVENTS_PER_PAGE + 1))
    assert standings(store)[topic].position == 0
    brokers.start_all()
    assert feed.catch_up() == 3 * EVENTS_PER_PAGE
    found = by_stream(held(brokers.bootstrap, topic))
    assert {stream: firsts(versions) for stream, versions in found.items()} == heads(store)


def test_a_feed_is_narrowed_to_categories_and_types(store: refold.Store, brokers: Cluster) -> None:
    """What is left out moves its position too, so it does not count as lag."""
    topic = brokers.topic("narrowed")
    for stream, type_name in [("call-1", "a.b"), ("chat-1", "a.b"), ("call-1", "c.d")] * 2:
        store.append(stream, [refold.Event(type_name)])
    wanted: dict[str, Any] = {"categories": ["call"], "types": ["a.b"]}
    feed = KafkaFeed(store, topic, bootstrap=brokers.bootstrap, **wanted)
    assert feed.catch_up() == 2
    ids = [one.headers["ce_id"] for one in held(brokers.bootstrap, topic)]
    assert ids == ["call-1@0", "call-1@2"]
    assert standings(store)[topic].position == store.log_head() == 6


def test_a_feed_follows_the_log_until_it_is_closed(store: refold.Store, brokers: Cluster) -> None:
    """Events that come while it runs are sent as they come."""
    topic = brokers.topic("followed")
    with_thread = KafkaFeed(store, topic, bootstrap=brokers.bootstrap)
    thread = threading.Thread(target=with_thread.run)
    thread.start()
    try:
        for start in range(0, 30, 10):
            fill(store, 10, start=start)
            wait_until(lambda: position(store, topic) == store.log_head())
    finally:
        with_thread.close()
        thread.join(30)
    assert by_stream(held(brokers.bootstrap, topic)) == heads(store)


@pytest.mark.parametrize("exactly_once", [False, True])
def test_who_was_overtaken_is_refused(
    store: refold.Store, brokers: Cluster, exactly_once: bool
) -> None:
    """A second process of a feed takes it up: the first sends in no transaction, and ends."""
    topic = brokers.topic(f"overtaken-{exactly_once}")
    how: dict[str, Any] = {"bootstrap": brokers.bootstrap, "exactly_once": exactly_once}
    first, second = (KafkaFeed(store, topic, **how) for _ in range(2))
    with ThreadPoolExecutor() as pool:
        running = pool.submit(first.run)
        fill(store, 10)
        wait_until(lambda: position(store, topic) == 10)
        assert second.catch_up() == 0
        fill(store, 10, start=10)
        with pytest.raises(UsageError) as refused:
            running.result(30)
    assert refused.value.code == "fenced"
    second.catch_up()
    versions = by_stream(held(brokers.bootstrap, topic))
    if not exactly_once:  # It was told after it had sent.
        versions = {stream: firsts(found) for stream, found in versions.items()}
    assert versions == heads(store)


def test_what_is_aborted_is_not_seen(store: refold.Store, brokers: Cluster) -> None:
    """One event of a batch is refused by the brokers: none of the batch is there, then all is."""
    topic = brokers.topic("aborted", partitions=1)
    feed = KafkaFeed(store, topic, bootstrap=brokers.bootstrap, exactly_once=True)
    fill(store, 20)
    feed.catch_up()
    fill(store, 20, start=20)
    store.append("call-0", [refold.Event("too.large", {"text": "x" * 1_500_000})])
    fill(store, 20, start=40)
    with pytest.raises(UsageError, match=r"call-0@6.*MSG_SIZE_TOO_LARGE"):
        feed.catch_up()
    assert len(held(brokers.bootstrap, topic)) == 20
    assert standings(store)[topic].position == 20
    brokers.configure(topic, "max.message.bytes", "4000000")
    assert feed.catch_up() == 41
    assert by_stream(held(brokers.bootstrap, topic)) == heads(store)
    assert len(held(brokers.bootstrap, topic, committed=False)) >= 61


def test_partitions_that_are_added_are_told_and_not_used(
    store: refold.Store,
    brokers: Cluster,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A stream stays in its partition, so its order holds; whoever runs the feed hears of it."""
    monkeypatch.setattr(feed_module, "LOOK_EVERY_S", 0)
    topic = brokers.topic("added", partitions=2)
    fill(store, 50)
    feed = KafkaFeed(store, topic, bootstrap=brokers.bootstrap)
    feed.catch_up()
    brokers.add_partitions(topic, 5)
    with caplog.at_level(logging.WARNING, "refold.feeds.kafka"):
        for start in (50, 100):
            fill(store, 50, start=start)
            feed.catch_up()
    found = held(brokers.bootstrap, topic)
    assert by_stream(found) == heads(store)
    assert {one.partition for one in found} == {0, 1}
    told = [record.getMessage() for record in caplog.records if "partitions" in record.getMessage()]
    assert len(told) == 1
    assert "has 5 partitions now" in told[0]


def test_a_feed_is_what_it_was_begun_as(store: refold.Store, brokers: Cluster) -> None:
    """Else what the narrower one left out would be missing; and of another log all would be."""
    topic, wider = brokers.topic("begun"), brokers.topic("begun-wider")
    fill(store, 10)
    one: dict[str, Any] = {"bootstrap": brokers.bootstrap, "name": "f", "types": ["step.taken"]}
    KafkaFeed(store, topic, **one).catch_up()
    assert KafkaFeed(store, topic, **{**one, "types": ("step.taken",)}).catch_up() == 0
    others: list[dict[str, Any]] = [{"types": []}, {"categories": ["call"]}, {"source": "/x"}]
    for other in (*others, {"topic": wider}):
        with pytest.raises(UsageError, match="begin one of another name") as refused:
            KafkaFeed(store, **{"topic": topic, **one, **other}).catch_up()
        assert refused.value.code == "feed_changed"
        assert "of types step.taken, and this is one into" in str(refused.value)
    assert KafkaFeed(store, topic, **one).catch_up() == 0
    fewer = brokers.topic("fewer", partitions=2)
    KafkaFeed(store, fewer, bootstrap=brokers.bootstrap).catch_up()
    brokers.drop(fewer)
    brokers.topic(fewer, partitions=1)
    with pytest.raises(UsageError, match="had 2 partitions and now has 1"):
        KafkaFeed(store, fewer, bootstrap=brokers.bootstrap).catch_up()


def test_a_log_that_was_rolled_back_is_refused(brokers: Cluster, tmp_path: Path) -> None:
    """Its new events would stand at positions that were sent: the topic knows better."""
    topic = brokers.topic("rolled-back")
    path, backup = tmp_path / "log.db", tmp_path / "backup.db"
    how: dict[str, Any] = {"bootstrap": brokers.bootstrap, "exactly_once": True}
    with refold.open(path) as store:
        fill(store, 10)
        KafkaFeed(store, topic, **how).catch_up()
        store.backup(backup)
        fill(store, 10, start=10)
        KafkaFeed(store, topic, **how).catch_up()
    said = "position 20 was sent, and the log ends at 10"
    with refold.open(backup) as store, pytest.raises(UsageError, match=said):
        KafkaFeed(store, topic, **how).catch_up()


def test_where_the_topic_was_committed_and_the_store_was_not(
    store: refold.Store, brokers: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A crash between the two: the next run finds in the topic what was sent, and goes on there."""
    topic = brokers.topic("between")
    feed = KafkaFeed(store, topic, bootstrap=brokers.bootstrap, exactly_once=True)
    fill(store, 10)
    with monkeypatch.context() as patch:
        patch.setattr(KafkaFeed, "_keep", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            feed.catch_up()
    assert standings(store)[topic].position == 0
    assert feed.catch_up() == 0
    assert standings(store)[topic].position == 10
    assert by_stream(held(brokers.bootstrap, topic)) == heads(store)


def test_a_topic_that_is_missing_is_told_and_not_made(
    store: refold.Store, brokers: Cluster
) -> None:
    """Who feeds it decides how many partitions it has, and on how many brokers it is kept."""
    with pytest.raises(NotFound, match="there is no topic 'nowhere'"):
        KafkaFeed(store, "nowhere", bootstrap=brokers.bootstrap).catch_up()
    assert "nowhere" not in brokers.admin().list_topics(timeout=30).topics


def test_brokers_that_do_not_answer_are_waited_for_and_no_longer(
    store: refold.Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody listens there: it is unavailable, and nothing is kept as sent."""
    monkeypatch.setattr(client, "ANSWER_S", 0.5)
    feed = KafkaFeed(store, "t", bootstrap="127.0.0.1:1")
    with pytest.raises(Unavailable, match="of the brokers that bootstrap names: Kafka says"):
        feed.catch_up()
    assert standings(store) == {}


@pytest.mark.parametrize(
    "given",
    [
        {"mode": "xml"},
        {"categories": "call"},
        {"source": ""},
        {"settings": {"acks": 1}},
        {"settings": {"queue.buffering.max.messages": 7}},
        {"settings": {"no.such": 1}},
        {"settings": {"enable.idempotence": False}},
        {"settings": {"delivery.timeout.ms": 1000}},
        {"settings": {"request.required.acks": 1}},
        {"settings": {"default.topic.config": {"message.timeout.ms": 1000}}},
        {"settings": {"metadata.broker.list": "127.0.0.1:2"}},
        {"settings": 7},
    ],
)
def test_what_would_break_a_promise_is_refused(store: refold.Store, given: Any) -> None:
    """Before anything is sent."""
    with pytest.raises(RefoldError):
        KafkaFeed(store, "t", **{"bootstrap": "127.0.0.1:1", **given})


def test_a_pace_of_connecting_again_may_be_chosen(store: refold.Store) -> None:
    """One that is slower than what is usual here, too."""
    feed = KafkaFeed(store, "t", bootstrap="127.0.0.1:1", settings={"reconnect.backoff.ms": 5000})
    feed.close()


def position(store: refold.Store, feed: str) -> int:
    """Up to where a feed has sent; 0 where it has not begun."""
    return standings(store)[feed].position if feed in standings(store) else 0


def wait_until(is_so: Any, timeout_s: float = 60) -> None:
    """Until something is so."""
    until = time.monotonic() + timeout_s
    while not is_so():
        assert time.monotonic() < until, "it never came"
        time.sleep(0.02)


def test_a_sender_leaves_no_client_behind() -> None:
    """That which reads how far the transactions of a feed went has threads of its own, too."""
    sender = sender_of({"bootstrap.servers": "127.0.0.1:9", "log_level": 0}, "own", "t", 1, 1.0)
    assert isinstance(sender, TransactionalSender)
    sender.close()
    with pytest.raises(RuntimeError, match="closed"):
        sender._reader.consumer_group_metadata()
