"""Money at a moment and over a stretch of time, on both clocks and in any zone."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

import refold
from refold import Event
from refold.errors import NotFound, UsageError
from refold.ledger import ProfitAndLoss, balances_at, local_day, profit_and_loss
from refold.ledger.events import (
    BetLost,
    BetPlaced,
    BetWon,
    FeeCharged,
    FundsDeposited,
    FundsWithdrawn,
    UnrecognizedTransaction,
)
from refold.ledger.folds import Result
from refold.times import to_us
from tests.conformance.suites import HandClock
from tests.ledger.money import Model, exact, histories, usdc

BERLIN = ZoneInfo("Europe/Berlin")
APIA = ZoneInfo("Pacific/Apia")


def at(moment: Any, event: object) -> Event:
    """An event that happened at a moment."""
    return Event.of(event, occurred_at=moment)


def available(store: refold.Store, moment: Any, **options: Any) -> Decimal:
    """What was there to be spent at a moment."""
    return balances_at(store, "agent-1", moment, **options).of("USDC").available


def test_a_balance_at_an_instant_on_both_clocks() -> None:
    """What had happened, late news included; and what was known, without it."""
    clock = HandClock(to_us("2026-03-01T10:00:00Z"))
    with refold.open("memory:", clock=clock) as store:
        store.append("agent-1", [at("2026-03-01T09:00:00Z", FundsDeposited(**usdc("10")))])
        clock.us = to_us("2026-03-01T12:00:00Z")
        store.append("agent-1", [at("2026-03-01T09:30:00Z", FundsWithdrawn(**usdc("4")))])
        assert available(store, "2026-03-01T08:59:59.999999Z") == 0
        assert available(store, "2026-03-01T09:00:00Z") == 10
        assert available(store, "2026-03-01T09:30:00Z") == 6
        assert available(store, "2026-03-01T09:59:59Z", clock="recorded") == 0
        assert available(store, "2026-03-01T11:59:59Z", clock="recorded") == 10
        assert available(store, "2026-03-01T12:00:00Z", clock="recorded") == 6


def test_instants_are_compared_and_not_their_texts() -> None:
    """The text of a later instant may sort first, and one instant may be written in many ways."""
    with refold.open("memory:") as store:
        store.append("agent-1", [at("2026-03-01T10:00:00+05:00", FundsDeposited(**usdc("1")))])
        assert available(store, "2026-03-01T04:59:59Z") == 0
        same = [
            "2026-03-01T05:00:00Z",
            "2026-03-01T00:00:00-05:00",
            "2026-03-01T05:00:00.000+00:00",
            datetime(2026, 3, 1, 5, tzinfo=UTC),
            datetime(2026, 3, 1, 6, tzinfo=BERLIN),
            datetime(2026, 3, 1, 10, 45, tzinfo=timezone(timedelta(hours=5, minutes=45))),
            to_us("2026-03-01T05:00:00Z"),
        ]
        assert [available(store, moment) for moment in same] == [1] * len(same)
        for unclear in ("2026-03-01T05:00:00", datetime(2026, 3, 1, 5), "yesterday", 1.5):  # noqa: DTZ001
            with pytest.raises(UsageError):
                available(store, unclear)


def test_an_hour_that_comes_twice() -> None:
    """When clocks go back, half past two comes twice: the balance tells the two apart."""
    first = datetime(2026, 10, 25, 2, 30, tzinfo=BERLIN)
    second = first.replace(fold=1)
    with refold.open("memory:") as store:
        store.append("agent-1", [at(first, FundsDeposited(**usdc("10")))])
        store.append("agent-1", [at(second, FeeCharged(**usdc("1")))])
        assert store.event("agent-1@1").occurred_at - store.event("agent-1@0").occurred_at == (
            timedelta(hours=1)
        )
        assert available(store, first) == 10
        assert available(store, "2026-10-25T02:59:59+02:00") == 10
        assert available(store, second) == 9
        assert available(store, "2026-10-25T02:30:00+01:00") == 9


@pytest.mark.parametrize(
    ("day", "zone", "hours"),
    [
        (date(2026, 3, 28), BERLIN, 24),
        (date(2026, 3, 29), BERLIN, 23),
        (date(2026, 10, 25), BERLIN, 25),
        (date(2011, 12, 30), APIA, 0),
        (date(2026, 4, 24), ZoneInfo("Africa/Cairo"), 23),
    ],
)
def test_a_day_is_as_long_as_it_is_there(day: date, zone: ZoneInfo, hours: int) -> None:
    """23 and 25 hours when the clocks change, none where a day was left out, and no gap between.

    In Cairo the clocks go forward at midnight: that day begins at one.
    """
    start, end = local_day(day, zone)
    assert to_us(end) - to_us(start) == hours * 3_600_000_000
    assert local_day(day + timedelta(days=1), zone)[0] == end


def test_the_day_of_a_moment_is_not_guessed() -> None:
    """Which day a moment is in depends on a zone: the caller says."""
    with pytest.raises(UsageError):
        local_day(datetime(2026, 3, 29, tzinfo=UTC), BERLIN)


def test_profit_and_loss_of_a_day_that_is_short() -> None:
    """The day begins with its first microsecond and ends before the first of the next."""
    with refold.open("memory:") as store:
        for moment, fee in [
            ("2026-03-28T22:59:59.999999Z", "1"),
            ("2026-03-28T23:00:00Z", "2"),
            ("2026-03-29T21:59:59.999999Z", "4"),
            ("2026-03-29T22:00:00Z", "8"),
        ]:
            store.append("agent-1", [at(moment, FeeCharged(**usdc(fee)))])
        start, end = local_day(date(2026, 3, 29), BERLIN)
        day = profit_and_loss(store, "agent-1", since=start, until=end).of("USDC")
        assert (day.fees, day.profit) == (Decimal(6), Decimal(-6))


def test_a_bet_over_the_border_counts_where_each_part_happened() -> None:
    """Its stake on the day it was placed, its outcome on the next, where it has its bet."""
    with refold.open("memory:") as store:
        store.append("agent-1", [at("2026-03-01T23:59:00Z", BetPlaced(bet="b1", **usdc("4")))])
        store.append("agent-1", [at("2026-03-02T00:01:00Z", BetWon(bet="b1", **usdc("9")))])
        first = profit_and_loss(store, "agent-1", until="2026-03-02")
        second = profit_and_loss(store, "agent-1", since="2026-03-02", until="2026-03-03")
        assert first.of("USDC") == Result(wagered=Decimal(4), bets=1)
        assert list(first.bets.open) == ["b1"]
        assert second.of("USDC") == Result(won=Decimal(9), settled=Decimal(4), wins=1)
        assert (second.of("USDC").profit, second.of("USDC").win_rate) == (Decimal(5), Decimal(1))
        assert (second.bets.open, second.bets.unmatched) == ({}, {})


def test_a_stretch_by_what_was_known() -> None:
    """News that came late belongs to the day it came on, on that clock."""
    clock = HandClock(to_us("2026-03-01T10:00:00Z"))
    with refold.open("memory:", clock=clock) as store:
        store.append("agent-1", [at("2026-03-01T09:00:00Z", FeeCharged(**usdc("1")))])
        clock.us = to_us("2026-03-02T10:00:00Z")
        late: list[object] = [
            FeeCharged(**usdc("2")),
            UnrecognizedTransaction(kind="gift", text="{}"),
        ]
        store.append("agent-1", [at("2026-03-01T09:30:00Z", event) for event in late])
        day: dict[str, Any] = {"since": "2026-03-02", "until": "2026-03-03"}
        known = profit_and_loss(store, "agent-1", **day, clock="recorded")
        happened = profit_and_loss(store, "agent-1", **day)
        assert (known.of("USDC").fees, happened.of("USDC").fees) == (Decimal(2), Decimal(0))
        assert (known.unrecognized, happened.unrecognized) == ({"gift": 1}, {})


def test_stretches_are_checked() -> None:
    """One that ends before it begins, another clock, or a stream that is not there, is an error."""
    with refold.open("memory:") as store:
        with pytest.raises(NotFound):
            profit_and_loss(store, "agent-1")
        store.append("agent-1", [BetLost(bet="b")])
        with pytest.raises(UsageError):
            profit_and_loss(store, "agent-1", since="2026-03-02", until="2026-03-01")
        with pytest.raises(UsageError):
            profit_and_loss(store, "agent-1", clock="wall")  # type: ignore[arg-type]
        empty = profit_and_loss(store, "agent-1", since="2026-03-01", until="2026-03-01")
        assert empty.assets == {}
        first_ever = profit_and_loss(store, "agent-1", since="0001-01-01", until="0001-01-01")
        assert first_ever.assets == {}


@given(
    history=histories(),
    places=st.lists(st.integers(0, 20), min_size=3, max_size=3),
    data=st.data(),
)
def test_stretches_add_up(history: list[object], places: list[int], data: st.DataObject) -> None:
    """Over borders drawn anywhere, the parts of each sum come to that of the plain model."""
    clock = HandClock(0)
    times = [data.draw(st.integers(0, 20)) for _ in history]
    with refold.open("memory:", clock=clock) as store:
        store.append("agent-1", [Event("begun")])
        for moment, event in zip(times, history, strict=True):
            store.append("agent-1", [at(moment, event)])
        bounds: list[int | None] = [None, *sorted(places), None]
        parts = [
            profit_and_loss(store, "agent-1", since=since, until=until).of("USDC")
            for since, until in pairwise(bounds)
        ]
        whole = store.fold("agent-1", ProfitAndLoss).state.of("USDC")
        wanted = Model(history).account("USDC")
        for name in Result.__struct_fields__:
            total = sum(exact(getattr(part, name)) for part in parts)
            assert total == exact(getattr(whole, name)) == wanted[name]
        until = min(places)
        before = Model(e for e, t in zip(history, times, strict=True) if t < until)
        assert exact(parts[0].won) == before.account("USDC")["won"]
