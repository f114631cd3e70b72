"""What became of every recorded decision where a candidate went on with its own answers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Literal, NamedTuple

import msgspec
from msgspec.structs import replace

from refold.conversation.events import ModelFailed, Usage
from refold.core.recorded import Recorded
from refold.replay.actions import AS_RECORDED, Terms, compare_actions
from refold.replay.course import EXCLUDING, Turn
from refold.replay.decision import Action, Call, Decision, decisions, total_usage
from refold.replay.events import ReplayDiverged
from refold.replay.faults import offered_by

Standing = Literal["comparable", "diverged", "conditional", "excluded", "failed", "missing"]
"""What a recorded decision is to a course that is not its own.

``comparable``: all before it went as recorded, and so did it. ``diverged``: the first that did not.
``conditional``: all after that, as a recorded user answered another agent. ``excluded``: out of
reach for no fault of the agent's. ``failed``: the candidate gave no answer there. ``missing``: it
was not come to.
"""


class PlacedDecision(NamedTuple):
    """A recorded decision in a course: what it is to it, and what the candidate did in its place.

    ``answer`` is the event that holds that; ``why`` says why it diverged or is excluded.
    """

    decision: Decision
    standing: Standing
    action: Action | None = None
    answer: str | None = None
    why: str = ""


def is_come_to(one: PlacedDecision) -> bool:
    """Whether a course is past a decision, or knows by now what that is to it."""
    return one.standing not in ("failed", "missing")


class Went(NamedTuple):
    """What a branch tells of a course: answers by turn, and how it ended."""

    answers: dict[int, list[Decision]]
    parted: ReplayDiverged | None
    is_over: bool
    failure: Recorded | None
    turn: int

    @property
    def is_unfinished(self) -> bool:
        """Whether it was begun, and stopped before its end."""
        return bool(self.answers) and not self.is_over


def went(branch: Iterable[Recorded]) -> Went:
    """What the events of a branch of a free run tell."""
    turns: dict[str, int] = {}
    own: list[Recorded] = []
    parted, is_over, failure = None, False, None
    for recorded in branch:
        said = recorded.noted("replay")
        if isinstance(said, dict) and isinstance(turn := said.get("turn"), int):
            turns[recorded.id] = turn
            own.append(recorded)
            failure = recorded if recorded.type == "model.failed" else None
        is_over = is_over or recorded.type == "replay.finished"
        if recorded.type == "replay.diverged" and parted is None:
            parted = recorded.to_class(ReplayDiverged)
    answers: dict[int, list[Decision]] = {}
    for one in decisions(own):
        answers.setdefault(turns[one.at], []).append(one)
    return Went(answers, parted, is_over, failure, max(turns.values(), default=0))


def placed(turns: Sequence[Turn], course: Went, terms: Terms = AS_RECORDED) -> list[PlacedDecision]:
    """Every recorded decision with what it is to a course; calls are matched as ``terms`` say."""
    every = [one for turn in turns for one in turn.decisions]
    parted = None if course.parted is None else course.parted
    first = next((one.index for one in every if parted and one.at == parted.at), None)
    is_excluded = parted is not None and parted.reason in EXCLUDING
    found: list[PlacedDecision] = []
    dealt = _dealt(turns, course.answers, first, terms)
    for number, turn in enumerate(turns):
        answers = course.answers.get(number, [])
        did = allotted(turn.decisions, answers, dealt[number])
        for decision, (action, answer) in zip(turn.decisions, did, strict=True):
            if first is not None and parted is not None and decision.index >= first:
                later: Standing = "conditional" if decision.index > first else "diverged"
                standing: Standing = "excluded" if is_excluded else later
                # What follows is shown, and set against nothing.
                found.append(PlacedDecision(decision, standing, action, answer, parted.reason))
            elif course.is_over or number < course.turn or first is not None:
                found.append(PlacedDecision(decision, "comparable", action, answer))
            else:
                found.append(PlacedDecision(decision, "missing"))
    waiting = next((n for n, one in enumerate(found) if one.standing == "missing"), None)
    if course.failure is not None and waiting is not None:
        error = course.failure.to_class(ModelFailed).error
        failed = found[waiting]._replace(standing="failed", answer=course.failure.id, why=error)
        found[waiting] = failed
    return found


def allotted(
    recorded: Sequence[Decision],
    answers: Sequence[Decision],
    calls: Sequence[tuple[Call, ...]],
) -> list[tuple[Action | None, str | None]]:
    """The answers of a turn, put in the places of its recorded decisions, with their ``calls``.

    Words stand in order, the last at the last. Nothing is left out or counted twice.
    """
    if not answers:
        return [(None, None)] * len(recorded)
    groups: list[list[Decision]] = [[] for _ in recorded]
    for place, answer in enumerate(answers):
        is_last = place + 1 == len(answers)
        groups[-1 if is_last else min(place, max(len(recorded) - 2, 0))].append(answer)
    whole = "\n".join(one.action.text for one in answers if one.action.text)
    shown = [next(iter(group), answers[0]).at for group in groups]
    nothing = _nothing([one.action for one in answers])
    return [
        (_joined([one.action for one in group] or [nothing], dealt, whole), at)
        for group, dealt, at in zip(groups, calls, shown, strict=True)
    ]


def _dealt(
    turns: Sequence[Turn],
    answers: Mapping[int, Sequence[Decision]],
    first: int | None,
    terms: Terms,
) -> list[list[tuple[Call, ...]]]:
    """The candidate's calls by turn and recorded decision.

    What matches a recorded call stands where that does, also where it was read in an earlier turn;
    what does not stands at the decision ``first``, or at the last of its turn. Where nothing
    diverged what is alike matches too: the run held other fields to say nothing.
    """
    if not turns:
        return []
    ends = [turn.decisions[-1].index for turn in turns]
    last = (
        len(turns) - 1 if first is None else next(n for n, end in enumerate(ends) if end >= first)
    )
    spans = [range(last + 1), *([n] for n in range(last + 1, len(turns)))]
    dealt: list[list[tuple[Call, ...]]] = []
    for span in spans:
        made = [one for n in span for one in turns[n].decisions]
        said = [call for n in span for one in answers.get(n, ()) for call in one.action.calls]
        places = [one.index for one in made]
        at = places.index(first) if first in places else -1
        flat = iter(_matched(made, said, terms, None if first is None else at))
        dealt += [[next(flat) for _ in turns[n].decisions] for n in span]
    return dealt


def _matched(
    made: Sequence[Decision], said: Sequence[Call], terms: Terms, rest_at: int | None
) -> list[tuple[Call, ...]]:
    dealt: list[list[Call]] = [[] for _ in made]
    waiting = [(call, place) for place, one in enumerate(made) for call in one.action.calls]
    sides = Action(calls=tuple(call for call, _ in waiting)), Action(calls=tuple(said))
    offered = offered_by(made[0].configured) if terms.offered is None else terms.offered
    for pair in compare_actions(*sides, offered=offered, ignored=terms.ignored).pairs:
        entry = next(one for one in waiting if one[0] == pair.recorded)
        if rest_at is None or not pair.changes:
            waiting.remove(entry)
            dealt[entry[1]].append(pair.candidate)
    given = Counter(call for calls in dealt for call in calls)
    rest = dealt[-1 if rest_at is None else rest_at]
    rest += [c for c, times in (Counter(said) - given).items() for _ in range(times)]
    return [tuple(calls) for calls in dealt]


def _nothing(answers: Sequence[Action]) -> Action:
    """What no answer was needed for, as one before had made its calls: it took no tokens.

    That is known where what the answers took is; there is nothing whose time was taken.
    """
    return Action(
        text="",
        usage=None if None in [one.usage for one in answers] else Usage(),
        cost=None if None in [one.cost for one in answers] else Decimal(0),
    )


def _joined(group: Sequence[Action], calls: tuple[Call, ...], whole: str) -> Action:
    """The actions of a group as one: words after one another, what they took added up."""
    costs = [one.cost for one in group]
    times = [one.latency_ms for one in group]
    return replace(
        group[-1],
        text="\n".join(one.text for one in group if one.text) or ("" if calls else whole),
        calls=calls,
        parts=tuple(part for one in group for part in one.parts),
        usage=total_usage([one.usage for one in group if one.usage is not None]),
        cost=None if None in costs else sum(filter(None, costs), Decimal(0)),
        latency_ms=None if None in times else sum(filter(None, times)),
    )


class Course(msgspec.Struct, frozen=True, kw_only=True):
    """What became of every recorded decision: the parts add up to ``decisions``.

    ``diverged`` and ``excluded`` are by reason. ``same`` conversations went to their end as
    recorded, of ``conversations`` (samples count each); ``unfinished`` were begun, and stopped
    before their end.
    """

    conversations: int
    decisions: int
    comparable: int
    diverged: dict[str, int]
    conditional: int
    excluded: dict[str, int]
    same: int
    unfinished: int = 0

    @property
    def is_whole(self) -> bool:
        """Whether the parts add up."""
        parts = sum(self.diverged.values()) + sum(self.excluded.values())
        return self.comparable + self.conditional + parts == self.decisions


class CourseTally:
    """Counts what became of decisions, a conversation at a time."""

    def __init__(self) -> None:
        self._standings: Counter[tuple[str, str]] = Counter()
        self._conversations = self._same = self._unfinished = 0

    def add(self, standings: Sequence[tuple[str, str]], *, is_unfinished: bool = False) -> None:
        """One more conversation: each of its decisions as a standing and why that is."""
        self._conversations += 1
        self._unfinished += is_unfinished
        self._same += {standing for standing, _ in standings} == {"comparable"}
        self._standings.update(standings)

    def course(self) -> Course:
        """What was added."""

        def of(standing: str) -> dict[str, int]:
            return {
                why: n for (what, why), n in sorted(self._standings.items()) if what == standing
            }

        return Course(
            conversations=self._conversations,
            decisions=self._standings.total(),
            comparable=sum(of("comparable").values()),
            diverged=of("diverged"),
            conditional=sum(of("conditional").values()),
            excluded=of("excluded"),
            same=self._same,
            unfinished=self._unfinished,
        )
