"""Finding streams: by when they went on, who took part, what was done, what it cost and the words.

The conditions are looked up in the read model ``search``, which is brought up to date first.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterator, Sequence
from decimal import Decimal
from itertools import chain
from typing import Final, NamedTuple

import msgspec

from refold.conversation.amounts import read_amount
from refold.core.clock import EARLIEST_US, LATEST_US, Instant, to_us
from refold.core.recorded import Recorded
from refold.engine.store import Store
from refold.errors import UsageError, refuse_unless, shown
from refold.ports import SqlValue
from refold.projections import Projector
from refold.readmodels.columns import shown as at
from refold.readmodels.searching import amounts_in, search, spaced

NAMES_MAX: Final = 10_000
"""So many names are told where nothing was found."""
WORDS_MAX: Final = 100
_HAS: Final = """EXISTS (
    SELECT 1 FROM search_names AS has
    WHERE has.kind = ? AND has.name = ? AND has.stream = one.stream)"""
_SAYING: Final = "FROM search WHERE text MATCH ?"


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """What a stream must be to be found; what is None is not asked, and all that is must hold.

    It went on at some time from ``since`` to ``until``, both included. An ``agent``, ``model`` or
    ``tool`` of exactly this name was in it. ``with_error``: a tool failed, a model gave no answer,
    or it ended with an error. What is known of its cost is over ``cost_over``, a decimal (as text
    too), in one currency.
    ``text``: all these words stand in what one of its events says (utterances, calls and results
    of tools, errors), whatever their case and accents; signs between them are none. Raises
    :class:`~refold.errors.UsageError` for what can hold of no stream.
    """

    since: Instant | None = None
    until: Instant | None = None
    agent: str | None = None
    model: str | None = None
    tool: str | None = None
    with_error: bool = False
    cost_over: Decimal | str | None = None
    text: str | None = None

    def __post_init__(self) -> None:
        first, last = self.bounds_us
        if first > last:
            times = f"since={at(first)} is after until={at(last)}"
            raise UsageError(f"{times}: nothing happens between them")
        cost = read_amount(self.cost_over)
        if self.cost_over is not None and (cost is None or cost < 0):
            raise UsageError(f"cost_over={shown(self.cost_over)} is no amount of money from 0 on")
        if self.text is not None and not 0 < len(self.words) <= WORDS_MAX:
            raise UsageError(f"text={shown(self.text)} is not 1 to {WORDS_MAX} words")

    @property
    def bounds_us(self) -> tuple[int, int]:
        """From when to when, in microseconds UTC, both included."""
        return (
            EARLIEST_US if self.since is None else to_us(self.since),
            LATEST_US if self.until is None else to_us(self.until),
        )

    @property
    def names(self) -> list[tuple[str, str]]:
        """The names that are asked for, each with its kind."""
        said = {"agent": self.agent, "model": self.model, "tool": self.tool}
        return [(kind, name) for kind, name in said.items() if name is not None]

    @property
    def words(self) -> list[str]:
        """The words of ``text``: what has no letter or digit is none."""
        given = dict.fromkeys((self.text or "").replace("\0", " ").split())
        return [word for word in given if any(unicodedata.category(c)[0] in "LN" for c in word)]


class FoundStreams(NamedTuple):
    """The ``streams`` that are as ``wanted``, and ``positions`` of the events that say its words.

    ``unknown`` are the names that were asked for and that no stream has, where nothing was found:
    of which kind, the name, and those that there are. ``unread`` are streams that could not be
    read to their end; :meth:`~refold.projections.Projector.status` says why.
    """

    wanted: Wanted
    streams: frozenset[str]
    positions: frozenset[int] | None
    unknown: list[tuple[str, str, list[str]]]
    unread: list[str]

    def has(self, event: Recorded) -> bool:
        """Whether an event is of these streams, in the time, and says the words."""
        first, last = self.wanted.bounds_us
        said = self.positions is None or event.position in self.positions
        return said and first <= event.occurred_at_us <= last and event.stream in self.streams


def find(
    store: Store,
    wanted: Wanted,
    *,
    rows: Store | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> FoundStreams:
    """The streams that are as wanted; branches by their own events, and no replays.

    The read model ``search`` is brought up to date first, in the store itself or in ``rows``, such
    as ``refold.open("memory:")`` where the store cannot be written or keeps no tables.
    ``progress`` gets the positions of the log that are done, and the last one.
    """
    refuse_unless(isinstance(wanted, Wanted), "a refold.readmodels.Wanted", wanted=wanted)
    projector = Projector(store, [search], rows=rows)
    if projector.status()[0].state == "changed":  # Made by another refold: nobody's rows are lost.
        projector.rebuild(search.name, progress=progress)
        projector.confirm(search.name)
    projector.catch_up(progress=progress)
    (status,) = projector.status()
    terms, values = zip(*_conditions(wanted), strict=True)
    sql = f"SELECT stream, cost FROM search_streams AS one WHERE {' AND '.join(terms)}"
    found = projector.query(sql, list(chain.from_iterable(values)))
    least = read_amount(wanted.cost_over)
    streams = frozenset(stream for stream, cost in found if _is_over(least, cost))
    return FoundStreams(
        wanted,
        streams,
        _positions(projector, wanted),
        [] if streams else list(_unknown(projector, wanted)),
        [parked.stream for parked in status.parked],
    )


def _conditions(wanted: Wanted) -> Iterator[tuple[str, Sequence[SqlValue]]]:
    """What SQL can tell of a row ``one``: terms, each with its values."""
    yield "last_at >= ? AND first_at <= ?", [*map(at, wanted.bounds_us)]
    for kind, name in wanted.names:
        yield _HAS, (kind, name)
    if wanted.with_error:
        yield "errors > 0", ()
    if wanted.text is not None:
        yield f"stream IN (SELECT stream {_SAYING})", (_phrases(wanted),)


def _is_over(least: Decimal | None, cost: str) -> bool:
    """Whether a cost by currency is over an amount, exactly; SQL would take it for a float."""
    return least is None or any(amount > least for amount in amounts_in(cost).values())


def _positions(projector: Projector, wanted: Wanted) -> frozenset[int] | None:
    if wanted.text is None:
        return None
    found = projector.query(f"SELECT position {_SAYING}", (_phrases(wanted),))
    return frozenset(position for (position,) in found)


def _phrases(wanted: Wanted) -> str:
    """The words in FTS5's language: each quoted, so that none is a sign or an operator of it."""
    quoted = (spaced(word).replace('"', '""') for word in wanted.words)
    return " ".join(f'"{word}"' for word in quoted)


def _unknown(projector: Projector, wanted: Wanted) -> Iterator[tuple[str, str, list[str]]]:
    for kind, name in wanted.names:
        sql = "SELECT DISTINCT name FROM search_names WHERE kind = ? LIMIT ?"
        known = [one for (one,) in projector.query(sql, (kind, NAMES_MAX))]
        if name not in known:
            yield kind, name, known
