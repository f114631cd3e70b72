"""The page as a whole: one HTML file that needs nothing else."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Final

import msgspec

from refold.core.recorded import Recorded
from refold.errors import UsageError
from refold.replay.compare import Comparison
from refold.replay.conversations import ConversationComparison
from refold.replay.report.behaviour import patterns, patterns_table
from refold.replay.report.formatting import counted
from refold.replay.report.headline import cards, levels, noise_section, small_bar, verdict
from refold.replay.report.index import (
    conversations_table,
    index_section,
    left_out_section,
    levels_of,
)
from refold.replay.report.links import Places, stream_anchor
from refold.replay.report.markup import Html, clean, el
from refold.replay.report.redacted import without_redacted
from refold.replay.report.turns import conversation_rows
from refold.replay.report.variant import recording_of, variant_section

CONVERSATIONS_SHOWN_MAX: Final = 400
"""More are counted and listed, those that differ least without their turns."""

Read = Callable[[str], Iterable[Recorded]]
Histories = Mapping[str, Sequence[Recorded]]


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
    shown = _shown(comparison.conversations)
    histories: dict[str, Sequence[Recorded]] = {}
    if read is not None:
        comparison, histories = _with_histories(comparison, read, shown)
    body = el("main", *_sections(comparison, histories, Places(shown), title, note))
    return "<!doctype html>\n" + el("html", _head(title), el("body", body, _script()), lang="en")


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


def _with_histories(
    comparison: Comparison, read: Read, shown: Collection[str]
) -> tuple[Comparison, dict[str, Sequence[Recorded]]]:
    """The events of the conversations that are shown, and the comparison without redacted parts."""
    histories: dict[str, Sequence[Recorded]] = {}
    conversations = []
    for conversation in comparison.conversations:
        history = list(read(conversation.stream))
        conversations.append(without_redacted(conversation, history))
        if conversation.stream in shown:
            histories[conversation.stream] = history
    return msgspec.structs.replace(comparison, conversations=conversations), histories


def _sections(
    comparison: Comparison, histories: Histories, places: Places, title: str, note: str | None
) -> Iterator[Html | None]:
    conversations, figures = comparison.conversations, comparison.figures
    yield _header(comparison, title, note)
    title_of_figures = el("h2", "Figures", cls="unseen")
    yield el("section", title_of_figures, cards(comparison), levels(figures), id="figures")
    table = patterns_table(patterns(conversations), places)
    if table is not None:
        yield el("section", el("h2", "What it does differently"), table, id="behaviour")
    yield variant_section(comparison.variant, comparison.variant_id, recording_of(histories))
    yield noise_section(comparison)
    yield left_out_section(conversations, places)
    yield el(
        "section",
        el("h2", "Conversations"),
        _filter(),
        conversations_table(conversations, places),
        id="conversations",
    )
    yield _side_by_side(conversations, histories, places)
    yield index_section(conversations, places)
    yield _footer(comparison)


def _header(comparison: Comparison, title: str, note: str | None) -> Html:
    figures = comparison.figures
    label = comparison.variant.label or comparison.variant_id
    told = (
        f"{counted(figures.conversations, 'recorded conversation')} with "
        f"{counted(figures.decisions, 'decision')}, answered again by variant "
    )
    floor = None
    if comparison.control is not None and (rate := comparison.control.figures.by_decision).trials:
        differing = rate.trials - rate.successes
        floor = f" With nothing changed, {differing:,} of {rate.trials:,} differed."
    mode, _, limits = comparison.not_measured.partition(": ")
    return el(
        "header",
        el("p", title, cls="kicker"),
        el("h1", verdict(figures)),
        el("p", told, el("b", label), ".", floor, cls="lead"),
        el("p", el("span", mode, cls="stamp"), " ", limits[:1].upper(), limits[1:], cls="mode"),
        el("p", note, cls="notice", role="note") if note else None,
    )


def _footer(comparison: Comparison) -> Html:
    text = f"Every id such as call-7@12 is an event of the log. Variant {comparison.variant_id}, "
    made = f"{text}sample {comparison.sample}, mode {comparison.mode}. Made by refold."
    return el("footer", el("p", made))


def _side_by_side(
    conversations: Sequence[ConversationComparison], histories: Histories, places: Places
) -> Html:
    shown = _shown(conversations)
    parts = [_conversation(c, histories, places) for c in conversations if c.stream in shown]
    rest = len(conversations) - len(shown)
    note = f"{counted(rest, 'conversation')} that differ least are left out of this part."
    return el(
        "section",
        el("h2", "Side by side"),
        el("p", note, cls="quiet") if rest > 0 else None,
        *parts,
        id="side-by-side",
    )


def _conversation(
    conversation: ConversationComparison, histories: Histories, places: Places
) -> Html:
    different = sum(conversation.counts[level] for level in ("arguments", "tools"))
    said = f"{different} of {counted(len(conversation.decisions), 'decision')} differ"
    summary = el(
        "summary",
        el("span", conversation.stream, cls="name"),
        el("span", said if different else "same action throughout", cls="quiet"),
        small_bar(conversation.counts),
    )
    rows = conversation_rows(conversation, histories.get(conversation.stream, ()), places)
    return el(
        "details",
        summary,
        *rows,
        cls="conversation",
        id=stream_anchor(conversation.stream),
        data_levels=levels_of(conversation),
    )


def _shown(conversations: Sequence[ConversationComparison]) -> dict[str, None]:
    """The streams that are shown turn by turn: the most different ones where not all are."""

    def likeness(conversation: ConversationComparison) -> int:
        return -sum(conversation.counts[level] for level in ("arguments", "tools", "failed"))

    most = sorted(conversations, key=likeness)[:CONVERSATIONS_SHOWN_MAX]
    return dict.fromkeys(conversation.stream for conversation in most)


def _filter() -> Html:
    """Which conversations to see; shown only where the script runs."""
    choices = (
        ("", "All"),
        ("tools", "Other tools"),
        ("arguments", "Other arguments"),
        ("words", "Other words"),
        ("failed missing", "Not compared"),
    )
    labels = [
        el(
            "label",
            el("input", type="radio", name="level", value=value, checked=not value),
            el("span", text),
        )
        for value, text in choices
    ]
    buttons = el("button", "Open all", type="button", id="open-all")
    legend = el("legend", "Show conversations with")
    return el("form", el("fieldset", legend, *labels), buttons, cls="filter", hidden=True)


def _head(title: str) -> Html:
    policy = f"default-src 'none'; style-src 'unsafe-inline'; script-src '{_digest()}'"
    return el(
        "head",
        el("meta", charset="utf-8"),
        el("meta", http_equiv="Content-Security-Policy", content=policy),
        el("meta", name="viewport", content="width=device-width, initial-scale=1"),
        el("meta", name="color-scheme", content="light dark"),
        el("title", clean(title)),
        el("style", Html(_resource("report.css"))),
    )


def _script() -> Html:
    return el("script", Html(_resource("report.js")))


def _digest() -> str:
    """The one script that the page's own policy lets run, by the hash of its text (CSP Level 3)."""
    hashed = hashlib.sha256(_resource("report.js").encode()).digest()
    return f"sha256-{base64.b64encode(hashed).decode()}"


def _resource(name: str) -> str:
    return resources.files(__package__).joinpath(name).read_text(encoding="utf-8")


__all__ = ["render_report", "write_report"]
