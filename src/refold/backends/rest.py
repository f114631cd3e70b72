"""Connections at rest while their process forks, so that the child may open the same files.

SQLite remembers for each file what its process has locked. A forked child would have the memory
and not the locks, and trust it for connections of its own: another process could then remove the
WAL that they write to. So stores close their connections before a fork, and open them again when
they need them. What a thread is at for longer than ``REST_MAX_S`` stays open: the child can open
no file then, and is told so.
"""

from __future__ import annotations

import ctypes
import os
import threading
import time
from typing import Any, Final
from weakref import WeakSet

import apsw

from refold.errors import UsageError
from refold.process import here

REST_MAX_S: Final = 1.0
"""How long a fork waits for what other threads are at."""

resting = WeakSet[Any]()
"""What keeps connections: ``close_idle()`` closes those that nobody uses, until they are needed."""
_opening = threading.RLock()


class Connection(apsw.Connection):
    """A connection that is opened when no thread forks, and left alone in a forked process.

    Closing it there would have SQLite move the WAL into the file, and remove it, by what it
    remembers of locks that this process does not have.
    """

    process = here()  # Until it is made: an interrupt may come before.

    def __init__(self, name: str, **options: Any) -> None:
        self.process, self.name = here(), name
        with _opening:
            for path in [one.name for one in _open_files() if not one.process.is_here]:
                why = f"{path} was in use when this process was forked: no store can be opened here"
                advice = "fork when no thread uses one, or start the process by spawn"
                raise UsageError(f"{why}; {advice}", code="forked", path=path)
            super().__init__(name, **options)

    def close(self, force: bool = False) -> None:
        """Let go of the file, where it is this process's own."""
        if self.process.is_here:
            super().close(force)

    def __del__(self) -> None:
        # Never freed: that would close it.
        if hasattr(self, "process") and not self.process.is_here:
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(self))


def _open_files() -> list[Connection]:
    ours = [one for one in apsw.connections() if isinstance(one, Connection)]
    return [one for one in ours if one.name != ":memory:"]


def _rest() -> None:
    _opening.acquire()
    until = time.monotonic() + REST_MAX_S
    while any(one.process.is_here for one in _open_files()) and time.monotonic() < until:
        for one in list(resting):
            one.close_idle()
        time.sleep(0.001)  # for what other threads are at


def _forked() -> None:
    _opening.release()
    resting.clear()
    for connection in _open_files():  # The end of a block that it was used in is refused.
        connection.exec_trace = lambda cursor, *_: cursor.connection.process.check()


os.register_at_fork(before=_rest, after_in_parent=_opening.release, after_in_child=_forked)
