"""A month of a log, and what a backend that keeps them apart can do with one."""

from __future__ import annotations

import re
from collections.abc import Generator, Iterable, Sequence
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from typing import Final, Literal, NamedTuple, Protocol, runtime_checkable

import msgspec

from refold.core.stored import Row
from refold.errors import UsageError, shown

DEFAULT: Final = "default"
"""In the place of a month: the partition that takes what has no other, and should be empty."""


class Month(NamedTuple):
    """A month of ``recorded_at``, such as ``2026-01``, and where its appends are.

    ``attached`` ones are read from the log; ``detached``: their table still stands; ``dropped``:
    they are in the archive alone. ``appends``, ``events`` and ``size_bytes`` are those of all
    tenants whose events may be seen; ``first`` and ``last`` are positions of the tenant of the
    address, None where it holds none. ``folder`` is where it was archived, ``manifest`` the SHA-256
    of what describes it there.
    """

    month: str
    state: Literal["attached", "detached", "dropped"]
    appends: int
    events: int
    first: int | None
    last: int | None
    size_bytes: int
    folder: str | None
    manifest: str | None


class MonthPlace(NamedTuple):
    """Where a month is, as :class:`Month` says it, without what it holds."""

    month: str
    state: Literal["attached", "detached", "dropped"]
    size_bytes: int
    folder: str | None
    manifest: str | None


class ArchivedAppend(msgspec.Struct, array_like=True, frozen=True):
    """One append with all that a log keeps of it, in the order of its columns."""

    tenant: int
    position: int
    version: int
    recorded_at: int
    occurred_from: int | None
    occurred_to: int | None
    clock_at: int | None
    count: int
    stream: str
    types: list[str]
    key: str | None
    metadata: str | None
    body: str
    leaf: bytes | None
    commitment: bytes | None
    digest: bytes | None

    @property
    def last(self) -> int:
        """The position of its last event."""
        return self.position + self.count - 1

    @property
    def row(self) -> Row:
        """It as a page of the log has it."""
        place = (self.position, self.stream, self.version, self.count, self.recorded_at)
        times = (self.occurred_from, self.occurred_to, self.clock_at)
        return Row(*place, self.metadata, self.body, *times)


class ArchivedRun(msgspec.Struct, frozen=True):
    """Positions side by side of one log of the store (a tenant) that a month holds."""

    tenant: int
    first: int
    last: int
    appends: int


class MonthKeeper(Protocol):
    """Keeps each month of a log in a place of its own."""

    def places(self) -> list[MonthPlace]:
        """Where each is, in order, the default partition at last; nothing is counted."""
        ...

    def months(self, *only: str) -> list[Month]:
        """The same with what they hold, of all of them or of these."""
        ...

    def changing(self) -> AbstractContextManager[None]:
        """While it lasts nobody else changes months; :class:`~refold.errors.Unavailable` if so."""
        ...

    def make_months(self, count: int) -> list[str]:
        """Make those of this month and of ``count`` more, and of what stands in none; which."""
        ...

    def close_month(self, month: str) -> None:
        """From now on nothing is recorded in it; refused where that could still happen."""
        ...

    def detach_month(self, month: str) -> None:
        """Take a month out of the log; its positions, streams and keys stay known."""
        ...

    def attach_month(self, month: str, archived: Iterable[ArchivedAppend]) -> None:
        """Bring it back: its table, or what was archived, which is asked for where that is gone."""
        ...

    def drop_month(self, month: str, archived: Sequence[ArchivedRun]) -> None:
        """Drop the table of a month that was detached, where just what left is archived.

        Raises :class:`~refold.errors.Corrupt` where it is not.
        """
        ...

    def month_appends(self, month: str) -> Generator[ArchivedAppend, None, None]:
        """Those of an attached or detached month, by tenant and position."""
        ...

    def note_archived(self, month: str, folder: str, manifest: str) -> None:
        """It was written to a folder and read back; the manifest there has a SHA-256."""
        ...


@runtime_checkable
class KeepsMonths(Protocol):
    """A backend of which each month can be taken out."""

    @property
    def month_keeper(self) -> MonthKeeper:
        """What does that."""
        ...


def bounds_of(month: str) -> tuple[int, int]:
    """Where a month begins and where the next one does, in microseconds UTC.

    :class:`~refold.errors.UsageError` for what names none.
    """
    found = re.fullmatch(r"(\d{4})-(0[1-9]|1[0-2])", month) if isinstance(month, str) else None
    if found is None or not 1970 <= int(found[1]) < 9999:
        raise UsageError(f"{shown(month)} is no month: give one such as 2026-01", month=month)
    number = int(found[1]) * 12 + int(found[2]) - 1
    return _starts(number), _starts(number + 1)


def _starts(number: int) -> int:
    return int(datetime(number // 12, number % 12 + 1, 1, tzinfo=UTC).timestamp()) * 1_000_000
