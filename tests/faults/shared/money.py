"""The accounts of a run, added up from outside: from the JSON of events, by no fold of refold."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from decimal import Decimal

from tests.faults.shared.evidence import Entry

WALLETS = 8
ASSET = "USDC"
OPENING = Decimal(100)


class Accounts:
    """What is in each account: free, and set aside; and what was paid in from outside."""

    def __init__(self) -> None:
        self.free: dict[str, Decimal] = defaultdict(Decimal)
        self.locked: dict[str, Decimal] = defaultdict(Decimal)
        self.paid_in = Decimal(0)

    def post(self, one: Entry) -> bool:
        """Take an event; whether it was one of money."""
        if one.data is None or "amount" not in one.data:
            return False
        amount, account = Decimal(str(one.data["amount"])), one.stream
        match one.type:
            case "funds.deposited":
                self.free[account] += amount
                # What is moved from another account names the transfer.
                self.paid_in += 0 if one.data.get("reference") else amount
            case "funds.withdrawn":
                self.free[account] -= amount
            case "escrow.locked":
                self.free[account] -= amount
                self.locked[account] += amount
            case "escrow.released":
                self.locked[account] -= amount
                self.free[account] += amount
        return True

    @property
    def held(self) -> Decimal:
        """All of it."""
        return sum(self.free.values(), Decimal(0)) + sum(self.locked.values(), Decimal(0))


def overdrawn(log: list[Entry]) -> Iterator[str]:
    """Each event after which an account, or what is set aside in it, is below zero."""
    accounts = Accounts()
    for one in log:
        if accounts.post(one):
            free, locked = accounts.free[one.stream], accounts.locked[one.stream]
            if min(free, locked) < 0:
                yield f"{one.stream}@{one.version}: {free}, and {locked} set aside"


def not_kept(log: list[Entry]) -> Iterator[str]:
    """Where all accounts together hold more or less than was paid in: money was made or lost."""
    accounts = Accounts()
    for one in log:
        accounts.post(one)
    if accounts.held != accounts.paid_in:
        yield f"the accounts hold {accounts.held}, and {accounts.paid_in} was paid in"
