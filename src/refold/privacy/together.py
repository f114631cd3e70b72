"""Many envelopes under one key at once: what one call does for all is done by one.

:mod:`refold.privacy.envelope` says what an envelope is, and opens one alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from hashlib import sha256
from itertools import accumulate, chain, repeat
from struct import iter_unpack
from typing import Final, NamedTuple

import msgspec

from refold.privacy.envelope import (
    COMMITMENT,
    HEAD_BYTES,
    LAST,
    NONCE_BYTES,
    OPENING,
    SALT_BYTES,
    STANDARD,
    TAG_BYTES,
    DataKey,
    bound_to,
    padded,
    refusals,
    text_of,
)

FRAMED_MAX: Final = 16_384
"""What longer values take is reckoned anew each time: so what is kept comes to 2 MB at most."""
_DRAWN: Final = f"{SALT_BYTES}s{NONCE_BYTES}s"
_END: Final = (b'","', b'","', b'==","', b'=","')
"""What stands after base64 of some length, modulo 4, in a list of such texts."""
_ODD: Final = (b"+", b"/", b"\\")
"""What base64url has not, and would be read all the same."""
_decode_base64: Final = msgspec.json.Decoder(list[bytes]).decode
_join: Final = b"".join


class _Frame(NamedTuple):
    """What a value of some length takes in its envelope.

    Its size, in eight bytes and in four, and the zeros after it; what is added to the secret for a
    multiple of three bytes; how long the secret is as text, without that and with it.
    """

    size: bytes
    size_inside: bytes
    zeros: bytes
    fill: bytes
    text_length: int
    filled_length: int


def envelopes_of(
    stream: str, key: DataKey | None, values: Sequence[bytes], places: Sequence[bytes], drawn: bytes
) -> list[bytes]:
    """The envelopes of the JSON texts of some values of a stream, under one key.

    ``places`` says where each stands (:func:`~refold.privacy.envelope.place_in`), ``drawn`` has 44
    random bytes for each that nothing else ever gets. Without a key nothing is encrypted: then a
    value can be redacted, and that is all.
    """
    salts, nonces = zip(*iter_unpack(_DRAWN, drawn), strict=True)
    lengths = [*map(len, values)]
    framed = _kept_frame if max(lengths) <= FRAMED_MAX else _frame
    sizes, sizes_inside, zeros, fills, cuts, filled = zip(*map(framed, lengths), strict=True)
    commitments = _cut(_commitments(salts, sizes, values), 43, 44)
    if key is None:
        opening = OPENING + b'"","'
        secrets = [text_of(salt + value) for salt, value in zip(salts, values, strict=True)]
    else:
        opening, bound = b'%b"%b","' % (OPENING, key.id.encode()), bound_to(stream, key.id)
        plains = map(_join, zip(salts, sizes_inside, values, zeros, strict=True))
        abouts = map(_join, zip(repeat(bound), places, commitments, strict=False))
        locked = map(key.cipher.encrypt, nonces, plains, abouts)
        # Texts of bytes that come to multiples of three are joined and cut as those are.
        text = text_of(_join(chain.from_iterable(zip(nonces, locked, fills, strict=True))))
        starts = accumulate(filled, initial=0)
        secrets = [text[at : at + length] for at, length in zip(starts, cuts, strict=False)]
    ends = repeat(b'","'), secrets, repeat(b'"]}')
    return [*map(_join, zip(repeat(opening), commitments, *ends, strict=False))]


def values_of(
    stream: str,
    key: DataKey,
    commitments: Sequence[bytes],
    secrets: Sequence[bytes],
    places: Sequence[bytes],
) -> list[bytes] | None:
    """The values in some envelopes of a stream under one key, by what each says of them.

    None where any of it is not what it was: opened alone, it is told which.
    """
    try:
        raw = _read(secrets)
        nonces, locked = [one[:NONCE_BYTES] for one in raw], [one[NONCE_BYTES:] for one in raw]
        abouts = map(_join, zip(repeat(bound_to(stream, key.id)), places, commitments))
        plains = [*map(key.cipher.decrypt, nonces, locked, abouts)]
    except refusals():
        return None
    sizes_inside = [plain[SALT_BYTES:HEAD_BYTES] for plain in plains]
    lengths = [*map(int.from_bytes, sizes_inside)]
    if [HEAD_BYTES + padded(length) for length in lengths] != [*map(len, plains)]:
        return None
    values = [plain[HEAD_BYTES : HEAD_BYTES + n] for plain, n in zip(plains, lengths, strict=True)]
    sizes = map(bytes(4).__add__, sizes_inside)
    made = _commitments([plain[:SALT_BYTES] for plain in plains], sizes, values)
    return values if made == b"A".join([*commitments, b""]) else None


def _commitments(salts: Sequence[bytes], sizes: Iterable[bytes], values: Sequence[bytes]) -> bytes:
    """The commitments to some values, each with an A after it."""
    salted = map(_join, zip(repeat(COMMITMENT), salts, sizes, values, strict=False))
    return text_of(b"\0".join([*[sha256(one).digest() for one in salted], b""]))


def _read(secrets: Sequence[bytes]) -> list[bytes]:
    """What some secrets are base64url of; ValueError where one is of nothing, or can be shorter.

    A decoder of JSON reads what is base64 in it in a third of the time that binascii takes.
    """
    remainders = [len(secret) % 4 for secret in secrets]
    ends = [_END[remainder] for remainder in remainders]
    text = _join(chain.from_iterable(zip(secrets, ends, strict=True)))
    shorts = [secret[-1:] in LAST[one] for secret, one in zip(secrets, remainders, strict=True)]
    if not all(shorts) or any(odd in text for odd in _ODD):
        raise ValueError("no base64url")
    *found, _ = _decode_base64(b'["%b"]' % text.translate(STANDARD))
    return found


def _cut(text: bytes, length: int, apart: int) -> list[bytes]:
    return [text[at : at + length] for at in range(0, len(text), apart)]


def _frame(length: int) -> _Frame:
    secret = NONCE_BYTES + HEAD_BYTES + padded(length) + TAG_BYTES
    size, zeros, fill = length.to_bytes(8), bytes(padded(length) - length), bytes(-secret % 3)
    return _Frame(size, size[4:], zeros, fill, (secret * 4 + 2) // 3, (secret + 2) // 3 * 4)


_kept_frame: Final = lru_cache(maxsize=4096)(_frame)
