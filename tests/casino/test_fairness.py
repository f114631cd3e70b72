"""The dice cannot be loaded: what was rolled follows from what was committed to."""

from __future__ import annotations

from collections import Counter
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from examples.casino import fairness

SEED = "6f1e" * 16
ROLLED = [1_102, 1_693, 7_224, 5_097, 6_822]


def test_rolls_are_what_another_tool_computes() -> None:
    """``printf client:0:0 | openssl dgst -sha256 -hmac SEED``: its first 4 bytes modulo 10,000.

    They are the same for ever, or bets of old could not be checked.
    """
    assert [fairness.roll(SEED, "client", nonce) for nonce in range(5)] == ROLLED


def test_a_commitment_is_the_hash_of_the_seed() -> None:
    """As ``printf SEED | sha256sum`` prints it."""
    empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert fairness.commitment_of("") == empty


@given(st.text(max_size=20), st.integers(0, 2**40))
def test_every_true_roll_is_verified_and_no_other(client: str, nonce: int) -> None:
    """A roll, a seed, a commitment or a nonce that is not the one is found."""
    true = {
        "commitment": fairness.commitment_of(SEED),
        "server_seed": SEED,
        "client_seed": client,
        "nonce": nonce,
        "rolled": fairness.roll(SEED, client, nonce),
    }
    assert fairness.verify(**true)  # type: ignore[arg-type]
    rolled = (fairness.roll(SEED, client, nonce) + 1) % fairness.SIDES
    assert not fairness.verify(**(true | {"rolled": rolled}))  # type: ignore[arg-type]
    assert not fairness.verify(**(true | {"server_seed": "x"}))  # type: ignore[arg-type]
    other = fairness.commitment_of("x")
    assert not fairness.verify(**(true | {"commitment": other}))  # type: ignore[arg-type]


def test_every_side_is_as_likely() -> None:
    """Ten thousand rolls fall evenly into ten parts: chi-square below what chance gives once in
    a million (9 degrees of freedom: 44.8)."""
    parts = Counter(
        fairness.roll(SEED, "even", nonce) * 10 // fairness.SIDES for nonce in range(10_000)
    )
    assert sum((parts[part] - 1_000) ** 2 / 1_000 for part in range(10)) < 44.8


@pytest.mark.parametrize(
    ("stake", "chance", "paid"),
    [
        ("1", "49.50", "2.000000"),
        ("0.000001", "98.00", "0.000001"),
        ("1", "33.33", "2.970297"),
        ("123.456789", "0.01", "1222222.211100"),
    ],
)
def test_a_payout_is_the_fair_price_less_the_edge_rounded_down(
    stake: str, chance: str, paid: str
) -> None:
    """A hundredth is the house's, and so is what is below the smallest unit."""
    assert fairness.payout(Decimal(stake), Decimal(chance)) == Decimal(paid)


def test_a_bet_wins_on_as_many_sides_as_its_chance_says() -> None:
    """49.5 per cent are 4,950 sides of 10,000."""
    wins = sum(fairness.is_win(rolled, Decimal("49.50")) for rolled in range(fairness.SIDES))
    assert wins == 4_950
