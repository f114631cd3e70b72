"""Money at a moment, and over a stretch of time, by either clock.

Moments are compared as instants, whatever zone they were written in. ``"occurred"`` asks what had
happened by then, ``"recorded"`` what was known by then.
"""

from __future__ import annotations

from collections import Counter
from datetime import date, datetime, time, timedelta, tzinfo
from decimal import Decimal
from typing import Any, Literal, TypeVar

import msgspec

from refold.core.clock import EARLIEST_US, Instant, to_us
from refold.core.fold import Fold
from refold.engine.store import Store
from refold.errors import UsageError
from refold.ledger.accounts import BalancesState, ProfitAndLossState, Result
from refold.ledger.folds import Balances, ProfitAndLoss
from refold.ledger.money import minus

S = TypeVar("S")
ByClock = Literal["occurred", "recorded"]


def balances_at(
    store: Store, stream: str, at: Instant, *, clock: ByClock = "occurred"
) -> BalancesState:
    """The balances of a stream at an instant, what happened at that very instant included."""
    return _until(store, stream, Balances, to_us(at), clock)


def profit_and_loss(
    store: Store,
    stream: str,
    *,
    since: Instant | None = None,
    until: Instant | None = None,
    clock: ByClock = "occurred",
) -> ProfitAndLossState:
    """What a stretch of time, ``[since, until)``, added to the results of a stream.

    A stake counts when the bet was placed, an outcome and what it paid when it was settled, so
    stretches that follow one another add up. ``bets`` are those open, or unmatched, at its end.
    """
    since_us = None if since is None else to_us(since)
    until_us = None if until is None else to_us(until)
    if since_us is not None and until_us is not None and since_us > until_us:
        raise UsageError(f"a stretch of time that ends, {until!r}, before it begins, {since!r}")
    # Instants are whole microseconds: before one is until the last.
    end_us = None if until_us is None else max(until_us - 1, EARLIEST_US)
    results = _until(store, stream, ProfitAndLoss, end_us, clock)
    if since_us is None or since_us == EARLIEST_US:
        return results
    before = _until(store, stream, ProfitAndLoss, since_us - 1, clock)
    for asset, result in results.assets.items():
        results.assets[asset] = _added(result, before.of(asset))
    counts = Counter(results.unrecognized)
    counts.subtract(before.unrecognized)
    results.unrecognized = dict(+counts)
    return results


def local_day(day: date, zone: tzinfo) -> tuple[datetime, datetime]:
    """Where a day begins in a zone, and where the next does: 23, 24 or 25 hours later.

    ``profit_and_loss(store, stream, since=start, until=end)`` is then that day's.
    """
    if isinstance(day, datetime):
        raise UsageError(f"{day!r} is a moment: give its date in the zone that is meant")
    following = day + timedelta(days=1)
    return datetime.combine(day, time(), zone), datetime.combine(following, time(), zone)


def _until(store: Store, stream: str, fold: Fold[S], until_us: int | None, clock: ByClock) -> S:
    if clock not in ("occurred", "recorded"):
        raise UsageError(f"clock={clock!r} is neither 'occurred' nor 'recorded'")
    occurred, recorded = (until_us if clock == each else None for each in ("occurred", "recorded"))
    return store.fold(stream, fold, occurred_until=occurred, recorded_until=recorded).state


def _added(after: Result, before: Result) -> Result:
    parts: dict[str, Any] = msgspec.structs.asdict(after)
    for name, amount in parts.items():
        less = getattr(before, name)
        parts[name] = minus(amount, less) if isinstance(amount, Decimal) else amount - less
    return Result(**parts)
