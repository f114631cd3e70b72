"""JSON values: how text is read as one, when two are equal, and JSON Pointers (RFC 6901) into them.

A JSON value is None, a bool, a finite number (int, float or Decimal), a str, a list (or tuple,
the same here), or a dict with str keys, nested at most 200 deep. Two numbers are equal when their
values are, whatever their Python type (1, 1.0 and ``Decimal("1.00")``); ``True`` is not 1.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from decimal import Decimal
from math import isfinite
from typing import Any, Final, NoReturn

import msgspec

from refold.errors import UsageError

DEPTH_MAX: Final = 200
"""The deepest nesting of lists and dicts, so that recursion stays well within Python's limit."""

_LEAVES: Final = (str, int, float, Decimal, type(None))
_SURE: Final = re.compile(r"-?[0-9.]{1,16}")
"""Numbers with a point that are floats for sure: every float has 15 digits (IEEE 754)."""
_check_text: Final = msgspec.json.Decoder(float_hook=str).decode
"""Refuses half of a surrogate pair, which nothing can store."""
_INDEX: Final = re.compile(r"0|[1-9][0-9]{0,17}")


def number(text: str) -> float | Decimal:
    """A JSON number with a point or an exponent, to the last digit.

    A float where that is written as the same number, else a Decimal. ValueError where it is too
    large for that too.
    """
    found = float(text)
    if _SURE.fullmatch(text):
        return found
    try:
        exact = Decimal(text)
    except ArithmeticError as error:
        raise ValueError(f"the number {text:.40} is out of range") from error
    return found if isfinite(found) and Decimal(repr(found)) == exact else exact


def read(text: str | bytes, as_object: Callable[[Any], Any] | None = None) -> Any:
    """What JSON text says: whole numbers as int, others as :func:`number` gives them.

    Raises ValueError for what is no JSON or a number that nothing holds, and :class:`UsageError`
    where a key stands twice in one object: of such two other readers keep one, and not all of them
    the same. ``as_object`` makes an object of its pairs in another way than :func:`members`.
    """
    value = json.loads(
        text if isinstance(text, str) else text.decode(),
        object_pairs_hook=as_object or members,
        parse_float=number,
        parse_constant=_no_number,
    )
    _check_text(text)
    return value


def check(value: Any, *, level: int = 1) -> int:
    """How many values ``value`` holds, itself included.

    ``level`` is how deep it will stand in its document, 1 for the whole. Raises
    :class:`UsageError` for nesting over 200 and for what JSON has no form for, naming the place.
    """
    count = 0
    pending: list[tuple[Any, int, Any]] = [(value, level, None)]
    while pending:
        item, depth, trail = pending.pop()
        count += 1
        if isinstance(item, list | tuple):
            children: Iterable[tuple[Any, Any]] = enumerate(item)
        elif isinstance(item, dict):
            _check_keys(item, trail)
            children = item.items()
        elif isinstance(item, _LEAVES):
            continue
        else:
            _refuse(f"{type(item).__name__} is not a JSON value", trail)
        if depth > DEPTH_MAX:
            raise UsageError(f"nested more than {DEPTH_MAX} levels deep", depth_max=DEPTH_MAX)
        pending += [(child, depth + 1, (trail, key)) for key, child in children]
    return count


def copy(value: Any) -> Any:
    """A copy of a checked value that shares no list and no dict with it; tuples become lists."""
    if isinstance(value, dict):
        return {key: copy(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [copy(item) for item in value]
    return value


def equal(first: Any, second: Any) -> bool:
    """Whether two JSON values are the same (RFC 6902, section 4.6)."""
    check(first)
    check(second)
    numbers = Numbering()
    return numbers.of(first) == numbers.of(second)


def texts_in(value: Any) -> Iterator[str]:
    """All texts in a JSON value, and the names of its members, in no order."""
    pending = [value]
    while pending:
        match pending.pop():
            case str(text):
                yield text
            case dict(members):
                yield from members
                pending += members.values()
            case list(items):
                pending += items


def pointer(parts: Iterable[str | int]) -> str:
    """The JSON Pointer that leads through these keys and indexes; "" for none."""
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in parts)


def parse_pointer(text: str) -> tuple[str, ...]:
    """The keys and indexes of a JSON Pointer, indexes as text too."""
    if not isinstance(text, str) or (text and not text.startswith("/")):
        raise UsageError(
            f"{text!r} is not a JSON Pointer: it must be empty or begin with /", pointer=text
        )
    if re.search("~(?![01])", text):
        raise UsageError(f"{text!r} is not a JSON Pointer: write ~ as ~0, / as ~1", pointer=text)
    return tuple(part.replace("~1", "/").replace("~0", "~") for part in text.split("/")[1:])


def resolve(document: Any, path: str) -> Any:
    """The value that a JSON Pointer names in ``document``; :class:`UsageError` when none is."""
    try:
        return walk(document, parse_pointer(path))
    except UsageError as refused:
        raise UsageError(f"{path!r} names nothing: {refused.message}", pointer=path) from refused


def walk(document: Any, parts: Iterable[str]) -> Any:
    """The value that keys and indexes lead to; :class:`UsageError` where they lead nowhere."""
    for part in parts:
        if isinstance(document, dict):
            if part not in document:
                raise UsageError(f"there is no key {part!r}")
            document = document[part]
        elif isinstance(document, list | tuple):
            document = document[index_in(document, part)]
        else:
            raise UsageError(f"{part!r} leads into a {type(document).__name__}")
    return document


def index_in(items: Sequence[Any], part: str, *, beyond: int = 0) -> int:
    """The index that ``part`` names: of an entry, or up to ``beyond`` places after the last."""
    if not _INDEX.fullmatch(part) or int(part) >= len(items) + beyond:
        raise UsageError(f"{part!r} is not an index into a list of {len(items)}")
    return int(part)


class Numbering:
    """Gives equal JSON values the same number; each list and dict is walked once.

    The values must be checked and must outlive this object unchanged.
    """

    def __init__(self) -> None:
        self._by_content: dict[Hashable, int] = {}
        self._by_identity: dict[int, int] = {}

    def of(self, value: Any) -> int:
        """The number of ``value``."""
        if not isinstance(value, dict | list | tuple):
            return self._numbered(_leaf_content(value))
        known = self._by_identity.get(id(value))
        if known is None:
            known = self._by_identity[id(value)] = self._numbered(self._content(value))
        return known

    def _content(self, value: dict[str, Any] | Sequence[Any]) -> Hashable:
        if isinstance(value, dict):
            return ("dict", frozenset([(key, self.of(item)) for key, item in value.items()]))
        return ("list", *[self.of(item) for item in value])

    def _numbered(self, content: Hashable) -> int:
        return self._by_content.setdefault(content, len(self._by_content))


def _leaf_content(value: Any) -> Hashable:
    # Python says True == 1, JSON does not.
    if isinstance(value, bool):
        return ("bool", value)
    return value if value is None or isinstance(value, str) else ("number", value)


def _check_keys(item: dict[Any, Any], trail: Any) -> None:
    for key in item:
        if not isinstance(key, str):
            _refuse(f"the key {key!r} is not text", trail)


def _refuse(message: str, trail: Any) -> NoReturn:
    parts = []
    while trail is not None:
        trail, part = trail
        parts.append(part)
    where = pointer(reversed(parts))
    raise UsageError(f"{message}, at {where!r}", pointer=where)


def members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of its pairs; UsageError where a key stands twice."""
    made = dict(pairs)
    if len(made) < len(pairs):
        key = next(key for place, (key, _) in enumerate(pairs) if key in dict(pairs[:place]))
        raise UsageError(f"the key {key!r:.99} stands twice in one object", key=key)
    return made


def _no_number(text: str) -> NoReturn:
    raise ValueError(f"{text} is no JSON number")
