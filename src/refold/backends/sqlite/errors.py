"""Driver errors as refold errors: which file, what happened, what to do."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import apsw

from refold.errors import (
    LOOK_OR_REPEAT,
    BackendError,
    Corrupt,
    InvalidEvent,
    OutcomeUnknown,
    RefoldError,
    Unavailable,
    UsageError,
)

BUSY_WAIT_MS: Final = 10_000

_READ_FAILED: Final = (apsw.SQLITE_IOERR_READ, apsw.SQLITE_IOERR_SHORT_READ)
_DAMAGED: Final = (apsw.CorruptError, UnicodeDecodeError, OverflowError)
"""A number that SQLite cannot hold comes of a damaged one that was counted on from."""
_NOT_AS_WRITTEN: Final = (
    apsw.SQLError,
    apsw.ConstraintError,
    apsw.MismatchError,
    apsw.FormatError,
    apsw.SchemaChangeError,
)
"""What refold's own statements meet only in tables that are not as refold wrote them."""


DRIVER_ERRORS: Final = (apsw.Error, UnicodeDecodeError, OverflowError)


@contextmanager
def naming_errors(path: Path) -> Iterator[None]:
    """Name what goes wrong with a file while nothing is appended to it."""
    try:
        yield
    except DRIVER_ERRORS as error:
        raise driver_error(error, path) from error


def commit_error(error: Exception, path: Path) -> RefoldError:
    """The name of what went wrong during a commit."""
    if _may_be_stored(error):
        return OutcomeUnknown(
            f"writing {path} failed ({error}): the append may or may not be stored; "
            f"{LOOK_OR_REPEAT}",
            path=str(path),
        )
    return driver_error(error, path)


def _may_be_stored(error: Exception) -> bool:
    """A full disk cuts a commit short for certain, and so does a failed read before its end.

    After any other failure the whole commit may stand in the WAL, where a recovery would find it.
    """
    if isinstance(error, apsw.IOError):
        return getattr(error, "extendedresult", None) not in _READ_FAILED
    return isinstance(error, apsw.NoMemError)


def driver_error(error: Exception, path: Path) -> RefoldError:
    """The name of what went wrong with a file while nothing is appended to it."""
    if isinstance(error, apsw.TooBigError):
        return InvalidEvent(f"an append is more than {path} can hold: split it")
    kind, what, code = _named(error, path)
    return kind(f"{path} {what}", code=code, path=str(path))


def _named(error: Exception, path: Path) -> tuple[type[RefoldError], str, str | None]:
    """What to raise, what it says of the file, and its code where that is not the usual one."""
    match error:
        case apsw.NotADBError():
            return UsageError, "is not a refold database", "not_a_database"
        case _ if isinstance(error, _DAMAGED):
            return Corrupt, f"is damaged: {error}{_cut_short(path)}; run `refold doctor`", None
        case _ if isinstance(error, _NOT_AS_WRITTEN):
            what = f"is not as refold wrote it: {error}{_cut_short(path)}; run `refold doctor`"
            return Corrupt, what, None
        case apsw.CantOpenError() if _may_be_opened(path):
            what = "cannot be opened now: does this process hold too many files?"
            return Unavailable, what, None
        case apsw.ReadOnlyError() | apsw.CantOpenError() | apsw.PermissionsError():
            what = "cannot be opened: check its permissions and its folder's, where SQLite keeps "
            return UsageError, f"{what}files of its own, for readers too", "not_writable"
        case apsw.BusyError() | apsw.LockedError() | apsw.ProtocolError():
            what = f"stayed locked by another process for {BUSY_WAIT_MS} ms; nothing was written"
            return Unavailable, what, None
        case apsw.FullError():
            what = "is on a disk that is full; nothing was written: free some space"
            return Unavailable, what, None
        case apsw.IOError() | apsw.NoMemError():
            return Unavailable, f"cannot be reached now: {error}", None
    return BackendError, f"cannot be used: SQLite failed: {error}", None


def _cut_short(path: Path) -> str:
    """How much is there of a file that is shorter than its header says; else nothing.

    The page size is at byte 16, the number of pages at byte 28 (https://sqlite.org/fileformat.html).
    """
    try:
        with path.open("rb") as file:
            header, actual = file.read(32), os.fstat(file.fileno()).st_size
    except OSError:
        return ""
    page, pages = int.from_bytes(header[16:18]), int.from_bytes(header[28:32])
    whole = (65_536 if page == 1 else page) * pages
    return f"; it is cut short: {actual:,} bytes of {whole:,}" if actual < whole else ""


def _may_be_opened(path: Path) -> bool:
    """Whether it is not for want of permissions that a file cannot be opened."""
    return os.access(path, os.R_OK | os.W_OK) and os.access(path.parent, os.W_OK | os.X_OK)
