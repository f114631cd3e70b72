"""One conversation walked: what is asked next, and what is put on its branch for an answer.

It follows from the record and the branch alone, so a walk that was cut off is gone on with by
whoever reads them. What it decides is told by :mod:`refold.replay.course`.
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from refold.conversation.events import Effect, ToolCall, ToolResult, UserUtterance
from refold.conversation.fold import Conversation
from refold.core.encode import copied
from refold.core.event import Event
from refold.core.recorded import Recorded
from refold.freerun.policies import ToolPolicies
from refold.freerun.user import HeardLine, UserSaid, heard_in
from refold.freerun.world import Missed, ToolOutput, ToolWorld
from refold.replay.course import Parted, Reason, Record, RecordedTurns, Turn
from refold.replay.decision import Action, Call, Decision
from refold.replay.events import ReplayDiverged, ReplayFinished
from refold.replay.faults import Offered, faults_of, offered_by, offered_in, tools_by
from refold.replay.hidden import Hidden
from refold.replay.journal import answer_events
from refold.replay.request import ChatRequest, RequestMaker
from refold.replay.variant import Variant

ANSWERS_A_TURN_MAX: Final = 25
"""An agent that calls tools so often without a word to the user does not come to an end.

Where the recorded one did almost as often, it is twice as often as that.
"""
USER_TURNS_MAX: Final = 20
"""A simulated user says no more than this."""


_REASONS: Final[dict[str, Reason]] = {"changed": "stale_read", "hidden": "withheld"}
"""Why a course leaves its record where a tool gives nothing for this cause."""


class Asks(NamedTuple):
    """The candidate is asked this."""

    request: ChatRequest


class AsksUser(NamedTuple):
    """The simulated user is asked, who heard all this."""

    heard: list[HeardLine]


class Closes(NamedTuple):
    """The conversation has come to its end: these are its last events."""

    events: list[object]


class WalkTerms(NamedTuple):
    """What a walk is held to: the variant, what is declared of tools, who speaks after it parts.

    ``hidden`` tells what of the record nobody may be told.
    """

    variant: Variant
    policies: ToolPolicies
    hidden: Hidden
    model: str | None = None
    user: str | None = None


@dataclass
class CourseWalk:
    """A course through a conversation; what was put on its branch is given back to :meth:`take`."""

    record: Record
    terms: WalkTerms
    world: ToolWorld
    number: int = 0
    version: int = -1
    calls: list[Call] = field(default_factory=list)
    parted: ReplayDiverged | None = None
    is_over: bool = False
    _answers: int = 0
    _answered: int = 0
    _said: int = 0
    _words_only: int = 0
    _has_spoken: bool = False
    _has_called: bool = False
    _unanswered: deque[Call] = field(default_factory=deque)
    _events: list[Recorded] = field(default_factory=list)

    def __post_init__(self) -> None:
        first = self.record.turns[0].decisions[0].version
        variant, terms = self.terms.variant, self.terms
        self._maker = RequestMaker(self.record.history, [variant], model=terms.model)
        self._maker.keep_until(first - 1)
        self._own = offered_in(variant.tools)
        self._events += (one for one in self.record.history if one.version < first)
        effects, ignored = _effects(self.record, terms.policies), terms.policies.ignored
        self._beside = RecordedTurns(self.record.turns, effects, self._offered(), ignored)

    # -- what is on the branch ---------------------------------------------------------------------

    def take(self, events: Iterable[Recorded], *, is_new: bool = False) -> None:
        """Go on with what was stored; ``is_new`` where the world was asked for it just now."""
        for recorded in events:
            self._events.append(recorded)
            self._maker.go_on([recorded])
            self.version = recorded.version
            said = recorded.noted("replay")
            noted: dict[str, Any] = said if isinstance(said, dict) else {}
            if (turn := noted.get("turn", self.number)) > self.number:
                self.number, self._answers, self._words_only = turn, 0, 0
                self._has_spoken = False
            match recorded.type:
                case "replay.diverged" if self.parted is None:
                    self.parted = recorded.to_class(ReplayDiverged)
                case "replay.finished":
                    self.is_over = True
                case "model.response":
                    self._answers, self._answered = self._answers + 1, self._answered + 1
                    self._words_only += 1
                    self._has_spoken, self._has_called = True, False
                case "tool.call":
                    called = recorded.to_class(ToolCall)
                    call = Call(called.name, called.arguments, called.call_id, called.kind)
                    self.calls.append(call)
                    self._words_only -= not self._has_called
                    self._has_called = True
                    self._unanswered.append(call)
                case "tool.result" if "source" in noted:
                    call = self._unanswered.popleft()
                    if not is_new and noted["source"] != "live":
                        # It is to know what was asked for; it gave the same then.
                        self.world.answer(call)
                case "user.utterance" if "user" in noted:
                    self._said += 1

    # -- what is next ------------------------------------------------------------------------------

    def next(self) -> Asks | AsksUser | Closes | None:
        """What is to be done next; None where the walk is over."""
        if self.is_over:
            return None
        if self.version < 0 and self._is_hidden(self._events):
            return Closes(self._cannot_go_on(self.record.turns[0].decisions[0]))
        if self._has_ended():
            if (
                self.parted is not None
                and self.terms.user is not None
                and self._said < USER_TURNS_MAX
            ):
                return AsksUser(heard_in(self._events))
            return Closes(self._closing())
        return Asks(self._request())

    def _is_hidden(self, events: Iterable[Recorded]) -> bool:
        return any(map(self.terms.hidden.is_in, events))

    def _cannot_go_on(self, at: Decision) -> list[object]:
        """What closes a course where nobody can be told any more what the agent was told."""
        parted = [] if self.parted is not None else [Parted(at, "withheld").event]
        return [*parted, self._finished()]

    def _hides(self, text: str) -> bool:
        return self.terms.hidden.marks_text(text)

    def _has_ended(self) -> bool:
        """Whether the agent has handed over, and nothing is recorded that it would be told."""
        return self._is_handed_over() and (
            self.number + 1 >= len(self.record.turns) or self._is_simulated()
        )

    def _is_handed_over(self) -> bool:
        if not self._has_called:
            return self._has_spoken and not self._goes_on_itself(self._words_only, self.calls)
        is_closed = self._has_spoken and self.parted is None and self._turn().is_open
        return is_closed and self._beside.is_made(self._place(), self.calls)

    def _goes_on_itself(self, words_only: int, calls: Sequence[Call]) -> bool:
        """Whether the recorded agent spoke so often in this turn, and then called by itself."""
        own = sum(not one.action.calls for one in self._turn().decisions[:-1])
        is_left = self.parted is None and words_only <= own
        return is_left and not self._beside.is_made(self._place(), calls)

    def _is_simulated(self) -> bool:
        return self.parted is not None and self.terms.user is not None

    def _turn(self) -> Turn:
        return self.record.turns[self._place()]

    def _request(self) -> ChatRequest:
        at = self._beside.where(self._place(), self.calls)
        here = Decision(self._answered, at.at, sys.maxsize, Action())
        return self._maker.at(here)[0]

    def _place(self) -> int:
        return min(self.number, len(self.record.turns) - 1)

    def _closing(self) -> list[object]:
        closing: list[object] = [self._fed(one, self.number) for one in self.record.closing]
        if self.parted is None and (parted := self._other_state()) is not None:
            closing.append(parted.event)
        return [*closing, self._finished()]

    def _other_state(self) -> Parted | None:
        closing = [one for one in self.record.closing if one not in self._events]
        old = Conversation.run(self.record.history).state
        new = Conversation.run([*self._events, *closing]).state
        there, here = ((one.state, one.money.net, one.end_reason) for one in (old, new))
        if there == here:
            return None
        names = ("state", "money", "end")
        detail = {
            name: {"recorded": a, "candidate": b}
            for name, a, b in zip(names, there, here, strict=True)
            if a != b
        }
        return Parted(self.record.turns[-1].decisions[-1], "other_state", detail)

    def _finished(self) -> ReplayFinished:
        unasked = [one.at for one in self.world.unasked()]
        return ReplayFinished(answered=self._answered, unasked=unasked)

    # -- what comes of an answer -------------------------------------------------------------------

    def step(self, action: Action) -> list[object]:
        """The events that an answer is stored as, with what it brought about."""
        tools = tools_by(self._turn().decisions[0].configured)
        message_id = f"free-{self._answered}"
        events = answer_events(action, message_id, tools)
        calls = [*self.calls, *action.calls]
        is_over = not action.calls and not self._goes_on_itself(self._words_only + 1, calls)
        parted, missed = self._parted_by(action, calls, is_handed_over=is_over), False
        for call in action.calls:
            given = self.world.answer(call)
            if isinstance(given, ToolOutput) and given.at and self._hides(given.output):
                given = Missed(call, "unknown", f"{given.at} cannot be read any more", "hidden")
            if isinstance(given, Missed):
                if parted is None and not self._is_last_call(calls):
                    parted = self._missed(given)
                missed = True
                break
            events += self._told(call, given)
        recorded = len(self._turn().decisions)
        is_last = self._answers + 1 >= max(ANSWERS_A_TURN_MAX, 2 * recorded)
        if parted is None and is_last and action.calls:
            parted = self._here("no_end", {"answers": self._answers + 1})
        if parted is not None and self.parted is None:
            events.append(parted.event)
        if missed or (is_last and action.calls):
            return [*events, *self._ends_here(parted), self._finished()]
        is_over = is_over or (parted is not None and not action.calls)
        return [*events, *self._goes_on(is_over, calls, parted)]

    def _ends_here(self, parted: Parted | None) -> list[object]:
        """What closes a course that ended with a call that the record does not answer either."""
        if parted is not None or self.parted is not None:
            return []
        return [self._fed(one, self.number) for one in self.record.closing]

    def _goes_on(self, is_over: bool, calls: list[Call], parted: Parted | None) -> list[object]:
        """The next recorded turn, where the agent has handed over and nobody simulates it."""
        is_parted = parted is not None or self.parted is not None
        turn = self._turn()
        is_done = is_over or (
            not is_parted and turn.is_open and self._beside.is_made(self._place(), calls)
        )
        if (
            not is_done
            or (is_parted and self.terms.user)
            or self.number + 1 >= len(self.record.turns)
        ):
            return []
        following = self.record.turns[self.number + 1]
        if self._is_hidden(following.fed):
            return (
                self._cannot_go_on(following.decisions[0]) if not is_parted else [self._finished()]
            )
        return [self._fed(one, self.number + 1) for one in following.fed]

    def _fed(self, recorded: Recorded, turn: int) -> Event:
        event = copied(recorded)
        noted = {**(event.metadata or {}), "replay": {"turn": turn}}
        return Event(event.type, event.data, metadata=noted, occurred_at=event.occurred_at)

    def _told(self, call: Call, given: ToolOutput) -> list[object]:
        """What a tool gave, and what the record has that it brought with it."""
        result = ToolResult(call_id=call.call_id, result=given.output, is_error=given.is_error)
        noted: dict[str, Any] = {"turn": self.number, "source": given.source}
        noted |= {"result": given.at} if given.at else {}
        brought = self.record.brought.get(given.at or "", [])
        told = Event.of(result, metadata={"replay": noted})
        return [told, *(self._fed(one, self.number) for one in brought)]

    def _parted_by(
        self, action: Action, calls: list[Call], *, is_handed_over: bool
    ) -> Parted | None:
        if self.parted is not None:
            return None
        faults = faults_of(action, self._offered())
        known = {
            k for one in self._turn().decisions for k in faults_of(one.action, self._offered())
        }
        if odd := [kind for kind in faults if kind not in known]:
            return self._here("broken_answer", {odd[0]: faults[odd[0]]})
        place = self._place()
        return self._beside.other_calls(place, calls, is_handed_over=is_handed_over)

    def _missed(self, missed: Missed) -> Parted | None:
        if self.parted is not None:
            return None
        is_own = missed.cause == "absent" and self._beside.holds(missed.call)
        reason: Reason = "no_recorded_result" if is_own else "tool_missed"
        reason = _REASONS.get(missed.cause, reason)
        detail = {"name": missed.call.name, "arguments": missed.call.arguments, "why": missed.why}
        return self._here(reason, detail)

    def _is_last_call(self, calls: list[Call]) -> bool:
        """Whether the record ends with these calls too, of which it tells no result."""
        is_last = self.number + 1 >= len(self.record.turns) and self._turn().is_open
        return self.parted is None and is_last and self._beside.is_made(self._place(), calls)

    def _here(self, reason: Reason, detail: Any = None) -> Parted:
        return Parted(self._beside.where(self._place(), self.calls), reason, detail)

    def failed(self, reason: Reason, why: str) -> list[object]:
        """What is stored where the candidate does not take what it is asked, now that it grew."""
        parted = None if self.parted is not None else self._here(reason, why)
        return [*([] if parted is None else [parted.event]), self._finished()]

    def said(self, said: UserSaid) -> list[object]:
        """What is stored of a simulated user's turn."""
        noted = {"replay": {"turn": self.number + 1, "user": self.terms.user}}
        words = [UserUtterance(text=said.text)] if said.text else []
        events = [Event.of(one, metadata=noted) for one in [*words, *said.faults]]
        return [*events, *([self._finished()] if said.is_end else [])]

    def _offered(self) -> Offered:
        if self._own is not None:
            return self._own
        return offered_by(self._turn().decisions[0].configured)


def _effects(record: Record, policies: ToolPolicies) -> dict[str, Effect]:
    """What each tool does to the world, by what is declared and by the record."""
    said: dict[str, set[Effect]] = {}
    for one in record.history:
        if one.type == "tool.call":
            call = one.to_class(ToolCall)
            said.setdefault(call.name, set()).add(call.effect)
    for turn in record.turns:
        for tool in tools_by(turn.decisions[0].configured).values():
            said.setdefault(tool.name, set()).add(tool.effect)
    return {name: policies.effect(name, *those) for name, those in said.items()}
