"""Events of a topic into the tables of a projection, each once, in whichever database these are.

How far each partition was read stands beside the rows, is read and moved in the transaction that
changes them, and says what of a batch is new: so two that hold the same partition for a moment, as
when one was away and does not know yet that it has lost it, change nothing twice.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Final

import msgspec

from refold.core.event import category_of
from refold.engine.store import Store
from refold.engine.store_check import check_store
from refold.errors import CodecError, RefoldError, log_went_back, refuse_unless
from refold.feeds.kafka.client import CONSUMER, as_refold, client, kafka, partitions_of, settings_of
from refold.feeds.kafka.envelope import incoming
from refold.feeds.kafka.standing import keep, keeper_of, kept
from refold.ports import Begin
from refold.projections import Projection, Rows
from refold.projections.catalog import begun, check_unchanged
from refold.projections.postgres_dialect import dialect_of
from refold.projections.projection import Poisoned

MESSAGES_MAX: Final = 500
Positions = dict[str, tuple[int, int]]
"""Of each source the last position that was taken, and the latest time that any was recorded at."""


def consume(
    topic: str,
    projection: Projection,
    *,
    rows: Store,
    bootstrap: str,
    group: str = "",
    once: bool = False,
    stop: threading.Event | None = None,
    settings: Mapping[str, Any] | None = None,
) -> int:
    """Keep the rows of a projection from what a :class:`KafkaFeed` writes; how many events it took.

    ``rows`` is the store in whose database the tables live. Each event counts once there, through
    crashes and repetitions, in the order of its stream; the offsets that Kafka keeps are for its
    tools alone. Consumers of one ``group`` (by default, the projection's name) share the partitions
    of the topic. It goes on until ``stop`` is set; with ``once``, until it has read what is there.

    Raises :class:`~refold.errors.RefoldError` (``not_taken``) where a handler fails, or a message
    is no event of refold: nothing of its batch is stored, and nothing after it is read until that
    is mended; :class:`~refold.errors.NotFound` where there is no such topic,
    :class:`~refold.errors.Unavailable` where the brokers do not answer;
    :class:`~refold.errors.UsageError` where events were deleted before they were read, or the
    projection has changed; :class:`~refold.errors.BackendError` (``log_went_back``) where other
    events were recorded at positions that were read, as after a failover to a server that lagged.
    """
    refuse_unless(isinstance(projection, Projection), "a Projection", projection=projection)
    check_store(rows, call="consume", instead="give rows=refold.open(…)")
    given = {**CONSUMER, **settings_of(bootstrap, settings or {})}
    consumer = client("Consumer", {**given, "group.id": group or projection.name})
    try:
        return Consuming(consumer, topic, projection, rows).run(stop or threading.Event(), once)
    finally:
        consumer.close()


class Consuming:
    """One consumer at work; its callbacks come on the thread that runs it."""

    def __init__(self, consumer: Any, topic: str, projection: Projection, rows: Store) -> None:
        self._consumer, self._topic, self._projection = consumer, topic, projection
        self._keeper = keeper_of(rows, room=True)
        shown = begun(self._keeper, projection, now=rows._clock()).shown
        check_unchanged(projection, shown)
        self._generation = shown.number
        self._unread = {-1}  # All partitions, before it is known which are this consumer's.

    def run(self, stop: threading.Event, once: bool) -> int:
        """Read until it is stopped, or with ``once`` until all has been read; how many events."""
        partitions_of(self._consumer, self._topic)  # Told now, where there is no such topic.
        taken = 0
        self._consumer.subscribe([self._topic], on_assign=self._assigned)
        while not stop.is_set() and not (once and not self._unread):
            found = self._consumer.consume(MESSAGES_MAX, 0.1)
            if messages := [one for one in found if self._is_event(one)]:
                taken += self._keeper.write(partial(self._stored, messages))
        return taken

    def _assigned(self, consumer: Any, partitions: Sequence[Any]) -> None:
        """Go on in each partition from where its rows stand."""
        self._unread = {one.partition for one in partitions}
        for one in partitions:
            next_offset, _ = _standing(kept(self._keeper.query, self._name(one.partition)))
            one.offset = next_offset or kafka().OFFSET_BEGINNING
        consumer.assign(partitions)

    def _is_event(self, message: Any) -> bool:
        """Whether it is no news of its partition, such as that it was read; raises for bad news."""
        error = message.error()
        if error is None:
            self._unread.add(message.partition())
        elif error.name() == "_PARTITION_EOF":
            self._unread.discard(message.partition())
        elif not error.retriable():
            raise as_refold(error, f"{self._topic} cannot be read on")
        return error is None

    def _stored(self, messages: Sequence[Any], begin: Begin) -> int:
        """Store what messages change, together with how far they go; how many events were new."""
        transaction, taken = begin(), 0
        by = {"write": lambda: transaction, "dialect": dialect_of(self._keeper)}
        how: dict[str, Any] = {"generation": self._generation, "read": transaction.execute, **by}
        rows = Rows(self._projection.tables, **how)
        for part in sorted({message.partition() for message in messages}):
            next_offset, positions = _standing(kept(transaction.execute, self._name(part)))
            own = [one for one in messages if one.partition() == part]
            new = [one for one in own if one.offset() >= next_offset]
            taken += sum(self._handle(rows, message, positions) for message in new)
            standing = max(next_offset, own[-1].offset() + 1), positions
            value = msgspec.json.encode(standing).decode()
            keep(transaction.execute, self._name(part), value)
        rows.flush()
        return taken

    def _handle(self, rows: Rows, message: Any, positions: Positions) -> bool:
        """Let the handlers have an event, unless it is a repetition; whether it was none."""
        place = f"{self._topic}, partition {message.partition()}, offset {message.offset()}"
        try:
            source, row = incoming(message.value(), message.headers())
            known, recorded_at = positions.get(source, (0, 0))
            if row.position <= known and row.recorded_at > recorded_at:
                # No repetition: what stands there now was recorded after all that was taken.
                raise log_went_back(known, row.position, f"{place}: the log of {source}")
            if row.position <= known:
                return False
            wanted = self._projection.categories
            if wanted is None or category_of(row.stream) in wanted:
                self._projection.handle(rows, row)
        except (CodecError, Poisoned) as error:
            why = f"projection {self._projection.name!r} failed: {error}: {error.__cause__!r}"
            raise RefoldError(f"{place}: {why}", code="not_taken") from error.__cause__
        positions[source] = row.position, max(recorded_at, row.recorded_at)
        return True

    def _name(self, part: int) -> str:
        return f"read/{self._projection.name}/{self._generation}/{self._topic}/{part}"


def _standing(text: str | None) -> tuple[int, Positions]:
    """The next offset of a partition, and how far it has come by source."""
    return msgspec.json.decode(text or "[0, {}]", type=tuple[int, Positions])
