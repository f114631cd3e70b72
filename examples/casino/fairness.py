"""Dice that the house cannot load: commit, play, reveal.

The house draws a server seed and publishes its SHA-256, the commitment, before any bet. Roll
number ``nonce`` is made from HMAC-SHA256 (RFC 2104) with the server seed as key over
``<client seed>:<nonce>:<draw>``. When the seed is revealed, everybody can make the rolls again:
:func:`verify`. The house cannot change the seed, because it has committed to it, nor choose it to
fit the bets, because the client seed is the player's.
"""

from __future__ import annotations

import hashlib
import hmac
from decimal import ROUND_DOWN, Decimal
from typing import Final

SIDES: Final = 10_000
"""A roll is a hundredth of a per cent: 0 to 9,999."""
EDGE: Final = Decimal("0.01")
"""The part of every stake that the house keeps in the long run."""
CHANCE_MIN: Final = Decimal("0.01")
CHANCE_MAX: Final = Decimal("98.00")
SMALLEST: Final = Decimal("0.000001")
"""Payouts are rounded down to this."""
# Draws from here on would make low sides likelier than high ones.
_FAIR: Final = 2**32 // SIDES * SIDES


def commitment_of(server_seed: str) -> str:
    """What the house publishes before the first bet: SHA-256 of the seed, in hexadecimal."""
    return hashlib.sha256(server_seed.encode()).hexdigest()


def roll(server_seed: str, client_seed: str, nonce: int) -> int:
    """The roll of a bet, 0 to 9,999, every side as likely as any other."""
    draw = 0
    while True:
        message = f"{client_seed}:{nonce}:{draw}".encode()
        digest = hmac.digest(server_seed.encode(), message, "sha256")
        for start in range(0, len(digest), 4):
            number = int.from_bytes(digest[start : start + 4], "big")
            if number < _FAIR:
                return number % SIDES
        draw += 1


def is_win(rolled: int, chance: Decimal) -> bool:
    """Whether a roll wins a bet with this chance, in per cent."""
    return rolled < chance * 100


def payout(stake: Decimal, chance: Decimal) -> Decimal:
    """What a won bet pays, the stake included: the fair price less the edge, rounded down."""
    fair = stake * 100 / chance
    return (fair * (1 - EDGE)).quantize(SMALLEST, ROUND_DOWN)


def verify(*, commitment: str, server_seed: str, client_seed: str, nonce: int, rolled: int) -> bool:
    """Whether a roll is the one that the house had committed to."""
    return commitment_of(server_seed) == commitment and rolled == roll(
        server_seed, client_seed, nonce
    )
