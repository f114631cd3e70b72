"""The conversation in force: for a block, its tasks, and the threads that are begun in it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar, copy_context
from functools import cache, partial, wraps
from threading import Thread
from typing import Any, Final

from refold.core.event import check_name

_current: Final[ContextVar[str | None]] = ContextVar("refold.capture.conversation", default=None)
current = _current.get
"""The stream of the conversation in force, None where none is."""


@contextmanager
def conversation(stream: str) -> Iterator[None]:
    """Model calls in this block belong to a stream, also those of its tasks and threads.

    ::

        with refold.capture.conversation("call-42"):
            answer = agent.run(question)

    Raises :class:`~refold.errors.UsageError` for what is no name of a stream.
    """
    check_name(stream, what="the conversation")
    follow()
    token = _current.set(stream)
    try:
        yield
    finally:
        _current.reset(token)


@cache
def follow() -> None:
    """Let threads and pools know, from now on, the conversation in which they get their work."""
    for cls, name, make in ((Thread, "start", _start), (ThreadPoolExecutor, "submit", _submit)):
        original = getattr(cls, name)
        setattr(cls, name, wraps(original)(make(original)))


def _start(original: Any) -> Any:
    def start(thread: Thread) -> None:
        if (stream := current()) is not None:
            thread.run = partial(_run_in, stream, thread.run)  # type: ignore[method-assign]
        original(thread)

    return start


def _run_in(stream: str, run: Callable[[], None]) -> None:
    _current.set(stream)
    run()


def _submit(original: Any) -> Any:
    def submit(pool: ThreadPoolExecutor, work: Any, /, *args: Any, **named: Any) -> Any:
        if current() is None:
            return original(pool, work, *args, **named)
        context = copy_context()
        # A thread that the pool begins for it serves others later: it is in no conversation.
        token = _current.set(None)
        try:
            return original(pool, context.run, work, *args, **named)
        finally:
            _current.reset(token)

    return submit
