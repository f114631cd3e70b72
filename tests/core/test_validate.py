"""What does not fit its class is not recorded."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import msgspec
import pytest

import refold
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
