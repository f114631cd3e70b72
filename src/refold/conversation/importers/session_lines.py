"""The lines of a session's log, all of them: what the logs of coding agents have in common."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from refold.conversation.chat_shapes import Unread, check_json
from refold.conversation.importers.base import Problem, read_all
from refold.conversation.importers.json_array import Value, checked
from refold.conversation.importers.source import ImportSource
from refold.conversation.openai_chat import text_or_none
from refold.core.event import Event

LINES_BYTES_MAX = 1024 * 1024 * 1024
"""The largest log of sessions: it is held in memory, whole."""


class SessionLine(NamedTuple):
    """A line or element: its number from 1, the value, and the line of the file it begins on."""

    line: int
    value: Any
    begins: int

    @property
    def holder(self) -> dict[str, Any]:
        """The value, where it is an object; else an empty one."""
        return self.value if isinstance(self.value, dict) else {}

    def text(self, key: str) -> str | None:
        """A text of it; None where it has none."""
        return text_or_none(self.holder.get(key))

    def kept(self, kind: str, is_known: bool, unread: list[Unread]) -> Event:
        """The line as it is, as an event of a type; told where it is not known what it says."""
        check_json(self.value, [])
        if not is_known:
            unread.append(
                Unread("field", "", "a line that is not understood: it stands beside, as it is")
            )
        return Event(kind, self.value if isinstance(self.value, dict) else {"value": self.value})


def read_entries(source: ImportSource) -> Iterator[SessionLine | Problem]:
    """The values on the lines, or the elements; what is broken is a problem."""

    def read(value: Value) -> Iterator[SessionLine]:
        if source.read_bytes > LINES_BYTES_MAX:
            raise ValueError(f"nothing after {LINES_BYTES_MAX} bytes is read")
        yield SessionLine(value.number, checked(value.read()), value.line)

    return read_all(source, read)
