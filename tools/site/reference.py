"""A page for each public module, made of its docstrings: what `help()` says, with anchors."""

from __future__ import annotations

import ast
import inspect
import re
import sys
from collections.abc import Callable, Iterator
from enum import Enum
from functools import cached_property
from importlib import import_module
from inspect import isasyncgenfunction, iscoroutinefunction
from itertools import pairwise
from types import FunctionType, ModuleType
from typing import Any, Final

from refold import Registry

LINE: Final = 90
"""Longer signatures are broken, an argument a line."""
_ROLE: Final = re.compile(r":\w+:`~?([^`]+)`")
_PACKAGE: Final = re.compile(r"\b(?:[a-z_]+\.)+(?=\w)")
_LITERAL: Final = re.compile(r"(?<=\S)::$", re.MULTILINE)
_ALONE: Final = re.compile(r"^ *::\n", re.MULTILINE)
_METHODS: Final = (FunctionType, staticmethod, classmethod, property, cached_property)


class Undocumented(Exception):
    """A public name says nothing of itself."""


def page(name: str) -> str:
    """The page of a module as Markdown."""
    module = import_module(name)
    parts = [f"# {name}", text_of(module, name)]
    for exported in module.__all__:
        parts += entry(name, exported, getattr(module, exported))
    return "\n\n".join(parts) + "\n"


def entry(module: str, name: str, value: Any) -> Iterator[str]:
    """The parts of a page that one name has."""
    if isinstance(value, ModuleType):
        for inner in dir(value):
            if getattr(getattr(value, inner), "__module__", "") == value.__name__:
                yield from entry(f"{module}.{name}", inner, getattr(value, inner))
        return
    yield f"## `{name}`"
    if isinstance(value, type):
        yield from class_entry(f"{module}.{name}", value)
    elif inspect.isroutine(value):
        yield code(signature(name, value))
        yield text_of(value, f"{module}.{name}")
    else:
        yield code(f"{name}: {type(value).__name__}")
        yield markdown(note_of(name, value, f"{module}.{name}"))


def class_entry(path: str, cls: type) -> Iterator[str]:
    """A class: how one is made, what it promises, and its methods and properties."""
    name = cls.__name__
    made = signature(name, cls)
    yield code(f"class {name}" if made.endswith("(*args, **kwargs)") else f"class {made}")
    yield text_of(cls, path)
    if issubclass(cls, Enum):
        yield "\n".join(f"- `{one.name}`" for one in cls)
    for method, value in methods_of(cls):
        yield f"### `{name}.{method}`"
        bound = getattr(cls, method)
        if callable(bound):
            yield code(signature(method, bound, bound=not isinstance(value, staticmethod)))
        yield text_of(bound if callable(bound) else value, f"{path}.{method}")


def methods_of(cls: type) -> Iterator[tuple[str, object]]:
    """The public methods and properties, those of bases too, in the order they are written in."""
    seen: dict[str, object] = {}
    for owner in cls.__mro__:
        if owner.__module__.startswith("refold"):
            for name, value in vars(owner).items():
                if not name.startswith("_") and (
                    inspect.isfunction(value) or isinstance(value, _METHODS)
                ):
                    seen.setdefault(name, value)
    yield from seen.items()


def text_of(value: Any, path: str) -> str:
    """Its docstring; one that a class has from another says nothing of it."""
    own = vars(value).get("__doc__") if isinstance(value, type) else inspect.getdoc(value)
    if not own or own.startswith(f"{getattr(value, '__name__', '')}("):
        raise Undocumented(f"{path} has no docstring")
    return markdown(inspect.cleandoc(own))


def note_of(name: str, value: object, path: str) -> str:
    """The text below a value where it is assigned, else what its class says."""
    for module in [one for one in sys.modules.values() if one.__name__.startswith("refold")]:
        if vars(module).get(name) is value and (
            note := _text_below(name, inspect.getsource(module))
        ):
            return note
    if type(value).__module__.startswith("refold"):
        return text_of(type(value), path)
    raise Undocumented(f"{path} has no text below it")


def _text_below(name: str, source: str) -> str:
    body = ast.parse(source).body
    for one, below in pairwise(body):
        targets = one.targets if isinstance(one, ast.Assign) else [getattr(one, "target", None)]
        is_it = any(isinstance(target, ast.Name) and target.id == name for target in targets)
        if is_it and isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant):
            return inspect.cleandoc(str(below.value.value))
    return ""


def markdown(docstring: str) -> str:
    """A docstring as Markdown: roles are code, and so is what stands under a double colon."""
    return _LITERAL.sub(":", _ALONE.sub("", _ROLE.sub(r"`\1`", docstring)))


def code(text: str) -> str:
    """A block of Python."""
    return f"```python\n{text}\n```"


def signature(name: str, call: Callable[..., Any], *, bound: bool = False) -> str:
    """``name(arguments) -> result``, as one would write it."""
    whole = inspect.signature(call)
    parameters = [
        one.replace(annotation=_type(one.annotation), default=default(one))
        for one in whole.parameters.values()
    ]
    if bound and parameters and parameters[0].name in ("self", "cls"):
        parameters = parameters[1:]
    gives = whole.empty if isinstance(call, type) else _type(whole.return_annotation)
    line = f"{name}{inspect.Signature(parameters, return_annotation=gives)}"
    if iscoroutinefunction(call):
        line = f"async {line}"
    elif isasyncgenfunction(call):
        line = line.replace(" -> Iterator[", " -> AsyncIterator[")
    return line if len(line) <= LINE else _an_argument_a_line(line, parameters)


def default(parameter: inspect.Parameter) -> Any:
    """A default value that shows itself as one writes it."""
    value = parameter.default
    return value if value is parameter.empty else Written(_written(value))


class Written:
    """Something that shows itself as a text."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __repr__(self) -> str:
        return self.text


def _written(value: object) -> str:
    if isinstance(value, Enum):
        return value.name
    if isinstance(value, Registry):
        return "default_registry"
    if repr(value) == "<factory>":
        return "{}"
    return str(getattr(value, "__name__", repr(value)))


def _type(annotation: Any) -> Any:
    if annotation is inspect.Parameter.empty:
        return annotation
    text = getattr(annotation, "__forward_arg__", annotation)
    if not isinstance(text, str):
        text = _PACKAGE.sub("", inspect.formatannotation(annotation))
    return Written(text)


def _an_argument_a_line(line: str, parameters: list[inspect.Parameter]) -> str:
    """The same, broken where the arguments are."""
    start, _, _ = line.partition("(")
    whole = f"({', '.join(map(str, parameters))})"
    kinds = [one.kind for one in parameters]
    shown = list(map(str, parameters))
    if inspect.Parameter.KEYWORD_ONLY in kinds and inspect.Parameter.VAR_POSITIONAL not in kinds:
        shown.insert(kinds.index(inspect.Parameter.KEYWORD_ONLY), "*")
    if before := kinds.count(inspect.Parameter.POSITIONAL_ONLY):
        shown.insert(before, "/")
    _, arrow, gives = line[len(start) + len(whole) :].rpartition(") -> ")
    return "\n".join([f"{start}(", *(f"    {one}," for one in shown), f"){arrow[1:]}{gives}"])
