"""What if a bad bet had not been placed: what there would be, and what could not have followed."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Sequence
from typing import Any, Final, NamedTuple

from msgspec.structs import asdict

from refold.core.fold import Decider
from refold.core.history import History
from refold.core.recorded import Recorded
from refold.core.registry import default_registry
from refold.engine.branch import Branch
from refold.engine.store import Store
from refold.errors import Rejected
from refold.ledger.accounts import PortfolioState
from refold.ledger.commands import ANSWERED, SettleBet, WalletCommand
from refold.ledger.folds import Portfolio
from refold.ledger.wallet import WalletState, wallet
from refold.ports import Appended


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
    states = (each.fold(Portfolio).state for each in (history, branch, possible))
    return WhatIf(branch, possible, found, *states)


def impossible(
    happened: History, branch: History, *, decider: Decider[WalletState, Any] | None = None
) -> tuple[Impossible, ...]:
    """What the wallet would have refused along a branch, though not in what happened.

    Each event is put to the decider as the command that it came from. One that is refused has not
    happened for those after it. What the decider would have refused in the first place (a service
    reports what it did, in its own order) is taken as it is on both.
    """
    decider = wallet if decider is None else decider
    anyway = {each.event.id for each in _refusals(happened, decider)}
    return tuple(_refusals(branch, decider, taken=anyway))


def _refusals(
    history: Iterable[Recorded],
    decider: Decider[WalletState, Any],
    *,
    taken: Container[str] | None = None,
) -> Iterator[Impossible]:
    """What the decider would have refused in a history.

    With ``taken``, the ids of what is taken as it is, a refused event has not happened for those
    after it; without, everything has.
    """
    state = decider.fold.initial()
    for recorded in history:
        try:
            if recorded.type in _ANSWERED and recorded.id not in (taken or ()):
                decider.decide(_command(recorded), state)
        except Rejected as rejection:
            yield Impossible(recorded, rejection)
            if taken is not None:
                continue
        state = decider.fold.step(state, recorded)


def _command(recorded: Recorded) -> WalletCommand:
    """The command that an event answers."""
    event, command = _ANSWERED[recorded.type]
    facts = asdict(recorded.to_class(event))
    if command is SettleBet:
        facts["outcome"] = recorded.type.removeprefix("bet.")
        facts["payout"] = facts.pop("amount", None)
    return command(**facts, at=recorded.occurred_at_us)


_ANSWERED: Final = {
    default_registry.kind_of_class(event).type: (event, command)
    for event, command in ANSWERED.items()
}
