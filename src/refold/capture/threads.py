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
_followed: Final[list[ContextVar[str | None]]] = []


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


def follow(variable: ContextVar[str | None] = _current) -> None:
    """Let threads and pools know, from now on, what is in force where they get their work."""
    if variable not in _followed:
        _followed.append(variable)
    _patch()


def _in_force() -> list[tuple[ContextVar[str | None], str]]:
    said = [(one, one.get()) for one in _followed]
    return [(one, value) for one, value in said if value is not None]


@cache
def _patch() -> None:
    for cls, name, make in ((Thread, "start", _start), (ThreadPoolExecutor, "submit", _submit)):
        original = getattr(cls, name)
        setattr(cls, name, wraps(original)(make(original)))


def _start(original: Any) -> Any:
    def start(thread: Thread) -> None:
        if said := _in_force():
            thread.run = partial(_run_in, said, thread.run)  # type: ignore[method-assign]
        original(thread)

    return start


def _run_in(said: list[tuple[ContextVar[str | None], str]], run: Callable[[], None]) -> None:
    for variable, value in said:
        variable.set(value)
    run()


def _submit(original: Any) -> Any:
    def submit(pool: ThreadPoolExecutor, work: Any, /, *args: Any, **named: Any) -> Any:
        if not (said := _in_force()):
            return original(pool, work, *args, **named)
        context = copy_context()
        # A thread that the pool begins for it serves others later: nothing is in force there.
        tokens = [(variable, variable.set(None)) for variable, _ in said]
        try:
            return original(pool, context.run, work, *args, **named)
        finally:
            for variable, token in tokens:
                variable.reset(token)

    return submit
