"""The recorder in whose block this code runs, for its tasks and what copies its context."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import Future
from contextvars import ContextVar
from typing import Any, Final, Protocol

from refold.core.event import Event
from refold.recording.notes import Notes
from refold.recording.tool_run import ToolRun

Telling = Callable[[Notes, ToolRun], Sequence[Event]]
"""Gives the events by which a run of a tool goes on, after a session's notes."""
Told = asyncio.Future[None] | Future[None] | None
"""Done when it is recorded; None: it is."""
Tell = Callable[[ToolRun, Telling], Told]
"""Records them, in the order of these calls."""


class InForce(Protocol):
    """A recorder for the runs of tools in its block; ``_around`` is the one of the block around."""

    _around: InForce | None

    _is_open: bool
    """Whether its block goes on; another task may have left it."""

    def _tell(self, run: ToolRun, make: Telling, /) -> Told:
        """Record a run, as :data:`Tell`."""


entered: Final[ContextVar[InForce | None]] = ContextVar("refold.recording.entered", default=None)
_tasks: Final[set[asyncio.Task[None]]] = set()
"""What an event loop would forget, which holds its tasks by weak references."""


def in_force() -> InForce | None:
    """The recorder of the innermost block that goes on here; None where none does."""
    recorder = entered.get()
    while recorder is not None and not recorder._is_open:
        recorder = recorder._around
    return recorder


def begun(
    work: Coroutine[Any, Any, None], loop: asyncio.AbstractEventLoop
) -> asyncio.Future[None] | Future[None]:
    """Begin work on an event loop, from there or from another thread."""
    try:
        is_here = asyncio.get_running_loop() is loop
    except RuntimeError:
        is_here = False
    if not is_here:
        return asyncio.run_coroutine_threadsafe(work, loop)
    task = loop.create_task(work)
    _tasks.add(task)
    task.add_done_callback(_tasks.discard)
    return task
