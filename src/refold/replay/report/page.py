"""What the report shows, as values: the templates only put them in their places."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec

from refold.conversation.events import AgentConfigured, Prompt
from refold.core.recorded import Recorded, parts_of
from refold.errors import UsageError
from refold.replay.compare import Comparison, Conversations
from refold.replay.recorded import RecordedComparison
from refold.replay.report import turns
from refold.replay.report.formatting import cut
from refold.replay.report.text_diff import compare_lines
from refold.replay.report.turns import Read, nothing_read
from refold.replay.request import configured_by
from refold.replay.variant import Variant

if TYPE_CHECKING:
    from refold.replay.report.paging import Pack

PROMPT_CHARS_MAX: Final = 40_000
TITLES: Final = {
    "report.html": "Replay comparison",
    "recorded.html": "Comparison of two recordings",
}


class ToldBeside(NamedTuple):
    """Other comparisons that are told in a few lines, under what they show."""

    says: str
    comparisons: Sequence[Comparison]


def render_report(
    comparison: Comparison | RecordedComparison,
    *,
    read: Read | None = None,
    title: str | None = None,
    note: str | None = None,
    beside: Sequence[ToldBeside] = (),
) -> str:
    """The report as one HTML page without any outside resource; the same input, the same text.

    ``read`` gives the events of a stream (``store.read``), so that what callers said and tools
    gave back stands between the answers, and so that what was redacted is hidden; without it only
    the decisions are shown, and what was redacted in them too. ``note`` is a
    sentence at the top for what the reader must know, such as that the data is made up. ``beside``
    are other comparisons that are told in a few lines. Long lists
    are in pages, of which all but the first are packed until the reader turns to them.
    """
    return "".join(_pieces(comparison, read, title, note, beside))


def write_report(
    comparison: Comparison | RecordedComparison,
    path: str | Path,
    *,
    read: Read | None = None,
    title: str | None = None,
    note: str | None = None,
    beside: Sequence[ToldBeside] = (),
) -> Path:
    """Write :func:`render_report` to a file; :class:`UsageError` where that cannot be."""
    target, pieces = Path(path), _pieces(comparison, read, title, note, beside)
    try:
        with target.open("wb") as file:
            file.writelines(piece.encode() for piece in pieces)
    except OSError as error:
        raise UsageError(
            f"the report cannot be written to {target}: {error.strerror or error}", path=str(target)
        ) from error
    return target


def _pieces(
    comparison: Comparison | RecordedComparison,
    read: Read | None,
    title: str | None,
    note: str | None,
    beside: Sequence[ToldBeside],
) -> Iterator[str]:
    # Not every program that compares makes a page.
    from refold.replay.report import render
    from refold.replay.report.paging import Pack

    with closing(Pack()) as pack:
        if isinstance(comparison, RecordedComparison):
            template, values = "recorded.html", recorded_values(comparison, read, pack)
        else:
            template, values = "report.html", report_values(comparison, read, pack)
        title = title or TITLES[template]
        values |= {"comparison": comparison, "title": title, "note": note, "beside": beside}
        yield from render.pieces(template, **values)


def summary(comparison: Comparison | RecordedComparison) -> str:
    """The figures of a comparison in some lines of plain text, its outcome in the first.

    What the recorded conversations hold may be in it: it is not made fit for a terminal.
    """
    from refold.replay.report import render

    is_recorded = isinstance(comparison, RecordedComparison)
    return render.text("recorded.txt" if is_recorded else "summary.txt", comparison=comparison)


def recorded_values(
    comparison: RecordedComparison, read: Read | None, pack: Pack
) -> dict[str, object]:
    """All that the template asks for of two recordings, but their title and note."""
    from refold.replay.report.lists import TaskLists

    lists = TaskLists(comparison.verdicts, pack, read or nothing_read)
    for task in comparison.tasks:
        lists.add(task)
    lists.finish()
    return {"lists": lists}


def report_values(comparison: Comparison, read: Read | None, pack: Pack) -> dict[str, object]:
    """All that the template of a replay asks for, but its title and note."""
    from refold.replay.report.lists import Lists

    compared, has_control = comparison.conversations, comparison.control is not None
    if not isinstance(compared, Conversations):
        raise UsageError("give a comparison as compare() makes it, with its store open")
    lists, recorded = Lists(comparison.verdicts, pack, has_control=has_control), RecordedUnder()
    reading = read or nothing_read
    for pair in compared.beside():
        history = list(reading(pair.stream))
        lists.add(pair, history, reading)
        recorded.add(history)
    lists.finish()
    return {"figures": comparison.figures, "lists": lists, **recorded.beside(comparison.variant)}


# -- what was changed -----------------------------------------------------------------------------


class RecordedUnder:
    """What conversations were recorded under: how many with which prompt and model."""

    def __init__(self) -> None:
        self._prompts: Counter[str] = Counter()
        self._models: Counter[str] = Counter()

    def add(self, history: Sequence[Recorded]) -> None:
        """One more conversation."""
        configured = _configured(history)
        if configured.prompt is not None:
            self._prompts[configured.prompt.text] += 1
        if configured.model:
            provider = f" ({configured.provider})" if configured.provider else ""
            self._models[configured.model + provider] += 1

    def beside(self, variant: Variant) -> dict[str, object]:
        """What the variant changed, beside that."""
        [(prompt, times)] = self._prompts.most_common(1) or [("", 0)]
        before, after = cut(prompt, PROMPT_CHARS_MAX), cut(variant.prompt or "", PROMPT_CHARS_MAX)
        return {
            "recorded_models": ", ".join(model for model, _ in self._models.most_common()),
            "prompts": len(self._prompts),
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
