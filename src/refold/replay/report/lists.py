"""What the page lists: conversations, their turns, decisions by level; filled one by one."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Any, Final

from refold.core.recorded import Recorded
from refold.replay.actions import LEVELS, NOT_COMPARED, ConversationComparison
from refold.replay.report import render, turns
from refold.replay.report.links import Link, Links
from refold.replay.report.paging import Paged
from refold.replay.report.patterns import Patterns

CONVERSATIONS_SHOWN_MAX: Final = 10_000
"""Those after them are counted and listed, without their turns."""
ROWS_A_PAGE: Final = 200
PLACES_A_PAGE: Final = 400
TURNS_A_PAGE: Final = 50
LARGEST_SHOWN: Final = 10

Amount = Decimal | float


class Lists:
    """The lists of the page; each is read by the template once every conversation was added."""

    def __init__(self) -> None:
        self._shown: set[str] = set()
        self.links = Links(self._shown)
        self.rows = _paged(ROWS_A_PAGE)
        self.turns = _paged(TURNS_A_PAGE)
        self.levels = {level: _paged(PLACES_A_PAGE) for level in LEVELS}
        self.not_compared, self.same = _paged(PLACES_A_PAGE), _paged(PLACES_A_PAGE)
        self.dearest, self.slowest = Largest(), Largest()
        self.patterns = Patterns()

    def add(self, one: ConversationComparison, history: Sequence[Recorded]) -> None:
        """One more conversation, what was redacted left out of it already."""
        if len(self._shown) < CONVERSATIONS_SHOWN_MAX:
            self._shown.add(one.stream)
            place = self.links.conversation(one.stream)
            rows = turns.conversation_rows(one, history)
            written = render.macro("conversation.html", "conversation", one, rows, place)
            self.turns.add(written, place.anchor or "")
        self.rows.add(render.macro("rows.html", "row", one, self.links))
        if one.same_action:
            self.same.add(_place(self.links.conversation(one.stream)))
        for decision in one.decisions:
            link = self.links.event(one.stream, decision.at)
            self.levels[decision.level].add(_place(link))
            if decision.level in NOT_COMPARED:
                self.not_compared.add(render.macro("rows.html", "left_out", link, decision))
            self.dearest.add(link, decision.cost_delta)
            self.slowest.add(link, decision.latency_delta_ms)
            self.patterns.add(link, decision)


class Largest:
    """Where an amount is furthest from 0, the first of them first."""

    def __init__(self) -> None:
        self._found: list[tuple[Link, Amount]] = []

    def add(self, link: Link, amount: Any) -> None:
        """One more amount; None is none."""
        if amount is not None:
            self._found.append((link, amount))
        if len(self._found) > 50 * LARGEST_SHOWN:
            self._found = self.found

    @property
    def found(self) -> list[tuple[Link, Amount]]:
        """The largest, with the places where they stand."""
        largest = sorted(self._found, key=lambda one: abs(float(one[1])), reverse=True)
        return largest[:LARGEST_SHOWN]


def _paged(size: int) -> Paged:
    return Paged(size, render.finished)


def _place(link: Link) -> str:
    return render.macro("rows.html", "place", link)
