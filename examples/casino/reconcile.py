"""The agent's ledger against the casino's books, transaction by transaction."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from decimal import Decimal
from typing import Any, Final, NamedTuple

from examples.casino.effects import ASSET, BET
from refold import Recorded, Store
from refold.feeds import Poller
from refold.ledger import Portfolio

Place = tuple[str, str]
"""What an entry is about: a bet's stake and its winnings, else a transaction, by its id."""

MONEY: Final = {
    "funds.deposited": 1,
    "funds.withdrawn": -1,
    "faucet.claimed": 1,
    "fee.charged": -1,
    "bet.placed": -1,
    "bet.won": 1,
    "escrow.locked": -1,
    "escrow.released": 1,
}
"""How an event of the ledger moves what can be spent."""
PAUSE_S: Final = 0.1
SIGNS: Final = {"bet": -1, "fee": -1, "withdraw": -1, "escrow": -1}
"""How a transaction does; the others add to it."""


class Difference(NamedTuple):
    """One entry on which the two disagree.

    ``id`` is the casino's transaction, or the event where it has none. ``theirs`` and ``ours`` are
    amounts as they move the balance, 0 where one side has nothing.
    """

    id: str
    kind: str
    theirs: Decimal
    ours: Decimal


class Side(NamedTuple):
    """What one side says there is."""

    available: Decimal
    escrow: Decimal


class Reconciliation(NamedTuple):
    """What came of it; ``open_bets`` are stakes whose bets have no outcome yet.

    ``unlisted`` are the ids of transactions that are in their books, and not in their list yet.
    """

    transactions: int
    theirs: Side
    ours: Side
    open_bets: int
    differences: list[Difference]
    unlisted: frozenset[str]

    @property
    def agrees(self) -> bool:
        """Whether there is nothing to explain."""
        return self.theirs == self.ours and not self.differences and not self.open_bets

    @property
    def is_early(self) -> bool:
        """Whether all that they differ in is not listed yet: who asks later may find agreement."""
        late = [difference.id in self.unlisted for difference in self.differences]
        return bool(late) and all(late) and not self.open_bets


class Entry(NamedTuple):
    """What one side says of one place."""

    id: str
    kind: str
    amount: Decimal


def reconcile_listed(
    store: Store,
    stream: str,
    poller: Poller,
    statement: Callable[[], Mapping[str, Any]],
    *,
    patience_s: float,
    waiting: Callable[[Reconciliation], object],
) -> Reconciliation:
    """Reconcile once everything in the books has been listed and read, or ``patience_s`` is over.

    ``waiting`` is told once, when the first wait begins. Raises what polling raises.
    """
    until_s, has_told = time.monotonic() + patience_s, False
    while True:
        # The statement first: what it has as listed, the poll after it finds.
        said = statement()
        _read_whole(poller, until_s)
        found = reconcile(store, stream, said)
        left_s = until_s - time.monotonic()
        if not found.unlisted or left_s <= 0:
            return found
        if not has_told:
            waiting(found)
            has_told = True
        time.sleep(min(PAUSE_S, left_s))


def _read_whole(poller: Poller, until_s: float) -> None:
    """Read the list from its start to its end, however late anything came."""
    polled = poller.poll_since(None)
    while not polled.is_over and time.monotonic() < until_s:
        polled = poller.poll()


def reconcile(store: Store, stream: str, statement: Mapping[str, Any]) -> Reconciliation:
    """Compare the ledger of a stream with the casino's statement of the account."""
    account = store.fold(stream, Portfolio).state
    money = account.of(ASSET)
    theirs = _summed(_theirs(statement["transactions"], stream))
    ours = _summed(_ours(store.read(stream)))
    places = sorted(theirs.keys() | ours.keys())
    pairs = ((theirs.get(place), ours.get(place)) for place in places)
    return Reconciliation(
        transactions=len(statement["transactions"]),
        theirs=Side(Decimal(statement["balance"]), Decimal(statement["escrow"])),
        ours=Side(money.available, money.escrow),
        open_bets=len(account.bets.open),
        differences=[found for pair in pairs if (found := _compared(*pair))],
        unlisted=frozenset(statement["unlisted"]),
    )


def _compared(theirs: Entry | None, ours: Entry | None) -> Difference | None:
    one = theirs or ours
    amounts = [side.amount if side else Decimal(0) for side in (theirs, ours)]
    if one is None or amounts[0] == amounts[1]:
        return None
    return Difference(one.id, one.kind, *amounts)


def _summed(entries: Iterable[tuple[Place, Entry]]) -> dict[Place, Entry]:
    """What each place comes to: an entry that is there twice shows as a difference."""
    found: dict[Place, Entry] = {}
    for place, entry in entries:
        before = found.get(place)
        amount = entry.amount if before is None else before.amount + entry.amount
        found[place] = (before or entry)._replace(amount=amount)
    return found


def _theirs(
    transactions: Iterable[Mapping[str, Any]], stream: str
) -> Iterator[tuple[Place, Entry]]:
    for said in transactions:
        kind, own = said["type"], str(said.get("key", "")).startswith(f"{stream}@")
        amount = Decimal(said["amount"]) * SIGNS.get(kind, 1)
        place = (kind, said["key"]) if own and kind in ("bet", "win") else ("", said["id"])
        yield place, Entry(said["id"], kind, amount)


def _ours(history: Iterable[Recorded]) -> Iterator[tuple[Place, Entry]]:
    """The entries of the ledger; the bet of a request is that of its idempotency key."""
    keys: dict[str, str] = {}
    stakes: dict[str, Entry] = {}
    for recorded in history:
        said = recorded.data
        if recorded.type == "effect.requested" and said["name"] == BET:
            bet = said["arguments"]["bet"]
            if bet not in keys:
                keys[bet] = said.get("idempotency_key") or recorded.id
                yield ("bet", keys[bet]), stakes[bet]
        elif recorded.type == "bet.cancelled":
            bet = said["bet"]
            back = -stakes[bet].amount if bet in stakes else Decimal(0)
            yield ("bet", keys.get(bet, bet)), Entry(recorded.id, recorded.type, back)
        elif recorded.type in MONEY:
            amount = Decimal(said["amount"]) * MONEY[recorded.type]
            entry = Entry(said.get("reference") or recorded.id, recorded.type, amount)
            bet = said.get("bet")
            if recorded.type == "bet.placed" and not said.get("reference"):
                stakes[bet] = entry
            elif recorded.type == "bet.won" and bet in keys:
                yield ("win", keys[bet]), entry
            else:
                yield ("", entry.id), entry
