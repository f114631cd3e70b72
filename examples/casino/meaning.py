"""What the casino's transactions mean to the agent's ledger."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Any, Final

from refold import Append
from refold.feeds import Transaction
from refold.ledger.events import (
    BetPlaced,
    BetWon,
    EscrowLocked,
    EscrowReleased,
    FaucetClaimed,
    FeeCharged,
    FundsDeposited,
    FundsWithdrawn,
)

PLAIN: Final = {
    "deposit": FundsDeposited,
    "withdraw": FundsWithdrawn,
    "faucet": FaucetClaimed,
    "fee": FeeCharged,
}


class Meaning:
    """The function that a poller wants, for the ledger of one stream.

    The agent's own bets are in its ledger by its own word, so what the casino lists of them adds
    nothing; a bet that was placed by other hands is entered as the casino tells it.
    """

    def __init__(self, stream: str) -> None:
        self._stream = stream

    def __call__(self, transaction: Transaction) -> Sequence[Append] | None:
        """The events of a transaction; None for a type that is unknown here."""
        events = self._events(transaction)
        return None if events is None else [Append(self._stream, events)] if events else []

    def _events(self, transaction: Transaction) -> list[object] | None:
        said = transaction.data
        amount = Decimal(said["amount"])
        moved: dict[str, Any] = {"asset": said["asset"], "reference": transaction.id}
        match transaction.type:
            case "bet" | "win" if self._is_own(said):
                return []
            case "bet":
                return [BetPlaced(**moved, amount=amount, bet=said["bet_id"], game=said["game"])]
            case "win":
                return [BetWon(**moved, amount=amount, bet=said["bet_id"])]
            case "escrow" if amount > 0:
                return [EscrowLocked(**moved, amount=amount, escrow=said["escrow"])]
            case "escrow":
                to = said.get("to", "owner")
                return [EscrowReleased(**moved, amount=-amount, escrow=said["escrow"], to=to)]
            case plain if plain in PLAIN:
                return [PLAIN[plain](**moved, amount=amount)]
        return None

    def _is_own(self, said: Any) -> bool:
        return str(said.get("key", "")).startswith(f"{self._stream}@")
