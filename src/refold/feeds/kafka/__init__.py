"""A log into a topic of Apache Kafka, and from there into read models elsewhere.

::

    from refold.feeds.kafka import KafkaFeed, consume

    KafkaFeed(store, "agents", bootstrap="localhost:9092").run()
    consume("agents", customers, rows=refold.open("crm.db"), bootstrap="localhost:9092")

The feed writes every event, in order in each stream, as CloudEvents 1.0; a crash repeats and never
skips. What consumes it takes each event once. Needs the extra: ``pip install 'refold[kafka]'``.
"""

from refold.feeds.kafka.consumer import consume
from refold.feeds.kafka.feed import KafkaFeed

__all__ = ["KafkaFeed", "consume"]
