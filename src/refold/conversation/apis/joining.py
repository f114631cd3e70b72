"""Answers from their pieces: what came before, and more of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

Body = dict[str, Any]

# What a piece says at once; other texts come in pieces.
_AT_ONCE: Final = frozenset({"id", "type", "role", "index", "format", "finish_reason"})


def join(whole: Body, piece: Mapping[str, Any]) -> None:
    """Add a piece to what came before it: texts and lists grow, all else is what came last."""
    for key, value in piece.items():
        before = whole.get(key)
        match before, value:
            case _, None | "" if key in whole:
                pass
            # Some servers say a function's name again with each piece of its arguments.
            case str(), str() if key not in _AT_ONCE and (key, before) != ("name", value):
                whole[key] = before + value
            case dict(), dict():
                join(before, value)
            case None | list(), list():
                whole[key] = _grown(before or [], value, are_calls=key == "tool_calls")
            case str(), list() if before:
                whole[key] = [{"type": "text", "text": before}, *value]
            case list(), str():
                whole[key] = [*before, {"type": "text", "text": value}]
            case _:
                whole[key] = value


def _grown(items: list[Any], pieces: list[Any], *, are_calls: bool) -> list[Any]:
    """A list with more of it: a piece of what has an index goes there, all else is new.

    A call that a server gives no index is known by its id; a piece without one is of the last.
    """
    for piece in pieces:
        last = _last_of(items, piece, are_calls) if isinstance(piece, dict) else None
        if last is None:
            items.append(piece)
        else:
            join(last, piece)
    return items


def _last_of(items: list[Any], piece: Body, are_calls: bool) -> Body | None:
    index, own_id = piece.get("index"), piece.get("id")
    objects = (item for item in reversed(items) if isinstance(item, dict))
    if index is not None:
        return next((item for item in objects if item.get("index") == index), None)
    last = next(objects, None) if are_calls else None
    return last if last and own_id in (None, "", last.get("id")) else None
