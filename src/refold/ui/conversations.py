"""The conversations of a store as a page lists them: those that fit, the newest first."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Final, NamedTuple

from refold import Store
from refold.conversation.attributes import Attributes
from refold.errors import UsageError
from refold.projections import Projector
from refold.readmodels import Wanted, find
from refold.readmodels.searching import amounts_in, attributes_in, search
from refold.ui import asked
from refold.ui.visit import Visit

ROWS_A_PAGE: Final = 100
BESIDE: Final = ("replay~", "dataset~", "refold-")
"""Streams that hold what refold keeps for itself begin so."""
_LISTED: Final = """SELECT stream, first_at, last_at, events, errors, cost, outcome
FROM search_streams WHERE events > 0 ORDER BY last_at DESC, stream"""


class ListedConversation(NamedTuple):
    """A line of the list. Times are RFC 3339, ``cost`` is by currency, ``tools`` their names."""

    stream: str
    first_at: str
    last_at: str
    events: int
    errors: int
    cost: dict[str, Decimal]
    outcome: str | None
    known_by: Attributes
    tools: Sequence[str]


class ConversationPage(NamedTuple):
    """A page of the list, and what all that fit come to.

    ``unread`` are streams whose events could not be read to the end, so they may be missing.
    """

    rows: Sequence[ListedConversation]
    page: int
    pages: int
    conversations: int
    events: int
    errors: int
    cost: dict[str, Decimal]
    unread: Sequence[str]


def screen(visit: Visit) -> str:
    """The list of conversations that fit what was asked."""
    text, problem = visit.text("q"), ""
    try:
        wanted = asked.asked(text)
    except UsageError as error:
        wanted, problem = Wanted(), error.message
    found = listing(visit.store, wanted, page=visit.number("page") or 1, rows=visit.rows)
    values = {"listing": found, "asking": asked.asking, "names": asked.NAMES}
    return visit.page("conversations.html", **values, q=text, problem=problem)


def listing(
    store: Store, wanted: Wanted, *, page: int = 1, rows: Store | None = None
) -> ConversationPage:
    """A page of the conversations that are as wanted, counted from 1; the last where it is over."""
    found = find(store, wanted, rows=rows)
    projector = Projector(store, [search], rows=rows)
    fit = [row for row in projector.query(_LISTED) if _is_listed(row[0], found.streams)]
    cost: dict[str, Decimal] = {}
    for row in fit:
        for currency, amount in amounts_in(row[5]).items():
            cost[currency] = cost.get(currency, Decimal()) + amount
    pages = max(1, -(-len(fit) // ROWS_A_PAGE))
    page = min(max(page, 1), pages)
    shown = fit[(page - 1) * ROWS_A_PAGE : page * ROWS_A_PAGE]
    return ConversationPage(
        rows=_lines(projector, shown),
        page=page,
        pages=pages,
        conversations=len(fit),
        events=sum(row[3] for row in fit),
        errors=sum(row[4] for row in fit),
        cost=cost,
        unread=found.unread,
    )


def _is_listed(stream: str, found: frozenset[str]) -> bool:
    return stream in found and not stream.startswith(BESIDE)


def _lines(
    projector: Projector, shown: Sequence[tuple[object, ...]]
) -> Sequence[ListedConversation]:
    names = [str(row[0]) for row in shown]
    marks = ", ".join("?" * len(names))
    known: dict[str, Attributes] = {}
    tools: dict[str, list[str]] = {name: [] for name in names}
    if names:
        sql = f"SELECT stream, attributes FROM search_streams WHERE stream IN ({marks})"
        known = {stream: attributes_in(of) for stream, of in projector.query(sql, names)}
        sql = f"""SELECT stream, name FROM search_names
WHERE kind = 'tool' AND stream IN ({marks}) ORDER BY stream, position"""
        for stream, name in projector.query(sql, names):
            tools[stream].append(name)
    return [
        ListedConversation(
            stream=str(stream),
            first_at=str(first),
            last_at=str(last),
            events=int(str(events)),
            errors=int(str(errors)),
            cost=amounts_in(str(cost)),
            outcome=None if outcome is None else str(outcome),
            known_by=known.get(str(stream), Attributes()),
            tools=tools[str(stream)],
        )
        for stream, first, last, events, errors, cost, outcome in shown
    ]
