"""Kafka's client, set up for what is promised here, and its errors as those of refold."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from types import ModuleType
from typing import Any, Final

from refold.core.event import check_name
from refold.errors import NotFound, RefoldError, Unavailable, UsageError, refuse_unless
from refold.extras import needs

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
    "message.max.bytes": 16_000_000,
}
CONSUMER: Final = {
    "isolation.level": "read_committed",
    "enable.partition.eof": True,
    # What was deleted before it was read is missed, not skipped.
    "auto.offset.reset": "error",
}
_OURS: Final = {*PRODUCER, *CONSUMER, "bootstrap.servers", "group.id", "transactional.id"}
_FENCED: Final = {"_FENCED", "PRODUCER_FENCED", "INVALID_PRODUCER_EPOCH"}
_REFUSED: Final = {
    *("UNKNOWN_TOPIC_OR_PART", "_UNKNOWN_TOPIC", "_UNKNOWN_PARTITION", "_AUTO_OFFSET_RESET"),
    *("MSG_SIZE_TOO_LARGE", "_INVALID_ARG", "TOPIC_AUTHORIZATION_FAILED"),
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
    check_name(bootstrap, what="bootstrap", bytes_max=4_096)
    refuse_unless(isinstance(settings, Mapping), "settings by their names", settings=settings)
    for name in sorted(_OURS & settings.keys()):
        raise UsageError(f"the setting {name} is not to be chosen: leave it out")
    return {"bootstrap.servers": bootstrap, "logger": LOGGER, **settings}


def client(kind: str, settings: Mapping[str, Any]) -> Any:
    """A ``Producer`` or ``Consumer``; UsageError for a setting that is none."""
    try:
        return getattr(kafka(), kind)(settings)
    except kafka().KafkaException as error:
        raise as_refold(error.args[0], f"the settings of a {kind}") from error


def partitions_of(client: Any, topic: str) -> int:
    """How many partitions a topic has; nothing is made in the cluster by asking."""
    try:
        found = client.list_topics(timeout=ANSWER_S).topics.get(topic)
    except kafka().KafkaException as error:
        raise as_refold(error.args[0], f"asking for topic {topic!r}") from error
    if found is None or not found.partitions:
        raise NotFound(f"there is no topic {topic!r}: make it, with partitions for years to come")
    return len(found.partitions)


def as_refold(error: Any, what: str) -> RefoldError:
    """The error of refold for one of Kafka's, met at something."""
    name, said = error.name(), f"{what}: Kafka says {error.str()} ({error.name()})"
    if name in _FENCED:
        return UsageError(f"{said}: another process has taken the feed up", code="fenced")
    return (UsageError if name in _REFUSED else Unavailable)(said, kafka=name)
