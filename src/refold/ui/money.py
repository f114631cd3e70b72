"""Money over time: the balances and the profit of a stream, and what could not have been without.

Every point of a plot is an event that moved money.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from decimal import Decimal
from typing import Final, NamedTuple

from refold import Recorded, Store
from refold.ledger import Portfolio, what_if
from refold.ledger.folds import Account, PortfolioState
from refold.ledger.hindsight import POSTED_TYPES, by_guards
from refold.times import rfc3339
from refold.ui.visit import Visit

POSITIONS_LOOKED_AT: Final = 10_000
"""So many of the last positions of the log are looked through for streams that have money."""
PURSES_SHOWN: Final = 200
EVENTS_A_PAGE: Final = 200
ASSETS_SHOWN: Final = 6
WHAT_IF_EVENTS_MAX: Final = 600
"""What would follow is told on a page of streams that have no more events."""
WIDTH: Final = 1_000
HEIGHT: Final = 160


class Purse(NamedTuple):
    """A stream that has money, by the last of the log: how many events, and when the last was."""

    stream: str
    events: int
    last_at: str


class HeldThen(NamedTuple):
    """What there is of an asset, and what its bets came to."""

    available: Decimal
    escrow: Decimal
    staked: Decimal
    balance: Decimal
    profit: Decimal


class Point(NamedTuple):
    """What an event left of an asset; ``x`` is where it stands in a plot."""

    event: Recorded
    at: str
    asset: str
    held: HeldThen
    x: float = 0.0


class Mark(NamedTuple):
    """A point in a plot, the value there, and its height."""

    point: Point
    value: str
    y: float


class Plot(NamedTuple):
    """A value of an asset over time: a line through its marks, and the zero where it is in it.

    ``low`` and ``high`` are exact.
    """

    what: str
    line: str
    marks: Sequence[Mark]
    low: Decimal
    high: Decimal
    zero: float | None


class AssetOverTime(NamedTuple):
    """An asset in a page of a stream, and what there was of it at the end."""

    asset: str
    plots: Sequence[Plot]
    last: HeldThen


class MoneyShown(NamedTuple):
    """Versions ``first`` to ``at`` of ``head`` of a stream, and what they did to its money."""

    stream: str
    first: int
    at: int
    head: int
    points: Sequence[Point]
    assets: Sequence[AssetOverTime]
    assets_left_out: int


class Supposed(NamedTuple):
    """What would have been without an event: what could not have happened then, each with why.

    ``accounts`` are, by asset, what was, what would be at the others' word, and without those.
    """

    without: str
    impossible: Sequence[tuple[Recorded, str]]
    accounts: Sequence[tuple[str, Account, Account, Account]]


def screen(visit: Visit) -> str:
    """The page of the streams that have money, or of one."""
    stream, without = visit.text("stream"), visit.text("without")
    if not stream:
        found, after = purses(visit.store)
        return visit.page("money.html", purses=found, after=after, purses_max=PURSES_SHOWN)
    one = shown(visit.store, stream, at=visit.number("at"))
    is_short = one.head < WHAT_IF_EVENTS_MAX
    supposed = supposing(visit.store, stream, without) if without and is_short else None
    values = {"supposed": supposed, "without": without, "events_max": WHAT_IF_EVENTS_MAX}
    return visit.page("wallet.html", one=one, amount=amount, width=WIDTH, height=HEIGHT, **values)


def purses(store: Store) -> tuple[Sequence[Purse], int]:
    """The streams whose money moved in the last positions of the log, and after which these are."""
    after = max(0, store.log_head() - POSITIONS_LOOKED_AT)
    last: dict[str, Recorded] = {}
    counts = Counter[str]()
    for recorded in store.read_all(after=after, types=POSTED_TYPES):
        last[recorded.stream] = recorded
        counts[recorded.stream] += 1
    newest = sorted(last.values(), key=lambda one: -one.position)
    told = [Purse(one.stream, counts[one.stream], rfc3339(one.occurred_at_us)) for one in newest]
    return told, after


def shown(store: Store, stream: str, *, at: int | None = None) -> MoneyShown:
    """What the last events of a stream, up to a version, did to its money.

    :class:`~refold.errors.NotFound` where there is no such stream.
    """
    (newest,) = store.read(stream, direction="backward", limit=1)
    at = newest.version if at is None else min(at, newest.version)
    first = max(0, at + 1 - EVENTS_A_PAGE)
    book = store.fold(stream, Portfolio, version=first - 1).state if first else PortfolioState()
    points = placed(list(moved(store.read(stream, from_version=first, to_version=at), book)))
    assets = list(dict.fromkeys(one.asset for one in points))
    told = [over_time([p for p in points if p.asset == name]) for name in assets[:ASSETS_SHOWN]]
    left_out = max(0, len(assets) - ASSETS_SHOWN)
    return MoneyShown(stream, first, at, newest.version, points, told, left_out)


def moved(history: Iterable[Recorded], book: PortfolioState) -> Iterator[Point]:
    """The points of a history that goes on from a book, which is changed by it."""
    for recorded in history:
        before = _held(book)
        book = Portfolio.step(book, recorded)
        for asset, held in _held(book).items():
            if held != before.get(asset):
                yield Point(recorded, rfc3339(recorded.occurred_at_us), asset, held)


def placed(points: Sequence[Point]) -> list[Point]:
    """The same, each where its time is; all in equal steps where they have but one time."""
    times = [one.event.occurred_at_us for one in points]
    first, last = min(times, default=0), max(times, default=0)
    if first == last:
        first, last, times = 0, len(points) - 1, [*range(len(points))]
    span = max(last - first, 1)
    return [
        one._replace(x=WIDTH * (at - first) / span) for one, at in zip(points, times, strict=True)
    ]


def over_time(points: Sequence[Point]) -> AssetOverTime:
    """The plots of one asset."""
    plots = [
        _plot("balance", points, [one.held.balance for one in points]),
        _plot("profit", points, [one.held.profit for one in points]),
    ]
    return AssetOverTime(points[0].asset, plots, points[-1].held)


def supposing(store: Store, stream: str, without: str) -> Supposed:
    """What would have been without an event of a stream."""
    found = what_if(store, stream, [without])
    told = [(one.event, str(one.rejection)) for one in found.impossible]
    told += by_guards(store.branch(stream), found.branch)
    was, word, rest = found.happened, found.supposed, found.remaining
    accounts = [(asset, was.of(asset), word.of(asset), rest.of(asset)) for asset in was.assets]
    return Supposed(without, told, accounts)


def amount(value: Decimal) -> str:
    """An amount to its last digit, without zeros at its end."""
    text = f"{value:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def _held(book: PortfolioState) -> dict[str, HeldThen]:
    return {
        asset: HeldThen(one.available, one.escrow, one.staked, one.total, one.profit)
        for asset, one in book.assets.items()
    }


def _plot(what: str, points: Sequence[Point], values: Sequence[Decimal]) -> Plot:
    low, high = min(values), max(values)
    span = float(high - low)

    def height(value: Decimal) -> float:
        return HEIGHT * (1 - float(value - low) / span) if span else HEIGHT / 2

    marks = [
        Mark(one, amount(value), height(value)) for one, value in zip(points, values, strict=True)
    ]
    steps = [f"H{one.point.x:.1f}V{one.y:.1f}" for one in marks[1:]]
    line = f"M{marks[0].point.x:.1f} {marks[0].y:.1f}" + "".join(steps)
    return Plot(what, line, marks, low, high, height(Decimal()) if low < 0 < high else None)
