"""What is counted in a process and in those that it forks, which have no memory in common."""

from __future__ import annotations

import os
from collections import Counter
from contextlib import suppress
from tempfile import TemporaryFile
from threading import RLock

import msgspec


class ForkTally:
    """How often what came, each a few texts; also in forked processes, until :meth:`close`.

    These write a line into a file that has no name, and that both have open. Not counted is what a
    process does that let go of the files that it got, or that outlives the tally.
    """

    def __init__(self) -> None:
        self._counted: Counter[tuple[str, ...]] = Counter()
        self._lock, self._owner, self._read = RLock(), os.getpid(), 0
        self._file = TemporaryFile(buffering=0)  # noqa: SIM115
        self._same = _identity(self._file.fileno())

    def add(self, *what: str) -> None:
        """Count this once."""
        if os.getpid() == self._owner:
            with self._lock:
                self._counted[what] += 1
            return
        # Neither the lock: another thread may have had it when the process was forked.
        number = self._file.fileno()
        with suppress(OSError):
            if _identity(number) == self._same:  # Its number may be that of another file by now.
                os.write(number, msgspec.json.encode(what) + b"\n")

    def of(self, kind: str) -> Counter[tuple[str, ...]]:
        """What was counted that begins with a text, without that."""
        with self._lock:
            self._take()
            return Counter({key[1:]: n for key, n in self._counted.items() if key[0] == kind})

    def close(self) -> None:
        """Take what there is, and let go of the file."""
        with self._lock:
            self._take()
            self._file.close()

    def _take(self) -> None:
        if self._file.closed:
            return
        while piece := os.pread(self._file.fileno(), 1 << 16, self._read):
            whole = piece[: piece.rfind(b"\n") + 1]
            if not whole:
                return
            self._read += len(whole)
            for line in whole.splitlines():
                self._counted[msgspec.json.decode(line, type=tuple[str, ...])] += 1


def _identity(number: int) -> tuple[int, int]:
    stat = os.fstat(number)
    return stat.st_dev, stat.st_ino
