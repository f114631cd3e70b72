"""What there would be without an event, and what could not have come after it."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import refold
from refold.errors import NotFound, Rejected
from refold.ledger import Portfolio, bets_per_hour, impossible, wallet, wallet_with, what_if
from refold.ledger.commands import ChargeFee, Deposit, PlaceBet, SettleBet, Withdraw
from refold.ledger.events import (
    AgentRegistered,
    BetLost,
    BetPlaced,
    BetWon,
    EscrowLocked,
    EscrowReleased,
    FeeCharged,
    FundsDeposited,
    FundsWithdrawn,
)
from refold.ledger.hindsight import LedgerWhatIf
from tests.ledger.money import usdc


@pytest.fixture
def store() -> Any:
    """An empty store."""
    with refold.open("memory:") as opened:
        yield opened


def story(store: refold.Store, *events: object) -> None:
    """Events of the agent, an append each."""
    for event in events:
        store.append("agent-1", [event])


def said(found: LedgerWhatIf) -> list[tuple[str, str]]:
    """Which events could not have happened, and why."""
    return [(each.event.id, each.rejection.reason) for each in found.impossible]


def test_without_a_bad_bet(store: refold.Store) -> None:
    """Its stake is still there, and so is its loss never made; the rest could have happened."""
    story(
        store,
        FundsDeposited(**usdc("10")),
        BetPlaced(bet="bad", **usdc("6")),
        BetLost(bet="bad"),
        FundsWithdrawn(**usdc("4")),
    )
    found = what_if(store, "agent-1", ["agent-1@1", "agent-1@2"])
    assert found.impossible == ()
    assert found.happened.of("USDC").available == Decimal(0)
    assert found.supposed == found.remaining
    assert found.supposed.of("USDC").available == Decimal(6)
    assert (found.happened.of("USDC").profit, found.supposed.of("USDC").profit) == (
        Decimal(-6),
        Decimal(0),
    )
    assert store.head("agent-1") == 3


def test_without_a_good_bet_a_later_withdrawal_would_not_have_been_covered(
    store: refold.Store,
) -> None:
    """The win has no bet, the withdrawal no money; the refusal says what would have been there."""
    story(
        store,
        AgentRegistered(agent="a1"),
        FundsDeposited(**usdc("10")),
        BetPlaced(bet="good", **usdc("6")),
        BetWon(bet="good", **usdc("12")),
        FundsWithdrawn(**usdc("15")),
        FeeCharged(**usdc("1")),
    )
    found = what_if(store, "agent-1", ["agent-1@2"])
    assert said(found) == [
        ("agent-1@3", "bet_not_open"),
        ("agent-1@4", "insufficient_funds"),
    ]
    facts = found.impossible[1].rejection
    assert (facts.needed, facts.available) == (Decimal(15), Decimal(10))
    assert found.happened.of("USDC").available == Decimal(0)
    assert found.supposed.of("USDC").available == Decimal(6)
    assert list(found.supposed.bets.unmatched) == ["good"]
    assert found.remaining.of("USDC").available == Decimal(9)
    assert [e.id for e in found.possible] == ["agent-1@0", "agent-1@1", "agent-1@5"]
    assert found.branch.fold(Portfolio).state == found.supposed


def test_what_could_not_have_happened_does_not_count_for_what_came_after(
    store: refold.Store,
) -> None:
    """Two withdrawals of which one was covered: the first could be, so the second could not."""
    story(
        store,
        FundsDeposited(**usdc("5")),
        FundsDeposited(**usdc("5")),
        FundsWithdrawn(**usdc("7")),
        FundsWithdrawn(**usdc("3")),
    )
    assert said(what_if(store, "agent-1", ["agent-1@0"])) == [("agent-1@2", "insufficient_funds")]
    assert what_if(store, "agent-1", ["agent-1@0"]).remaining.of("USDC").available == Decimal(2)


def test_escrow_along_a_branch(store: refold.Store) -> None:
    """An escrow that was never locked cannot be released."""
    story(
        store,
        FundsDeposited(**usdc("5")),
        EscrowLocked(escrow="e", **usdc("5")),
        EscrowReleased(escrow="e", **usdc("5"), to="counterparty"),
    )
    found = what_if(store, "agent-1", ["agent-1@1"])
    assert said(found) == [("agent-1@2", "insufficient_escrow")]
    assert found.remaining.of("USDC").available == Decimal(5)


def test_what_was_impossible_anyway_is_not_put_down_to_the_change(store: refold.Store) -> None:
    """A service reports a win before its bet and spends what is not there: those are its facts."""
    story(
        store,
        BetWon(bet="b1", **usdc("9")),
        BetPlaced(bet="b1", **usdc("4")),
        FundsWithdrawn(**usdc("50")),
        FundsDeposited(**usdc("60")),
        FeeCharged(**usdc("1")),
        FundsWithdrawn(**usdc("14")),
    )
    found = what_if(store, "agent-1", ["agent-1@4"])
    assert said(found) == []
    assert found.remaining.of("USDC").available == Decimal(1)
    assert said(what_if(store, "agent-1", ["agent-1@0"])) == [("agent-1@5", "insufficient_funds")]


def test_limits_are_asked_along_the_branch(store: refold.Store) -> None:
    """A bet moved into an hour that is full could not have been placed."""
    story(store, FundsDeposited(**usdc("50")))
    for minute in (0, 20, 70):
        command = PlaceBet(bet=f"b{minute}", **usdc("1"), at=minute * 60_000_000)
        store.execute("agent-1", wallet, command)
    limited = wallet_with(bets_per_hour(2))
    history = store.branch("agent-1")
    earlier = refold.Event.of(BetPlaced(bet="b70", **usdc("1")), occurred_at=50 * 60_000_000)
    changed = history.replacing("agent-1@3", earlier)
    (found,) = impossible(history, changed, decider=limited)
    assert (found.event.event.bet, found.rejection.reason) == ("b70", "bet_limit")
    assert impossible(history, changed) == ()


def test_an_event_that_is_not_there_cannot_be_left_out(store: refold.Store) -> None:
    """Neither can be asked about a stream that is not there."""
    story(store, FundsDeposited(**usdc("5")))
    for stream, event in (("agent-1", "agent-1@7"), ("agent-2", "agent-2@0")):
        with pytest.raises(NotFound):
            what_if(store, stream, [event])


COMMANDS = st.one_of(
    st.builds(lambda cls, n: cls(**usdc(str(n))), st.sampled_from([Deposit]), st.integers(1, 9)),
    st.builds(
        lambda cls, n: cls(**usdc(str(n))),
        st.sampled_from([Withdraw, ChargeFee]),
        st.integers(1, 6),
    ),
    st.builds(
        lambda bet, n: PlaceBet(bet=bet, **usdc(str(n))), st.sampled_from("xyz"), st.integers(1, 6)
    ),
    st.builds(
        lambda bet, won: SettleBet(
            bet=bet, outcome="won" if won else "lost", payout=Decimal(8) if won else None
        ),
        st.sampled_from("xyz"),
        st.booleans(),
    ),
)


@given(st.lists(COMMANDS, min_size=1, max_size=30), st.data())
def test_what_remains_could_have_happened(commands: list[Any], data: st.DataObject) -> None:
    """Whatever is left out: the wallet would have decided all that remains, and no more is cut.

    With those before it cut, each event that is called impossible is the next to be refused.
    """
    with refold.open("memory:") as store:
        for command in [Deposit(**usdc("9")), *commands]:
            try:
                store.execute("agent-1", wallet, command)
            except Rejected:
                continue
        ids = [recorded.id for recorded in store.read("agent-1")]
        without = data.draw(st.lists(st.sampled_from(ids), min_size=1, max_size=3, unique=True))
        found = what_if(store, "agent-1", without)
        state = Portfolio.initial()
        for recorded in found.possible:
            state = Portfolio.step(state, recorded)
            assert min(state.of("USDC").available, state.of("USDC").staked) >= 0
        assert state.bets.unmatched == {}
        assert impossible(store.branch("agent-1"), found.possible) == ()
        history, cut = store.branch("agent-1"), [each.event.id for each in found.impossible]
        for number, event_id in enumerate(cut):
            (first, *_) = impossible(history, history.without(*without, *cut[:number]))
            assert first.event.id == event_id
