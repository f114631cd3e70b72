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

from collections.abc import Mapping, Sequence
from decimal import Decimal
from functools import reduce
from typing import Any, Final, Literal

import msgspec

from refold.core.event import Event
from refold.core.fold import Decider, Fold
from refold.core.query import Query
from refold.core.recorded import Recorded
from refold.engine.store import Store
from refold.errors import Rejected, UsageError
from refold.ledger import commands as ask
from refold.ledger.events import BetPlaced
from refold.ledger.folds import OUTCOMES, POSTED, PortfolioState, post
from refold.ledger.limits import Bettors, Limit, PastBet, check_limits, longest_s, noted
from refold.ledger.money import ZERO, is_asset, minus, plus, why_not_money
from refold.ports import Appended


class WalletState(PortfolioState):
    """What decisions rest on; ``past`` holds the bets that limits look at, oldest first."""

    past: list[PastBet] = []

    def spent(self, asset: str) -> Decimal:
        """Stakes, open and lost, and fees, less winnings."""
        held = self.of(asset)
        return minus(plus(plus(held.staked, held.settled), held.fees), held.won)


def wallet_with(
    *limits: Limit, rejections: Literal["raised", "recorded"] = "raised"
) -> Decider[WalletState, ask.WalletCommand]:
    """The wallet with limits on its bets; ``rejections`` as for :class:`refold.Decider`."""
    kept_s = 2 * longest_s(limits)
    # The name tells the snapshots of one memory from those of another.
    fold = Fold("ledger-wallet" + (f"-{kept_s}s" if kept_s else ""), WalletState)
    fold.on(*(cls for cls in POSTED if cls is not BetPlaced or not kept_s))(post)
    if kept_s:

        @fold.on(BetPlaced)
        def placed(state: WalletState, event: BetPlaced, recorded: Recorded) -> WalletState:
            noted(state.past, event, recorded, kept_s=kept_s)
            return post(state, event)

    def decide(command: ask.WalletCommand, state: WalletState) -> Sequence[object]:
        return decided(command, state, limits, state)

    return Decider(fold, decide, rejections=rejections)


def decided(
    command: ask.WalletCommand, state: WalletState, limits: Sequence[Limit], bettors: Bettors
) -> Sequence[object]:
    """The events of a command; a bet is held against its limits before its stake is looked for."""
    if isinstance(command, ask.Moving):
        _check_money(command.amount, command.asset)
    if isinstance(command, ask.PlaceBet):
        if command.bet in state.bets.open or command.bet in state.bets.unmatched:
            raise Rejected("bet_exists", bet=command.bet)
        check_limits(command, limits, bettors)
    event = _happening(command, state)
    if event is None:
        return []
    return [event if command.at is None else Event.of(event, occurred_at=command.at)]


def _happening(command: ask.WalletCommand, state: WalletState) -> object | None:
    """The event of a command, but for its time; None where there is nothing to do."""
    match command:
        case ask.SettleBet():
            return _settled(command, state)
        case ask.Register() if state.agent == command.agent:
            return None
        case ask.Register() if state.agent is not None:
            raise Rejected("already_registered", agent=state.agent)
        case ask.Spending(amount=needed, asset=asset):
            if (available := state.of(asset).available) < needed:
                raise Rejected(
                    "insufficient_funds", asset=asset, needed=needed, available=available
                )
        case ask.ReleaseEscrow(amount=needed, asset=asset, escrow=escrow):
            if (locked := state.escrows.get(escrow, {}).get(asset, ZERO)) < needed:
                raise Rejected(
                    "insufficient_escrow", escrow=escrow, asset=asset, needed=needed, locked=locked
                )
    event = _EVENTS.get(type(command))
    if event is None:
        raise UsageError(f"{type(command).__name__} is no command of a wallet")
    return event(**{name: getattr(command, name) for name in event.__struct_fields__})


def _settled(command: ask.SettleBet, state: WalletState) -> object:
    stake = state.bets.open.get(command.bet)
    if stake is None:
        raise Rejected("bet_not_open", bet=command.bet)
    facts: dict[str, Any] = {"bet": command.bet, "reference": command.reference}
    if command.outcome == "won":
        facts["asset"] = command.asset if command.asset is not None else next(iter(stake))
        facts["amount"] = command.payout
        _check_money(command.payout, facts["asset"])
    elif command.outcome not in _SETTLED:
        raise UsageError(f"outcome={command.outcome!r}: give 'won', 'lost' or 'cancelled'")
    elif command.payout is not None:
        raise UsageError(f"a bet that is {command.outcome} has no payout")
    return _SETTLED[command.outcome](**facts)


def _check_money(amount: Any, asset: Any) -> None:
    reason = why_not_money(amount)
    if reason is not None:
        # As text: a rejection may be recorded, and no NaN can be.
        raise Rejected("invalid_amount", amount=str(amount), because=reason)
    if not is_asset(asset):
        raise Rejected("invalid_asset", asset=str(asset))


_EVENTS: Final = {command: event for event, command in ask.ANSWERED.items()}
_SETTLED: Final = {outcome: event for event, (outcome, _) in OUTCOMES.items()}

wallet: Final = wallet_with()
"""The wallet without limits: ``store.execute("agent-1", wallet, Deposit(…))``."""


# -- a budget that several agents share: each with money of its own --------------------------------


class SharedState(msgspec.Struct):
    """The wallets under a budget, by stream, and the bets of all that its limits look at."""

    wallets: dict[str, WalletState] = {}
    past: list[PastBet] = []

    def spent(self, asset: str) -> Decimal:
        """Stakes, open and lost, and fees, less winnings, of all wallets."""
        return reduce(plus, (each.spent(asset) for each in self.wallets.values()), ZERO)


class SharedBudget:
    """Limits on what several agents bet together; exact under concurrency.

    The streams under it are those whose events have its tag: use :meth:`execute` for all that
    their agents do, and ``tags=[budget.tag]`` for what is appended without a command. A decision
    rests on all of them, so one that another agent came before is made again.
    """

    def __init__(self, tag: str, *limits: Limit) -> None:
        self.tag = tag
        self.query = Query(tags=[tag])
        self.limits = limits
        self.fold = Fold(f"ledger-budget {tag}", SharedState)
        kept_s = 2 * longest_s(limits)

        @self.fold.on(*POSTED)
        def posted(state: SharedState, event: Any, recorded: Recorded) -> SharedState:
            if isinstance(event, BetPlaced) and kept_s:
                noted(state.past, event, recorded, kept_s=kept_s)
            post(state.wallets.setdefault(recorded.stream, WalletState()), event)
            return state

    def decider(self, stream: str) -> Decider[SharedState, ask.WalletCommand]:
        """What the agent of a stream may do under the budget, and with its own money."""

        def decide(command: ask.WalletCommand, state: SharedState) -> Sequence[object]:
            own = state.wallets.get(stream, WalletState())
            return decided(command, own, self.limits, state)

        return Decider(self.fold, decide)

    def execute(
        self,
        store: Store,
        stream: str,
        command: ask.WalletCommand,
        *,
        command_id: str | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> Appended | None:
        """Carry out a command of one agent; see :meth:`refold.Store.execute`."""
        decider = self.decider(stream)
        return store.execute(
            stream, decider, command, command_id=command_id, metadata=metadata, over=self.query
        )
