"""Projections: tables that are kept from the events of the log."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple, TypeVar

import msgspec

from refold.core.dispatch import Dispatch, Handler, arguments_by_place, register
from refold.core.event import Kind, event_id
from refold.core.fingerprint import code_of, digest_of, shape_of, upcasting_facts
from refold.core.fold import taken
from refold.core.recorded import Recorded, StoredEvents, decode_row
from refold.core.registry import Registry, default_registry
from refold.core.stored import Row
from refold.engine.checks import check_names
from refold.errors import BackendError, StoreClosed, UsageError, refuse_unless, shown
from refold.projections.dialect import SQLITE, Dialect, named
from refold.projections.rows import Raced, Rows
from refold.projections.table import Table, check_sql_name

Handle = TypeVar("Handle", bound=Callable[..., None])

FAR: Final = (1 << 63) - 1
NONE: Final[frozenset[int]] = frozenset()
_NAME: Final = re.compile(r"[a-z][a-z0-9_-]{0,62}")


class Poisoned(Exception):
    """A handler failed on an event; its cause says how."""

    def __init__(self, *, position: int, stream: str, version: int) -> None:
        super().__init__(f"{event_id(stream, version)} at position {position}")
        self.position = position
        self.stream = stream
        self.version = version


class Fingerprint(NamedTuple):
    """What a projection is: its ``shape`` (name, revision, tables, views, events) and its ``code``.

    The code of the same handlers differs between versions of Python; the shape does not.
    """

    shape: str
    code: str


class Projection:
    """A read model: tables, and what each event does to their rows.

    ``name`` is how it is called (``tools``, ``cost-by-day``). ``tables`` hold the rows, ``views``
    are SQL views over them by name, in whose SELECT ``{table}`` stands for a table. Raise
    ``revision`` when the meaning changes. ``categories`` keeps streams of these alone, ``registry``
    holds the event classes. Handlers are added with :meth:`on`; an event that has none changes
    nothing. They must be pure: what they do may be undone and done again.
    """

    def __init__(
        self,
        name: str,
        *,
        tables: Sequence[Table[Any]],
        views: Mapping[str, str] | None = None,
        revision: int = 1,
        categories: Sequence[str] | None = None,
        registry: Registry = default_registry,
    ) -> None:
        _check_name(name)
        check_names(categories=categories)
        right = isinstance(tables, Sequence) and all(isinstance(one, Table) for one in tables)
        refuse_unless(right, "a list of tables", tables=tables)
        right = isinstance(views, Mapping | None) and all(
            isinstance(part, str) for view in (views or {}).items() for part in view
        )
        refuse_unless(right, "SELECTs by the names of views", views=views)
        refuse_unless(isinstance(registry, Registry), "a refold.Registry", registry=registry)
        refuse_unless(isinstance(revision, int), "a whole number", revision=revision)
        self.name = name
        self.tables = {table.name: table for table in tables}
        self.views = dict(views or {})
        self.revision = revision
        self.categories = None if categories is None else tuple(categories)
        self.registry = registry
        self.handlers: dict[str, Handler] = {}
        self.every: Handler | None = None
        self._made: tuple[object, Fingerprint, Dispatch] | None = None
        self._check_tables(len(tables))

    def on(self, *events: type | str) -> Callable[[Handle], Handle]:
        """Decorator: this function handles these event classes or type names.

        It is called with ``(rows, event)``, or ``(rows, event, recorded)`` when it takes three
        arguments; ``rows`` is a :class:`~refold.projections.Rows`. By type name the event is the
        payload as a dict. What it raises sets the event's stream aside. Raises
        :class:`~refold.errors.UsageError` for a function that cannot be called so.
        """

        def register_handler(handle: Handle) -> Handle:
            wanted = "(rows, event) or (rows, event, recorded)"
            self._check_takes(handle, 3 if arguments_by_place(handle)[0] > 2 else 2, wanted)
            owner = f"projection {self.name!r}"
            register(self.handlers, handle, events, self.registry, owner=owner)
            return handle

        return register_handler

    def on_every(self, handle: Handle) -> Handle:
        """Decorator: this function handles every event that has no handler of its own.

        It is called with ``(rows, recorded)``.
        """
        if self.every is not None:
            raise UsageError(f"projection {self.name!r} already has a handler for every event")
        self._check_takes(handle, 2, "(rows, recorded)")
        self.every = Handler(handle, None, True, None)
        return handle

    @property
    def types(self) -> list[str] | None:
        """The types of stored events that it wants, older shapes included; None for all."""
        if self.every is not None:
            return None
        return sorted(self.registry.upcasts.sources_of(self.handlers))

    def views_in(self, dialect: Dialect) -> dict[str, str]:
        """The views as a kind of database has them; ``{table}`` stands for a table still."""
        return {name: dialect.view(sql, self.tables) for name, sql in self.views.items()}

    def fingerprint(self) -> Fingerprint:
        """What it is, to be compared with what its rows were made by."""
        return self._made_of_handlers()[1]

    def handle(
        self,
        rows: Rows,
        row: Row,
        *,
        after: int = 0,
        until: int = FAR,
        without: Collection[int] = NONE,
    ) -> None:
        """Handle those events of an append that stand after a position and up to another.

        ``without`` are versions to leave out. Raises :class:`Poisoned`, and what the handlers
        changed until then stays in ``rows``; :class:`~refold.errors.Corrupt` where the events are
        not there.
        """
        position, shift, stored = row.position, row.version - row.position, StoredEvents(row)
        (part,) = row.parts()
        events = self._decoded(row)  # What fails here is the fault of no one event.
        try:
            for position, event in enumerate(events, row.position):
                if not after < position <= until or (without and position + shift in without):
                    continue
                if event.__class__ is Recorded:
                    self.step(rows, event)
                elif event.step is not None:
                    event.step(rows, event.data)
                elif event.watch is not None:
                    place = (row.stream, position + shift, position)
                    at = part.now if event.occurred_at is None else event.occurred_at
                    recorded = Recorded(*place, at, event, part, self.registry, stored)
                    event.watch(rows, event.data, recorded)
        except (BackendError, StoreClosed, Raced):
            raise
        except Exception as error:
            version = position + shift
            raise Poisoned(position=position, stream=row.stream, version=version) from error

    def step(self, rows: Rows, recorded: Recorded) -> None:
        """Handle one recorded event: each part, where it is split."""
        for part in recorded.parts(among=self.handlers if self.every is None else None):
            handler = self.handlers.get(part.type)
            if handler is not None:
                event = taken(part, handler)
                given = (event, part) if handler.wants_recorded else (event,)
                handler.evolve(rows, *given)
            elif self.every is not None:
                self.every.evolve(rows, part)

    def _decoded(self, row: Row) -> list[Any]:
        """The events as their handlers take them, or as recorded where something is wrong."""
        try:
            events = self._made_of_handlers()[2].decode(row.body)
        except (msgspec.DecodeError, UnicodeDecodeError):
            events = []
        return events if len(events) == row.event_count else decode_row(row, self.registry)

    def _made_of_handlers(self) -> tuple[object, Fingerprint, Dispatch]:
        """Made once, until a handler, class or upcaster is added.

        A handler may close over something that it changes as it goes.
        """
        made_for = len(self.handlers), self.every is not None, self.registry.revision
        if self._made is None or self._made[0] != made_for:
            dispatch = Dispatch(
                self.handlers,
                self.registry,
                lambda rows, _, recorded: self.step(rows, recorded),
                every=self.every is not None,
            )
            self._made = made_for, self._made_fingerprint(), dispatch
        return self._made

    def _made_fingerprint(self) -> Fingerprint:
        handlers = sorted(self.handlers.items())
        kinds = [self.registry.current(Kind(name)).tag for name, _ in handlers]
        events = [_essential(shape_of(handler.target)) for _, handler in handlers]
        tables = [table.shape() for table in self.tables.values()]
        # As SQLite has them: what a projection is does not hang on where its rows live.
        views = sorted(self.views_in(SQLITE).items())
        shape = digest_of(self.name, self.revision, self.categories, tables, views, kinds, events)
        upcasting = [upcasting_facts(name, self.registry) for name, _ in handlers]
        taking = [(handler.evolve, handler.target) for _, handler in handlers]
        rows = [table.row for table in self.tables.values()]
        every = None if self.every is None else self.every.evolve
        return Fingerprint(shape, digest_of(kinds, upcasting, code_of(*rows, every, *taking)))

    def _check_takes(self, handle: Callable[..., Any], count: int, wanted: str) -> None:
        """Refuse what cannot be called with so many arguments by place, as far as it says."""
        try:
            inspect.signature(handle).bind(*[None] * count)
        except TypeError as error:
            name = getattr(handle, "__qualname__", repr(handle))
            raise UsageError(
                f"a handler of projection {self.name!r} is called with {wanted}: {name} cannot be",
                projection=self.name,
            ) from error
        except ValueError:
            return  # Written in C, and silent about it.

    def _check_tables(self, given: int) -> None:
        if len(self.tables) < max(given, 1):
            raise UsageError(f"projection {self.name!r} needs tables, each of its own name")
        for view, sql in self.views_in(SQLITE).items():
            check_sql_name(view, what="view")
            if view in self.tables:
                raise UsageError(f"{view!r} is a table and a view of projection {self.name!r}")
            named(sql, dict.fromkeys(self.tables, ""))


def by_name(projections: Iterable[Projection]) -> dict[str, Projection]:
    """Projections by name; two of one name, or a table that two have, are refused."""
    if isinstance(projections, Projection) or not isinstance(projections, Iterable):
        raise UsageError(f"give a list of projections, such as [orders], not {shown(projections)}")
    found: dict[str, Projection] = {}
    owners: dict[str, str] = {}
    for projection in projections:
        if not isinstance(projection, Projection):
            raise UsageError(f"{shown(projection)} is not a refold.projections.Projection")
        if projection.name in found:
            raise UsageError(f"two projections are called {projection.name!r}")
        found[projection.name] = projection
        for name in (*projection.tables, *projection.views):
            if name in owners:
                raise UsageError(
                    f"{projection.name!r} and {owners[name]!r} both have a table or view {name!r}"
                )
            owners[name] = projection.name
    return found


def _essential(schema: Any) -> Any:
    """A JSON schema without what docstrings say and what was added: neither changes the rows."""
    if isinstance(schema, dict):
        return {
            name: _essential(value)
            for name, value in schema.items()
            if not (name in ("description", "title") and isinstance(value, str))
            and not (isinstance(value, dict) and "x-added" in value)
        }
    return [_essential(value) for value in schema] if isinstance(schema, list) else schema


def _check_name(name: str) -> None:
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise UsageError(f"a projection is named like tools or cost-by-day, not {shown(name)}")
