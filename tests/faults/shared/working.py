"""The processes of a run: ``python -m tests.faults.shared.working ROLE SETTINGS``.

Each works until its standard input says so, or is closed: so it ends with whoever started it.
Whatever it did not expect it says on standard error, in one line that begins with ``unexpected``.
"""

from __future__ import annotations

import asyncio
import faulthandler
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Awaitable, Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from random import Random
from time import sleep
from typing import Any, TypeVar

import msgspec
import psycopg

import refold
from refold.errors import BackendError, RefoldError
from refold.feeds.kafka import KafkaFeed, consume
from refold.projections import Projector
from tests.faults.shared.deeds import Ask, Deed, Lane
from tests.faults.shared.evidence import sum_of
from tests.faults.shared.journal import Journal
from tests.faults.shared.tallies import tally

T = TypeVar("T")

PAUSE_S = 0.05
PAGE = 500
PATIENCE_S = 15.0
QUIET = {"log_level": 2}
"""Of Kafka's client: it is expected that brokers go away."""


class Settings(msgspec.Struct):
    """What a process is told: ``url`` of the log, and ``view`` of the database beside it.

    ``name`` of this process and ``life``, which of those of its name it is. ``writers`` is how many
    lanes it has, ``pace_s`` how long each rests at most. Its clock is so far ahead (``shift_us``)
    that a month ends while it works.
    """

    url: str
    view: str
    sql: dict[str, Any]
    schema: str
    folder: str
    name: str
    life: int
    seed: int
    writers: int
    pace_s: float
    shift_us: int
    bootstrap: str = ""
    topic: str = ""
    exactly_once: bool = False
    inline: bool = False

    def clock(self) -> int:
        """Microseconds UTC."""
        return time.time_ns() // 1_000 + self.shift_us

    def journal(self, kind: str) -> Path:
        """Where this process notes something."""
        return Path(self.folder, f"{kind}.{self.name}.{self.life}")

    def opened(self, **given: Any) -> refold.Store:
        """The log."""
        return persistently(lambda: refold.open(self.url, clock=self.clock, **given))


def persistently(work: Callable[[], T]) -> T:
    """What some work gives, when the storage is there for it."""
    while True:
        try:
            return work()
        except BackendError:
            sleep(PAUSE_S)


# -- writers --------------------------------------------------------------------------------------


def lanes(settings: Settings) -> list[Lane]:
    """Those of a process; no name is used twice."""
    journal = Journal(settings.journal("journal"))
    names = [f"{settings.name}.{settings.life}.{number}" for number in range(settings.writers)]
    return [Lane(name, journal, Random(f"{settings.seed} {name}")) for name in names]


def in_threads(settings: Settings, stop: threading.Event) -> None:
    """Writers that are threads of one store."""
    inline = [tally("inline")] if settings.inline else []
    with settings.opened(inline=inline) as store:

        def work(lane: Lane) -> None:
            while not stop.wait(lane.lot.uniform(0, settings.pace_s)):
                carry_out(store, lane.deed())

        at_once([partial(work, lane) for lane in lanes(settings)])


def carry_out(store: refold.Store, deed: Deed) -> None:
    """Make the calls of a deed."""
    answer: Any = None
    while True:
        try:
            ask = deed.send(answer)
        except StopIteration:
            return
        try:
            answer = ask(store)
        except RefoldError as error:
            answer = error
            if isinstance(error, BackendError):
                sleep(PAUSE_S)


def in_tasks(settings: Settings, stop: threading.Event) -> None:
    """Writers that are tasks of one event loop."""

    async def work(store: refold.AsyncStore, lane: Lane) -> None:
        while not stop.is_set():
            await asyncio.sleep(lane.lot.uniform(0, settings.pace_s))
            await carried_out(store, lane.deed())

    async def run() -> None:
        store = refold.open_async(settings.url, clock=settings.clock)
        while isinstance(await tried(store.log_head()), BackendError):
            await asyncio.sleep(PAUSE_S)
        async with asyncio.TaskGroup() as tasks:
            for lane in lanes(settings):
                tasks.create_task(work(store, lane))
        await store.close()

    asyncio.run(run())


async def tried(call: Awaitable[Any]) -> Any:
    """What a call answers, or the error."""
    try:
        return await call
    except RefoldError as error:
        return error


async def carried_out(store: refold.AsyncStore, deed: Deed) -> None:
    """The same as :func:`carry_out`; what is noted on the disk holds no other task up."""
    answer: Any = None
    while (ask := await asyncio.to_thread(_sent, deed, answer)) is not None:
        answer = await tried(ask(store))
        if isinstance(answer, BackendError):
            await asyncio.sleep(PAUSE_S)


def _sent(deed: Deed, answer: Any) -> Ask | None:
    try:
        return deed.send(answer)
    except StopIteration:
        return None


# -- readers --------------------------------------------------------------------------------------


class Noted:
    """What a reader was given, page by page, in a file."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("a", buffering=1)

    def note(self, page: Iterable[tuple[int, str, int]]) -> int:
        """Note positions, streams and versions as they came; the last of them, or 0."""
        first = last = total = 0
        for position, stream, version in page:
            if first and position != last + 1:
                print(first, last, total, file=self._file)
                first = total = 0
            first, last = first or position, position
            total = sum_of(total, position, stream, version)
        if first:
            print(first, last, total, file=self._file)
        return last


def readers(settings: Settings, stop: threading.Event) -> None:
    """One that polls, one that listens, and one that knows nothing but SQL; each to the end."""
    folder = Path(settings.folder)
    at_once(
        [
            partial(work, settings, stop, Noted(folder / f"seen.{work.__name__}"))
            for work in (polling, listening, querying)
        ]
    )


def polling(settings: Settings, stop: threading.Event, noted: Noted) -> None:
    """Asks for what comes after what it has."""
    last = 0
    with settings.opened(mode="read") as store:
        while True:
            is_over = stop.is_set()

            def page(after: int = last) -> list[tuple[int, str, int]]:
                found = store.read_all(after=after, limit=PAGE)
                return [(one.position, one.stream, one.version) for one in found]

            found = persistently(page)
            last = noted.note(found) or last
            if is_over and not found:
                return
            stop.wait(0 if found else PAUSE_S)


def listening(settings: Settings, stop: threading.Event, noted: Noted) -> None:
    """Is subscribed; goes on where it was when the storage is back."""
    last = 0
    with settings.opened() as store:
        while True:
            subscription = store.subscribe(after=last)
            try:
                last = heard(subscription, store, stop, noted, last)
                return
            except BackendError:
                last = subscription.position
                sleep(PAUSE_S)


def heard(
    subscription: Any, store: refold.Store, stop: threading.Event, noted: Noted, last: int
) -> int:
    """Note what comes, event by event, until it is over; the last position."""
    ended = threading.Event()

    def end() -> None:
        stop.wait()
        head = persistently(store.log_head)
        while subscription.position < head and not ended.is_set():
            sleep(PAUSE_S)
        subscription.close()

    ending = threading.Thread(target=end)
    ending.start()
    try:
        for one in subscription:
            last = noted.note([(one.position, one.stream, one.version)])
        return last
    finally:
        ended.set()
        if stop.is_set():
            ending.join()


def querying(settings: Settings, stop: threading.Event, noted: Noted) -> None:
    """Polls with plain SQL, as somebody who does not know what is behind it."""
    last, wanted = 0, f"SELECT position, stream, version FROM {settings.schema}.events"
    while True:
        is_over = stop.is_set()
        try:
            with psycopg.connect(**settings.sql, autocommit=True) as session:
                found = page = session.execute(
                    f"{wanted} WHERE position > %s ORDER BY position LIMIT {PAGE}".encode(), [last]
                ).fetchall()
        except psycopg.Error:
            sleep(PAUSE_S)
            continue
        last = noted.note(page) or last
        if is_over and not found:
            return
        stop.wait(0 if found else PAUSE_S)


# -- those that follow ----------------------------------------------------------------------------


def when_over(stop: threading.Event, close: Callable[[], None]) -> None:
    """Close what works until it is closed."""

    def wait() -> None:
        stop.wait()
        close()

    threading.Thread(target=wait, daemon=True).start()


def projecting(settings: Settings, stop: threading.Event) -> None:
    """Keeps the rows of a projection."""
    with settings.opened() as store:
        projector = Projector(store, [tally("worked")])
        when_over(stop, projector.close)
        while not stop.is_set():
            persistently(projector.run)


def feeding(settings: Settings, stop: threading.Event) -> None:
    """Sends the log to a topic of Kafka."""
    how: dict[str, Any] = {"bootstrap": settings.bootstrap, "settings": QUIET}
    with settings.opened() as store:
        given = partial(KafkaFeed, store, settings.topic, exactly_once=settings.exactly_once)
        feed = persistently(partial(given, patience_s=PATIENCE_S, **how))
        when_over(stop, feed.close)
        while not stop.is_set():
            persistently(feed.run)


def consuming(settings: Settings, stop: threading.Event) -> None:
    """Takes events from Kafka into another database."""
    how: dict[str, Any] = {"bootstrap": settings.bootstrap, "settings": QUIET}
    with persistently(lambda: refold.open(settings.view)) as rows:
        while not stop.is_set():
            persistently(
                lambda: consume(settings.topic, tally("consumed"), rows=rows, stop=stop, **how)
            )


ROLES: dict[str, Callable[[Settings, threading.Event], None]] = {
    "threads": in_threads,
    "tasks": in_tasks,
    "readers": readers,
    "projecting": projecting,
    "feeding": feeding,
    "consuming": consuming,
}


def at_once(work: Sequence[Callable[[], None]]) -> None:
    """Each in a thread; ends when all have. The first that fails ends the process."""
    threads = [threading.Thread(target=partial(_or_tell, one)) for one in work]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _or_tell(work: Callable[[], None]) -> None:
    try:
        work()
    except BaseException as error:
        tell(error)


def tell(error: BaseException) -> None:
    """Say what was not expected, and end."""
    trace = " | ".join(traceback.format_exception(error)).replace("\n", " ")
    print(f"unexpected {trace[-1_500:]}", file=sys.stderr, flush=True)
    os._exit(70)


def main(role: str, given: str) -> None:
    """Work until it is over."""
    settings, stop = msgspec.json.decode(given, type=Settings), threading.Event()

    def listen() -> None:
        if not sys.stdin.readline():
            os._exit(0)  # Whoever started it is gone.
        stop.set()
        sys.stdin.read()
        os._exit(0)

    faulthandler.register(signal.SIGUSR1)  # It says where it hangs.
    threading.Thread(target=listen, daemon=True).start()
    try:
        ROLES[role](settings, stop)
    except BaseException as error:
        tell(error)
    sys.stderr.flush()
    os._exit(0)


if __name__ == "__main__":
    main(*sys.argv[1:])
