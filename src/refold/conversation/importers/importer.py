"""What importers take and give, and which there are."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Final, NamedTuple, Self

import msgspec

from refold.conversation.chat_export import Loss
from refold.conversation.events import Tool
from refold.conversation.importers.source import Source
from refold.errors import UsageError

GROUP: Final = "refold.importers"
"""The entry points of plug-ins: a format's name, and where its :class:`Importer` is."""
BUILT_IN: Final = (
    EntryPoint("tau-bench", "refold.conversation.importers.tau_bench:TAU_BENCH", GROUP),
    EntryPoint("openai-chat", "refold.conversation.importers.openai_chat:OPENAI_CHAT", GROUP),
)
LISTED_MAX: Final = 10_000
"""How many problems, and how many losses, a report lists; all are counted."""

Progress = Callable[[int, int | None], None]
"""Called with the bytes read so far and their total, None where that is not known."""


class Problem(NamedTuple):
    """Something in the input that is not as it should be; ``line`` counts from 1, 0: the file.

    ``stream`` names the conversation it is about, where it has come to have a name.
    """

    file: str
    line: int
    message: str
    stream: str | None = None


class Fork(NamedTuple):
    """A history that leaves another: events after version ``at`` of the stream ``of``."""

    stream: str
    of: str
    at: int
    events: Sequence[Any]
    variant: Mapping[str, Any]


class Found(NamedTuple):
    """A conversation as an importer found it: one stream, appended whole or not at all."""

    stream: str
    events: Sequence[Any]
    line: int
    metadata: Mapping[str, Any] = {}
    problems: Sequence[Problem] = ()
    loss: Sequence[Loss] = ()
    forks: Sequence[Fork] = ()


class Options(NamedTuple):
    """``category`` begins the names of the streams; ``tools`` are those the agent was offered."""

    category: str | None = None
    tools: Sequence[Tool] = ()


class Importer(NamedTuple):
    """A format: how it is read, and what ``refold import NAME`` says of it.

    ``read`` gives the conversations of a source in its order, read as far as they are asked for;
    a :class:`Problem` by itself is one that failed. ``summary`` and ``example`` are the help of
    the command.
    """

    name: str
    read: Callable[[Source, Options], Iterator[Found | Problem]]
    summary: str
    example: str

    @staticmethod
    def names() -> list[str]:
        """The formats that can be imported: the built-in ones, then those of plug-ins."""
        return list(_points())

    @classmethod
    def named(cls, name: str) -> Self:
        """The importer of a format, loaded now; UsageError where there is none that loads."""
        points = _points()
        if name not in points:
            raise UsageError(f"no format {name!r}: give {', '.join(points)}", format=name)
        try:
            found = points[name].load()
        except Exception as error:  # A plug-in is anyone's code.
            where = points[name].value
            raise UsageError(f"the importer {where} cannot be had: {error!r}") from error
        if not isinstance(found, cls):
            raise UsageError(f"{points[name].value} is not an Importer: {found!r}", format=name)
        return found


def _points() -> dict[str, EntryPoint]:
    """By name; a plug-in does not take the place of a built-in format."""
    built_in = {point.name: point for point in BUILT_IN}
    return built_in | {point.name: point for point in entry_points(group=GROUP)} | built_in


class ImportReport(msgspec.Struct, kw_only=True):
    """What an import did.

    ``imported``, ``unchanged`` and ``failed`` count conversations, ``events`` those stored, and
    ``branches`` the forks kept beside their conversation. ``problems`` and ``loss`` list at most
    10,000 each; ``problem_count`` and ``loss_count`` count all.
    """

    format: str
    imported: int = 0
    unchanged: int = 0
    failed: int = 0
    events: int = 0
    branches: int = 0
    problem_count: int = 0
    loss_count: int = 0
    problems: list[Problem] = []
    loss: list[Loss] = []

    @property
    def ok(self) -> bool:
        """Whether everything was as it should be."""
        return self.problem_count == 0
