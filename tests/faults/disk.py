"""A disk that fails when it is told to: SQLite's own file system, with faults.

Give its ``name`` as ``vfs`` to whatever opens the database::

    with Disk() as disk, disk.open("agents.db") as store:
        disk.fail(at=len(disk.operations), how="full")
        store.append(...)  # raises Unavailable: the disk is full

Every operation is noted, with what it wrote, so that one run tells where the next ones can fail,
and what a loss of power at any of its moments can leave (:mod:`tests.faults.power_loss`). A sync
is noted and not made. Shared memory and locks are the operating system's own.
"""

from __future__ import annotations

import os
import threading
from contextlib import suppress
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Literal, NamedTuple, Self

import apsw

from refold.backends.sqlite import SqliteBackend
from refold.connect import store_over
from refold.engine.store import Store

Kind = Literal["open", "read", "write", "sync", "truncate", "delete", "mark"]
How = Literal["error", "full", "torn", "late"]
"""How an operation fails: not done; not done as the disk is full; a write half done; or done in
full, with an error all the same."""

PAGES_PER_CHECKPOINT: Final = 1_000
"""SQLite's own default."""

_ERRORS: Final[dict[Kind, int]] = {
    "open": apsw.SQLITE_CANTOPEN,
    "read": apsw.SQLITE_IOERR_READ,
    "write": apsw.SQLITE_IOERR_WRITE,
    "sync": apsw.SQLITE_IOERR_FSYNC,
    "truncate": apsw.SQLITE_IOERR_TRUNCATE,
    "delete": apsw.SQLITE_IOERR_DELETE,
}
_numbers = count(1)


class Operation(NamedTuple):
    """What was done to a file, or what a program noted meanwhile (``mark``).

    ``offset`` is where a read or write begins, or the size that a file is truncated to. ``data``
    is what is written. ``label`` is what a mark says; for an open, whether it may make the file;
    for a delete, whether the folder is synced.
    """

    kind: Kind
    file: str = ""
    offset: int = 0
    data: bytes = b""
    label: object = None


class Disk(apsw.VFS):
    """SQLite's file system, each operation noted, any of them to fail.

    ``name`` is what it is registered under until :meth:`close`. ``pages_per_checkpoint``: after a
    commit that leaves so many pages in the WAL, a checkpoint is tried, as SQLite does by itself.
    """

    def __init__(self, *, pages_per_checkpoint: int = PAGES_PER_CHECKPOINT) -> None:
        self.name = f"refold-disk-{next(_numbers)}"
        super().__init__(self.name, "")
        self.operations: list[Operation] = []
        self.failed: list[Operation] = []
        self._pages_per_checkpoint = pages_per_checkpoint
        self._mutex = threading.Lock()
        self._fail_at = self._mended_at = -1
        self._how: How = "error"
        # A bound method is made anew each time it is asked for: keep the one to be removed.
        self._hook = self._connected
        apsw.connection_hooks.append(self._hook)

    def open(self, path: str | os.PathLike[str], **options: Any) -> Store:
        """A store over this disk; ``options`` are those of :func:`refold.open`."""
        ours = {k: options.pop(k) for k in ("mode", "synchronous") if k in options}
        return store_over(SqliteBackend(Path(path), vfs=self.name, **ours), **options)

    def fail(self, *, at: int, how: How = "error", operations: int = 1) -> None:
        """Let operations fail, from number ``at`` (as in ``operations``), so many of them.

        A full disk fails writes alone. What cannot be torn or late, such as a sync, fails with an
        error.
        """
        with self._mutex:
            self._fail_at, self._mended_at, self._how = at, at + operations, how

    def mend(self) -> None:
        """From now on nothing fails."""
        with self._mutex:
            self._fail_at = self._mended_at = -1

    def mark(self, label: object) -> None:
        """Note something between the operations, such as what a caller has been told."""
        with self._mutex:
            self.operations.append(Operation("mark", label=label))

    def close(self) -> None:
        """Take the disk out of SQLite's list, once nothing is open on it."""
        with suppress(ValueError):
            apsw.connection_hooks.remove(self._hook)
        self.unregister()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def xOpen(self, name: str | apsw.URIFilename | None, flags: list[int]) -> _File:  # noqa: N802
        """See :meth:`apsw.VFS.xOpen`."""
        path = name.filename() if isinstance(name, apsw.URIFilename) else name or ""
        creates = bool(flags[0] & apsw.SQLITE_OPEN_CREATE)
        self.reach(Operation("open", path, label=creates))
        return _File(self, path, name, flags)

    def xDelete(self, filename: str, syncdir: bool) -> None:  # noqa: N802
        """See :meth:`apsw.VFS.xDelete`."""
        self.reach(Operation("delete", filename, label=bool(syncdir)))
        super().xDelete(filename, syncdir)

    def reach(self, operation: Operation) -> How | None:
        """Note an operation; raise, or say how much of it is to be done, if it is to fail."""
        with self._mutex:
            number = len(self.operations)
            self.operations.append(operation)
            if not self._fail_at <= number < self._mended_at:
                return None
            full = self._how == "full"
            if full and operation.kind != "write":
                return None
            self.failed.append(operation)
            if operation.kind == "write" and self._how in ("torn", "late"):
                return self._how
        raise _error(apsw.SQLITE_FULL if full else _ERRORS[operation.kind])

    def _connected(self, connection: apsw.Connection) -> None:
        if connection.open_vfs == self.name:
            connection.set_wal_hook(self._committed)

    def _committed(self, connection: apsw.Connection, database: str, pages: int) -> int:
        """What SQLite does after a commit, which ignores errors too.

        SQLite's own would be ignored by SQLite, but apsw raises what a VFS in Python has raised.
        """
        if pages >= self._pages_per_checkpoint:
            with suppress(apsw.Error):
                connection.wal_checkpoint(database)
        return apsw.SQLITE_OK


class _File(apsw.VFSFile):
    """A file of a :class:`Disk`."""

    def __init__(
        self, disk: Disk, path: str, name: str | apsw.URIFilename | None, flags: list[int]
    ) -> None:
        super().__init__("", name, flags)
        self._disk = disk
        self._path = path

    def xRead(self, amount: int, offset: int) -> bytes:  # noqa: N802
        """See :meth:`apsw.VFSFile.xRead`."""
        self._disk.reach(Operation("read", self._path, offset))
        return super().xRead(amount, offset)

    def xWrite(self, data: Any, offset: int) -> None:  # noqa: N802
        """See :meth:`apsw.VFSFile.xWrite`."""
        written = bytes(data)
        how = self._disk.reach(Operation("write", self._path, offset, written))
        super().xWrite(written[: len(written) // 2] if how == "torn" else written, offset)
        if how is not None:
            raise _error(apsw.SQLITE_IOERR_WRITE)

    def xSync(self, flags: int) -> None:  # noqa: N802
        """See :meth:`apsw.VFSFile.xSync`."""
        self._disk.reach(Operation("sync", self._path))

    def xTruncate(self, newsize: int) -> None:  # noqa: N802
        """See :meth:`apsw.VFSFile.xTruncate`."""
        self._disk.reach(Operation("truncate", self._path, newsize))
        super().xTruncate(newsize)


def _error(code: int) -> Exception:
    """What apsw raises for a code of SQLite's."""
    error = apsw.exception_for(code)
    error.args = ("the disk is full" if code == apsw.SQLITE_FULL else "disk I/O error",)
    return error
