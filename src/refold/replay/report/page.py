"""What the report shows, as values: the templates only put them in their places."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import msgspec
from msgspec import UNSET

from refold.conversation.events import AgentConfigured, Prompt
from refold.core.recorded import Recorded, parts_of
from refold.errors import UsageError
from refold.replay.actions import NOT_COMPARED
from refold.replay.compare import Comparison
from refold.replay.conversations import ConversationComparison, DecisionComparison
from refold.replay.report.formatting import Levels, cut, levels_of, value_text
from refold.replay.report.links import Links
from refold.replay.report.redacted import REDACTED, redacted_ids, without_redacted
from refold.replay.report.text_diff import compare_lines
from refold.replay.report.turns import Row, conversation_rows
from refold.replay.request import configured_by

CONVERSATIONS_SHOWN_MAX: Final = 400
"""More are counted and listed, those that differ least without their turns."""
LARGEST_SHOWN: Final = 10
PROMPT_CHARS_MAX: Final = 40_000
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
    ranked = sorted(comparison.conversations, key=_likeness)
    shown = {conversation.stream for conversation in ranked[:CONVERSATIONS_SHOWN_MAX]}
    histories: dict[str, list[Recorded]] = {}
    conversations = []
    for conversation in comparison.conversations:
        history = [] if read is None else list(read(conversation.stream))
        conversations.append(without_redacted(conversation, history))
        if conversation.stream in shown:
            histories[conversation.stream] = history
    placed = [(c.stream, decision) for c in conversations for decision in c.decisions]
    mode, _, limits = comparison.not_measured.partition(": ")
    return {
        "comparison": comparison,
        "figures": comparison.figures,
        "levels": levels_of(comparison.figures.counts),
        "mode": mode,
        "limits": limits[:1].upper() + limits[1:],
        "links": Links(shown),
        "decisions": placed,
        "not_compared": [one for one in placed if one[1].level in NOT_COMPARED],
        "patterns": patterns(placed),
        "conversations": [view_of(c, histories.get(c.stream, ())) for c in conversations],
        "turns_left_out": len(conversations) - len(shown),
        "dearest": _largest(placed, lambda decision: decision.cost_delta),
        "slowest": _largest(placed, lambda decision: decision.latency_delta_ms),
        **variant_values(comparison, histories.values()),
    }


def _likeness(conversation: ConversationComparison) -> int:
    return -sum(conversation.counts[level] for level in ("tools", "arguments", "failed"))


def _largest(
    placed: Iterable[Placed], delta: Callable[[DecisionComparison], Amount | None]
) -> list[tuple[str, str, Amount]]:
    """Where a difference is largest: stream and event; and what it is."""
    known = [(s, one.at, value) for s, one in placed if (value := delta(one)) is not None]
    return sorted(known, key=lambda one: abs(float(one[2])), reverse=True)[:LARGEST_SHOWN]


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
    before, after = cut(prompt, PROMPT_CHARS_MAX), cut(variant.prompt or "", PROMPT_CHARS_MAX)
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
    last = [event for event in parts_of(history) if event.type == "agent.configured"][-1:]
    gone = redacted_ids(history)
    if configured.prompt is None or all(gone.isdisjoint((e.id, e.origin_id)) for e in last):
        return configured
    return msgspec.structs.replace(configured, prompt=Prompt(REDACTED))


# -- what it does differently ---------------------------------------------------------------------


class Pattern(msgspec.Struct):
    """A change that decisions have in common: ``places`` are their streams and events.

    ``befores`` and ``afters`` are the tools called on either side ("" for words alone) or, at
    ``path`` of the arguments of ``tool``, the values that were seen ("" for none).
    """

    tool: str
    path: str
    befores: dict[str, None] = {}
    afters: dict[str, None] = {}
    places: dict[tuple[str, str], None] = {}


def patterns(placed: Iterable[Placed]) -> list[Pattern]:
    """The changes of tools and arguments, the most frequent first."""
    found: dict[tuple[str, ...], Pattern] = {}
    for stream, decision in placed:
        for tool, path, before, after in _changes(decision):
            key = (tool, path) if path else (tool, before, after)
            pattern = found.setdefault(key, Pattern(tool, path))
            pattern.befores[before] = pattern.afters[after] = None
            pattern.places[stream, decision.at] = None
    return sorted(found.values(), key=lambda pattern: -len(pattern.places))


def _changes(decision: DecisionComparison) -> Iterator[tuple[str, str, str, str]]:
    """Each change of a decision: its tool and path ("" for other tools), before and after."""
    if decision.level == "tools" and decision.candidate is not None:
        sides = (decision.recorded.calls, decision.candidate.calls)
        before, after = (" + ".join(call.name for call in calls) for calls in sides)
        yield "", "", before, after
    elif decision.level == "arguments":
        for pair in decision.pairs:
            for change in pair.changes:
                path = _INDEX.sub("/…", change.path) or "/"
                yield pair.recorded.name, path, _value(change.before), _value(change.value)


def _value(value: Any) -> str:
    return "" if value is UNSET else value_text(value)


# -- conversations --------------------------------------------------------------------------------


class ConversationView(msgspec.Struct, frozen=True):
    """A conversation in the table, and side by side: ``rows``, where its turns are shown.

    ``first`` is the first decision that was another action. ``cost`` and ``latency`` are sums of
    differences in US dollars and milliseconds, None where nothing is known.
    """

    conversation: ConversationComparison
    levels: Levels
    first: DecisionComparison | None
    cost: Decimal | None
    latency: float | None
    rows: Iterator[Row]


def view_of(conversation: ConversationComparison, history: Sequence[Recorded]) -> ConversationView:
    """A conversation as the page shows it."""
    decisions = conversation.decisions
    costs = [d.cost_delta for d in decisions if d.cost_delta is not None]
    latencies = [d.latency_delta_ms for d in decisions if d.latency_delta_ms is not None]
    return ConversationView(
        conversation,
        levels_of(conversation.counts),
        next((d for d in decisions if d.index == conversation.first_divergence), None),
        sum(costs, Decimal(0)) if costs else None,
        sum(latencies) if latencies else None,
        conversation_rows(conversation, history),
    )
