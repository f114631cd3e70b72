"""The branches of a replay: what is on them, and what is added."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

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
from refold.engine.store import Store
from refold.errors import Conflict, InvalidEvent, UsageError
from refold.replay.answers import Answer, answers, answers_on
from refold.replay.asking import Outcome
from refold.replay.candidate import ModelFailure
from refold.replay.decision import Action, Call, Decision
from refold.replay.events import ReplayFinished, ReplayStarted
from refold.replay.variant import NEXT_STEP, Variant, branch_name

ORIGIN = "replay"


class Ledger:
    """Records a replay of one variant as events, each decision once.

    Every append is keyed or checked, so a run that was cut off anywhere is continued by the next.
    """

    def __init__(self, store: Store, variant: Variant, *, sample: int) -> None:
        self._store = store
        self._variant = variant
        self._sample = sample
        self._open: set[str] = set()

    def branch(self, stream: str) -> str:
        """The name of a stream's branch."""
        return branch_name(stream, self._variant, self._sample)

    def answers(self, stream: str) -> dict[str, Answer]:
        """What the branch holds so far, by the id of the recorded decision."""
        return answers_on(self._store, self.branch(stream))

    def record(
        self,
        stream: str,
        decision: Decision,
        outcome: Outcome,
        *,
        fork_version: int,
        tools: Mapping[str, Tool],
    ) -> Outcome:
        """Add the outcome of a decision to the branch; it may come back as a failure.

        An answer that cannot be stored (too large, text that is no Unicode) is a failure.
        """
        self._ensure(stream, fork_version)
        if outcome.action is None:
            self._append_failure(stream, decision, outcome)
            return outcome
        try:
            self._append_answer(stream, decision, outcome.action, tools)
        except InvalidEvent as error:
            failure = ModelFailure(f"the answer cannot be stored: {error}", kind="garbage")
            failed = Outcome(outcome.attempts, failure=failure)
            self._append_failure(stream, decision, failed)
            return failed
        return outcome

    def finish(self, stream: str) -> None:
        """Close the branch with its counts, unless they are its last word already."""
        branch = self.branch(stream)
        if self._store.head(branch) == NO_EVENTS:
            return
        events = list(self._store.read(branch))
        found = answers(events).values()
        answered = sum(answer.action is not None for answer in found)
        finished = ReplayFinished(answered=answered, failed=len(found) - answered)
        last = events[-1]
        if last.type != "replay.finished" or last.to_class(ReplayFinished) != finished:
            self._store.append(branch, [finished])

    def _ensure(self, stream: str, fork_version: int) -> None:
        branch = self.branch(stream)
        if branch in self._open:
            return
        said = msgspec.to_builtins(self._variant)
        if self._store.head(branch) == NO_EVENTS:
            # Another process may be replaying the same; all that follows is keyed.
            with suppress(Conflict):
                self._store.save_branch(
                    self._store.branch(stream, at=fork_version), branch, variant=said
                )
        started = ReplayStarted(variant=said, mode=NEXT_STEP, sample=self._sample)
        self._store.append(branch, [started], key=_key(branch, "started"))
        self._open.add(branch)

    def _append_answer(
        self, stream: str, decision: Decision, action: Action, tools: Mapping[str, Tool]
    ) -> None:
        branch = self.branch(stream)
        try:
            self._store.append(
                branch,
                _events(action, f"replay-{decision.version}", tools),
                key=_key(branch, str(decision.version)),
                metadata=_metadata(decision),
            )
        except UsageError as error:
            # Another process has put its answer there meanwhile; one is enough.
            if error.code != "key_reused":
                raise

    def _append_failure(self, stream: str, decision: Decision, outcome: Outcome) -> None:
        failure = outcome.failure
        event = ModelFailed(
            error=outcome.error,
            attempt=outcome.attempts,
            status=None if failure is None else failure.status,
        )
        self._store.append(self.branch(stream), [event], metadata=_metadata(decision))


def _metadata(decision: Decision) -> dict[str, Any]:
    return {"origin": ORIGIN, "replay": {"at": decision.at, "index": decision.index}}


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
        text=action.text, finish_reason=action.finish_reason, message_id=message_id
    )
    calls = [_called(call, tools.get(call.name), message_id) for call in action.calls]
    return [response, said, *calls] if action.text or not calls else [response, *calls]


def _called(call: Call, tool: Tool | None, message_id: str) -> ToolCall:
    known = Tool(name=call.name) if tool is None else tool
    return ToolCall(
        call_id=call.call_id,
        name=call.name,
        arguments=call.arguments,
        parsed=parsed_arguments(call.arguments),
        schema_hash=known.schema_hash,
        effect=known.effect,
        message_id=message_id,
    )


def _key(branch: str, what: str) -> str:
    # Hashed: a key may not be longer than a stream's name, and this holds one.
    return "replay-" + hashlib.sha256(f"{branch}\n{what}".encode()).hexdigest()
