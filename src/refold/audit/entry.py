"""The entry of an event: what its leaf is the hash of, without anything of what the event says.

An entry holds random pseudonyms, places, times, the kind, and commitments: salted hashes of bytes
that are disclosed beside it, or not. Layout: docs/reference/audit-format.md.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from functools import lru_cache
from hashlib import sha256, shake_256
from typing import Final

import msgspec

from refold.audit.tiles import WIDTH
from refold.audit.tree import HASH_BYTES
from refold.core.stored import ABSENT, Row, StoredEvent, corrupt, decode_body
from refold.privacy.envelope import holds_envelopes, sealed_view

FORMAT: Final = 1
PAYLOAD, METADATA, NAME = 0, 1, 3
"""Ordinals of what is committed to: see :func:`values_of`. 2 is kept for the append's key."""
SALTED: Final = (PAYLOAD, METADATA, NAME)
PSEUDONYM_BYTES: Final = 16
SECRET_BYTES: Final = 32
NO_LEAF: Final = bytes(32)
"""Stands for the leaf before a stream's first event."""
_moment: Final = struct.Struct(">Q32sqq").pack
_length: Final = struct.Struct(">Q").pack
_SALT: Final = b"refold/salt/1"
_PAYLOAD_ALONE: Final = bytes([1, PAYLOAD])
_TWO, _OF_METADATA = bytes([2]), bytes([METADATA])
_DOMAINS: Final = tuple(b"refold/commitment/1" + bytes([ordinal]) for ordinal in range(256))
_BYTES: Final = tuple(bytes([number]) for number in range(256))


class StreamTip(msgspec.Struct):
    """Where the entries of a stream have come: its pseudonym, last version, and that leaf."""

    pseudonym: bytes
    version: int
    leaf: bytes = NO_LEAF
    is_new: bool = False
    """Whether the stream's first own event has no entry yet."""


def salt_of(secret: bytes, position: int, ordinal: int) -> bytes:
    """The salt of one commitment; ``secret`` is that of the tile in which the event's leaf is."""
    at = (position - 1) % WIDTH * HASH_BYTES
    return _salts(secret, ordinal)[at : at + HASH_BYTES]


def all_salts(secret: bytes) -> bytes:
    """The salts of a tile written out, of all ordinals: it stands for its secret everywhere."""
    return b"".join([_salts(secret, ordinal) for ordinal in SALTED])


@lru_cache(maxsize=16)
def _salts(secret: bytes, ordinal: int) -> bytes:
    """The salts of a tile's commitments of one ordinal: SHAKE256 (FIPS 202) of its secret."""
    if len(secret) > SECRET_BYTES:  # They were written out.
        at = SALTED.index(ordinal) * WIDTH * HASH_BYTES
        return secret[at : at + WIDTH * HASH_BYTES]
    return shake_256(_SALT + secret + _BYTES[ordinal]).digest(WIDTH * HASH_BYTES)


def commitment_of(ordinal: int, salt: bytes, value: bytes) -> bytes:
    """The hash that binds to a value and does not tell it: 32 bytes."""
    return sha256(_DOMAINS[ordinal] + salt + _length(len(value)) + value).digest()


def values_of(row: Row, event: StoredEvent, *, is_first: bool) -> list[tuple[int, bytes]]:
    """What is committed to of an event of an append, by ordinal.

    The payload as stored, without the secrets of personal values; metadata where there is any: the
    length of what its append's events share, that, and its own; at the first own event of a stream
    its name.
    """
    values = [(PAYLOAD, sealed_view(bytes(event.data)))]
    if row.metadata is not None or event.metadata is not ABSENT:
        values.append((METADATA, _metadata_of(row, event.metadata)))
    if is_first:
        values.append((NAME, row.stream.encode()))
    return values


def _metadata_of(row: Row, own: msgspec.Raw) -> bytes:
    shared = _utf8(row.metadata or b"")
    return _length(len(shared)) + shared + bytes(own)


def leaves_of(
    row: Row,
    tip: StreamTip,
    secret_of: Callable[[int], bytes],
    *,
    sealed: bytes | None = None,
    entries: list[bytes] | None = None,
) -> bytes:
    """The leaf hashes of the events of one append, in order; the stream's tip moves along.

    ``secret_of`` gives the secret for a position. Their entries are added to ``entries``. An event
    follows the leaf before it; with ``sealed``, the leaves of the append as they are stored, it
    follows those. :class:`~refold.errors.Corrupt` for a body that is none.
    """
    # Most of what sealing costs is here: names are local, and written out are the commitments of
    # the payload, which every event has, and of metadata that the events of the append share.
    hashed, joined, length, moment, domain = sha256, b"".join, _length, _moment, _DOMAINS[PAYLOAD]
    recorded, start = row.recorded_at, b"\0" + _BYTES[FORMAT] + tip.pseudonym
    now = recorded if row.clock_at is None else row.clock_at
    position, version, previous, is_first = row.position, tip.version, tip.leaf, tip.is_new
    salts, told_salts, leaves, told = b"", b"", list[bytes](), b""
    is_plain = not holds_envelopes(row.body)
    if row.metadata is not None:
        told = _metadata_of(row, ABSENT)
        told = length(len(told)) + told
    for event in stored_events(row):
        at = (position - 1) % WIDTH * HASH_BYTES
        if not at or not leaves:  # The next tile has another secret.
            salts, told_salts = _salts(secret_of(position), PAYLOAD), b""
        data = event.data if is_plain else sealed_view(bytes(event.data))
        committed = joined((domain, salts[at : at + HASH_BYTES], length(len(data)), data))
        commitments = _PAYLOAD_ALONE + hashed(committed).digest()
        if told and not is_first and event.metadata is ABSENT:
            told_salts = told_salts or _salts(secret_of(position), METADATA)
            committed = joined((_DOMAINS[METADATA], told_salts[at : at + HASH_BYTES], told))
            both = (_TWO, commitments[1:], _OF_METADATA, hashed(committed).digest())
            commitments = joined(both)
        elif told or is_first or event.metadata is not ABSENT:
            others = values_of(row, event, is_first=is_first)[1:]
            salted = [(n, salt_of(secret_of(position), position, n), value) for n, value in others]
            beside = [_BYTES[one[0]] + commitment_of(*one) for one in salted]
            commitments = joined((_BYTES[1 + len(others)], commitments[1:], *beside))
            is_first = False
        version += 1
        occurred = now if event.occurred_at is None else event.occurred_at
        when = moment(version, previous, recorded, occurred)
        entry = joined((start, when, _kind(event.tag), commitments))
        previous = hashed(entry).digest()
        leaves.append(previous)
        if entries is not None:
            entries.append(entry[1:])
        if sealed is not None:
            previous = sealed[len(leaves) * HASH_BYTES - HASH_BYTES : len(leaves) * HASH_BYTES]
        position += 1
    tip.version, tip.leaf, tip.is_new = version, previous, is_first
    return joined(leaves)


def stored_events(row: Row) -> list[StoredEvent]:
    """The events of one append; :class:`~refold.errors.Corrupt` where its body is not theirs."""
    try:
        events = decode_body(row.body)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise corrupt(row, str(error)) from error
    if len(events) != row.event_count:
        raise corrupt(row, f"it holds {len(events)} of what should be {row.event_count} events")
    return events


@lru_cache(maxsize=4096)
def _kind(tag: str) -> bytes:
    text = tag.encode()
    return len(text).to_bytes(2) + text


def _utf8(text: str | bytes) -> bytes:
    return text.encode() if isinstance(text, str) else text
