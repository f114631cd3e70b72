"""The conversations of a store as a page lists them: those that fit, the newest first."""

from __future__ import annotations

from collections.abc import Container, Iterable, Sequence
from contextlib import suppress
from decimal import Decimal
from functools import partial
from itertools import islice
from typing import Any, Final, NamedTuple

from refold import Store
from refold.conversation.amounts import add, read_amount
from refold.conversation.attributes import Attributes
from refold.errors import NotFound, RefoldError, UsageError
from refold.projections import Projector
from refold.readmodels import Wanted, find
from refold.readmodels.finding import fitting, is_over
from refold.readmodels.searching import amounts_in, attributes_in, search
from refold.replay.datasets import Dataset
from refold.ui import asked
from refold.ui.current import RowsBehind, brought_up
from refold.ui.visit import Visit

ROWS_A_PAGE: Final = 50
OPENING_CHARS_MAX: Final = 90
BESIDE: Final = ("replay~", "dataset~", "refold-")
"""Streams that hold what refold keeps for itself begin so."""
_SPOKEN: Final = ("user.utterance",)
_IS_LISTED: Final = " AND ".join(f"substr(stream, 1, {len(one)}) <> '{one}'" for one in BESIDE)
_FITTING: Final = """SELECT stream, cost, events, turns, errors, answers, priced
FROM search_streams AS one WHERE {}"""
_ORDERED: Final = """SELECT stream, cost FROM search_streams AS one
WHERE {} ORDER BY last_at DESC, stream"""
_LISTED: Final = """SELECT
    stream, first_at, last_at, events, turns, errors, answers, priced, cost,
    opening, outcome, attributes
FROM search_streams WHERE stream IN ({})"""
_TOOLS: Final = """SELECT stream, name FROM search_names
WHERE kind = 'tool' AND stream IN ({}) ORDER BY stream, position"""


class ListedConversation(NamedTuple):
    """A line of the list. Times are RFC 3339, ``tools`` their names.

    ``cost`` is by currency, of those answers that are ``priced``. ``opening`` is what a person said
    first, as far as it is kept.
    """

    stream: str
    first_at: str
    last_at: str
    events: int
    turns: int
    errors: int
    answers: int
    priced: int
    cost: dict[str, Decimal]
    opening: str
    outcome: str | None
    known_by: Attributes
    tools: Sequence[str]


class ConversationPage(NamedTuple):
    """A page of the list, and what all that fit come to.

    ``unread`` are streams whose events could not be read to the end, so they may be missing.
    ``behind`` says how far the log has been read, where that is not to its end.
    """

    rows: Sequence[ListedConversation]
    page: int
    pages: int
    conversations: int
    events: int
    turns: int
    errors: int
    answers: int
    priced: int
    cost: dict[str, Decimal]
    unread: Sequence[str]
    behind: RowsBehind | None = None


def screen(visit: Visit) -> str:
    """The list of conversations that fit what was asked."""
    text, problem = visit.text("q"), ""
    for name in asked.FILTERS:
        if value := visit.text(name):
            text = asked.asking(text, name, value).strip()
    terms, page = asked.terms(text), visit.number("page") or 1
    try:
        held = _of_dataset(visit.store, terms.get("dataset"))
        found = listing(visit.store, asked.asked(text), among=held, page=page, rows=visit.rows)
    except (UsageError, NotFound) as error:
        problem = error.message
        found = listing(visit.store, Wanted(), page=page, rows=visit.rows)
    values = {"listing": found, "asking": asked.asking, "names": asked.NAMES, "terms": terms}
    values |= {"filters": asked.FILTERS, "words": asked.words(text)}
    return visit.page("conversations.html", **values, q=text, problem=problem)


def _of_dataset(store: Store, name: str | None) -> Container[str] | None:
    return None if name is None else Dataset.named(store, name).versions


def listing(
    store: Store,
    wanted: Wanted,
    *,
    among: Container[str] | None = None,
    page: int = 1,
    rows: Store | None = None,
) -> ConversationPage:
    """A page of the conversations that are as wanted, counted from 1; the last where it is over.

    ``among`` are the streams that may be shown, by default all. A sample is taken of what is there
    when all of the log has been read.
    """
    behind = brought_up(store, rows)
    projector = Projector(store, [search], rows=rows)
    (status,) = projector.status()
    if status.state != "current" or (behind and wanted.sample is not None):
        return ConversationPage((), 1, 1, 0, 0, 0, 0, 0, 0, {}, (), behind)
    condition, values = fitting(projector, wanted)
    least = read_amount(wanted.cost_over)
    fit = f"{condition} AND {_IS_LISTED}"
    if wanted.sample is not None:
        among = find(store, wanted, among=partial(_may_be_taken, among), rows=rows).streams
    found = [
        row
        for stream, *row in projector.query(_FITTING.format(fit), values)
        if is_over(least, row[0]) and (among is None or stream in among)
    ]
    pages = max(1, -(-len(found) // ROWS_A_PAGE))
    page = min(max(page, 1), pages)
    return ConversationPage(
        rows=_lines(store, projector, _names(projector, least, among, fit, values, page)),
        page=page,
        pages=pages,
        conversations=len(found),
        events=sum(row[1] for row in found),
        turns=sum(row[2] for row in found),
        errors=sum(row[3] for row in found),
        answers=sum(row[4] for row in found),
        priced=sum(row[5] for row in found),
        cost=_cost(row[0] for row in found),
        unread=[parked.stream for parked in status.parked],
        behind=behind,
    )


def _may_be_taken(among: Container[str] | None, stream: str) -> bool:
    return not stream.startswith(BESIDE) and (among is None or stream in among)


def _cost(found: Iterable[str]) -> dict[str, Decimal]:
    """What costs come to by currency, exactly: SQL would take them for floats."""
    cost: dict[str, Decimal] = {}
    for each in found:
        for currency, amount in amounts_in(each).items():
            add(cost, currency, amount)
    return cost


def _names(
    projector: Projector,
    least: Decimal | None,
    among: Container[str] | None,
    fit: str,
    values: Sequence[Any],
    page: int,
) -> Sequence[str]:
    """The streams of a page, in order."""
    sql, skipped = _ORDERED.format(fit), (page - 1) * ROWS_A_PAGE
    if least is None and among is None:
        limits = (*values, ROWS_A_PAGE, skipped)
        return [name for name, _ in projector.query(f"{sql} LIMIT ? OFFSET ?", limits)]
    fitting = (
        name
        for name, cost in projector.query(sql, values)
        if is_over(least, cost) and (among is None or name in among)
    )
    return list(islice(fitting, skipped, skipped + ROWS_A_PAGE))


def _said(store: Store, stream: str, version: int) -> str:
    """The beginning of what a person said in an event; "" where that cannot be read."""
    if version < 0:
        return ""
    with suppress(RefoldError):
        for recorded in store.read(stream, from_version=version, to_version=version):
            for part in recorded.parts(among=_SPOKEN):
                if part.type == _SPOKEN[0] and isinstance(text := part.data.get("text"), str):
                    return text[:OPENING_CHARS_MAX]
    return ""


def _lines(
    store: Store, projector: Projector, names: Sequence[str]
) -> Sequence[ListedConversation]:
    marks = ", ".join("?" * len(names)) or "NULL"
    tools: dict[str, list[str]] = {name: [] for name in names}
    for stream, name in projector.query(_TOOLS.format(marks), names):
        tools[stream].append(name)
    made: dict[str, ListedConversation] = {}
    for row in projector.query(_LISTED.format(marks), names):
        stream, *told, cost, opening, outcome, known = row
        said = _said(store, stream, opening)
        more = (amounts_in(cost), said, outcome, attributes_in(known), tools[stream])
        made[stream] = ListedConversation._make([stream, *told, *more])
    return [made[name] for name in names if name in made]
