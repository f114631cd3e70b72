"""A budget that several agents share: each with money of its own, all under the same limits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

import msgspec

from refold.core.fold import Decider, Fold
from refold.core.query import Query
from refold.core.recorded import Recorded
from refold.engine.store import Store
from refold.ledger.commands import WalletCommand
from refold.ledger.events import BetPlaced
from refold.ledger.folds import POSTED, post
from refold.ledger.limits import Limit, PastBet, longest_s, noted
from refold.ledger.money import ZERO, plus
from refold.ledger.wallet import WalletState, decided
from refold.ports import Appended


class SharedState(msgspec.Struct):
    """The wallets under a budget, by stream, and the bets of all that its limits look at."""

    wallets: dict[str, WalletState] = {}
    past: list[PastBet] = []

    def spent(self) -> dict[str, Decimal]:
        """Stakes, open and lost, and fees, less winnings, of all wallets, by asset."""
        totals: dict[str, Decimal] = {}
        for each in self.wallets.values():
            for asset, amount in each.spent().items():
                totals[asset] = plus(totals.get(asset, ZERO), amount)
        return totals


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
        self.fold = _fold(tag, kept_s=2 * longest_s(limits))

    def decider(self, stream: str) -> Decider[SharedState, WalletCommand]:
        """What the agent of a stream may do under the budget, and with its own money."""

        def decide(command: WalletCommand, state: SharedState) -> Sequence[object]:
            own = state.wallets.get(stream, WalletState())
            return decided(command, own, self.limits, state)

        return Decider(self.fold, decide)

    def execute(
        self,
        store: Store,
        stream: str,
        command: WalletCommand,
        *,
        command_id: str | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> Appended | None:
        """Carry out a command of one agent; see :meth:`refold.Store.execute`."""
        decider = self.decider(stream)
        return store.execute(
            stream, decider, command, command_id=command_id, metadata=metadata, over=self.query
        )


def _fold(tag: str, *, kept_s: int) -> Fold[SharedState]:
    """The fold of all wallets under a budget."""
    fold = Fold(f"ledger-budget {tag}", SharedState)

    @fold.on(*POSTED)
    def posted(state: SharedState, event: Any, recorded: Recorded) -> SharedState:
        own = state.wallets.setdefault(recorded.stream, WalletState())
        if isinstance(event, BetPlaced) and kept_s:
            noted(state.past, event, recorded, kept_s=kept_s)
        post(own, event)
        return state

    return fold
