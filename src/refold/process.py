"""Which process this is: what was opened in one is refused in every other.

A forked process has its parent's connections without the locks that belong to them
(https://www.sqlite.org/howtocorrupt.html, 2.6), and its parent's locks without the threads that
would release them. So whatever is opened keeps the :class:`Process` that opened it, and asks
whether that is still the one that runs, before it takes a lock.
"""

from __future__ import annotations

import os
import secrets
import sys
import threading
from contextlib import AbstractContextManager
from functools import cache
from os import getpid
from pathlib import Path
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


def this_process() -> str:
    """What this process is known by to others, of whatever machine; :func:`has_ended` reads it."""
    return _name(getpid())


def has_ended(name: str) -> bool:
    """Whether the process of this name is gone, as far as can be seen from here.

    It can where both began since the same start of one machine, in one container: elsewhere a
    number is another process's. One that began later is not the one that was named.
    """
    process, _, began = name.rpartition(":")
    where, _, number = process.rpartition(":")
    own, _, own_began = this_process().rpartition(":")
    if process == own or where != own.rpartition(":")[0] or not number.isdecimal():
        return process == own and began != own_began
    try:
        os.kill(int(number), 0)
    except ProcessLookupError:
        return True
    except OSError:
        pass  # It runs, and is somebody else's.
    return _began(int(number)) not in ("", began)


@cache
def _name(number: int) -> str:
    import socket  # What only opens a store needs none.

    began = _began(number) or secrets.token_hex(4)
    return f"{socket.gethostname()}.{_numbering()}:{number}:{began}"


def _numbering() -> str:
    """Where the numbers of processes are the same: "" for a whole machine of whatever start.

    https://man7.org/linux/man-pages/man7/pid_namespaces.7.html
    """
    try:
        start = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii")
        space = str(Path("/proc/self/ns/pid").readlink())
        return f"{start[:8]}.{space[5:-1]}"  # Of "pid:[4026531836]".
    except OSError:
        # It may be a container, or on Windows, where no process can be asked.
        return "" if sys.platform == "darwin" else secrets.token_hex(4)


def _began(number: int) -> str:
    """When a process began, in ticks since its machine did; "" where nobody says."""
    try:
        said = Path(f"/proc/{number}/stat").read_bytes()
    except OSError:
        return ""
    return said.rpartition(b")")[2].split()[19].decode()


class ProcessLock:
    """A lock for ``with turn():``, which its holder may take again; refused in a forked process."""

    def __init__(self) -> None:
        self._process = here()  # First: it says why this cannot be pickled.
        self.lock = threading.RLock()

    def __call__(self) -> AbstractContextManager[object]:
        """The lock, where it is this process's own."""
        self._process.check()
        return self.lock
