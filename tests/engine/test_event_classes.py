"""Structs, dataclasses and pydantic models as events, through a store."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest

import refold
from refold.core.event import Event
from refold.core.fold import Fold
from refold.core.registry import Registry
from refold.engine.store import Store
from refold.errors import InvalidEvent

REGISTRY = Registry()


@REGISTRY.event("test.struct")
class Struct(msgspec.Struct, frozen=True):
    """The fastest kind."""

    amount: Decimal
    by_year: dict[int, str] = {}


@REGISTRY.event("test.plain")
@dataclass(frozen=True)
class Plain:
    """A dataclass."""

    text: str
    size: int = 0


@REGISTRY.event("test.model")
class Model:
    """A stand-in for a pydantic model (which is no dependency): the two methods it is known by."""

    def __init__(self, **fields: Any) -> None:
        self.fields = fields

    def model_dump(self) -> dict[str, Any]:
        """The fields as plain values; pydantic leaves decimals as they are."""
        return self.fields

    @classmethod
    def model_validate(cls, data: dict[str, Any]) -> Model:
        """An instance of plain values."""
        return cls(**data)


SEEN: Fold[list[str]] = Fold("seen", list, registry=REGISTRY)


@SEEN.on(Struct, Plain, Model)
def _(state: list[str], event: object) -> list[str]:
    return [*state, type(event).__name__]


@pytest.fixture(params=["memory:", "log.db"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    """An empty store on each backend."""
    url = request.param if request.param == "memory:" else tmp_path / request.param
    with refold.open(url, registry=REGISTRY) as opened:
        yield opened


def test_every_kind_of_class_comes_back_as_itself(store: Store) -> None:
    """By ``event``, and in a fold by class; ``data`` is the JSON of each."""
    struct, plain = Struct(Decimal("1.50"), {2026: "a"}), Plain("é", 3)
    store.append("call-1", [struct, plain, Model(text="hi", amount=Decimal("0.10"))])
    first, second, third = store.read("call-1")
    assert (first.event, second.event) == (struct, plain)
    assert third.event.fields == {"text": "hi", "amount": "0.10"}
    assert first.data == {"amount": "1.50", "by_year": {"2026": "a"}}
    assert store.fold("call-1", SEEN).state == ["Struct", "Plain", "Model"]
    assert SEEN.run(store.read("call-1")).state == ["Struct", "Plain", "Model"]


def test_an_event_of_a_class_can_say_more(store: Store) -> None:
    """A time and metadata of its own, for every kind."""
    events = [Struct(Decimal(1)), Plain("a"), Model(text="b")]
    store.append("call-1", [Event.of(e, metadata={"n": 1}, occurred_at=5) for e in events])
    assert [(e.metadata, e.occurred_at_us) for e in store.read("call-1")] == [({"n": 1}, 5)] * 3
    assert store.fold("call-1", SEEN).state == ["Struct", "Plain", "Model"]


def test_a_class_of_another_registry_is_not_known(store: Store) -> None:
    """An instance of a class that this store's registry does not hold is refused."""
    other = Registry()

    @other.event("test.other")
    class Other(msgspec.Struct):
        pass

    with pytest.raises(InvalidEvent) as caught:
        store.append("call-1", [Plain("a"), Other()])
    assert caught.value.index == 1
    assert store.log_head() == 0
