"""What a candidate does differently: the changes of tools and arguments that decisions share."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any, Final

import msgspec

from refold.replay.actions import DecisionComparison
from refold.replay.report.formatting import VALUES_SHOWN, value_text
from refold.replay.report.paging import Paged

KINDS_MAX: Final = 10_000
"""Rarer changes than can be told apart by then are not counted one by one."""
_INDEX: Final = re.compile(r"/\d+(?=/|$)")


class CommonChange(msgspec.Struct):
    """A change that some decisions have in common; ``places`` are these.

    ``befores`` and ``afters`` are the tools called on either side ("" for words alone) or, at
    ``path`` of the arguments of ``tool``, some of the values that were seen ("" for none).
    """

    tool: str
    path: str
    places: Paged
    befores: dict[str, None] = {}
    afters: dict[str, None] = {}


class Patterns:
    """Common changes, found one decision at a time; ``listed`` makes a list of places."""

    def __init__(self, listed: Callable[[], Paged]) -> None:
        self._listed = listed
        self._found: dict[tuple[str, ...], CommonChange] = {}

    def add(self, place: str, decision: DecisionComparison) -> None:
        """One more decision, and a link to it."""
        counted = set()
        for tool, path, before, after in _changes(decision):
            key = (tool, path) if path else (tool, before, after)
            if key not in self._found and len(self._found) >= KINDS_MAX:
                continue
            if (pattern := self._found.get(key)) is None:
                pattern = self._found[key] = CommonChange(tool, path, self._listed())
            for seen, value in ((pattern.befores, before), (pattern.afters, after)):
                if len(seen) <= VALUES_SHOWN:
                    seen[value] = None
            # The same change twice in one decision is one place.
            if key not in counted:
                counted.add(key)
                pattern.places.add(place)

    @property
    def found(self) -> list[CommonChange]:
        """The changes, the most frequent first."""
        return sorted(self._found.values(), key=lambda pattern: -pattern.places.count)


def _changes(decision: DecisionComparison) -> Iterator[tuple[str, str, str, str]]:
    """Each change of a decision: its tool and path ("" for other tools), before and after."""
    if decision.level == "tools" and decision.candidate is not None:
        sides = (decision.recorded.calls, decision.candidate.calls)
        before, after = (" + ".join(call.name for call in calls) for calls in sides)
        yield "", "", before, after
    elif decision.level == "arguments":
        for pair in decision.pairs:
            for change in pair.changes:
                path = _INDEX.sub("/…", change.path) or "/"
                yield pair.recorded.name, path, _value(change.before), _value(change.value)


def _value(value: Any) -> str:
    return "" if value is msgspec.UNSET else value_text(value)
