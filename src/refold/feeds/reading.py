"""JSON of a service as far as it can be read: what cannot be is told apart, and hides nothing else.

A number that no type holds, ``NaN``, half of a surrogate pair, bytes that are no UTF-8, a key that
is said twice, endless nesting: each costs the item that it stands in, not the page.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from decimal import Decimal
from functools import partial
from typing import Any, Final

LEVELS_MAX: Final = 200
"""What is nested deeper is taken as the text that it is."""
_PART: Final = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"|[\[\]{}]', re.DOTALL)
_DEEP: Final = "\0deep"


class UnreadText(str):
    """A value that cannot be had, as it was written."""


def read_json(content: bytes) -> Any:
    """The value; in place of a part of a list that cannot be had stands :class:`UnreadText`.

    Numbers with a point are Decimal. Raises ValueError for what is not JSON, and where what cannot
    be had is not in a list.
    """
    value = _decode(_shallow(content.decode(errors="surrogateescape")))
    _check(value)
    return value


def readable(value: Any, unread: list[str], at: str = "") -> Any:
    """The value with plain text for what is unread, of which the places are added to ``unread``."""
    if isinstance(value, dict):
        pairs = [(readable(key, unread, f"{at}/"), one) for key, one in value.items()]
        return {key: readable(one, unread, f"{at}/{key}") for key, one in pairs}
    if isinstance(value, list):
        return [readable(one, unread, f"{at}/{index}") for index, one in enumerate(value)]
    if not isinstance(value, str):
        return value
    plain = value.encode(errors="backslashreplace").decode()
    if isinstance(value, UnreadText) or plain != value:
        unread.append(f"{at}: {plain:.60}")
    return plain


def _check(value: Any) -> None:
    if isinstance(value, dict):
        for part in (*value.keys(), *value.values()):
            _check(part)
    elif isinstance(value, UnreadText):
        raise ValueError(f"unreadable: {value:.60}")
    elif isinstance(value, str):
        value.encode()


def _number(kind: Callable[[str], Any], text: str) -> Any:
    try:
        return kind(text)
    except (ArithmeticError, ValueError):
        return UnreadText(text)


def _object(pairs: list[tuple[str, Any]]) -> Any:
    said: dict[str, list[Any]] = {}
    for key, value in pairs:
        said.setdefault(key, []).append(value)
    if _DEEP in said:
        return UnreadText(said[_DEEP][0])
    return {
        k: v[0] if len(v) == 1 else UnreadText(json.dumps(v, default=str)) for k, v in said.items()
    }


_decode: Final = json.JSONDecoder(
    strict=False,  # A line break in a text costs nobody anything.
    parse_float=partial(_number, Decimal),
    parse_int=partial(_number, int),
    parse_constant=UnreadText,
    object_pairs_hook=_object,
).decode


def _shallow(text: str) -> str:
    """The text with what is nested too deep as a text in it."""
    pieces, depth, kept = [], 0, 0
    for part in _PART.finditer(text):
        closes = part[0] in "]}"
        if depth == LEVELS_MAX and closes:
            pieces.append(json.dumps({_DEEP: text[kept : part.end()]}))
            kept = part.end()
        depth += (part[0] in "[{") - closes
        if depth == LEVELS_MAX and not closes and part[0] in "[{":
            pieces.append(text[kept : part.start()])
            kept = part.start()
    return "".join([*pieces, text[kept:]])
