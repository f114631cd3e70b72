"""What importers take and give."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple, Protocol

import msgspec

from refold.conversation.events import Tool
from refold.conversation.importers.source import Source
from refold.conversation.openai_chat import Loss

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


class Importer(Protocol):
    """A format: what it finds in a source. A :class:`Problem` by itself is one that failed."""

    def __call__(self, source: Source, options: Options) -> Iterator[Found | Problem]:
        """The conversations of a source, in its order, read as far as they are asked for."""
        ...


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
