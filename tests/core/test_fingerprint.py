"""Fingerprints: another one whenever what was made from code would come out another."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from types import FunctionType
from typing import Any

import pytest

from refold.core.event import Event
from refold.core.fingerprint import code_of, digest_of, handlers_facts, upcasting_facts
from refold.core.fold import Fold
from refold.core.registry import Registry
from tests.support.reloading import reloaded

RATE = 2
WORD = re.compile("a")
TABLE = {"a": 1}


def helper(value: int) -> int:
    """A function of this module that others call."""
    return value + 1


def calling(value: int) -> int:
    """Calls another and uses a constant."""
    return helper(value) * RATE


def matching(value: str) -> bool:
    """Uses a pattern and a table."""
    return WORD.match(value) is not None and value in TABLE


def made(factor: int) -> Callable[[int], int]:
    """Functions of one code that differ in what they close over."""
    return lambda value: value * factor


def of_default(value: int, factor: int = 1) -> int:
    """A function with a default."""
    return value * factor


def changed(function: Any, **names: object) -> FunctionType:
    """The function as it would be, had its module these names."""
    return FunctionType(
        function.__code__,
        {**function.__globals__, **names},
        function.__name__,
        function.__defaults__,
        function.__closure__,
    )


def test_where_a_function_stands_is_nothing() -> None:
    """The same code under another name, on other lines, is the same."""

    def first(value: int) -> int:
        return value + 1

    def second(value: int) -> int:
        return value + 1

    assert code_of(first) == code_of(second)
    assert code_of(made(2)) == code_of(made(2))


def other_helper(value: int) -> int:
    """Does something else than ``helper``."""
    return value + 2


@pytest.mark.parametrize(
    ("before", "after"),
    [
        pytest.param(made(2), made(3), id="what it closes over"),
        pytest.param(lambda v: v + 1, lambda v: v + 2, id="a constant in it"),
        pytest.param(lambda v: v.a, lambda v: v.b, id="a name in it"),
        pytest.param(of_default, lambda value, factor=2: value * factor, id="a default"),
        pytest.param(calling, changed(calling, helper=other_helper), id="a function it calls"),
        pytest.param(calling, changed(calling, RATE=3), id="a constant of its module"),
        pytest.param(matching, changed(matching, WORD=re.compile("b")), id="a pattern"),
        pytest.param(matching, changed(matching, TABLE={"a": 2}), id="a table of its module"),
        pytest.param(partial(of_default, factor=1), partial(of_default, factor=2), id="a partial"),
        pytest.param(lambda v: [x for x in v], lambda v: [x for x in v if x], id="inside"),  # noqa: C416
    ],
)
def test_a_change_of_what_a_function_does_shows(before: Any, after: Any) -> None:
    """In itself, in what it was made with, and in what it calls in its own module."""
    assert digest_of(code_of(before)) != digest_of(code_of(after))
    assert digest_of(code_of(before)) == digest_of(code_of(before))


def test_what_a_function_gathers_is_nothing() -> None:
    """A list that it adds to while the program runs does not make it another function."""
    gathered: list[int] = []

    def gathering(value: int) -> None:
        gathered.append(value)

    before = code_of(gathering)
    gathering(1)
    assert code_of(gathering) == before


def test_functions_that_call_each_other_end() -> None:
    """A circle of calls, or a function that closes over itself, is looked into once."""

    def again(value: int) -> int:
        return again(value - 1) if value else 0

    assert code_of(again)
    assert code_of(test_functions_that_call_each_other_end)


def test_a_fingerprint_is_the_same_in_another_process() -> None:
    """Sets and objects have no order or address in it."""
    program = (
        "from refold.core.fingerprint import code_of, digest_of\n"
        "THINGS = {'a', 'b', 'c', 'd'}\n"
        "class Thing: pass\n"
        "thing = Thing()\n"
        "def step(state, event, kept=thing):\n"
        "    return thing if event in THINGS or event in {'x', 'y', 'z'} else state\n"
        "print(digest_of(code_of(step)))\n"
    )
    prints = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={"PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2", "3")
    }
    assert len(prints) == 1


def grown(*changes: Callable[[Registry], object]) -> str:
    """The fingerprint of a fold of ``a.new`` and ``b``, after these changes of the registry."""
    registry = Registry()
    registry.upcast("a.old", schema=1, into=["a.new"])(
        reloaded("split", lambda data: [Event("a.new", data)])
    )
    registry.upcast("a.new", schema=1)(reloaded("up", lambda data: {"x": data}))
    for change in changes:
        change(registry)
    fold: Fold[list[Any]] = Fold("f", list, registry=registry)
    fold.on("a.new", "b")(lambda state, event: [*state, event])
    return digest_of(handlers_facts(fold.handlers, registry))


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(
            lambda r: r.upcast("a.new", schema=1)(reloaded("up", lambda data: {"y": data})),
            id="upcaster changed",
        ),
        pytest.param(lambda r: r.upcast("a.new", schema=2)(lambda data: data), id="upcaster added"),
        pytest.param(
            lambda r: r.upcast("b", schema=1, into=["c"])(lambda data: []), id="split added"
        ),
        pytest.param(
            lambda r: r.upcast("q", schema=1, into=["b"])(lambda data: []), id="split into it added"
        ),
        pytest.param(
            lambda r: r.upcast("a.old", schema=1, into=["a.new"])(
                reloaded("split", lambda data: [])
            ),
            id="split changed",
        ),
        pytest.param(
            lambda r: r.upcast("a.old", schema=1, into=["a.new", "z"])(
                reloaded("split", lambda data: [Event("a.new", data)])
            ),
            id="split into more",
        ),
        pytest.param(lambda r: r.retire("b", reason="r"), id="retired"),
        pytest.param(lambda r: r.retire("a.old", reason="r"), id="what is split retired"),
        pytest.param(
            lambda r: r.upcast("a.oldest", schema=1, into=["a.old"])(lambda data: []),
            id="split of what is split",
        ),
        pytest.param(
            lambda r: r.upcast("a.old", schema=2)(lambda data: data), id="upcaster of what is split"
        ),
    ],
)
def test_every_change_on_the_way_to_a_handler_shows(change: Callable[[Registry], object]) -> None:
    """Upcasters, splits and retirements of its types, and of all that leads to them."""
    assert grown(change) != grown()
    assert grown(change) == grown(change)


def test_what_does_not_lead_to_a_handler_changes_nothing() -> None:
    """Deleting every snapshot for another type's sake would be a waste."""
    assert (
        grown(
            lambda r: r.upcast("z", schema=1)(lambda data: data),
            lambda r: r.upcast("z", schema=2, into=["y"])(lambda data: []),
            lambda r: r.retire("w", reason="r"),
        )
        == grown()
    )
    assert upcasting_facts("z", Registry()) == []
