"""Finding streams: by when they went on, who took part, what was done, how it came out, the words.

The conditions are looked up in the read model ``search``, which is brought up to date first.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from decimal import Decimal
from itertools import chain
from typing import Final, NamedTuple

import msgspec

from refold.conversation.amounts import read_amount
from refold.core.clock import EARLIEST_US, LATEST_US, Instant, to_us
from refold.core.event import category_of
from refold.core.recorded import Recorded
from refold.engine.store import Store
from refold.errors import Unavailable, UsageError, refuse_unless, shown
from refold.ports import SqlValue
from refold.projections import Projector
from refold.readmodels.columns import shown as at
from refold.readmodels.sampling import sampled
from refold.readmodels.searching import amounts_in, attributes_in, search, spaced

NAMES_MAX: Final = 10_000
"""So many names are told where nothing was found."""
WORDS_MAX: Final = 100
TRIES_MAX: Final = 3
"""How often rows are looked up again that another program made anew meanwhile."""
HASH_DIGITS_MIN: Final = 4
"""So many digits of a prompt's hash name a version, at least."""
OPEN: Final = "open"
"""The outcome of a conversation that has none yet."""
_HAS: Final = """EXISTS (
    SELECT 1 FROM search_names AS has
    WHERE has.kind = ? AND has.name = ? AND has.stream = one.stream AND has.position > one.gone_at)
"""
Saying = tuple[str, Sequence[SqlValue]]
_HEX: Final = frozenset("0123456789abcdef")


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """What a stream must be to be found; what is None is not asked, and all that is must hold.

    It is of the ``category``, and went on at some time from ``since`` to ``until``, both included.
    An ``agent``, ``model`` or ``tool`` of exactly this name was in it, and a prompt of the
    ``prompt_version``: its label, or the beginning of its hash. It has the ``tag``, and came out
    with the ``outcome`` (``open``: it has none yet). ``with_error``: a tool failed or gave an
    object that says so (``{"error": …}``, ``is_error``), a model gave no answer, or it ended with
    an error. What is known of its cost is over ``cost_over``, a decimal (as text too), in one
    currency.
    ``text``: all these words stand in what one of its events says (utterances, calls and results
    of tools, errors), whatever their case and accents; signs between them are none.

    Of all that fit, ``sample`` many are taken by chance, the same for the same log and ``seed``;
    ``stratify`` by an attribute (see :meth:`Attributes.by`) takes of each of its values its share.
    Raises :class:`~refold.errors.UsageError` for what can hold of no stream.
    """

    category: str | None = None
    since: Instant | None = None
    until: Instant | None = None
    agent: str | None = None
    prompt_version: str | None = None
    model: str | None = None
    tool: str | None = None
    outcome: str | None = None
    tag: str | None = None
    with_error: bool = False
    cost_over: Decimal | str | None = None
    text: str | None = None
    sample: int | None = None
    seed: int = 0
    stratify: str | None = None

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
        right = self.sample is None or (type(self.sample) is int and self.sample > 0)
        refuse_unless(right, "a number of conversations, from 1", sample=self.sample)
        if self.sample is None and self.stratify is not None:
            raise UsageError(
                f"stratify={shown(self.stratify)} says how a sample is taken: give sample="
            )

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
        said = {"agent": self.agent, "model": self.model, "tool": self.tool, "tag": self.tag}
        return [(kind, name) for kind, name in said.items() if name is not None]

    @property
    def words(self) -> list[str]:
        """The words of ``text``: what has no letter or digit is none."""
        given = dict.fromkeys((self.text or "").replace("\0", " ").split())
        return [word for word in given if any(unicodedata.category(c)[0] in "LN" for c in word)]


class FoundStreams(NamedTuple):
    """The ``streams`` that are as ``wanted``, and ``positions`` of the events that say its words.

    ``unknown`` are the names that were asked for and that no stream has, where nothing was found:
    of which kind, the name, and those that there are; of a ``time`` that all were before or after,
    when they began and ended. ``unread`` are streams that could not be
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
    among: Callable[[str], bool] | None = None,
    rows: Store | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> FoundStreams:
    """The streams that are as wanted; branches by their own events, and no replays.

    ``among`` says of a stream by its name whether it is asked about, before a sample is taken. The
    read model ``search`` is brought up to date first, in the store itself or in ``rows``, such
    as ``refold.open("memory:")`` where the store cannot be written or keeps no tables.
    ``progress`` gets the positions of the log that are done, and the last one.
    """
    refuse_unless(isinstance(wanted, Wanted), "a refold.readmodels.Wanted", wanted=wanted)
    projector = Projector(store, [search], rows=rows)
    for _ in range(TRIES_MAX):
        bring_up(projector, progress)
        found = _looked_up(projector, wanted, among)
        if projector.status()[0].state == "current":  # Else another program shows its own.
            return found
    raise _taken_turns(search.name)


def bring_up(projector: Projector, progress: Callable[[int, int], None] | None = None) -> None:
    """Bring rows to where the log ends; those of another program are kept for it.

    Two programs whose upcasters differ read the same log otherwise. Each goes on with the rows
    that it made, and neither has to make them anew each time that it comes after the other.
    """
    for _ in range(TRIES_MAX):
        for status in projector.status():
            if status.state == "changed":
                projector.adopt(status.name, progress=progress)
        try:
            projector.catch_up(progress=progress)
        except UsageError as error:
            if error.code != "projection_changed":
                raise
        else:
            return
    raise _taken_turns(*projector.projections)


def _taken_turns(*names: str) -> Unavailable:
    said = " or ".join(names)
    return Unavailable(f"other programs make the read model {said} anew all the time")


def _looked_up(
    projector: Projector, wanted: Wanted, among: Callable[[str], bool] | None
) -> FoundStreams:
    condition, values = fitting(projector, wanted)
    least = read_amount(wanted.cost_over)
    sql = f"SELECT stream, cost, attributes FROM search_streams AS one WHERE {condition}"
    fit: dict[str, str] = {
        stream: attributes
        for stream, cost, attributes in projector.query(sql, values)
        if is_over(least, cost) and (among is None or among(stream))
    }
    (status,) = projector.status()
    return FoundStreams(
        wanted,
        frozenset(_sample(wanted, fit)),
        _positions(projector, _saying(projector, wanted)),
        [] if fit else list(_unknown(projector, wanted, _names(projector, wanted))),
        [parked.stream for parked in status.parked],
    )


def _sample(wanted: Wanted, fit: dict[str, str]) -> Iterable[str]:
    """Those that are taken of the streams that fit, each with what it is known by, as JSON."""
    if wanted.sample is None:
        return fit
    by = wanted.stratify
    strata = {} if by is None else {name: attributes_in(of).by(by) for name, of in fit.items()}
    if strata and not any(strata.values()):
        raise UsageError(f"no stream that fits has a {by} to stratify by", argument="stratify")
    return sampled(fit, wanted.sample, seed=wanted.seed, stratum_of=strata.get)


def fitting(projector: Projector, wanted: Wanted) -> Saying:
    """What SQL can tell of a row ``one`` of ``search_streams``: all but :func:`is_over`."""
    names, saying = _names(projector, wanted), _saying(projector, wanted)
    terms, values = zip(*_conditions(wanted, names, saying), strict=True)
    return " AND ".join(terms), list(chain.from_iterable(values))


def _names(projector: Projector, wanted: Wanted) -> list[tuple[str, str]]:
    return [*wanted.names, *_prompt(projector, wanted)]


def _conditions(
    wanted: Wanted, names: Iterable[tuple[str, str]], saying: Saying | None
) -> Iterator[tuple[str, Sequence[SqlValue]]]:
    """Terms, each with its values."""
    yield "events > 0 AND last_at >= ? AND first_at <= ?", [*map(at, wanted.bounds_us)]
    for kind, name in names:
        yield _HAS, (kind, name)
    if wanted.category is not None:
        yield _of_category(wanted.category)
    if wanted.outcome is not None:
        yield f"coalesce(outcome, '{OPEN}') = ?", (wanted.outcome,)
    if wanted.with_error:
        yield "errors > 0", ()
    if saying is not None:
        condition, values = saying
        yield f"stream IN (SELECT stream FROM search WHERE {condition})", values


def _of_category(category: str) -> Saying:
    """See :func:`~refold.core.event.category_of`."""
    name, is_branch = category.removesuffix("~"), category.endswith("~")
    if "-" in name or "~" in name:
        return "0 = 1", ()
    begins = [f"{name}-", f"{name}~"] if is_branch else [f"{name}-"]
    terms = ["stream = ?", *["substr(stream, 1, CAST(? AS integer)) = ?"] * len(begins)]
    values: list[SqlValue] = [name]
    for one in begins:
        values += [len(one), one]
    return f"stream {'' if is_branch else 'NOT '}LIKE '%~%' AND ({' OR '.join(terms)})", values


def is_over(least: Decimal | None, cost: str) -> bool:
    """Whether a cost by currency is over an amount, exactly; SQL would take it for a float."""
    return least is None or any(amount > least for amount in amounts_in(cost).values())


def _prompt(projector: Projector, wanted: Wanted) -> list[tuple[str, str]]:
    """The label, or the one hash that begins so, by which a version of a prompt is asked for."""
    given = wanted.prompt_version
    if given is None:
        return []
    is_hash = len(given) >= HASH_DIGITS_MIN and set(given) <= _HEX
    found = _known(projector, "prompt", starts=given) if is_hash else []
    if _is_known(projector, "label", given) or not found:
        return [("label", given)]
    if len(found) > 1:
        some = ", ".join(one[: len(given) + HASH_DIGITS_MIN] for one in found[:3])
        raise UsageError(f"prompt_version={given!r} begins several hashes: {some}; give more of it")
    return [("prompt", found[0])]


def _positions(projector: Projector, saying: Saying | None) -> frozenset[int] | None:
    if saying is None:
        return None
    condition, values = saying
    found = projector.query(f"SELECT position FROM search WHERE {condition}", values)
    return frozenset(position for (position,) in found)


def _saying(projector: Projector, wanted: Wanted) -> Saying | None:
    """What SQL tells of what says the words that are asked for, if any are."""
    return None if wanted.text is None else projector.saying([*map(spaced, wanted.words)])


def _unknown(
    projector: Projector, wanted: Wanted, names: Iterable[tuple[str, str]]
) -> Iterator[tuple[str, str, list[str]]]:
    if wanted.category is not None:
        streams = projector.query("SELECT stream FROM search_streams", ())
        categories = sorted({category_of(str(one)) for (one,) in streams})
        if wanted.category not in categories:
            yield "category", wanted.category, categories[:NAMES_MAX]
    is_costly = "SELECT 1 FROM search_streams WHERE cost <> '{}' LIMIT 1"
    if wanted.cost_over is not None and not list(projector.query(is_costly, ())):
        yield "cost", str(wanted.cost_over), []
    for kind, name in names:
        if not _is_known(projector, kind, name):
            told = "prompt version" if kind == "label" else kind
            yield told, name, _known(projector, kind)
    if wanted.outcome is not None:
        sql = "SELECT 1 FROM search_streams WHERE coalesce(outcome, ?) = ? LIMIT 1"
        if not list(projector.query(sql, (OPEN, wanted.outcome))):
            sql = "SELECT DISTINCT coalesce(outcome, ?) FROM search_streams ORDER BY 1 LIMIT ?"
            known = [str(one) for (one,) in projector.query(sql, (OPEN, NAMES_MAX))]
            yield "outcome", wanted.outcome, known
    first, last = map(at, wanted.bounds_us)
    ends = "SELECT min(first_at), max(last_at) FROM search_streams WHERE events > 0"
    for oldest, newest in projector.query(ends, ()):
        if newest is not None and (newest < first or oldest > last):
            yield "time", first if newest < first else last, [oldest, newest]


def _is_known(projector: Projector, kind: str, name: str) -> bool:
    sql = "SELECT 1 FROM search_names WHERE kind = ? AND name = ? LIMIT 1"
    return bool(list(projector.query(sql, (kind, name))))


def _known(projector: Projector, kind: str, *, starts: str = "") -> list[str]:
    """The names of a kind that there are, those that start so."""
    sql = """SELECT DISTINCT name FROM search_names
WHERE kind = ? AND substr(name, 1, CAST(? AS integer)) = ? ORDER BY name LIMIT ?"""
    found = projector.query(sql, (kind, len(starts), starts, NAMES_MAX))
    return [str(one) for (one,) in found]
