"""What the report shows, as values: the templates only put them in their places."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import msgspec

from refold.conversation.events import AgentConfigured, Prompt
from refold.core.recorded import Recorded, parts_of
from refold.errors import UsageError
from refold.replay.actions import NOT_COMPARED, DecisionComparison
from refold.replay.compare import Comparison
from refold.replay.report import turns
from refold.replay.report.formatting import cut, different, value_text
from refold.replay.report.links import Links
from refold.replay.report.text_diff import compare_lines
from refold.replay.request import configured_by
from refold.replay.variant import Variant

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
            f"the report cannot be written to {target}: {error.strerror or error}", path=str(target)
        ) from error
    return target


def summary(comparison: Comparison) -> str:
    """The figures of a comparison in some lines of plain text, its outcome in the first.

    What the recorded conversations hold may be in it: it is not made fit for a terminal.
    """
    from refold.replay.report import render

    parted = [
        next(d for d in c.decisions if d.index == c.first_divergence)
        for c in comparison.conversations
        if c.first_divergence is not None
    ]
    return render.text("summary.txt", comparison=comparison, parted=parted)


def report_values(comparison: Comparison, read: Read | None) -> dict[str, object]:
    """All that the template of the report asks for, but its title and note."""
    every = comparison.conversations
    ranked = sorted(every, key=lambda c: -different(c.counts) - c.counts["failed"])
    shown = {conversation.stream for conversation in ranked[:CONVERSATIONS_SHOWN_MAX]}
    conversations, histories, rows = [], [], {}
    for compared in every:
        history = [] if read is None else list(read(compared.stream))
        conversation = turns.without_redacted(compared, history)
        conversations.append(conversation)
        if conversation.stream in shown:
            histories.append(history)
            rows[conversation.stream] = turns.conversation_rows(conversation, history)
    placed = [(c.stream, decision) for c in conversations for decision in c.decisions]
    return {
        "comparison": comparison,
        "figures": comparison.figures,
        "links": Links(shown),
        "decisions": placed,
        "not_compared": [one for one in placed if one[1].level in NOT_COMPARED],
        "patterns": patterns(placed),
        "conversations": conversations,
        "rows": rows,
        "dearest": _largest(placed, lambda decision: decision.cost_delta),
        "slowest": _largest(placed, lambda decision: decision.latency_delta_ms),
        **variant_values(comparison.variant, histories),
    }


def _largest(
    placed: Iterable[Placed], delta: Callable[[DecisionComparison], Amount | None]
) -> list[tuple[str, str, Amount]]:
    """Where a difference is largest: stream and event; and what it is."""
    known = [(s, one.at, value) for s, one in placed if (value := delta(one)) is not None]
    return sorted(known, key=lambda one: abs(float(one[2])), reverse=True)[:LARGEST_SHOWN]


# -- what was changed -----------------------------------------------------------------------------


def variant_values(variant: Variant, histories: Iterable[Sequence[Recorded]]) -> dict[str, object]:
    """What the variant changed, beside what the conversations were recorded under."""
    configured = [_configured(history) for history in histories]
    prompts = Counter(c.prompt.text for c in configured if c.prompt is not None)
    models = Counter(
        f"{c.model} ({c.provider})" if c.provider else c.model for c in configured if c.model
    )
    [(prompt, times)] = prompts.most_common(1) or [("", 0)]
    before, after = cut(prompt, PROMPT_CHARS_MAX), cut(variant.prompt or "", PROMPT_CHARS_MAX)
    return {
        "recorded_models": ", ".join(model for model, _ in models.most_common()),
        "prompts": len(prompts),
        "prompt_times": times,
        "prompt_lines": compare_lines(before.shown, after.shown),
        "prompt_left_off": max(before.left_off, after.left_off),
    }


def _configured(history: Sequence[Recorded]) -> AgentConfigured:
    """The configuration that a conversation ended with, without a prompt that was redacted."""
    configured = configured_by(history)
    last = [event for event in parts_of(history) if event.type == "agent.configured"][-1:]
    if configured.prompt is None or not turns.is_among(turns.redacted_ids(history), last[0]):
        return configured
    return msgspec.structs.replace(configured, prompt=Prompt(turns.REDACTED))


# -- what it does differently ---------------------------------------------------------------------


class CommonChange(msgspec.Struct):
    """A change that decisions have in common: ``places`` are their streams and events.

    ``befores`` and ``afters`` are the tools called on either side ("" for words alone) or, at
    ``path`` of the arguments of ``tool``, the values that were seen ("" for none).
    """

    tool: str
    path: str
    befores: dict[str, None] = {}
    afters: dict[str, None] = {}
    places: dict[tuple[str, str], None] = {}


def patterns(placed: Iterable[Placed]) -> list[CommonChange]:
    """The changes of tools and arguments, the most frequent first."""
    found: dict[tuple[str, ...], CommonChange] = {}
    for stream, decision in placed:
        for tool, path, before, after in _changes(decision):
            key = (tool, path) if path else (tool, before, after)
            pattern = found.setdefault(key, CommonChange(tool, path))
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
    return "" if value is msgspec.UNSET else value_text(value)
