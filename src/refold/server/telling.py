"""Telling what stores have received, as long as they are served."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager, suppress
from typing import Final

from refold.conversation.importers.driver import ImportReport
from refold.errors import StoreClosed
from refold.server.desk import Desk
from refold.server.received import LISTED_MAX

LOOK_S: Final = 1.0
"""So often it is looked for traces that have ended."""
FAILED_S: Final = 10.0
"""So long it is not looked in a store after something failed."""
LOGGER: Final = logging.getLogger("refold.server")


@asynccontextmanager
async def telling(desks: Callable[[], Iterable[Desk]]) -> AsyncIterator[None]:
    """Tell what the stores have received, each on threads of its own, until the block ends."""
    task = asyncio.create_task(_tell_on(desks))
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def _tell_on(desks: Callable[[], Iterable[Desk]]) -> None:
    under_way: dict[Desk, asyncio.Task[None]] = {}
    try:
        while True:
            under_way = {desk: task for desk, task in under_way.items() if not task.done()}
            for desk in desks():
                if desk not in under_way:
                    under_way[desk] = asyncio.create_task(_tell_once(desk))
            await asyncio.sleep(LOOK_S)
    finally:
        for task in under_way.values():
            task.cancel()


async def _tell_once(desk: Desk) -> None:
    try:
        _log(await desk.run(lambda: desk.teller.tell(now_s=time.monotonic())))
    except StoreClosed:
        return
    except Exception as error:
        LOGGER.warning("OTLP is told later: %s", error)
        await asyncio.sleep(FAILED_S)


def _log(report: ImportReport | None) -> None:
    for problem in report.problems[:LISTED_MAX] if report else ():
        LOGGER.warning("OTLP: %s", problem.message)
