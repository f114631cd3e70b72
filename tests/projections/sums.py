"""A projection that any history can be checked against, and the plain fold that it must equal."""

from collections.abc import Callable, Iterable
from typing import Any

import msgspec

import refold
from refold import Event, Recorded
from refold.projections import Projection, Projector, Rows, Table


class Sum(msgspec.Struct):
    """What the events of one stream come to; ``trail`` depends on their order."""

    stream: str
    events: int = 0
    amount: int = 0
    trail: int = 0


class Kind(msgspec.Struct):
    """How many events of one type there are, over all streams."""

    type: str
    events: int = 0


SUMS = Table("sums", Sum, key="stream")
KINDS = Table("kinds", Kind, key="type")
TRAIL_MODULUS = 1_000_003


def sums(*, fails_on: Callable[[Recorded], bool] = lambda _: False, **given: Any) -> Projection:
    """Sums by stream of ``added`` events, and a count of every event by its type."""
    projection = Projection(
        "sums",
        tables=[SUMS, KINDS],
        views={"all_sums": "SELECT sum(amount) AS amount, sum(events) AS events FROM {sums}"},
        **given,
    )

    @projection.on("added")
    def _added(rows: Rows, event: dict[str, int], recorded: Recorded) -> None:
        row = rows.get(SUMS, recorded.stream) or Sum(recorded.stream)
        row.events += 1
        row.amount += event["n"]
        row.trail = (row.trail * 31 + event["n"]) % TRAIL_MODULUS
        rows.put(SUMS, row)
        _counted(rows, recorded)
        if fails_on(recorded):
            # After it has changed rows: all of that must be undone.
            raise ValueError(f"{recorded.id} cannot be")

    @projection.on("removed")
    def _removed(rows: Rows, _event: object, recorded: Recorded) -> None:
        rows.delete(SUMS, recorded.stream)
        _counted(rows, recorded)

    @projection.on("doubled")
    def _doubled(rows: Rows, _event: object, recorded: Recorded) -> None:
        rows.execute("UPDATE {sums} SET amount = amount * 2 WHERE stream = ?", (recorded.stream,))
        _counted(rows, recorded)

    @projection.on_every
    def _counted(rows: Rows, recorded: Recorded) -> None:
        row = rows.get(KINDS, recorded.type) or Kind(recorded.type)
        row.events += 1
        rows.put(KINDS, row)

    return projection


Found = tuple[dict[str, Sum], dict[str, int]]


def folded(history: Iterable[Recorded]) -> Found:
    """What the rows must be: a plain loop over the events."""
    found: dict[str, Sum] = {}
    kinds: dict[str, int] = {}
    for recorded in history:
        kinds[recorded.type] = kinds.get(recorded.type, 0) + 1
        row = found.get(recorded.stream)
        if recorded.type == "added":
            row = found.setdefault(recorded.stream, Sum(recorded.stream))
            row.events += 1
            row.amount += recorded.data["n"]
            row.trail = (row.trail * 31 + recorded.data["n"]) % TRAIL_MODULUS
        elif recorded.type == "removed":
            found.pop(recorded.stream, None)
        elif recorded.type == "doubled" and row is not None:
            row.amount *= 2
    return found, kinds


def folded_without(store: refold.Store, *ids: str, parked: dict[str, int] | None = None) -> Found:
    """A fold that leaves out events, and whole streams from a version on."""
    stops = parked or {}
    return folded(
        e for e in store.read_all() if e.id not in ids and e.version < stops.get(e.stream, 1 << 60)
    )


def failing(*ids: str) -> Callable[[Recorded], bool]:
    """Whether an event is one of those that fail."""
    return lambda recorded: recorded.id in ids


def stored(projector: Projector) -> Found:
    """What the rows are."""
    kinds = {row.type: row.events for row in projector.rows(KINDS)}
    return {row.stream: row for row in projector.rows(SUMS)}, kinds


def told(store: refold.Store, appends: int = 60) -> None:
    """Appends of some events to a few streams."""
    for number in range(appends):
        events = [Event("added", {"n": number + k}) for k in range(number % 4 + 1)]
        if number % 7 == 0:
            events.append(Event("other", {}))
        if number % 13 == 5:
            events.append(Event("removed", {}))
        if number % 11 == 3:
            events.append(Event("doubled", {}))
        store.append(f"s-{number % 5}", events)
