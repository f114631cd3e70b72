"""The store: append, read, fold, branch, execute."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, Final, Literal, Self, TypeVar

from refold.core.clock import LATEST_US, Instant, recordable, to_us
from refold.core.encode import copied
from refold.core.event import Event, check_name, parse_event_id
from refold.core.expected import ANY, NO_EVENTS, Expected
from refold.core.fold import Decider, Fold, Folded
from refold.core.history import SessionForked
from refold.core.query import Condition, Query, condition_of
from refold.core.recorded import Recorded
from refold.core.registry import Registry, default_registry
from refold.engine import checks
from refold.engine.append import Append, appended, batch_of, batch_together, branch_batch, prepared
from refold.engine.branch import Branch
from refold.engine.chunks import Chunk, Told, stored
from refold.engine.commands import Execution, Turns, executed, tags_of
from refold.engine.group_commit import GroupCommit
from refold.engine.lineage import NO_LAST, check_depth, clipped, lineage
from refold.engine.moments import BEHIND_US, is_told_behind
from refold.engine.progress import wait_for
from refold.engine.reader import Reader
from refold.engine.subscription import Bell, Pages, Subscription
from refold.engine.upkeep import Upkeep
from refold.errors import NotFound, RefoldError, Unavailable, UsageError, refuse_unless, shown
from refold.ports import Appended, Backend, Batch, Clock, Committer, Fork, Kept, Outcome, StreamInfo

S = TypeVar("S")
K = TypeVar("K")

STREAMS_PER_PAGE: Final = 1_000
Direction = Literal["forward", "backward"]


def system_clock() -> int:
    """The machine's wall clock in microseconds UTC."""
    return time.time_ns() // 1_000


class Store(Upkeep):
    """A log of events and what can be done with it; safe to share between threads.

    It belongs to the process that opened it: in one that was forked from that, every use is refused
    (:class:`~refold.errors.UsageError`, code ``forked``).

    Made by :func:`refold.open`. Close it, or use it in a ``with`` statement. ``committer`` stores
    what is appended, where it is not the backend itself.
    """

    def __init__(
        self,
        backend: Backend,
        *,
        registry: Registry = default_registry,
        clock: Clock = system_clock,
        committer: Committer | None = None,
    ) -> None:
        self._backend = backend
        self._reader = Reader(backend, registry)
        self._clock = clock
        self._bell = Bell(backend)
        self._writer = GroupCommit(self._commit)
        self._process = self._writer.process
        self._turns = Turns()
        self.registry = registry
        self._committer: Committer = committer or backend

    def append(
        self,
        stream: str,
        events: Sequence[object],
        *,
        expected: Expected = ANY,
        key: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        tags: Sequence[str] = (),
        unless: Query | None = None,
        after: int = 0,
    ) -> Appended:
        """Add events to the end of a stream, all or none, durable when it returns.

        ``events`` are typed events or :class:`refold.Event` values, 1 to 10,000. ``expected`` is
        ``ANY``, ``NO_STREAM``, ``STREAM_EXISTS`` or the stream's last version. ``key`` makes the
        append idempotent for ever: again with the same bytes, it stores nothing and gives the
        first answer with ``duplicate`` set. ``metadata`` is shared by the events; ``tags`` are
        names to find them by with a :class:`refold.Query`, kept as ``tags`` in the metadata.
        ``unless``: refused with :class:`~refold.errors.Conflict` when an event of that query has a
        position over ``after`` (such as the ``position`` of a fold over the query).

        Raises :class:`~refold.errors.Conflict`, :class:`~refold.errors.InvalidEvent`,
        :class:`~refold.errors.UsageError` (a key used for other bytes) or a
        :class:`~refold.errors.BackendError`.
        """
        append = Append(stream, events, expected, metadata, key, tags)
        condition = None if unless is None else Condition(unless, after)
        batch = batch_of(append, self.registry, condition=condition)
        (outcome,) = self._writer.append([batch])
        if isinstance(outcome, RefoldError):
            raise outcome
        return outcome[0]

    def append_together(
        self,
        appends: Sequence[Append],
        *,
        key: str | None = None,
        unless: Query | None = None,
        after: int = 0,
    ) -> list[Appended]:
        """Append to several streams at once, all or none; see :meth:`append`.

        Each part has its own expected version; the answers are in the order of the parts.
        """
        batch = batch_together(appends, key, self.registry, condition_of(unless, after))
        return appended(self._writer.append([batch])[0])

    def _append_command(
        self, append: Append, *, condition: Condition | None, digest: bytes
    ) -> Appended:
        """One append of :meth:`execute`; not for other callers."""
        batch = batch_of(append, self.registry, condition=condition, digest=digest)
        return appended(self._writer.append([batch])[0])[0]

    def append_many(
        self, appends: Iterable[Append], *, progress: Callable[[int], None] | None = None
    ) -> Iterator[Appended | RefoldError]:
        """Append much, fast: an import. Gives the outcome of each append, in order.

        Takes up to 256 appends or 4 MiB at a time and stores them in one commit, durable before
        their outcomes are given; a refused one (an invalid event, a conflict, a key used before
        for other bytes) fails alone, as the error that :meth:`append` would have raised. When the
        iterator is advanced, and while a thread of its own stores a chunk, this one takes the next;
        what that raises comes after the outcomes before it. ``progress`` gets the number done.
        """
        refuse_unless(isinstance(appends, Iterable), "a list of appends", appends=appends)
        checks.check_progress(progress)
        done = 0
        for outcomes in stored((prepared(one, self.registry) for one in appends), self._stored):
            yield from outcomes
            done += len(outcomes)
            if progress is not None:
                progress(done)

    def execute(
        self,
        stream: str,
        decider: Decider[S, K],
        command: K,
        *,
        command_id: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        tags: Sequence[str] | None = None,
        over: Query | None = None,
    ) -> Appended | None:
        """Fold the stream, decide, append at the version read; decide again on a conflict.

        With ``command_id`` a command is done once, for ever: the same command again under its id
        gets the first outcome (with ``duplicate`` set), also where the state has changed since;
        one that recorded nothing is decided again. ``metadata`` goes to the events, beside the id
        (``command``, and ``correlation`` unless given): ``recorded.cause`` is that of an event
        which caused the command. With ``over`` the decision rests on the events of a query instead
        of those of the stream, and is made again when one of them came first; its events get the
        tags of that query beside ``tags``.

        Gives None when the decider had nothing to record. Raises :class:`~refold.errors.Rejected`
        when the domain said no, :class:`~refold.errors.UsageError` when the id was another
        command's, and :class:`~refold.errors.Conflict` after 10 lost races.
        """
        checks.check_decider(decider)
        wanted = tags_of(tags, over)
        asked = Execution(stream, decider, command, command_id, metadata, wanted, over)
        with self._turns.of(stream if over is None else over):
            return executed(self, asked)

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
        limit = checks.checked_limit(limit)
        checks.check_given(from_version=from_version)
        checks.check_whole(to_version=to_version)
        if direction not in ("forward", "backward"):
            raise UsageError(f"direction={shown(direction)} is neither 'forward' nor 'backward'")
        last = NO_LAST if to_version is None else to_version
        stretches = clipped(lineage(self._backend, stream), first=from_version, last=last)
        return islice(self._reader.events(stretches, backward=direction == "backward"), limit)

    def read_all(
        self,
        *,
        after: int = 0,
        categories: Sequence[str] | None = None,
        types: Sequence[str] | None = None,
        matching: Query | None = None,
        limit: int | None = None,
    ) -> Iterator[Recorded]:
        """The events of the whole log with positions over ``after``, in order of position.

        ``categories`` keeps streams of these categories, ``types`` events of these types (of any
        schema); or ``matching`` those of a query. Ends at the events that were there when it
        arrives at the end.
        """
        limit = checks.checked_limit(limit)
        checks.check_given(after=after)
        if matching is not None:
            if categories is not None or types is not None:
                raise UsageError("give matching=, or categories and types: not both")
            refuse_unless(isinstance(matching, Query), "a refold.Query", matching=matching)
            found = self._reader.matching(matching, after=after, until=self.log_head())
            return islice(found, limit)
        checks.check_names(categories=categories, types=types)
        return self._reader.log(after=after, categories=categories, types=types, limit=limit)

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
        checks.check_names(categories=categories, types=types)
        checks.check_given(after=after)
        pages = Pages(self._reader, after=after, categories=categories, types=types)
        return Subscription(pages, self._bell)

    def head(self, stream: str) -> int:
        """The last version of a stream; -1 when it does not exist."""
        refuse_unless(isinstance(stream, str), "the name of a stream", stream=stream)
        info = self._backend.head(stream)
        return NO_EVENTS if info is None else info.version

    def log_head(self) -> int:
        """The last position of the log; 0 when it is empty."""
        return self._backend.log_head()

    def wait_for(self, projection: str, position: int, *, timeout_s: float = 10.0) -> int:
        """Return when the rows of a projection stand at a position; where they stand then.

        What an append gave as its ``position`` can be read from the tables after that, and if
        an event of its stream was set aside it returns all the same. Raises
        :class:`~refold.errors.Unavailable` (code ``timeout``) when nobody brings the projection
        there in time, :class:`~refold.errors.NotFound` when it was never started.
        """
        return wait_for(self._backend, projection, position, timeout_s=timeout_s)

    def event(self, event_id: str) -> Recorded:
        """The event of an id such as ``call-42@7``; :class:`~refold.errors.NotFound` if none."""
        stream, version = parse_event_id(event_id)
        for recorded in self.read(stream, from_version=version, to_version=version):
            return recorded
        raise NotFound(f"there is no event {event_id}", id=event_id)

    def find(self, key: str) -> list[Appended] | None:
        """What the append under a key stored, an answer a part; None when there is none."""
        kept = self._kept_under(key)
        return None if kept is None else [part._replace(duplicate=True) for part in kept.parts]

    def _kept_under(self, key: str) -> Kept | None:
        """The same with the digest of what was asked for; not for other callers."""
        refuse_unless(isinstance(key, str), "a key: give text", key=key)
        return self._backend.find(key)

    def streams(self, *, category: str | None = None) -> Iterator[StreamInfo]:
        """Every stream by name, with its last version, its fork, and when it was last written."""
        refuse_unless(isinstance(category, str | None), "a category's name", category=category)
        after, most = "", STREAMS_PER_PAGE
        while page := self._backend.streams(category=category, after=after, streams_max=most):
            yield from page
            after = page[-1].stream

    def fold(
        self,
        stream: str | Query,
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

        Of a :class:`refold.Query` it is the state after its events in the whole log: ``version``
        is -1 then and ``position`` how far the log was looked at, for ``append(…, unless=query,
        after=position)``. It has no snapshots and, of the moments, only ``position``.
        """
        if fold.__class__ is not Fold:
            checks.check_fold(fold)
        if isinstance(stream, Query):
            if (version, recorded_until, occurred_until) != (None, None, None):
                raise UsageError("a fold over a query takes no moment but position=")
            return self._reader.fold_matching(stream, fold, position=position)
        if version is position is recorded_until is occurred_until is None:
            return self._reader.fold_now(stream, fold)
        stretches = self._reader.stretches(
            stream, version=version, position=position, recorded_until=recorded_until
        )
        if occurred_until is not None:
            return self._reader.fold_occurred(stretches, fold, until_us=to_us(occurred_until))
        return self._reader.fold(stretches, fold)

    def fold_all(
        self, fold: Fold[S], *, after: int = 0, categories: Sequence[str] | None = None
    ) -> Folded[S]:
        """The state after the log over a position, of some categories; ``version`` is -1."""
        checks.check_fold(fold)
        checks.check_names(categories=categories, types=None)
        return self._reader.fold_log(fold, after=after, categories=categories)

    def branch(self, stream: str, *, at: int | None = None) -> Branch[Appended]:
        """The history of a stream up to version ``at`` (default: all), to change in memory.

        Its events are read when they are needed; adding to its end and saving needs none.
        """
        events = self._reader.unread(self._reader.stretches(stream, version=at))
        return Branch(stream, events, len(events), self.registry, saver=self.save_branch)

    def save_branch(self, branch: Branch[Any], stream: str, *, variant: object = None) -> Appended:
        """Store a branch as a stream of its own that shares its parent's prefix.

        Its first own event is ``session.forked``; events after the divergence are copied. Raises
        :class:`~refold.errors.Conflict` when the stream exists.
        """
        refuse_unless(isinstance(branch, Branch), "a branch of a stream", branch=branch)
        check_name(stream, what="a branch's name")
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

    def close(self) -> None:
        """Let go of files and connections; closing twice is fine.

        In a process forked from the one that opened it, this does nothing: nothing is its own.
        """
        if self._process.is_here:
            self._writer.close()
            self._backend.close()
            self._bell.ring()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _commit(self, batches: Sequence[Batch]) -> list[Outcome]:
        try:
            now = self._clock()
        except Exception as error:
            raise Unavailable(f"the clock failed: {error!r:.200}; nothing was written") from error
        if now.__class__ is not int or not 0 <= now <= LATEST_US:
            recordable(now, what="the clock's reading")
        outcomes = self._committer.commit(batches, now=now)
        first = outcomes[0] if outcomes else None
        if isinstance(first, list) and first[0].recorded_at_us - now > BEHIND_US:
            self._said_behind = self._said_behind or is_told_behind(first[0], now)
        self._bell.rung += 1
        if self._bell.sleepers or self._bell.listeners:
            self._bell.wake()
        return outcomes

    def _stored(self, chunk: Chunk) -> Told:
        batches = [batch for batch in chunk if isinstance(batch, Batch)]
        outcomes = iter(self._writer.append(batches) if batches else ())
        told = (one if isinstance(one, RefoldError) else next(outcomes) for one in chunk)
        return [one if isinstance(one, RefoldError) else one[0] for one in told]
