"""Two conversations side by side: what each came to, and turn by turn what differs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final, NamedTuple

from msgspec.structs import replace

from refold import Store
from refold.errors import UsageError
from refold.replay.compare import Conversations
from refold.replay.plan import plan_name, plan_of
from refold.replay.replays import ReplayBranch, replay_on
from refold.replay.report import render
from refold.replay.report.courses import course_rows
from refold.replay.report.facts import SHARED, ComparedFact, answered, came, facts
from refold.replay.report.pairs import paired_rows
from refold.replay.report.turns import TurnRow, conversation_rows, without_redacted
from refold.replay.variant import REPLAY_MARK
from refold.ui.pages import place
from refold.ui.visit import Visit

ROWS_A_PAGE: Final = 200
DIFFERENCES: Final = "differences"


class Compared(NamedTuple):
    """Conversation ``a`` and another, or a replay of it, beside each other.

    ``facts`` are what they came to, ``rows`` their turns in order.
    """

    a: str
    b: str
    replayed: ReplayBranch | None
    facts: Sequence[ComparedFact]
    rows: Sequence[TurnRow]

    @property
    def different(self) -> int:
        """How many turns are not the same, or not known to be."""
        return sum(row.level not in SHARED for row in self.rows)


class Gap(NamedTuple):
    """Turns in a row that are the same and are left out."""

    turns: int


def screen(visit: Visit) -> str:
    """The page of two conversations; a form where it is not said which."""
    a, b = asked_pair(visit)
    is_only = visit.text("only") == DIFFERENCES
    values: dict[str, Any] = {"a": a, "b": b, "asked": visit.request.url.query, "pair": None}
    if not (a and b):
        return visit.page("compare.html", **values, is_awaited=False)
    ends = ends_of(visit.store, a, b)
    at = visit.made(("compare", a, b), ends, lambda _: compared(visit.store, a, b))
    made = at.value
    if made is None:
        return visit.page("compare.html", **values, is_awaited=True)
    every = list(without_shared(made.rows)) if is_only else list(made.rows)
    pages = max(1, -(-len(every) // ROWS_A_PAGE))
    page = min(max(visit.number("page") or page_with(every, visit.text("at")), 1), pages)
    shown = every[(page - 1) * ROWS_A_PAGE : page * ROWS_A_PAGE]
    items = [one if isinstance(one, Gap) else _written(visit, one) for one in shown]
    values |= {"pair": made, "a": made.a, "b": made.b, "is_newest": at.is_newest}
    values |= {"items": items, "page": page, "pages": pages, "only": DIFFERENCES * is_only}
    return visit.page("compare.html", **values, is_awaited=False)


def page_with(items: Sequence[TurnRow | Gap], event_id: str) -> int:
    """The page that an event is on, the first where it is on none."""
    found = (
        n for n, one in enumerate(items) if isinstance(one, TurnRow) and one.link.text == event_id
    )
    return next(found, 0) // ROWS_A_PAGE + 1


def asked_pair(visit: Visit) -> tuple[str, str]:
    """The two that an address asks for, by name or as marked in a list; "" where it does not."""
    marked = visit.request.query_params.getlist("mark")
    if not marked:
        return visit.text("a"), visit.text("b")
    if len(marked) != 2:
        raise UsageError(f"{len(marked)} are marked: mark the two that are to be compared")
    return marked[0], marked[1]


def ends_of(store: Store, a: str, b: str) -> Sequence[int]:
    """How far all goes that two are compared by: they compare the same while this is."""
    variants = [one.partition(REPLAY_MARK)[2].partition("-")[0] for one in (a, b)]
    plans = [plan_name(one) for one in variants if one]
    return [store.head(name) for name in (a, b, *plans)]


def compared(store: Store, a: str, b: str) -> Compared:
    """Two conversations beside each other, or one and a replay of it, which is ``b`` then.

    Raises :class:`~refold.errors.NotFound` for a stream that does not exist, and
    :class:`~refold.errors.UsageError` for the replay of another conversation.
    """
    if replay_on(store, a) is not None:
        a, b = b, a
    replayed = replay_on(store, b)
    history = list(store.read(a))
    if replayed is None:
        other = list(store.read(b))
        rows = list(paired_rows(history, other))
        return Compared(a, b, None, facts(came(history), came(other), rows), rows)
    if replayed.stream != a:
        raise UsageError(f"{b} replays {replayed.stream}: compare it with that, not {a}")
    plan = plan_of(store, replayed.variant.id)
    prices = None if plan is None else plan.terms.prices
    answers = Conversations(store, [a], replayed.variant, replayed.sample, prices=prices)
    for one in answers.of(a):
        own = without_redacted(one, history)
        if one.led is None:
            rows, other_came = list(conversation_rows(own, history)), answered(one, history)
        else:
            course = list(store.read(b))
            rows, other_came = list(course_rows(own, history, course)), came(course)
        return Compared(a, b, replayed, facts(came(history), other_came, rows), rows)
    raise UsageError(f"{b} cannot be read: refold verify says where")


def without_shared(rows: Iterable[TurnRow]) -> Iterator[TurnRow | Gap]:
    """The rows that differ, with a gap in the place of those that do not."""
    left_out = 0
    for row in rows:
        if row.level in SHARED:
            left_out += 1
            continue
        if left_out:
            yield Gap(left_out)
        left_out = 0
        yield row
    if left_out:
        yield Gap(left_out)


def _written(visit: Visit, row: TurnRow) -> str:
    """A row as the report has it, its link leading to the page of its event."""
    link = row.link._replace(address=f"{visit.root}/events/{place(row.link.text)}")
    return render.macro("conversation.html", "row_of", replace(row, link=link))
