"""The lines of a session's log, all of them: what the logs of coding agents have in common."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from refold.conversation.importers.base import Problem, read_all
from refold.conversation.importers.json_array import Value, checked
from refold.conversation.importers.source import ImportSource

LINES_BYTES_MAX = 1024 * 1024 * 1024
"""The largest log of sessions: it is held in memory, whole."""


class SessionLine(NamedTuple):
    """A line or element: its number from 1, the value, and the line of the file it begins on."""

    line: int
    value: Any
    begins: int


def read_entries(source: ImportSource) -> Iterator[SessionLine | Problem]:
    """The values on the lines, or the elements; what is broken is a problem."""

    def read(value: Value) -> Iterator[SessionLine]:
        if source.read_bytes > LINES_BYTES_MAX:
            raise ValueError(f"nothing after {LINES_BYTES_MAX} bytes is read")
        yield SessionLine(value.number, checked(value.read()), value.line)

    return read_all(source, read)
