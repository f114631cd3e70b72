"""The casino's own books: accounts, bets and transactions, in exact decimals."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from typing import Any, Final

from examples.casino import fairness
from examples.casino.faults import Chance
from refold.times import rfc3339

ASSET: Final = "USDC"
FAUCET: Final = Decimal("100")
FAUCET_EVERY_US: Final = 24 * 3_600 * 1_000_000
FEE: Final = Decimal("0.001")
"""Of every stake, on top of it."""
PAGE_SIZE: Final = 100
SIGNS: Final = {
    "bet": -1,
    "win": 1,
    "deposit": 1,
    "withdraw": -1,
    "fee": -1,
    "faucet": 1,
    "cashback": 1,
}
"""Which way each type moves the balance; escrow by its sign, any other type not at all."""

Transaction = dict[str, Any]
Answer = dict[str, Any]


class Refused(Exception):
    """The casino says no; ``status`` and ``code`` are those of the answer."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status, self.code = status, code


@dataclass(frozen=True)
class Entry:
    """A transaction, when it happened, and from when it is listed (on the steady clock)."""

    transaction: Transaction
    at_us: int
    listed_s: float


@dataclass
class Account:
    """An agent's account; ``answers`` holds what was asked under each idempotency key, and said."""

    agent_id: str
    api_key: str
    registration: str
    server_seed: str
    client_seed: str
    balance: Decimal = Decimal(0)
    escrow: Decimal = Decimal(0)
    nonce: int = 0
    entries: list[Entry] = field(default_factory=list)
    answers: dict[str, tuple[Mapping[str, Any], Answer | Refused]] = field(default_factory=dict)
    faucet_at_us: int | None = None


class Books:
    """Accounts by agent. Safe between threads: everything happens one after the other.

    ``clock`` gives microseconds UTC, ``steady_s`` seconds that never go back, ``late_s`` how much
    later the next transaction is listed.
    """

    def __init__(
        self,
        chance: Chance,
        *,
        clock: Callable[[], int],
        steady_s: Callable[[], float],
        late_s: Callable[[], float] = lambda: 0.0,
    ) -> None:
        self.accounts: dict[str, Account] = {}
        self._chance = chance
        self._clock = clock
        self._steady_s = steady_s
        self._late_s = late_s
        self._lock = threading.RLock()
        self._last_id = 0

    def register(self, agent_id: str, registration: str, client_seed: str) -> Answer:
        """Open an account; the same registration again gets the same answer."""
        with self._lock:
            account = self.accounts.get(agent_id)
            if account is None:
                api_key, server_seed = self._chance.seed(), self._chance.seed()
                account = Account(agent_id, api_key, registration, server_seed, client_seed)
                self.accounts[agent_id] = account
            elif account.registration != registration:
                raise Refused(409, "taken", f"{agent_id} is registered already")
            commitment = fairness.commitment_of(account.server_seed)
            return {"agent_id": agent_id, "api_key": account.api_key, "commitment": commitment}

    def account_of(self, api_key: str) -> Account:
        """Whose key this is."""
        with self._lock:
            for account in self.accounts.values():
                if account.api_key == api_key:
                    return account
        raise Refused(401, "unauthorized", "no such key")

    def claim(self, account: Account, key: str) -> Answer:
        """Money from the faucet, once a day."""
        return self._once(account, key, {"claim": True}, lambda: self._claimed(account))

    def bet(self, account: Account, key: str, wanted: Mapping[str, Any]) -> Answer:
        """Roll the dice."""
        return self._once(account, key, wanted, lambda: self._played(account, key, wanted))

    def find_bet(self, account: Account, key: str) -> Answer:
        """What was said to a bet under this key."""
        with self._lock:
            _, answer = account.answers.get(key, ({}, None))
            if isinstance(answer, Refused):
                raise answer
            if answer is None or "bet_id" not in answer:
                raise Refused(404, "not_found", "no bet came under this key")
            return answer

    def reveal(self, account: Account, key: str, client_seed: str) -> Answer:
        """Give away the server seed, and commit to the next one."""
        wanted = {"reveal": client_seed}
        return self._once(account, key, wanted, lambda: self._revealed(account, client_seed))

    def move(self, account: Account, kind: str, amount: Decimal, **more: str | None) -> Transaction:
        """Enter a transaction: escrow locks a positive amount and releases a negative one.

        What is released goes back to the agent, or with ``to="counterparty"`` to somebody else.
        """
        with self._lock:
            balance, escrow = account.balance, account.escrow
            if kind == "escrow":
                escrow += amount
                balance -= Decimal(0) if more.get("to") == "counterparty" else amount
            else:
                balance += SIGNS.get(kind, 0) * amount
            if balance < 0 or escrow < 0:
                raise Refused(422, "overdrawn", f"{amount} is more than {account.agent_id} has")
            account.balance, account.escrow = balance, escrow
            self._last_id += 1
            at_us = self._clock()
            said = {name: value for name, value in more.items() if value is not None}
            transaction = {
                "id": f"tx-{self._last_id}",
                "type": kind,
                "amount": str(amount),
                "asset": ASSET,
                "game": "dice" if "bet_id" in said else None,
                "at": rfc3339(at_us),
                **said,
            }
            listed_s = self._steady_s() + self._late_s()
            account.entries.append(Entry(transaction, at_us, listed_s))
            return transaction

    def transactions(
        self, account: Account, *, since_us: int | None, page: int
    ) -> tuple[list[Transaction], int | None]:
        """A page of what is listed by now, oldest first, and the number of the next page.

        Pages are of places in the books, so that what is listed late moves none.
        """
        with self._lock:
            now_s = self._steady_s()
            listed: list[Transaction] = []
            for number in range(page, len(account.entries)):
                entry = account.entries[number]
                if (since_us is None or entry.at_us >= since_us) and entry.listed_s <= now_s:
                    if len(listed) == PAGE_SIZE:
                        return listed, number
                    listed.append(entry.transaction)
            return listed, None

    def statement(self, account: Account) -> Answer:
        """What the casino owes, and every transaction in its books; those not listed yet by id."""
        with self._lock:
            now_s = self._steady_s()
            return {
                "balance": str(account.balance),
                "escrow": str(account.escrow),
                "asset": ASSET,
                "transactions": [entry.transaction for entry in account.entries],
                "unlisted": [
                    entry.transaction["id"] for entry in account.entries if entry.listed_s > now_s
                ],
            }

    def _once(
        self,
        account: Account,
        key: str,
        wanted: Mapping[str, Any],
        make: Callable[[], Answer],
    ) -> Answer:
        """What was said under this key, or what is said now: a refusal is for ever too."""
        with self._lock:
            if key not in account.answers:
                try:
                    account.answers[key] = (dict(wanted), make())
                except Refused as refused:
                    account.answers[key] = (dict(wanted), refused)
            before, answer = account.answers[key]
            if before != wanted:
                raise Refused(422, "key_reused", "this key belongs to something else")
            if isinstance(answer, Refused):
                raise answer
            return answer

    def _claimed(self, account: Account) -> Answer:
        now_us = self._clock()
        if account.faucet_at_us is not None and now_us < account.faucet_at_us:
            return {"success": False, "amount": "0", "tx_id": None}
        account.faucet_at_us = now_us + FAUCET_EVERY_US
        paid = self.move(account, "faucet", FAUCET)
        return {"success": True, "amount": paid["amount"], "tx_id": paid["id"], "asset": ASSET}

    def _played(self, account: Account, key: str, wanted: Mapping[str, Any]) -> Answer:
        stake, chance = _terms(wanted)
        fee = (stake * FEE).quantize(fairness.SMALLEST)
        if stake + fee > account.balance:
            raise Refused(402, "insufficient_funds", f"{stake} and {fee} for {account.balance}")
        nonce, account.nonce = account.nonce, account.nonce + 1
        rolled = fairness.roll(account.server_seed, account.client_seed, nonce)
        bet_id = f"bet-{self._last_id + 1}"
        is_win = fairness.is_win(rolled, chance)
        paid = fairness.payout(stake, chance) if is_win else Decimal(0)
        self.move(account, "bet", stake, bet_id=bet_id, key=key)
        if fee:
            self.move(account, "fee", fee, bet_id=bet_id)
        if paid:
            self.move(account, "win", paid, bet_id=bet_id, key=key)
        return {
            "bet_id": bet_id,
            "outcome": "win" if is_win else "loss",
            "payout": str(paid),
            "asset": ASSET,
            "roll": rolled,
            "nonce": nonce,
            "commitment": fairness.commitment_of(account.server_seed),
        }

    def _revealed(self, account: Account, client_seed: str) -> Answer:
        revealed = {
            "server_seed": account.server_seed,
            "client_seed": account.client_seed,
            "commitment": fairness.commitment_of(account.server_seed),
            "rolls": account.nonce,
        }
        account.server_seed, account.client_seed = self._chance.seed(), client_seed
        account.nonce = 0
        return {**revealed, "next_commitment": fairness.commitment_of(account.server_seed)}


def _terms(wanted: Mapping[str, Any]) -> tuple[Decimal, Decimal]:
    """Stake and chance of a bet; refused where they make no sense."""
    if wanted.get("asset") != ASSET:
        raise Refused(422, "unknown_asset", f"this house plays for {ASSET}")
    stake, chance = _decimal(wanted, "amount"), _decimal(wanted, "chance")
    if stake < fairness.SMALLEST or stake != stake.quantize(fairness.SMALLEST):
        raise Refused(422, "bad_amount", f"a stake is a multiple of {fairness.SMALLEST}")
    if not fairness.CHANCE_MIN <= chance <= fairness.CHANCE_MAX or chance * 100 % 1:
        raise Refused(422, "bad_chance", "a chance is 0.01 to 98.00 per cent")
    return stake, chance


def _decimal(wanted: Mapping[str, Any], name: str) -> Decimal:
    given = wanted.get(name)
    try:
        amount = Decimal(given) if isinstance(given, str) else None
    except InvalidOperation:
        amount = None
    if amount is None or not amount.is_finite() or not 0 < amount < 10**12:
        raise Refused(422, f"bad_{name}", f"{name} must be text such as '0.50'")
    return amount
