"""Messages into a topic, a batch at a time: acknowledged by all, or an error that says which not.

Plainly, or in transactions of Kafka that hold how far the feed has come, so that both are there or
neither. https://kafka.apache.org/documentation/#semantics
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from time import monotonic
from typing import Any, TypeVar

from refold.errors import RefoldError, Unavailable
from refold.feeds.kafka.client import ANSWER_S, CONSUMER, PRODUCER, as_refold, client, kafka
from refold.feeds.kafka.envelope import Outgoing, partition_of

T = TypeVar("T")


class Sender:
    """Sends to the first ``partitions`` of a topic, a batch at a time; no more is ever under way.

    Waits ``patience_s`` for brokers that are away, from one acknowledgement to the next.
    """

    def __init__(
        self, settings: dict[str, Any], topic: str, partitions: int, patience_s: float
    ) -> None:
        self._producer = client("Producer", {**PRODUCER, **settings})
        self._topic, self._partitions, self._patience_s = topic, partitions, patience_s
        self._failed: RefoldError | None = None
        self._heard_s = monotonic()

    def begin(self) -> int:
        """Make ready; up to which position all was sent, as far as the topic itself says that."""
        return 0

    def send(self, messages: Sequence[Outgoing], position: int) -> None:  # noqa: ARG002
        """Send messages, with which all up to a position is sent.

        Raises what :func:`as_refold` makes of what Kafka refuses. Then none of them, or of each
        partition the first ones, are there, and the same have to be sent again.
        """
        self._heard_s = monotonic()
        try:
            for one in messages:
                to = partition_of(one.stream, self._partitions)
                told = partial(self._delivered, one.event_id)
                given = (self._topic, one.value, one.stream, to, told)
                self._producer.produce(*given, headers=one.headers)
            while self._producer.flush(0.2):
                self._check()
        except kafka().KafkaException as error:
            raise as_refold(error.args[0], self._topic) from error
        self._check()

    def close(self) -> None:
        """Give up what is not acknowledged, all of it: nothing may come after what did not."""
        self._producer.purge()
        self._producer.flush(ANSWER_S)

    def _delivered(self, event_id: str, error: Any, _message: object) -> None:
        self._heard_s = monotonic()
        if error is not None and self._failed is None:
            self._failed = as_refold(error, f"{self._topic}: {event_id}")

    def _check(self) -> None:
        if self._failed is not None:
            raise self._failed
        waited_s = monotonic() - self._heard_s
        if waited_s > self._patience_s:
            why = f"{self._topic}: no event was acknowledged for {waited_s:.0f} s"
            raise Unavailable(f"{why}: are enough brokers up for min.insync.replicas?")


class TransactionalSender(Sender):
    """The same, each batch in a transaction together with the position that it reaches.

    That is kept as the offset of a group of the feed's ``own``. From :meth:`begin` on, another
    process of the same feed is refused.
    """

    def __init__(self, settings: dict[str, Any], own: str, *how: Any) -> None:
        super().__init__({**settings, "transactional.id": own}, *how)
        self._reader = client("Consumer", {**CONSUMER, **settings, "group.id": own})

    def begin(self) -> int:
        """See :meth:`Sender.begin`."""
        self._call(self._producer.init_transactions)
        places = [kafka().TopicPartition(self._topic, 0)]
        (found,) = self._call(partial(self._reader.committed, places))
        return int(found.offset)

    def send(self, messages: Sequence[Outgoing], position: int) -> None:
        """See :meth:`Sender.send`; who reads what is committed sees all of them, or none."""
        reached = [kafka().TopicPartition(self._topic, 0, position)]
        group = self._reader.consumer_group_metadata()
        try:
            self._call(lambda _: self._producer.begin_transaction())
            super().send(messages, position)
            self._call(partial(self._producer.send_offsets_to_transaction, reached, group))
            self._call(self._producer.commit_transaction)
        except RefoldError:
            with suppress(RefoldError):  # One that is fenced has nothing left to abort.
                self._call(self._producer.abort_transaction)
            raise

    def _call(self, call: Callable[[float], T]) -> T:
        """What a call answers, made again for as long as Kafka says that it may be."""
        self._heard_s = monotonic()
        while True:
            try:
                return call(ANSWER_S)
            except kafka().KafkaException as error:
                if not error.args[0].retriable():
                    raise as_refold(error.args[0], self._topic) from error
                self._check()
