"""docs/reference/python.md lists the public names with the arguments that they have."""

import inspect
import re
from collections.abc import Callable, Iterator
from enum import Enum
from importlib import import_module
from typing import Any, NamedTuple

import pytest

import refold
from tests.house.tree import ROOT

PAGE = ROOT / "docs" / "reference" / "python.md"
EVENTS = ROOT / "docs" / "reference" / "events.md"
MODULES = [line[3:] for line in PAGE.read_text().splitlines() if line.startswith("## ")]
# What a page of names need not repeat.
WHOLE = [refold.Store, refold.Branch]


class Shown(NamedTuple):
    """A call as the page shows it, and where."""

    module: str
    owner: str
    text: str


def shown_calls() -> Iterator[Shown]:
    """Every call of a table's first column, and each that opens a section of a class."""
    module = owner = ""
    for line in PAGE.read_text().splitlines():
        if line.startswith("## "):
            module, owner = line[3:], ""
        elif line.startswith("### "):
            owner = line[4:]
        elif found := re.match(r"(\| )?`(\w+\(.*?\))`", line):
            yield Shown(module, owner if found[1] else "", found[2])


def actual(shown: Shown) -> str:
    """The call as the code has it."""
    name = shown.text.partition("(")[0]
    owner = import_module(shown.module)
    holder = getattr(owner, shown.owner) if shown.owner else owner
    return signature(name, getattr(holder, name), bound=isinstance(holder, type))


def signature(name: str, call: Callable[..., Any], *, bound: bool) -> str:
    """``name(arguments)`` with defaults, without annotations."""
    parameters = list(inspect.signature(call).parameters.values())
    if bound and parameters[0].name == "self":
        parameters = parameters[1:]
    return f"{name}{inspect.Signature([_plain(p) for p in parameters])}"


def _plain(parameter: inspect.Parameter) -> inspect.Parameter:
    given = parameter.default is not parameter.empty
    default = _Default(parameter.default) if given else parameter.empty
    return parameter.replace(annotation=parameter.empty, default=default)


class _Default:
    """A default value as the page writes it."""

    def __init__(self, value: object) -> None:
        self.value = value

    def __repr__(self) -> str:
        if isinstance(self.value, Enum):
            return self.value.name
        if isinstance(self.value, refold.Registry):
            return "default_registry"
        if repr(self.value) == "<factory>":
            return "{}"
        return getattr(self.value, "__name__", repr(self.value))


@pytest.mark.parametrize(
    "shown", list(shown_calls()), ids=lambda shown: shown.text.partition("(")[0]
)
def test_a_call_is_shown_as_it_is(shown: Shown) -> None:
    """Names, order, keyword-only options and defaults are those of the code."""
    assert shown.text == actual(shown)


@pytest.mark.parametrize("module", MODULES)
def test_every_public_name_of_a_module_is_on_the_page(module: str) -> None:
    """A name of ``__all__`` stands in its module's section, or among the events."""
    _, _, section = PAGE.read_text().partition(f"## {module}\n")
    section = re.split(r"^## ", section, flags=re.MULTILINE)[0]
    text = section + EVENTS.read_text()
    names = import_module(module).__all__
    missing = [
        name
        for name in names
        if not re.search(rf"`{name}\b|^###? {name}$|\]\(#{name.lower()}\)", text, re.MULTILINE)
    ]
    assert names
    assert missing == []


@pytest.mark.parametrize("cls", WHOLE, ids=lambda cls: cls.__name__)
def test_every_method_of_the_main_classes_is_on_the_page(cls: type) -> None:
    """Nobody looks for a method of a store in vain."""
    listed = {s.text.partition("(")[0] for s in shown_calls() if s.owner == cls.__name__}
    methods = {
        name for name, _ in inspect.getmembers(cls, inspect.isfunction) if not name.startswith("_")
    }
    assert methods == listed


def test_a_wrong_argument_is_found() -> None:
    """The comparison can fail: an argument left out, or another default, is another text."""
    shown = Shown("refold", "Store", "head(stream, *, at=None)")
    assert actual(shown) == "head(stream)"
