"""The course of a conversation: its turns, and where one that a candidate went on alone left it.

A *turn* is what an agent decides between two things that come to it from outside. Within one, how
many answers it takes and in which order it calls does not matter, nor do words: only what is
called. All of it is computed from events alone.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, Literal, NamedTuple, get_args

from refold.conversation.events import Effect
from refold.core.recorded import Recorded, parts_of
from refold.replay.actions import compare_actions
from refold.replay.decision import Action, Call, Decision, is_of_answer
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


class RecordedTurns(NamedTuple):
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
