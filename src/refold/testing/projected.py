"""Projections tested as sentences: what had happened, what the tables must say of it.

>>> given(tools, ToolCall(call_id="c1", name="slots")).then_rows(calls, [CallRow("c1", "slots")])
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final, NoReturn, TypeVar

import msgspec

from refold.core.event import Event
from refold.engine.append import Append
from refold.engine.store import Store
from refold.ports import TableKeeper
from refold.projections.catalog import Parked
from refold.projections.cursor import Context
from refold.projections.projection import Projection
from refold.projections.projector import Projector
from refold.projections.runner import Runner
from refold.projections.table import Table

R = TypeVar("R", bound=msgspec.Struct)
STREAM: Final = "test-1"
_LINES_MAX: Final = 40


@dataclass(frozen=True)
class Projected:
    """What has happened; every ``then`` raises :class:`AssertionError` that tells both sides.

    The events are appended to a store in memory and handled as a projector does it. An event
    stands in the stream ``test-1``; :class:`refold.Append` names another.
    """

    projection: Projection
    events: Sequence[object]

    def then_rows(self, table: Table[R], rows: Sequence[R]) -> Projected:
        """The table holds these rows and no others, in whatever order."""
        __tracebackhide__ = True
        self._refuse_failures()
        found = self._projector.rows(table)
        missing = [row for row in rows if row not in found]
        surplus = [row for row in found if row not in rows]
        if missing or surplus or len(found) != len(rows):
            self._fail(
                f"the rows of {table.name}",
                [f"missing  {row!r}" for row in missing],
                [f"surplus  {row!r}" for row in surplus],
                [f"as is    {row!r}" for row in found if row in rows],
            )
        return self

    def then_selected(self, sql: str, rows: Sequence[tuple[Any, ...]]) -> Projected:
        """A query over the tables and views gives these rows, in this order."""
        __tracebackhide__ = True
        self._refuse_failures()
        found = self._projector.query(sql)
        if found != list(rows):
            self._fail(
                sql, [f"expected {row!r}" for row in rows], [f"but got  {row!r}" for row in found]
            )
        return self

    def then_failed(self, event_id: str, error: str = "") -> Projected:
        """A handler failed on this event (``test-1@0`` is the first); ``error`` is in what it says.

        Nothing of the event, nor of what follows in its stream, is in the rows.
        """
        __tracebackhide__ = True
        if not any(one.id == event_id and error in one.error for one in self._parked):
            self._fail(
                f"{event_id} to fail{' with ' + repr(error) if error else ''}",
                [f"failed   {one.id}: {one.error}" for one in self._parked],
            )
        return self

    @cached_property
    def _store(self) -> Store:
        from refold.connect import open as open_store

        store = open_store("memory:", registry=self.projection.registry, clock=lambda: 0)
        for given in self.events:
            append = given if isinstance(given, Append) else Append(STREAM, [given])
            store.append(append.stream, append.events, metadata=append.metadata, tags=append.tags)
        return store

    @cached_property
    def _projector(self) -> Projector:
        keeper = self._store._backend
        assert isinstance(keeper, TableKeeper)
        # A test does not wait before it tries an event again.
        context = Context(keeper, keeper, lambda: 0, lambda _: False)
        runner = Runner(context, self.projection)
        while runner.advance():
            pass
        return Projector(self._store, [self.projection])

    @cached_property
    def _parked(self) -> Sequence[Parked]:
        return self._projector.status()[0].parked

    def _refuse_failures(self) -> None:
        __tracebackhide__ = True
        if self._parked:
            failed = [f"failed   {one.id}: {one.error}" for one in self._parked]
            self._fail("no handler to fail", failed)

    def _fail(self, expected: str, *blocks: Sequence[str]) -> NoReturn:
        __tracebackhide__ = True
        lines = [f"  {line}" for block in blocks for line in block]
        if len(lines) > _LINES_MAX:
            lines = [*lines[:_LINES_MAX], f"  and {len(lines) - _LINES_MAX} more"]
        happened = [f"  {_shown(event)}" for event in self.events] or ["  nothing"]
        story = ["given", *happened, f"then expected {expected}", *(lines or ["  nothing"])]
        raise AssertionError("\n".join(story))


def _shown(given: object) -> str:
    if isinstance(given, Append):
        return f"{given.stream}: {', '.join(map(_shown, given.events))}"
    if isinstance(given, Event) and given.type:
        return f"{given.type} {given.data!r}"
    return repr(given.data if isinstance(given, Event) else given)
