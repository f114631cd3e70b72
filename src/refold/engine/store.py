"""The store: append, read, fold, branch, execute."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, Final, Literal, Self, TypeVar

from refold.core.clock import Instant, to_us
from refold.core.codec import copied
from refold.core.event import Event, Registry, default_registry, parse_event_id
from refold.core.expected import ANY, NO_EVENTS, NO_STREAM, Expected
from refold.core.fold import Decider, Fold, Folded
from refold.core.recorded import Recorded
from refold.engine.batching import batch_of, branch_batch, prepared
from refold.engine.branch import Branch, SessionForked
from refold.engine.clock import Clock, system_clock
from refold.engine.reader import Reader
from refold.engine.reading import NO_LAST, check_depth, clipped, lineage
from refold.engine.results import Append, Appended, appended
from refold.engine.subscription import Bell, Pages, Subscription
from refold.engine.writer import GroupWriter, chunked
from refold.errors import Conflict, NotFound, RefoldError, UsageError
from refold.ports import (
    Backend,
    Batch,
    Check,
    Committed,
    Compactor,
    Fork,
    Maintained,
    Packed,
    PartSize,
    StreamInfo,
)

S = TypeVar("S")
K = TypeVar("K")

DECISIONS_MAX: Final = 10
"""How often ``execute`` decides before it gives the conflict to the caller."""
BACKOFF_S: Final = 0.005
STREAMS_PER_PAGE: Final = 1_000
Direction = Literal["forward", "backward"]


class Store:
    """A log of events and what can be done with it; safe to share between threads.

    Made by :func:`refold.open`. Close it, or use it in a ``with`` statement.
    """

    def __init__(
        self,
        backend: Backend,
        *,
        registry: Registry = default_registry,
        clock: Clock = system_clock,
    ) -> None:
        self._backend = backend
        self._reader = Reader(backend, registry)
        self._clock = clock
        self._bell = Bell()
        self._writer = GroupWriter(self._commit)
        self.registry = registry

    # -- append -------------------------------------------------------------------------------

    def append(
        self,
        stream: str,
        events: Sequence[object],
        *,
        expected: Expected = ANY,
        key: str | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> Appended:
        """Add events to the end of a stream, all or none, durable when it returns.

        ``events`` are typed events or :class:`refold.Event` values, 1 to 10,000. ``expected`` is
        ``ANY``, ``NO_STREAM``, ``STREAM_EXISTS`` or the stream's last version. ``key`` makes the
        append idempotent for ever: again with the same bytes, it stores nothing and gives the
        first answer with ``duplicate`` set. ``metadata`` is shared by the events.

        Raises :class:`~refold.errors.Conflict`, :class:`~refold.errors.InvalidEvent`,
        :class:`~refold.errors.UsageError` (a key used for other bytes) or a
        :class:`~refold.errors.BackendError`.
        """
        return self.append_together([Append(stream, events, expected, metadata)], key=key)[0]

    def append_together(
        self, appends: Sequence[Append], *, key: str | None = None
    ) -> list[Appended]:
        """Append to several streams at once, all or none; see :meth:`append`.

        Each part has its own expected version; the answers are in the order of the parts.
        """
        return appended(self._writer.append([batch_of(appends, key, self.registry)])[0])

    def append_many(
        self, appends: Iterable[Append], *, progress: Callable[[int], None] | None = None
    ) -> Iterator[Appended | RefoldError]:
        """Append much, fast: an import. Gives the outcome of each append, in order.

        Takes up to 256 appends or 4 MiB at a time and stores them in one commit, durable before
        their outcomes are given; a refused one (an invalid event, a conflict, a key used before
        for other bytes) fails alone, as the error that :meth:`append` would have raised. Nothing
        is taken or stored until the iterator is advanced. ``progress`` is called after each
        commit with the number of appends done.
        """
        done = 0
        for chunk in chunked(prepared(append, self.registry) for append in appends):
            yield from self._stored(chunk)
            done += len(chunk)
            if progress is not None:
                progress(done)

    def execute(self, stream: str, decider: Decider[S, K], command: K) -> Appended | None:
        """Fold the stream, decide, append at the version read; decide again on a conflict.

        Gives None when the decider had nothing to record. Raises
        :class:`~refold.errors.Rejected` when the domain said no, and
        :class:`~refold.errors.Conflict` after 10 lost races.
        """
        for attempt in range(DECISIONS_MAX):
            folded = self._folded_or_initial(stream, decider.fold)
            events = decider.decide(command, folded.state)
            if not events:
                return None
            expected = NO_STREAM if folded.version == NO_EVENTS else folded.version
            try:
                return self.append(stream, events, expected=expected)
            except Conflict:
                if attempt == DECISIONS_MAX - 1:
                    raise
                time.sleep(random.uniform(0, BACKOFF_S * 2**attempt))
        raise AssertionError("the loop above returns or raises")

    # -- read ---------------------------------------------------------------------------------

    def read(
        self,
        stream: str,
        *,
        from_version: int = 0,
        to_version: int | None = None,
        direction: Direction = "forward",
        limit: int | None = None,
    ) -> Iterator[Recorded]:
        """The events of a stream, a branch's with those it shares.

        ``from_version`` and ``to_version`` are inclusive; ``direction`` is ``"forward"`` or
        ``"backward"``. Raises :class:`~refold.errors.NotFound` when there is no such stream.
        """
        _check_limit(limit)
        if direction not in ("forward", "backward"):
            raise UsageError(f"direction={direction!r} is neither 'forward' nor 'backward'")
        last = NO_LAST if to_version is None else to_version
        segments = clipped(lineage(self._backend, stream), first=from_version, last=last)
        events = self._reader.events if direction == "forward" else self._reader.events_backward
        return islice(events(segments), limit)

    def read_all(
        self,
        *,
        after: int = 0,
        categories: Sequence[str] | None = None,
        types: Sequence[str] | None = None,
        limit: int | None = None,
    ) -> Iterator[Recorded]:
        """The events of the whole log with positions over ``after``, in order of position.

        ``categories`` keeps streams of these categories, ``types`` events of these types (of any
        schema). Ends at the events that were there when it arrives at the end.
        """
        _check_limit(limit)
        _check_names(categories=categories, types=types)
        return islice(self._reader.log(after=after, categories=categories, types=types), limit)

    def subscribe(
        self,
        *,
        after: int = 0,
        categories: Sequence[str] | None = None,
        types: Sequence[str] | None = None,
    ) -> Subscription:
        """Every event after a position, those that are there and those to come; see ``read_all``.

        An endless iterator: its ``position`` is where to go on from another day, ``close()`` ends
        it. Events of other processes arrive within a tenth of a second.
        """
        _check_names(categories=categories, types=types)
        pages = Pages(self._reader, after=after, categories=categories, types=types)
        return Subscription(pages, self._bell)

    def head(self, stream: str) -> int:
        """The last version of a stream; -1 when it does not exist."""
        info = self._backend.head(stream)
        return NO_EVENTS if info is None else info.version

    def log_head(self) -> int:
        """The last position of the log; 0 when it is empty."""
        return self._backend.log_head()

    def event(self, event_id: str) -> Recorded:
        """The event of an id such as ``call-42@7``; :class:`~refold.errors.NotFound` if none."""
        stream, version = parse_event_id(event_id)
        for recorded in self.read(stream, from_version=version, to_version=version):
            return recorded
        raise NotFound(f"there is no event {event_id}", id=event_id)

    def streams(self, *, category: str | None = None) -> Iterator[StreamInfo]:
        """Every stream by name, with its last version, its fork, and when it was last written."""
        after = ""
        while page := self._backend.streams(
            category=category, after=after, streams_max=STREAMS_PER_PAGE
        ):
            yield from page
            after = page[-1].stream

    # -- fold and branch ----------------------------------------------------------------------

    def fold(
        self,
        stream: str,
        fold: Fold[S],
        *,
        version: int | None = None,
        position: int | None = None,
        recorded_until: Instant | None = None,
        occurred_until: Instant | None = None,
    ) -> Folded[S]:
        """The state of a stream, now or then.

        ``version`` and ``position`` are inclusive. ``recorded_until`` asks what was known by an
        instant, ``occurred_until`` what had happened by it: events whose own time is later are
        left out, wherever they stand. Raises :class:`~refold.errors.NotFound` when there is no
        such stream; a moment before its first event gives the initial state.
        """
        segments = self._reader.segments(
            stream, version=version, position=position, recorded_until=recorded_until
        )
        if occurred_until is not None:
            return self._reader.fold_occurred(segments, fold, until_us=to_us(occurred_until))
        return self._reader.fold(segments, fold)

    def branch(self, stream: str, *, at: int | None = None) -> Branch[Appended]:
        """The history of a stream up to version ``at`` (default: all), to change in memory."""
        events = tuple(self._reader.events(self._reader.segments(stream, version=at)))
        return Branch(stream, events, len(events), self.registry, saver=self.save_branch)

    def save_branch(self, branch: Branch[Any], stream: str, *, variant: object = None) -> Appended:
        """Store a branch as a stream of its own that shares its parent's prefix.

        Its first own event is ``session.forked``; events after the divergence are copied. Raises
        :class:`~refold.errors.Conflict` when the stream exists.
        """
        if "~" not in stream:
            raise UsageError(f"name a branch with a ~, such as {branch.stream}~b, not {stream!r}")
        fork = Fork(branch.stream, branch.shared - 1)
        said = variant if variant is not None else list(branch.changes) or None
        # By its type, not its class: a store's own registry need not know the class.
        forked = Event("session.forked", SessionForked(branch.stream, fork.version, said))
        events = [forked, *(copied(recorded) for recorded in branch.events[branch.shared :])]
        check_depth(self._backend, branch.stream)
        batch = branch_batch(stream, fork, events, self.registry)
        last = appended(self._writer.append([batch])[0])[-1]
        return last._replace(event_count=len(events))

    # -- the rest -----------------------------------------------------------------------------

    def check(self) -> Iterator[Check]:
        """Diagnose the storage: one line a thing looked at, its outcome and detail."""
        return self._backend.check()

    def compact(
        self,
        *,
        recorded_before: Instant | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> Packed:
        """Pack old appends, which then take a third of the room or less; see ``docs/format.md``.

        Packs what was recorded before a moment (default: everything but the last append) and
        changes nothing that can be read. Writers and readers go on meanwhile; it may be killed at
        any moment. ``progress`` gets the events done and those in all.
        """
        if not isinstance(self._backend, Compactor):
            raise UsageError("this kind of store has nothing to compact")
        before = self._clock() + 1 if recorded_before is None else to_us(recorded_before)
        return self._backend.compact(recorded_before=before, progress=progress or _silent)

    def sizes(self) -> list[PartSize]:
        """What each part of the storage takes, in bytes, and the events in it."""
        return self._maintained().sizes()

    def backup(self, path: str | os.PathLike[str]) -> int:
        """Copy the log as it stands to a new file, complete and synced; its size in bytes.

        Writers go on meanwhile. To restore one, open it and back it up to where it belongs.
        Raises :class:`~refold.errors.UsageError` when the file exists.
        """
        return self._maintained().copy_to(Path(path))

    def repair(self) -> Iterator[str]:
        """Make again what can be made from the log, which is never touched; says what it did."""
        return self._maintained().repair()

    def close(self) -> None:
        """Let go of files and connections; closing twice is fine."""
        self._writer.close()
        self._backend.close()
        self._bell.ring()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _maintained(self) -> Maintained:
        if not isinstance(self._backend, Maintained):
            raise UsageError("this kind of store is not kept in a file")
        return self._backend

    def _commit(self, batches: Sequence[Batch]) -> list[Committed | RefoldError]:
        outcomes = self._backend.commit(batches, now=self._clock())
        self._bell.ring()
        return outcomes

    def _stored(self, chunk: Sequence[Batch | RefoldError]) -> Iterator[Appended | RefoldError]:
        batches = [batch for batch in chunk if isinstance(batch, Batch)]
        outcomes = iter(self._writer.append(batches) if batches else ())
        for batch in chunk:
            outcome = batch if isinstance(batch, RefoldError) else next(outcomes)
            yield outcome if isinstance(outcome, RefoldError) else appended(outcome)[0]

    def _folded_or_initial(self, stream: str, fold: Fold[S]) -> Folded[S]:
        try:
            return self.fold(stream, fold)
        except NotFound:
            return Folded(fold.initial(), NO_EVENTS, 0)


def _silent(*_: int) -> None:
    """Progress that nobody asked for."""


def _check_names(**filters: Sequence[str] | None) -> None:
    for name, wanted in filters.items():
        if isinstance(wanted, str):
            raise UsageError(f"{name}={wanted!r} is one name: give a list, {name}=[{wanted!r}]")


def _check_limit(limit: int | None) -> None:
    if limit is not None and limit < 0:
        raise UsageError(f"limit={limit} is negative: give 0 or more, or None for no limit")
