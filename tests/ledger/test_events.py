"""The events of money: what is an amount, and that it stays one."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import given

import refold
from refold import ledger
from refold.errors import InvalidEvent
from refold.ledger.events import (
    AgentRegistered,
    BetCancelled,
    BetLost,
    BetPlaced,
    BetWon,
    EscrowLocked,
    EscrowReleased,
    FaucetClaimed,
    FeeCharged,
    FundsDeposited,
    FundsWithdrawn,
    UnrecognizedTransaction,
)
from tests.ledger.money import AMOUNTS, usdc

ONE_OF_EACH: dict[str, Any] = {
    "agent.registered": AgentRegistered(agent="a1", service="casino", reference="tx-0"),
    "funds.deposited": FundsDeposited(**usdc("10"), reference="tx-1"),
    "funds.withdrawn": FundsWithdrawn(**usdc("1.50"), reference="tx-2"),
    "faucet.claimed": FaucetClaimed(**usdc("5"), reference="tx-3"),
    "fee.charged": FeeCharged(**usdc("0.01"), reason="network", reference="tx-4"),
    "bet.placed": BetPlaced(**usdc("2"), bet="b1", game="dice", reference="tx-5"),
    "bet.won": BetWon(**usdc("3.96"), bet="b1", reference="tx-6"),
    "bet.lost": BetLost(bet="b2", reference="tx-7"),
    "bet.cancelled": BetCancelled(bet="b3", reference="tx-8"),
    "escrow.locked": EscrowLocked(**usdc("4"), escrow="e1", reference="tx-9"),
    "escrow.released": EscrowReleased(**usdc("4"), escrow="e1", to="counterparty"),
    "transaction.unrecognized": UnrecognizedTransaction(
        kind="airdrop", text='{"id":"tx-10","amount":0.10}', reference="tx-10"
    ),
}
NOT_MONEY: list[Any] = [
    Decimal("NaN"),
    Decimal("sNaN"),
    Decimal("Infinity"),
    Decimal("-Infinity"),
    Decimal("-1"),
    Decimal("0.00"),
    Decimal("-0"),
    Decimal("1E+40"),
    Decimal("1E-41"),
    Decimal("1E+999999"),
    0.1,
    1.0,
    5,
    True,
    "5",
    None,
]


@pytest.mark.parametrize("type_name", ONE_OF_EACH)
def test_an_event_comes_back_as_it_was(type_name: str) -> None:
    """Every type is stored under its name and read back equal, in its class."""
    event = ONE_OF_EACH[type_name]
    with refold.open("memory:") as store:
        store.append("agent-1", [event])
        recorded = store.event("agent-1@0")
        assert recorded.type == type_name
        assert recorded.event == event
        assert type(recorded.event) is type(event)


@given(AMOUNTS)
def test_an_amount_keeps_every_digit(amount: Decimal) -> None:
    """What is read back is the amount to the last digit, its trailing zeros included."""
    with refold.open("memory:") as store:
        store.append("agent-1", [FundsDeposited(amount=amount, asset="ETH")])
        stored = store.event("agent-1@0")
        assert stored.event.amount.as_tuple() == amount.as_tuple()
        assert stored.data["amount"] == str(amount)


@pytest.mark.parametrize("amount", NOT_MONEY, ids=repr)
def test_what_is_no_amount_is_no_event(amount: Any) -> None:
    """No event can be made of a float, a NaN, an infinity, nothing, a debt, or absurd digits."""
    with pytest.raises(ValueError, match="amount"):
        BetPlaced(bet="b1", amount=amount, asset="USDC")


@pytest.mark.parametrize("amount", ["-1", "0", "NaN", "Infinity", "1e40", 0, -1, True, None, [1]])
def test_what_is_no_amount_is_not_stored_under_the_name_of_an_event(amount: Any) -> None:
    """An untyped event of the same name is held to the same rules, and the log stays empty."""
    data = {"amount": amount, "asset": "USDC", "bet": "b1"}
    with refold.open("memory:") as store:
        with pytest.raises(InvalidEvent):
            store.append("agent-1", [refold.Event("bet.placed", data)])
        assert store.log_head() == 0


@pytest.mark.parametrize("asset", ["", " ", "US D", "a\n", "x" * 65, "\ud800", 5, None])
def test_an_asset_has_a_name(asset: Any) -> None:
    """An asset is named by text that can be printed, without white space, of at most 64 bytes."""
    with pytest.raises(ValueError, match="asset"):
        FundsDeposited(amount=Decimal(1), asset=asset)


def test_a_number_in_json_is_taken_by_its_digits() -> None:
    """An amount that a service wrote as a JSON number is the decimal that it wrote, no float."""
    text = b'{"amount":123456789012345678901234567890.000000000000000001,"asset":"ETH"}'
    with refold.open("memory:") as store:
        store.append("agent-1", [refold.Event("funds.deposited", msgspec.Raw(text))])
        deposited = store.event("agent-1@0").event
        assert deposited.amount == Decimal("123456789012345678901234567890.000000000000000001")
        available = store.fold("agent-1", ledger.Balances).state.of("ETH").available
        assert available == deposited.amount


def test_an_event_without_a_reference_stores_none() -> None:
    """A field that says nothing takes no room in the log."""
    raw = msgspec.json.encode(BetLost(bet="b1"))
    assert raw == b'{"bet":"b1"}'


def test_the_exported_names_are_there() -> None:
    """Every name that the package exports can be had from it, once, in order."""
    assert sorted(set(ledger.__all__)) == ledger.__all__
    assert [name for name in ledger.__all__ if not hasattr(ledger, name)] == []
