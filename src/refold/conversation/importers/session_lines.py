"""The lines of a session's log, all of them: what the logs of coding agents have in common."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from refold.conversation.importers.base import Problem
from refold.conversation.importers.source import ImportSource
from refold.core.jsonvalue import read
from refold.errors import UsageError

LINES_BYTES_MAX = 1024 * 1024 * 1024
"""The largest log of sessions: it is held in memory, whole."""


class SessionLine(NamedTuple):
    """A line or element: its number from 1, the value, and the line of the file it begins on."""

    line: int
    value: Any
    begins: int


def read_entries(source: ImportSource, problems: list[Problem]) -> Iterator[SessionLine]:
    """The values on the lines, or the elements; what is broken becomes a problem."""
    for value in source.values():
        if source.read_bytes > LINES_BYTES_MAX:
            why = f"nothing after {LINES_BYTES_MAX} bytes is read"
            problems.append(Problem(source.name, value.line, why))
            return
        try:
            if value.error:
                raise ValueError(value.error)
            yield SessionLine(value.number, read(value.raw), value.line)
        except (ValueError, RecursionError, UsageError) as error:
            problems.append(Problem(source.name, value.line, f"{value.place}{error}"))
