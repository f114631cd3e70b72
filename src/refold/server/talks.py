"""Conversations as far as they were told, so that a new trace of one costs what it says itself.

They are in memory alone: what is not here is told of all its traces anew, which comes to the same.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Final

from refold.conversation.importers.spans import Trace
from refold.conversation.importers.telling import Telling
from refold.core.recorded import Recorded

KEPT_CHARS_MAX: Final = 64 * 1024 * 1024
"""So much of what is said is kept in all; beyond it goes what was told longest ago."""
_CHARS_EACH: Final = 32_768
_CHARS_A_TRACE: Final = 1_000
"""What a conversation and a trace of it count for beside what is said in them."""


@dataclass
class ToldTalk:
    """What the ``traces`` come to in which something has the ``tag``, up to a ``position``.

    ``ids`` are those of their spans and parents. ``removed`` is the version of the stream of
    removals when they were read.
    """

    telling: Telling
    tag: str
    removed: int
    position: int
    traces: set[str]
    ids: set[str]

    @property
    def size_chars(self) -> int:
        """How much is kept of it."""
        return self.telling.size_chars + _CHARS_EACH + _CHARS_A_TRACE * len(self.traces)

    def go_on(self, trace: Trace | None, traces: set[str], ids: set[str], position: int) -> bool:
        """Take what came since, to be told next; None holds no call.

        False, and nothing is taken, where it cannot be.
        """
        # A span of a trace may be held by one of another, and a log record be of one.
        if ids & self.ids or (trace and not self.telling.go_on(trace)):
            return False
        self.traces |= traces
        self.ids |= ids
        self.position = position
        return True


class ToldTalks:
    """The conversations that were told last, by their tags."""

    def __init__(self) -> None:
        self._kept: dict[str, tuple[ToldTalk, int]] = {}
        self._new: list[ToldTalk] = []

    def of(self, tags: Collection[str], removed: int) -> ToldTalk | None:
        """The conversation of the only tag; None where it is not known, or something was removed.

        It is known no more when it is added, until :meth:`keep_new`.
        """
        talk, _ = self._kept.get(min(tags), (None, 0)) if len(tags) == 1 else (None, 0)
        return talk if talk and talk.removed == removed else None

    def add(self, talk: ToldTalk) -> None:
        """Take a conversation that is being told."""
        self._kept.pop(talk.tag, None)
        self._new.append(talk)

    def forget(self, trace: str) -> None:
        """Something came of a trace, which may be told already."""
        held = [tag for tag, (talk, _) in self._kept.items() if trace in talk.traces]
        for tag in held:
            del self._kept[tag]

    def forget_new(self) -> None:
        """Nobody knows how far those were told that were added last."""
        self._new = []

    def keep_new(self) -> None:
        """Know those that were added, now that they are told and nothing in them is open."""
        for talk in self._new:
            if talk.telling.is_settled:
                self._kept[talk.tag] = (talk, talk.size_chars)
        self._new = []
        while sum(size for _, size in self._kept.values()) > KEPT_CHARS_MAX:
            del self._kept[next(iter(self._kept))]


def ids_in(received: Iterable[Recorded]) -> set[str]:
    """The ids of spans that records name as their own or their parent."""
    records = [one.data["record"] for one in received]
    parents = {one.get("parentSpanId", "") for one in records} - {""}
    return parents | {one["spanId"] for one in records}
