"""What SQL finds in the tables and views of the built-in read models."""

from collections.abc import Sequence
from typing import Any

import refold
from refold.projections import Projection, Projector
from refold.readmodels import built_in
from tests.readmodels.naive import parsed

ORDER = {
    "conversations": "stream",
    "tool_calls": "stream, version",
    "tool_usage": "tool, agent, agent_version, model",
    "costs": "day, agent, model, currency",
    "customers": "person",
    "customer_conversations": "person, stream",
    "customer_costs": "person, currency",
    "branches": "stream",
}
"""Every table and view for users, in an order of its rows that is always the same."""

Tables = dict[str, list[dict[str, Any]]]


def caught_up(store: refold.Store) -> Tables:
    """All rows, when the read models have caught up with the log."""
    projector = Projector(store, kept_by(store))
    projector.catch_up()
    assert [one.parked for one in projector.status()] == [()] * len(projector.projections)
    return rows_in(projector)


def kept_by(store: refold.Store) -> list[Projection]:
    """The read models that a store can have: PostgreSQL keeps no tables of words."""
    has_words = getattr(store._backend, "sql", "sqlite") == "sqlite"
    return [
        one
        for one in built_in()
        if has_words or not any(table.words for table in one.tables.values())
    ]


def rows_in(projector: Projector) -> Tables:
    """All rows as they are now, with their JSON and exact numbers read."""
    return {name: selected(projector, name, order=order) for name, order in ORDER.items()}


def selected(projector: Projector, name: str, *, order: str) -> list[dict[str, Any]]:
    """The rows of one table or view."""
    found = projector.query(f"SELECT * FROM {name} ORDER BY {order}")
    return [parsed(name, dict(zip(found.columns, row, strict=True))) for row in found]


def after(*events: object, stream: str = "call-1", at: Sequence[str] = ()) -> Tables:
    """All rows after one append of these events, which happened at these moments if any."""
    with refold.open("memory:", clock=lambda: 1_772_355_600_000_000) as store:
        timed = [refold.Event.of(e, occurred_at=t) for e, t in zip(events, at, strict=False)]
        store.append(stream, [*timed, *events[len(timed) :]])
        return caught_up(store)
