"""Brokers and feeds are killed with -9 while events come: none is lost, each stream in order."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Any

import pytest

import refold
from refold.engine.subscription import EVENTS_PER_PAGE
from refold.feeds.kafka import KafkaFeed
from tests.feeds.kafka.topics import by_stream, fill, firsts, heads, held, standings
from tests.support.kafka import Cluster
from tests.support.soak import bound

pytestmark = pytest.mark.xdist_group("kafka")

KILLS = bound(3, 30)
WAIT_S = 120
BURST = 40


@contextmanager
def load(store: refold.Store) -> Iterator[None]:
    """Events are appended all the while, in bursts."""
    over, lot = threading.Event(), Random(7)

    def write() -> None:
        number = 0
        while not over.wait(lot.uniform(0, 0.1)):
            fill(store, BURST, streams=20, start=number)
            number += BURST

    with ThreadPoolExecutor(1) as pool:
        writing = pool.submit(write)
        try:
            yield
        finally:
            over.set()
            writing.result(WAIT_S)


def wait_until(is_so: Callable[[], bool], what: str) -> None:
    """Until something is so."""
    until = time.monotonic() + WAIT_S
    while not is_so():
        assert time.monotonic() < until, what
        time.sleep(0.05)


@pytest.mark.parametrize(
    ("exactly_once", "led"), [(False, "own"), (True, "own"), (True, "__consumer_offsets")]
)
def test_no_event_is_lost_or_doubled_where_a_leader_is_killed(
    brokers: Cluster, exactly_once: bool, led: str
) -> None:
    """One process feeds on, through the next leader: each event is there once, in its order.

    The leader is that of the topic, or the broker that coordinates how far transactions have come:
    librdkafka would wait for that one without any limit.
    """
    topic = brokers.topic(f"leaderless-{exactly_once}-{led}")
    of = (topic, 3) if led == "own" else (led, 1)
    with refold.open("memory:") as store:
        how: dict[str, Any] = {"bootstrap": brokers.bootstrap, "exactly_once": exactly_once}
        feed = KafkaFeed(store, topic, **how)
        with ThreadPoolExecutor(1) as pool:
            running = pool.submit(feed.run)
            try:
                with load(store):
                    goes_on(store, topic, running)
                    leader = brokers.leaders(*of)[0]
                    brokers.kill(leader)
                    wait_until(lambda: leader not in brokers.leaders(*of), "no new leader")
                    goes_on(store, topic, running)
                wait_until(lambda: has_sent_all(store, topic, running), "it does not catch up")
            finally:
                feed.close()
                brokers.start_all()
            running.result(WAIT_S)
        found = by_stream(held(brokers.bootstrap, topic))
        assert found == heads(store)
        assert sum(map(len, found.values())) == store.log_head() > 2 * BURST


def has_sent_all(store: refold.Store, topic: str, running: Any) -> bool:
    """Whether the feed has come to the end of the log; raises what it has ended with."""
    if running.done():
        running.result()
    return topic in standings(store) and standings(store)[topic].position == store.log_head()


def goes_on(store: refold.Store, topic: str, running: Any) -> None:
    """Wait until more of the log has been sent than there is now."""
    head = store.log_head() + BURST

    def is_beyond() -> bool:
        if running.done():
            running.result()
        return topic in standings(store) and standings(store)[topic].position >= head

    wait_until(is_beyond, "it does not go on")


@pytest.mark.parametrize("exactly_once", [False, True])
def test_a_feed_that_is_killed_repeats_and_never_skips(
    brokers: Cluster, tmp_path: Path, exactly_once: bool
) -> None:
    """Killed at any moment, begun again: in order; a page at most comes again, or none."""
    topic, db, lot = brokers.topic(f"killed-{exactly_once}"), tmp_path / "log.db", Random(3)
    command = [sys.executable, "-m", "refold", "feed", "kafka", "--db", str(db), "--topic", topic]
    command += ["--bootstrap", brokers.bootstrap, *(["--exactly-once"] if exactly_once else [])]
    with refold.open(db, synchronous="NORMAL") as store, load(store):
        for _ in range(KILLS):
            process = subprocess.Popen(command, stderr=subprocess.PIPE)
            wait_until(moved_from(position(store, topic), store, topic), "it sends nothing")
            time.sleep(lot.uniform(0, 0.3))
            process.kill()
            _, said = process.communicate(timeout=WAIT_S)
            assert process.returncode == -9, said
    with refold.open(db) as store:
        subprocess.run([*command, "--once"], check=True, capture_output=True, timeout=WAIT_S)
        found, due = by_stream(held(brokers.bootstrap, topic)), heads(store)
        if exactly_once:
            assert found == due
        assert {stream: firsts(versions) for stream, versions in found.items()} == due
        again = sum(map(len, found.values())) - store.log_head()
        assert again <= KILLS * EVENTS_PER_PAGE


def position(store: refold.Store, topic: str) -> int:
    """Up to where the feed has sent."""
    return standings(store)[topic].position if topic in standings(store) else 0


def moved_from(before: int, store: refold.Store, topic: str) -> Callable[[], bool]:
    """Whether the feed has sent more than it had."""
    return lambda: position(store, topic) > before
