"""Limits on bets hold in every stretch of time, whatever the order of the commands."""

from __future__ import annotations

from decimal import Decimal
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given as drawn
from hypothesis import strategies as st

import refold
from refold.errors import Rejected, UsageError
from refold.ledger import (
    bets_per,
    bets_per_hour,
    loss_up_to,
    stake_per,
    stake_per_day,
    stake_per_hour,
    wallet,
    wallet_with,
)
from refold.ledger.commands import PlaceBet
from refold.ledger.events import BetCancelled, BetLost, BetWon, FeeCharged, FundsDeposited
from refold.testing import as_recorded, given
from tests.ledger.money import usdc

DEPOSITED = FundsDeposited(**usdc("1000"))


def placed(bet: str, amount: str, at: str) -> refold.Event:
    """A bet that was placed at a time of 1 March 2026."""
    command = PlaceBet(bet=bet, **usdc(amount), at=f"2026-03-01T{at}Z")
    (event,) = wallet.decide(command, wallet.fold.evolve(wallet.fold.initial(), DEPOSITED))
    assert isinstance(event, refold.Event)
    return event


def bet_at(at: str, amount: str = "1", bet: str = "new") -> PlaceBet:
    """A bet that is asked for at a time of 1 March 2026."""
    return PlaceBet(bet=bet, **usdc(amount), at=f"2026-03-01T{at}Z")


def test_bets_of_an_hour() -> None:
    """The third within an hour is refused, and told when it may come back; then it may."""
    history = given(
        wallet_with(bets_per_hour(2)),
        DEPOSITED,
        placed("b1", "1", "09:50:00"),
        placed("b2", "1", "10:10:00"),
    )
    history.when(bet_at("10:49:59.999999")).then_rejected(
        "bet_limit",
        window_s=3600,
        most=Decimal(2),
        used=Decimal(2),
        needed=Decimal(1),
        free_at="2026-03-01T10:50:00Z",
    )
    history.when(bet_at("10:50:00")).then(placed("new", "1", "10:50:00"))


def test_stake_of_an_hour_and_of_a_day() -> None:
    """Amounts count, those of the asset alone; a stake over the limit itself is never free."""
    limited = wallet_with(stake_per_hour(Decimal(10), "USDC"), stake_per_day(Decimal(15), "USDC"))
    eth = FundsDeposited(amount=Decimal(50), asset="ETH")
    history = given(limited, DEPOSITED, eth, placed("b1", "8", "09:00:00"))
    history.when(bet_at("09:30:00", "2.01")).then_rejected(
        "stake_limit", window_s=3600, used=Decimal(8), free_at="2026-03-01T10:00:00Z"
    )
    history.when(bet_at("09:30:00", "2")).then(placed("new", "2", "09:30:00"))
    history.when(bet_at("12:00:00", "7.5")).then_rejected(
        "stake_limit", window_s=86_400, free_at="2026-03-02T09:00:00Z"
    )
    history.when(bet_at("12:00:00", "10.5")).then_rejected("stake_limit", free_at=None)
    other = PlaceBet(bet="new", amount=Decimal(50), asset="ETH", at="2026-03-01T09:30:00Z")
    assert not isinstance(history.when(other).outcome, Rejected)


def test_a_bet_as_of_an_earlier_moment_counts_in_all_stretches_that_hold_it() -> None:
    """It may not squeeze in between bets that are already as many as there may be."""
    history = given(
        wallet_with(bets_per_hour(2)),
        DEPOSITED,
        placed("b1", "1", "09:10:00"),
        placed("b2", "1", "09:20:00"),
        placed("b3", "1", "10:15:00"),
    )
    history.when(bet_at("10:05:00")).then_rejected("bet_limit")
    history.when(bet_at("09:16:00")).then_rejected("bet_limit")
    history.when(bet_at("09:15:00")).then_rejected("out_of_date")


def test_a_stretch_that_begins_with_a_bet_does_not_hold_it() -> None:
    """Ten seconds after a bet is another stretch, also where the earlier one comes later."""
    limited = wallet_with(bets_per(10, 1), bets_per(100, 50))
    history = given(limited, DEPOSITED, placed("b1", "1", "10:00:10"))
    history.when(bet_at("10:00:00")).then(placed("new", "1", "10:00:00"))
    history.when(bet_at("10:00:20")).then(placed("new", "1", "10:00:20"))
    for at in ("10:00:00.000001", "10:00:19.999999"):
        history.when(bet_at(at)).then_rejected("bet_limit", window_s=10)


def test_wallets_with_other_limits_do_not_share_snapshots() -> None:
    """One that remembers less leaves nothing behind that one that remembers more would start at."""
    short, long = wallet_with(bets_per(1, 5)), wallet_with(bets_per(1_000, 300))
    with refold.open("memory:") as store:
        bets = [placed(f"b{n}", "1", f"10:{n // 60:02}:{n % 60:02}") for n in range(300)]
        store.append("agent-1", [DEPOSITED, *bets])
        bet = bet_at("10:05:01")
        store.fold("agent-1", short.fold)
        assert len(store.fold("agent-1", short.fold).state.past) == 2
        with pytest.raises(Rejected) as caught:
            store.execute("agent-1", long, bet)
        assert (caught.value.reason, caught.value.used) == ("bet_limit", Decimal(300))
        assert store.execute("agent-1", short, bet) is not None


def test_a_bet_from_before_what_is_remembered_is_refused() -> None:
    """What its limits would say can no longer be told."""
    history = given(wallet_with(bets_per_hour(2)), DEPOSITED, placed("b1", "1", "10:00:00"))
    history.when(bet_at("09:00:00")).then_rejected(
        "out_of_date", at="2026-03-01T09:00:00Z", last_bet_at="2026-03-01T10:00:00Z"
    )
    history.when(bet_at("09:00:00.000001")).then(placed("new", "1", "09:00:00.000001"))


def test_a_budget_is_of_what_was_lost() -> None:
    """Open and lost stakes and fees use it up; winnings and cancelled stakes give it back."""
    limited = wallet_with(loss_up_to(Decimal(10), "USDC"))
    events = [
        DEPOSITED,
        placed("b1", "4", "09:00:00"),
        BetLost(bet="b1"),
        FeeCharged(**usdc("1")),
        placed("b2", "3", "09:00:00"),
    ]
    refused: dict[str, Any] = {"most": Decimal(10), "used": Decimal(8), "needed": Decimal("2.5")}
    bet = PlaceBet(bet="new", **usdc("2.5"))
    given(limited, *events).when(bet).then_rejected("budget_exceeded", **refused)
    for back in (BetWon(bet="b2", **usdc("3.5")), BetCancelled(bet="b2")):
        assert not isinstance(given(limited, *events, back).when(bet).outcome, Rejected)


def test_a_limit_by_time_must_be_told_the_time() -> None:
    """There is no clock inside: a bet that does not say when is a mistake of the program."""
    with pytest.raises(UsageError):
        given(wallet_with(bets_per_hour(2)), DEPOSITED).when(PlaceBet(bet="b", **usdc("1")))


@pytest.mark.parametrize(
    "make",
    [
        lambda: bets_per_hour(-1),
        lambda: bets_per_hour(True),
        lambda: bets_per(0, 5),
        lambda: stake_per(-1, Decimal(1), "USDC"),
        lambda: stake_per_hour(Decimal("NaN"), "USDC"),
        lambda: stake_per_day(0.5, "USDC"),  # type: ignore[arg-type]
        lambda: loss_up_to(Decimal(0), "USDC"),
    ],
)
def test_a_limit_that_is_none_is_refused(make: Any) -> None:
    """A limit is made of a number that means one."""
    with pytest.raises(UsageError):
        make()


def test_no_bet_at_all() -> None:
    """A limit of none is a limit."""
    given(wallet_with(bets_per_hour(0)), DEPOSITED).when(bet_at("10:00:00")).then_rejected(
        "bet_limit", free_at=None
    )


SECOND_US = 1_000_000


@drawn(
    st.lists(st.tuples(st.integers(0, 40), st.integers(1, 5)), max_size=40),
    st.integers(1, 4),
    st.integers(1, 9),
)
def test_no_stretch_of_time_holds_more_than_its_limit(
    asked: list[tuple[int, int]], bets_most: int, stake_most: int
) -> None:
    """Bets asked for in any order, back and forth in time: each stretch of 10 s keeps both limits.

    And a bet that is refused would have broken one, unless it was out of date.
    """
    limited = wallet_with(bets_per(10, bets_most), stake_per(10, Decimal(stake_most), "USDC"))
    history: list[object] = [DEPOSITED]
    kept: list[tuple[int, int]] = []
    for number, (second, stake) in enumerate(asked):
        command = PlaceBet(bet=f"b{number}", **usdc(str(stake)), at=second * SECOND_US)
        state = limited.fold.run(as_recorded(history)).state
        try:
            history += limited.decide(command, state)
        except Rejected as rejected:
            if rejected.reason == "out_of_date":
                assert second <= max(kept)[0] - 10
            else:
                assert broken([*kept, (second, stake)], bets_most, stake_most)
        else:
            kept.append((second, stake))
            assert not broken(kept, bets_most, stake_most)


def broken(bets: list[tuple[int, int]], bets_most: int, stake_most: int) -> bool:
    """Whether some stretch of 10 seconds holds too much, looked at one by one."""
    for end in range(51):
        stakes = [stake for second, stake in bets if end - 10 < second <= end]
        if len(stakes) > bets_most or sum(stakes) > stake_most:
            return True
    return False


def test_the_memory_of_a_wallet_is_bounded_by_its_limits() -> None:
    """It remembers the bets of two stretches and no more; without limits, none."""
    bets = [placed(f"b{n}", "1", f"{n // 60:02}:{n % 60:02}:00") for n in range(600)]
    history = as_recorded([DEPOSITED, *bets])
    past = wallet_with(bets_per(600, 5)).fold.run(history).state.past
    assert len(past) == 20
    assert all(earlier <= later for earlier, later in pairwise(past))
    assert wallet.fold.run(history).state.past == []
