"""Every use of a store that there is, and what is made of one, prepared before a fork."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from contextvars import copy_context
from functools import partial
from pathlib import Path
from typing import Any

import refold
from refold import Append, Decider, Event, Fold, Query
from refold.feeds import JsonService, Poller, Source
from refold.outbox import Outbox
from refold.projections import Projector
from refold.recording import record
from tests.projections.sums import SUMS, sums

EVENT = Event("added", {"n": 1})
COUNT: Fold[int] = Fold("count", int)
ALL = Query(types=["added"])


@COUNT.on("added")
def _one_more(count: int, event: Event) -> int:
    return count + 1


DECIDER: Decider[int, int] = Decider(COUNT, lambda command, state: [EVENT])


def filled(store: refold.Store) -> None:
    """A few events under a key, with a tag."""
    for number in range(3):
        store.append("call-1", [EVENT], key=f"key-{number}", tags=["t"])


def uses_of(store: refold.Store, folder: Path | None) -> dict[str, Callable[[], Any]]:
    """The uses by name; what each needs is made now."""
    branch = store.branch("call-1").adding(Event("added", {"n": 2}))
    reading, following = store.read_all(), store.subscribe()
    next(following)
    projector = Projector(store, [sums()])
    projector.catch_up()
    outbox = Outbox(store, {"mail": lambda effect, key: key})
    service = JsonService("http://127.0.0.1:9", timeout_s=1)
    poller = Poller(store, service, Source(name="bank", params={}), lambda item: [])
    session = record(store, "call-2")
    copy_context().run(session.__enter__)  # In force for no test after this.
    return {
        "append": lambda: store.append("call-1", [EVENT]),
        "append a warm stream": lambda: store.append("call-1", [EVENT], expected=2),
        "append_together": lambda: store.append_together([Append("call-1", [EVENT])]),
        "append_many": lambda: list(store.append_many([Append("call-1", [EVENT])])),
        "execute": lambda: store.execute("call-1", DECIDER, 1),
        "execute over": lambda: store.execute("call-1", DECIDER, 1, command_id="c", over=ALL),
        "read": lambda: list(store.read("call-1")),
        "read_all": lambda: list(store.read_all()),
        "read_all matching": lambda: list(store.read_all(matching=ALL)),
        "a reading from before": lambda: list(reading),
        "subscribe": lambda: next(store.subscribe()),
        "a subscription from before": lambda: [next(following) for _ in range(9)],
        "head": lambda: store.head("call-1"),
        "log_head": store.log_head,
        "wait_for": lambda: store.wait_for("sums", 1),
        "event": lambda: store.event("call-1@0"),
        "find": lambda: store.find("key-1"),
        "streams": lambda: list(store.streams()),
        "fold": lambda: store.fold("call-1", COUNT),
        "fold a query": lambda: store.fold(ALL, COUNT),
        "fold_all": lambda: store.fold_all(COUNT),
        "branch": lambda: store.branch("call-1"),
        "save_branch": lambda: store.save_branch(branch, "call-1~a"),
        "save of a branch from before": lambda: branch.save("call-1~b"),
        "a projector of before": projector.catch_up,
        "running a projector": projector.run,
        "the rows of a projector": lambda: projector.rows(SUMS),
        "a query": lambda: projector.query("SELECT 1"),
        "the status of a projector": projector.status,
        "a rebuild": lambda: projector.rebuild("sums"),
        "a new projector": lambda: Projector(store, [sums()]).catch_up(),
        "an outbox": outbox.catch_up,
        "running an outbox": outbox.run,
        "the status of an outbox": outbox.status,
        "a poller": poller.poll,
        "running a poller": lambda: poller.run(threading.Event(), every_s=1),
        "the status of a feed": poller.status,
        "recording": lambda: session.record(EVENT),
        "the end of a recording": lambda: session.__exit__(None, None, None),
        "a new recording": lambda: record(store, "call-3").__enter__(),
        "check": lambda: list(store.check()),
        **({} if folder is None else _upkeep(store, folder)),
    }


def _upkeep(store: refold.Store, folder: Path) -> dict[str, Callable[[], Any]]:
    return {
        "compact": store.compact,
        "sizes": store.sizes,
        "backup": lambda: store.backup(folder / "copy.db"),
        "repair": lambda: list(store.repair()),
    }


def async_uses_of(store: refold.AsyncStore) -> dict[str, Callable[[], Awaitable[Any]]]:
    """The uses of an async store by name."""

    async def iterated(items: Any) -> list[Any]:
        return [item async for item in items]

    async def followed() -> Any:
        return await anext(store.subscribe())

    return {
        "append": lambda: store.append("call-1", [EVENT]),
        "append_together": lambda: store.append_together([Append("call-1", [EVENT])]),
        "append_many": lambda: iterated(store.append_many([Append("call-1", [EVENT])])),
        "execute": lambda: store.execute("call-1", DECIDER, 1),
        "read": lambda: iterated(store.read("call-1")),
        "read_all": lambda: iterated(store.read_all()),
        "subscribe": followed,
        "head": lambda: store.head("call-1"),
        "fold": lambda: store.fold("call-1", COUNT),
        "branch": lambda: store.branch("call-1"),
        "streams": lambda: iterated(store.streams()),
        "check": lambda: iterated(store.check()),
        "compact": store.compact,
        "repair": lambda: iterated(store.repair()),
        "in a block": lambda: _in_a_block(store),
    }


async def _in_a_block(store: refold.AsyncStore) -> None:
    async with store:
        await store.log_head()


def outcome(use: Callable[[], Any]) -> str:
    """The code of the error that a use ends with; what it gave else."""
    try:
        return repr(use())
    except refold.RefoldError as error:
        return error.code


def async_outcome(use: Callable[[], Awaitable[Any]]) -> str:
    """The same of an awaited use."""

    async def awaited() -> Any:
        return await asyncio.wait_for(use(), 10)

    return outcome(partial(asyncio.run, awaited()))
