"""What the tests of money share: histories as numbers, and a model of them in fractions."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from decimal import Decimal
from fractions import Fraction
from typing import Any

from hypothesis import strategies as st

from refold.ledger.events import (
    BetCancelled,
    BetLost,
    BetPlaced,
    BetWon,
    EscrowLocked,
    EscrowReleased,
    FaucetClaimed,
    FeeCharged,
    FundsDeposited,
    FundsWithdrawn,
    UnrecognizedTransaction,
)
from refold.ledger.folds import Outcome

ASSETS = ("USDC", "ETH")
AMOUNTS = st.one_of(
    st.decimals("1e-18", "1e30", allow_nan=False, allow_infinity=False, places=18),
    st.sampled_from([Decimal("1E-40"), Decimal("1E+30"), Decimal("9.99"), Decimal("0.10")]),
    st.integers(1, 10**36).map(lambda units: Decimal(f"{units}e-18")),
)


def usdc(text: str) -> dict[str, Any]:
    """The fields of an amount in USDC."""
    return {"amount": Decimal(text), "asset": "USDC"}


def seen(*values: Any) -> tuple[Any, ...]:
    """Several values at once, to be compared with plain numbers."""
    return values


@st.composite
def bets(draw: st.DrawFn, name: str) -> list[object]:
    """A bet and what became of it, in order; each part may be missing."""
    asset = draw(st.sampled_from(ASSETS))
    outcome = draw(st.sampled_from(["won", "lost", "cancelled", "none"]))
    placed = BetPlaced(bet=name, amount=draw(AMOUNTS), asset=asset)
    paid_in = draw(st.sampled_from(ASSETS))
    settled: dict[str, list[object]] = {
        "won": [BetWon(bet=name, amount=draw(AMOUNTS), asset=paid_in, reference="tx")],
        "lost": [BetLost(bet=name)],
        "cancelled": [BetCancelled(bet=name)],
        "none": [],
    }
    return [*([placed] if draw(st.integers(0, 9)) else []), *settled[outcome]]


@st.composite
def moves(draw: st.DrawFn, name: str) -> list[object]:
    """One movement that is no bet, or the two of an escrow."""
    moved: dict[str, Any] = {"amount": draw(AMOUNTS), "asset": draw(st.sampled_from(ASSETS))}
    escrow = {**moved, "escrow": name}
    receiver: Any = draw(st.sampled_from(["owner", "counterparty"]))
    kinds: list[list[object]] = [
        [FundsDeposited(**moved)],
        [FundsWithdrawn(**moved)],
        [FaucetClaimed(**moved)],
        [FeeCharged(**moved)],
        [EscrowLocked(**escrow)],
        [EscrowLocked(**escrow), EscrowReleased(**escrow, to=receiver)],
        [UnrecognizedTransaction(kind="airdrop", text='{"amount": 0.1}')],
    ]
    return draw(st.sampled_from(kinds))


@st.composite
def histories(draw: st.DrawFn) -> list[object]:
    """Events in the order in which they happened."""
    count = draw(st.integers(0, 12))
    parts = [draw(st.one_of(bets(f"b{n}"), moves(f"e{n}"))) for n in range(count)]
    return [event for part in parts for event in part]


def exact(amount: Decimal | Fraction | int) -> Fraction:
    """A number as a fraction, which rounds nothing."""
    return Fraction(amount)


class Model:
    """Money by asset in fractions, the plain way: sums over a list of events, in no order."""

    def __init__(self, events: Iterable[object]) -> None:
        self.events = list(events)
        self.outcomes = dict(self._outcomes())
        self.placed = [e for e in self.events if isinstance(e, BetPlaced)]

    def _outcomes(self) -> Iterable[tuple[str, Outcome]]:
        for event in self.events:
            match event:
                case BetWon(bet=bet):
                    yield bet, "won"
                case BetLost(bet=bet):
                    yield bet, "lost"
                case BetCancelled(bet=bet):
                    yield bet, "cancelled"

    def sum(self, asset: str, *classes: type, **facts: object) -> Fraction:
        """The amounts of all events of these classes in an asset."""
        chosen: Sequence[Any] = [e for e in self.events if isinstance(e, classes)]
        return sum(
            (
                exact(e.amount)
                for e in chosen
                if e.asset == asset and all(getattr(e, k) == v for k, v in facts.items())
            ),
            Fraction(),
        )

    def stakes(self, asset: str, *outcomes: Outcome | None) -> Fraction:
        """The stakes of the bets that came out so; None: that are open."""
        return sum(
            (
                exact(e.amount)
                for e in self.placed
                if e.asset == asset and self.outcomes.get(e.bet) in outcomes
            ),
            Fraction(),
        )

    def count(self, asset: str, *outcomes: Outcome | None) -> int:
        """How many bets came out so."""
        return sum(e.asset == asset and self.outcomes.get(e.bet) in outcomes for e in self.placed)

    def account(self, asset: str) -> dict[str, Fraction | int]:
        """Every field of an account, and its total."""
        back = self.sum(asset, EscrowReleased, to="owner")
        paid = self.sum(asset, EscrowReleased, to="counterparty")
        locked = self.sum(asset, EscrowLocked)
        gone: tuple[type, ...] = (FundsWithdrawn, FeeCharged)
        fields: dict[str, Fraction | int] = {
            "deposited": self.sum(asset, FundsDeposited),
            "withdrawn": self.sum(asset, FundsWithdrawn),
            "claimed": self.sum(asset, FaucetClaimed),
            "fees": self.sum(asset, FeeCharged),
            "won": self.sum(asset, BetWon),
            "paid": paid,
            "wagered": self.stakes(asset, "won", "lost", "cancelled", None),
            "settled": self.stakes(asset, "won", "lost"),
            "refunded": self.stakes(asset, "cancelled"),
            "staked": self.stakes(asset, None),
            "bets": self.count(asset, "won", "lost", "cancelled", None),
            "wins": self.count(asset, "won"),
            "losses": self.count(asset, "lost"),
            "cancelled": self.count(asset, "cancelled"),
            "escrow": locked - back - paid,
            "available": self.sum(asset, FundsDeposited, FaucetClaimed, BetWon)
            - self.sum(asset, *gone)
            - locked
            + back
            - self.stakes(asset, "won", "lost", None),
        }
        fields["total"] = sum(
            (exact(fields[part]) for part in ("available", "escrow", "staked")), Fraction()
        )
        return fields
