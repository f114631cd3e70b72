"""Where a database is, and whether it still is there while it is open.

A file that is removed, renamed or replaced stays open: SQLite goes on writing to what no path leads
to, and whoever opens the path finds another log or none. The same holds for the two files beside
it, the WAL and its index (https://sqlite.org/howtocorrupt.html, 2.4 and 4.2 to 4.4).
"""

from __future__ import annotations

import os
import time
from os.path import samestat
from pathlib import Path
from typing import Final

from refold.errors import BackendError, Unavailable

stat_of: Final = os.stat
"""In half the time of a Path's: it is asked before every commit and read."""
FILE_GONE: Final = "file_gone"
SETTLED_NS: Final = 30_000_000
"""A folder whose time is older than this shows any change by another: Linux counts up to 10 ms."""

Rest = tuple[int, int, int]
"""An inode, a size in bytes, and the time of the last change."""


class FilePlace:
    """The files of a database that one backend has open; any thread may check.

    ``seen_ns`` is when ``folder`` had changed last when all was well: it is another moment once
    anything in it was made, removed or renamed. None: too early to rely on, or not well. A path
    that leads through links has no ``folder``: each of them may change. ``told`` is the last
    position that a caller was told of.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        # SQLite follows links before it names the files beside.
        real = path.resolve()
        self.folder = str(real.parent) if real == path else ""
        self.seen_ns: int | None = None
        self.told = 0
        may_write = os.access(real, os.W_OK) and os.access(real.parent, os.W_OK)
        self._is_guarded = not may_write
        self._names = (str(self.path), f"{real}-wal", f"{real}-shm")
        self._open: list[os.stat_result | None] = [None] * len(self._names)

    def at_rest(self) -> Rest | None:
        """The state of a file that may be read by itself; None where SQLite is to look after it.

        Who may write neither the file nor its folder can have no WAL or index of their own. Where
        there is none, nobody has the file open for writing, and all of the log is in it; another
        state is told from this one by the time, once that has moved on.
        """
        if not self._is_guarded:
            return None
        found, wal, index = map(_stat, self._names)
        if found is None or (wal is not None and (wal.st_size or index is not None)):
            return None
        if 0 <= time.time_ns() - found.st_ctime_ns < SETTLED_NS:
            time.sleep(SETTLED_NS / 1e9)
            return self.at_rest()
        return found.st_ino, found.st_size, found.st_ctime_ns

    def check_unchanged(self, rest: Rest) -> None:
        """Refuse what was read of a file by itself, where it was written meanwhile."""
        if self.at_rest() != rest:
            what = f"{self.path} was being written while it was read: read again"
            raise Unavailable(what, path=str(self.path))

    def check(self, *, alone: bool = False, notes: bool = True) -> None:
        """Refuse to go on where the files are no longer those that are open.

        For who has a connection: while there is one, SQLite leaves the files beside where they are.
        What is not there yet, such as a WAL that nobody has written to, is noted when it is; not by
        ``notes=False``, for who has none. ``alone``: the file is read by itself, at rest.
        """
        folder = _stat(self.folder)
        for index, name in enumerate(self._names[: 1 if alone else None]):
            known, found = self._open[index], _stat(name)
            if known and not (found and samestat(known, found)):
                how = "replaced" if found else "removed or renamed"
                raise gone(self.path, how, file=name)
            if notes and not known:
                self._open[index] = found
        is_old = folder is not None and time.time_ns() - folder.st_ctime_ns > SETTLED_NS
        self.seen_ns = folder.st_ctime_ns if notes and folder and is_old else None

    def forget(self) -> None:
        """Let the files beside be other ones: a connection is about to be closed.

        The last one that is closed removes them, and another thread may make them anew at once. Not
        afterwards: that thread would compare with what was there. What is noted again meanwhile is
        noted by a thread with a connection of its own, which keeps the files until it comes here.
        """
        self._open[1:], self.seen_ns = [None, None], None


def gone(path: Path, how: str, *, file: str = "") -> BackendError:
    """What a caller is told of a file that is no longer what it was when it was opened."""
    return BackendError(
        f"{file or path} was {how} while {path} was open: what would be appended here would be "
        "lost, and nothing was written. Save what was acknowledged with backup() of this store, or "
        "put the file back; then close it, and open what is to be gone on with",
        code=FILE_GONE,
        path=str(path),
        file=file or str(path),
    )


def _stat(name: str) -> os.stat_result | None:
    try:
        return stat_of(name)
    except OSError:
        return None
