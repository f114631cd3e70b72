"""A log in one file of JSON lines, for one process: what an agent uses that needs no database.

Each line is an append: ``{"position", "stream", "version", "recorded_at", "events", …}`` with the
events as every backend keeps them, or an array of such objects that were stored together. A commit
writes its lines at the end and syncs them before anyone is told; a last line that was never
finished was never acknowledged, and is taken off at the next start. All of it is held in memory.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager, suppress
from itertools import islice
from pathlib import Path
from typing import Any, Final, Literal, NoReturn
from weakref import WeakSet

import msgspec

from refold.backends.copied import stored_write
from refold.backends.memory import MemoryBackend
from refold.backends.plan import Accepted, Plan
from refold.core.clock import rfc3339, to_us
from refold.core.stored import Row
from refold.errors import (
    BackendError,
    Corrupt,
    NotFound,
    OutcomeUnknown,
    RefoldError,
    StoreClosed,
    Unavailable,
    UsageError,
)
from refold.ports import Batch, Beside, Check, Fork, Outcome, Write

_FLAGS: Final = {"create": os.O_RDWR | os.O_CREAT, "write": os.O_RDWR, "read": os.O_RDONLY}


class JournalLine(msgspec.Struct, omit_defaults=True):
    """One append of a journal, as a :class:`~refold.ports.Write` and its place.

    ``events`` is its body and ``metadata`` its shared metadata: as they are, or as a string where
    they have line breaks. ``recorded_at`` is RFC 3339, and so is ``clock_at``, what the clock said
    where it stood behind that; ``digest`` is hexadecimal.
    """

    position: int
    stream: str
    version: int
    recorded_at: str
    events: msgspec.Raw
    metadata: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    fork: Fork | None = None
    key: str | None = None
    digest: str = ""
    clock_at: str | None = None

    def write(self) -> Write:
        """The append that this line says was stored."""
        metadata = None if isinstance(self.metadata, msgspec.UnsetType) else _read(self.metadata)
        return stored_write(self.stream, metadata, _read(self.events), self.fork)


_decode: Final = msgspec.json.Decoder(JournalLine | list[JournalLine]).decode
_opened = WeakSet["JournalBackend"]()
"""The journals of this process: a forked child has the same files open."""


class JournalBackend(MemoryBackend):
    """A log in memory whose commits are written to a file of JSON lines first.

    ``mode`` and ``synchronous`` as for :func:`refold.open`. One process may write; others may open
    it to read, and see what is written meanwhile.
    """

    def __init__(
        self,
        path: Path,
        *,
        mode: Literal["create", "write", "read"] = "create",
        synchronous: str = "FULL",
    ) -> None:
        super().__init__()
        self._path, self._mode, self._syncs = path.absolute(), mode, synchronous == "FULL"
        self._size, self._lines, self._file = 0, 0, -1
        self._is_loading = self._is_broken = False
        self._turn, self._lock = self._lock, self._begun_turn
        _opened.add(self)
        with self._naming():
            self._file = os.open(path, _FLAGS[mode], 0o644)
        try:
            if mode != "read":
                self._lock_file()
            self._follow()
            if self._syncs and mode == "create":
                _sync_folder(path)
        except BaseException:
            self.close()
            raise

    def commit(
        self, batches: Sequence[Batch], *, now: int, beside: Beside | None = None
    ) -> list[Outcome]:
        """See :class:`~refold.ports.Backend`."""
        with self._lock():
            self._check_writable()
            # What an interrupt kept from memory is in the file.
            self._follow()
            return super().commit(batches, now=now, beside=beside)

    def replace(self, *_: object, **__: object) -> NoReturn:
        """Refuse: a journal is only ever written at its end; so does ``scrub``."""
        why = f"{self._path} is a journal, and nothing in one can be changed or erased"
        way = f"`refold copy {self._path.name} agents.db`, erase there, and delete the journal"
        raise UsageError(f"{why}: {way}", code="not_erasable", path=str(self._path))

    scrub = replace

    def check(self) -> Iterator[Check]:
        """See :class:`~refold.ports.Checkable`."""
        with self._lock():
            before = self.log_head()
            try:
                with closing(JournalBackend(self._path, mode="read")) as again:
                    events, said = again.log_head(), f"{again._lines:,} lines, "
                # Another process may write on what is read here.
                good, said = before <= events <= self.log_head(), f"{said}{events:,} events"
            except RefoldError as error:
                good, said = False, error.message
        yield Check("lines", good, said)

    def batches(self) -> Iterator[tuple[int, Batch]]:
        """See :class:`~refold.ports.Copied`."""
        for number, raw in enumerate(self._path.read_bytes().split(b"\n")[: self._lines], 1):
            yield self._parsed(raw, number)[1:]

    def close(self) -> None:
        """See :class:`~refold.ports.Backend`."""
        if self._file >= 0:
            # A child that was forked this moment has the file open too.
            fcntl.flock(self._file, fcntl.LOCK_UN)
            self.let_go()

    def let_go(self) -> None:
        """Close the file, and leave it locked where another process has it open."""
        file, self._file = self._file, -1
        if file >= 0:
            os.close(file)

    # -- writing ----------------------------------------------------------------------------------

    def _stored(self, *given: Any) -> list[Outcome]:
        size = self._size
        try:
            return super()._stored(*given)
        except BaseException:  # An interrupt, between file and memory.
            self._is_broken |= self._size != size  # What comes next would stand there twice.
            raise

    def _before_kept(self, planned: Plan, rows: Sequence[Row], batches: Sequence[Batch]) -> None:
        """Write what is to be kept, one line a batch."""
        if self._is_loading or not rows:
            return
        made, left = [], iter(rows)
        for batch, decision in zip(batches, planned.decisions, strict=True):
            if isinstance(decision, Accepted) and not decision.duplicate:
                made.append(_encoded(list(islice(left, len(decision.places))), batch))
        self._append(b"".join(made))
        self._lines += len(made)

    def _append(self, data: bytes) -> None:
        """Write and sync; what an interrupt leaves here, the next commit takes in."""
        rest = memoryview(data)
        try:
            while rest:
                rest = rest[os.pwrite(self._file, rest, self._size + len(data) - len(rest)) :]
        except OSError as error:
            self._undo(error)
        try:
            self._sync()
        except OSError as error:
            raise self._unknown(error) from error
        self._size += len(data)

    def _undo(self, error: OSError) -> NoReturn:
        try:
            os.ftruncate(self._file, self._size)
        except OSError:
            raise self._unknown(error) from error
        why = f"{self._path} cannot be written: {error.strerror}; nothing was stored"
        raise Unavailable(why, path=str(self._path)) from error

    def _unknown(self, error: OSError) -> OutcomeUnknown:
        self._is_broken, path = True, str(self._path)
        why = f"writing {path} failed ({error.strerror}): it may or may not be stored"
        return OutcomeUnknown(f"{why}; open it again and look", path=path)

    def _sync(self) -> None:
        if self._syncs and hasattr(fcntl, "F_FULLFSYNC"):
            # macOS: fsync leaves it in the disk's own memory.
            fcntl.fcntl(self._file, fcntl.F_FULLFSYNC)
        elif self._syncs:
            os.fdatasync(self._file)

    def _check_writable(self) -> None:
        path = str(self._path)
        if self._mode == "read":
            raise UsageError(f"{path} was opened to read: open it with mode='write'", path=path)
        if self._is_broken:
            raise Unavailable(f"{path} failed in the midst of a write: open it again", path=path)
        self._check_place()

    def _check_place(self) -> None:
        """Refuse to go on where no path leads to the file any more."""
        with self._naming(), suppress(FileNotFoundError, NotADirectoryError):
            if os.path.samestat(self._path.stat(), os.fstat(self._file)):
                return
        undone = "read" if self._mode == "read" else "written"
        why = f"{self._path} was removed or replaced while it was open, and nothing was {undone}"
        advice = "put the file back, or close this store and open what is to be gone on with"
        raise BackendError(f"{why}: {advice}", code="file_gone", path=str(self._path))

    def _lock_file(self) -> None:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            why = f"{self._path} is open to write elsewhere, and a journal has one writer"
            advice = "open it to read, or `refold copy` it to a database that several may write"
            raise Unavailable(f"{why}: {advice}", path=str(self._path)) from error

    # -- reading ----------------------------------------------------------------------------------

    def _follow(self) -> None:
        """Take in what the file has behind what is known; take off what was never finished."""
        with self._naming():
            size = os.fstat(self._file).st_size
            if size == self._size:
                return
            if size < self._size:
                raise self._corrupt(self._lines, "the file ends before it")
            self._is_loading = True
            try:
                with open(self._file, "rb", closefd=False) as file:
                    file.seek(self._size)
                    for raw in file:
                        if raw.endswith(b"\n"):
                            self._take(raw[:-1])
                        elif self._mode != "read":
                            os.ftruncate(self._file, self._size)
            finally:
                self._is_loading = False

    def _begun_turn(self) -> AbstractContextManager[object]:
        """The lock, after a look at the file."""
        lock = self._turn()
        with lock:
            if self._file < 0:
                raise StoreClosed("this store is closed")
            if self._mode == "read" and not self._is_loading:
                self._check_place()
                self._follow()
        return lock

    def _take(self, raw: bytes) -> None:
        number = self._lines + 1
        lines, now, batch = self._parsed(raw, number)
        (outcome,) = self._stored([batch], now)
        if isinstance(outcome, RefoldError):
            raise self._corrupt(number, outcome.message) from outcome
        for line, part in zip(lines, outcome, strict=True):
            rest = part.event_count - 1
            if (line.position, line.version) != (part.position - rest, part.version - rest):
                raise self._corrupt(number, "it is not what comes after the line before")
        self._lines, self._size = number, self._size + len(raw) + 1

    def _parsed(self, raw: bytes, number: int) -> tuple[list[JournalLine], int, Batch]:
        try:
            read = _decode(raw)
            lines = read if isinstance(read, list) else [read]
            writes, first = [line.write() for line in lines], lines[0]
            batch = Batch(writes, first.key, bytes.fromhex(first.digest))
            return lines, to_us(first.clock_at or first.recorded_at), batch
        except (msgspec.DecodeError, ValueError, LookupError, AttributeError, UsageError) as error:
            raise self._corrupt(number, str(error)) from error

    def _corrupt(self, number: int, why: str) -> Corrupt:
        why = f"line {number} of {self._path} cannot be read: {why}"
        return Corrupt(why, path=str(self._path), line=number)

    @contextmanager
    def _naming(self) -> Iterator[None]:
        """Name what goes wrong with the file."""
        try:
            yield
        except FileNotFoundError as error:
            raise NotFound(f"there is no {self._path}", path=str(self._path)) from error
        except OSError as error:
            why = f"{self._path} cannot be opened: {error.strerror}"
            raise Unavailable(why, path=str(self._path)) from error


def _encoded(rows: Sequence[Row], batch: Batch) -> bytes:
    """The line of a batch, its rows as they are to be kept."""
    lines: list[JournalLine] = []
    for row, write in zip(rows, batch.writes, strict=True):
        place = row.position, row.stream, row.version, rfc3339(row.recorded_at)
        metadata = msgspec.UNSET if write.metadata is None else _kept(write.metadata)
        lines.append(JournalLine(*place, _kept(write.body), metadata, write.fork))
    lines[0].key, lines[0].digest = batch.key, batch.digest.hex()
    lines[0].clock_at = None if rows[0].clock_at is None else rfc3339(rows[0].clock_at)
    return msgspec.json.encode(lines[0] if len(lines) == 1 else lines) + b"\n"


def _kept(text: str) -> msgspec.Raw:
    return msgspec.Raw(msgspec.json.encode(text) if "\n" in text else text.encode())


def _read(raw: msgspec.Raw) -> str:
    return msgspec.json.decode(raw, type=str) if bytes(raw)[:1] == b'"' else bytes(raw).decode()


def _sync_folder(path: Path) -> None:
    """Make the name of a new file last."""
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _forked() -> None:
    """A file stays locked as long as any child of who locked it has it open."""
    for journal in list(_opened):
        journal.let_go()


os.register_at_fork(after_in_child=_forked)
