"""Envelopes: a value comes back as it was or not at all, and nothing of it can be seen."""

from __future__ import annotations

import secrets

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from refold.privacy.envelope import (
    DRAWN_BYTES,
    ERASED,
    OPENING,
    REDACTED,
    WITHHELD,
    Damaged,
    DataKey,
    Envelope,
    commitment_of,
    is_withheld,
    opened,
    padded,
    parsed,
    place_in,
    sealed_view,
)
from refold.privacy.locked import cipher_of
from refold.privacy.together import envelopes_of

KEY = DataKey("ab" * 16, cipher_of(bytes(range(32))))
STREAM, KIND = "call-42", "user.utterance"
PLACE = place_in(KIND, b"/text")
VALUES = st.one_of(
    st.text(), st.integers(), st.floats(allow_nan=False, allow_infinity=False),
    st.lists(st.text()), st.dictionaries(st.text(), st.none() | st.booleans()),
).map(msgspec.json.encode)  # fmt: skip
KEYS = st.sampled_from([KEY, None])


def made(value: bytes, key: DataKey | None = KEY, pointer: bytes = b"/text") -> bytes:
    """An envelope of a value."""
    drawn = secrets.token_bytes(DRAWN_BYTES)
    return envelopes_of(STREAM, key, [value], [place_in(KIND, pointer)], drawn)[0]


def read(text: bytes, key: DataKey | None = KEY, pointer: bytes = b"/text") -> bytes:
    """The value in an envelope."""
    envelope = parsed(text)
    if envelope is None:
        raise Damaged("it is no envelope")
    return opened(envelope, STREAM, place_in(KIND, pointer), key).value


@given(VALUES, KEYS)
def test_a_value_comes_back_byte_for_byte(value: bytes, key: DataKey | None) -> None:
    """Whatever it is; the commitment is that of the value, and the text is JSON."""
    text = made(value, key)
    assert read(text, key) == value
    envelope = parsed(text)
    assert envelope is not None
    assert envelope.json == text
    salt = opened(envelope, STREAM, PLACE, key).salt
    ((name, commitment, _),) = msgspec.json.decode(text).values()
    assert name == ("" if key is None else key.id)
    expected = made_commitment(salt, value)
    assert commitment == expected


def made_commitment(salt: bytes, value: bytes) -> str:
    """A commitment as text, by the standard library's names."""
    import base64

    return base64.urlsafe_b64encode(commitment_of(salt, value)).decode().rstrip("=")


@pytest.mark.parametrize("key", [KEY, None])
def test_every_byte_that_is_changed_is_refused(key: DataKey | None) -> None:
    """Of key, commitment and secret; also to another character of their alphabet."""
    text = made(b'"Ada Example, 555-0100"', key)
    opening, closing = len(OPENING), len(b"]}")
    for at in range(opening, len(text) - closing):
        for other in (text[at] ^ 1, text[at] ^ 32, ord("A"), ord("0"), ord("-")):
            if other != text[at]:
                changed = text[:at] + bytes([other]) + text[at + 1 :]
                with pytest.raises(Damaged):
                    read(changed, key)


def test_a_value_is_bound_to_its_place() -> None:
    """The same envelope at another stream, kind, place or key opens nowhere."""
    text = made(b'"secret"')
    envelope = parsed(text)
    assert envelope is not None
    for stream, place in [
        ("call-43", PLACE),
        (STREAM, place_in("user.utterance.v2", b"/text")),
        (STREAM, place_in(KIND, b"/name")),
    ]:
        with pytest.raises(Damaged):
            opened(envelope, stream, place, KEY)
    with pytest.raises(Damaged):
        opened(envelope, STREAM, PLACE, DataKey("cd" * 16, KEY.cipher))
    with pytest.raises(Damaged):
        opened(envelope, STREAM, PLACE, DataKey(KEY.id, cipher_of(bytes(32))))
    with pytest.raises(Damaged):
        opened(envelope, STREAM, PLACE, None)


@given(st.binary(max_size=300), st.integers(0, 60))
def test_what_is_no_secret_is_refused(secret: bytes, length: int) -> None:
    """Random bytes in its place, short ones too, are no crash and no value."""
    text = made(b"1")
    envelope = parsed(text)
    assert envelope is not None
    cut = envelope.secret[:length]
    for odd in (cut, secret.hex().encode()):
        for name in (envelope.key, b""):
            with pytest.raises(Damaged):
                opened(Envelope(name, envelope.commitment, odd), STREAM, PLACE, KEY)


@given(VALUES, VALUES, KEYS)
def test_a_seal_sees_no_secret(first: bytes, second: bytes, key: DataKey | None) -> None:
    """The view of a payload is the same after a redaction, and differs with the commitment."""
    one, other = made(first, key), made(second, key)
    payload = b'{"a":%b,"b":[%b,1]}' % (one, other)
    view = sealed_view(payload)
    for text in (one, other):
        envelope = parsed(text)
        assert envelope is not None
        redacted = payload.replace(text, envelope._replace(secret=b"").json)
        assert redacted != payload
        assert sealed_view(redacted) == view == sealed_view(view)
        assert envelope.secret not in view
        assert envelope.commitment in view


@given(st.dictionaries(st.text(), st.text() | st.integers()).map(msgspec.json.encode))
def test_what_has_no_envelope_is_seen_as_it_is(payload: bytes) -> None:
    """In JSON text the opening bytes are structure: no text of a user can hold them."""
    assert OPENING not in msgspec.json.encode({"text": OPENING.decode()})
    assert sealed_view(payload) is payload


def test_a_length_tells_only_a_bucket() -> None:
    """Values of one bucket take the same bytes; buckets are those of Padmé, 32 at the least."""
    assert [padded(length) for length in (0, 1, 32, 33, 34, 35, 100, 1000, 1_000_000)] == [
        32, 32, 32, 36, 36, 36, 104, 1024, 1_015_808,
    ]  # fmt: skip
    sizes = {len(made(b'"' + b"x" * length + b'"')) for length in range(31)}
    assert len(sizes) == 1
    for length in range(1, 5_000, 7):
        assert length <= padded(length) <= max(32, length * 1.12)
        assert padded(padded(length)) == padded(length)
    assert len({padded(length) for length in range(1, 5_000)}) < 120


def test_what_stands_for_a_value_is_told_from_values() -> None:
    """Three texts; nothing else."""
    assert all(map(is_withheld, (REDACTED, ERASED, WITHHELD)))
    assert not any(map(is_withheld, ("", "redacted", None, 1, ["[erased]"], {})))
