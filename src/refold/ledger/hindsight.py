"""Money looked at afterwards: at a moment, over a stretch of time, and without a bad bet.

Moments are compared as instants, whatever zone they were written in. ``"occurred"`` asks what had
happened by then, ``"recorded"`` what was known by then.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Iterable, Iterator, Sequence
from datetime import date, datetime, time, timedelta, tzinfo
from decimal import Decimal
from importlib.metadata import entry_points
from typing import Any, Final, Literal, NamedTuple, TypeVar

from msgspec.structs import asdict, astuple

from refold.core.clock import EARLIEST_US, Instant, to_us
from refold.core.fold import Decider, Fold
from refold.core.history import History
from refold.core.recorded import Recorded
from refold.core.registry import default_registry
from refold.engine.branch import Branch
from refold.engine.checks import check_decider, check_names
from refold.engine.store import Store
from refold.engine.store_check import check_store
from refold.errors import Rejected, UsageError, refuse_unless, shown
from refold.ledger import folds
from refold.ledger.commands import ANSWERED, SettleBet, WalletCommand
from refold.ledger.money import minus
from refold.ledger.wallet import WalletState, wallet
from refold.ports import Appended

S = TypeVar("S")
ByClock = Literal["occurred", "recorded"]
Wallet = Decider[WalletState, Any]
POSTED_TYPES: Final = [default_registry.kind_of_class(cls).type for cls in folds.POSTED]
"""The types of what stands in a ledger."""
GUARDS: Final = "refold.guards"
"""Entry points: functions of what happened and of a branch (both a history) that give what cannot
have happened on the branch, though it did, each as the event and why."""


def balances_at(
    store: Store, stream: str, at: Instant, *, clock: ByClock = "occurred"
) -> folds.BalancesState:
    """The balances of a stream at an instant, what happened at that very instant included."""
    return _until(store, stream, folds.Balances, to_us(at), clock)


def profit_and_loss(
    store: Store,
    stream: str,
    *,
    since: Instant | None = None,
    until: Instant | None = None,
    clock: ByClock = "occurred",
) -> folds.ProfitAndLossState:
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
    results = _until(store, stream, folds.ProfitAndLoss, end_us, clock)
    if since_us is None or since_us == EARLIEST_US:
        return results
    before = _until(store, stream, folds.ProfitAndLoss, since_us - 1, clock)
    for asset, result in results.assets.items():
        results.assets[asset] = _added(result, before.of(asset))
    results.unrecognized = dict(Counter(results.unrecognized) - Counter(before.unrecognized))
    return results


def local_day(day: date, zone: tzinfo) -> tuple[datetime, datetime]:
    """Where a day begins in a zone, and where the next does: 23, 24 or 25 hours later.

    ``profit_and_loss(store, stream, since=start, until=end)`` is then that day's.
    """
    refuse_unless(isinstance(day, date), "a date", day=day)
    refuse_unless(isinstance(zone, tzinfo), "a time zone such as ZoneInfo(…)", zone=zone)
    if isinstance(day, datetime):
        raise UsageError(f"{day!r} is a moment: give its date in the zone that is meant")
    following = day + timedelta(days=1)
    return datetime.combine(day, time(), zone), datetime.combine(following, time(), zone)


def _until(store: Store, stream: str, fold: Fold[S], until_us: int | None, clock: ByClock) -> S:
    check_store(store, call="a look back", instead="give refold.open(…)")
    if clock not in ("occurred", "recorded"):
        raise UsageError(f"clock={shown(clock)} is neither 'occurred' nor 'recorded'")
    occurred, recorded = (until_us if clock == each else None for each in ("occurred", "recorded"))
    return store.fold(stream, fold, occurred_until=occurred, recorded_until=recorded).state


def _added(after: folds.Result, before: folds.Result) -> folds.Result:
    pairs = zip(astuple(after), astuple(before), strict=True)
    parts: Iterator[Any] = (minus(a, b) if isinstance(a, Decimal) else a - b for a, b in pairs)
    return folds.Result(*parts)


# -- what if a bad bet had not been placed: what there would be, and what could not have followed --


class Impossible(NamedTuple):
    """An event of a branch that the wallet would have refused there, and why."""

    event: Recorded
    rejection: Rejected


class LedgerWhatIf(NamedTuple):
    """What happened beside what would have.

    ``branch`` is the history that was asked for, ``impossible`` what in it could not have
    happened, in order, ``possible`` the branch without that. ``happened``, ``supposed`` and
    ``remaining`` are their portfolios: what was, the branch taken at its word, and what is left
    of it.
    """

    branch: Branch[Appended]
    possible: Branch[Appended]
    impossible: tuple[Impossible, ...]
    happened: folds.PortfolioState
    supposed: folds.PortfolioState
    remaining: folds.PortfolioState


def what_if(
    store: Store, stream: str, without: Sequence[str], *, decider: Wallet | None = None
) -> LedgerWhatIf:
    """The history of a stream had these events (their ids) never happened.

    Nothing is written; both branches can be saved. ``decider`` is the wallet whose guards are
    asked: by default the one without limits. Raises :class:`~refold.errors.NotFound` for a stream
    or an event that is not there.
    """
    check_store(store, call="what_if", instead="give refold.open(…)")
    check_names(without=without)
    refuse_unless(without is not None, "a list of ids of events", without=without)
    history = store.branch(stream)
    branch = history.without(*without)
    found = impossible(history, branch, decider=decider)
    possible = branch.without(*(each.event.id for each in found))
    states = (each.fold(folds.Portfolio).state for each in (history, branch, possible))
    return LedgerWhatIf(branch, possible, found, *states)


def impossible(
    happened: History, branch: History, *, decider: Wallet | None = None
) -> tuple[Impossible, ...]:
    """What the wallet would have refused along a branch, though not in what happened.

    Each event is put to the decider as the command that it came from. One that is refused has not
    happened for those after it. What the decider would have refused in the first place (a service
    reports what it did, in its own order) is taken as it is on both.
    """
    decider = wallet if decider is None else decider
    check_decider(decider)
    for given in (happened, branch):
        refuse_unless(isinstance(given, History), "a branch of a stream", history=given)
    anyway = {each.event.id for each in _refusals(happened, decider)}
    return tuple(_refusals(branch, decider, taken=anyway))


def by_guards(happened: History, branch: History) -> Iterator[tuple[Recorded, str]]:
    """What cannot have happened on a branch by the guards of installed packages, and why."""
    for point in entry_points(group=GUARDS):
        yield from point.load()(happened, branch)


def _refusals(
    history: Iterable[Recorded], decider: Wallet, *, taken: Container[str] | None = None
) -> Iterator[Impossible]:
    """What the decider would have refused in a history.

    With ``taken``, the ids of what is taken as it is, a refused event has not happened for those
    after it; without, everything has.
    """
    state = decider.fold.initial()
    for recorded in history:
        try:
            if recorded.type in _ANSWERED and recorded.id not in (taken or ()):
                decider.decide(_command(recorded), state)
        except Rejected as rejection:
            yield Impossible(recorded, rejection)
            if taken is not None:
                continue
        state = decider.fold.step(state, recorded)


def _command(recorded: Recorded) -> WalletCommand:
    """The command that an event answers."""
    event, command = _ANSWERED[recorded.type]
    facts = asdict(recorded.to_class(event))
    if command is SettleBet:
        facts["outcome"] = recorded.type.removeprefix("bet.")
        facts["payout"] = facts.pop("amount", None)
    return command(**facts, at=recorded.occurred_at_us)


_ANSWERED: Final = {
    default_registry.kind_of_class(event).type: (event, command)
    for event, command in ANSWERED.items()
}
