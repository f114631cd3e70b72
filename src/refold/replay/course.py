"""The course of a conversation: its turns, and where one that a candidate went on alone left it.

A *turn* is what an agent decides between two things that come to it from outside. Within one, how
many answers it takes and in which order it calls does not matter, nor do words: only what is
called. All of it is computed from events alone.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any, Final, Literal, NamedTuple, get_args

import msgspec
from msgspec.structs import replace

from refold.conversation.events import Effect, ModelFailed
from refold.core.recorded import Recorded, parts_of
from refold.replay.actions import compare_actions
from refold.replay.decision import Action, Call, Decision, decisions, is_of_answer, total_usage
from refold.replay.events import ReplayDiverged
from refold.replay.faults import UNKNOWN, Offered
from refold.replay.normalising import NOTHING_IGNORED, Ignored

Reason = Literal[
    "other_calls",
    "tool_missed",
    "stale_read",
    "broken_answer",
    "no_end",
    "other_state",
    "no_recorded_result",
    "prompt_too_long",
]
"""Why a course left its record.

``other_calls``: a call that the record has not, or not yet, or one that it has was not made.
``tool_missed``: nothing stands in for a tool that was called. ``stale_read``: something was read
after a change that the recorded reading had not seen, or before one that it had.
``broken_answer``: empty, refused, filtered, truncated, of a tool that was not offered, of arguments
that break their schema. ``no_end``: it called on and on. ``other_state``: the same calls, but the
conversation came to another state or another money. The last two are no difference of the agent's:
the record does not hold what a call of its own gave, or the prompt is more than the candidate takes
now that it has grown.
"""
REASONS: Final[tuple[Reason, ...]] = get_args(Reason)
EXCLUDING: Final[frozenset[str]] = frozenset({"no_recorded_result", "prompt_too_long"})
Standing = Literal["comparable", "diverged", "conditional", "excluded", "failed", "missing"]
"""What a recorded decision is to a course that is not its own.

``comparable``: all before it went as recorded, and so did it. ``diverged``: the first that did not.
``conditional``: all after that, as a recorded user answered another agent. ``excluded``: out of
reach for no fault of the agent's. ``failed``: the candidate gave no answer there. ``missing``: it
was not come to.
"""
_FROM_OUTSIDE: Final = frozenset({"user.utterance", "dtmf.received"})


_NOT_FED: Final = (
    *("agent.utterance", "model.", "tool.", "playback.", "speech.", "replay.", "goal.", "score."),
    *("label.", "redaction.", "erasure.", "retention.", "hold.", "access."),
)
"""Types, or the beginnings of types, of what is the recorded agent's own, or was said later."""


class Turn(NamedTuple):
    """What was decided between two things from outside, and what is ``fed`` before it.

    That is what the record has between the last turn and this, and is no answer of the agent's.
    """

    fed: list[Recorded]
    decisions: list[Decision]

    @property
    def calls(self) -> list[Call]:
        """All calls of it."""
        return [call for one in self.decisions for call in one.action.calls]

    @property
    def is_open(self) -> bool:
        """Whether the agent did not hand over at its end: its last answer was a call."""
        return bool(self.decisions and self.decisions[-1].action.calls)


class Record(NamedTuple):
    """A recorded conversation as turns, what closes it, and what each tool result brought with it.

    ``brought`` has by the id of a result what came after it and before anything else.
    """

    history: list[Recorded]
    turns: list[Turn]
    closing: list[Recorded]
    brought: dict[str, list[Recorded]]


def record_of(history: Iterable[Recorded], made: Sequence[Decision]) -> Record:
    """The turns of a recorded conversation, whose decisions are ``made``."""
    parts = list(parts_of(history))
    brought = _brought(parts)
    known = {id(one) for those in brought.values() for one in those}
    loose = [one for one in parts if not one.type.startswith(_NOT_FED) and id(one) not in known]
    turns: list[Turn] = []
    begun, last = -1, -1
    for decision in made:
        between = [one for one in parts if last < one.version < decision.version]
        if not turns or any(one.type in _FROM_OUTSIDE for one in between):
            fed = [one for one in loose if begun < one.version < decision.version]
            turns.append(Turn(fed, []))
            begun = decision.version
        turns[-1].decisions.append(decision)
        last = decision.version
    return Record(parts, turns, [one for one in loose if one.version > begun], brought)


def _brought(parts: Sequence[Recorded]) -> dict[str, list[Recorded]]:
    brought: dict[str, list[Recorded]] = {}
    into: list[Recorded] | None = None
    for one in parts:
        if one.type == "tool.result":
            into = brought.setdefault(one.id, [])
        elif one.type in _FROM_OUTSIDE or one.type == "session.ended":
            into = None
        elif into is not None and not one.type.startswith(_NOT_FED):
            into.append(one)
        elif is_of_answer(one):
            into = None
    return brought


def unmatched(
    recorded: Sequence[Call],
    candidate: Sequence[Call],
    offered: Offered = UNKNOWN,
    ignored: Ignored = NOTHING_IGNORED,
) -> tuple[list[int], list[int]]:
    """The places of the calls on either side that have no counterpart with the same arguments."""
    sides = Action(calls=tuple(recorded)), Action(calls=tuple(candidate))
    found = compare_actions(*sides, offered=offered, ignored=ignored)
    same = [pair for pair in found.pairs if not pair.changes]
    return (
        _left(recorded, [pair.recorded for pair in same]),
        _left(candidate, [pair.candidate for pair in same]),
    )


def _left(calls: Sequence[Call], taken: Iterable[Call]) -> list[int]:
    known = Counter(taken)
    left = []
    for place, call in enumerate(calls):
        if known[call]:
            known[call] -= 1
        else:
            left.append(place)
    return left


class Parted(NamedTuple):
    """Where a course leaves its record: at which decision of it, why, and what shows that."""

    at: Decision
    reason: Reason
    detail: Any = None

    @property
    def event(self) -> ReplayDiverged:
        """What is put on record of it."""
        return ReplayDiverged(self.at.at, self.reason, self.detail)


class Beside(NamedTuple):
    """The turns of a record, and how calls are held against them.

    ``effects`` say by the tool's name what it does to the world.
    """

    turns: Sequence[Turn]
    effects: Mapping[str, Effect]
    offered: Offered = UNKNOWN
    ignored: Ignored = NOTHING_IGNORED

    def other_calls(
        self, number: int, calls: Sequence[Call], *, is_handed_over: bool
    ) -> Parted | None:
        """Where the calls of the turns up to a ``number`` are others than were recorded until then.

        What is read may be read earlier than in the record; all else is to be done in its turn.
        """
        recorded = [call for turn in self.turns[: number + 1] for call in turn.calls]
        missing, more = self._unmatched(recorded, calls)
        if more:
            coming = [call for turn in self.turns[number + 1 :] for call in turn.calls]
            early = [place for place in more if self._is_read(calls[place])]
            _, odd = self._unmatched(coming, [calls[place] for place in early])
            odd_places = {early[place] for place in odd} | ({*more} - {*early})
            if odd_places:
                first = min(odd_places)
                at = self.where(number, calls[:first])
                return Parted(at, "other_calls", {"made": _said(calls[first])})
        if is_handed_over and missing:
            first = missing[0]
            return Parted(self._of(first), "other_calls", {"not_made": _said(recorded[first])})
        return None

    def is_made(self, number: int, calls: Sequence[Call]) -> bool:
        """Whether all that was called up to a turn was called."""
        recorded = [call for turn in self.turns[: number + 1] for call in turn.calls]
        return not self._unmatched(recorded, calls)[0]

    def holds(self, call: Call) -> bool:
        """Whether the record has such a call anywhere."""
        recorded = [one for turn in self.turns for one in turn.calls if one.name == call.name]
        return not self._unmatched(recorded, [call])[1]

    def where(self, number: int, calls: Sequence[Call]) -> Decision:
        """The decision of a turn that a course is at when it has made so many calls in all."""
        recorded = [call for turn in self.turns[: number + 1] for call in turn.calls]
        missing, _ = self._unmatched(recorded, calls)
        inside = {id(one) for one in self.turns[number].decisions}
        left = [one for one in map(self._of, missing) if id(one) in inside]
        return left[0] if left else self.turns[number].decisions[-1]

    def _of(self, place: int) -> Decision:
        """The decision that a call belongs to, by its place among all calls of the record."""
        every = (one for turn in self.turns for one in turn.decisions for _ in one.action.calls)
        return next(one for n, one in enumerate(every) if n == place)

    def _unmatched(
        self, recorded: Sequence[Call], calls: Sequence[Call]
    ) -> tuple[list[int], list[int]]:
        return unmatched(recorded, calls, self.offered, self.ignored)

    def _is_read(self, call: Call) -> bool:
        return self.effects.get(call.name) == "read"


def _said(call: Call) -> dict[str, str]:
    return {"name": call.name, "arguments": call.arguments}


# -- what became of every recorded decision -------------------------------------------------------


class Placed(NamedTuple):
    """A recorded decision in a course: what it is to it, and what the candidate did in its place.

    ``answer`` is the event that holds that; ``why`` says why it diverged or is excluded.
    """

    decision: Decision
    standing: Standing
    action: Action | None = None
    answer: str | None = None
    why: str = ""


class Went(NamedTuple):
    """What a branch tells of a course: answers by turn, and how it ended."""

    answers: dict[int, list[Decision]]
    parted: ReplayDiverged | None
    is_over: bool
    failure: Recorded | None
    turn: int


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


def placed(turns: Sequence[Turn], course: Went) -> list[Placed]:
    """Every recorded decision with what it is to a course."""
    every = [one for turn in turns for one in turn.decisions]
    parted = None if course.parted is None else course.parted
    first = next((one.index for one in every if parted and one.at == parted.at), None)
    is_excluded = parted is not None and parted.reason in EXCLUDING
    found: list[Placed] = []
    for number, turn in enumerate(turns):
        did = allotted(turn.decisions, course.answers.get(number, []), first)
        for decision, (action, answer) in zip(turn.decisions, did, strict=True):
            if first is not None and parted is not None and decision.index >= first:
                later: Standing = "conditional" if decision.index > first else "diverged"
                standing: Standing = "excluded" if is_excluded else later
                # What follows is shown, and set against nothing.
                found.append(Placed(decision, standing, action, answer, parted.reason))
            elif course.is_over or number < course.turn:
                found.append(Placed(decision, "comparable", action, answer))
            else:
                found.append(Placed(decision, "missing"))
    waiting = next((n for n, one in enumerate(found) if one.standing == "missing"), None)
    if course.failure is not None and waiting is not None:
        error = course.failure.to_class(ModelFailed).error
        failed = found[waiting]._replace(standing="failed", answer=course.failure.id, why=error)
        found[waiting] = failed
    return found


def allotted(
    recorded: Sequence[Decision], answers: Sequence[Decision], first: int | None = None
) -> list[tuple[Action | None, str | None]]:
    """The answers of a turn, put in the places of its recorded decisions.

    What matches a recorded call stands where that does, what does not at the decision ``first``, or
    at the last. Words stand in order, the last at the last. Nothing is left out or counted twice.
    """
    if not answers:
        return [(None, None)] * len(recorded)
    groups: list[list[Decision]] = [[] for _ in recorded]
    for place, answer in enumerate(answers):
        is_last = place + 1 == len(answers)
        groups[-1 if is_last else min(place, max(len(recorded) - 2, 0))].append(answer)
    said = [call for one in answers for call in one.action.calls]
    calls = _dealt(recorded, said, first)
    whole = "\n".join(one.action.text for one in answers if one.action.text)
    shown = [next(iter(group), answers[0]).at for group in groups]
    return [
        (_joined([one.action for one in group], dealt, whole), at)
        for group, dealt, at in zip(groups, calls, shown, strict=True)
    ]


def _dealt(
    recorded: Sequence[Decision], said: Sequence[Call], first: int | None
) -> list[tuple[Call, ...]]:
    dealt: list[list[Call]] = [[] for _ in recorded]
    owners = [place for place, one in enumerate(recorded) for _ in one.action.calls]
    old = [call for one in recorded for call in one.action.calls]
    found = compare_actions(Action(calls=tuple(old)), Action(calls=tuple(said)))
    waiting = list(zip(old, owners, strict=True))
    for pair in found.pairs:
        if pair.changes and first is not None:
            continue
        entry = next(one for one in waiting if one[0] == pair.recorded)
        waiting.remove(entry)
        dealt[entry[1]].append(pair.candidate)
    given = Counter(call for calls in dealt for call in calls)
    rest = [call for call, times in (Counter(said) - given).items() for _ in range(times)]
    indexes = [one.index for one in recorded]
    dealt[indexes.index(first) if first in indexes else -1] += rest
    return [tuple(calls) for calls in dealt]


def _joined(group: Sequence[Action], calls: tuple[Call, ...], whole: str) -> Action:
    """The actions of a group as one: words after one another, what they took added up."""
    if not group:
        return Action(text="" if calls else whole, calls=calls)
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
    recorded, of ``conversations`` (samples count each).
    """

    conversations: int
    decisions: int
    comparable: int
    diverged: dict[str, int]
    conditional: int
    excluded: dict[str, int]
    same: int

    @property
    def is_whole(self) -> bool:
        """Whether the parts add up."""
        parts = sum(self.diverged.values()) + sum(self.excluded.values())
        return self.comparable + self.conditional + parts == self.decisions


class CourseTally:
    """Counts what became of decisions, a conversation at a time."""

    def __init__(self) -> None:
        self._standings: Counter[tuple[str, str]] = Counter()
        self._conversations = self._same = 0

    def add(self, standings: Sequence[tuple[str, str]]) -> None:
        """One more conversation: each of its decisions as a standing and why that is."""
        self._conversations += 1
        self._same += all(standing == "comparable" for standing, _ in standings)
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
        )
