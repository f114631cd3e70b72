"""Kafka's client, set up for what is promised here, and its errors as those of refold.

Messages are sent plainly, or in transactions of Kafka that hold how far a feed has come, so that
both are there or neither. https://kafka.apache.org/documentation/#semantics
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from time import monotonic, sleep
from types import ModuleType
from typing import Any, Final, TypeVar

from refold.errors import NotFound, RefoldError, Unavailable, UsageError, refuse_unless
from refold.extras import needs
from refold.feeds.kafka.envelope import Outgoing, partition_of

T = TypeVar("T")

LOGGER: Final = logging.getLogger("refold.feeds.kafka")
"""Tells of what holds a feed or a consumer up; what Kafka's client has to say goes here too."""
# But not that a setting of PRODUCER is called experimental, and that a cluster is just waking up.
LOGGER.addFilter(lambda record: not record.getMessage().startswith(("CONFWARN", "GETPID")))
ANSWER_S: Final = 30.0
"""How long one question to the cluster may take."""
PRODUCER: Final = {
    # What is sent again is neither doubled nor reordered, and what fails lets nothing overtake it.
    "enable.idempotence": True,
    "enable.gapless.guarantee": True,
    "acks": "all",
    # Of a transaction its coordinator bounds the time. Else what timed out could be overtaken.
    "message.timeout.ms": 0,
    # A batch fits, whatever it holds, and what a topic takes is for its brokers to say.
    "queue.buffering.max.kbytes": 2_147_483_647,
    "queue.buffering.max.messages": 100_000,
    "message.max.bytes": 16_000_000,
}
CONSUMER: Final = {
    "isolation.level": "read_committed",
    "enable.partition.eof": True,
    # What was deleted before it was read is missed, not skipped.
    "auto.offset.reset": "error",
}
_OURS: Final = {
    *(*PRODUCER, *CONSUMER, "bootstrap.servers", "group.id", "transactional.id"),
    # The same by other names of librdkafka's.
    *("request.required.acks", "delivery.timeout.ms", "default.topic.config"),
    "metadata.broker.list",
}
_FENCED: Final = {"_FENCED", "PRODUCER_FENCED", "INVALID_PRODUCER_EPOCH"}
_REFUSED: Final = {
    *("MSG_SIZE_TOO_LARGE", "_INVALID_ARG", "TOPIC_AUTHORIZATION_FAILED", "_AUTO_OFFSET_RESET")
}
"""What comes again however often it is tried."""


def kafka() -> ModuleType:
    """The module ``confluent_kafka``; UsageError where the extra is not installed."""
    try:
        import confluent_kafka
    except ImportError as error:
        raise UsageError(needs("Kafka is reached by confluent-kafka", "kafka")) from error
    return confluent_kafka


def settings_of(bootstrap: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of librdkafka by their names; those that the promises rest on are refused."""
    kafka()  # Told first, where it is missing.
    refuse_unless(isinstance(settings, Mapping), "settings by their names", settings=settings)
    for name in sorted(_OURS & settings.keys()):
        raise UsageError(f"the setting {name} is not to be chosen: leave it out")
    own: dict[str, Any] = {"bootstrap.servers": bootstrap, "logger": LOGGER}
    if "reconnect.backoff.ms" not in settings:
        # A broker that was away is found again soon, and not only after ten seconds.
        own["reconnect.backoff.max.ms"] = 1_000
    return {**own, **settings}


def client(kind: str, settings: Mapping[str, Any]) -> Any:
    """A ``Producer`` or ``Consumer``; UsageError for a setting that is none."""
    try:
        return getattr(kafka(), kind)(settings)
    except kafka().KafkaException as error:
        raise as_refold(error.args[0], f"the settings of a {kind}") from error


def partitions_of(client: Any, topic: str) -> list[int]:
    """On how many brokers each partition of a topic is kept; makes nothing in the cluster."""
    for _ in range(20):
        try:
            found = client.list_topics(timeout=ANSWER_S).topics.get(topic)
        except kafka().KafkaException as error:
            what = f"asking for topic {topic!r}, of the brokers that bootstrap names"
            raise as_refold(error.args[0], what) from error
        if found is not None and found.partitions:
            return [len(one.replicas) for one in found.partitions.values()]
        sleep(0.25)  # A broker that has just come back may not know of it yet: ask others too.
    raise NotFound(f"there is no topic {topic!r}: make it, with partitions for years to come")


def as_refold(error: Any, what: str) -> RefoldError:
    """The error of refold for one of Kafka's, met at something."""
    name, said = error.name(), f"{what}: Kafka says {error.str()} ({error.name()})"
    if name in _FENCED:
        return UsageError(f"{said}: another process has taken the feed up", code="fenced")
    return (UsageError if name in _REFUSED else Unavailable)(said, kafka=name)


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
        # A coordinator that is lost is looked for when some connection changes, so one that is idle
        # is to end: https://github.com/confluentinc/librdkafka/issues/5511
        given = {"connections.max.idle.ms": 5_000, **settings, "transactional.id": own}
        super().__init__(given, *how)
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

    def close(self) -> None:
        """See :meth:`Sender.close`."""
        super().close()
        self._reader.close()

    def _call(self, call: Callable[[float], T]) -> T:
        """What a call answers, made again for as long as Kafka says that it may be."""
        self._heard_s = monotonic()
        while True:
            try:
                return call(min(ANSWER_S, self._patience_s))
            except kafka().KafkaException as error:
                if not error.args[0].retriable():
                    raise as_refold(error.args[0], self._topic) from error
                self._check()


def sender_of(settings: dict[str, Any], own: str | None, *how: Any) -> Sender:
    """What sends: in transactions where it is given the ``own`` name of its feed."""
    return Sender(settings, *how) if own is None else TransactionalSender(settings, own, *how)
