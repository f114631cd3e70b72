"""COSE receipts, as another's program sees them: it accepts them and refuses every mutation."""

from __future__ import annotations

from pathlib import Path

import cbor2
import pytest
import scitt_cose
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

import refold
from refold import Event
from refold.audit.receipts import cbor, cose_receipt
from refold.errors import NotFound
from tests.audit.sealed import KINDS, ORIGIN, key_of, sealed_by, told
from tests.support.stores import url_of

PUBLIC = Ed25519PublicKey.from_public_bytes(key_of().verifying.public)
PEM = PUBLIC.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
VALUES = st.recursive(
    st.none() | st.integers(-(2**64), 2**64 - 1) | st.binary() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.integers(-9, 2**40), inner),
    max_leaves=20,
)


def verified(receipt: bytes, entry: bytes) -> scitt_cose.ReceiptResult:
    """What scitt-cose says of a receipt."""
    return scitt_cose.verify_receipt(receipt, leaf_entry_hex=entry.hex(), log_public_key_pem=PEM)


@pytest.mark.parametrize("kind", KINDS)
def test_a_receipt_of_each_event_is_accepted(kind: str, tmp_path: Path) -> None:
    """With the log as issuer, the event's pseudonym as subject, and its place."""
    with refold.open(url_of(kind, tmp_path), synchronous="NORMAL") as store:
        told(store, rounds=1)
        sealed_by(store).checkpoint()
        for recorded in store.read_all():
            made = cose_receipt(store, recorded.id, key_of())
            said = verified(made.receipt, made.entry)
            assert said.ok, said.errors
            assert (said.tree_size, said.leaf_index) == (store.log_head(), recorded.position - 1)
            assert said.issuer == ORIGIN
            assert str(said.subject).endswith(f"@{recorded.version}")
            assert said.protected_header_ext == {4: key_of().verifying.key_id}


def test_every_flipped_bit_is_refused() -> None:
    """Of the receipt and of the entry."""
    store = refold.open("memory:")
    for number in range(3):
        store.append(f"call-{number}", [Event("k")])
    sealed_by(store).checkpoint()
    made = cose_receipt(store, "call-1@0", key_of())
    assert verified(made.receipt, made.entry).ok
    for place, whole in enumerate(made):
        for at in range(8 * len(whole)):
            flipped = bytearray(whole)
            flipped[at // 8] ^= 1 << at % 8
            parts = [bytes(flipped) if place == own else one for own, one in enumerate(made)]
            assert not verified(*parts).ok, (place, at)


def test_what_is_not_sealed_has_no_receipt() -> None:
    """As of a proof."""
    store = refold.open("memory:")
    store.append("call-1", [Event("k")])
    sealed_by(store).checkpoint()
    store.append("call-1", [Event("k")])
    with pytest.raises(NotFound):
        cose_receipt(store, "call-1@1", key_of())


@given(VALUES)
def test_cbor_is_what_another_encoder_makes(value: object) -> None:
    """In its canonical form, which is the deterministic one for these keys."""
    assert cbor2.loads(cbor(value)) == cbor2.loads(cbor2.dumps(value, canonical=True))
    with pytest.raises(TypeError):
        cbor(1.5)
