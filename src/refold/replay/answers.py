"""What a replay's branch holds: an answer, or a failure to answer, a decision."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from refold.conversation.events import ModelFailed
from refold.core.expected import NO_EVENTS
from refold.core.recorded import Recorded
from refold.engine.store import Store
from refold.replay.decision import Action, decisions


class Answer(msgspec.Struct, frozen=True):
    """A candidate's answer to the decision at event ``at``.

    ``id`` is the first event that holds it. ``action`` is None where there was no answer; ``error``
    then says why.
    """

    at: str
    id: str
    action: Action | None
    error: str | None = None


def answers(branch: Iterable[Recorded]) -> dict[str, Answer]:
    """The answers on a branch by the decision that they answer; an answer beats a failure."""
    asked: dict[str, list[Recorded]] = {}
    for recorded in branch:
        said = recorded.metadata.get("replay")
        if isinstance(said, dict) and isinstance(at := said.get("at"), str):
            asked.setdefault(at, []).append(recorded)
    return {at: _answer(at, events) for at, events in asked.items()}


def answers_on(store: Store, branch: str) -> dict[str, Answer]:
    """The answers on a branch of a store; none where it does not exist yet."""
    return {} if store.head(branch) == NO_EVENTS else answers(store.read(branch))


def _answer(at: str, events: list[Recorded]) -> Answer:
    for decision in decisions(events):
        return Answer(at, decision.at, decision.action)
    last = events[-1]
    error = last.to_class(ModelFailed).error if last.type == "model.failed" else "no answer"
    return Answer(at, last.id, None, error)
