"""JSON that a person typed: errors name the place."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, Final

from refold.errors import InvalidEvent, UsageError

FILE_BYTES_MAX: Final = 64 * 1024 * 1024


def parsed(text: str, *, source: str, first_line: int = 1) -> Any:
    """The value; :class:`InvalidEvent` with source, line and column where it is not JSON.

    ``first_line`` is the line of ``source`` that the text begins on.
    """
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        line = first_line + error.lineno - 1
        what = f"{source}, line {line}, column {error.colno}: not JSON: {error.msg}"
        raise InvalidEvent(what, source=source, line=line, column=error.colno) from error
    except (RecursionError, ValueError) as error:
        what = f"{source}, line {first_line}: cannot be kept as JSON: {error}"
        raise InvalidEvent(what, source=source, line=first_line) from error


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
