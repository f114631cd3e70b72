"""What the engine asks of a storage backend.

A backend keeps appends as :class:`~refold.core.stored.Row` values and knows nothing of payloads.
It promises: a batch is stored whole or not at all; positions are dense from 1 and versions from 0;
``recorded_at`` never goes backwards along positions, but at :data:`CLOCK_STREAM`; a reader never
sees position n+1 before n.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, NamedTuple, Protocol, TypeVar, runtime_checkable

from refold.core.encode import Occurred
from refold.core.event import event_id
from refold.core.expected import Expected
from refold.core.query import Condition, QueryItem
from refold.core.snapshot import Snapshot
from refold.core.stored import Row
from refold.errors import RefoldError

T = TypeVar("T")

Clock = Callable[[], int]
"""Microseconds UTC, now."""
CLOCK_STREAM: Final = "refold-clock"
"""The stream whose appends begin time again: ``recorded_at`` may go back there, and only there."""
Texts = Mapping[int, bytes | None]
"""JSON texts by the positions of events; None: there is none."""
NOTHING: Final[Texts] = MappingProxyType({})
SqlValue = str | int | float | bytes | None
"""What stands in a column of SQL."""


class Fork(NamedTuple):
    """Where a branch leaves its parent: it shares versions 0 to ``version`` (-1: none)."""

    parent: str
    version: int


class Write(NamedTuple):
    """One append to one stream, encoded.

    ``kinds`` holds the kind of each event as it is stored, ``occurred`` what they say of their
    time, ``tags`` what ``metadata`` says of tags.
    """

    stream: str
    expected: Expected
    kinds: tuple[str, ...]
    metadata: str | None
    body: str
    fork: Fork | None = None
    occurred: Occurred | None = None
    tags: tuple[str, ...] = ()


class Batch(NamedTuple):
    """Writes that are stored together; ``digest`` tells a repeated ``key`` from a reused one.

    Where there is a ``condition``, they are stored only while it holds.
    """

    writes: Sequence[Write]
    key: str | None = None
    digest: bytes = b""
    condition: Condition | None = None


class Appended(NamedTuple):
    """What an append stored.

    ``version`` and ``position`` are those of its last event, so ``version`` is what the next
    append of the same writer expects. ``duplicate``: its key had stored it before.
    """

    stream: str
    version: int
    position: int
    event_count: int
    recorded_at_us: int
    duplicate: bool = False

    @property
    def ids(self) -> list[str]:
        """The ids of the events, in order."""
        first = self.version - self.event_count + 1
        return [event_id(self.stream, first + index) for index in range(self.event_count)]


Outcome = list[Appended] | RefoldError
"""What became of a batch: an answer for each of its writes, or why it is not stored."""


class Kept(NamedTuple):
    """What an append under a key stored, an answer a part, and the digest that it had."""

    parts: list[Appended]
    digest: bytes


class StreamInfo(NamedTuple):
    """A stream: its last version, the fork it began as (if any), and when it was last written."""

    stream: str
    version: int
    fork: Fork | None
    recorded_at_us: int


class Check(NamedTuple):
    """One line of a diagnosis: what was looked at, whether it is as it must be, and the detail."""

    name: str
    good: bool
    detail: str


class Packed(NamedTuple):
    """What a compaction moved: events, and the segments that hold them now."""

    events: int
    segments: int


class PartSize(NamedTuple):
    """What one part of the storage takes; ``events`` where it holds any."""

    part: str
    size_bytes: int
    events: int | None


class TableTransaction(Protocol):
    """Statements that are stored together or not at all."""

    def execute(self, sql: str, values: Sequence[SqlValue] = ()) -> list[tuple[Any, ...]]:
        """Run one statement; its rows."""

    def executemany(self, sql: str, values: Iterable[Sequence[SqlValue]]) -> None:
        """Run one statement for each of many values."""


Begin = Callable[[], TableTransaction]
"""Begins a transaction, once; gives the same one when it is called again."""


class Beside(Protocol):
    """What is stored beside appends, in their transaction; one commit at a time."""

    def begin(self, transaction: TableTransaction, *, after: int) -> None:
        """Appends are to come that follow a position; what this raises refuses all of them."""

    def add(self, transaction: TableTransaction, rows: Sequence[Row]) -> RefoldError | None:
        """One append is stored; an error refuses it alone and undoes what was written for it."""

    def end(self, transaction: TableTransaction, *, position: int) -> None:
        """That was all: the log ends at a position now."""


class Committer(Protocol):
    """What stores batches: a backend, or one with more that is stored beside them."""

    def commit(self, batches: Sequence[Batch], *, now: int) -> list[Outcome]:
        """Store batches in order, each with its own outcome; raises when none could be stored.

        ``now`` is the clock in microseconds; the stored time is at least that of the last event,
        but where an append to :data:`CLOCK_STREAM` begins it again. Where the clock stands behind
        the stored time, what it says is stored too: events without a time occurred then.
        """


class Backend(Protocol):
    """Storage for one log; every method may be called from any thread.

    This is all that a log needs. Every other power is a Protocol of its own, below; a diagnosis of
    any log can be made of :meth:`log`.
    """

    def commit(
        self, batches: Sequence[Batch], *, now: int, beside: Beside | None = None
    ) -> list[Outcome]:
        """See :meth:`Committer.commit`; with what ``beside`` makes of each append.

        Only a :class:`TableKeeper` is given something beside.
        """

    def rows(
        self, stream: str, *, first: int, last: int, backward: bool, events_max: int
    ) -> list[Row]:
        """Rows of this stream alone that overlap versions first..last, in order.

        Of the first ``events_max`` of these versions, with ``backward`` of the last, or of fewer,
        but that one. Appends may be joined in one row; rows are cut at appends, not at versions.
        """

    def log(
        self,
        *,
        after: int,
        categories: Sequence[str] | None,
        types: Sequence[str] | None,
        rows_max: int,
    ) -> list[Row]:
        """Up to ``rows_max`` rows that hold positions over ``after``, in order.

        ``categories`` and ``types`` narrow it; a row with one event of a wanted type is given
        whole.
        """

    def find(self, key: str) -> Kept | None:
        """What an append under a key stored, each part in its place; None where there is none."""

    def head(self, stream: str) -> StreamInfo | None:
        """The stream as it stands, or None when it does not exist."""

    def log_head(self, *, reached: int = 0) -> int:
        """The last position of the log; 0 when it is empty.

        A server that only follows another, and is behind a position that was ``reached`` before, is
        waited for; :class:`~refold.errors.Unavailable` after a while.
        """

    def streams(self, *, category: str | None, after: str, streams_max: int) -> list[StreamInfo]:
        """Streams in order of name, after a name."""

    def close(self) -> None:
        """Let go of files and connections."""


@runtime_checkable
class WholeReader(Protocol):
    """A backend that reads a short stream at once."""

    def whole(self, stream: str, *, last: int) -> Row | None:
        """All of a stream that ends by version ``last``, as one row.

        None where it does not, is a branch, or is not kept so; what is to be told of it, such as
        that it does not exist, is found by reading it as any other.
        """


@runtime_checkable
class TagKeeper(Protocol):
    """A backend that finds appends by their tags."""

    def tagged(self, item: QueryItem, *, after: int, rows_max: int) -> list[Row]:
        """Up to ``rows_max`` appends with all the tags of an item over ``after``, in order.

        Its types narrow it in the same way. None of them is in a branch.
        """


@runtime_checkable
class Checkable(Protocol):
    """A backend that can be diagnosed."""

    def check(self) -> Iterator[Check]:
        """Diagnose the storage, line by line."""


@runtime_checkable
class Announcer(Protocol):
    """A backend that hears of the appends of other processes."""

    def announce(self, ring: Callable[[], None]) -> None:
        """From now on call ``ring``, from another thread, when anything may have been appended.

        Asking again changes nothing. It may miss some: who waits looks for himself too.
        """


@runtime_checkable
class SnapshotKeeper(Protocol):
    """A backend that can keep snapshots."""

    def snapshot(self, stream: str, *, fold: str, fingerprint: str, last: int) -> Snapshot | None:
        """The newest snapshot of a fold at or before version ``last`` of this stream alone."""

    def keep_snapshots(self, snapshots: Sequence[Snapshot]) -> None:
        """Keep snapshots of one stream and fold, or do not: they are a cache."""

    def drop_snapshots(self) -> int:
        """Forget every snapshot; how many there were."""


@runtime_checkable
class Copied(Protocol):
    """A backend whose whole log can be stored in another."""

    def batches(self) -> Iterator[tuple[int, Batch]]:
        """Every batch as it was stored, in order, each with what the clock said then."""


@runtime_checkable
class Compactor(Protocol):
    """A backend that can pack old appends."""

    def compact(self, *, until: int, progress: Callable[[int, int], None]) -> Packed:
        """Pack appends up to a position; ``progress`` gets events done and in all."""


@runtime_checkable
class Eraser(Protocol):
    """A backend that can store other bytes where an event said something, and forget the old."""

    def replace(
        self, payloads: Mapping[int, bytes], metadata: Texts = NOTHING, shared: Texts = NOTHING
    ) -> None:
        """Store other JSON texts, by position: all of them or, on an error, none.

        ``payloads`` of events, ``metadata`` that an event says beside, or its append for all of
        its events (``shared``); None removes it. Places, types, times and other events stay, to
        the byte. Snapshots of these streams and their branches are dropped; an append under the
        key of one of these is a repeat from now on, whatever it holds.

        :class:`~refold.errors.NotFound` where a position holds no event,
        :class:`~refold.errors.InvalidEvent` for what could not have been appended,
        :class:`~refold.errors.UsageError` where this log cannot be changed, or not by this login.
        """

    def scrub(self, progress: Callable[[int, int], None]) -> Iterator[Check]:
        """Take what was replaced or deleted out of all of the storage that may still hold it.

        One line a part: ``good`` where it is gone; else the detail says what may hold it, and what
        to do. ``progress`` gets what was packed again, and in all. It may always be run again.
        """


@runtime_checkable
class Measured(Protocol):
    """A backend that can say how large it is."""

    def sizes(self) -> list[PartSize]:
        """What each part takes."""


@runtime_checkable
class Maintained(Measured, Protocol):
    """A backend kept in a file that can be measured, copied and put in order."""

    def copy_to(self, target: Path) -> int:
        """A consistent copy in a new file; its size in bytes."""

    def repair(self) -> Iterator[str]:
        """Do what is always safe, saying what was done."""


@runtime_checkable
class ProgressKeeper(Protocol):
    """A backend that can say how far a projection has come."""

    def progress(self, projection: str) -> int | None:
        """All up to this position is in its rows or set aside; None: it was never started."""


class SelectedRows(list[tuple[Any, ...]]):
    """The rows of a query; ``columns`` are their names, as SQL has them."""

    columns: Sequence[str] = ()


@runtime_checkable
class TableKeeper(Protocol):
    """A backend in whose database projections keep their tables."""

    def write(self, work: Callable[[Begin], T]) -> T:
        """What some work answers; all that it writes is stored together when it is done.

        It begins the transaction, where there is something to write, by calling what it is given:
        from then on the write lock is held. An error of the work undoes what it wrote. A statement
        that SQL refuses is a :class:`~refold.errors.UsageError`. One thread at a time.
        """

    def query(self, sql: str, values: Sequence[SqlValue] = ()) -> SelectedRows:
        """The rows of a query, over what is stored when it runs.

        A statement that changes anything is a :class:`~refold.errors.UsageError` (code
        ``read_only``), and not run.
        """
