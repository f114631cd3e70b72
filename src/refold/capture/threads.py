"""The conversation in force: for a block, its tasks, and the threads that are begun in it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar, copy_context
from functools import wraps
from typing import Any, Final

from refold.core.event import check_name

_current: Final[ContextVar[str | None]] = ContextVar("refold.capture.conversation", default=None)
current = _current.get
"""The stream of the conversation in force, None where none is."""
_lock: Final = threading.Lock()
_originals: Final[list[tuple[type, str, Any, Any]]] = []


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


def follow() -> None:
    """Let threads and pools know the conversation in which they are given their work."""
    with _lock:
        if not _originals:
            _replace(threading.Thread, "start", _start)
            _replace(ThreadPoolExecutor, "submit", _submit)


def unfollow() -> None:
    """Undo :func:`follow`."""
    with _lock:
        while _originals:
            cls, name, original, own = _originals.pop()
            if getattr(cls, name) is own:  # Else another stands around it; it does no harm there.
                setattr(cls, name, original)


def _replace(cls: type, name: str, make: Any) -> None:
    original = getattr(cls, name)
    own = wraps(original)(make(original))
    _originals.append((cls, name, original, own))
    setattr(cls, name, own)


def _start(original: Any) -> Any:
    def start(thread: threading.Thread) -> None:
        if (stream := current()) is not None:
            run = thread.run

            def in_conversation() -> None:
                _current.set(stream)
                run()

            thread.run = in_conversation  # type: ignore[method-assign]
        original(thread)

    return start


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
