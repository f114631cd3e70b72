"""The JSON values inside chat messages: which can be kept exactly, and what they say."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from math import isfinite
from typing import Any, Final

import msgspec

from refold.core.jsonvalue import pointer
from refold.errors import InvalidEvent

MESSAGE_DEPTH_MAX: Final = 100
"""How deep a message may nest: under what an event may, since it is wrapped in one."""


def text_hash(text: str) -> str:
    """SHA-256 of a text in UTF-8, in hex: how a prompt is known."""
    return hashlib.sha256(text.encode()).hexdigest()


def parsed_arguments(arguments: str) -> Any:
    """What a string of tool arguments says; None when it is not JSON that can be stored."""
    try:
        parsed = msgspec.json.decode(arguments)
        check_json(parsed, [])
    except (msgspec.DecodeError, InvalidEvent, RecursionError):
        return None
    return parsed


def text_of(message: Mapping[str, Any]) -> str:
    """The words of a message's content, those of its text parts joined."""
    content = message.get("content")
    if isinstance(content, list):
        texts = (part.get("text") for part in content if isinstance(part, dict))
        return "".join(text for text in texts if isinstance(text, str))
    return content if isinstance(content, str) else ""


def parts_of(message: Mapping[str, Any]) -> list[dict[str, Any]] | None:
    """The content of a message where it is a list of parts and not just text."""
    content = message.get("content")
    if not isinstance(content, list) or not content:
        return None
    return content if all(isinstance(part, dict) for part in content) else None


def json_text(value: Any) -> str:
    """A value as JSON text."""
    return msgspec.json.encode(value).decode()


def check_json(value: Any, path: list[str | int]) -> None:
    """Refuse what would come back changed, or not at all, from its stored JSON."""
    match value:
        case None | bool() | int():
            return
        case float():
            if not isfinite(value):
                raise refused(f"{value} is not a JSON number", path)
        case str():
            _check_text(value, path)
        case dict():
            for key, child in value.items():
                if not isinstance(key, str):
                    raise refused(f"the key {key!r} is not text", path)
                _check_text(key, path)
                check_json(child, _deeper(path, key))
        case list():
            for index, child in enumerate(value):
                check_json(child, _deeper(path, index))
        case _:
            raise refused(f"{type(value).__name__} is not a JSON value", path)


def _check_text(text: str, path: list[str | int]) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise refused("the text holds half of a surrogate pair", path) from error


def _deeper(path: list[str | int], key: str | int) -> list[str | int]:
    if len(path) >= MESSAGE_DEPTH_MAX:
        raise refused(f"nested more than {MESSAGE_DEPTH_MAX} levels deep", path)
    return [*path, key]


def refused(reason: str, path: Iterable[str | int]) -> InvalidEvent:
    """The error for what cannot be represented, with where it stands."""
    return InvalidEvent(reason, path=pointer(path))
