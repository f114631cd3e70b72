"""The course of a conversation: its turns, and where one that a candidate went on alone left it.

A *turn* is what an agent decides between two things that come to it from outside. Within one, how
many answers it takes and in which order it calls does not matter, nor do words: only what is
called. All of it is computed from events alone.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal, NamedTuple

import msgspec

from refold.conversation.events import Effect
from refold.core.jsonvalue import Numbering
from refold.core.recorded import Recorded, parts_of
from refold.privacy.envelope import ERASED, REDACTED, WITHHELD
from refold.replay.decision import Call, Decision, is_of_answer
from refold.replay.events import ReplayDiverged
from refold.replay.faults import Offered
from refold.replay.normalising import Ignored, normal_arguments

Reason = Literal[
    "other_calls",
    "tool_missed",
    "stale_read",
    "broken_answer",
    "no_end",
    "other_state",
    "no_recorded_result",
    "withheld",
    "prompt_too_long",
]
"""Why a course left its record.

``other_calls``: a call that the record has not, or not yet, or one that it has was not made.
``tool_missed``: nothing stands in for a tool that was called. ``stale_read``: something was read
after a change that the recorded reading had not seen, or before one that it had.
``broken_answer``: empty, refused, filtered, truncated, of a tool that was not offered, of arguments
that break their schema. ``no_end``: it called on and on. ``other_state``: the same calls, but the
conversation came to another state or another money. The last three are no difference of the
agent's: the record does not hold what a call of its own gave, or what was said, given or called is
redacted, erased or withheld, or the prompt is more than the candidate takes now that it has grown.
"""
EXCLUDING: Final = frozenset[str]({"no_recorded_result", "withheld", "prompt_too_long"})
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


class Led(msgspec.Struct, frozen=True):
    """Where a candidate's own answers led: why its course ``parted`` from the record, with what.

    ``answers`` it gave in all, of which ``conditional`` after that. ``tools`` counts what its tools
    gave by where that is from, ``simulator_faults`` what was wrong with who played the user.
    ``is_unfinished`` where it was begun and stopped before its end.
    """

    parted: str | None
    detail: Any
    answers: int
    conditional: int
    tools: dict[str, int]
    simulated: int
    simulator_faults: dict[str, int]
    is_unfinished: bool = False


class Parted(NamedTuple):
    """Where a course leaves its record: at which decision of it, why, and what shows that."""

    at: Decision
    reason: Reason
    detail: Any = None

    @property
    def event(self) -> ReplayDiverged:
        """What is put on record of it."""
        return ReplayDiverged(self.at.at, self.reason, self.detail)


@dataclass(frozen=True)
class RecordedTurns:
    """The turns of a record, and how calls are held against them.

    ``effects`` say by the tool's name what it does to the world. Two calls are the same whose
    arguments have the same normal form: see :mod:`refold.replay.normalising`.
    """

    turns: Sequence[Turn]
    effects: Mapping[str, Effect]
    offered: Offered
    ignored: Ignored
    _calls: list[tuple[Call, Decision]] = field(default_factory=list)
    _ends: list[int] = field(default_factory=list)
    _keys: dict[tuple[str, str, str], int] = field(default_factory=dict)
    _numbers: Numbering = field(default_factory=Numbering)
    _held: list[Any] = field(default_factory=list)

    def __post_init__(self) -> None:
        for turn in self.turns:
            for decision in turn.decisions:
                self._calls.extend((call, decision) for call in decision.action.calls)
            self._ends.append(len(self._calls))

    def other_calls(
        self, number: int, calls: Sequence[Call], *, is_handed_over: bool
    ) -> Parted | None:
        """Where the calls of the turns up to a ``number`` are others than were recorded until then.

        What is read may be read earlier than in the record; all else is to be done in its turn.
        """
        missing, more = self._unmatched(self._until(number), calls)
        if more:
            coming = [call for call, _ in self._calls[self._ends[number] :]]
            early = [place for place in more if self._is_read(calls[place])]
            _, odd = self._unmatched(coming, [calls[place] for place in early])
            odd_places = {early[place] for place in odd} | ({*more} - {*early})
            if odd_places:
                first = min(odd_places)
                at = self.where(number, calls[:first])
                return Parted(at, self._reason(missing), {"made": _said(calls[first])})
        if is_handed_over and missing:
            call, at = self._calls[missing[0]]
            return Parted(at, self._reason(missing), {"not_made": _said(call)})
        return None

    def _reason(self, missing: Sequence[int]) -> Reason:
        """Whether it can be told that calls are others: not where those on record are hidden."""
        texts = [self._calls[place][0].arguments for place in missing]
        hidden = any(mark in text for text in texts for mark in (REDACTED, ERASED, WITHHELD))
        return "withheld" if hidden else "other_calls"

    def is_made(self, number: int, calls: Sequence[Call]) -> bool:
        """Whether all that was called up to a turn was called."""
        return not self._unmatched(self._until(number), calls)[0]

    def holds(self, call: Call) -> bool:
        """Whether the record has such a call anywhere."""
        key = self._key(call)
        return any(self._key(one) == key for one, _ in self._calls)

    def where(self, number: int, calls: Sequence[Call]) -> Decision:
        """The decision of a turn that a course is at when it has made so many calls in all."""
        missing, _ = self._unmatched(self._until(number), calls)
        before = self._ends[number - 1] if number else 0
        left = [place for place in missing if place >= before]
        return self._calls[left[0]][1] if left else self.turns[number].decisions[-1]

    def _until(self, number: int) -> list[Call]:
        return [call for call, _ in self._calls[: self._ends[number]]]

    def _unmatched(
        self, recorded: Sequence[Call], calls: Sequence[Call]
    ) -> tuple[list[int], list[int]]:
        """The places of the calls on either side that have no counterpart on the other."""
        waiting: dict[int, deque[int]] = {}
        for place, call in enumerate(calls):
            waiting.setdefault(self._key(call), deque()).append(place)
        missing = []
        for place, call in enumerate(recorded):
            if same := waiting.get(self._key(call)):
                same.popleft()
            else:
                missing.append(place)
        return missing, sorted(place for places in waiting.values() for place in places)

    def _key(self, call: Call) -> int:
        said = (call.name, call.kind, call.arguments)
        if said not in self._keys:
            schema = self.offered.get(call.name)
            form = [call.name, call.kind, normal_arguments(call, schema, self.ignored)]
            self._held.append(form)  # Numbers are told by identity: no other may take its place.
            self._keys[said] = self._numbers.of(form)
        return self._keys[said]

    def _is_read(self, call: Call) -> bool:
        return self.effects.get(call.name) == "read"


def _said(call: Call) -> dict[str, str]:
    return {"name": call.name, "arguments": call.arguments}
