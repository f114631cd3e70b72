"""From a service's transactions to events: each once, none lost, whatever stops in between."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from typing import Final, NamedTuple, get_args

from msgspec.structs import replace

from refold.core.clock import Instant, to_us
from refold.engine.store import Store, system_clock
from refold.engine.store_check import check_store
from refold.errors import NotFound, Rejected, Unavailable, UsageError, is_number, refuse_unless
from refold.feeds.cursor import Feed, FeedPolled, FeedState, ended, known, turned
from refold.feeds.http import JsonService
from refold.feeds.ingest import Ingest, Taken, ToAppends
from refold.feeds.source import Source
from refold.ports import Clock

PAGES_MAX: Final = 100
OVERLAP_S: Final = 300.0
NO_NEWS: Final[dict[str, int]] = dict.fromkeys(get_args(Taken), 0)
_US: Final = 1_000_000


class Polled(NamedTuple):
    """What a round came to.

    ``received`` transactions were new; ``repeated`` ones were known; ``unrecognized`` ones are new
    and kept for later; ``contradicted`` ones came again with other content. ``is_over`` is False
    where the bound on pages ended it: the next one goes on from there.
    """

    received: int = 0
    repeated: int = 0
    unrecognized: int = 0
    contradicted: int = 0
    pages: int = 0
    is_over: bool = True


class FeedStatus(NamedTuple):
    """How a feed stands; :class:`~refold.feeds.cursor.FeedPolled` says what the times mean.

    ``received`` and ``unrecognized`` count transactions by the service's type.
    """

    name: str
    cursor_us: int | None
    skew_us: int | None
    skew_error_us: int
    received: dict[str, int]
    unrecognized: dict[str, int]
    contradicted: int


class Poller:
    """Reads the transactions of a source at a service into a store.

    ``to_appends`` says what a transaction comes to. Its events, and ``feed.received`` with the
    transaction itself in the feed's own stream, are stored in one append whose key is made of the
    feed's name and the transaction's id: so each is stored once, by any number of pollers, through
    kills at any moment, and reading anything again is harmless. How far it has read is an event
    too, ``feed.polled``, written after what was read. Every round starts ``overlap_s`` before the
    cursor, for transactions that come late or out of order; take it longer than they may be late
    (and at least some seconds). Where the service's clock is set back or forward, it reads further
    back on its own. A round reads at most ``pages_max`` pages.

    A type that ``to_appends`` answers with None, and a transaction that it raises for or answers
    with anything but appends, are kept as ``feed.unrecognized`` (with the error), counted, and do
    not hold up the others; so is one that cannot be read (``Transaction.unread``). Events get the
    transaction's time as ``occurred_at`` where they have none.
    """

    def __init__(
        self,
        store: Store,
        service: JsonService,
        source: Source,
        to_appends: ToAppends,
        *,
        overlap_s: float = OVERLAP_S,
        pages_max: int = PAGES_MAX,
        clock: Clock = system_clock,
    ) -> None:
        check_store(store, call="Poller", instead="give refold.open(…)")
        refuse_unless(isinstance(service, JsonService), "a JsonService", service=service)
        refuse_unless(isinstance(source, Source), "a Source", source=source)
        refuse_unless(callable(to_appends), "a function of a transaction", to_appends=to_appends)
        if (
            not isinstance(pages_max, int)
            or pages_max < 1
            or not (is_number(overlap_s) and overlap_s < 1e12)
        ):
            raise UsageError("pages_max must be at least 1, overlap_s a number, not negative")
        self._store = store
        self._source = source
        self._ingest = Ingest(store, source, to_appends)
        self._service = service
        self._overlap_us = round(overlap_s * _US)
        self._pages_max = pages_max
        self._clock = clock

    def poll(self) -> Polled:
        """Read what is new, or go on with a round that was cut off.

        Raises :class:`~refold.errors.Unavailable` when the service does not answer in its tries
        or a page cannot be read (``garbage``; ``feed`` and ``page`` say which),
        :class:`~refold.errors.Rejected` when it refuses, and what the store raises. What was read
        until then is stored, and the next call reads from the same place.
        """
        state = self._state()
        try:
            return self._round(state, self._start_us(state), state.at.next)
        except Rejected:
            if state.at.next is None:
                raise
            # Tokens of pages may expire; times do not.
            state = self._state()
            return self._round(state, self._start_us(state))

    def poll_since(self, moment: Instant | None) -> Polled:
        """Read again everything from a moment of the service's clock on; None: from the start.

        For transactions that came later than the overlap allows for. Stores only those.
        """
        state = self._state()
        start_us = self._start_us(state)
        if moment is None or start_us is None:
            return self._round(state, None)
        return self._round(state, min(start_us, to_us(moment)))

    def run(
        self,
        stop: threading.Event,
        *,
        every_s: float,
        failed: Callable[[Unavailable], object] | None = None,
    ) -> None:
        """Poll until ``stop`` is set. A service that does not answer is asked again next time.

        ``failed`` is told of each such failure. Raises what else :meth:`poll` raises.
        """
        while not stop.is_set():
            is_over = True
            try:
                is_over = self.poll().is_over
            except Unavailable as failure:
                if failed is not None:
                    failed(failure)
            stop.wait(every_s if is_over else 0)

    def reconsider(self) -> int:
        """Try the unrecognized transactions again, such as after a change of ``to_appends``.

        Those that are recognized now are turned into events, once; how many.
        """
        return self._ingest.reconsider()

    def status(self) -> FeedStatus:
        """How the feed stands, from its own stream."""
        state = self._state()
        at = state.at
        counts = state.received, state.unrecognized, state.contradicted
        return FeedStatus(self._source.name, at.cursor_us, at.skew_us, at.skew_error_us, *counts)

    # -- one round ----------------------------------------------------------------------------

    def _start_us(self, state: FeedState) -> int | None:
        """From when to read: as the round did that was cut off, or from before the cursor."""
        if state.at.next is not None:
            return state.at.since_us
        return state.since_us(self._overlap_us)

    def _round(self, state: FeedState, since_us: int | None, token: str | None = None) -> Polled:
        tally: Counter[str] = Counter()
        fresh: Counter[str] = Counter()
        highest_us = None if token is None else state.at.highest_us
        at = replace(state.at, next=token, highest_us=highest_us)
        for number in range(1, self._pages_max + 1):
            answer = self._service.get(self._source.path, self._source.query(since_us, token))
            cursor_us, now_us = at.cursor_us, self._clock()
            at = turned(at, answer.skew, now_us=now_us, overlap_us=self._overlap_us)
            if at.cursor_us != cursor_us:
                self._note(state, at, fresh)
                since_us, token = self._earlier(state, since_us), None
                continue
            where = f"{self._service.url}{self._source.path}".partition("?")[0]
            items, token = self._source.read(answer.value, token, where=where)
            taken = [self._ingest.take(state, transaction) for transaction in items]
            tally.update(taken)
            fresh.update(taken)
            highest_us = max(known(at.highest_us, *(item.at_us for item in items)), default=None)
            at = replace(at, since_us=since_us, next=token, highest_us=highest_us)
            if token is None:
                self._note(state, ended(at, now_us=self._clock()), fresh)
                return Polled(**tally, pages=number, is_over=True)
            if _news(fresh) or number == self._pages_max:
                self._note(state, at, fresh)
        return Polled(**tally, pages=self._pages_max, is_over=False)

    def _earlier(self, state: FeedState, since_us: int | None) -> int | None:
        """Where to start again: no later than this round did."""
        moved_us = state.since_us(self._overlap_us)
        return None if since_us is None or moved_us is None else min(since_us, moved_us)

    def _note(self, state: FeedState, at: FeedPolled, fresh: Counter[str]) -> None:
        """Record the place where it has moved, and what was read since it last was."""
        kept = replace(state.at, since_us=at.since_us, **NO_NEWS)
        if _news(fresh) or kept != replace(at, **NO_NEWS):
            event = replace(at, **{**NO_NEWS, **fresh})
            self._store.append(self._source.stream, [event])
            Feed.evolve(state, event)
        fresh.clear()

    def _state(self) -> FeedState:
        try:
            return self._store.fold(self._source.stream, Feed).state
        except NotFound:
            return FeedState()


def _news(fresh: Counter[str]) -> bool:
    return any(count for what, count in fresh.items() if what != "repeated")
