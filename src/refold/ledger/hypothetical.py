"""What if a bad bet had not been placed: what there would be, and what could not have followed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final, NamedTuple

from refold.core.fold import Decider
from refold.core.history import History
from refold.core.recorded import Recorded
from refold.engine.append import Appended
from refold.engine.branch import Branch
from refold.engine.store import Store
from refold.errors import Rejected
from refold.ledger import commands as ask
from refold.ledger import events as said
from refold.ledger.folds import Portfolio
from refold.ledger.states import PortfolioState
from refold.ledger.wallet import WalletState, wallet


class Impossible(NamedTuple):
    """An event of a branch that the wallet would have refused there, and why."""

    event: Recorded
    rejection: Rejected


class WhatIf(NamedTuple):
    """What happened beside what would have.

    ``branch`` is the history that was asked for, ``impossible`` what in it could not have
    happened, in order, ``possible`` the branch without that. ``happened``, ``supposed`` and
    ``remaining`` are their portfolios: what was, the branch taken at its word, and what is left
    of it.
    """

    branch: Branch[Appended]
    possible: Branch[Appended]
    impossible: tuple[Impossible, ...]
    happened: PortfolioState
    supposed: PortfolioState
    remaining: PortfolioState


def what_if(
    store: Store,
    stream: str,
    without: Sequence[str],
    *,
    decider: Decider[WalletState, Any] | None = None,
) -> WhatIf:
    """The history of a stream had these events (their ids) never happened.

    Nothing is written; both branches can be saved. ``decider`` is the wallet whose guards are
    asked: by default the one without limits. Raises :class:`~refold.errors.NotFound` for a stream
    or an event that is not there.
    """
    history = store.branch(stream)
    branch = history.without(*without)
    found = impossible(history, branch, decider=decider)
    possible = branch.without(*(each.event.id for each in found))
    return WhatIf(
        branch,
        possible,
        found,
        history.fold(Portfolio).state,
        branch.fold(Portfolio).state,
        possible.fold(Portfolio).state,
    )


def impossible(
    happened: History, branch: History, *, decider: Decider[WalletState, Any] | None = None
) -> tuple[Impossible, ...]:
    """What the wallet would have refused along a branch, though not in what happened.

    Each event is put to the decider as the command that it came from. One that is refused has not
    happened for those after it. What the decider would have refused in the first place (a service
    reports what it did, in its own order) is taken as it is on both.
    """
    decider = wallet if decider is None else decider
    refused = {each.event.id for each in _refusals(happened, decider)}
    found = []
    state = decider.fold.initial()
    for recorded in branch:
        rejection = None if recorded.id in refused else _refusal(recorded, state, decider)
        if rejection is None:
            state = decider.fold.step(state, recorded)
        else:
            found.append(Impossible(recorded, rejection))
    return tuple(found)


def _refusals(
    history: Iterable[Recorded], decider: Decider[WalletState, Any]
) -> Iterable[Impossible]:
    """What the decider would have refused in a history that went on regardless."""
    state = decider.fold.initial()
    for recorded in history:
        rejection = _refusal(recorded, state, decider)
        if rejection is not None:
            yield Impossible(recorded, rejection)
        state = decider.fold.step(state, recorded)


def _refusal(
    recorded: Recorded, state: WalletState, decider: Decider[WalletState, Any]
) -> Rejected | None:
    made_by = _COMMANDS.get(recorded.type)
    if made_by is None:
        return None
    try:
        decider.decide(_command(recorded, *made_by), state)
    except Rejected as rejection:
        return rejection
    return None


def _command(recorded: Recorded, event: type, command: type[ask.Command]) -> ask.Command:
    """The command that an event answers."""
    happened = recorded.to_class(event)
    names = (name for name in command.__struct_fields__ if hasattr(happened, name))
    facts: dict[str, Any] = {name: getattr(happened, name) for name in names}
    if command is ask.SettleBet:
        facts["outcome"] = recorded.type.removeprefix("bet.")
        facts["payout"] = getattr(happened, "amount", None)
    return command(**facts, at=recorded.occurred_at_us)


_COMMANDS: Final[dict[str, tuple[type, type[ask.Command]]]] = {
    "agent.registered": (said.AgentRegistered, ask.Register),
    "funds.deposited": (said.FundsDeposited, ask.Deposit),
    "funds.withdrawn": (said.FundsWithdrawn, ask.Withdraw),
    "faucet.claimed": (said.FaucetClaimed, ask.ClaimFaucet),
    "fee.charged": (said.FeeCharged, ask.ChargeFee),
    "bet.placed": (said.BetPlaced, ask.PlaceBet),
    "bet.won": (said.BetWon, ask.SettleBet),
    "bet.lost": (said.BetLost, ask.SettleBet),
    "bet.cancelled": (said.BetCancelled, ask.SettleBet),
    "escrow.locked": (said.EscrowLocked, ask.LockEscrow),
    "escrow.released": (said.EscrowReleased, ask.ReleaseEscrow),
}
