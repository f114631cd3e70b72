"""What a wallet does when it is asked, and what it refuses."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import given as drawn
from hypothesis import strategies as st

import refold
from refold import Event
from refold.errors import UsageError
from refold.ledger import Balances, WalletState, bets_per_hour, wallet, wallet_with
from refold.ledger.commands import (
    ChargeFee,
    ClaimFaucet,
    Deposit,
    LockEscrow,
    PlaceBet,
    Register,
    ReleaseEscrow,
    SettleBet,
    WalletCommand,
    Withdraw,
)
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
)
from refold.testing import given
from tests.ledger.money import usdc

DEPOSITED = FundsDeposited(**usdc("10"))
PLACED = BetPlaced(bet="b1", **usdc("4"))
LOCKED = EscrowLocked(escrow="e1", **usdc("3"))
TAKING: list[Any] = [
    Withdraw(**usdc("10.01")),
    PlaceBet(bet="b1", **usdc("10.01")),
    ChargeFee(**usdc("10.01")),
    LockEscrow(escrow="e1", **usdc("10.01")),
]


def test_each_command_becomes_its_event() -> None:
    """What is asked for and can be had has happened, with its reference."""
    ref: dict[str, Any] = {"reference": "tx-1"}
    made: list[tuple[WalletCommand, object]] = [
        (Deposit(**usdc("1"), **ref), FundsDeposited(**usdc("1"), **ref)),
        (Withdraw(**usdc("1"), **ref), FundsWithdrawn(**usdc("1"), **ref)),
        (ClaimFaucet(**usdc("1"), **ref), FaucetClaimed(**usdc("1"), **ref)),
        (ChargeFee(**usdc("1"), reason="gas"), FeeCharged(**usdc("1"), reason="gas")),
        (PlaceBet(bet="b", game="dice", **usdc("1")), BetPlaced(bet="b", game="dice", **usdc("1"))),
        (LockEscrow(escrow="e", **usdc("1")), EscrowLocked(escrow="e", **usdc("1"))),
        (Register(agent="a", service="s"), AgentRegistered(agent="a", service="s")),
    ]
    for command, event in made:
        given(wallet, DEPOSITED).when(command).then(event)


def test_all_that_there_is_can_be_spent() -> None:
    """The last cent may go; nothing is left, and nothing is owed."""
    for command in TAKING:
        all_of_it = msgspec.structs.replace(command, amount=Decimal("10.00"))
        outcome = given(wallet, DEPOSITED).when(all_of_it).outcome
        assert not isinstance(outcome, refold.Rejected)


@pytest.mark.parametrize("command", TAKING, ids=lambda command: type(command).__name__)
def test_more_than_there_is_cannot_be_spent(command: Any) -> None:
    """The refusal says what was needed and what there is."""
    given(wallet, DEPOSITED).when(command).then_rejected(
        "insufficient_funds", asset="USDC", needed=Decimal("10.01"), available=Decimal(10)
    )


def test_what_is_staked_locked_or_of_another_asset_cannot_be_spent() -> None:
    """Only what is available is there to be spent."""
    history = given(wallet, DEPOSITED, PLACED, LOCKED)
    history.when(Withdraw(**usdc("3.5"))).then_rejected("insufficient_funds", available=Decimal(3))
    eth: dict[str, Any] = {"amount": Decimal(1), "asset": "ETH"}
    history.when(Withdraw(**eth)).then_rejected("insufficient_funds", available=Decimal(0))


def test_a_won_bet_pays_in_the_asset_of_its_stake() -> None:
    """Unless another is named."""
    history = given(wallet, DEPOSITED, PLACED)
    payout = Decimal("7.92")
    history.when(SettleBet(bet="b1", outcome="won", payout=payout)).then(
        BetWon(bet="b1", **usdc("7.92"))
    )
    history.when(SettleBet(bet="b1", outcome="won", payout=payout, asset="ETH")).then(
        BetWon(bet="b1", amount=payout, asset="ETH")
    )


def test_a_bet_is_lost_or_cancelled() -> None:
    """Neither pays; a payout with one is a mistake of the program."""
    history = given(wallet, DEPOSITED, PLACED)
    history.when(SettleBet(bet="b1", outcome="lost")).then(BetLost(bet="b1"))
    history.when(SettleBet(bet="b1", outcome="cancelled")).then(BetCancelled(bet="b1"))
    wrongs: list[dict[str, Any]] = [
        {"outcome": "lost", "payout": Decimal(1)},
        {"outcome": "drawn"},
    ]
    for wrong in wrongs:
        with pytest.raises(UsageError):
            history.when(SettleBet(bet="b1", **wrong))


def test_a_bet_is_settled_once() -> None:
    """One that is not open, any more or at all, cannot be settled."""
    settle = SettleBet(bet="b1", outcome="lost")
    given(wallet, DEPOSITED, PLACED, BetLost(bet="b1")).when(settle).then_rejected(
        "bet_not_open", bet="b1"
    )
    given(wallet, DEPOSITED).when(settle).then_rejected("bet_not_open", bet="b1")


def test_a_bet_is_placed_once() -> None:
    """Not while it is open, nor when it was settled before it was heard of."""
    again = PlaceBet(bet="b1", **usdc("1"))
    given(wallet, DEPOSITED, PLACED).when(again).then_rejected("bet_exists", bet="b1")
    given(wallet, DEPOSITED, BetLost(bet="b1")).when(again).then_rejected("bet_exists", bet="b1")


def test_an_escrow_gives_no_more_than_it_holds() -> None:
    """Of that escrow and that asset; to whomever."""
    history = given(wallet, DEPOSITED, LOCKED, EscrowLocked(escrow="e2", **usdc("5")))
    history.when(ReleaseEscrow(escrow="e1", **usdc("3"))).then(
        EscrowReleased(escrow="e1", **usdc("3"))
    )
    history.when(ReleaseEscrow(escrow="e1", **usdc("4"), to="counterparty")).then_rejected(
        "insufficient_escrow", escrow="e1", asset="USDC", needed=Decimal(4), locked=Decimal(3)
    )
    history.when(ReleaseEscrow(escrow="e9", **usdc("1"))).then_rejected(
        "insufficient_escrow", locked=Decimal(0)
    )


def test_an_agent_registers_once() -> None:
    """Again under the same id is nothing to do; under another is refused."""
    history = given(wallet, AgentRegistered(agent="a1"))
    history.when(Register(agent="a1")).then_nothing()
    history.when(Register(agent="a2")).then_rejected("already_registered", agent="a1")


@pytest.mark.parametrize(
    ("amount", "because"),
    [
        (Decimal("NaN"), "not_finite"),
        (Decimal("sNaN"), "not_finite"),
        (Decimal("Infinity"), "not_finite"),
        (Decimal("-5"), "not_positive"),
        (Decimal(0), "not_positive"),
        (Decimal("1E+40"), "too_large"),
        (Decimal("1E-41"), "too_fine"),
        (0.1, "not_decimal"),
        (5, "not_decimal"),
        ("5", "not_decimal"),
        (None, "not_decimal"),
    ],
)
def test_a_command_without_an_amount_is_refused(amount: Any, because: str) -> None:
    """A model may ask for anything: the refusal says why, in text that can be recorded."""
    history = given(wallet, DEPOSITED, PLACED)
    commands = [
        Deposit(amount=amount, asset="USDC"),
        Withdraw(amount=amount, asset="USDC"),
        PlaceBet(bet="b2", amount=amount, asset="USDC"),
        ReleaseEscrow(escrow="e1", amount=amount, asset="USDC"),
        SettleBet(bet="b1", outcome="won", payout=amount),
    ]
    for command in commands:
        history.when(command).then_rejected("invalid_amount", because=because, amount=str(amount))


def test_an_asset_without_a_name_is_refused() -> None:
    """Like an amount that is none."""
    command = Deposit(amount=Decimal(1), asset="US D")
    given(wallet).when(command).then_rejected("invalid_asset", asset="US D")


def test_a_command_says_when_it_happens() -> None:
    """Its event has that time; text with an offset and a datetime of the same instant are one."""
    moment = "2026-03-29T03:30:00+02:00"
    given(wallet).when(Deposit(**usdc("1"), at=moment)).then(
        Event.of(FundsDeposited(**usdc("1")), occurred_at="2026-03-29T01:30:00Z")
    )
    with pytest.raises(UsageError):
        given(wallet).when(Deposit(**usdc("1"), at="2026-03-29T03:30:00")).then()


def test_what_is_no_command_is_a_mistake() -> None:
    """A wallet takes its own commands only."""
    with pytest.raises(UsageError):
        wallet.decide("all of it", WalletState())  # type: ignore[arg-type]


def test_a_command_with_an_id_is_done_once() -> None:
    """Asked again, also after its bet is over, it stakes nothing and gives its first answer."""
    command = PlaceBet(bet="b1", **usdc("4"), at="2026-03-01T09:00:00Z")
    with refold.open("memory:") as store:
        store.append("agent-1", [DEPOSITED])
        first = store.execute("agent-1", wallet, command, command_id="bet b1")
        store.execute("agent-1", wallet, SettleBet(bet="b1", outcome="lost"))
        again = store.execute("agent-1", wallet, command, command_id="bet b1")
        assert first is not None
        assert again == first._replace(duplicate=True)
        assert store.fold("agent-1", Balances).state.of("USDC").available == Decimal(6)


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        (Withdraw(**usdc("11")), "insufficient_funds"),
        (PlaceBet(bet="b", **usdc("1"), at="2026-03-01T09:00:00Z"), "bet_limit"),
        (Deposit(amount=Decimal("-5"), asset="USDC"), "invalid_amount"),
        (ReleaseEscrow(escrow="e", **usdc("1")), "insufficient_escrow"),
    ],
)
def test_a_refusal_can_be_recorded(command: Any, reason: str) -> None:
    """With its reason and facts, beside the money, which it leaves as it was."""
    careful = wallet_with(bets_per_hour(0), rejections="recorded")
    with refold.open("memory:") as store:
        store.append("agent-1", [DEPOSITED])
        for _ in range(2):
            with pytest.raises(refold.Rejected) as caught:
                store.execute("agent-1", careful, command, command_id="c1")
            assert caught.value.reason == reason
        recorded = store.event("agent-1@1")
        assert (recorded.type, recorded.data["reason"]) == ("command.rejected", reason)
        assert store.head("agent-1") == 1
        assert store.fold("agent-1", careful.fold).state.of("USDC").available == Decimal(10)


COMMANDS = st.one_of(
    st.builds(
        lambda cls, cents, **fields: cls(
            amount=Decimal(cents).scaleb(-2), asset=fields["asset"], **_extra(cls, fields)
        ),
        st.sampled_from(
            [Deposit, Withdraw, ChargeFee, ClaimFaucet, PlaceBet, LockEscrow, ReleaseEscrow]
        ),
        st.integers(-1, 500),
        asset=st.sampled_from(["USDC", "ETH"]),
        name=st.sampled_from(["x", "y"]),
        to=st.sampled_from(["owner", "counterparty"]),
    ),
    st.builds(
        lambda name, outcome: SettleBet(
            bet=name, outcome=outcome, payout=Decimal("1.5") if outcome == "won" else None
        ),
        st.sampled_from(["x", "y"]),
        st.sampled_from(["won", "lost", "cancelled"]),
    ),
)


def _extra(cls: type, fields: dict[str, Any]) -> dict[str, Any]:
    if cls is PlaceBet:
        return {"bet": fields["name"]}
    if cls is ReleaseEscrow:
        return {"escrow": fields["name"], "to": fields["to"]}
    return {"escrow": fields["name"]} if cls is LockEscrow else {}


@drawn(st.lists(COMMANDS, max_size=40))
def test_no_series_of_commands_overdraws(commands: list[Any]) -> None:
    """Whatever is asked, in whatever order: nothing anywhere is ever under zero."""
    state = wallet.fold.initial()
    for command in commands:
        try:
            events = wallet.decide(command, state)
        except refold.Rejected:
            continue
        for event in events:
            state = wallet.fold.evolve(state, event)
        for account in state.assets.values():
            assert min(account.available, account.escrow, account.staked) >= 0
        assert all(amount > 0 for held in state.escrows.values() for amount in held.values())
        assert state.bets.unmatched == {}


def test_a_refusal_as_text_says_how_much_there_was() -> None:
    """In a traceback or a log there are no attributes: a word alone would not tell what to do."""
    with refold.open("memory:") as store:
        store.execute("a-1", wallet, Deposit(**usdc("10")))
        with pytest.raises(refold.Rejected) as refused:
            store.execute("a-1", wallet, Withdraw(**usdc("10.01")))
    assert refused.value.reason == "insufficient_funds"
    assert str(refused.value) == "insufficient_funds: asset USDC, needed 10.01, available 10"
    assert str(refold.Rejected("not on Sundays", day=7)) == "not on Sundays"
    assert str(refold.Rejected("closed")) == "closed"


def test_an_outcome_that_is_none_is_named_also_beside_a_payout() -> None:
    """`win` with a payout is a slip for `won`, not a bet without one."""
    with refold.open("memory:") as store:
        store.execute("a-1", wallet, Deposit(**usdc("10")))
        store.execute("a-1", wallet, PlaceBet(bet="b1", **usdc("1")))
        settle = SettleBet(bet="b1", outcome="win", payout=Decimal(2))  # type: ignore[arg-type]
        with pytest.raises(UsageError, match="outcome='win': give 'won', 'lost' or 'cancelled'"):
            store.execute("a-1", wallet, settle)
