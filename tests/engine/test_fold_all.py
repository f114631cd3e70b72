"""The fold of the whole log."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

import refold
from refold.core.event import Event
from refold.core.fold import Fold
from refold.core.recorded import Recorded
from refold.core.registry import Registry
from refold.engine.store import Store


class Seen(msgspec.Struct):
    """What a fold was given, in its order."""

    numbers: list[int] = []


def seen() -> Fold[Seen]:
    """A fold that takes one of two types."""
    fold: Fold[Seen] = Fold("seen", Seen)

    @fold.on("test.a")
    def _(state: Seen, event: dict[str, int]) -> Seen:
        state.numbers.append(event["n"])
        return state

    return fold


def filled(store: Store) -> Store:
    """Three streams of two categories, in turn, in appends of one to three events."""
    for number in range(60):
        events = [
            Event("test.a" if part % 2 == 0 else "test.b", {"n": number * 10 + part})
            for part in range(1 + number % 3)
        ]
        store.append(f"{'call' if number % 2 else 'deal'}-{number % 3}", events)
    return store


@pytest.fixture(params=["memory", "file", "packed"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    """The same log on each storage."""
    made = filled(refold.open("memory:" if request.param == "memory" else tmp_path / "log.db"))
    if request.param == "packed":
        made.compact()
    request.addfinalizer(made.close)
    return made


@pytest.mark.parametrize("after", [0, 1, 2, 57, 119, 120, 500])
@pytest.mark.parametrize("categories", [None, ["call"], ["none"]])
def test_it_is_the_fold_of_all_that_is_read(
    store: Store, after: int, categories: list[str] | None
) -> None:
    """From any position, also within an append, and narrowed to categories."""
    history = list(store.read_all(after=after, categories=categories))
    folded = store.fold_all(seen(), after=after, categories=categories)
    assert folded.state == seen().run(history).state
    assert folded.version == -1
    if categories is None and history:
        assert folded.position == history[-1].position
    assert folded.position >= after


def test_a_step_may_take_the_recorded_event(store: Store) -> None:
    """As in every fold."""
    fold: Fold[Seen] = Fold("positions", Seen)

    @fold.on("test.b")
    def _(state: Seen, _event: object, recorded: Recorded) -> Seen:
        state.numbers.append(recorded.position)
        return state

    expected = [e.position for e in store.read_all(types=["test.b"])]
    assert store.fold_all(fold).state.numbers == expected


def test_old_schemas_are_brought_up_to_date(tmp_path: Path) -> None:
    """An upcaster runs as it does for one stream."""
    registry = Registry()
    upcast: Callable[..., object] = registry.upcast("test.a", schema=1)
    upcast(lambda data: {"n": data["old"]})
    fold: Fold[Seen] = Fold("seen", Seen, registry=registry)
    fold.on("test.a")(lambda state, event: Seen([*state.numbers, event["n"]]))
    with refold.open(tmp_path / "log.db", registry=registry) as store:
        store.append("call-1", [Event("test.a", {"old": 1}), Event("test.a.v2", {"n": 2})])
        assert store.fold_all(fold).state.numbers == [1, 2]
