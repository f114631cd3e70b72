"""What became of the agent: money, bets, and whether the dice were fair."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from decimal import Decimal
from typing import NamedTuple

from examples.casino import fairness
from examples.casino.agent import Agent
from examples.casino.client import CasinoClient
from examples.casino.effects import ASSET, DiceRevealed, DiceRolled
from examples.casino.reconcile import Difference, Reconciliation, Side
from refold import NotFound, Store
from refold.ledger import Portfolio


class Audit(NamedTuple):
    """Rolls that were checked, those that are not what the house had committed to, and those
    that cannot be checked: the seed behind them was not revealed."""

    checked: int
    loaded: list[str]
    unrevealed: int


def report(store: Store, agent: Agent) -> Iterator[str]:
    """Lines about the account and the feed."""
    folded = store.fold(agent.stream, Portfolio)
    account, open_bets = folded.state.of(ASSET), folded.state.bets.open
    yield f"{agent.stream}, {folded.version + 1} events"
    yield f"available   {account.available} {ASSET}"
    yield f"escrow      {account.escrow}"
    yield f"open bets   {len(open_bets)}, {account.staked} staked"
    ends = f"{account.wins} won, {account.losses} lost, {account.cancelled} cancelled"
    yield f"bets        {account.bets}: {ends}"
    yield f"wagered     {account.wagered}, won {account.won}, fees {account.fees}"
    yield f"P&L         {account.profit}, ROI {_percent(account.roi)}"
    status = agent.poller.status()
    skew_s = (status.skew_us or 0) / 1e6
    yield f"listed      {sum(status.received.values())} transactions: {_counts(status.received)}"
    yield f"unknown     {_counts(status.unrecognized)}; its clock is {skew_s:+.1f} s from ours"


def reconciled(found: Reconciliation) -> Iterator[str]:
    """Lines about a reconciliation: every difference by its id, with its reason."""
    yield f"their books {_shown(found.theirs)}, {found.transactions} transactions"
    yield f"our ledger  {_shown(found.ours)}"
    yield from _explained(found)
    if found.agrees:
        yield "they agree to the last decimal"
    elif found.is_early:
        yield "THEY DO NOT AGREE YET: play again when the casino has listed these"
    else:
        yield "THEY DO NOT AGREE"


def _explained(found: Reconciliation) -> Iterator[str]:
    """Why the balances differ: entry by entry, and what no entry explains."""
    for one in found.differences:
        reason = _reason(one, found)
        yield f"  {one.id} ({one.kind}): {one.theirs} there, {one.ours} here: {reason}"
    if found.open_bets:
        yield f"  {found.open_bets} bets have no outcome yet: play again, and they are asked for"
    between = found.theirs.available - found.ours.available
    explained = sum((one.theirs - one.ours for one in found.differences), Decimal(0))
    if between or found.differences:
        yield f"  theirs less ours is {between}, and these entries make {explained.normalize():f}"


def _reason(one: Difference, found: Reconciliation) -> str:
    if one.id in found.unlisted:
        return "not listed yet"
    if not one.ours:
        return "listed, and not in our ledger: a type that means nothing there, or a loss"
    return "in our ledger alone" if not one.theirs else "another amount"


def revealed(store: Store, agent: Agent, casino: CasinoClient) -> Audit:
    """Ask for the seed behind the rolls so far, and make every roll again."""
    stream = f"dice-{agent.stream}"
    count = store.head(stream) + 1
    said = casino.reveal(f"{stream}/reveal/{count}", secrets.token_hex(16))
    event = DiceRevealed(
        commitment=said["commitment"],
        server_seed=said["server_seed"],
        client_seed=said["client_seed"],
        rolls=said["rolls"],
    )
    store.append(stream, [event], key=f"{stream}/revealed/{said['commitment']}")
    return audit(store, stream)


def audit(store: Store, stream: str) -> Audit:
    """Make every roll of a stream again from the seeds that were revealed."""
    rolls: list[DiceRolled] = []
    seeds: dict[str, DiceRevealed] = {}
    try:
        for recorded in store.read(stream):
            if recorded.type == "dice.rolled":
                rolls.append(recorded.event)
            elif recorded.type == "dice.revealed":
                seeds[recorded.event.commitment] = recorded.event
    except NotFound:
        pass
    known = [roll for roll in rolls if roll.commitment in seeds]
    loaded = [roll.bet_id for roll in known if not _is_fair(roll, seeds[roll.commitment])]
    return Audit(len(known), loaded, len(rolls) - len(known))


def _is_fair(rolled: DiceRolled, seed: DiceRevealed) -> bool:
    is_made_so = fairness.verify(
        commitment=rolled.commitment,
        server_seed=seed.server_seed,
        client_seed=seed.client_seed,
        nonce=rolled.nonce,
        rolled=rolled.roll,
    )
    is_win = fairness.is_win(rolled.roll, rolled.chance)
    owed = fairness.payout(rolled.amount, rolled.chance) if is_win else Decimal(0)
    return is_made_so and owed == rolled.payout


def _shown(side: Side) -> str:
    return f"{side.available} and {side.escrow} in escrow"


def _percent(part: Decimal | None) -> str:
    return "none" if part is None else f"{part * 100:.2f} %"


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{count} {kind}" for kind, count in sorted(counts.items())) or "none"
