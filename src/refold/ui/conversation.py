"""One conversation as a page shows it: what was said and done by a version, and the state then."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

from refold import Recorded, Store, diff_states
from refold.conversation.state import ConversationState
from refold.errors import NotFound
from refold.times import rfc3339
from refold.ui.branching import BranchNode, tree_of
from refold.ui.cards import Card, CardStep, steps_of
from refold.ui.current import RowsBehind, brought_up
from refold.ui.glance import Glance, Glanced, TimeSpent, outline
from refold.ui.pages import TEXT_CHARS_MAX
from refold.ui.visit import Visit

EVENTS_A_PAGE: Final = 200
CHANGES_MAX: Final = 50
ERRORS_NAMED: Final = 9
WORDS_CHARS_MAX: Final = 120_000
"""So much of what was said is on a page, shared by its cards."""


class Shown(NamedTuple):
    """A conversation up to version ``at`` of ``head``.

    ``steps`` are the last events up to there, from version ``first`` on. ``changes`` are what the
    event at ``at`` changed in the :func:`outline` of the state, as JSON Patch (RFC 6902).
    ``errors`` are the first of these that went wrong. ``branches`` is the tree that it stands in,
    if it is in any; ``behind`` says how far that is known, where it is not to the log's end.
    ``happened_at`` and ``known_at`` are when it happened and when it was recorded, RFC 3339.
    """

    stream: str
    at: int
    head: int
    first: int
    steps: Sequence[CardStep]
    state: ConversationState
    changes: Sequence[Any]
    spent: Sequence[TimeSpent]
    spent_ms: Mapping[str, float]
    turns: int
    errors: Sequence[Card]
    branches: BranchNode | None
    behind: RowsBehind | None
    happened_at: str
    known_at: str


def screen(visit: Visit) -> str:
    """The page of a conversation, up to a version."""
    one = shown(visit.store, visit.place("stream"), at=visit.number("at"), rows=visit.rows)
    shared = max(1, sum(1 for step in one.steps for _ in step.every()))
    limits = {"words_max": min(TEXT_CHARS_MAX, WORDS_CHARS_MAX // shared)}
    return visit.page("conversation.html", one=one, outline=outline(one.state), **limits)


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
    behind = brought_up(store, rows)
    steps = steps_of(opening, window, later, first)
    wrong = sorted((card for step in steps for card in step.every() if card.is_error), key=_version)
    return Shown(
        stream=stream,
        at=at,
        head=head,
        first=first,
        steps=steps,
        state=glanced.state,
        changes=diff_states(before, outline(glanced.state))[:CHANGES_MAX],
        spent=list(glanced.spent()),
        spent_ms={who: us / 1_000 for who, us in glanced.spent_us.items()},
        turns=glanced.turns,
        errors=wrong[:ERRORS_NAMED],
        branches=tree_of(store, stream, rows=rows),
        behind=behind,
        happened_at=rfc3339(window[-1].occurred_at_us),
        known_at=rfc3339(window[-1].recorded_at_us),
    )


def _version(card: Card) -> int:
    return card.version


def _redacted_later(
    store: Store, window: Sequence[Recorded], latest: ConversationState
) -> Iterator[Recorded]:
    """What was redacted of some events since: that is not shown at any moment."""
    held = {one.origin_id for one in window}
    for redaction in latest.redactions:
        if redaction.event.event in held and redaction.id not in held:
            yield store.event(redaction.id)
