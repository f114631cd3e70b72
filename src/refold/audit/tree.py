"""The Merkle tree of a log, as RFC 9162 section 2.1 has it: its hashes and proofs.

All hashes are 32 bytes of SHA-256; many of them stand one after another in one ``bytes``. A node
is named by its level (0: leaves) and its index there; it is whole where all leaves below it exist.
Nothing here does I/O: whole nodes come from a function, such as :func:`refold.audit.tiles.reader`.
What checks proofs is the verifier's, :mod:`refold.audit.verifier.heads`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import reduce
from hashlib import sha256
from struct import Struct
from typing import Final

HASH_BYTES: Final = 32
_PAIR: Final = Struct(f"{2 * HASH_BYTES}s")
EMPTY_ROOT: Final = sha256().digest()
"""The root of a log without events."""
NodeReader = Callable[[int, int], bytes]
"""The hash of the whole node at a level and an index."""


def node_hash(left: bytes, right: bytes) -> bytes:
    """The hash of the node above two others."""
    return sha256(b"\x01" + left + right).digest()


def subtree_hash(hashes: bytes) -> bytes:
    """The hash above hashes of neighbours, at least one; of all leaves of a log it is the root.

    Level by level, where the last of an odd number is carried up as it is: the split at the
    largest power of two comes to the same.
    """
    hashed = sha256
    while len(hashes) > HASH_BYTES:
        paired = len(hashes) // _PAIR.size * _PAIR.size
        pairs = _PAIR.iter_unpack(hashes[:paired])
        hashes = b"".join([hashed(b"\x01" + pair).digest() for (pair,) in pairs]) + hashes[paired:]
    return hashes


def whole_nodes(start: int, end: int) -> Iterator[tuple[int, int]]:
    """Level and index of the largest whole nodes that together cover leaves start to end - 1."""
    while start < end:
        level = (end - start).bit_length() - 1
        if start:
            level = min(level, (start & -start).bit_length() - 1)
        yield level, start >> level
        start += 1 << level


def _joined(peaks: Sequence[bytes]) -> bytes:
    """The hash above whole nodes that stand side by side, the larger ones first."""
    return (
        reduce(lambda right, left: node_hash(left, right), reversed(peaks)) if peaks else EMPTY_ROOT
    )


def root_of(size: int, node_at: NodeReader) -> bytes:
    """The root of a log's first ``size`` leaves."""
    return _range_hash(0, size, node_at)


def _range_hash(start: int, end: int, node_at: NodeReader) -> bytes:
    return _joined([node_at(level, index) for level, index in whole_nodes(start, end)])


def inclusion_path(index: int, size: int, node_at: NodeReader) -> list[bytes]:
    """The hashes beside the way from a leaf to the root of a log of ``size``, lowest first.

    Source: RFC 9162 section 2.1.3.1.
    """
    if not 0 <= index < size:
        raise ValueError(f"there is no leaf {index} in a log of {size}")
    path, level, last = [], 0, size - 1
    while last:
        beside = index ^ 1
        if beside < last:
            path.append(node_at(level, beside))
        elif beside == last:  # The right edge, where a node need not be whole.
            path.append(_range_hash(beside << level, size, node_at))
        index, last, level = index >> 1, last >> 1, level + 1
    return path


def consistency_path(old: int, size: int, node_at: NodeReader) -> list[bytes]:
    """The hashes that show a log of ``old`` leaves to be the beginning of one of ``size``.

    Empty where both are the same, and for an empty log, of which any is a continuation.
    Source: RFC 9162 section 2.1.4.1.
    """
    if not 0 <= old <= size:
        raise ValueError(f"a log of {size} has no beginning of {old}")
    if old == 0:
        return []
    path, start, end = [], 0, size
    while old < end:
        middle = start + (1 << (end - start - 1).bit_length() - 1)
        if old <= middle:
            path.append(_range_hash(middle, end, node_at))
            end = middle
        else:
            path.append(_range_hash(start, middle, node_at))
            start = middle
    if start:
        path.append(_range_hash(start, end, node_at))
    return path[::-1]
