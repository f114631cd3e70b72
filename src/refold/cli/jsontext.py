"""JSON that a person typed: errors name the place."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import msgspec

from refold.errors import InvalidEvent, UsageError
from refold.jsontext import exact, read

FILE_BYTES_MAX: Final = 64 * 1024 * 1024
_NUMBERS: Final = (int, float, Decimal)


def parsed(text: str, *, source: str, first_line: int = 1) -> Any:
    """The value, its numbers to the last digit; :class:`InvalidEvent` where it is not JSON.

    That has source, line and column; ``first_line`` is the line of ``source`` that the text begins
    on.
    """
    try:
        return read(text)
    except json.JSONDecodeError as error:
        line = first_line + error.lineno - 1
        what = f"{source}, line {line}, column {error.colno}: not JSON: {error.msg}"
        raise InvalidEvent(what, source=source, line=line, column=error.colno) from error
    except (RecursionError, ValueError, UsageError) as error:
        what = f"{source}, line {first_line}: cannot be kept as JSON: {error}"
        raise InvalidEvent(what, source=source, line=first_line) from error


def lost(given: Any, had: Any, at: str = "") -> Iterator[str]:
    """The numbers of a value that a reader has not as they were given, with where they stand."""
    if isinstance(given, dict) and isinstance(had, dict):
        for key in given.keys() & had.keys():
            yield from lost(given[key], had[key], f"{at}/{key}")
    elif isinstance(given, list) and isinstance(had, list):
        for index, (one, other) in enumerate(zip(given, had, strict=False)):
            yield from lost(one, other, f"{at}/{index}")
    elif isinstance(given, _NUMBERS) and isinstance(had, _NUMBERS) and given != had:
        yield f"{given} at {at!r} has more digits than are kept of it: {had}"


def floats(value: Any, *, source: str) -> Any:
    """A value for who reads numbers as floats: one that would be rounded is refused."""
    for what in lost(value, msgspec.json.decode(exact(value))):
        raise UsageError(f"{source}: {what}")
    return value


def argument(given: str, *, option: str) -> Any:
    """The JSON of an option: its text, of a file (``@file``), or of stdin (``-``)."""
    if given == "-":
        return parsed(stdin(), source="stdin")
    if given.startswith("@"):
        return parsed(file_text(given[1:]), source=given[1:])
    return parsed(given, source=option)


def file_text(name: str) -> str:
    """The text of a file that the user named."""
    try:
        return file_bytes(name).decode()
    except UnicodeDecodeError as error:
        raise UsageError(f"{name} is not UTF-8 text: {error.reason}", path=name) from error


def file_bytes(name: str, *, bytes_max: int = FILE_BYTES_MAX) -> bytes:
    """What a file holds, up to a bound."""
    try:
        with Path(name).open("rb") as file:
            content = file.read(bytes_max + 1)
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise UsageError(f"{name} cannot be read: {why}", path=name) from error
    if len(content) > bytes_max:
        raise UsageError(f"{name} is over {bytes_max} bytes", path=name)
    return content


def stdin() -> str:
    """All of stdin."""
    try:
        return sys.stdin.read()
    except UnicodeDecodeError as error:
        raise UsageError(f"stdin is not UTF-8 text: {error.reason}") from error
