"""Reading what is left of a run from outside: plain SQL, plain Kafka, the files of the writers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from time import monotonic
from typing import Any

import psycopg
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, TopicPartition

from tests.faults.shared.evidence import Entry, Message, Run, TallyRow

RECKONED = [
    *("test.counted", "test.seated", "funds.deposited", "funds.withdrawn"),
    *("escrow.locked", "escrow.released"),
]
WAIT_S = 120


def log_of(sql: dict[str, Any], schema: str) -> list[Entry]:
    """Every event by its position, as the view shows it."""
    wanted = f"""
        SELECT position, stream, version, type, metadata->>'op', coalesce(data->>'n', '0'),
            CASE WHEN type = ANY (%s) THEN data::text END
        FROM {schema}.events ORDER BY position
    """
    with psycopg.connect(**sql) as session, session.cursor("log") as cursor:
        cursor.itersize = 20_000
        cursor.execute(wanted.encode(), [RECKONED])
        return [
            Entry(position, stream, version, type_, op, int(n), json.loads(data) if data else None)
            for position, stream, version, type_, op, n, data in cursor
        ]


def rows_of(sql: dict[str, Any], schema: str, projection: str) -> dict[str, TallyRow]:
    """The table of a projection."""
    wanted = f"SELECT stream, events, trail FROM {schema}.{projection}_streams"
    with psycopg.connect(**sql) as session:
        found = session.execute(wanted.encode()).fetchall()
    return {stream: TallyRow(int(events), int(trail)) for stream, events, trail in found}


def runs_in(folder: Path) -> dict[str, list[Run]]:
    """What each reader was given."""
    return {
        path.name.removeprefix("seen."): [
            Run(*map(int, line.split())) for line in path.read_text().splitlines()
        ]
        for path in sorted(folder.glob("seen.*"))
    }


def messages_of(bootstrap: str, topic: str) -> list[Message]:
    """All that is committed to a topic, partition by partition, in its order there."""
    found = list(_read(bootstrap, topic))
    return sorted(found, key=lambda one: one.partition)  # Stable: offsets stay in order.


def _read(bootstrap: str, topic: str) -> Iterator[Message]:
    settings: dict[str, Any] = {
        "bootstrap.servers": bootstrap,
        "group.id": f"checker-{topic}",
        "enable.auto.commit": False,
        "enable.partition.eof": True,
        "isolation.level": "read_committed",
        "log_level": 0,
    }
    consumer = Consumer(settings)
    try:
        left = set(consumer.list_topics(topic, timeout=WAIT_S).topics[topic].partitions)
        consumer.assign([TopicPartition(topic, one, OFFSET_BEGINNING) for one in left])
        until = monotonic() + WAIT_S
        while left:
            assert monotonic() < until, f"{topic}: nothing is heard of {left}"
            for message in consumer.consume(5_000, 0.2):
                error = message.error()
                if error is None:
                    until = monotonic() + WAIT_S
                    yield _message(message)
                elif error.code() == KafkaError._PARTITION_EOF:
                    left.discard(message.partition() or 0)
                else:
                    assert error.retriable(), error
    finally:
        consumer.close()


def _message(message: Any) -> Message:
    said = dict(message.headers())
    stream = message.key().decode()
    assert said["ce_id"].decode() == f"{stream}@{said['ce_version'].decode()}"
    place = int(said["ce_version"]), int(said["ce_position"])
    return Message(message.partition(), stream, *place)
