"""One transaction into the store, once: its events, and what the feed notes of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, Literal

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
        digest = transaction.digest
        seen = state.recent.get(transaction.id)
        if seen is not None and seen.digest == digest:
            return "repeated"
        came = {"id": transaction.id, "type": transaction.type, "digest": digest}
        try:
            event, is_known = self._stored(transaction, came)
        except UsageError as error:
            if error.code != "key_reused":
                raise
            return self._again(transaction, came)
        Feed.evolve(state, event)
        if is_known:
            return "repeated"  # Another poller was first.
        return "received" if isinstance(event, FeedReceived) else "unrecognized"

    def reconsider(self) -> int:
        """Try what is unrecognized again; how many are recognized now."""
        done = 0
        for transaction in self._waiting():
            said = {"id": transaction.id, "type": transaction.type}
            meaning, parts = self._meaning(transaction, {**said, "digest": transaction.digest})
            if isinstance(meaning, FeedReceived):
                event = FeedRecognized(**said)
                try:
                    done += not self._append(transaction, event, parts, self._mark(transaction.id))
                except (InvalidEvent, UsageError) as error:
                    # What cannot be stored leaves it where it is, as it did when it came.
                    if error.code == "key_reused":
                        raise
        return done

    def _stored(
        self, transaction: Transaction, came: Mapping[str, str]
    ) -> tuple[FeedReceived | FeedUnrecognized, bool]:
        key = self._source.key(transaction.id)
        event, parts = self._meaning(transaction, came)
        try:
            return event, self._append(transaction, event, parts, key)
        except (InvalidEvent, UsageError) as error:
            if error.code == "key_reused":
                raise
            event = _unrecognized(transaction, came, error)
            return event, self._append(transaction, event, (), key)

    def _meaning(
        self, transaction: Transaction, came: Mapping[str, str]
    ) -> tuple[FeedReceived | FeedUnrecognized, Sequence[Append]]:
        try:
            parts = _checked(self._to_appends(transaction))
        except Exception as error:
            # One transaction that cannot be understood must not hide those after it.
            return _unrecognized(transaction, came, error), ()
        if parts is None:
            return _unrecognized(transaction, came, None), ()
        data = dict(transaction.data)
        return FeedReceived(**came, at_us=transaction.at_us, transaction=data), parts

    def _append(
        self, transaction: Transaction, event: object, parts: Sequence[Append], key: str
    ) -> bool:
        """Store an event of the feed and what goes with it; whether it was there already."""
        said = {"feed": self._source.name, "transaction": transaction.id}
        appends = [_timed(Append(self._source.stream, [event]), transaction.at_us, None)]
        appends += [_timed(part, transaction.at_us, said) for part in parts if part.events]
        return self._store.append_together(appends, key=key)[0].duplicate

    def _again(self, transaction: Transaction, came: Mapping[str, str]) -> Taken:
        """A transaction whose id was stored before: with this content, or with another."""
        key = self._source.key(transaction.id)
        found = self._store.find(key)
        if found and self._store.event(found[0].ids[0]).data["digest"] == came["digest"]:
            return "repeated"  # It had another meaning then: to_appends has changed.
        event = FeedContradicted(**came, at_us=transaction.at_us, text=transaction.text)
        part = _timed(Append(self._source.stream, [event]), transaction.at_us, None)
        mark = f"{key}/{came['digest'][:16]}"
        stored = self._store.append(part.stream, part.events, key=mark)
        return "repeated" if stored.duplicate else "contradicted"

    def _waiting(self) -> list[Transaction]:
        """The transactions that are unrecognized still, the oldest 10,000."""
        waiting: list[Transaction] = []
        for recorded in self._store.read_all(categories=["feed"], types=[UNRECOGNIZED]):
            if recorded.stream != self._source.stream:
                continue
            kept: FeedUnrecognized = recorded.to_class(FeedUnrecognized)
            if self._store.find(self._mark(kept.id)) is None:
                waiting.append(self._source.transaction(kept.text))
            if len(waiting) == WAITING_MAX:
                break
        return waiting

    def _mark(self, transaction_id: str) -> str:
        return f"{self._source.key(transaction_id)}/recognized"


def _checked(given: Any) -> Sequence[Append] | None:
    """What a function gave, if it is what it should give; raises UsageError."""
    advice = "give a list of refold.Append(stream, [event, ...]), or None"
    if given is None:
        return None
    if isinstance(given, Append) or not isinstance(given, Iterable):
        raise UsageError(f"to_appends gave one {type(given).__name__}: {advice}")
    parts = list(given)
    for part in parts:
        if not isinstance(part, Append):
            raise UsageError(f"to_appends gave a list with {type(part).__name__} in it: {advice}")
        if not isinstance(part.events, Sequence) or isinstance(part.events, str):
            raise UsageError(f"an Append has one {type(part.events).__name__}, no list: {advice}")
        if not isinstance(part.metadata, Mapping | None):
            raise UsageError(
                f"the metadata of an Append is {type(part.metadata).__name__}, no dict"
            )
    return parts


def _unrecognized(
    transaction: Transaction, came: Mapping[str, str], error: Exception | None
) -> FeedUnrecognized:
    said = None if error is None else f"{type(error).__name__}: {error}"[:ERROR_CHARS_MAX]
    return FeedUnrecognized(**came, at_us=transaction.at_us, text=transaction.text, error=said)


def _timed(part: Append, at_us: int | None, said: Mapping[str, Any] | None) -> Append:
    """The part with the transaction's time and name, where it has none of its own."""
    events = [event if at_us is None else _at(event, at_us) for event in part.events]
    metadata = {**said, **(part.metadata or {})} if said else part.metadata
    return part._replace(events=events, metadata=metadata)


def _at(event: object, at_us: int) -> object:
    if not isinstance(event, Event):
        return Event.of(event, occurred_at=at_us)
    if event.occurred_at is not None:
        return event
    return Event(event.type, event.data, event.schema, event.metadata, at_us)
