"""One conversation as a page shows it: what was said and done by a version, and the state then."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

import msgspec

from refold import Recorded, Store, diff_states
from refold.conversation import Conversation
from refold.conversation.state import ConversationState
from refold.conversation.transcript import Line, transcript
from refold.errors import NotFound
from refold.projections import Projector
from refold.readmodels.forks import branches
from refold.replay.report.formatting import offset
from refold.times import rfc3339
from refold.ui.current import Behind, brought_up
from refold.ui.glance import Glance, Glanced, TimeSpent
from refold.ui.visit import Visit

EVENTS_A_PAGE: Final = 200
BRANCHES_MAX: Final = 100
CHANGES_MAX: Final = 50
_BRANCHES: Final = "SELECT stream, version FROM branches WHERE parent = ? ORDER BY stream LIMIT ?"
KINDS: Final = {
    "user.utterance": "user",
    "agent.utterance": "agent",
    "tool.call": "call",
    "tool.result": "result",
    "tool.relayed": "result",
}
"""What kind of card an event makes; any other is a note."""


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


class BranchLink(NamedTuple):
    """A branch, and the version after which it leaves."""

    stream: str
    after: int


class Shown(NamedTuple):
    """A conversation up to version ``at`` of ``head``.

    ``cards`` are the last events up to there, from version ``first`` on. ``changes`` are what the
    event at ``at`` changed in the :func:`outline` of the state, as JSON Patch (RFC 6902).
    ``behind`` says how far branches are known, where that is not to the end of the log.
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
    spent_ms: Mapping[str, float]
    branches: Sequence[BranchLink]
    behind: Behind | None
    happened_at: str
    known_at: str


def screen(visit: Visit) -> str:
    """The page of a conversation, up to a version."""
    one = shown(visit.store, visit.place("stream"), at=visit.number("at"), rows=visit.rows)
    return visit.page("conversation.html", one=one, outline=outline(one.state))


def shown(store: Store, stream: str, *, at: int | None = None, rows: Store | None = None) -> Shown:
    """A conversation as it was at a version, by default the last.

    :class:`~refold.errors.NotFound` where there is no such stream.
    """
    head = store.head(stream)
    if head < 0:
        raise NotFound(f"there is no stream {stream!r}", stream=stream)
    at = head if at is None else min(max(at, 0), head)
    first = max(0, at + 1 - EVENTS_A_PAGE)
    window = list(store.read(stream, from_version=max(0, first - EVENTS_A_PAGE), to_version=at))
    (opening,) = store.read(stream, to_version=0)
    then = store.fold(stream, Glance, version=at - 1).state if at else Glanced()
    before = outline(then.state)
    glanced = Glance.run(window[-1:], then).state
    latest = glanced if at == head else store.fold(stream, Glance).state
    later = list(_redacted_later(store, window, latest.state))
    return Shown(
        stream=stream,
        at=at,
        head=head,
        first=first,
        cards=list(_folded(_cards(opening, window, later, first))),
        state=glanced.state,
        changes=diff_states(before, outline(glanced.state))[:CHANGES_MAX],
        spent=list(glanced.spent()),
        spent_ms={who: us / 1_000 for who, us in glanced.spent_us.items()},
        behind=brought_up(store, rows),
        branches=list(branches_of(store, stream, rows=rows)),
        happened_at=rfc3339(window[-1].occurred_at_us),
        known_at=rfc3339(window[-1].recorded_at_us),
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


def branches_of(store: Store, stream: str, *, rows: Store | None = None) -> Iterator[BranchLink]:
    """The branches that leave a stream itself, by name, replays among them, as far as known."""
    projector = Projector(store, [branches], rows=rows)
    if projector.status()[0].state == "current":
        for name, version in projector.query(_BRANCHES, (stream, BRANCHES_MAX)):
            yield BranchLink(str(name), int(version))


def _redacted_later(
    store: Store, window: Sequence[Recorded], latest: ConversationState
) -> Iterator[Recorded]:
    """What was redacted of some events since: that is not shown at any moment."""
    held = {one.origin_id for one in window}
    for redaction in latest.redactions:
        if redaction.event.event in held and redaction.id not in held:
            yield store.event(redaction.id)


def _cards(
    opening: Recorded, window: Sequence[Recorded], later: Sequence[Recorded], first: int
) -> Iterator[Card]:
    """The cards of a window of versions, from ``first`` on.

    What came some way before is looked at too, for the calls that results belong to.
    """
    by_id = {one.origin_id: one for one in window}
    started_us = opening.occurred_at_us
    usually_us = opening.recorded_at_us - started_us
    heard = _heard(window)
    for line in transcript([*window, *later]):
        recorded = by_id.get(line.id)
        if recorded is None or recorded.version < first:
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
