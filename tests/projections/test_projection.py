"""Projections: what they want, what they refuse, and when they are not what they were."""

from typing import Annotated, Any

import msgspec
import pytest

from refold import Event, Registry
from refold.core.encode import encode_body, row_of
from refold.core.fingerprint import ADDED
from refold.core.recorded import Recorded, decode_row
from refold.core.stored import Row
from refold.errors import Unavailable, UsageError
from refold.projections.projection import Poisoned, Projection, by_name
from refold.projections.rows import Rows
from refold.projections.table import Table

registry = Registry()


class Item(msgspec.Struct):
    """A row."""

    key: str
    n: int = 0


@registry.event("moved", schema=2)
class Moved(msgspec.Struct):
    """An event whose first schema had no ``to``."""

    n: int
    to: str


@registry.upcast("moved", schema=1)
def _moved(data: dict[str, Any]) -> dict[str, Any]:
    return {**data, "to": "nowhere"}


ITEMS = Table("items", Item, key="key")
NO_ROWS: Any = object()


def projection(**given: Any) -> Projection:
    """One with nothing special."""
    return Projection("items", **{"tables": [ITEMS], "registry": registry, **given})


def appended(*events: object, metadata: str | None = None) -> Row:
    """An append as the log gives it back."""
    body = encode_body(events, registry)
    return row_of(
        body, position=11, stream="s-1", version=4, recorded_at=1_000_000, metadata=metadata
    )


class Seen(list[Any]):
    """What handlers were called with."""

    def two(self, _rows: Rows, event: object) -> None:
        """A handler of two arguments."""
        self.append(event)

    def three(self, _rows: Rows, event: object, recorded: Recorded) -> None:
        """A handler that wants to know where the event stands."""
        self.append((event, recorded))

    def every(self, _rows: Rows, recorded: Recorded) -> None:
        """A handler of all others."""
        self.append(recorded)


def handled(one: Projection, row: Row, **bounds: Any) -> None:
    """The events of a row handled."""
    one.handle(NO_ROWS, row, **bounds)


def test_handlers_get_what_they_are_for() -> None:
    """By class, typed; by name, the payload; with three arguments, the recorded event too."""
    seen, one = Seen(), projection()
    one.on(Moved)(seen.two)
    one.on("other")(seen.three)
    row = appended(
        Moved(1, "here"),
        Event("unwanted", {"x": 1}),
        Event("other", {"x": [1]}, metadata={"m": 1}, occurred_at=5),
        metadata='{"who":"ann","m":0}',
    )
    handled(one, row)
    moved, (payload, recorded) = seen
    assert moved == Moved(1, "here")
    assert payload == {"x": [1]}
    assert (recorded.position, recorded.id, recorded.type) == (13, "s-1@6", "other")
    assert recorded.metadata == {"who": "ann", "m": 1}
    assert (recorded.occurred_at_us, recorded.recorded_at_us) == (5, 1_000_000)
    assert one.types == ["moved", "other"]


def test_a_recorded_event_says_the_same_as_one_that_is_read() -> None:
    """The short way makes a recorded event that equals the one of the long way, bytes included."""
    seen, one = Seen(), projection()
    one.on("a")(seen.three)
    one.on_every(seen.every)
    row = appended(
        Event("a", {"n": 1.50}), Event("b", {"ü": None}, metadata={"k": 2}), metadata='{"m":0}'
    )
    handled(one, row)
    expected = decode_row(row, registry)
    assert [recorded if isinstance(recorded, Recorded) else recorded[1] for recorded in seen] == (
        expected
    )
    assert [e[1].raw if isinstance(e, tuple) else e.raw for e in seen] == [e.raw for e in expected]
    assert one.types is None
    # Made by setting what it holds: it must hold all that any recorded event does.
    assert {name for name in vars(expected[0]) if name not in vars(seen[1])} == set()


def test_old_shapes_are_brought_up_to_date() -> None:
    """An event of an older schema comes to the handler of the newest class, with its neighbours."""
    seen, one = Seen(), projection()
    one.on(Moved)(seen.two)
    handled(one, _old_row())
    assert seen == [Moved(3, "nowhere"), Moved(4, "there")]


def _old_row() -> Row:
    row = appended(Event("moved", {"n": 3, "to": "x"}, schema=2), Moved(4, "there"))
    body = str(row.body).replace('["moved.v2",{"n":3,"to":"x"}]', '["moved",{"n":3}]')
    assert body != row.body
    return row._replace(body=body)


def test_the_bounds_and_what_is_left_out_hold_either_way() -> None:
    """`after`, `until` and `without` choose events of a row, decoded the short or the long way."""
    row = appended(*(Event("a", {"n": n}) for n in range(5)), Moved(3, ""))
    misfit = row._replace(body=str(row.body).replace('"n":3,"to"', '"n":"three","to"'))
    assert misfit != row
    for one_way in (row, misfit):
        seen, one = Seen(), projection()
        one.on("a", Moved)(seen.two)
        handled(one, one_way, after=11, until=14, without={6})
        assert [event["n"] for event in seen] == [1, 3]


def test_a_failure_names_its_event() -> None:
    """The event that a handler failed on, or could not be decoded to, and why."""
    one = projection()

    @one.on(Moved)
    def _(_rows: Rows, event: Moved) -> None:
        if event.n == 2:
            raise ValueError("two")

    with pytest.raises(Poisoned) as failed:
        handled(one, appended(Moved(1, ""), Moved(2, ""), Moved(3, "")))
    assert (failed.value.stream, failed.value.version, failed.value.position) == ("s-1", 5, 12)
    assert isinstance(failed.value.__cause__, ValueError)
    row = appended(Moved(1, ""), Moved(3, ""))
    row = row._replace(body=str(row.body).replace('"n":3', '"n":"three"'))
    with pytest.raises(Poisoned) as failed:
        handled(one, row)
    assert failed.value.version == 5


def test_a_failing_storage_is_no_failing_event() -> None:
    """What the storage raises while a handler reads goes to whoever runs the projection."""
    one = projection()

    @one.on("a")
    def _(_rows: Rows, _event: object) -> None:
        raise Unavailable("locked")

    with pytest.raises(Unavailable):
        handled(one, appended(Event("a", {})))


def test_a_handler_that_is_added_later_is_called() -> None:
    """What was learnt about a log is learnt again when handlers or classes come."""
    seen, one = Seen(), projection()
    one.on("a")(seen.two)
    row = appended(Event("a", {}), Event("b", {"b": 1}))
    handled(one, row)
    one.on("b")(seen.two)
    seen.clear()
    handled(one, row)
    assert seen == [{}, {"b": 1}]


def test_two_handlers_of_one_type_are_refused() -> None:
    """Which would be first? One handler may do both things."""
    one = projection()
    one.on("a")(Seen().two)
    one.on_every(Seen().every)
    with pytest.raises(UsageError):
        one.on("a")(Seen().two)
    with pytest.raises(UsageError):
        one.on_every(Seen().every)


@pytest.mark.parametrize(
    "handle",
    [
        lambda rows: None,
        lambda: None,
        lambda rows, event, recorded, more: None,
        lambda rows, event, *, more: None,
        "no function",
    ],
)
def test_a_handler_that_could_not_be_called_is_refused(handle: Any) -> None:
    """When it is registered, not with the first event; the projection stays as it was."""
    one = projection()
    with pytest.raises(UsageError) as caught:
        one.on("a")(handle)
    assert caught.value.projection == "items"
    with pytest.raises(UsageError):
        one.on_every(handle)
    assert (one.handlers, one.every) == ({}, None)


def test_a_handler_may_take_more_than_it_must() -> None:
    """Defaults, any number of arguments, and what is written in C and does not say."""
    one = projection()
    one.on("a")(lambda *given: None)
    one.on("b")(lambda rows, event, recorded=None, scale=2: None)
    one.on("c")(dict.update)
    one.on_every(lambda rows, recorded, scale=2: None)
    assert [one.handlers[name].wants_recorded for name in "abc"] == [False, True, False]
    with pytest.raises(UsageError):
        projection().on_every(lambda rows, event, recorded: None)
    with pytest.raises(UsageError):
        projection().on(7)(Seen().two)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "given",
    [
        {"tables": []},
        {"tables": [ITEMS, ITEMS]},
        {"categories": "call"},
        {"views": {"items": "SELECT 1"}},
        {"views": {"no-name": "SELECT 1"}},
        {"views": {"some": "SELECT * FROM {unknown}"}},
    ],
)
def test_a_projection_that_cannot_be_is_refused(given: dict[str, Any]) -> None:
    """No tables, a name twice, a view over what is not there."""
    with pytest.raises(UsageError):
        projection(**given)


def test_a_table_belongs_to_one_projection() -> None:
    """Two projections of one name, or with a table of one name, do not go together."""
    for name in ("items", "Items", ""):
        with pytest.raises(UsageError):
            by_name([projection(), Projection(name, tables=[ITEMS])])
    with pytest.raises(UsageError):
        by_name([projection(), Projection("other", tables=[Table("items", Item, key="key")])])
    with pytest.raises(UsageError):
        by_name([object()])  # type: ignore[list-item]
    for no_list in (projection(), None):
        with pytest.raises(UsageError):
            by_name(no_list)  # type: ignore[arg-type]


def test_a_change_changes_the_fingerprint_and_nothing_else_does() -> None:
    """Code, revision, tables, views, categories, events and upcasters count."""

    def made(amount: int = 1, **given: Any) -> Projection:
        one = projection(**given)

        @one.on("a")
        def _(rows: Rows, event: object) -> None:
            rows.put(ITEMS, Item("a", amount))

        return one

    first = made().fingerprint()
    assert made().fingerprint() == first
    assert made(2).fingerprint().code != first.code
    assert made(2).fingerprint().shape == first.shape
    for given in (
        {"revision": 2},
        {"categories": ["call"]},
        {"views": {"some": "SELECT * FROM {items}"}},
        {"tables": [Table("items", Item, key="key", indexes=["n"])]},
    ):
        assert made(**given).fingerprint().shape != first.shape
    prose = [
        type("Said", (msgspec.Struct,), {"__annotations__": {"n": int}, "__doc__": text})
        for text in ("One thing.", "Another.")
    ]
    assert _shape_with(prose[0]) == _shape_with(prose[1])
    late = Annotated[str | None, ADDED]
    for kind, is_same in ((late, True), (str | None, False)):
        fields: dict[str, Any] = {"__annotations__": {"n": int, "late": kind}, "late": None}
        shape = _shape_with(type("Said", (msgspec.Struct,), fields))
        assert (shape == _shape_with(prose[0])) is is_same
    more = made()
    more.on("b")(Seen().two)
    assert more.fingerprint().shape != first.shape
    every = made()
    every.on_every(Seen().every)
    assert every.fingerprint().code != first.code


def _shape_with(cls: type) -> str:
    """The shape of a projection that handles events of a class."""
    registered = Registry()
    registered.event("said")(cls)
    one = projection(registry=registered)
    one.on(cls)(Seen().two)
    return one.fingerprint().shape
