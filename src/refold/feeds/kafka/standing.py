"""What a store keeps of feeds and consumers, and how far feeds are behind its log."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import Any, Final
from uuid import uuid4

import msgspec

from refold.engine.store import Store
from refold.errors import StoreClosed, UsageError
from refold.ports import Begin, TableKeeper
from refold.privacy.stored import as_stored
from refold.projections.rows import Execute

FEED: Final = "feed/"
"""Begins the names under which feeds are kept."""


def keeper_of(store: Store, *, room: bool = False) -> TableKeeper:
    """What keeps the values of a store; with ``room``, that is made where there is none yet.

    Raises :class:`~refold.errors.UsageError` where that kind of store cannot keep any.
    """
    keeper = store._backend
    if not isinstance(keeper, TableKeeper):
        raise UsageError("this kind of store keeps no tables: take a database")
    if room:
        made = "CREATE TABLE IF NOT EXISTS refold_kafka (name TEXT PRIMARY KEY, value TEXT)"
        keeper.write(lambda begin: begin().execute(made))
    return keeper


def kept(execute: Execute, name: str) -> str | None:
    """The value under a name; None where there is none."""
    found = execute("SELECT value FROM refold_kafka WHERE name = ?", (name,))
    return found[0][0] if found else None


def keep(execute: Execute, name: str, value: str) -> None:
    """Keep a value, in the place of the one under its name."""
    execute("DELETE FROM refold_kafka WHERE name = ?", (name,))
    execute("INSERT INTO refold_kafka VALUES (?, ?)", (name, value))


def source_of(keeper: TableKeeper) -> str:
    """Whose events the feeds of a log send: its own name, made by lot when it is first asked."""

    def within(begin: Begin) -> str:
        execute = begin().execute
        found = kept(execute, "log") or f"urn:uuid:{uuid4()}"
        keep(execute, "log", found)
        return found

    return keeper.write(within)


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


def lags(store: Store) -> list[dict[str, Any]]:
    """How far the feeds of a store are behind, by name; changes nothing.

    Of each its name (``feed``), its ``topic``, the ``position`` up to which all was sent, how many
    positions of the log come after it, and how long ago the first of these was recorded.
    """
    try:
        kept = keeper_of(store).query("SELECT name, value FROM refold_kafka ORDER BY name")
    except UsageError:  # Nothing was ever kept.
        return []
    found, head, now = [], store.log_head(), store._clock()
    for name, text in (pair for pair in kept if pair[0].startswith(FEED)):
        one = msgspec.json.decode(text, type=FeedStanding)
        first = next(as_stored(store).read_all(after=one.position, limit=1), None)
        lag_s = max(now - first.recorded_at_us, 0) / 1e6 if first else 0.0
        said = {"feed": name.removeprefix(FEED), "topic": one.target[0], "position": one.position}
        found.append({**said, "lag_events": max(head - one.position, 0), "lag_seconds": lag_s})
    return found


def metrics(found: list[dict[str, Any]]) -> Iterator[str]:
    """The lines of OpenMetrics text, https://openmetrics.io."""
    for name in ("position", "lag_events", "lag_seconds"):
        yield f"# TYPE refold_feed_{name} gauge"
        for one in found:
            label = msgspec.json.encode(one["feed"]).decode()  # Escaped as that text is.
            yield f"refold_feed_{name}{{feed={label}}} {one[name]:g}"
    yield "# EOF"


def observe(store: Store) -> None:
    """Let OpenTelemetry see it, where that is installed: the gauge ``refold.feed.lag``."""
    with suppress(ImportError):
        from opentelemetry.metrics import Observation, get_meter

        def observed(_: object) -> Iterator[Observation]:
            with suppress(StoreClosed):
                for one in lags(store):
                    yield Observation(one["lag_events"], {"feed": one["feed"]})

        get_meter("refold").create_observable_gauge("refold.feed.lag", [observed], "{event}")
