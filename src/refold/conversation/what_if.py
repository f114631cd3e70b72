"""What changes when events of a conversation had not happened."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from refold.conversation.data_flow import ANSWERS, KnownFrom
from refold.conversation.fold import Conversation
from refold.core.diff import diff_states
from refold.core.fold import Fold
from refold.core.jsonvalue import equal
from refold.core.patch import Operation
from refold.core.recorded import Recorded
from refold.engine.branch import Branch
from refold.errors import NotFound, UsageError


class Groundless(NamedTuple):
    """An event that stays although what it rests on is gone."""

    event: Recorded
    reason: str


@dataclass(frozen=True)
class WhatIf:
    """A branch that was changed: what was ``removed`` or ``added``, and what loses its ground.

    An event with others in its place is removed, and they are added.
    """

    before: Branch[Any]
    after: Branch[Any]
    removed: list[Recorded]
    added: list[Recorded]
    groundless: list[Groundless]

    def changes(self, fold: Fold[Any]) -> tuple[Operation, ...]:
        """How the state differs, as a patch from what was to what would be."""
        return diff_states(self.before.fold(fold).state, self.after.fold(fold).state)


def what_if(
    branch: Branch[Any],
    *,
    without: Sequence[str] = (),
    replacing: Mapping[str, Sequence[object]] = MappingProxyType({}),
    adding: Mapping[str, Sequence[object]] = MappingProxyType({}),
) -> WhatIf:
    """A conversation without some events, with others in the place of some, or after some.

    Events are given by their ids, or by their versions as digits; what is put in, as lists of
    events. A tool's result or approval rests on its call; any event on those that it names as its
    basis, its messages or its cause; an answer on the configuration of its agent, and one that
    names no cause on what came since the agent's last: a turn of the user, the results of its
    calls, what it looked up. Where no cause was recorded, a call rests on what its arguments are
    known from, too: where a value of them, or words within it, stand in nothing that is left of
    what the agent had been told, and stood in something that is gone. An event in whose place
    stands one that says the same has lost nothing: it is as if it were still there.
    What rests on an event that has lost its ground has lost its own, and so has an answer that did
    not know of what was put in before it. What the agent said later is taken as recorded. Raises
    :class:`~refold.errors.NotFound` for an event that is not there, and
    :class:`~refold.errors.UsageError` for one that is left out and replaced, or replaced twice.
    """
    added_after, replaced, left_out = _event_ids(branch, adding, replacing, without)
    _check_once(replaced, left_out)
    after = branch
    for wanted, events in zip(added_after, adding.values(), strict=True):
        after = after.adding(*events, after=wanted)
    instead: dict[str, str] = {}
    for wanted, events in zip(replaced, replacing.values(), strict=True):
        first, after = after.made, after.replacing(wanted, *events)
        instead |= {f"{branch.stream}~@{n}": wanted for n in range(first, after.made)}
    same = _said_again(branch, after, instead)
    after = after.without(*left_out)
    known, kept = ({one.id for one in events} for events in (branch, after))
    removed = [one for one in branch if one.id not in kept]
    added = [one for one in after if one.id not in known]
    groundless = _all_groundless(branch.events, [same.get(one.id, one) for one in after])
    return WhatIf(branch, after, removed, added, groundless)


def _is_same(one: Recorded, other: Recorded) -> bool:
    return one.type == other.type and equal(one.data, other.data)


def _all_groundless(before: Sequence[Recorded], after: Sequence[Recorded]) -> list[Groundless]:
    known, kept = ({one.id: one.type for one in events} for events in (before, after))
    gone = {event_id: known[event_id] for event_id in known if event_id not in kept}
    put_in = {event_id: kept[event_id] for event_id in kept if event_id not in known}
    calls = _calls(before)
    found, count, is_ahead = list[Groundless](), -1, _names_what_comes_later(before, calls)
    while len(found) != count:
        count, lost = len(found), {one.event.id: one.event.type for one in found}
        every = _groundless(before, after, calls, gone | lost, put_in)
        found = [one for one in every if one.event.id not in gone]
        if not is_ahead:
            break
    return found


def _names_what_comes_later(events: Sequence[Recorded], calls: dict[str, str]) -> bool:
    """Whether an event rests on one after it, as in streams that were put together elsewhere."""
    places = {recorded.id: place for place, recorded in enumerate(events)}
    return any(
        places.get(cause, -1) > place
        for place, recorded in enumerate(events)
        for cause in _named_by(recorded, calls)
    )


def _groundless(
    before: Sequence[Recorded],
    after: Sequence[Recorded],
    calls: dict[str, str],
    already: Mapping[str, str],
    put_in: Mapping[str, str],
) -> Iterator[Groundless]:
    """What has no ground where so much is gone ``already``: each once, what is gone too if so."""
    gone = dict(already)
    answered, heard = _answered(before), _answered(after)
    ran_by, runs_by = _configured(before), _configured(after)
    told, ahead = KnownFrom(), _put_in_ahead(after, put_in)
    for recorded in before:
        for one in ahead.get(recorded.id, ()):
            told.hear(one, is_gone=False)
        reason, causes = None, [*_named_by(recorded, calls)]
        rests_on = [*(causes or answered.get(recorded.id, [])), *ran_by.get(recorded.id, [])]
        new_to_it = [*heard.get(recorded.id, []), *runs_by.get(recorded.id, [])]
        if basis := next((one for one in rests_on if one in gone), None):
            reason = f"rests on {basis} ({gone[basis]})"
        elif new := next((one for one in new_to_it if one in put_in), None):
            reason = f"did not know of {new} ({put_in[new]})"
        elif not causes:
            reason = told.known_from_what_is_gone(recorded)
        if reason is not None:
            yield Groundless(recorded, reason)
            gone[recorded.id] = recorded.type
        told.hear(recorded, is_gone=recorded.id in gone)


def _put_in_ahead(
    after: Sequence[Recorded], put_in: Mapping[str, str]
) -> dict[str, list[Recorded]]:
    """What was put in right before each event that stays, by its id."""
    found: dict[str, list[Recorded]] = {}
    new: list[Recorded] = []
    for recorded in after:
        if recorded.id in put_in:
            new.append(recorded)
        else:
            found[recorded.id], new = new, []
    return found


def _answered(events: Sequence[Recorded]) -> dict[str, list[str]]:
    """What each event of an answer is the answer to, by their ids: all that came since the last."""
    found: dict[str, list[str]] = {}
    heard: list[str] = []
    is_answering = False
    for recorded in events:
        if recorded.type in ANSWERS:
            found[recorded.id], is_answering = heard, True
        elif recorded.type in _HEARD:
            if is_answering:  # What was heard before stays what that answer is to.
                heard, is_answering = [], False
            heard.append(recorded.id)
    return found


def _configured(events: Sequence[Recorded]) -> dict[str, list[str]]:
    """The configuration that each question and answer was made with, by their ids."""
    found: dict[str, list[str]] = {}
    in_force: list[str] = []
    for recorded in events:
        if recorded.type == "agent.configured":
            in_force = [recorded.id]
        elif recorded.type in (*ANSWERS, "model.request"):
            found[recorded.id] = in_force
    return found


_HEARD: Final = (
    *("user.utterance", "dtmf.received", "tool.result", "tool.relayed"),
    *("retrieval.completed", "memory.read"),
)


def _calls(events: Sequence[Recorded]) -> dict[str, str]:
    """The call that each result and approval belongs to, by their ids; the result that was relayed.

    The fold pairs them: agents use a call id again, so that it alone does not tell.
    """
    found: dict[str, str] = {}
    for use in Conversation.run(events).state.tool_calls:
        found |= {part.id: use.id for part in (use.answer, use.decision) if part is not None}
    last: dict[str, str] = {}
    for recorded in events:
        if recorded.type in ("tool.call", "tool.result"):
            last[recorded.data["call_id"]] = recorded.id
        elif recorded.type == "tool.relayed" and recorded.data["call_id"] in last:
            found[recorded.id] = last[recorded.data["call_id"]]
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


def _said_again(
    branch: Branch[Any], after: Branch[Any], instead: Mapping[str, str]
) -> dict[str, Recorded]:
    """What stands in the place of an event and says the same, by its id, with that event."""
    were = {one.id: one for one in branch} if instead else {}
    pairs = ((one, were.get(instead.get(one.id, ""))) for one in after if instead)
    return {one.id: old for one, old in pairs if old is not None and _is_same(one, old)}


def _event_ids(branch: Branch[Any], *wanted: Iterable[str]) -> list[list[str]]:
    """Ids as they are, and those of the events at versions, of several lists."""
    given = [[*some] for some in wanted]
    if not any(one.isdecimal() for some in given for one in some):
        return given
    ids = {str(recorded.version): recorded.id for recorded in branch}
    return [[_event_id(branch, one, ids) for one in some] for some in given]


def _event_id(branch: Branch[Any], wanted: str, ids: Mapping[str, str]) -> str:
    if not wanted.isdecimal():
        return wanted
    version = int(wanted)
    if (found := ids.get(str(version))) is not None:
        return found
    last = max(map(int, ids), default=-1)
    raise NotFound(
        f"{branch.stream!r} has no version {version}: its last is {last}",
        stream=branch.stream,
        version=version,
        last=last,
    )


def _check_once(replaced: Sequence[str], left_out: Sequence[str]) -> None:
    """Refuse two things that are to become of one event."""
    if both := {*replaced} & {*left_out}:
        one = min(both)
        raise UsageError(
            f"{one} is both left out and replaced: leave it out (without, --without), or say what "
            "stands in its place (replacing, --replace), and not both",
            id=one,
        )
    if len({*replaced}) < len(replaced):
        one = next(one for one in replaced if replaced.count(one) > 1)
        raise UsageError(
            f"{one} is replaced twice, by its id and by its version: give all that stands in its "
            "place at once, as a list",
            id=one,
        )
