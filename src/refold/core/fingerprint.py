"""Fingerprints: whether what was made from handlers, classes and upcasters was made from these.

Two fingerprints differ where the code, the constants or the classes behind them do. What a
function calls in another module is not looked into, nor what it reads from outside: whoever
changes that gives another revision.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache, partial
from types import CodeType, FunctionType
from typing import Any, Final

import msgspec

from refold.core.dispatch import Handler
from refold.core.event import Kind
from refold.core.registry import Registry

CODE_REVISION: Final = 2
"""Raised where :func:`code_of` says something else of the same code than it did before."""
ADDED: Final = msgspec.Meta(extra_json_schema={"x-added": True})
"""Marks a field with a default that a class got later: what was made before it stands."""
_GROWING: Final = (list, dict, set, bytearray)
_PLAIN: Final = (str, bytes, int, float, complex, type(None), type(...))


def digest_of(*facts: object) -> str:
    """32 hexadecimal digits of some facts: texts, numbers, and what the functions here give."""
    return hashlib.sha256(repr(facts).encode()).hexdigest()[:32]


def handlers_facts(handlers: Mapping[str, Handler], registry: Registry) -> list[object]:
    """What handlers by event type do, and how stored events come to them."""
    return [
        (
            registry.current(Kind(name)).tag,
            shape_of(handler.target),
            code_of(handler.evolve),
            upcasting_facts(name, registry),
        )
        for name, handler in sorted(handlers.items())
    ]


def upcasting_facts(type_name: str, registry: Registry) -> list[object]:
    """The upcasters, splits and retirements on every way from a stored event to this type."""
    upcasts = registry.upcasts
    sources = upcasts.sources_of((type_name,))
    steps = [
        (kind.tag, step.into, code_of(step.function))
        for kind, step in upcasts.steps()
        if kind.type in sources
    ]
    return [*steps, *(name for name in upcasts.retirements() if name in sources)]


def shape_of(cls: Any) -> object:
    """The JSON schema of a class, or its name where it has none."""
    return _shape_of_class(cls) if isinstance(cls, type) else _shape_of(cls)


def _shape_of(cls: Any) -> object:
    try:
        return msgspec.json.schema(cls)
    except (TypeError, ValueError):
        return repr(cls)


# It takes a millisecond, and a class stays what it is.
_shape_of_class = lru_cache(maxsize=1_024)(_shape_of)


def code_of(function: Callable[..., Any]) -> object:
    """What a function does, without where it stands: the same in every process.

    With its defaults, what it closes over, and the functions and upper-case constants of its own
    module that it names.
    """
    return _code_of(function, set())


def _code_of(function: Any, seen: set[int]) -> object:
    if isinstance(function, partial):
        given = [_fact(value, seen) for value in (*function.args, *function.keywords.values())]
        return _code_of(function.func, seen), given, sorted(function.keywords)
    function = getattr(function, "__func__", function)
    if not isinstance(function, FunctionType):
        return type(function).__qualname__
    if id(function) in seen:
        return function.__name__
    seen.add(id(function))
    return _instructions(function.__code__), [
        _fact(value, seen)
        for value in (
            *(function.__defaults__ or ()),
            *(function.__kwdefaults__ or {}).values(),
            *_enclosed(function),
            *_named(function),
        )
    ]


def _enclosed(function: FunctionType) -> Iterator[object]:
    """What a function closes over; of what may change while the program runs, its type."""
    for cell in function.__closure__ or ():
        try:
            value = cell.cell_contents
        except ValueError:  # It is not bound yet.
            continue
        yield type(value) if isinstance(value, _GROWING) else value


def _named(function: FunctionType) -> Iterator[object]:
    """The functions and constants of its module that a function names."""
    for name in _names(function.__code__):
        value = function.__globals__.get(name)
        if isinstance(value, FunctionType):
            if value.__module__ == function.__module__:
                yield value
        elif name.isupper():
            yield value


def _names(code: CodeType) -> Iterator[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names(constant)


def _fact(value: object, seen: set[int]) -> object:
    """A value as far as it is the same in every process."""
    if isinstance(value, FunctionType | partial):
        return _code_of(value, seen)
    if isinstance(value, _PLAIN):
        return repr(value)
    if isinstance(value, type):
        return value.__qualname__  # Not where it stands: a module may be renamed.
    if isinstance(value, re.Pattern):
        return value.pattern, value.flags
    if isinstance(value, Mapping):
        return [(_fact(key, seen), _fact(item, seen)) for key, item in value.items()]
    if isinstance(value, list | tuple):
        return [_fact(item, seen) for item in value]
    if isinstance(value, set | frozenset):
        return sorted(repr(_fact(item, seen)) for item in value)
    try:
        return msgspec.json.encode(value)
    except (TypeError, ValueError, RecursionError):
        return type(value).__qualname__


def _instructions(code: CodeType) -> tuple[object, ...]:
    constants = [
        _instructions(constant) if isinstance(constant, CodeType) else _stable(constant)
        for constant in code.co_consts
    ]
    return code.co_code.hex(), constants, code.co_names, code.co_varnames


def _stable(constant: object) -> str:
    return repr(sorted(map(repr, constant)) if isinstance(constant, frozenset) else constant)
