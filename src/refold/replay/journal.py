"""The branches of a replay: what is on them, and what is added."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

import msgspec

from refold.conversation.chat_shapes import parsed_arguments
from refold.conversation.events import AgentUtterance, ModelFailed, ModelResponse, Tool, ToolCall
from refold.core.expected import NO_EVENTS
from refold.core.recorded import Recorded
from refold.engine.append import Append
from refold.engine.store import Store
from refold.errors import CodecError, Conflict, Corrupt, InvalidEvent, RefoldError, UpcastFailed
from refold.replay.candidate import ModelFailure
from refold.replay.decision import Action, Call, Decision, decisions
from refold.replay.events import ReplayFinished, ReplayStarted
from refold.replay.request import ChatRequest
from refold.replay.requests import Outcome
from refold.replay.variant import Variant, branch_name

ORIGIN: Final = "replay"
UNREADABLE: Final = (CodecError, UpcastFailed, Corrupt)
"""What reading a conversation raises whose events are not what their types say."""


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


def _answer(events: list[Recorded]) -> StoredAnswer:
    for decision in decisions(events):
        return StoredAnswer(decision.at, decision.action)
    last = events[-1]
    if last.type != "model.failed":
        return StoredAnswer(last.id, None, "no answer")
    return StoredAnswer(last.id, None, last.to_class(ModelFailed).error)


@dataclass
class Left:
    """The ``decisions`` of a conversation and journal that have no outcome yet, and those that do.

    ``is_own``: all that is on the branch comes from this run.
    """

    decisions: set[str]
    is_own: bool
    answered: int = 0
    failed: int = 0

    def came(self, at: str, *, is_answer: bool) -> None:
        """A decision has its outcome."""
        self.decisions.discard(at)
        self.answered += is_answer
        self.failed += not is_answer


@dataclass(frozen=True)
class Task:
    """A decision to be asked, and what is needed to record the answer: where, and with what.

    ``place`` is that of the journal among those of the run.
    """

    place: int
    journal: Journal
    stream: str
    decision: Decision
    request: ChatRequest
    fork_version: int
    tools: Mapping[str, Tool]
    left: Left


@dataclass
class Journal:
    """The branches of one sample of a variant.

    Every append is keyed or checked, so a run that was cut off anywhere is continued by the next.
    """

    store: Store
    variant: Variant
    sample: int
    begun: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self._mark = branch_name("", self.variant, self.sample)

    def branch(self, stream: str) -> str:
        """The name of a stream's branch."""
        return f"{stream}{self._mark}"

    def read(self, stream: str) -> list[Recorded]:
        """What is on a stream's branch; nothing where it does not exist yet."""
        branch = self.branch(stream)
        return [] if self.store.head(branch) == NO_EVENTS else list(self.store.read(branch))

    def beginning(self, task: Task) -> list[Append]:
        """Begin a task's branch, once; what is to be appended to it first."""
        branch = self.branch(task.stream)
        if branch in self.begun:
            return []
        said = msgspec.to_builtins(self.variant)
        if self.store.head(branch) == NO_EVENTS:
            shared = self.store.branch(task.stream, at=task.fork_version)
            # Another process may be replaying the same; all that follows is keyed.
            with suppress(Conflict):
                self.store.save_branch(shared, branch, variant=said)
        self.begun.add(branch)
        started = ReplayStarted(variant=said, mode=self.variant.made, sample=self.sample)
        return [Append(branch, [started], key=key_of(branch, "started"))]

    def ending(self, stream: str, left: Left | None = None) -> list[Append]:
        """What closes a stream's branch with its counts, unless it is its last word already."""
        branch = self.branch(stream)
        # The first is written once, also where another run comes upon what only lacks it.
        first = key_of(branch, "finished")
        if left is not None and left.is_own:
            finished = ReplayFinished(answered=left.answered, failed=left.failed)
            return [Append(branch, [finished], key=first)]
        events = self.read(stream)
        if not events:
            return []
        found = answers(events).values()
        answered = sum(answer.action is not None for answer in found)
        finished = ReplayFinished(answered=answered, failed=len(found) - answered)
        last = events[-1]
        if last.type == "replay.finished" and last.to_class(ReplayFinished) == finished:
            return []
        self.begun.discard(branch)
        is_first = all(event.type != "replay.finished" for event in events)
        return [Append(branch, [finished], last.version, key=first if is_first else None)]


def record(store: Store, answered: Sequence[tuple[Task, Outcome]]) -> list[Outcome]:
    """Add outcomes to their branches, together; an answer may come back as a failure.

    One that cannot be stored (too large, text that is no Unicode) is a failure.
    """
    begun = [append for task, _ in answered for append in task.journal.beginning(task)]
    appends = [_append(task, outcome) for task, outcome in answered]
    stored = list(store.append_many([*begun, *appends]))[len(begun) :]
    outcomes = [outcome for _, outcome in answered]
    for place, error in enumerate(stored):
        if isinstance(error, InvalidEvent):
            failure = ModelFailure(f"the answer cannot be stored: {error}", kind="garbage")
            outcomes[place] = Outcome(outcomes[place].attempts, failure=failure)
            again = _append(answered[place][0], outcomes[place])
            store.append(again.stream, again.events, metadata=again.metadata)
        # A key that is taken: another process has put its answer there, and one is enough.
        elif isinstance(error, RefoldError) and error.code != "key_reused":
            raise error
        elif isinstance(error, RefoldError) or error.duplicate:
            answered[place][0].left.is_own = False
    for (task, _), outcome in zip(answered, outcomes, strict=True):
        task.left.came(task.decision.at, is_answer=outcome.action is not None)
    return outcomes


def _append(task: Task, outcome: Outcome) -> Append:
    branch, decision = task.journal.branch(task.stream), task.decision
    said = {"origin": ORIGIN, "replay": {"at": decision.at, "index": decision.index}}
    if outcome.action is not None:
        events = answer_events(outcome.action, f"replay-{decision.version}", task.tools)
        return Append(branch, events, metadata=said, key=key_of(branch, str(decision.version)))
    status = None if outcome.failure is None else outcome.failure.status
    failed = ModelFailed(error=outcome.error, attempt=outcome.attempts, status=status)
    return Append(branch, [failed], metadata=said)


def answer_events(action: Action, message_id: str, tools: Mapping[str, Tool]) -> list[object]:
    """The events that an answer is recorded as; ``tools`` says what its calls do."""
    response = ModelResponse(
        model=action.model,
        usage=action.usage,
        latency_ms=action.latency_ms,
        first_token_ms=action.first_token_ms,
        attempts=action.attempts,
        wait_ms=action.wait_ms,
        lost_usage=action.lost_usage,
        lost_unknown=action.lost_unknown,
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


def key_of(branch: str, what: str) -> str:
    """The key under which something is put on a branch once, whoever does it."""
    # Hashed: a key may not be longer than a stream's name, and this holds one.
    return "replay-" + hashlib.sha256(f"{branch}\n{what}".encode()).hexdigest()
