"""What the tests of the feed share: stores to feed from, and all that a topic holds."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from itertools import count
from time import monotonic
from typing import Any, NamedTuple

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, TopicPartition

import refold
from refold.feeds.kafka.standing import lags

NUMBERS = count()


class Held(NamedTuple):
    """A message of a topic; ``headers`` by their names."""

    partition: int
    offset: int
    key: str
    value: bytes
    headers: dict[str, str]

    @property
    def version(self) -> int:
        """The version of its event."""
        return int(self.headers["ce_version"])


def held(bootstrap: str, topic: str, *, committed: bool = True) -> list[Held]:
    """Every message of a topic, partition by partition; of aborted transactions too if asked."""
    settings: dict[str, Any] = {
        "bootstrap.servers": bootstrap,
        "group.id": f"reader-{next(NUMBERS)}",
        "enable.auto.commit": False,
        "enable.partition.eof": True,
        "isolation.level": "read_committed" if committed else "read_uncommitted",
        "log_level": 0,
    }
    consumer = Consumer(settings)
    try:
        partitions = consumer.list_topics(topic, timeout=30).topics[topic].partitions
        consumer.assign([TopicPartition(topic, one, OFFSET_BEGINNING) for one in partitions])
        found, left = [], set(partitions)
        until = monotonic() + 60
        while left:
            assert monotonic() < until, f"{topic}: nothing is heard of {left}"
            for message in consumer.consume(1_000, 0.1):
                error, partition = message.error(), message.partition()
                if error is None:
                    found.append(_held(message))
                elif error.code() == KafkaError._PARTITION_EOF:
                    left.discard(partition or 0)
                else:
                    assert error.retriable(), error
        return sorted(found, key=lambda one: one[:2])
    finally:
        consumer.close()


def _held(message: Any) -> Held:
    headers = {name: (text or b"").decode() for name, text in message.headers() or ()}
    place = message.partition(), message.offset(), message.key().decode()
    return Held(*place, message.value(), headers)


def by_stream(messages: Iterable[Held]) -> dict[str, list[int]]:
    """The versions of each stream in the order of its partition; each stream is in one."""
    versions, partitions = defaultdict(list), defaultdict(set)
    for one in messages:
        versions[one.key].append(one.version)
        partitions[one.key].add(one.partition)
    assert all(len(found) == 1 for found in partitions.values()), partitions
    return dict(versions)


def firsts(versions: Iterable[int]) -> list[int]:
    """The versions without repetitions, where each stood first."""
    return list(dict.fromkeys(versions))


def heads(store: refold.Store) -> dict[str, list[int]]:
    """The versions of each stream of a store, as :func:`by_stream` gives them."""
    return {info.stream: list(range(info.version + 1)) for info in store.streams()}


def fill(store: refold.Store, count: int, *, streams: int = 7, start: int = 0) -> None:
    """Append events one by one, to streams in turn; every third with metadata."""
    for number in range(start, start + count):
        noted = {"correlation": f"c{number}", "price": 1.10} if number % 3 == 0 else None
        event = refold.Event("step.taken", {"n": number, "text": "grün", "exact": 0.1})
        store.append(f"call-{number % streams}", [event], metadata=noted)


class Standing(NamedTuple):
    """How a feed stands."""

    position: int


def standings(store: refold.Store) -> dict[str, Standing]:
    """The feeds of a store, by name."""
    return {one["feed"]: Standing(one["position"]) for one in lags(store)}
