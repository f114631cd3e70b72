"""Writers and readers of one log, each with a note of all that it was told, and when.

What they are told is a history: calls that overlap, with their answers. The clock is the system's
monotonic one, which its processes share.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from random import Random
from typing import Any, NamedTuple

import refold
from refold import ANY, NO_STREAM, STREAM_EXISTS, Append, Event, Query
from refold.engine.store import Store
from refold.errors import Conflict
from refold.ports import Appended

LANES = 3
"""Threads or tasks in a process that writes."""
START_S = 60


class Wish(NamedTuple):
    """An append that somebody is about to make; ``head`` to expect the version that is there."""

    sort: str
    parts: tuple[tuple[str, int], ...]
    expected: Any = ANY
    key: str | None = None
    seat: str | None = None


class Told(NamedTuple):
    """A call, when it began and ended, and its answer: places, or what it conflicted with."""

    wish: Wish
    token: str
    expected: Any
    began: int
    ended: int
    answers: tuple[Appended, ...]
    actual: int | None = None


class Seen(NamedTuple):
    """What a reader saw: the positions that it was given, of a stream or after a position."""

    stream: str | None
    began: int
    versions: list[int]
    positions: list[int]
    recorded_at: list[int]


def wishes(lane: str, rounds: int) -> Iterator[tuple[str, Wish]]:
    """What a lane appends, and under which token: every kind of expectation, again and again."""
    random = Random(lane)
    for number in range(rounds):
        for wish in (
            Wish("any", (("shared-1", 1 + number % 3),)),
            Wish("exists", (("shared-1", 1),), STREAM_EXISTS),
            Wish("new", ((f"new-{number}", 2),), NO_STREAM),
            Wish("race", (("race-1", 1 + number % 2),), "head"),
            Wish("key", (("keyed-1", 2),), key=f"key-{number}"),
            Wish("together", (("both-1", 1), ("both-2", 2), ("both-1", 1))),
            Wish("seat", ((f"seats-{random.randint(1, 3)}", 1),), seat=f"seat:{number}"),
        ):
            if random.random() < 0.7:
                yield wish.key or f"{lane}/{number}/{wish.sort}", wish


def _call(wish: Wish, token: str, head: int) -> tuple[list[Append], dict[str, Any], Any]:
    expected: Any = wish.expected
    if expected == "head":
        expected = NO_STREAM if head < 0 else head
    tags = [wish.seat] if wish.seat else []
    appends = [
        Append(
            stream,
            [Event(f"test.{wish.sort}", {"token": token, "n": n}) for n in range(size)],
            expected,
            tags=tags,
        )
        for stream, size in wish.parts
    ]
    options: dict[str, Any] = {"key": wish.key}
    if wish.seat:
        options |= {"unless": Query(tags=(wish.seat,)), "after": 0}
    return appends, options, expected


def write_in_threads(path: str, name: str, rounds: int, start: Any, answers: Any) -> None:
    """Append from several threads through one store."""

    def work(lane: str) -> list[Told]:
        told: list[Told] = []
        for token, wish in wishes(lane, rounds):
            head = store.head(wish.parts[0][0])
            appends, options, expected = _call(wish, token, head)
            began, places, actual = time.monotonic_ns(), [], None
            try:
                places = store.append_together(appends, **options)
            except Conflict as conflict:
                actual = conflict.actual
            ended = time.monotonic_ns()
            told.append(Told(wish, token, expected, began, ended, tuple(places), actual))
        return told

    with refold.open(path, synchronous="NORMAL") as store, ThreadPoolExecutor(LANES) as pool:
        start.wait(START_S)
        lanes = pool.map(work, [f"{name}.{number}" for number in range(LANES)])
        answers.put([one for lane in lanes for one in lane])


def write_in_tasks(path: str, name: str, rounds: int, start: Any, answers: Any) -> None:
    """Append from several tasks of one event loop."""

    async def work(store: refold.AsyncStore, lane: str) -> list[Told]:
        told: list[Told] = []
        for token, wish in wishes(lane, rounds):
            head = await store.head(wish.parts[0][0])
            appends, options, expected = _call(wish, token, head)
            began, places, actual = time.monotonic_ns(), [], None
            try:
                places = await store.append_together(appends, **options)
            except Conflict as conflict:
                actual = conflict.actual
            ended = time.monotonic_ns()
            told.append(Told(wish, token, expected, began, ended, tuple(places), actual))
        return told

    async def run() -> list[Told]:
        async with refold.open_async(path, synchronous="NORMAL") as store:
            await asyncio.to_thread(start.wait, START_S)
            names = [f"{name}.{number}" for number in range(LANES)]
            lanes = await asyncio.gather(*(work(store, lane) for lane in names))
            return [one for lane in lanes for one in lane]

    answers.put(asyncio.run(run()))


def read_and_follow(path: str, done: Any, start: Any, answers: Any) -> None:
    """Read streams and the log again and again, and follow the log, until the writers are done."""
    with refold.open(path, mode="read") as store, ThreadPoolExecutor(2) as pool:
        start.wait(START_S)
        following = pool.submit(_followed, store, done)
        reading = pool.submit(_read, store, done)
        answers.put((following.result(), reading.result()))


def compact(path: str, done: Any, start: Any) -> None:
    """Pack what there is, beside everybody."""
    with refold.open(path, synchronous="NORMAL") as store:
        start.wait(START_S)
        while not done.wait(0.05):
            store.compact()


def _followed(store: Store, done: Any) -> Seen:
    """All that a subscription gives until nothing more can come."""
    seen = Seen(None, time.monotonic_ns(), [], [], [])
    with store.subscribe(after=0) as events:
        closer = threading.Thread(target=_close_at_end, args=(store, events, done, seen))
        closer.start()
        for event in events:
            seen.positions.append(event.position)
            seen.versions.append(event.version)
            seen.recorded_at.append(event.recorded_at_us)
        closer.join()
    return seen


def _close_at_end(store: Store, events: Any, done: Any, seen: Seen) -> None:
    done.wait()
    pause = threading.Event()
    while len(seen.positions) < store.log_head() and not events.closed:
        pause.wait(0.01)
        if seen.positions and seen.positions[-1] >= store.log_head():
            break  # It has come to the end, whatever it has skipped.
    events.close()


def _read(store: Store, done: Any) -> list[Seen]:
    looks: list[Seen] = []
    while not done.is_set():
        for stream in ("shared-1", "race-1", None):
            if stream is None or store.head(stream) >= 0:
                began = time.monotonic_ns()
                found = list(store.read_all() if stream is None else store.read(stream))
                versions, positions = [e.version for e in found], [e.position for e in found]
                times = [e.recorded_at_us for e in found]
                looks.append(Seen(stream, began, versions, positions, times))
    return looks
