"""The lists behind the figures: which decisions and conversations each of them counts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from decimal import Decimal
from typing import Final

from refold.replay.actions import LEVELS, NOT_COMPARED
from refold.replay.conversations import ConversationComparison, DecisionComparison
from refold.replay.report.formatting import MEANINGS, NOTHING, counted, milliseconds, money, signed
from refold.replay.report.headline import DIFFERENT, small_bar
from refold.replay.report.links import Places
from refold.replay.report.markup import Child, Html, cut, el, join, left_off, scrolling

LARGEST_SHOWN: Final = 10
ERROR_CHARS_MAX: Final = 300

Placed = tuple[str, DecisionComparison]
Key = Callable[[DecisionComparison], float | None]


def conversations_table(conversations: Sequence[ConversationComparison], places: Places) -> Html:
    """One row a conversation; the script sorts it by the numbers in ``data-`` attributes."""
    columns = ("Conversation", "Decisions", "Levels", "Other action", "First at", "Cost", "Latency")
    head = el("tr", *(el("th", name, scope="col") for name in columns))
    rows = (_table_row(conversation, places) for conversation in conversations)
    table = el("table", el("thead", head), el("tbody", *rows), cls="conversations sortable")
    return scrolling(table, "Conversations")


def levels_of(conversation: ConversationComparison) -> str:
    """The levels that a conversation has decisions at, for the filter."""
    return " ".join(level for level in LEVELS if conversation.counts[level])


def left_out_section(
    conversations: Iterable[ConversationComparison], places: Places
) -> Html | None:
    """Decisions that were not compared, and why: a fault of the line is not one of the model."""
    rows = [
        el(
            "li",
            places.link(stream, decision.at),
            el("span", decision.level, cls=f"badge {decision.level}"),
            *_why(decision),
        )
        for stream, decision in _placed(conversations)
        if decision.level in NOT_COMPARED
    ]
    if not rows:
        return None
    said = (
        "These decisions were not answered, so nothing is said about them: they count neither as "
        "the same nor as different."
    )
    listed = el("ul", *rows, cls="left-out")
    return el("section", el("h2", "Not compared"), el("p", said), listed, id="left-out")


def index_section(conversations: Sequence[ConversationComparison], places: Places) -> Html:
    """Every decision by its level, and the largest differences in cost and time."""
    placed = list(_placed(conversations))
    return el(
        "section",
        el("h2", "The turns behind the figures"),
        el("span", id="different"),
        *(_level(level, placed, places) for level in (*reversed(DIFFERENT), "words", "same")),
        *(_level(level, placed, places) for level in LEVELS if level in NOT_COMPARED),
        _same_throughout(conversations, places),
        _largest("dearer", "Largest differences in cost", _cost, placed, places),
        _largest("slower", "Largest differences in latency", _latency, placed, places),
        id="turns",
    )


def _table_row(conversation: ConversationComparison, places: Places) -> Html:
    counts = conversation.counts
    other = sum(counts[level] for level in DIFFERENT)
    first = conversation.first_divergence
    costs = [d.cost_delta for d in conversation.decisions if d.cost_delta is not None]
    cost = sum(costs, Decimal(0)) if costs else None
    deltas = [d.latency_delta_ms for d in conversation.decisions if d.latency_delta_ms is not None]
    latency = sum(deltas) if deltas else None
    return el(
        "tr",
        el("td", places.link_stream(conversation.stream)),
        _number(len(conversation.decisions), f"{len(conversation.decisions):,}"),
        el("td", small_bar(counts), data_sort=f"{other / (len(conversation.decisions) or 1):.4f}"),
        _number(other, f"{other:,}"),
        _number(-1 if first is None else first, _first(conversation, places)),
        _number(float(cost or 0), signed(money(cost))),
        _number(latency or 0, signed(milliseconds(latency))),
        data_levels=levels_of(conversation),
    )


def _first(conversation: ConversationComparison, places: Places) -> Child:
    first = conversation.first_divergence
    at = next((d.at for d in conversation.decisions if d.index == first), None)
    return NOTHING if at is None else places.link(conversation.stream, at)


def _number(value: float, *shown: Child) -> Html:
    return el("td", *shown, cls="number", data_sort=f"{value:.10g}")


def _why(decision: DecisionComparison) -> Iterator[Child]:
    text, rest = cut(decision.error or "was not asked", ERROR_CHARS_MAX)
    yield el("span", text, left_off(rest), dir="auto")


def _placed(conversations: Iterable[ConversationComparison]) -> Iterator[Placed]:
    for conversation in conversations:
        yield from ((conversation.stream, decision) for decision in conversation.decisions)


def _level(level: str, placed: Iterable[Placed], places: Places) -> Html | None:
    found = [(stream, decision.at) for stream, decision in placed if decision.level == level]
    if not found:
        return None
    title = el(
        "summary",
        el("span", level, cls=f"badge {level}"),
        f" {counted(len(found), 'decision')}: {MEANINGS[level]}",
    )
    listed = el("p", *(join([places.link(*one), " "]) for one in found), cls="places")
    return el("details", title, listed, id=f"level:{level}", open=level in DIFFERENT)


def _same_throughout(conversations: Iterable[ConversationComparison], places: Places) -> Html:
    same = [c.stream for c in conversations if c.same_action]
    title = el("summary", f"{counted(len(same), 'conversation')} with the same action throughout")
    listed = [join([places.link_stream(stream), " "]) for stream in same] or [join(["none"])]
    return el("details", title, el("p", *listed, cls="places"), id="same-throughout")


def _cost(decision: DecisionComparison) -> float | None:
    return None if decision.cost_delta is None else float(decision.cost_delta)


def _latency(decision: DecisionComparison) -> float | None:
    return decision.latency_delta_ms


def _largest(
    name: str, title: str, key: Key, placed: Sequence[Placed], places: Places
) -> Html | None:
    known = [(stream, decision) for stream, decision in placed if key(decision) is not None]
    if not known:
        return None
    largest = sorted(known, key=lambda one: -abs(key(one[1]) or 0))[:LARGEST_SHOWN]
    rows = [
        el("li", places.link(stream, decision.at), " ", _difference(name, decision))
        for stream, decision in largest
    ]
    return el("details", el("summary", title), el("ul", *rows), id=name)


def _difference(name: str, decision: DecisionComparison) -> str:
    if name == "dearer":
        return signed(money(decision.cost_delta))
    return signed(milliseconds(decision.latency_delta_ms))
