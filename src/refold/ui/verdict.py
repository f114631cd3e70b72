"""One replay: whether to ship the change, how sure that is, and the conversations behind it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple, cast

from refold import Store
from refold.errors import UsageError
from refold.replay import Variant, compare
from refold.replay.answer import Verdict
from refold.replay.arms import declared_question
from refold.replay.compare import Comparison, Conversations
from refold.replay.plan import ReplayPlan
from refold.replay.replays import Replay, find_replay
from refold.replay.report import render
from refold.replay.report.page import RecordedUnder
from refold.ui.making import LookedAt, Tell
from refold.ui.next_steps import after_replay
from refold.ui.places import PlacesBehind
from refold.ui.runs import ReplaysFound, looked
from refold.ui.visit import Visit

BEHIND: Final = "?behind="
ITEMS_A_PAGE: Final = 200
SMALL_MAX: Final = 5_000
"""Of a replay of so many decisions all lists are kept between two pages, of more only the list that
is shown."""
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
    """What a page shows of a comparison: what is read first, the figures, what is behind them.

    ``others`` are the categories of which there are more conversations than were asked.
    """

    compared: ComparedReplay
    places: PlacesBehind
    first: str
    figures: str
    others: Sequence[str]


def screen(visit: Visit) -> str:
    """The page of one replay; or a list of what is behind one of its figures."""
    at, behind = looked(visit), visit.text("behind")
    found = at.value
    values: dict[str, Any] = {"name": visit.place("name"), "behind": behind, "judged": None}
    values |= {"at": at, "lines": (), "goes_on": False, "is_awaited": True, "variant": None}
    if found is None:
        return visit.page("replay.html", **values)
    replay = find_replay(found.replays, visit.place("name"))
    lines = found.lines[replay.variant.id]
    goes_on = any(line.goes_on for line in lines)
    values |= {"variant": replay.variant, "lines": lines, "goes_on": goes_on}
    values["name"] = replay.variant.label or replay.variant.id
    if goes_on:
        return visit.page("replay.html", **values)
    is_small = sum(line.planned for line in lines) <= SMALL_MAX
    asked = _AskedReplay(visit, replay, found, is_small=is_small)
    made = asked.judged()
    values["at"] = at = LookedAt(found, at.is_newest and made.is_newest, made.done, made.total)
    if made.value is not None and behind:
        made.value.places.lists(behind)  # It raises here for a figure that there is not.
        made = made if is_small else asked.behind(made.value, behind)
        values["at"] = at._replace(done=made.done, total=made.total)
    if made.value is None:
        return visit.page("replay.html", **values)
    judged, values["is_awaited"] = made.value, False
    if behind:
        return visit.page("behind.html", **_listed(visit, judged, behind), **values)
    values |= {"judged": judged, "notes": judged.compared.notes}
    is_asked = all(line.run.is_complete and not line.run.failed for line in lines)
    comparison, plan = judged.compared.comparison, found.plans.get(replay.variant.id)
    pairs = [(one, drawn(one)) for one in comparison.verdicts]
    values["drawn"] = [(one, place) for one, place in pairs if place is not None]
    how: Any = {"is_asked": is_asked, "others": judged.others, "db": visit.db}
    return visit.page("replay.html", **values, steps=after_replay(plan, comparison, **how))


class _AskedReplay:
    """What is asked of a replay: of one of many decisions it takes its time."""

    def __init__(
        self, visit: Visit, replay: Replay, found: ReplaysFound, *, is_small: bool
    ) -> None:
        key, self._visit, self._replay = replay.variant.id, visit, replay
        self._plan, self._control = found.plans.get(key), found.control_of(replay)
        self._kept = None if is_small else ""
        of_control = [] if self._control is None else found.ends.get(self._control.id)
        self._of = (found.ends[key], of_control, self._plan and self._plan.terms)

    def judged(self) -> LookedAt[JudgedReplay]:
        """The verdict, with all lists behind it where these are short."""
        return self._visit.made((self._replay.variant.id, self._visit.root), self._of, self._judge)

    def behind(self, judged: JudgedReplay, figure: str) -> LookedAt[JudgedReplay]:
        """The same with the lists behind a figure."""
        name = (self._replay.variant.id, self._visit.root, figure)
        store, root = self._visit.store, self._visit.root
        return self._visit.made(
            name, self._of, lambda tell: judge(store, judged.compared, figure, root, tell)
        )

    def _judge(self, tell: Tell) -> JudgedReplay:
        store, plan = self._visit.store, self._plan
        # Each conversation is read twice: to be counted, and for what stands behind the counts.
        found = compared_as_planned(
            store, self._replay, plan, self._control, lambda done, of: tell(done, 2 * of)
        )
        of = len({name for some in self._replay.streams.values() for name in some})
        made = judge(
            store, found, self._kept, self._visit.root, lambda done, _: tell(of + done, 2 * of)
        )
        return made if plan is None else made._replace(others=categories_with_more(store, plan))


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


def categories_with_more(store: Store, plan: ReplayPlan) -> list[str]:
    """The categories that were asked of which a store has conversations that were not."""
    asked = sorted({stream.partition("-")[0] for stream in plan.versions if "~" not in stream})
    return [
        of
        for of in asked
        if any(one.stream not in plan.versions for one in store.streams(category=of))
    ]


def compared_as_planned(
    store: Store, replay: Replay, plan: ReplayPlan | None, control: Variant | None, tell: Tell
) -> ComparedReplay:
    """A replay compared by what was declared for it.

    What was declared and a page cannot see (a check, a judge) is left to the command line: a page
    asks no model.
    """
    variant, (question, notes) = replay.variant, declared_question(plan)
    streams = list(dict.fromkeys(name for of in replay.streams.values() for name in of))
    prices = None if plan is None else plan.terms.prices
    how: Any = {"prices": prices, "progress": tell}
    try:
        found = compare(store, streams, variant, control=control, question=question, **how)
    except UsageError as error:
        notes = [*notes, error.message]
        found = compare(store, streams, variant, **how)
    return ComparedReplay(found, notes)


def judge(
    store: Store, compared: ComparedReplay, kept: str | None, root: str, tell: Tell
) -> JudgedReplay:
    """The parts of the page of a replay, and what is behind a figure, or behind all (None)."""
    found, variant = compared.comparison, compared.comparison.variant
    places, recorded = PlacesBehind(found, kept, root), RecordedUnder()
    conversations = cast("Conversations", found.conversations)
    for read, pair in enumerate(conversations.beside()):
        tell(read, len(conversations.terms))
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
    return JudgedReplay(compared, places, first, figures, ())


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
