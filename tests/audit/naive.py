"""RFC 9162 section 2.1 word for word: recursive, over lists of entries, quick to read only."""

from hashlib import sha256

Node = bytes


def root(entries: list[bytes]) -> Node:
    """MTH (2.1.1)."""
    if not entries:
        return sha256(b"").digest()
    if len(entries) == 1:
        return sha256(b"\x00" + entries[0]).digest()
    k = split(len(entries))
    return sha256(b"\x01" + root(entries[:k]) + root(entries[k:])).digest()


def split(count: int) -> int:
    """The largest power of two smaller than a count."""
    k = 1
    while 2 * k < count:
        k *= 2
    return k


def path(m: int, entries: list[bytes]) -> list[Node]:
    """PATH (2.1.3.1)."""
    if len(entries) == 1:
        return []
    k = split(len(entries))
    if m < k:
        return [*path(m, entries[:k]), root(entries[k:])]
    return [*path(m - k, entries[k:]), root(entries[:k])]


def proof(m: int, entries: list[bytes]) -> list[Node]:
    """PROOF (2.1.4.1)."""
    return subproof(m, entries, True)


def subproof(m: int, entries: list[bytes], whole: bool) -> list[Node]:
    """SUBPROOF (2.1.4.1)."""
    if m == len(entries):
        return [] if whole else [root(entries)]
    k = split(len(entries))
    if m <= k:
        return [*subproof(m, entries[:k], whole), root(entries[k:])]
    return [*subproof(m - k, entries[k:], False), root(entries[:k])]
