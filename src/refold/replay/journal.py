"""The branches of a replay: what is on them, and what is added."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field

import msgspec

from refold.conversation.chat_shapes import parsed_arguments
from refold.conversation.events import (
    AgentUtterance,
    ModelFailed,
    ModelResponse,
    Tool,
    ToolCall,
)
from refold.core.expected import NO_EVENTS
from refold.core.recorded import Recorded
from refold.engine.store import Store
from refold.errors import Conflict, InvalidEvent, UsageError
from refold.replay.candidate import ModelFailure
from refold.replay.decision import Action, Call, Decision, decisions
from refold.replay.events import ReplayFinished, ReplayStarted
from refold.replay.plan import keep_plan
from refold.replay.request import ChatRequest
from refold.replay.requests import Outcome
from refold.replay.variant import NEXT_STEP, Variant, branch_name

ORIGIN = "replay"


class StoredAnswer(msgspec.Struct, frozen=True):
    """A candidate's answer to a decision.

    ``id`` is the first event that holds it. ``action`` is None where there was no answer; ``error``
    then says why.
    """

    id: str
    action: Action | None
    error: str | None = None


def answers(branch: Iterable[Recorded]) -> dict[str, StoredAnswer]:
    """The answers on a branch by the decision that they answer; an answer beats a failure."""
    asked: dict[str, list[Recorded]] = {}
    for recorded in branch:
        said = recorded.metadata.get("replay")
        if isinstance(said, dict) and isinstance(at := said.get("at"), str):
            asked.setdefault(at, []).append(recorded)
    return {at: _answer(events) for at, events in asked.items()}


def answers_on(store: Store, branch: str) -> dict[str, StoredAnswer]:
    """The answers on a branch of a store; none where it does not exist yet."""
    return {} if store.head(branch) == NO_EVENTS else answers(store.read(branch))


def _answer(events: list[Recorded]) -> StoredAnswer:
    for decision in decisions(events):
        return StoredAnswer(decision.at, decision.action)
    last = events[-1]
    error = last.to_class(ModelFailed).error if last.type == "model.failed" else "no answer"
    return StoredAnswer(last.id, None, error)


@dataclass(frozen=True)
class Task:
    """A decision to be asked, and what is needed to record the answer."""

    stream: str
    decision: Decision
    request: ChatRequest
    fork_version: int
    tools: Mapping[str, Tool]


@dataclass
class Journal:
    """Records a replay of one variant as events, each decision once.

    Every append is keyed or checked, so a run that was cut off anywhere is continued by the next.
    ``planned`` are the streams that the run is to ask, ``endpoint`` whom it asks.
    """

    store: Store
    variant: Variant
    sample: int
    endpoint: str | None = None
    planned: list[str] = field(default_factory=list)
    begun: set[str] = field(default_factory=set)

    def branch(self, stream: str) -> str:
        """The name of a stream's branch."""
        return branch_name(stream, self.variant, self.sample)

    def record(self, task: Task, outcome: Outcome) -> Outcome:
        """Add the outcome of a decision to the branch; it may come back as a failure.

        An answer that cannot be stored (too large, text that is no Unicode) is a failure.
        """
        branch, decision = self.branch(task.stream), task.decision
        self._ensure(branch, task)
        said = {"origin": ORIGIN, "replay": {"at": decision.at, "index": decision.index}}
        if outcome.action is not None:
            answer = _events(outcome.action, f"replay-{decision.version}", task.tools)
            key = _key(branch, str(decision.version))
            try:
                self.store.append(branch, answer, key=key, metadata=said)
            except InvalidEvent as error:
                failure = ModelFailure(f"the answer cannot be stored: {error}", kind="garbage")
                outcome = Outcome(outcome.attempts, failure=failure)
            except UsageError as error:
                # Another process has put its answer there meanwhile; one is enough.
                if error.code != "key_reused":
                    raise
        if outcome.failure is not None:
            status = outcome.failure.status
            failed = ModelFailed(error=outcome.error, attempt=outcome.attempts, status=status)
            self.store.append(branch, [failed], metadata=said)
        return outcome

    def finish(self, stream: str) -> None:
        """Close the branch with its counts, unless they are its last word already."""
        branch = self.branch(stream)
        if self.store.head(branch) == NO_EVENTS:
            return
        events = list(self.store.read(branch))
        found = answers(events).values()
        answered = sum(answer.action is not None for answer in found)
        finished = ReplayFinished(answered=answered, failed=len(found) - answered)
        last = events[-1]
        if last.type != "replay.finished" or last.to_class(ReplayFinished) != finished:
            self.store.append(branch, [finished])

    def _ensure(self, branch: str, task: Task) -> None:
        """Begin the branch, once."""
        if branch in self.begun:
            return
        if not self.begun:
            keep_plan(self.store, self.variant, self.sample, self.planned, self.endpoint)
        said = msgspec.to_builtins(self.variant)
        if self.store.head(branch) == NO_EVENTS:
            shared = self.store.branch(task.stream, at=task.fork_version)
            # Another process may be replaying the same; all that follows is keyed.
            with suppress(Conflict):
                self.store.save_branch(shared, branch, variant=said)
        started = ReplayStarted(variant=said, mode=NEXT_STEP, sample=self.sample)
        self.store.append(branch, [started], key=_key(branch, "started"))
        self.begun.add(branch)


def _events(action: Action, message_id: str, tools: Mapping[str, Tool]) -> list[object]:
    response = ModelResponse(
        model=action.model,
        usage=action.usage,
        latency_ms=action.latency_ms,
        cost=action.cost,
        finish_reason=action.finish_reason,
        message_id=message_id,
    )
    said = AgentUtterance(
        text=action.text,
        parts=list(action.parts) or None,
        finish_reason=action.finish_reason,
        message_id=message_id,
    )
    calls = [
        _called(call, tools.get(call.name, Tool(name=call.name)), message_id)
        for call in action.calls
    ]
    speaks = action.text or action.parts or not calls
    return [response, said, *calls] if speaks else [response, *calls]


def _called(call: Call, tool: Tool, message_id: str) -> ToolCall:
    return ToolCall(
        call_id=call.call_id,
        name=call.name,
        arguments=call.arguments,
        parsed=None if call.kind == "custom" else parsed_arguments(call.arguments),
        kind=call.kind,
        schema_hash=tool.schema_hash,
        effect=tool.effect,
        message_id=message_id,
    )


def _key(branch: str, what: str) -> str:
    # Hashed: a key may not be longer than a stream's name, and this holds one.
    return "replay-" + hashlib.sha256(f"{branch}\n{what}".encode()).hexdigest()
