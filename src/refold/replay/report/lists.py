"""What a page lists: conversations, their turns, where a metric differs; filled one by one."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from heapq import nlargest
from statistics import fmean
from typing import Any, ClassVar, Final

from msgspec.structs import replace

from refold.conversation.attributes import REWARD
from refold.core.recorded import Recorded
from refold.replay.actions import NOT_COMPARED, ConversationComparison, DecisionComparison, known
from refold.replay.answer import Verdict, Verdicts
from refold.replay.arms import itself
from refold.replay.compare import AnsweredBeside
from refold.replay.decision import Action, decisions
from refold.replay.figures import is_same_action
from refold.replay.metrics import METRICS, Metric, Observation, observations
from refold.replay.pairing import pairs_of
from refold.replay.recorded import RecordedTask, RecordedTry
from refold.replay.report import render, turns
from refold.replay.report.courses import course_rows
from refold.replay.report.links import Link, anchor, event_anchor
from refold.replay.report.paging import Pack, Paged
from refold.replay.report.patterns import Patterns
from refold.replay.report.turns import Read, nothing_read

CONVERSATIONS_SHOWN_MAX: Final = 10_000
"""Those after them are counted and listed, without their turns."""
ROWS_A_PAGE: Final = 200
PLACES_A_PAGE: Final = 400
TURNS_A_PAGE: Final = 50
DIFFERING_SHOWN: Final = 50
OF_CONTROL: Final = "control:"
"""How the names of the control's lists begin."""
_WON: Final = ("neither", "only-b", "only-a", "both")
"""The lists of two recordings, by twice whether a did it, and once whether b did."""
BESIDE_RECORD: Final = ("cost", "latency_ms")
"""What is set against the record too, as a whole."""


class Furthest:
    """Places with two values, those of them where these are furthest apart."""

    def __init__(self) -> None:
        self._found = list[tuple[str, float, float]]()

    def add(self, place: str, before: Any, after: Any) -> None:
        """One more place; where a value is not known, or both are the same, it is none."""
        if before is None or after is None or before == after:
            return
        self._found.append((place, float(before), float(after)))
        if len(self._found) > 50 * DIFFERING_SHOWN:
            self._found = self.found

    @property
    def found(self) -> list[tuple[str, float, float]]:
        """The largest differences, the first of them first."""
        return nlargest(DIFFERING_SHOWN, self._found, key=lambda one: abs(one[2] - one[1]))


class _Shown:
    """The conversations whose turns the page shows, and a list behind each of its figures.

    ``at`` has the lists by the anchors that lead to them, ``all`` is that of what was compared.
    ``pack`` is where their pages wait.
    """

    all: ClassVar[str]

    def __init__(self, verdicts: Verdicts, pack: Pack) -> None:
        self.verdicts = [*verdicts]
        self.at = defaultdict[str, Paged](self._places)
        self.rows = Paged(pack, ROWS_A_PAGE)
        self.turns = Paged(pack, TURNS_A_PAGE)
        self._pack, self._shown = pack, set[str]()
        self._furthest = defaultdict[tuple[str, Metric], Furthest](Furthest)

    def _places(self) -> Paged:
        return Paged(self._pack, PLACES_A_PAGE)

    def event(self, stream: str, event_id: str) -> Link:
        """An event's id, as a link where its conversation is on the page."""
        return Link(event_id, event_anchor(stream, event_id) if stream in self._shown else None)

    def conversation(self, stream: str) -> Link:
        """A conversation's name, as a link where it is on the page."""
        return Link(stream, anchor(f"conversation:{stream}") if stream in self._shown else None)

    def behind(self, metric: Metric, side: str = "") -> str:
        """The anchor of the list behind a metric: where the sides differ, or what is of one."""
        return anchor(f"metric:{metric.name}") + (side and f":{side}")

    def finish(self) -> None:
        """Make lists of what is known only when all was seen."""
        for (name, metric), furthest in self._furthest.items():
            for place, before, after in furthest.found:
                self.at[name].add(_valued(place, before, after, metric))

    def _measure(
        self,
        verdict: Verdict,
        candidate: Iterable[Observation],
        control: Iterable[Observation],
        places: Mapping[str, str],
    ) -> None:
        """Put what both sides gave for items, which have ``places``, behind a verdict's figures."""
        metric, name = verdict.metric, self.behind(verdict.metric)
        for one in pairs_of(candidate, control):
            where, (after, before) = places[one.item], one.means
            if not one.is_whole:
                self.at[f"{name}:unknown"].add(where)
            for side, value in zip(verdict.sides, (after, before), strict=True):
                if value is not None and falls_short(metric, value):
                    self.at[f"{name}:{side}"].add(_valued(where, None, value, metric))
            if metric.unit != "share":
                self._furthest[name, metric].add(where, before, after)
            elif None not in (before, after) and before != after:
                self.at[name].add(_valued(where, before, after, metric))

    def _show(
        self,
        macro: str,
        one: ConversationComparison,
        rows: Iterable[turns.TurnRow],
        *about: object,
    ) -> None:
        if len(self._shown) < CONVERSATIONS_SHOWN_MAX:
            self._shown.add(one.stream)
            place = self.conversation(one.stream)
            written = render.macro("conversation.html", macro, place, rows, *about)
            self.turns.add(written, place.anchor or "")


class Lists(_Shown):
    """The lists of a replay; each is read by the template once every conversation was added.

    ``scored`` are the metrics of checks and of a judge, each a column of the conversations.
    """

    all = "conversations"

    def __init__(self, verdicts: Verdicts, pack: Pack, *, has_control: bool) -> None:
        super().__init__(verdicts, pack)
        self.patterns = Patterns(self._places)
        self.scored = [one.metric for one in verdicts if one.metric.name not in METRICS]
        self._has_control = has_control

    def add(
        self, pair: AnsweredBeside, history: Sequence[Recorded], read: Read = nothing_read
    ) -> None:
        """One more conversation, with what both sides answered; ``read`` gives their branches."""
        for number, compared in enumerate(pair.candidate):
            # A further sample stands under the name of its branch: each turn has its own place.
            own = replace(compared, stream=compared.branch) if number else compared
            own = turns.without_redacted(own, history)
            is_parted = compared.led is not None and compared.led.parted is not None
            course = list(read(compared.branch)) if is_parted else []
            self._answered(own, course_rows(own, history, course))
        decided = pair.candidate[0].decisions
        places = {one.at: place_of(self.event(pair.stream, one.at)) for one in decided}
        for control in pair.against if self._has_control else ():
            self._count(OF_CONTROL, control, pair.stream, places)
        for verdict in self.verdicts:
            is_early = verdict.looks == "any"
            new, old = (
                observations(of, verdict.metric, is_early=is_early)
                for of in (pair.candidate, pair.against)
            )
            self._measure(verdict, new, old, places)

    def _answered(self, one: ConversationComparison, rows: Iterable[turns.TurnRow]) -> None:
        self._show("replayed", one, rows, one)
        scores = [(of, mean_of(observations([one], of))) for of in self.scored]
        self.rows.add(render.macro("rows.html", "row", one, self, scores))
        places = {each.at: place_of(self.event(one.stream, each.at)) for each in one.decisions}
        self._count("", one, one.stream, places)
        for decision in one.decisions:
            place = places[decision.at]
            self.at[f"level:{decision.level}"].add(place)
            self.patterns.add(place, decision)
            old, new = decision.recorded, decision.candidate or Action()
            if new.attempts > 1:
                self.at["tried-again"].add(place)
            for name in BESIDE_RECORD:
                beside = self._furthest[f"recorded:{name}", METRICS[name]]
                beside.add(place, getattr(old, name), getattr(new, name))

    def _count(
        self, side: str, one: ConversationComparison, stream: str, places: Mapping[str, str]
    ) -> None:
        """Put the decisions of a conversation behind the figures of a side."""
        if one.same_action is not None:
            name = "same-throughout" if one.same_action else "other-throughout"
            self.at[side + name].add(place_of(self.conversation(stream)))
        for decision in one.decisions:
            if decision.level in NOT_COMPARED:
                link = self.event(stream, decision.at)
                left_out = render.macro("rows.html", "left_out", link, decision)
                self.at[side + why_left_out(decision, is_begun=one.is_begun)].add(left_out)
                continue
            name = "same-action" if is_same_action(decision) else "other-action"
            name = name if decision.is_assessed else "not-assessed"
            self.at[side + name].add(places[decision.at])
            did = "called" if decision.recorded.calls else "spoke"
            self.at[f"{side}{did}:{'same' if is_same_action(decision) else 'other'}"].add(
                places[decision.at]
            )


def why_left_out(decision: DecisionComparison, *, is_begun: bool) -> str:
    """The list of a decision without an outcome: see :class:`~refold.replay.figures.Accounting`."""
    if decision.is_later:
        return "later"
    if decision.level in ("failed", "conditional", "excluded"):
        return decision.level
    return "missing" if is_begun else "never-begun"


class TaskLists(_Shown):
    """The lists of two recordings; ``read`` gives the events of a stream."""

    all = "tasks"

    def __init__(self, verdicts: Verdicts, pack: Pack, read: Read) -> None:
        super().__init__(verdicts, pack)
        self.metrics, self._read = [one.metric for one in verdicts], read

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
                rows = turns.conversation_rows(made, history, one.until)
                self._show("recorded", made, rows, *about)
        links = [[self.conversation(one.stream) for one in side] for side in (task.a, task.b)]
        self.rows.add(render.macro("rows.html", "task", task, links, values, level))
        place = render.macro("rows.html", "task_place", task, links)
        won, also = (_mean(of, REWARD) == 1 for of in (task.a, task.b))
        self.at[f"outcome:{_WON[2 * won + also]}"].add(place)
        for verdict in self.verdicts:
            new, old = (task.observed(side, verdict.metric.name) for side in "ba")
            self._measure(verdict, new, old, {task.task: place})


def falls_short(metric: Metric, value: float) -> bool:
    """Whether a share is not as good as it can be, or not all of what a metric without good is."""
    return metric.unit == "share" and (value > 0 if metric.direction == "lower" else value < 1)


def mean_of(found: Iterable[Observation]) -> float | None:
    """The mean of the values that are known; None of none."""
    told = known(one.value for one in found)
    return fmean(told) if told else None


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


def place_of(link: Link) -> str:
    """A place of a list."""
    return render.macro("rows.html", "place", link)


def _valued(place: str, before: float | None, after: float | None, metric: Metric) -> str:
    return render.macro("rows.html", "valued", place, before, after, metric)
