"""What code does, as facts: functions and classes, and whatever of their modules they reach.

From some roots, such as the steps of a fold, it goes on to what they hold (what they close over,
their defaults, what a decorator or partial wraps) and to the functions, classes and data that they
name in their own modules. Of another module it sees names alone. Facts are the same in every
process of one version of Python: there is no address in them, no line and no order of a set.
"""

from __future__ import annotations

import re
import sys
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from contextlib import suppress
from dataclasses import fields, is_dataclass
from enum import Enum
from functools import cached_property, partial, partialmethod, singledispatchmethod
from types import CodeType, FunctionType, MethodType, ModuleType, SimpleNamespace
from typing import Any, Final, get_args, get_origin

import msgspec

from refold.inspection.bytecode import variables_of

ADDED: Final = msgspec.Meta(extra_json_schema={"x-added": True})
"""Marks a field with a default that a class got later: what was made before it stands."""
_PLAIN: Final = (str, bytes, bool, int, float, complex, type(None), type(...), range)
_TOLD_BY_REPR: Final = {
    *("datetime", "decimal", "fractions", "ipaddress", "operator", "pathlib", "uuid", "zoneinfo")
}
_HOLDERS: Final = (
    *(partial, partialmethod, MethodType, staticmethod, classmethod),
    *(property, cached_property, singledispatchmethod),
)
_HOLDING: Final = (
    *("__func__", "__self__", "func", "args", "keywords", "fget", "fset", "fdel", "dispatcher"),
)
_BEGINNING: Final = {"__init__", "__new__", "__post_init__", "__set_name__", "__setstate__"}
"""What a method of these names sets is what an object begins with."""


def code_of(*roots: object) -> object:
    """What functions, classes, or objects that are called do."""
    return _Reach(roots).facts(roots)


class _Reach:
    """What was found so far: each object has the number of its entry, so that circles end.

    Only what Python may share or copy at will has none: plain values, tuples and frozen sets.
    """

    def __init__(self, roots: Iterable[object]) -> None:
        self._homes = _homes(roots)
        self._numbers: dict[int, int] = {}
        self._found: list[Any] = []
        self._data: dict[tuple[int, str], object] = {}
        self._changed: set[tuple[int, str]] = set()

    def facts(self, roots: Sequence[object]) -> object:
        """The facts of roots, and of everything that was found from there on."""
        facts, entries, data = self._all(roots), list[object](), dict[tuple[int, str], object]()
        while len(entries) < len(self._found) or len(data) < len(self._data):
            if len(entries) < len(self._found):
                entries.append(self._entry(self._found[len(entries)]))
                continue
            # Data once all functions are known: what one of them changes as it goes is no rule.
            key, value = list(self._data.items())[len(data)]
            data[key] = self._fact(type(value) if key in self._changed else value)
        return facts, entries, [(name, fact) for (_, name), fact in data.items()]

    def _all(self, values: Iterable[object]) -> list[object]:
        return [self._fact(value) for value in values]

    def _fact(self, value: Any) -> object:
        """A plain value itself, the number of any other."""
        if type(value) in _PLAIN:
            return repr(value)
        if type(value) in (tuple, frozenset):
            return tuple(self._all(value if type(value) is tuple else _ordered(value)))
        if isinstance(value, CodeType):
            return self._instructions(value, value.co_consts)
        number = self._numbers.setdefault(id(value), len(self._found))
        if number == len(self._found):
            self._found.append(value)
        return number

    def _entry(self, value: Any) -> object:
        if isinstance(value, FunctionType):
            return self._function(value)
        if isinstance(value, type):
            return self._class(value) if _module_of(value) in self._homes else _name_of(value)
        return self._fact(type(value)), self._all(self._content(value))

    def _function(self, function: FunctionType) -> object:
        code, names = function.__code__, function.__globals__
        named, changed = variables_of(code)
        held = _held(function)
        held[0] = {k: type(v) if k in changed else v for k, v in held[0].items()}
        if _module_of(function) not in self._homes:
            return _name_of(function), self._all(held)
        self._changed |= {(id(names), name) for name in changed}
        called: list[object] = []
        for name in named:
            value = names.get(name, _HOLDERS)
            if isinstance(value, FunctionType | type | ModuleType) or _held(value):
                called.append(self._fact(value))
            elif value is not _HOLDERS:
                self._data.setdefault((id(names), name), value)
        is_documented = function.__doc__ and code.co_consts[:1] == (function.__doc__,)
        constants = (None, *code.co_consts[1:]) if is_documented else code.co_consts
        return self._instructions(code, constants), called, self._all(held)

    def _instructions(self, code: CodeType, constants: Sequence[object]) -> object:
        counts = code.co_flags, code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount
        names = code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars
        texts = code.co_code.hex(), code.co_exceptiontable.hex()
        return texts, counts, names, self._all(constants)

    def _class(self, cls: Any) -> object:
        said: dict[str, Any] = getattr(cls, "__annotations__", {})
        told = {n: str(one) for n, one in said.items() if not re.search("ADDED|x-added", str(one))}
        made: Any = fields(cls) if is_dataclass(cls) else ()
        given = [(one.name, (one.default, one.default_factory)) for one in made]
        struct = getattr(cls, "__struct_fields__", ()), getattr(cls, "__struct_defaults__", ())
        given += zip(*map(reversed, struct), strict=False)
        names, left_out = vars(sys.modules.get(cls.__module__, re)), {*said} - {*told}
        types = [names.get(word) for word in re.findall(r"\w+", " ".join(told.values()))]
        own = {
            name: value
            for name, value in sorted(vars(cls).items())
            if _is_told(name, value, generated=bool(made)) and name not in left_out
        }
        changed = _changed_in(cls)
        return (
            cls.__qualname__,
            self._all((*cls.__bases__, type(cls), getattr(cls, "__members__", None))),
            [(n, self._fact(one)) for n, one in own.items() if f".{n}" not in changed],
            [
                (n, self._fact(getattr(one, "factory", one)))
                for n, one in given
                if n not in left_out
            ],
            self._all(one for one in types if isinstance(one, type) or get_origin(one)),
        )

    def _content(self, value: Any) -> Iterable[object]:
        """What an object is made of, as far as it is the same in every process."""
        cls = type(value)
        for kind, content in _CONTENTS:
            if isinstance(value, kind):
                return content(value)
        if get_origin(value) is not None:
            return get_origin(value), get_args(value)
        if held := _held(value):
            return held
        if isinstance(getattr(value, "handlers", None), dict):  # Another fold.
            return value.handlers, getattr(value, "initial", None)
        if cls.__module__ in _TOLD_BY_REPR:
            return () if " at 0x" in repr(value) else (repr(value),)
        is_data = is_dataclass(cls) or hasattr(cls, "__struct_fields__") or cls is SimpleNamespace
        if is_data or _module_of(cls) in self._homes:
            return (_state_of(value),)
        with suppress(TypeError, ValueError, BufferError, AttributeError):
            # An array, of numpy for one; where it holds objects, its bytes are addresses.
            numbers = memoryview(value)
            is_bare = not re.search("[OPXz&]", re.sub(":.*?:", "", numbers.format))
            return numbers.format, numbers.shape, numbers.tobytes() if is_bare else value.tolist()
        name = getattr(value, "__qualname__", getattr(value, "__name__", None))
        return name, getattr(value, "__self__", None)


def _held(one: Any) -> list[Any]:
    """What a function or callable holds, whatever module that is from; of others nothing."""
    if isinstance(one, FunctionType):
        return [_enclosed(one), one.__defaults__, one.__kwdefaults__, vars(one)]
    if isinstance(one, _HOLDERS):
        return [getattr(one, name, None) for name in _HOLDING]
    if isinstance(one, type) or "__wrapped__" not in getattr(one, "__dict__", ()):
        return []
    return [vars(one)["__wrapped__"]]  # By functools.cache, for one.


def _enclosed(function: FunctionType) -> dict[str, object]:
    """What a function closes over, by name."""
    found: dict[str, object] = {}
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        with suppress(ValueError):  # It is not bound yet.
            found[name] = cell.cell_contents
    return found


def _homes(roots: Iterable[object]) -> set[str]:
    """The modules that are looked into: of roots, and of what they hold."""
    seen, ahead = dict[int, object](), deque(roots)
    while ahead:
        one = ahead.popleft()
        if id(one) not in seen:
            seen[id(one)] = one
            for part in (*_held(one), *get_args(one), *(one if type(one) is tuple else ())):
                ahead += part.values() if isinstance(part, dict) else (part,)
    homes = {_module_of(one) for one in seen.values()}
    return {home for home in homes if home.partition(".")[0] not in sys.stdlib_module_names}


def _module_of(one: Any) -> str:
    """Where a function, class, or the class of an object was written."""
    if isinstance(one, FunctionType):  # Its __module__ may be that of what it wraps.
        return str(one.__globals__.get("__name__"))
    return str(getattr(one if isinstance(one, type) else type(one), "__module__", None))


def _name_of(one: Any) -> str:
    return f"{_module_of(one).partition('.')[0]}.{one.__qualname__}"


def _ordered(values: Iterable[object]) -> list[object]:
    """A set in an order that does not hang on hashes."""
    return sorted(values, key=lambda value: repr(code_of(value)))


_CONTENTS: Final[list[tuple[Any, Callable[[Any], Iterable[object]]]]] = [
    (Enum, lambda value: (value.name, value.value)),
    (Mapping, lambda value: (tuple(value.items()), getattr(value, "default_factory", None))),
    (Set, _ordered),
    ((list, deque, bytearray), iter),
    ((*_PLAIN, tuple), lambda value: value.__getnewargs__()),  # Of a class of its own.
    (re.Pattern, lambda value: (value.pattern, value.flags)),
]


def _is_told(name: str, value: object, *, generated: bool) -> bool:
    """Whether an attribute of a class says what it does: not what Python or a library made."""
    is_python = name.startswith("_") and name.endswith("_")
    if isinstance(value, FunctionType):
        made = value.__code__.co_filename == "<string>" or _module_of(value) == "dataclasses"
        return not (generated and is_python and made)
    return isinstance(value, _HOLDERS) or not (is_python or hasattr(value, "__objclass__"))


def _changed_in(cls: type) -> set[str]:
    """What the methods of a class change once an object has begun."""
    methods = [f for f in vars(cls).values() if isinstance(f, FunctionType)]
    codes = [f.__code__ for f in methods if f.__name__ not in _BEGINNING]
    return set[str]().union(*(variables_of(code)[1] for code in codes))


def _state_of(value: Any) -> dict[str, object]:
    """The attributes of an object, without those that come as it is used."""
    cls, state = type(value), object.__getstate__(value)
    changed = set[str]().union(*map(_changed_in, cls.__mro__))
    return {
        name: own
        for part in (state if isinstance(state, tuple) else (state,))
        for name, own in sorted((part or {}).items())
        if f".{name}" not in changed and not isinstance(getattr(cls, name, None), cached_property)
    }
