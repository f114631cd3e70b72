"""One transaction into the store, once: its events, and what the feed notes of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from typing import Any, Final, Literal

from msgspec import structs

from refold.core.event import Event
from refold.engine.append import Append
from refold.engine.store import Store
from refold.errors import InvalidEvent, UsageError
from refold.feeds.cursor import (
    UNRECOGNIZED,
    Feed,
    FeedContradicted,
    FeedReceived,
    FeedRecognized,
    FeedState,
    FeedUnrecognized,
)
from refold.feeds.source import Source, Transaction
from refold.http import decode_exactly

ERROR_CHARS_MAX: Final = 500
WAITING_MAX: Final = 10_000

ToAppends = Callable[[Transaction], Sequence[Append] | None]
"""What a transaction comes to: events for streams (none: it is known already), or None where it
has no meaning here."""
Taken = Literal["received", "repeated", "unrecognized", "contradicted"]


class Ingest:
    """Stores the transactions of a source, each under a key of its own."""

    def __init__(self, store: Store, source: Source, to_appends: ToAppends) -> None:
        self._store = store
        self._source = source
        self._to_appends = to_appends

    def take(self, state: FeedState, transaction: Transaction) -> Taken:
        """Store a transaction and bring ``state`` up to date; what it was."""
        seen = state.recent.get(transaction.id)
        if seen is not None and seen.digest == transaction.digest:
            return "repeated"
        try:
            event, is_known = self._stored(transaction)
        except UsageError as error:
            if error.code != "key_reused":
                raise
            return self._again(transaction)
        Feed.evolve(state, event)
        if is_known:
            return "repeated"  # Another poller was first.
        return "received" if isinstance(event, FeedReceived) else "unrecognized"

    def reconsider(self) -> int:
        """Try what is unrecognized again; how many are recognized now."""
        done = 0
        for kept in self._waiting():
            transaction = self._source.transaction(decode_exactly(kept.text))
            meaning, parts = self._meaning(transaction)
            if not isinstance(meaning, FeedReceived):
                continue
            try:
                done += self._recognize(kept, transaction, parts)
            except (InvalidEvent, UsageError) as error:
                # What cannot be stored leaves it where it is, as it did when it came.
                if error.code == "key_reused":
                    raise
        return done

    def _recognize(
        self, kept: FeedUnrecognized, transaction: Transaction, parts: Sequence[Append]
    ) -> bool:
        """Note that a transaction is recognized now; whether nobody had yet."""
        event = FeedRecognized(id=kept.id, type=kept.type)
        if transaction.id != kept.id:
            # Its id could not be read then. The service may list it again, so it goes by its own.
            self.take(FeedState(), transaction)
            event, parts = structs.replace(event, other_id=transaction.id), ()
        return not self._append(transaction, event, parts, self._mark(kept.id))

    def _stored(self, transaction: Transaction) -> tuple[FeedReceived | FeedUnrecognized, bool]:
        key = self._source.key(transaction.id)
        event, parts = self._meaning(transaction)
        timed = transaction
        for text in (transaction.text, ""):
            try:
                return event, self._append(timed, event, parts, key)
            except (InvalidEvent, UsageError) as error:
                if error.code == "key_reused":
                    raise
                # As text, without the time; and without that too, where it is too long.
                event, parts = _unrecognized(transaction, error, text=text), ()
                timed = replace(transaction, at_us=None)
        return event, self._append(timed, event, parts, key)

    def _meaning(
        self, transaction: Transaction
    ) -> tuple[FeedReceived | FeedUnrecognized, Sequence[Append]]:
        if transaction.unread:
            return _unrecognized(transaction, ValueError(f"unreadable: {transaction.unread}")), ()
        try:
            parts = _checked(self._to_appends(transaction))
        except Exception as error:
            # One transaction that cannot be understood must not hide those after it.
            return _unrecognized(transaction, error), ()
        if parts is None:
            return _unrecognized(transaction), ()
        return FeedReceived(**_came(transaction), transaction=dict(transaction.data)), parts

    def _append(
        self, transaction: Transaction, event: object, parts: Sequence[Append], key: str
    ) -> bool:
        """Store an event of the feed and what goes with it; whether it was there already."""
        said = {"feed": self._source.name, "transaction": transaction.id}
        named = [part._replace(metadata={**said, **(part.metadata or {})}) for part in parts]
        appends = [
            part._replace(events=[_timed(event, transaction.at_us) for event in part.events])
            for part in (Append(self._source.stream, [event]), *named)
            if part.events
        ]
        return self._store.append_together(appends, key=key)[0].duplicate

    def _again(self, transaction: Transaction) -> Taken:
        """A transaction whose id was stored before: with this content, or with another."""
        key = self._source.key(transaction.id)
        found = self._store.find(key)
        if found and self._store.event(found[0].ids[0]).data["digest"] == transaction.digest:
            return "repeated"  # It had another meaning then: to_appends has changed.
        event = FeedContradicted(**_came(transaction), text=transaction.text)
        mark = f"{key}/{transaction.digest[:16]}"
        return "repeated" if self._append(transaction, event, (), mark) else "contradicted"

    def _waiting(self) -> list[FeedUnrecognized]:
        """The transactions that are unrecognized still and kept as text, the oldest 10,000."""
        came = (
            recorded.to_class(FeedUnrecognized)
            for recorded in self._store.read_all(categories=["feed"], types=[UNRECOGNIZED])
            if recorded.stream == self._source.stream
        )
        kept = (one for one in came if one.text and self._store.find(self._mark(one.id)) is None)
        return list(islice(kept, WAITING_MAX))

    def _mark(self, transaction_id: str) -> str:
        return f"{self._source.key(transaction_id)}/recognized"


def _checked(given: Any) -> Sequence[Append] | None:
    """What a function gave, if it is what it should give; raises UsageError."""
    if given is None:
        return None
    # An append is a tuple, so it could be taken for a list of what is in it.
    is_list = isinstance(given, Iterable) and not isinstance(given, Append)
    parts: list[Any] = list(given) if is_list else [None]
    for part in parts:
        if not (
            isinstance(part, Append)
            and isinstance(part.events, Sequence)
            and not isinstance(part.events, str)
            and isinstance(part.metadata, Mapping | None)
        ):
            raise UsageError(
                f"to_appends gave {given!r:.200}: "
                "give a list of refold.Append(stream, [event, ...]), or None"
            )
    return parts


def _came(transaction: Transaction) -> dict[str, Any]:
    """What every event of a transaction that came says of it."""
    names = ("id", "type", "digest", "at_us")
    return {name: getattr(transaction, name) for name in names}


def _unrecognized(
    transaction: Transaction, error: Exception | None = None, text: str | None = None
) -> FeedUnrecognized:
    said = None if error is None else f"{type(error).__name__}: {error}"[:ERROR_CHARS_MAX]
    text = transaction.text if text is None else text
    return FeedUnrecognized(**_came(transaction), text=text, error=said)


def _timed(event: object, at_us: int | None) -> object:
    """The event with the transaction's time, where it has none of its own."""
    # Some services give the year 1 where they know no time; no event occurred before 1970.
    if at_us is None or at_us < 0:
        return event
    if not isinstance(event, Event):
        return Event.of(event, occurred_at=at_us)
    if event.occurred_at is not None:
        return event
    return Event(event.type, event.data, event.schema, event.metadata, at_us)
