"""What the report shows, as values: the templates only put them in their places."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import msgspec
from msgspec import UNSET

from refold.conversation.events import AgentConfigured, Prompt
from refold.core.recorded import Recorded, parts_of
from refold.errors import UsageError
from refold.replay.actions import LEVELS, NOT_COMPARED
from refold.replay.compare import Comparison
from refold.replay.conversations import ConversationComparison, DecisionComparison
from refold.replay.decision import Action
from refold.replay.figures import Figures
from refold.replay.report.formatting import change, cut, money, signed, value_text
from refold.replay.report.links import Link, Links
from refold.replay.report.redacted import REDACTED, redacted_ids, without_redacted
from refold.replay.report.text_diff import compare_lines
from refold.replay.report.turns import Row, conversation_rows
from refold.replay.request import configured_by

CONVERSATIONS_SHOWN_MAX: Final = 400
"""More are counted and listed, those that differ least without their turns."""
LARGEST_SHOWN: Final = 10
PROMPT_CHARS_MAX: Final = 40_000
DIFFERENT: Final = ("tools", "arguments")
LISTED: Final = (*DIFFERENT, "words", "same", *(level for level in LEVELS if level in NOT_COMPARED))
_INDEX: Final = re.compile(r"/\d+(?=/|$)")

Read = Callable[[str], Iterable[Recorded]]
Amount = Decimal | float
Placed = tuple[str, DecisionComparison]
"""A decision, and the stream that it stands in."""


def render_report(
    comparison: Comparison,
    *,
    read: Read | None = None,
    title: str = "Replay comparison",
    note: str | None = None,
) -> str:
    """The report as one HTML page without any outside resource; the same input, the same text.

    ``read`` gives the events of a stream (``store.read``), so that what callers said and tools
    gave back stands between the answers, and so that what was redacted is hidden; without it only
    the decisions are shown, and what was redacted in them too. ``note`` is a
    sentence at the top for what the reader must know, such as that the data is made up.
    """
    # Not every program that compares makes a page.
    from refold.replay.report import render

    values = report_values(comparison, read)
    return "".join(render.pieces("report.html", title=title, note=note, **values))


def write_report(
    comparison: Comparison,
    path: str | Path,
    *,
    read: Read | None = None,
    title: str = "Replay comparison",
    note: str | None = None,
) -> Path:
    """Write :func:`render_report` to a file; :class:`UsageError` where that cannot be."""
    page = render_report(comparison, read=read, title=title, note=note)
    target = Path(path)
    try:
        target.write_bytes(page.encode())
    except OSError as error:
        raise UsageError(
            f"the report cannot be written to {target}: {error.strerror or error}",
            path=str(target),
        ) from error
    return target


def report_values(comparison: Comparison, read: Read | None) -> dict[str, object]:
    """All that the template of the report asks for, but its title and note."""
    shown = _most_different(comparison.conversations)
    histories: dict[str, list[Recorded]] = {}
    conversations = []
    for conversation in comparison.conversations:
        history = [] if read is None else list(read(conversation.stream))
        conversations.append(without_redacted(conversation, history))
        if conversation.stream in shown:
            histories[conversation.stream] = history
    links = Links(shown)
    placed = [(c.stream, decision) for c in conversations for decision in c.decisions]
    mode, _, limits = comparison.not_measured.partition(": ")
    return {
        "comparison": comparison,
        "figures": comparison.figures,
        "mode": mode,
        "limits": limits[:1].upper() + limits[1:],
        **figure_values(comparison.figures),
        **variant_values(comparison, histories.values()),
        "patterns": patterns(placed, links),
        "not_compared": [(links.event(s, d.at), d) for s, d in placed if d.level in NOT_COMPARED],
        "conversations": [
            conversation_view(c, histories.get(c.stream, ()), links) for c in conversations
        ],
        "turns_left_out": len(conversations) - len(shown),
        "by_level": [
            (level, [links.event(stream, d.at) for stream, d in placed if d.level == level])
            for level in LISTED
        ],
        "same_throughout": [links.conversation(c.stream) for c in conversations if c.same_action],
        "dearest": _largest(placed, links, lambda decision: decision.cost_delta),
        "slowest": _largest(placed, links, lambda decision: decision.latency_delta_ms),
    }


def _most_different(conversations: Iterable[ConversationComparison]) -> Collection[str]:
    """The streams that are shown turn by turn."""

    def likeness(conversation: ConversationComparison) -> int:
        return -sum(conversation.counts[level] for level in (*DIFFERENT, "failed"))

    most = sorted(conversations, key=likeness)[:CONVERSATIONS_SHOWN_MAX]
    return {conversation.stream for conversation in most}


# -- figures --------------------------------------------------------------------------------------


class Bar(msgspec.Struct, frozen=True):
    """Levels as a bar: in words, and each with its share in percent."""

    said: str
    segments: list[tuple[str, str]]


def bar(counts: Mapping[str, int]) -> Bar:
    """The levels of some decisions as a bar; levels without any are left out."""
    total = sum(counts.values())
    said = ", ".join(f"{count} {level}" for level, count in counts.items() if count)
    shares = ((level, count / total * 100) for level, count in counts.items() if count)
    return Bar(said, [(level, f"{share:.4g}") for level, share in shares])


def figure_values(figures: Figures) -> dict[str, object]:
    """What the figures at the top say beyond the figures of the comparison."""
    before, after, delta = figures.recorded.cost, figures.candidate.cost, figures.cost_delta
    is_whole = min(figures.recorded.cost_known, figures.candidate.cost_known) == figures.decisions
    left_out = {level: figures.counts[level] for level in LEVELS if level in NOT_COMPARED}
    return {
        "bar": bar(figures.counts),
        "level_shares": {
            level: n / (figures.decisions or 1) for level, n in figures.counts.items()
        },
        "method": figures.by_decision.method.partition(",")[0],
        "cost_change": change(before, after) if is_whole else "",
        "cost_delta": "" if is_whole or delta is None else signed(money(delta)),
        "left_out": sum(left_out.values()),
        "left_out_by_level": " and ".join(f"{n:,} {level}" for level, n in left_out.items() if n),
    }


# -- what was changed -----------------------------------------------------------------------------


def variant_values(
    comparison: Comparison, histories: Iterable[Sequence[Recorded]]
) -> dict[str, object]:
    """What the variant changed, beside what the conversations were recorded under."""
    variant = comparison.variant
    configured = [_configured(history) for history in histories]
    prompts = Counter(c.prompt.text for c in configured if c.prompt is not None)
    models = Counter(
        f"{c.model} ({c.provider})" if c.provider else c.model for c in configured if c.model
    )
    [(prompt, times)] = prompts.most_common(1) or [("", 0)]
    before, after = (cut(text, PROMPT_CHARS_MAX) for text in (prompt, variant.prompt or ""))
    tools = (tool.get("function", tool).get("name", "?") for tool in variant.tools or ())
    return {
        "recorded_models": ", ".join(model for model, _ in models.most_common()),
        "tool_names": ", ".join(map(str, tools)),
        "prompts": len(prompts),
        "prompt_times": times,
        "prompt_lines": compare_lines(before.shown, after.shown),
        "prompt_left_off": max(before.left_off, after.left_off),
    }


def _configured(history: Sequence[Recorded]) -> AgentConfigured:
    """The configuration that a conversation ended with, without a prompt that was redacted."""
    configured = configured_by(history)
    events = [event for event in parts_of(history) if event.type == "agent.configured"]
    if configured.prompt is None or redacted_ids(history).isdisjoint(
        (events[-1].id, events[-1].origin_id)
    ):
        return configured
    return msgspec.structs.replace(configured, prompt=Prompt(REDACTED))


# -- what it does differently ---------------------------------------------------------------------


class Pattern(msgspec.Struct):
    """A change that decisions have in common.

    ``befores`` and ``afters`` are the tools called on either side ("" for words alone) or, at
    ``path`` of the arguments of ``tool``, the values that were seen ("" for none).
    """

    tool: str
    path: str
    befores: dict[str, None] = {}
    afters: dict[str, None] = {}
    places: dict[Link, None] = {}


def patterns(placed: Iterable[Placed], links: Links) -> list[Pattern]:
    """The changes of tools and arguments, the most frequent first."""
    found: dict[tuple[str, ...], Pattern] = {}
    for stream, decision in placed:
        for key, pattern, before, after in _changes(decision):
            pattern = found.setdefault(key, pattern)
            pattern.befores[before] = pattern.afters[after] = None
            pattern.places[links.event(stream, decision.at)] = None
    return sorted(found.values(), key=lambda pattern: -len(pattern.places))


def _changes(
    decision: DecisionComparison,
) -> Iterator[tuple[tuple[str, ...], Pattern, str, str]]:
    """What makes changes the same pattern, the pattern without examples, and both sides."""
    if decision.candidate is not None and decision.level == "tools":
        before, after = _tools(decision.recorded), _tools(decision.candidate)
        yield ("tools", before, after), Pattern("", ""), before, after
    elif decision.level == "arguments":
        for pair in decision.pairs:
            for operation in pair.changes:
                tool, path = pair.recorded.name, _INDEX.sub("/…", operation.path)
                before, after = _value(operation.before), _value(operation.value)
                yield ("arguments", tool, path), Pattern(tool, path or "/"), before, after


def _tools(action: Action) -> str:
    """The tools that an answer calls, in order."""
    return " + ".join(call.name for call in action.calls)


def _value(value: Any) -> str:
    return "" if value is UNSET else value_text(value)


# -- conversations --------------------------------------------------------------------------------


class ConversationView(msgspec.Struct, frozen=True, kw_only=True):
    """A conversation in the table, and side by side: ``rows``, where its turns are shown.

    ``levels`` are those it has decisions at; ``different`` counts those with another action,
    ``share`` is how many that is of all, ``first`` is the index of the first of these (-1: none).
    ``cost`` and ``latency`` are sums of differences in US dollars and milliseconds, None where
    nothing is known.
    """

    link: Link
    levels: list[str]
    bar: Bar
    decisions: int
    different: int
    share: float
    first: int
    first_at: Link | None
    cost: Decimal | None
    latency: float | None
    rows: Iterator[Row]


def conversation_view(
    conversation: ConversationComparison, history: Sequence[Recorded], links: Links
) -> ConversationView:
    """A conversation as the page shows it."""
    decisions, counts = conversation.decisions, conversation.counts
    costs = [d.cost_delta for d in decisions if d.cost_delta is not None]
    latencies = [d.latency_delta_ms for d in decisions if d.latency_delta_ms is not None]
    first = next((d for d in decisions if d.index == conversation.first_divergence), None)
    different = sum(counts[level] for level in DIFFERENT)
    return ConversationView(
        link=links.conversation(conversation.stream),
        levels=[level for level in LEVELS if counts[level]],
        bar=bar(counts),
        decisions=len(decisions),
        different=different,
        share=different / (len(decisions) or 1),
        first=-1 if first is None else first.index,
        first_at=None if first is None else links.event(conversation.stream, first.at),
        cost=sum(costs, Decimal(0)) if costs else None,
        latency=sum(latencies) if latencies else None,
        rows=conversation_rows(conversation, history),
    )


def _largest(
    placed: Iterable[Placed],
    links: Links,
    delta: Callable[[DecisionComparison], Amount | None],
) -> list[tuple[Link, Amount]]:
    """Where a difference is largest, and what it is."""
    known = ((stream, decision.at, delta(decision)) for stream, decision in placed)
    found = [(links.event(stream, at), value) for stream, at, value in known if value is not None]
    return sorted(found, key=lambda one: abs(float(one[1])), reverse=True)[:LARGEST_SHOWN]
