"""One conversation as a page shows it: what was said and done by a version, and the state then."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice, pairwise
from typing import Any, Final, NamedTuple

import msgspec

from refold import Recorded, Store, diff_states
from refold.conversation import Conversation
from refold.conversation.state import ConversationState
from refold.conversation.transcript import Line, transcript
from refold.errors import NotFound
from refold.replay.report.formatting import offset
from refold.times import rfc3339
from refold.ui.visit import Visit

EVENTS_A_PAGE: Final = 200
BRANCHES_MAX: Final = 100
CHANGES_MAX: Final = 50
KINDS: Final = {
    "user.utterance": "user",
    "agent.utterance": "agent",
    "tool.call": "call",
    "tool.result": "result",
    "tool.relayed": "result",
}
"""What kind of card an event makes; any other is a note."""
_WAITED_FOR: Final = {
    "model.response": "model",
    "agent.utterance": "model",
    "model.failed": "model",
    "tool.result": "tools",
    "tool.relayed": "tools",
    "user.utterance": "caller",
}
"""Who the time before an event was spent waiting for; anything else counts as ``other``."""


class Card(NamedTuple):
    """An event as it is read: its ``line``, what ``kind`` of card it makes, how often in a row.

    ``late_us`` is how much later than usual it was recorded after it happened, in microseconds;
    usual is what the first event says. ``heard`` is what was heard of words that were interrupted;
    None: all of them.
    """

    line: Line
    version: int
    kind: str
    clock: str
    late_us: int
    heard: str | None = None
    repeated: int = 1


class TimeSpent(NamedTuple):
    """A stretch of the bar of time: who was waited for, how long, and where it lies, 0 to 1."""

    who: str
    ms: float
    start: float
    width: float


class BranchLink(NamedTuple):
    """A branch, and the version after which it leaves."""

    stream: str
    after: int


class Shown(NamedTuple):
    """A conversation up to version ``at`` of ``head``.

    ``cards`` are the last events up to there, from version ``first`` on. ``changes`` are what the
    event at ``at`` changed in the :func:`outline` of the state, as JSON Patch (RFC 6902).
    ``happened_at`` and ``known_at`` are when it happened and when it was recorded, RFC 3339.
    """

    stream: str
    at: int
    head: int
    first: int
    cards: Sequence[Card]
    state: ConversationState
    changes: Sequence[Any]
    spent: Sequence[TimeSpent]
    branches: Sequence[BranchLink]
    happened_at: str
    known_at: str


def screen(visit: Visit) -> str:
    """The page of a conversation, up to a version."""
    one = shown(visit.store, visit.place("stream"), at=visit.number("at"))
    return visit.page("conversation.html", one=one, outline=outline(one.state))


def shown(store: Store, stream: str, *, at: int | None = None) -> Shown:
    """A conversation as it was at a version, by default the last.

    :class:`~refold.errors.NotFound` where there is no such stream.
    """
    whole = list(store.read(stream))
    if not whole:
        raise NotFound(f"there is no stream {stream!r}", stream=stream)
    head = whole[-1].version
    at = head if at is None else min(max(at, 0), head)
    first = max(0, at + 1 - EVENTS_A_PAGE)
    state = store.fold(stream, Conversation, version=at).state
    before = store.fold(stream, Conversation, version=at - 1).state if at else ConversationState()
    return Shown(
        stream=stream,
        at=at,
        head=head,
        first=first,
        cards=list(_folded(_cards(whole, first, at))),
        state=state,
        changes=diff_states(outline(before), outline(state))[:CHANGES_MAX],
        spent=list(_spent(whole[: at + 1])),
        branches=list(branches_of(store, stream)),
        happened_at=rfc3339(whole[at].occurred_at_us),
        known_at=rfc3339(whole[at].recorded_at_us),
    )


def outline(state: ConversationState) -> dict[str, Any]:
    """What of a state changes from event to event, but for the words themselves, as JSON values."""
    said = {
        "status": state.status,
        "agent": state.agent and state.agent.agent,
        "state": state.state,
        "tokens": {"in": state.usage.input_tokens, "out": state.usage.output_tokens},
        "cost": state.cost,
        "money": state.money.net,
        "open calls": sorted(state.open_calls),
        "scores": {one.event.name: one.event.value for one in state.scores},
    }
    given = {name: one for name, one in said.items() if one or name == "state"}
    built: dict[str, Any] = msgspec.to_builtins(given, enc_hook=str)
    return built


def branches_of(store: Store, stream: str) -> Iterator[BranchLink]:
    """The branches that leave a stream itself, by name, replays among them."""
    category = f"{stream.partition('-')[0].partition('~')[0]}~"
    links = (
        BranchLink(info.stream, info.fork.version)
        for info in store.streams(category=category)
        if info.fork is not None and info.fork.parent == stream
    )
    return islice(links, BRANCHES_MAX)


def _cards(whole: Sequence[Recorded], first: int, at: int) -> Iterator[Card]:
    """The cards of versions ``first`` to ``at``.

    What came some way before is looked at too, for the calls that results belong to; and what was
    redacted later, for that is not shown at any moment.
    """
    window = whole[max(0, first - EVENTS_A_PAGE) : at + 1]
    later = [one for one in whole[at + 1 :] if one.type == "redaction.applied"]
    by_id = {one.origin_id: one for one in window}
    started_us = whole[0].occurred_at_us
    usually_us = whole[0].recorded_at_us - started_us
    heard = _heard(window)
    for line in transcript([*window, *later]):
        recorded = by_id.get(line.id)
        if recorded is None or recorded.version < first or recorded.version > at:
            continue
        kind = KINDS.get(line.type, "note")
        clock = offset(recorded.occurred_at_us - started_us)
        late_us = recorded.recorded_at_us - recorded.occurred_at_us - usually_us
        yield Card(line, recorded.version, kind, clock, late_us, heard.get(line.id))


def _heard(window: Iterable[Recorded]) -> dict[str, str]:
    state = Conversation.run(window).state
    return {one.id: one.heard for one in state.transcript if one.heard is not None}


def _folded(cards: Iterable[Card]) -> Iterator[Card]:
    """The same with a call that is made again and again, with the same words, as one card."""
    held: Card | None = None
    for card in cards:
        is_again = held is not None and card.kind == "call" and card.line.text == held.line.text
        if held is not None and is_again:
            held = held._replace(repeated=held.repeated + 1)
            continue
        if held is not None:
            yield held
        held = card
    if held is not None:
        yield held


def _spent(history: Sequence[Recorded]) -> Iterator[TimeSpent]:
    """Where the time went, from event to event, neighbours for the same one together."""
    started_us = history[0].occurred_at_us
    whole_us = max(one.occurred_at_us for one in history) - started_us
    if whole_us <= 0:
        return
    stretches: list[tuple[str, int, int]] = []
    for before, after in pairwise(sorted(history, key=lambda one: one.occurred_at_us)):
        who = _WAITED_FOR.get(after.type, "other")
        start, end = before.occurred_at_us - started_us, after.occurred_at_us - started_us
        if stretches and stretches[-1][0] == who:
            start = stretches.pop()[1]
        if end > start:
            stretches.append((who, start, end))
    for who, start, end in stretches:
        yield TimeSpent(who, (end - start) / 1_000, start / whole_us, (end - start) / whole_us)
