"""Processes that append until they are killed, and tell of each answer through a pipe."""

from __future__ import annotations

import asyncio
import json
import os
import threading
import traceback
from collections.abc import Iterator
from multiprocessing.connection import Connection
from typing import Any

import refold
from refold.engine.append import Append
from refold.ports import Appended

LANES = 4
SHARED = "shared-1"
TRACE_CHARS_MAX = 2_000
PACKED, FAILED = "packed", "failed"


def write_in_threads(path: str, name: str, synchronous: Any, told: Connection) -> None:
    """Append from several threads through one store."""
    store = refold.open(path, mode="write", synchronous=synchronous)

    def work(lane: str) -> None:
        try:
            for turn, (appends, key) in enumerate(_work(lane)):
                _tell(told, lane, turn, store.append_together(appends, key=key))
        except BaseException as error:
            _tell_failure(told, error)
            raise

    for number in range(LANES):
        threading.Thread(target=work, args=(f"{name}.{number}",), daemon=True).start()
    threading.Event().wait()


def write_in_tasks(path: str, name: str, synchronous: Any, told: Connection) -> None:
    """Append from several tasks of one event loop."""

    async def work(store: refold.AsyncStore, lane: str) -> None:
        for turn, (appends, key) in enumerate(_work(lane)):
            _tell(told, lane, turn, await store.append_together(appends, key=key))

    async def run() -> None:
        async with refold.open_async(path, mode="write", synchronous=synchronous) as store:
            await asyncio.gather(*(work(store, f"{name}.{number}") for number in range(LANES)))

    try:
        asyncio.run(run())
    except BaseException as error:
        _tell_failure(told, error)
        raise


def compact(path: str, name: str, synchronous: Any, told: Connection) -> None:
    """Pack whatever the others have appended, again and again; tell when there was something."""
    try:
        store = refold.open(path, mode="write", synchronous=synchronous)
        while True:
            if store.compact().events:
                _tell(told, PACKED, 0, [])
    except BaseException as error:
        _tell_failure(told, error)
        raise


def parts_of(lane: str, turn: int) -> tuple[list[Append], str | None]:
    """What a lane appends in its n-th turn, and under which key."""
    own = f"lane-{lane}"
    sizes = ((own, 1), (SHARED, 3), (own, 2), (SHARED, 1), (f"new-{lane}-{turn}", 1))
    chosen = (sizes[turn % 5], sizes[(turn + 2) % 5]) if turn % 5 == 3 else (sizes[turn % 5],)
    size = sum(count for _, count in chosen)
    numbers = iter(range(size))
    appends = [
        Append(
            stream,
            [
                refold.Event(
                    f"test.{turn % 7}",
                    {"lane": lane, "turn": turn, "n": next(numbers), "of": size},
                )
                for _ in range(count)
            ],
            tags=[f"turn:{turn % 3}", stream] if turn % 2 else [],
        )
        for stream, count in chosen
    ]
    return appends, f"{lane}-{turn}" if turn % 5 in (2, 3) else None


def _work(lane: str) -> Iterator[tuple[list[Append], str | None]]:
    turn = 0
    while True:
        yield parts_of(lane, turn)
        turn += 1


def _tell(told: Connection, lane: str, turn: int, answers: list[Appended]) -> None:
    """One line a call, short enough that the pipe takes it whole."""
    line = json.dumps([lane, turn, [[a.stream, a.version, a.position] for a in answers]])
    os.write(told.fileno(), line.encode() + b"\n")


def _tell_failure(told: Connection, error: BaseException) -> None:
    trace = "".join(traceback.format_exception(error))[-TRACE_CHARS_MAX:]
    os.write(told.fileno(), json.dumps([FAILED, 0, [[trace]]]).encode() + b"\n")
