"""Which process this is: what was opened in one is refused in every other.

A forked process has its parent's connections without the locks that belong to them
(https://www.sqlite.org/howtocorrupt.html, 2.6), and its parent's locks without the threads that
would release them. So whatever is opened keeps the :class:`Process` that opened it, and asks
whether that is still the one that runs, before it takes a lock.
"""

from __future__ import annotations

import os
import threading
from contextlib import AbstractContextManager
from os import getpid
from typing import NoReturn

from refold.errors import UsageError


class Process:
    """A process. ``pid`` is its number; negative in those that were forked from it.

    Who compares ``pid`` with ``os.getpid()`` also sees a fork that Python was not told of, as some
    servers written in C make them; and no descendant that got the number anew is taken for it.
    """

    def __init__(self) -> None:
        self.pid = getpid()

    @property
    def is_here(self) -> bool:
        """Whether it is the process that runs this."""
        return self.pid == getpid()

    def check(self) -> None:
        """Refuse to go on in another process: :class:`UsageError`, code ``forked``."""
        if not self.is_here:
            opened_in, process = abs(self.pid), getpid()
            why = f"this store was opened in process {opened_in}, and this is {process}, forked"
            advice = "open the store here, after the fork"
            facts = {"opened_in": opened_in, "process": process}
            raise UsageError(f"{why} from it: {advice}", code="forked", **facts)

    def __reduce__(self) -> NoReturn:
        """What was opened is neither copied nor sent elsewhere; so refuse each that has a part."""
        advice = "give its address, and open it there"
        raise UsageError(f"a store cannot be pickled or copied: {advice}", code="not_copied")


_here = Process()


def here() -> Process:
    """The process that runs this."""
    return _here if _here.is_here else _forked()


def _forked() -> Process:
    global _here
    _here.pid, _here = -abs(_here.pid), Process()
    return _here


os.register_at_fork(after_in_child=_forked)


def has_ended(host: str, number: str) -> bool:
    """Whether another process is gone, as far as can be seen from here: one of this machine is.

    The number of this process is that of another before it.
    """
    import socket  # What only opens a store needs none.

    if host != socket.gethostname() or os.name != "posix" or not number.isdecimal():
        return False
    try:
        os.kill(int(number), 0)
    except ProcessLookupError:
        return True
    except OSError:
        pass  # It runs, and is somebody else's.
    return int(number) == getpid()


class ProcessLock:
    """A lock for ``with turn():``, which its holder may take again; refused in a forked process."""

    def __init__(self) -> None:
        self._process = here()  # First: it says why this cannot be pickled.
        self.lock = threading.RLock()

    def __call__(self) -> AbstractContextManager[object]:
        """The lock, where it is this process's own."""
        self._process.check()
        return self.lock
