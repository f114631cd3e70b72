"""What stands in a stored payload in the place of a personal value.

``{"refold:personal":["KEY","COMMITMENT","SECRET"]}``, exactly these bytes: the id of the data key
(32 hexadecimal digits; empty where nothing is encrypted), a salted hash of the value, and salt and
value themselves, encrypted. Without SECRET (it was redacted) or without the key (it was destroyed)
the value is gone, and the commitment still binds to what it was. docs/reference/envelope.md is the
whole description; AES-256-GCM is NIST SP 800-38D, base64url RFC 4648, the padding Padmé (Nikitin
et al., "Reducing Metadata Leakage from Encrypted Files", 2019).
"""

from __future__ import annotations

import re
from binascii import a2b_base64, b2a_base64
from collections.abc import Callable
from functools import lru_cache
from hashlib import sha256
from typing import TYPE_CHECKING, Final, NamedTuple

from refold.privacy.places import Path, spans

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

REDACTED: Final = "[redacted]"
"""Shown for a value that was redacted."""
ERASED: Final = "[erased]"
"""Shown for a value whose key was destroyed."""
WITHHELD: Final = "[withheld]"
"""Shown for a value whose key is not at hand, or was not given to whoever reads."""
OPENING: Final = b'{"refold:personal":['
"""How an envelope begins: in JSON text these bytes can be nothing but structure."""
_OPENING_TEXT: Final = OPENING.decode()
SALT_BYTES, NONCE_BYTES, DRAWN_BYTES = 32, 12, 44
"""Of random bytes that one envelope takes, the salt comes first."""
HEAD_BYTES: Final = SALT_BYTES + 4
TAG_BYTES: Final = 16
FIELD: Final = 16
"""The ordinal of what a personal value is committed to under."""
LEAST_BYTES: Final = 32
"""A shorter value is padded to this."""
_ENVELOPE: Final = re.compile(
    rb'\{"refold:personal":\["([0-9a-f]{32}|)","([A-Za-z0-9_-]{43})","([A-Za-z0-9_-]*)"\]\}'
)
COMMITMENT: Final = b"refold/commitment/1" + bytes([FIELD])
_BOUND: Final = b"refold/personal/1"
LAST: Final = (bytes(range(128)), b"", b"AQgw", b"AEIMQUYcgkosw048")
"""What base64url of some bytes can end with, by its length modulo 4: the other bits are zeros."""
STANDARD: Final = bytes.maketrans(b"-_", b"+/")


class Damaged(ValueError):
    """An envelope is not what was stored; whoever knows the event says which."""


class DataKey(NamedTuple):
    """The data key of a subject: its id, and what encrypts with it."""

    id: str
    cipher: AESGCM


class Envelope(NamedTuple):
    """An envelope as it stands in a payload; each part is ASCII."""

    key: bytes
    commitment: bytes
    secret: bytes

    @property
    def json(self) -> bytes:
        """The bytes that stand in the payload."""
        return b'{"refold:personal":["%b","%b","%b"]}' % self


class Salted(NamedTuple):
    """What an envelope holds: the value's JSON text, and the salt of its commitment."""

    value: bytes
    salt: bytes


def is_withheld(value: object) -> bool:
    """Whether a value that was read is none, but says that it is redacted, erased or withheld."""
    return value in (REDACTED, ERASED, WITHHELD) and isinstance(value, str)


@lru_cache(maxsize=4096)
def place_in(kind: str, pointer: bytes) -> bytes:
    """The part of the associated data that says in which kind of event a value stands, and where.

    ``pointer`` is the JSON Pointer of its place in the payload (RFC 6901, UTF-8).
    """
    return b"\0%b\0%b\0" % (kind.encode(), pointer)


def opened(envelope: Envelope, stream: str, place: bytes, key: DataKey | None) -> Salted:
    """The value in an envelope that has its secret, by the key that it names.

    :class:`Damaged` where anything of it, or its place, is not what it was.
    """
    name, commitment, secret = envelope
    plain = _bytes(secret)
    if name:
        if key is None or key.id.encode() != name:
            raise Damaged("the key is another")
        plain = _decrypted(plain, bound_to(stream, key.id) + place + commitment, key)
        length = int.from_bytes(plain[SALT_BYTES:HEAD_BYTES])
        value = plain[HEAD_BYTES : HEAD_BYTES + length]
        if len(plain) != HEAD_BYTES + padded(length):
            raise Damaged("its length is another")
    else:
        value = plain[SALT_BYTES:]
    salt = plain[:SALT_BYTES]
    is_short = secret[-1:] in LAST[len(secret) % 4]
    if text_of(commitment_of(salt, value)) != commitment or not is_short:
        raise Damaged("its commitment is to another value")
    return Salted(value, salt)


def parsed(text: bytes) -> Envelope | None:
    """The envelope that a value's text is; None where it is none."""
    found = _ENVELOPE.fullmatch(text)
    return None if found is None else Envelope(*found.groups())


def replaced(payload: bytes, replace: Callable[[Envelope], bytes]) -> bytes:
    """A payload, or several, with something else in the place of each envelope."""
    if OPENING not in payload:
        return payload
    return _ENVELOPE.sub(lambda found: replace(Envelope(*found.groups())), payload)


def lacks_secret(payload: bytes) -> bool:
    """Whether a payload, or several, has an envelope of which the value is gone."""
    return OPENING in payload and any(not found[3] for found in _ENVELOPE.finditer(payload))


def pointers_without_secret(payload: bytes) -> list[bytes]:
    """The JSON Pointers, in UTF-8, of the envelopes in a payload of which the value is gone."""
    if not lacks_secret(payload):
        return []

    def is_gone(_path: Path, start: int) -> bool:
        found = _ENVELOPE.match(payload, start)
        return found is not None and not found[3]

    return [one.pointer for one in spans(payload, is_gone)]


def holds_envelopes(text: str | bytes) -> bool:
    """Whether JSON text holds any personal value."""
    return OPENING in text if isinstance(text, bytes) else _OPENING_TEXT in text


def sealed_view(payload: bytes) -> bytes:
    """What a seal commits to of a stored payload: every SECRET cut to nothing.

    So a value can be redacted, or its key destroyed, and no proof breaks; the value is bound by its
    commitment. It is the payload itself where there is no envelope.
    """
    return replaced(payload, lambda one: one._replace(secret=b"").json)


def commitment_of(salt: bytes, value: bytes) -> bytes:
    """The hash that binds to a personal value: 32 bytes, as docs/reference/audit-format.md says."""
    return sha256(COMMITMENT + salt + len(value).to_bytes(8) + value).digest()


@lru_cache(maxsize=4096)
def padded(length: int) -> int:
    """How many bytes a value of so many takes: of its length only the bucket can be seen.

    The buckets are those of Padmé, at most 12 % larger, the smallest is 32.
    """
    if length <= LEAST_BYTES:
        return LEAST_BYTES
    exponent = length.bit_length() - 1
    mask = (1 << exponent - exponent.bit_length()) - 1
    return (length + mask) & ~mask


@lru_cache(maxsize=4096)
def bound_to(stream: str, key: str) -> bytes:
    """The part of the associated data that all values of a stream under a key have in common."""
    return b"%b%b\0%b" % (_BOUND, key.encode(), stream.encode())


def _decrypted(locked: bytes, about: bytes, key: DataKey) -> bytes:
    try:
        return key.cipher.decrypt(locked[:NONCE_BYTES], locked[NONCE_BYTES:], about)
    except refusals() as error:
        raise Damaged("it was changed, or stood elsewhere") from error


def refusals() -> tuple[type[Exception], ...]:
    """How decrypting fails; looked up when it does."""
    from cryptography.exceptions import InvalidTag

    return InvalidTag, ValueError


def text_of(value: bytes) -> bytes:
    """Base64url without padding."""
    text = b2a_base64(value, newline=False)
    return text.replace(b"+", b"-").replace(b"/", b"_").rstrip(b"=")


def _bytes(text: bytes) -> bytes:
    try:
        return a2b_base64(text.translate(STANDARD) + b"=" * (-len(text) % 4), strict_mode=True)
    except ValueError as error:
        raise Damaged("its secret is no base64url") from error
