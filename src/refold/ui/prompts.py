"""The prompts of a store: when each was in force and for whom, how two differ, what went on under.

They are looked up in the read model ``search``, so that no page reads the log from its beginning.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime
from statistics import fmean
from typing import Any, Final, NamedTuple

from refold import Recorded, Store
from refold.conversation.events import AgentConfigured, Prompt
from refold.errors import NotFound, RefoldError
from refold.projections import Projector
from refold.readmodels.finding import OPEN
from refold.readmodels.searching import attributes_in, search
from refold.replay.report.formatting import cut
from refold.replay.report.text_diff import DiffLine, compare_lines
from refold.ui.asked import asking
from refold.ui.current import brought_up
from refold.ui.visit import Visit

PROMPTS_A_PAGE: Final = 50
STREAMS_LOOKED_AT: Final = 1_000
"""So many of the last conversations under a prompt are counted in what came of them."""
STREAMS_SHOWN: Final = 50
NAMES_SHOWN: Final = 20
BAR_MIN: Final = 1.5
"""So wide is the bar of a prompt that was in force for a moment, in hundredths."""
CHARS_MAX: Final = 40_000
"""Of longer prompts the beginning is shown, and compared."""
_UNDER: Final = """
FROM search_names AS has JOIN search_streams AS one ON one.stream = has.stream
WHERE has.kind = 'prompt' AND has.position > one.gone_at AND one.events > 0"""
_ALL: Final = f"""
SELECT has.name, count(*), min(has.position), min(one.first_at), max(one.last_at) {_UNDER}
GROUP BY has.name ORDER BY min(has.position) DESC"""
_ONE: Final = f"""
SELECT has.name, count(*), min(has.position), min(one.first_at), max(one.last_at) {_UNDER}
AND has.name = ? GROUP BY has.name"""
_SPANS: Final = f"""
SELECT has.name, one.first_at, one.last_at {_UNDER}
AND has.name IN ({{}}) ORDER BY one.first_at"""
_STREAMS: Final = f"""
SELECT one.stream, one.last_at, one.errors, one.outcome, one.attributes {_UNDER}
AND has.name = ? ORDER BY one.last_at DESC, one.stream LIMIT {STREAMS_LOOKED_AT}"""


class PromptListed(NamedTuple):
    """A prompt, and the conversations that had it, which went on from ``first_at`` to ``last_at``.

    ``event`` is the first of the log that has it, and ``by`` who is noted there; ``configured`` is
    what it says, None where that can not be read. Conversations of branches count, as in the list.
    """

    hash: str
    conversations: int
    first_at: str
    last_at: str
    event: Recorded
    configured: AgentConfigured | None

    @property
    def text(self) -> str | None:
        """The prompt; None where it can not be read."""
        return None if self.prompt is None else self.prompt.text

    @property
    def prompt(self) -> Prompt | None:
        """The prompt with its id."""
        return None if self.configured is None else self.configured.prompt

    @property
    def labels(self) -> Sequence[str]:
        """What the version is called, by the agent and by the prompt."""
        said = [self.configured and self.configured.version, self.prompt and self.prompt.id]
        return [str(one) for one in dict.fromkeys(said) if one]

    @property
    def agent(self) -> str | None:
        """Whose prompt it was first."""
        said = self.configured.agent if self.configured else None
        return said or _noted(self.event, "agent")

    @property
    def by(self) -> str | None:
        """Who recorded it first."""
        return _noted(self.event, "actor")


class PromptPage(NamedTuple):
    """A page of the prompts, the newest first, and how many there are in all.

    ``bars`` are when conversations went on under each, as start and width of each stretch on a
    scale from 0 to 100.
    """

    prompts: Sequence[PromptListed]
    bars: Sequence[Sequence[tuple[float, float]]]
    page: int
    pages: int
    in_all: int


class UnderPrompt(NamedTuple):
    """What came of the last conversations under a prompt, ``counted`` of them.

    ``scores``: by name how many, and their mean. ``labels``: by name how often each value.
    ``streams``: name, when it last went on, errors, outcome.
    """

    counted: int
    errors: int
    outcomes: Sequence[tuple[str, int]]
    scores: Sequence[tuple[str, int, float]]
    labels: Sequence[tuple[str, Sequence[tuple[str, int]]]]
    streams: Sequence[tuple[str, str, int, str | None]]


def screen(visit: Visit) -> str:
    """The prompts; or one of them; or how two differ."""
    behind = brought_up(visit.store, visit.rows)
    projector = Projector(visit.store, [search], rows=visit.rows)
    version, a, b = (visit.text(name) for name in ("version", "a", "b"))
    if projector.status()[0].state != "current":
        found = PromptPage((), (), 1, 1, 0)
    elif version:
        return _one(visit, projector, version)
    elif a and b:
        return _two(visit, projector, a, b)
    else:
        found = listing(visit.store, projector, page=visit.number("page") or 1)
    return visit.page("prompts.html", listing=found, behind=behind)


def _one(visit: Visit, projector: Projector, version: str) -> str:
    one = prompt(visit.store, projector, version)
    text, left_off = cut(one.text or "", CHARS_MAX)
    values = {"one": one, "text": text, "left_off": left_off, "found": under(projector, version)}
    return visit.page("prompt.html", asking=asking, **values)


def _two(visit: Visit, projector: Projector, a: str, b: str) -> str:
    before, after = (prompt(visit.store, projector, name) for name in (a, b))
    values = {"before": before, "after": after, "lines": difference(before, after)}
    is_cut = any(len(one.text or "") > CHARS_MAX for one in (before, after))
    return visit.page("prompts_compared.html", is_cut=is_cut, chars_max=CHARS_MAX, **values)


def listing(store: Store, projector: Projector, *, page: int = 1) -> PromptPage:
    """A page of the prompts that conversations were configured with, counted from 1."""
    rows = list(projector.query(_ALL))
    pages = max(1, -(-len(rows) // PROMPTS_A_PAGE))
    page = min(max(page, 1), pages)
    some = rows[(page - 1) * PROMPTS_A_PAGE : page * PROMPTS_A_PAGE]
    found = [_listed(store, row) for row in some]
    return PromptPage(found, bars(projector, found), page, pages, len(rows))


def prompt(store: Store, projector: Projector, version: str) -> PromptListed:
    """The prompt of a hash; :class:`~refold.errors.NotFound` where there is none."""
    for row in projector.query(_ONE, (version,)):
        return _listed(store, row)
    raise NotFound(f"no conversation here has a prompt of the hash {version!r}")


def bars(
    projector: Projector, found: Sequence[PromptListed]
) -> Sequence[Sequence[tuple[float, float]]]:
    """When conversations went on under each, between the first and the last of all.

    Where prompts alternate there is a gap; one that is too small to be drawn is not.
    """
    spans: dict[str, list[tuple[float, float]]] = {one.hash: [] for one in found}
    marks = ", ".join("?" * len(found)) or "NULL"
    for name, *ends in projector.query(_SPANS.format(marks), [*spans]):
        first, last = (datetime.fromisoformat(at).timestamp() for at in ends)
        spans[name].append((first, last))
    every = [moment for of in spans.values() for ends in of for moment in ends]
    start, width = min(every, default=0.0), (max(every, default=0.0) - min(every, default=0.0))
    scale = (100 - BAR_MIN) / (width or 1.0)
    return [
        _joined([(scale * (first - start), scale * (last - start)) for first, last in of])
        for of in spans.values()
    ]


def _joined(spans: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Start and width of spans that are in order, those together that would touch as drawn."""
    made: list[tuple[float, float]] = []
    for first, last in spans:
        start, width = made[-1] if made else (first, -1.0)
        if made and first <= start + width:
            made[-1] = (start, max(width, last - start + BAR_MIN))
        else:
            made.append((first, last - first + BAR_MIN))
    return made


def difference(before: PromptListed, after: PromptListed) -> list[DiffLine]:
    """How one prompt differs from another, line by line; of long ones the beginnings."""
    old, new = ((one.text or "")[:CHARS_MAX] for one in (before, after))
    return list(compare_lines(old, new))


def under(projector: Projector, version: str) -> UnderPrompt:
    """What came of the last conversations that had a prompt."""
    rows = list(projector.query(_STREAMS, (version,)))
    scores: dict[str, list[float]] = {}
    labels: dict[str, Counter[str]] = {}
    for *_, attributes in rows:
        known = attributes_in(attributes)
        for name, score in known.scores.items():
            scores.setdefault(name, []).append(score)
        for name, value in known.labels.items():
            labels.setdefault(name, Counter())[value] += 1
    return UnderPrompt(
        counted=len(rows),
        errors=sum(1 for row in rows if row[2]),
        outcomes=Counter(row[3] or OPEN for row in rows).most_common(NAMES_SHOWN),
        scores=[(name, len(all_), fmean(all_)) for name, all_ in sorted(scores.items())],
        labels=[(name, of.most_common(NAMES_SHOWN)) for name, of in sorted(labels.items())],
        streams=[row[:4] for row in rows[:STREAMS_SHOWN]],
    )


def _listed(store: Store, row: Sequence[Any]) -> PromptListed:
    own, conversations, position, first_at, last_at = row
    (event,) = store.read_all(after=position - 1, limit=1)
    return PromptListed(own, conversations, first_at, last_at, event, _configured(event, own))


def _noted(event: Recorded, name: str) -> str | None:
    said = event.noted(name)
    return said if isinstance(said, str) and said else None


def _configured(event: Recorded, own: str) -> AgentConfigured | None:
    """What an event says with the prompt of a hash; None where it can not be read."""
    with suppress(RefoldError):
        for part in event.parts():
            if part.type == "agent.configured":
                made: AgentConfigured = part.to_class(AgentConfigured)
                if made.prompt is not None and made.prompt.hash == own:
                    return made
    return None
