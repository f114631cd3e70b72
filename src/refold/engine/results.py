"""What the store's verbs take and give beside events."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from refold.core.event import event_id
from refold.core.expected import ANY, Expected
from refold.errors import RefoldError
from refold.ports import Committed


class Append(NamedTuple):
    """An append as a value: what :meth:`refold.Store.append` takes.

    In ``append_together`` the parts have no ``key`` of their own: the whole has one. ``tags`` are
    names that queries find the append by; they are kept as ``tags`` in its metadata.
    """

    stream: str
    events: Sequence[object]
    expected: Expected = ANY
    metadata: Mapping[str, Any] | None = None
    key: str | None = None
    tags: Sequence[str] = ()


class Appended(NamedTuple):
    """What an append stored.

    ``version`` and ``position`` are those of its last event, so ``version`` is what the next
    append of the same writer expects. ``duplicate``: its key had stored it before.
    """

    stream: str
    version: int
    position: int
    event_count: int
    recorded_at_us: int
    duplicate: bool = False

    @property
    def ids(self) -> list[str]:
        """The ids of the events, in order."""
        first = self.version - self.event_count + 1
        return [event_id(self.stream, first + index) for index in range(self.event_count)]


def appended(outcome: Committed | RefoldError) -> list[Appended]:
    """A stored batch as its callers see it, one answer a part; a refused one is raised."""
    if isinstance(outcome, RefoldError):
        raise outcome
    placed, at, duplicate = outcome
    return [
        Appended(stream, version + size - 1, position + size - 1, size, at, duplicate)
        for stream, position, version, size in placed
    ]
