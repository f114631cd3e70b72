"""The recorder in whose block this code runs, for its tasks and what copies its context."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import Future
from contextvars import ContextVar
from typing import Any, Final

from refold.core.event import Event
from refold.recording.notes import Notes
from refold.recording.tool_run import ToolRun

Telling = Callable[[Notes, ToolRun], Sequence[Event]]
"""Gives the events by which a run of a tool goes on, after a session's notes."""
Told = asyncio.Future[None] | Future[None] | None
"""Done when it is recorded; None: it is."""
Tell = Callable[[ToolRun, Telling], Told]
"""Records them, in the order of these calls."""

telling: Final[ContextVar[Tell | None]] = ContextVar("refold.recording.telling", default=None)
_tasks: Final[set[asyncio.Task[None]]] = set()
"""What an event loop would forget, which holds its tasks by weak references."""


def begun(work: Coroutine[Any, Any, None], loop: asyncio.AbstractEventLoop) -> Told:
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
