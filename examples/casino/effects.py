"""What the agent does to the outside world: requests that are made once, whoever is killed."""

from __future__ import annotations

from decimal import Decimal
from typing import Final

import msgspec

import refold
from examples.casino.client import Bet, CasinoClient
from refold import Rejected, Store
from refold.ledger.events import BetCancelled, BetLost, BetWon
from refold.outbox import EffectCommitted, EffectRequested

ASSET: Final = "USDC"
BET: Final = "casino.bet"
CLAIM: Final = "casino.claim"


@refold.event("dice.rolled")
class DiceRolled(msgspec.Struct, frozen=True, kw_only=True):
    """What the casino rolled for a bet, under which commitment."""

    bet: str
    bet_id: str
    nonce: int
    roll: int
    chance: Decimal
    amount: Decimal
    payout: Decimal
    commitment: str


@refold.event("dice.revealed")
class DiceRevealed(msgspec.Struct, frozen=True, kw_only=True):
    """The seeds behind a commitment, and how many rolls they made."""

    commitment: str
    server_seed: str
    client_seed: str
    rolls: int


class Effects:
    """The handlers of the agent's outbox.

    Each records what came of it under a key made of the idempotency key, before the outbox
    records the outcome: an agent that was killed in between finds it, and asks nobody again.
    """

    def __init__(self, store: Store, casino: CasinoClient, stream: str) -> None:
        self._store = store
        self._casino = casino
        self._stream = stream

    def bet(self, effect: EffectRequested, key: str) -> EffectCommitted:
        """Play a bet and settle it in the ledger."""
        said = effect.arguments
        if self._is_cancelled(key):
            raise Rejected("the casino refused it before")
        try:
            bet = self._casino.bet(key, said["amount"], ASSET, said["chance"])
        except Rejected as refused:
            self._settle(key, BetCancelled(bet=said["bet"]))
            raise Rejected(refused.message) from refused
        self._note(key, effect, bet)
        self._settle(key, _outcome(said["bet"], bet))
        return EffectCommitted(bet.bet_id, amount=bet.payout, currency=bet.asset)

    def claim(self, _effect: EffectRequested, key: str) -> EffectCommitted:
        """Ask the faucet; what it gives comes with the transactions."""
        answer = self._casino.claim(key)
        if not answer["success"]:
            raise Rejected("the faucet gives once a day")
        amount = Decimal(answer["amount"])
        return EffectCommitted(answer["tx_id"], amount=amount, currency=answer["asset"])

    def _settle(self, key: str, outcome: BetWon | BetLost | BetCancelled) -> None:
        # No command: what the casino says is a fact, whatever the wallet would decide.
        self._store.append(self._stream, [outcome], key=_settled(key))

    def _is_cancelled(self, key: str) -> bool:
        """Whether the bet was given up before: it must not be played after all."""
        found = self._store.find(_settled(key)) or []
        return any(self._store.event(each.ids[0]).type == "bet.cancelled" for each in found)

    def _note(self, key: str, effect: EffectRequested, bet: Bet) -> None:
        said = effect.arguments
        rolled = DiceRolled(
            bet=said["bet"],
            bet_id=bet.bet_id,
            nonce=bet.nonce,
            roll=bet.roll,
            chance=Decimal(said["chance"]),
            amount=Decimal(said["amount"]),
            payout=bet.payout,
            commitment=bet.commitment,
        )
        self._store.append(f"dice-{self._stream}", [rolled], key=f"{key}/rolled")


def _outcome(bet_name: str, bet: Bet) -> BetWon | BetLost:
    if not bet.payout:
        return BetLost(bet=bet_name, reference=bet.bet_id)
    return BetWon(bet=bet_name, amount=bet.payout, asset=bet.asset, reference=bet.bet_id)


def _settled(key: str) -> str:
    return f"{key}/settled"
