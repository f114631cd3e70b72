"""Tool results from the record, each found by what was asked and never by its turn."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from inspect import isawaitable
from typing import Any

from refold.conversation import events
from refold.conversation.chat_export import told_text
from refold.conversation.chat_shapes import described, parsed_arguments
from refold.conversation.fold import Conversation
from refold.core.jsonvalue import Numbering
from refold.core.recorded import Recorded, parts_of
from refold.errors import UsageError
from refold.freerun.outside import let_out
from refold.freerun.policies import (
    Fixed,
    LiveRead,
    Policy,
    Simulated,
    Simulation,
    Simulator,
    ToolPolicies,
    forbidden,
)
from refold.freerun.world import Cause, Missed, Source, ToolOutput, Unasked, WorldOf
from refold.recording.tool_run import error_text, json_value
from refold.replay.decision import Call
from refold.replay.normalising import exactly, normal_arguments

_Key = tuple[str, str, str, int]
"""A tool, its kind, the hash of its schema, and the number of the arguments."""


@dataclass(eq=False)
class _Recording:
    """A call on record, in the ``turn``-th answer of the agent that calls a tool."""

    call: Call
    at: str
    exact: _Key
    normal: _Key
    turn: int
    result_at: str | None = None
    output: str = ""
    is_error: bool = False
    is_asked: bool = False


class RecordedWorld:
    """Answers calls as they were answered in a recorded conversation: a :class:`ToolWorld`.

    A result is found by the tool, the hash of its schema, the arguments and how often it was asked:
    first with equal JSON values, then in the tool's normal form; each is given once. One that was
    seen after other writes than have been done now is no answer, even if its call is the same:
    what the tool would say is not known. ``tools`` are those that the candidate is offered, None
    for those of the record.
    """

    def __init__(
        self,
        history: Sequence[Recorded],
        policies: ToolPolicies,
        tools: Sequence[events.Tool] | None = None,
    ) -> None:
        self._history, self._policies = history, policies
        self._offered = None if tools is None else {tool.name: tool for tool in tools}
        self._numbers, self._held = Numbering(), list[Any]()
        self._tools: dict[str, events.Tool] = {}
        self._effects: dict[str, set[events.Effect]] = {}
        self._describe(tools or ())
        self._writes: list[tuple[int, _Key]] = []
        self._done: Counter[_Key] = Counter()
        self._running: dict[Simulator, Simulation] = {}
        self._lost: dict[Simulator, str] = {}
        self._recordings = self._read()

    def answer(self, call: Call, /) -> ToolOutput | Missed:
        """What is on record for a call, else what is declared for its tool."""
        effect = self._effect(call.name)
        found = self._found(call)
        declared = self._policies.otherwise.get(call.name)
        if isinstance(found, ToolOutput):
            if isinstance(declared, Simulated):
                self._follow(call, declared.simulator)
        elif declared is not None and (why := forbidden(call.name, effect, declared)) is not None:
            return Missed(call, effect, f"{found.why}; {why}", found.cause)
        elif declared is not None:
            found = self._declared(call, declared)
        if isinstance(found, ToolOutput) and effect != "read":
            self._done[self._key(call, is_exact=False)] += 1
        return found

    def unasked(self) -> list[Unasked]:
        """The recorded results that nobody asked for."""
        return [
            Unasked(one.call, one.result_at)
            for one in self._recordings
            if one.result_at is not None and not one.is_asked
        ]

    # -- the record --------------------------------------------------------------------------------

    def _found(self, call: Call) -> ToolOutput | Missed:
        is_changed = False
        for is_exact in (True, False):
            key = self._key(call, is_exact=is_exact)
            for one in self._recordings:
                if one.is_asked or key != (one.exact if is_exact else one.normal):
                    continue
                if one.result_at is None:
                    continue
                if self._effect(call.name) in ("read", "unknown") and not self._is_as_then(one):
                    is_changed = True
                    continue
                one.is_asked = True
                source: Source = "recorded" if is_exact else "normalised"
                return ToolOutput(one.output, one.is_error, source, one.result_at)
        return self._missed(call, "changed" if is_changed else "absent")

    def _is_as_then(self, one: _Recording) -> bool:
        """Whether what was done is what had been done when a result was recorded.

        The calls of one answer have no order among each other.
        """
        before = Counter(key for turn, key in self._writes if turn < one.turn)
        beside = Counter(key for turn, key in self._writes if turn == one.turn)
        return before <= self._done <= before + beside

    def _missed(self, call: Call, cause: Cause) -> Missed:
        effect, named = self._effect(call.name), f"{call.name}({call.arguments:.200})"
        key = self._key(call, is_exact=False)
        same = [one for one in self._recordings if one.normal == key]
        left = [one for one in same if not one.is_asked]
        untold = [one for one in left if one.result_at is None]
        told = [one for one in left if one.result_at is not None]
        others = [one for one in self._recordings if one.call.name == call.name]
        if cause == "changed":
            why = (
                f"{named} is on record at {told[0].at}, but after other writes than have been done "
                "now, so that it may give something else"
            )
        elif untold:
            why = f"{named} is on record at {untold[0].at}, but not what it gave"
        elif same:
            why = f"{named} is asked more often than the {len(same)} times that are on record"
        elif others:
            why = (
                f"no result is on record for {named}: the {len(others)} calls of {call.name} there "
                "have other arguments, or another schema"
            )
        else:
            why = f"no result is on record for {named}, nor for any call of {call.name}"
        return Missed(call, effect, f"{why}; {_advice(call.name, effect)}", cause)

    def _effect(self, tool: str) -> events.Effect:
        return self._policies.effect(tool, *self._effects.get(tool, ()))

    def _key(self, call: Call, schema_hash: str | None = None, *, is_exact: bool) -> _Key:
        tool = (self._offered or self._tools).get(call.name)
        schema = tool.parameters if tool is not None else {}
        said = exactly(call) if is_exact else normal_arguments(call, schema, self._policies.ignored)
        self._held.append(said)  # Numbers are told by identity: no other may take its place.
        if self._offered is None:
            schema_hash = ""  # The schemas are those of the record, one like the other.
        elif schema_hash is None:
            schema_hash = tool.schema_hash if tool is not None else ""
        return call.name, call.kind, schema_hash, self._numbers.of(said)

    def _read(self) -> list[_Recording]:
        found: list[_Recording] = []
        answers = {use.id: use.answer for use in Conversation.run(self._history).state.tool_calls}
        relayed = _relayed(self._history)
        for recorded, call, turn in self._calls():
            own = Call(call.name, call.arguments, call.call_id, call.kind)
            self._effects.setdefault(call.name, set()).add(call.effect)
            exact, normal = (self._key(own, call.schema_hash, is_exact=e) for e in (True, False))
            one = _Recording(own, recorded.id, exact, normal, turn)
            if (answer := answers.get(recorded.id)) is not None:
                one.result_at, one.is_error = answer.id, answer.event.is_error
                one.output = told_text(relayed.get(answer.id, answer.event.result))
            found.append(one)
        self._writes = [
            (one.turn, one.normal) for one in found if self._effect(one.call.name) != "read"
        ]
        return found

    def _calls(self) -> Iterator[tuple[Recorded, events.ToolCall, int]]:
        """Each call, as its tool describes it, and which answer it is of."""
        turn, message_id, is_open = 0, None, False
        for recorded in parts_of(self._history):
            if recorded.type == "agent.configured":
                tools = recorded.to_class(events.AgentConfigured).tools
                self._tools |= {tool.name: tool for tool in tools}
                self._describe(tools)
            is_open = is_open and recorded.type not in ("user.utterance", "tool.result")
            if recorded.type == "tool.call":
                call = described(recorded.to_class(events.ToolCall), [*self._tools.values()])
                is_same = call.message_id == message_id and (is_open or message_id is not None)
                turn += not is_same
                yield recorded, call, turn
                message_id, is_open = call.message_id, True

    def _describe(self, tools: Iterable[events.Tool]) -> None:
        for tool in tools:
            self._effects.setdefault(tool.name, set()).add(tool.effect)

    # -- what is declared --------------------------------------------------------------------------

    def _declared(self, call: Call, policy: Policy) -> ToolOutput | Missed:
        match policy:
            case Fixed():
                return ToolOutput(policy.output, policy.is_error, "fixed")
            case Simulated():
                return self._guarded(call, lambda: self._simulated(call, policy.simulator))
            case LiveRead():
                return self._guarded(call, lambda: _live(call, policy))

    def _guarded(self, call: Call, made: Callable[[], ToolOutput]) -> ToolOutput | Missed:
        try:
            return made()
        except Exception as error:  # Whatever code of the user's raises.
            why = f"what stands in for {call.name} failed: {error_text(error)}"
            return Missed(call, self._effect(call.name), why, "failed")

    def _follow(self, call: Call, simulator: Simulator) -> None:
        """Do in a simulation what the record answered, so that it knows when it is needed."""
        try:
            self._simulation(simulator).perform(call)
        except Exception as error:
            self._lost[simulator] = f"it could not follow {call.name}: {error_text(error)}"

    def _simulation(self, simulator: Simulator) -> Simulation:
        if simulator not in self._running:
            self._running[simulator] = simulator(self._history)
        return self._running[simulator]

    def _simulated(self, call: Call, simulator: Simulator) -> ToolOutput:
        if simulator in self._lost:
            raise UsageError(self._lost[simulator])
        output, is_error = self._simulation(simulator).perform(call)
        return ToolOutput(output, is_error, "simulated")


def from_record(policies: ToolPolicies | None = None) -> WorldOf:
    """Worlds that answer from the record, and where that is silent as the policies say."""
    declared = policies or ToolPolicies()
    return lambda history, tools: RecordedWorld(history, declared, tools)


def _live(call: Call, policy: LiveRead) -> ToolOutput:
    given = parsed_arguments(call.arguments)
    try:
        with let_out(call.name):
            result = policy.run(**given) if isinstance(given, dict) else policy.run(given)
            if isawaitable(result):
                result = asyncio.run(_awaited(result))
    except Exception as error:  # The tool's own failure is what the agent is told.
        return ToolOutput(error_text(error), is_error=True, source="live")
    return ToolOutput(told_text(json_value(result)), source="live")


async def _awaited(result: Awaitable[Any]) -> Any:
    return await result


def _advice(tool: str, effect: events.Effect) -> str:
    match effect:
        case "read":
            return f"a simulator, or LiveRead, could answer {tool}"
        case "write":
            return f"a simulator could answer {tool}"
        case "irreversible":
            return f"{tool} is irreversible and is never run"
    return f"what {tool} does is not known, so that it is never run: say so in effects"


def _relayed(history: Sequence[Recorded]) -> dict[str, Any]:
    """What the agent was told instead of a result, by the id of that."""
    found: dict[str, Any] = {}
    last: dict[str, str] = {}
    for recorded in parts_of(history):
        if recorded.type == "tool.result":
            last[recorded.data["call_id"]] = recorded.id
        elif recorded.type == "tool.relayed" and recorded.data["call_id"] in last:
            found[last[recorded.data["call_id"]]] = recorded.data.get("result")
    return found
