"""What a page lists: conversations, their turns, where a metric differs; filled one by one."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from heapq import nlargest
from statistics import fmean
from typing import Any, Final

from refold.core.recorded import Recorded
from refold.replay.actions import LEVELS, NOT_COMPARED, ConversationComparison, known
from refold.replay.arms import itself
from refold.replay.decision import Action, decisions
from refold.replay.metrics import Metric
from refold.replay.recorded import RecordedTask, RecordedTry
from refold.replay.report import render, turns
from refold.replay.report.links import Link, anchor, event_anchor
from refold.replay.report.paging import Paged
from refold.replay.report.patterns import Patterns

CONVERSATIONS_SHOWN_MAX: Final = 10_000
"""Those after them are counted and listed, without their turns."""
ROWS_A_PAGE: Final = 200
PLACES_A_PAGE: Final = 400
TURNS_A_PAGE: Final = 50
DIFFERING_SHOWN: Final = 50
OF_LEVELS: Final = ("broken_answers", "same_action", "same_calls", "same_words")
"""The metrics of which each decision has a level, by which they are listed."""


class Differing:
    """The places behind a metric, each with its two values: where these are furthest apart."""

    def __init__(self) -> None:
        self.count, self._found = 0, list[tuple[list[Link], Any, Any]]()

    def add(self, links: list[Link], before: Any, after: Any) -> None:
        """One more place; where a value is not known, or both are the same, it is none."""
        if before is None or after is None or before == after:
            return
        self.count += 1
        self._found.append((links, before, after))
        if len(self._found) > 50 * DIFFERING_SHOWN:
            self._found = self.found

    @property
    def found(self) -> list[tuple[list[Link], Any, Any]]:
        """The largest differences, the first of them first."""
        return nlargest(DIFFERING_SHOWN, self._found, key=lambda one: abs(one[2] - one[1]))


class _Shown:
    """The conversations whose turns the page shows, and what is behind its metrics.

    The rows of ``whole`` are behind each, unless it has one of the ``places``.
    """

    whole: str
    places: Mapping[str, str] = {}

    def __init__(self) -> None:
        self._shown: set[str] = set()
        self.rows = Paged(ROWS_A_PAGE)
        self.turns = Paged(TURNS_A_PAGE)
        self.behind = defaultdict[str, Differing](Differing)

    def event(self, stream: str, event_id: str) -> Link:
        """An event's id, as a link where its conversation is on the page."""
        return Link(event_id, event_anchor(stream, event_id) if stream in self._shown else None)

    def conversation(self, stream: str) -> Link:
        """A conversation's name, as a link where it is on the page."""
        return Link(stream, anchor(f"conversation:{stream}") if stream in self._shown else None)

    def place_of(self, metric: str) -> str:
        """The anchor of what is behind a metric: where its values differ, else all there is."""
        own = anchor(f"metric:{metric}")
        return own if self.behind[metric].count else self.places.get(metric, self.whole)

    def _show(
        self,
        macro: str,
        one: ConversationComparison,
        history: Sequence[Recorded],
        *about: object,
        until: int | None = None,
    ) -> None:
        if len(self._shown) < CONVERSATIONS_SHOWN_MAX:
            self._shown.add(one.stream)
            place = self.conversation(one.stream)
            rows = turns.conversation_rows(one, history, until)
            written = render.macro("conversation.html", macro, place, rows, *about)
            self.turns.add(written, place.anchor or "")


class Lists(_Shown):
    """The lists of a replay; each is read by the template once every conversation was added."""

    whole = "conversations"
    places = dict.fromkeys(OF_LEVELS, "turns")

    def __init__(self) -> None:
        super().__init__()
        self.levels = {level: Paged(PLACES_A_PAGE) for level in LEVELS}
        self.not_compared, self.same = Paged(PLACES_A_PAGE), Paged(PLACES_A_PAGE)
        self.patterns = Patterns()

    def add(self, one: ConversationComparison, history: Sequence[Recorded]) -> None:
        """One more conversation, what was redacted left out of it already."""
        self._show("replayed", one, history, one)
        self.rows.add(render.macro("rows.html", "row", one, self))
        if one.same_action:
            self.same.add(_place(self.conversation(one.stream)))
        for decision in one.decisions:
            link = self.event(one.stream, decision.at)
            self.levels[decision.level].add(_place(link))
            if decision.level in NOT_COMPARED:
                self.not_compared.add(render.macro("rows.html", "left_out", link, decision))
            self.patterns.add(link, decision)
            old, new = decision.recorded, decision.candidate or Action()
            for name in ("cost", "latency_ms"):
                self.behind[name].add([link], getattr(old, name), getattr(new, name))
            for name, score in decision.scores.items():
                self.behind[name].add([link], decision.recorded_scores.get(name), score)


class TaskLists(_Shown):
    """The lists of two recordings; ``metrics`` are those that are told, what decides first.

    ``read`` gives the events of a stream.
    """

    whole = "tasks"

    def __init__(
        self, metrics: Sequence[Metric], read: Callable[[str], Iterable[Recorded]]
    ) -> None:
        super().__init__()
        self.metrics, self._read = metrics, read

    def add(self, task: RecordedTask) -> None:
        """One more task, with its conversations."""
        values = [(of, _mean(task.a, of.name), _mean(task.b, of.name)) for of in self.metrics]
        level = _level(*values[0])
        for side, tries in (("a", task.a), ("b", task.b)):
            for one in tries:
                history = list(self._read(one.stream))
                held = history if one.until is None else history[: one.until + 1]
                # Something may have been redacted since.
                made = turns.without_redacted(itself(one.stream, decisions(held)), history)
                about = (f"{task.task}, {side}", one.values, self.metrics, level)
                self._show("recorded", made, history, *about, until=one.until)
        links = [[self.conversation(one.stream) for one in side] for side in (task.a, task.b)]
        self.rows.add(render.macro("rows.html", "task", task, links, values, level))
        for metric, before, after in values:
            self.behind[metric.name].add([*links[1], *links[0]], before, after)


def _mean(tries: Iterable[RecordedTry], name: str) -> float | None:
    told = known(one.values.get(name) for one in tries)
    return fmean(told) if told else None


def _level(metric: Metric, before: float | None, after: float | None) -> str:
    """How b did beside a."""
    if before is None or after is None:
        return "unknown"
    if before == after:
        return "same"
    if metric.direction is None:
        return "changed"
    return "better" if (after > before) == (metric.direction == "higher") else "worse"


def _place(link: Link) -> str:
    return render.macro("rows.html", "place", link)
