"""How the feeds of a store stand, and how far they are behind its log: as values, as metrics."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import Any, Final, NamedTuple

import msgspec

from refold.engine.store import Store
from refold.errors import StoreClosed
from refold.feeds.kafka.kept import all_kept

FEED: Final = "feed/"
"""Begins the names under which feeds are kept."""
METRICS: Final = {
    "position": "The last position of the log up to which all was sent.",
    "lag_events": "Positions of the log that come after it.",
    "lag_seconds": "How long ago the first event after it was recorded.",
}


class FeedStanding(msgspec.Struct, frozen=True):
    """What a store knows of a feed.

    ``identity`` is the feed's, made by lot when it began; ``run`` that of who has taken it up.
    ``target`` says what goes where. Of the topic the first ``partitions`` are used. All up to
    ``position`` was sent.
    """

    identity: str
    target: list[Any]
    partitions: int
    run: str = ""
    position: int = 0


class FeedLag(NamedTuple):
    """How a feed stands; what it leaves out counts as sent once it has come by."""

    name: str
    topic: str
    position: int
    lag_events: int
    lag_seconds: float


def standings(store: Store) -> dict[str, FeedStanding]:
    """The feeds of a store, by name; changes nothing."""
    found = all_kept(store, FEED)
    return {name: msgspec.json.decode(text, type=FeedStanding) for name, text in found.items()}


def lags(store: Store) -> list[FeedLag]:
    """How far the feeds of a store are behind, by name; changes nothing."""
    found, head, now = [], store.log_head(), store._clock()
    for name, one in standings(store).items():
        first = next(store.read_all(after=one.position, limit=1), None)
        lag_s = max(now - first.recorded_at_us, 0) / 1e6 if first else 0.0
        lag_events = max(head - one.position, 0)
        found.append(FeedLag(name, one.target[0], one.position, lag_events, lag_s))
    return found


def metrics(found: list[FeedLag]) -> Iterator[str]:
    """The lines of OpenMetrics text, https://openmetrics.io."""
    for name, said in METRICS.items():
        yield from (f"# TYPE refold_feed_{name} gauge", f"# HELP refold_feed_{name} {said}")
        for one in found:
            label = msgspec.json.encode(one.name).decode()  # Escaped as that text is.
            yield f"refold_feed_{name}{{feed={label}}} {one._asdict()[name]:g}"
    yield "# EOF"


def observe(store: Store) -> None:
    """Let OpenTelemetry see it, where that is installed: the gauge ``refold.feed.lag``."""
    with suppress(ImportError):
        from opentelemetry.metrics import Observation, get_meter

        def observed(_: object) -> Iterator[Observation]:
            with suppress(StoreClosed):
                for one in lags(store):
                    yield Observation(one.lag_events, {"feed": one.name, "topic": one.topic})

        get_meter("refold").create_observable_gauge("refold.feed.lag", [observed], "{event}")
