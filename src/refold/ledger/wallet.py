"""The wallet: commands to events, and never more out than there is.

A rejection is a :class:`refold.Rejected`; ``reason`` is one of

- ``invalid_amount`` (amount, because), ``invalid_asset`` (asset)
- ``insufficient_funds`` (asset, needed, available)
- ``insufficient_escrow`` (escrow, asset, needed, locked)
- ``bet_exists`` (bet), ``bet_not_open`` (bet)
- ``bet_limit``, ``stake_limit`` (bet, asset, window_s, most, used, needed, free_at)
- ``budget_exceeded`` (bet, asset, most, used, needed)
- ``out_of_date`` (at, last_bet_at): too long ago for its limits to be judged
- ``already_registered`` (agent)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from functools import singledispatch
from typing import Any, Final, Literal

import msgspec

from refold.core.clock import to_us
from refold.core.event import Event
from refold.core.fold import Decider, Fold
from refold.core.recorded import Recorded
from refold.errors import Rejected, UsageError
from refold.ledger import commands as ask
from refold.ledger import events as said
from refold.ledger.limits import Limit, PastBet, check_in_time, noted
from refold.ledger.money import ZERO, is_asset, minus, plus, why_not_money
from refold.ledger.posting import POSTED, post
from refold.ledger.states import Account, Book

Reviewed = Callable[[ask.PlaceBet, "WalletState"], None]
"""Raises Rejected for a bet that breaks a limit."""


class WalletState(Book[Account]):
    """What decisions rest on; ``past`` holds the bets that limits look at, oldest first."""

    agent: str | None = None
    past: list[PastBet] = []

    def of(self, asset: str) -> Account:
        """The account of an asset: zeros where there never was any."""
        return self.assets.get(asset, Account())

    def spent(self) -> dict[str, Decimal]:
        """Stakes, open and lost, and fees, less winnings, by asset."""
        return {
            asset: minus(plus(plus(a.staked, a.settled), a.fees), a.won)
            for asset, a in self.assets.items()
        }


def wallet_with(
    *limits: Limit, rejections: Literal["raised", "recorded"] = "raised"
) -> Decider[WalletState, ask.Command]:
    """The wallet with limits on its bets; ``rejections`` as for :class:`refold.Decider`."""
    window_s = longest(limits)

    def review(bet: ask.PlaceBet, state: WalletState) -> None:
        check_limits(bet, limits, state.past, state.spent())

    def decide(command: ask.Command, state: WalletState) -> Sequence[object]:
        return decided(command, state, review)

    return Decider(wallet_fold(kept_s=2 * window_s), decide, rejections=rejections)


def wallet_fold(*, kept_s: int) -> Fold[WalletState]:
    """The fold of a wallet that remembers the bets of so many seconds before the last."""
    # The name tells the snapshots of one memory from those of another.
    fold = Fold("ledger-wallet" + (f"-{kept_s}s" if kept_s else ""), WalletState)

    @fold.on(said.AgentRegistered)
    def registered(state: WalletState, event: said.AgentRegistered) -> WalletState:
        state.agent = event.agent
        return state

    if not kept_s:
        fold.on(*POSTED)(_posted)
        return fold
    fold.on(*(cls for cls in POSTED if cls is not said.BetPlaced))(_posted)

    @fold.on(said.BetPlaced)
    def placed(state: WalletState, event: said.BetPlaced, recorded: Recorded) -> WalletState:
        bet = PastBet(recorded.occurred_at_us, event.asset, event.amount)
        noted(state.past, bet, kept_s=kept_s)
        return post(state, event, Account)

    return fold


def _posted(state: WalletState, event: Any) -> WalletState:
    return post(state, event, Account)


def decided(command: ask.Command, state: WalletState, review: Reviewed) -> Sequence[object]:
    """The events of a command; a bet is reviewed before its stake is looked for."""
    if isinstance(command, ask.PlaceBet):
        _check_new(command, state)
        review(command, state)
    events = _outcome(command, state)
    if command.at is None:
        return events
    return [Event.of(event, occurred_at=command.at) for event in events]


def check_limits(
    bet: ask.PlaceBet,
    limits: Sequence[Limit],
    past: Sequence[PastBet],
    spent: Mapping[str, Decimal],
) -> None:
    """Raise Rejected where a bet breaks one of the limits."""
    at_us, window_s = _time_of(bet, limits), longest(limits)
    if window_s:
        check_in_time(at_us, past, window_s=window_s)
    for limit in limits:
        limit.check(bet, at_us, past, spent)


def longest(limits: Sequence[Limit]) -> int:
    """The longest stretch that any of the limits looks at, in seconds."""
    return max((limit.window_s for limit in limits), default=0)


def _time_of(bet: ask.PlaceBet, limits: Sequence[Limit]) -> int:
    if bet.at is not None:
        return to_us(bet.at)
    if longest(limits):
        raise UsageError("a bet under a limit by time must say when: PlaceBet(…, at=…)")
    return 0


@singledispatch
def _outcome(command: ask.Command, _state: WalletState) -> list[object]:
    """The events of a command, but for limits and its time; raises Rejected."""
    raise UsageError(f"{type(command).__name__} is no command of a wallet")


@_outcome.register
def _register(command: ask.Register, state: WalletState) -> list[object]:
    if state.agent == command.agent:
        return []
    if state.agent is not None:
        raise Rejected("already_registered", agent=state.agent)
    return [
        said.AgentRegistered(
            agent=command.agent, service=command.service, reference=command.reference
        )
    ]


@_outcome.register
def _deposit(command: ask.Deposit, _state: WalletState) -> list[object]:
    return [said.FundsDeposited(**_moved(command))]


@_outcome.register
def _claim(command: ask.ClaimFaucet, _state: WalletState) -> list[object]:
    return [said.FaucetClaimed(**_moved(command))]


@_outcome.register
def _withdraw(command: ask.Withdraw, state: WalletState) -> list[object]:
    return [said.FundsWithdrawn(**_covered(command, state))]


@_outcome.register
def _fee(command: ask.ChargeFee, state: WalletState) -> list[object]:
    return [said.FeeCharged(**_covered(command, state), reason=command.reason)]


@_outcome.register
def _bet(command: ask.PlaceBet, state: WalletState) -> list[object]:
    return [said.BetPlaced(**_covered(command, state), bet=command.bet, game=command.game)]


@_outcome.register
def _lock(command: ask.LockEscrow, state: WalletState) -> list[object]:
    return [said.EscrowLocked(**_covered(command, state), escrow=command.escrow)]


@_outcome.register
def _release(command: ask.ReleaseEscrow, state: WalletState) -> list[object]:
    moved = _moved(command)
    locked = state.escrows.get(command.escrow, {}).get(command.asset, ZERO)
    if locked < command.amount:
        raise Rejected(
            "insufficient_escrow",
            escrow=command.escrow,
            asset=command.asset,
            needed=command.amount,
            locked=locked,
        )
    return [said.EscrowReleased(**moved, escrow=command.escrow, to=command.to)]


@_outcome.register
def _settle(command: ask.SettleBet, state: WalletState) -> list[object]:
    stake = state.bets.open.get(command.bet)
    if stake is None:
        raise Rejected("bet_not_open", bet=command.bet)
    facts: dict[str, Any] = {"bet": command.bet, "reference": command.reference}
    if command.outcome == "won":
        asset = command.asset if command.asset is not None else next(iter(stake))
        return [said.BetWon(**facts, amount=_checked(command.payout, asset), asset=asset)]
    if command.payout is not None:
        raise UsageError(f"a bet that is {command.outcome} has no payout")
    if command.outcome not in _SETTLED:
        raise UsageError(f"outcome={command.outcome!r}: give 'won', 'lost' or 'cancelled'")
    return [_SETTLED[command.outcome](**facts)]


_SETTLED: Final[dict[str, type[msgspec.Struct]]] = {
    "lost": said.BetLost,
    "cancelled": said.BetCancelled,
}


def _check_new(command: ask.PlaceBet, state: WalletState) -> None:
    _checked(command.amount, command.asset)
    if command.bet in state.bets.open or command.bet in state.bets.unmatched:
        raise Rejected("bet_exists", bet=command.bet)


def _covered(command: ask.Moving, state: WalletState) -> dict[str, Any]:
    """The fields of an event that takes an amount from what is available."""
    moved = _moved(command)
    available = state.of(command.asset).available
    if available < command.amount:
        raise Rejected(
            "insufficient_funds", asset=command.asset, needed=command.amount, available=available
        )
    return moved


def _moved(command: ask.Moving) -> dict[str, Any]:
    amount = _checked(command.amount, command.asset)
    return {"amount": amount, "asset": command.asset, "reference": command.reference}


def _checked(amount: Any, asset: Any) -> Decimal:
    reason = why_not_money(amount)
    if reason is not None:
        # As text: a rejection may be recorded, and no NaN can be.
        raise Rejected("invalid_amount", amount=str(amount), because=reason)
    if not is_asset(asset):
        raise Rejected("invalid_asset", asset=str(asset))
    return Decimal(amount)


wallet: Final = wallet_with()
"""The wallet without limits: ``store.execute("agent-1", wallet, Deposit(…))``."""
