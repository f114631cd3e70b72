"""Whether a topic keeps what it has acknowledged, whichever broker is lost.

https://kafka.apache.org/documentation/#replication
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

from refold.feeds.kafka.client import ANSWER_S, kafka


def why_fragile(settings: dict[str, Any], topic: str, kept_on: int) -> str | None:
    """Why one broker that is lost could take events of a topic with it; None where it could not.

    ``kept_on`` so many brokers it is; ``settings`` are those of a client.
    """
    admin = import_module("confluent_kafka.admin")
    client, asked = admin.AdminClient(settings), admin.ConfigResource("topic", topic)
    try:
        answers = client.describe_configs([asked], request_timeout=ANSWER_S)
        said = {name: one.value for name, one in answers[asked].result().items()}
    except kafka().KafkaException as error:
        return f"it is not known how {topic!r} is kept: {error.args[0].str()}"
    insync, unclean = said["min.insync.replicas"], said["unclean.leader.election.enable"]
    if min(kept_on, int(insync)) > 1 and unclean == "false":
        return None
    how = f"replicas {kept_on}, min.insync.replicas {insync}, unclean leader election {unclean}"
    return f"topic {topic!r} may lose events with one broker: {how}"
