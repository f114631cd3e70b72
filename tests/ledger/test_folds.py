"""The folds of money against sums in fractions, in every order and from every snapshot."""

from __future__ import annotations

import decimal
import random
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import refold
from refold import ledger
from refold.core.snapshot import snapshotter_of
from refold.ledger.events import (
    AgentRegistered,
    BetCancelled,
    BetLost,
    BetPlaced,
    BetWon,
    EscrowLocked,
    EscrowReleased,
    FeeCharged,
    FundsDeposited,
    UnrecognizedTransaction,
)
from refold.ledger.folds import Bets, PortfolioState, Result, Unmatched
from refold.ledger.money import DECIMAL_PLACES_MAX, RATIO_DIGITS, WHOLE_DIGITS_MAX
from refold.testing import as_recorded
from tests.ledger.money import ASSETS, Model, exact, histories, seen, usdc

FOLDS: list[refold.Fold[Any]] = [
    ledger.Balances,
    ledger.ProfitAndLoss,
    ledger.Portfolio,
    ledger.wallet.fold,
    ledger.wallet_with(ledger.bets_per_hour(5)).fold,
]
NAMES = [fold.name for fold in FOLDS]


@pytest.mark.parametrize("fold", FOLDS, ids=NAMES)
@given(history=histories(), seed=st.integers(0, 2**32))
def test_a_fold_gives_the_exact_sums_in_whatever_order_events_come(
    fold: refold.Fold[Any], history: list[object], seed: int
) -> None:
    """Late and early events, a win before its bet: the sums are those of the plain model."""
    model = Model(history)
    random.Random(seed).shuffle(history)
    state = fold.run(as_recorded(history)).state
    for asset in ASSETS:
        held, wanted = state.of(asset), model.account(asset)
        for field in held.__struct_fields__:
            assert exact(getattr(held, field)) == wanted[field], (asset, field)
        if hasattr(held, "total"):
            assert exact(held.total) == wanted["total"]


@given(history=histories(), seed=st.integers(0, 2**32))
def test_what_is_there_is_what_came_in_less_what_went_out(history: list[object], seed: int) -> None:
    """Nothing gets lost on the way: at every version the two sides of the account agree."""
    random.Random(seed).shuffle(history)
    state = ledger.Portfolio.initial()
    for recorded in as_recorded(history):
        state = ledger.Portfolio.step(state, recorded)
        for a in state.assets.values():
            came, went = (a.deposited, a.claimed, a.won), (a.withdrawn, a.fees, a.settled, a.paid)
            assert exact(a.total) == sum(map(exact, came)) - sum(map(exact, went))
            assert exact(a.wagered) == sum(map(exact, (a.staked, a.settled, a.refunded)))
            assert a.bets == a.wins + a.losses + a.cancelled + _open_in(state, a)


def _open_in(state: PortfolioState, account: ledger.Account) -> int:
    (asset,) = (name for name, held in state.assets.items() if held is account)
    return sum(asset in stake for stake in state.bets.open.values())


@pytest.mark.parametrize("fold", FOLDS, ids=NAMES)
@settings(max_examples=30)
@given(history=histories())
def test_a_snapshot_at_any_version_changes_nothing(
    fold: refold.Fold[Any], history: list[object]
) -> None:
    """Stored and restored after every event, a state carries every field it needs to go on."""
    snapshotter = snapshotter_of(fold)
    assert snapshotter is not None
    recorded = as_recorded(history)
    state = fold.initial()
    for event in recorded:
        folded = refold.Folded(fold.step(state, event), event.version, event.position)
        snapshot = snapshotter.take("agent-1", folded, occurred_to=0, in_order=True)
        assert snapshot is not None
        restored = snapshotter.restored(snapshot)
        assert restored is not None
        assert restored == folded.state
        state = restored
    assert state == fold.run(recorded).state


def test_a_long_history_is_folded_from_snapshots_to_the_same_money() -> None:
    """With snapshots kept by the store on its way, time travel to any version gives its sums."""
    rounds = [
        [
            BetPlaced(bet=f"b{n}", **usdc("0.000000000000000001")),
            EscrowLocked(escrow=f"e{n}", **usdc("1E+30")),
            FeeCharged(**usdc("0.1")),
            *([BetWon(bet=f"b{n}", **usdc("3"))] if n % 3 else []),
        ]
        for n in range(400)
    ]
    events = [event for part in rounds for event in part]
    with refold.open("memory:") as store:
        for part in rounds:
            store.append("agent-1", part)
        store.fold("agent-1", ledger.Portfolio)
        for version in range(0, len(events), 97):
            state = store.fold("agent-1", ledger.Portfolio, version=version).state
            wanted = ledger.Portfolio.run(as_recorded(events[: version + 1])).state
            assert state == wanted


def test_a_thousand_tiny_and_huge_amounts_add_up() -> None:
    """Ten to the thirtieth and a quintillionth beside it: no digit is lost, a thousand times."""
    huge, tiny = FundsDeposited(**usdc("1E+30")), FundsDeposited(**usdc("1E-18"))
    state = ledger.Balances.run(as_recorded([huge, tiny] * 1_000)).state
    wanted = Decimal("1000000000000000000000000000000000.000000000000001")
    assert state.of("USDC").available == wanted


def test_the_widest_amounts_add_up() -> None:
    """Sums of amounts at both ends of what is allowed are exact."""
    ends = [f"1E+{WHOLE_DIGITS_MAX - 1}", f"1E-{DECIMAL_PLACES_MAX}", "9" * WHOLE_DIGITS_MAX]
    events = [FundsDeposited(**usdc(text)) for text in ends]
    state = ledger.Balances.run(as_recorded(events * 50)).state
    assert exact(state.of("USDC").available) == 50 * sum(exact(Decimal(text)) for text in ends)


def test_the_callers_decimal_context_has_no_say() -> None:
    """A program that computes with three digits folds the same money."""
    events = [FundsDeposited(**usdc("123456.789")), FeeCharged(**usdc("0.001"))]
    with decimal.localcontext(decimal.Context(prec=3, Emax=5, Emin=-5)):
        account = ledger.Portfolio.run(as_recorded(events)).state.of("USDC")
        total, profit = account.total, account.profit
    assert total == account.available == Decimal("123456.788")
    assert profit == Decimal("-0.001")


def test_escrow_and_open_bets_are_in_the_portfolio() -> None:
    """Money that is set aside is still the agent's; a fee is not."""
    events = [
        AgentRegistered(agent="a1"),
        FundsDeposited(**usdc("100")),
        EscrowLocked(escrow="e1", **usdc("30")),
        BetPlaced(bet="b1", **usdc("20")),
        FeeCharged(**usdc("1")),
    ]
    state = ledger.Portfolio.run(as_recorded(events)).state
    account = state.of("USDC")
    assert seen(account.available, account.escrow, account.staked) == (49, 30, 20)
    assert seen(account.total, account.fees, state.agent) == (99, 1, "a1")
    assert state.escrows == {"e1": {"USDC": 30}}
    assert state.of("ETH").total == 0


def test_an_escrow_pays_its_owner_or_the_counterparty() -> None:
    """What goes back is available again, what is paid is gone; an empty escrow is forgotten."""
    events = [
        FundsDeposited(**usdc("100")),
        EscrowLocked(escrow="e1", **usdc("30")),
        EscrowReleased(escrow="e1", **usdc("10")),
        EscrowReleased(escrow="e1", **usdc("20"), to="counterparty"),
    ]
    state = ledger.Portfolio.run(as_recorded(events)).state
    account = state.of("USDC")
    assert seen(account.available, account.escrow, account.paid, account.total) == (80, 0, 20, 80)
    assert state.escrows == {}


def test_profit_counts_settled_bets_and_fees() -> None:
    """An open stake is no loss yet; rates are of bets won or lost, never of those cancelled."""
    events = [
        BetPlaced(bet="won", **usdc("10")),
        BetWon(bet="won", **usdc("25")),
        BetPlaced(bet="lost", **usdc("5")),
        BetLost(bet="lost"),
        BetPlaced(bet="also lost", **usdc("5")),
        BetLost(bet="also lost"),
        BetPlaced(bet="cancelled", **usdc("50")),
        BetCancelled(bet="cancelled"),
        BetPlaced(bet="open", **usdc("70")),
        FeeCharged(**usdc("1")),
    ]
    result = ledger.ProfitAndLoss.run(as_recorded(events)).state.of("USDC")
    assert seen(result.wagered, result.won, result.settled, result.refunded) == (140, 25, 20, 50)
    assert seen(result.bets, result.wins, result.losses, result.cancelled) == (5, 1, 2, 1)
    assert seen(result.profit, result.roi) == (4, Decimal("0.2"))
    assert result.win_rate == Decimal("0." + "3" * RATIO_DIGITS)


def test_without_a_settled_bet_there_is_no_rate() -> None:
    """A rate of nothing is not zero."""
    result = Result()
    assert seen(result.win_rate, result.roi, result.profit) == (None, None, 0)


def test_a_win_without_its_bet_is_reported_until_the_bet_comes() -> None:
    """Its money is there at once; it is no win before there is a bet, and then it is one."""
    won = BetWon(bet="b1", **usdc("9"), reference="tx-9")
    state = ledger.Portfolio.run(as_recorded([won])).state
    assert state.bets.unmatched == {"b1": Unmatched("won", {"USDC": Decimal(9)}, ["tx-9"])}
    account = state.of("USDC")
    assert seen(account.available, account.won, account.wins, account.bets) == (9, 9, 0, 0)
    placed = BetPlaced(bet="b1", **usdc("4"))
    state = ledger.Portfolio.run(as_recorded([won, placed])).state
    assert state == ledger.Portfolio.run(as_recorded([placed, won])).state
    assert state.bets == Bets()
    account = state.of("USDC")
    assert seen(account.available, account.staked, account.wins, account.settled) == (5, 0, 1, 4)


def test_a_second_win_of_one_bet_is_reported() -> None:
    """The money came, so it counts; the bet was won once, and the second pay stands out."""
    events = [
        BetPlaced(bet="b1", **usdc("4")),
        BetWon(bet="b1", **usdc("8")),
        BetWon(bet="b1", **usdc("8"), reference="tx-2"),
    ]
    state = ledger.Portfolio.run(as_recorded(events)).state
    assert seen(state.of("USDC").won, state.of("USDC").wins) == (16, 1)
    assert state.bets.unmatched["b1"].references == ["tx-2"]


def test_a_bet_may_pay_in_another_asset() -> None:
    """A win closes its bet whatever it pays in; sums of assets are never mixed."""
    events = [
        BetPlaced(bet="b1", **usdc("4")),
        BetWon(bet="b1", amount=Decimal(1), asset="ETH"),
    ]
    state = ledger.Portfolio.run(as_recorded(events)).state
    assert state.bets == Bets()
    assert seen(state.of("USDC").profit, state.of("USDC").wins) == (-4, 1)
    assert seen(state.of("ETH").profit, state.of("ETH").wins, state.of("ETH").available) == (
        1,
        0,
        1,
    )


def test_a_stake_that_is_raised_is_one_bet() -> None:
    """A second stake under the same id adds to the first."""
    events = [
        BetPlaced(bet="b1", **usdc("4")),
        BetPlaced(bet="b1", **usdc("2")),
        BetLost(bet="b1"),
    ]
    result = ledger.ProfitAndLoss.run(as_recorded(events)).state.of("USDC")
    assert seen(result.bets, result.losses, result.settled) == (1, 1, 6)


def test_a_stake_in_two_assets_is_one_bet() -> None:
    """It counts where it was placed first; each asset has its own part of the loss."""
    events = [
        BetPlaced(bet="b1", **usdc("4")),
        BetPlaced(bet="b1", amount=Decimal(2), asset="ETH"),
        BetLost(bet="b1"),
    ]
    state = ledger.ProfitAndLoss.run(as_recorded(events)).state
    usd, eth = state.of("USDC"), state.of("ETH")
    assert seen(usd.bets, usd.losses, usd.profit) == (1, 1, -4)
    assert seen(eth.bets, eth.losses, eth.profit) == (0, 0, -2)


def test_the_last_word_on_a_bet_that_is_still_to_come_holds() -> None:
    """Reported lost, then won, then placed: it was won."""
    events = [
        BetLost(bet="b1"),
        BetWon(bet="b1", **usdc("9")),
        BetPlaced(bet="b1", **usdc("4")),
    ]
    state = ledger.ProfitAndLoss.run(as_recorded(events)).state
    result = state.of("USDC")
    assert seen(result.wins, result.losses, result.profit) == (1, 0, 5)
    assert state.bets == Bets()


def test_unrecognized_transactions_are_counted_by_type() -> None:
    """What no sum takes in is seen in every view."""
    noted = [UnrecognizedTransaction(kind=kind, text="{}") for kind in ("bonus", "fork", "bonus")]
    for fold in FOLDS:
        state = fold.run(as_recorded(noted)).state
        assert state.unrecognized == {"bonus": 2, "fork": 1}
        assert state.assets == {}
