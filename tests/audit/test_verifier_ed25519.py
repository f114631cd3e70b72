"""The own Ed25519 of the verifier: what the RFC and another library sign, and nothing else."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from refold.audit.verifier.ed25519 import ORDER, P, decoded_point, signature_holds

SECRET = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
PUBLIC = SECRET.public_key().public_bytes_raw()
SIGNATURE = SECRET.sign(b"a message")
SMALL_ORDER = [
    "0100000000000000000000000000000000000000000000000000000000000000",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "0000000000000000000000000000000000000000000000000000000000000000",
    "0000000000000000000000000000000000000000000000000000000000000080",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
]
"""The eight points whose order divides 8, the neutral one first."""


@pytest.mark.parametrize(
    ("public", "message", "signature"),
    [
        (
            "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
            "",
            (
                "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e3970"
                "1cf9b46bd25bf5f0595bbe24655141438e7a100b"
            ),
        ),
        (
            "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
            "72",
            (
                "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613"
                "d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"
            ),
        ),
        (
            "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
            "af82",
            (
                "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760"
                "984dc6594a7c15e9716ed28dc027beceea1ec40a"
            ),
        ),
    ],
)
def test_the_vectors_of_the_rfc_hold(public: str, message: str, signature: str) -> None:
    """RFC 8032 section 7.1, tests 1 to 3."""
    key, said, signed = map(bytes.fromhex, (public, message, signature))
    assert signature_holds(key, signed, said)
    assert not signature_holds(key, signed, said + b"\0")


@given(st.binary(min_size=32, max_size=32), st.binary(max_size=200), st.integers(0, 511))
@settings(max_examples=15, deadline=None)
def test_what_another_library_signed_holds_and_nothing_near_it(
    seed: bytes, message: bytes, bit: int
) -> None:
    """A flipped bit of the signature makes it none."""
    secret = Ed25519PrivateKey.from_private_bytes(seed)
    public, signature = secret.public_key().public_bytes_raw(), secret.sign(message)
    assert signature_holds(public, signature, message)
    flipped = bytearray(signature)
    flipped[bit // 8] ^= 1 << bit % 8
    assert not signature_holds(public, bytes(flipped), message)


@pytest.mark.parametrize("times", [1, 2, 14])
def test_a_second_form_of_s_is_refused(times: int) -> None:
    """S plus the order gives the same point: signatures could be changed without the key."""
    s = int.from_bytes(SIGNATURE[32:], "little") + times * ORDER
    assert not signature_holds(PUBLIC, SIGNATURE[:32] + s.to_bytes(32, "little"), b"a message")


@pytest.mark.parametrize("length", [0, 31, 32, 63, 65, 128])
def test_another_length_of_signature_is_refused(length: int) -> None:
    """Cut short, or with something behind."""
    assert not signature_holds(PUBLIC, (SIGNATURE + bytes(64))[:length], b"a message")


@pytest.mark.parametrize("length", [0, 31, 33])
def test_another_length_of_key_is_refused(length: int) -> None:
    """There is one key in 32 bytes."""
    assert not signature_holds((PUBLIC + bytes(1))[:length], SIGNATURE, b"a message")


@pytest.mark.parametrize("point", SMALL_ORDER)
@pytest.mark.parametrize("s", [0, 1])
def test_a_key_of_small_order_signs_nothing(point: str, s: int) -> None:
    """Under the neutral point any message would be signed by the base point's multiple."""
    key = bytes.fromhex(point)
    for first in (bytes.fromhex(SMALL_ORDER[0]), key, encoded_base()):
        signature = first + s.to_bytes(32, "little")
        assert not any(signature_holds(key, signature, bytes([at])) for at in range(3))


def encoded_base() -> bytes:
    """The base point."""
    return b"\x58" + b"\x66" * 31


@pytest.mark.parametrize(
    "data",
    [
        P.to_bytes(32, "little"),  # 0 in another form
        (P + 1).to_bytes(32, "little"),  # 1 in another form, the neutral point
        (2**255 - 1).to_bytes(32, "little"),
        (1 + 2**255).to_bytes(32, "little"),  # x = 0 with a sign
        (P - 1 + 2**255).to_bytes(32, "little"),  # likewise
        (2).to_bytes(32, "little"),  # on no point of the curve
    ],
)
def test_what_is_no_point_or_not_in_its_one_form_is_refused(data: bytes) -> None:
    """As a key, and as the first half of a signature."""
    assert decoded_point(data) is None
    assert not signature_holds(data, SIGNATURE, b"a message")
    assert not signature_holds(PUBLIC, data + SIGNATURE[32:], b"a message")


@given(st.integers(0, 2**256 - 1))
@settings(max_examples=50, deadline=None)
def test_a_point_has_one_form(value: int) -> None:
    """Whatever is read as a point is written as the same bytes."""
    data = value.to_bytes(32, "little")
    point = decoded_point(data)
    if point is not None:
        assert (point[1] | (point[0] & 1) << 255).to_bytes(32, "little") == data
