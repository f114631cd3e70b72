"""The lines of a session's log, all of them: what the logs of coding agents have in common."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final

from refold.conversation.chat_shapes import Unread, check_json
from refold.conversation.importers.base import (
    Conversations,
    Found,
    Problem,
    losses,
    read_all,
    tried,
)
from refold.conversation.importers.fields import FieldReader
from refold.conversation.importers.json_array import Value
from refold.conversation.importers.source import ImportSource
from refold.conversation.openai_chat import text_or_none
from refold.core.event import Event

LINES_BYTES_MAX: Final = 1024 * 1024 * 1024
"""The largest log of sessions: it is held in memory, whole."""


class SessionLine(FieldReader):
    """A line or element: its ``value``, its number from 1, and the line of the file it begins on.

    Its fields are none where it is no object.
    """

    def __init__(self, value: Any, line: int, begins: int) -> None:
        super().__init__(value if isinstance(value, dict) else {}, [])
        self.value, self.line, self.begins = value, line, begins

    def text(self, key: str) -> str | None:
        """A text of it; None where it has none."""
        return text_or_none(self.holder.get(key))

    def kept(self, kind: str, is_known: bool) -> Event:
        """The line as it is, as an event of a type; told where it is not known what it says."""
        check_json(self.value, [])
        if not is_known:
            said = self.text("type")
            what = f"a line of the type {said!r:.50}" if said else "a line without a type"
            why = f"{what} is not understood: it is kept whole, as a {kind} event"
            self.unread.append(Unread("field", "", why))
        return Event(kind, self.value if isinstance(self.value, dict) else {"value": self.value})


def read_sessions(
    source: ImportSource,
    sessions_of: Callable[[list[SessionLine]], dict[str, list[SessionLine]]],
    read: Callable[[str, list[SessionLine]], Found],
) -> Conversations:
    """The sessions of a log by their names, each of its lines; what is broken is a problem."""

    def line(value: Value) -> Iterator[SessionLine]:
        if source.read_bytes > LINES_BYTES_MAX:
            raise ValueError(f"nothing after {LINES_BYTES_MAX} bytes is read")
        yield SessionLine(value.read_whole(), value.number, value.line)

    def session(name: str, lines: list[SessionLine]) -> Found:
        found = read(name, lines)
        loss = [lost for one in lines for lost in losses(f"{source.name}:{one.line}", one.unread)]
        return found._replace(file=source.name, line=lines[0].begins, loss=loss)

    entries: list[SessionLine] = []
    for one in read_all(source, line):
        if isinstance(one, Problem):
            yield one
        else:
            entries.append(one)
    for name, lines in sessions_of(entries).items():
        yield from tried(source, lines[0].begins, session, name, lines)
