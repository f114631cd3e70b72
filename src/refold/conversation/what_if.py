"""What changes when events of a conversation had not happened."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from refold.conversation.fold import Conversation
from refold.core.diff import diff_states
from refold.core.fold import Fold
from refold.core.patch import Operation
from refold.core.recorded import Recorded
from refold.engine.branch import Branch
from refold.errors import NotFound


class Groundless(NamedTuple):
    """An event that stays although what it rests on is gone."""

    event: Recorded
    reason: str


@dataclass(frozen=True)
class WhatIf:
    """A branch without some events: those ``removed``, and those that lose their ground."""

    before: Branch[Any]
    after: Branch[Any]
    removed: list[Recorded]
    groundless: list[Groundless]

    def changes(self, fold: Fold[Any]) -> tuple[Operation, ...]:
        """How the state differs, as a patch from what was to what would be."""
        return diff_states(self.before.fold(fold).state, self.after.fold(fold).state)


def what_if(branch: Branch[Any], *, without: Sequence[str]) -> WhatIf:
    """A conversation without some events, given by their ids, or by their versions as digits.

    A tool's result or approval rests on its call; any event on those that it names as its basis,
    its messages or its cause; an answer that names none on what came since the agent's last: a
    turn of the user, the results of its calls, what it looked up. What rests on an event that has
    lost its ground has lost its own. What the agent said later is taken as recorded. Raises
    :class:`~refold.errors.NotFound` for an event that is not there.
    """
    after = branch.without(*(_event_id(branch, wanted) for wanted in without))
    kept = {recorded.id for recorded in after}
    removed = [recorded for recorded in branch if recorded.id not in kept]
    return WhatIf(branch, after, removed, list(_groundless(branch.events, removed)))


def _groundless(before: Sequence[Recorded], removed: Sequence[Recorded]) -> Iterator[Groundless]:
    gone = {recorded.id: recorded.type for recorded in removed}
    calls, answered = _calls(before), _answered(before)
    for recorded in before:
        named = [*_named_by(recorded, calls)] or answered.get(recorded.id, [])
        basis = next((basis for basis in named if basis in gone), None)
        if basis is not None and recorded.id not in gone:
            yield Groundless(recorded, f"rests on {basis} ({gone[basis]})")
            gone[recorded.id] = recorded.type


def _answered(events: Sequence[Recorded]) -> dict[str, list[str]]:
    """What each event of an answer is the answer to, by their ids: all that came since the last."""
    found: dict[str, list[str]] = {}
    heard: list[str] = []
    is_answering = False
    for recorded in events:
        if recorded.type in _ANSWERS:
            found[recorded.id], is_answering = heard, True
        elif recorded.type in _HEARD:
            heard = [recorded.id] if is_answering else [*heard, recorded.id]
            is_answering = False
    return found


_ANSWERS: Final = ("agent.utterance", "tool.call", "model.response")
_HEARD: Final = (
    *("user.utterance", "dtmf.received", "tool.result", "tool.relayed"),
    *("retrieval.completed", "memory.read"),
)


def _calls(events: Sequence[Recorded]) -> dict[str, str]:
    """The call that each result and approval belongs to, by their ids.

    The fold pairs them: agents use a call id again, so that it alone does not tell.
    """
    found: dict[str, str] = {}
    for use in Conversation.run(events).state.tool_calls:
        found |= {part.id: use.id for part in (use.answer, use.decision) if part is not None}
    return found


def _named_by(recorded: Recorded, calls: dict[str, str]) -> Iterator[str]:
    """The ids of the events that an event rests on."""
    if recorded.id in calls:
        yield calls[recorded.id]
    data = recorded.data if isinstance(recorded.data, dict) else {}
    for name in ("basis", "messages"):
        named = data.get(name)
        yield from (one for one in named if isinstance(one, str)) if isinstance(named, list) else ()
    if isinstance(cause := recorded.metadata.get("causation"), str):
        yield cause


def _event_id(branch: Branch[Any], wanted: str) -> str:
    """An id as it is; the id of the event at a version."""
    if not wanted.isdecimal():
        return wanted
    ids = {recorded.version: recorded.id for recorded in branch}
    if (version := int(wanted)) not in ids:
        last = max(ids, default=-1)
        raise NotFound(
            f"{branch.stream!r} has no version {version}: its last is {last}",
            stream=branch.stream,
            version=version,
            last=last,
        )
    return ids[version]
