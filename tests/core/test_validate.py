"""What does not fit its class is not recorded."""

from __future__ import annotations

import math
from decimal import Decimal
from typing import Annotated, Any, Literal

import msgspec
import pytest

import refold
from refold.core.validate import is_closed
from refold.errors import InvalidEvent

KINDS = refold.Registry()


class Line(msgspec.Struct):
    """A line of an order."""

    name: str
    amounts: list[Decimal] = []


@KINDS.event("ordered")
class Ordered(msgspec.Struct):
    """An order with its lines."""

    lines: list[Line]
    note: str | None = None


@pytest.mark.parametrize(
    ("event", "path"),
    [
        (Ordered(None), "/lines"),  # type: ignore[arg-type]
        (Ordered([Line("a"), Line(5)]), "/lines/1/name"),  # type: ignore[arg-type]
        (Ordered([Line("a", ["x"])]), "/lines/0/amounts/0"),  # type: ignore[list-item]
        (refold.Event("ordered", {"lines": [], "note": 1}), "/note"),
        (refold.Event("ordered", {"line": []}), ""),
        (refold.Event("ordered", [1]), ""),
    ],
)
def test_a_misfit_is_refused_with_its_path(event: object, path: str) -> None:
    """Typed or by name, an event that its class could not read is refused, and nothing stored."""
    with refold.open("memory:", registry=KINDS) as store:
        with pytest.raises(InvalidEvent) as refused:
            store.append("order-1", [Ordered([Line("fine")]), event])
        assert (refused.value.index, refused.value.path) == (1, path)
        assert store.log_head() == 0


@pytest.mark.parametrize(
    "event",
    [
        Ordered([Line("a", [Decimal("1.10")])], note="x"),
        refold.Event("ordered", {"lines": [], "more": {"than": "asked"}}),
        refold.Event("ordered.v2", {"another": "schema"}),
        refold.Event("unknown", {"lines": 5}),
        refold.Event("ordered", {"lines": []}, metadata={"a": None}, occurred_at=5),
    ],
)
def test_what_fits_or_has_no_class_is_recorded(event: Any) -> None:
    """Fields that the class does not know, other schemas and other types are kept as they are."""
    with refold.open("memory:", registry=KINDS) as store:
        assert store.append("order-1", [event]).event_count == 1


def test_a_copy_of_a_misfit_is_kept() -> None:
    """What an older version of the class let in can still be branched from."""
    with refold.open("memory:", registry=KINDS) as store:
        raw = msgspec.Raw(b'{"lines":5}')
        store.append("order-1", [refold.Event("ordered", raw), Ordered([])])
        with pytest.raises(InvalidEvent):
            store.append("order-1", [refold.Event("ordered", raw), Ordered(3)])  # type: ignore[arg-type]
        store.branch("order-1").adding(Ordered([])).save("order-1~b")
        assert len(list(store.read("order-1~b"))) == 4


class Cost(msgspec.Struct):
    amount: float
    kind: Literal["a", "b"] = "a"
    counts: dict[str, list[int]] = {}
    share: Annotated[float, msgspec.Meta(ge=0)] | str = 0.5


class Costs(msgspec.Struct):
    costs: list[Cost]


class MaybeCost(msgspec.Struct):
    cost: Cost | None


class Exact(msgspec.Struct):
    amount: Decimal


class Anything(msgspec.Struct):
    value: dict[str, Any]


class Tree(msgspec.Struct):
    children: list[Tree]


class Keyed(msgspec.Struct):
    by_score: dict[float, int]


@pytest.mark.parametrize(("cls", "closed"), [(Cost, True), (Costs, True), (MaybeCost, False)])
def test_a_class_without_null_is_closed(cls: type, closed: bool) -> None:
    """Scalars, and lists, dicts and classes of them; a null anywhere opens it."""
    assert is_closed(cls) is closed


@pytest.mark.parametrize("cls", [Exact, Anything, Tree, Keyed, Any, dict])
def test_what_takes_anything_or_itself_is_not_closed(cls: Any) -> None:
    """What may hold null, NaN or depth somewhere has to be searched."""
    assert not is_closed(cls)


@pytest.mark.parametrize("amount", [math.nan, math.inf, -math.inf, None])
def test_no_number_that_json_has_not_passes_for_a_closed_class(amount: Any) -> None:
    """Null stands for none of them, and what is a number comes back."""
    kinds = refold.Registry()
    kinds.event("test.costs")(Costs)
    with refold.open("memory:", registry=kinds) as store:
        with pytest.raises(InvalidEvent):
            store.append("s", [Costs([Cost(1.0), Cost(amount)])])
        store.append("s", [Costs([Cost(1.0)]), Costs([])])
        assert store.event("s@0").event == Costs([Cost(1.0)])
