"""One replay: whether to ship the change, how sure that is, and the conversations behind it."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future
from typing import Any, Final, NamedTuple, cast

from refold import Store
from refold.errors import UsageError
from refold.replay import Question, Variant, compare
from refold.replay.answer import Verdict
from refold.replay.arms import PRIMARY, measured
from refold.replay.compare import Comparison, Conversations
from refold.replay.plan import ReplayPlan, plan_of, plans
from refold.replay.replays import Replay, find_replay, replays
from refold.replay.report import render
from refold.replay.report.page import RecordedUnder
from refold.replay.variant import branch_name
from refold.ui.next_steps import after_replay
from refold.ui.places import PlacesBehind
from refold.ui.runs import ReplaysSeen, lines_of
from refold.ui.visit import Visit

BEHIND: Final = "?behind="
ITEMS_A_PAGE: Final = 200
SMALL_MAX: Final = 5_000
"""Of a replay of so many decisions all lists are kept between two pages, and the first page waits
for them; of more only the list that is shown, and the page says that it is being made."""
HEADS: Final = (
    *("Conversation", "Decisions", "Levels", "Other action", "First at", "Cost", "Latency"),
)
SCALE: Final = 1_000


class DrawnInterval(NamedTuple):
    """An interval as it is drawn, from 0 to 1000: its ends, the difference, nothing, the margin."""

    low: float
    high: float
    at: float
    zero: float
    margin: tuple[float, float] | None


class ComparedReplay(NamedTuple):
    """A replay compared with its control, or the record; ``notes`` say what was not to be had."""

    comparison: Comparison
    notes: Sequence[str]


class JudgedReplay(NamedTuple):
    """What a page shows of a comparison: what is read first, the figures, what is behind them."""

    comparison: Comparison
    places: PlacesBehind
    first: str
    figures: str
    notes: Sequence[str]


def screen(visit: Visit) -> str:
    """The page of one replay; or a list of what is behind one of its figures."""
    store, seen, behind = visit.store, ReplaysSeen.of(visit), visit.text("behind")
    replay = find_replay(replays(store), visit.place("name"))
    plan = plan_of(store, replay.variant.id)
    lines = lines_of(store, replay, seen, seen.held())
    goes_on = any(line.goes_on for line in lines)
    values: dict[str, Any] = {"replay": replay, "lines": lines, "behind": behind}
    values |= {"goes_on": goes_on, "is_awaited": goes_on}
    if goes_on:
        return visit.page("replay.html", judged=None, **values)
    is_small = sum(line.planned for line in lines) <= SMALL_MAX
    found = _judged(visit, replay, plan, None if is_small else behind)
    if not is_small and not found.done():
        return visit.page("replay.html", judged=None, **values | {"is_awaited": True})
    judged = found.result()
    if behind:
        return visit.page("behind.html", **_listed(visit, judged, behind), **values)
    is_asked = all(line.run.is_complete and not line.run.failed for line in lines)
    pairs = [(one, drawn(one)) for one in judged.comparison.verdicts]
    values["drawn"] = [(one, at) for one, at in pairs if at is not None]
    others = [] if plan is None else categories_with_more(store, plan)
    how: Any = {"is_asked": is_asked, "others": others, "db": visit.db}
    values["steps"] = after_replay(plan, judged.comparison, **how)
    return visit.page("replay.html", judged=judged, **values)


def _judged(
    visit: Visit, replay: Replay, plan: ReplayPlan | None, kept: str | None
) -> Future[JudgedReplay]:
    """A replay judged, or being judged: of one of many decisions that takes its time."""
    store, seen, key = visit.store, ReplaysSeen.of(visit), replay.variant.id
    control = control_of(store, plan)
    of = (heads_of(store, replay, control), None if plan is None else plan.terms)

    def make() -> JudgedReplay:
        found = seen.made(key, of, lambda: compared_as_planned(store, replay, plan, control))
        return judge(store, found.result(), kept, visit.root)

    name = (key, kept, visit.root)
    return seen.failed(name, of) or seen.made(name, of, make)


def _listed(visit: Visit, judged: JudgedReplay, behind: str) -> dict[str, Any]:
    """A page of what is behind a figure: of each of its lists, the part that is on it."""
    every = judged.places.lists(behind)
    longest = max(len(one.items) for one in every)
    pages = max(1, -(-longest // ITEMS_A_PAGE))
    page = min(max(visit.number("page") or 1, 1), pages)
    part = slice((page - 1) * ITEMS_A_PAGE, page * ITEMS_A_PAGE)
    lists = [one._replace(items=one.items[part]) for one in every]
    heads = [*HEADS, *(metric.name for metric in judged.places.scored)]
    return {"lists": lists, "page": page, "pages": pages, "heads": heads}


def control_of(store: Store, plan: ReplayPlan | None) -> Variant | None:
    """The control that was asked in turn with the variant of a plan, if one was."""
    if plan is None or plan.terms.role == "control" or not plan.terms.run:
        return None
    of_run = (one for one in plans(store) if one.terms.run == plan.terms.run)
    return next((one.variant for one in of_run if one.terms.role == "control"), None)


def categories_with_more(store: Store, plan: ReplayPlan) -> list[str]:
    """The categories that were asked of which a store has conversations that were not."""
    asked = sorted({stream.partition("-")[0] for stream in plan.versions if "~" not in stream})
    return [
        of
        for of in asked
        if any(one.stream not in plan.versions for one in store.streams(category=of))
    ]


def heads_of(store: Store, replay: Replay, control: Variant | None) -> Sequence[int]:
    """How far all that a comparison reads goes: it is the same while this is."""
    sides = [replay.variant, *([] if control is None else [control])]
    names = [
        name
        for sample, streams in sorted(replay.streams.items())
        for stream in streams
        for name in (stream, *(branch_name(stream, side, sample) for side in sides))
    ]
    return [store.head(name) for name in names]


def compared_as_planned(
    store: Store, replay: Replay, plan: ReplayPlan | None, control: Variant | None
) -> ComparedReplay:
    """A replay compared by what was declared for it.

    What was declared and a page cannot see (a check, a judge) is left to the command line: a page
    asks no model.
    """
    variant, (question, notes) = replay.variant, question_of(plan)
    streams = list(dict.fromkeys(name for of in replay.streams.values() for name in of))
    prices = None if plan is None else plan.terms.prices
    try:
        found = compare(store, streams, variant, control=control, question=question, prices=prices)
    except UsageError as error:
        notes = [*notes, error.message]
        found = compare(store, streams, variant, prices=prices)
    return ComparedReplay(found, notes)


def judge(store: Store, compared: ComparedReplay, kept: str | None, root: str) -> JudgedReplay:
    """The parts of the page of a replay, and what is behind a figure, or behind all (None)."""
    found, variant = compared.comparison, compared.comparison.variant
    places, recorded = PlacesBehind(found, kept, root), RecordedUnder()
    for pair in cast("Conversations", found.conversations).beside():
        history = list(store.read(pair.stream))
        places.add(pair, history)
        recorded.add(history)
    places.finish()
    values = {"comparison": found, "figures": found.figures, "lists": places, "note": None}
    values |= {"title": f"Replay {variant.label or variant.id}", **recorded.beside(variant)}
    first, figures = (
        "" if kept else render.embedded(name, to=BEHIND, **values)
        for name in ("judged_first.html", "judged.html")
    )
    return JudgedReplay(found, places, first, figures, compared.notes)


def question_of(plan: ReplayPlan | None) -> tuple[Question, list[str]]:
    """What a plan declared that is to be answered, and what of it a page cannot."""
    primary = None if plan is None else plan.terms.primary
    if plan is None or primary is None:
        return Question(), []
    if primary in measured():
        return Question(primary=primary, margin=plan.terms.margin), []
    said = f"{primary} was to decide, which is a check or a judge; here {PRIMARY} does"
    return Question(), [said]


def drawn(one: Verdict) -> DrawnInterval | None:
    """The interval of a verdict as it is drawn; None where it has no two ends."""
    if one.difference is None or one.low is None or one.high is None:
        return None
    margin = one.margin or 0.0
    places = [one.low, one.high, one.difference, 0.0, margin, -margin]
    least, most = min(places), max(places)
    room = (most - least) * 0.05 or 1.0
    low, high, at, zero, upper, lower = (
        SCALE * (place - least + room) / (most - least + 2 * room) for place in places
    )
    return DrawnInterval(low, high, at, zero, (lower, upper) if margin else None)
