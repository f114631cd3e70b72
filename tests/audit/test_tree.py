"""The tree is that of RFC 9162: hashes and proofs beside a naive reading, and every wrong proof."""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha256

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from refold.audit.tree import (
    EMPTY_ROOT,
    CompactRange,
    check_inclusion,
    consistency_path,
    inclusion_path,
    leaf_hash,
    root_of,
    subtree_hash,
)
from refold.errors import ProofError
from tests.audit import naive
from tests.audit.logs import entries_of, nodes_of

LARGE = entries_of(700)
SIZES = st.integers(0, len(LARGE))
NODES = nodes_of(LARGE)


def is_refused(check: Callable[..., None], *arguments: object) -> bool:
    """Whether a check refuses a proof."""
    try:
        check(*arguments)
    except ProofError:
        return True
    return False


@given(st.lists(st.binary(max_size=40), max_size=70))
def test_the_root_is_that_of_the_rfc(entries: list[bytes]) -> None:
    """Of any entries, from leaves at once, and through a compact range one by one and in bulk."""
    leaves = b"".join(map(leaf_hash, entries))
    one_by_one, in_bulk = CompactRange(), CompactRange()
    for entry in entries:
        one_by_one.append(leaf_hash(entry))
    in_bulk.extend(leaves)
    expected = naive.root(entries)
    assert [one_by_one.root(), in_bulk.root()] == [expected, expected]
    assert in_bulk.size == len(entries)
    if entries:
        assert subtree_hash(leaves) == expected


@given(SIZES, SIZES)
@settings(deadline=None)
def test_a_range_grows_from_anywhere_to_anywhere(first: int, second: int) -> None:
    """Bulk runs that begin and end off the borders of tiles give the same root."""
    old, size = sorted((first, second))
    grown = CompactRange()
    grown.extend(b"".join(map(leaf_hash, LARGE[:old])))
    grown.extend(b"".join(map(leaf_hash, LARGE[old:size])))
    assert grown.root() == naive.root(LARGE[:size]) == root_of(size, NODES)


def test_a_range_takes_whole_nodes_and_no_others() -> None:
    """A node of 256 leaves counts for them; off its place it is refused."""
    grown = CompactRange()
    grown.append(subtree_hash(b"".join(map(leaf_hash, LARGE[:256]))), 8)
    assert (grown.size, grown.root()) == (256, naive.root(LARGE[:256]))
    grown.append(leaf_hash(LARGE[256]))
    with pytest.raises(ValueError, match="level 8"):
        grown.append(grown.root(), 8)


def test_the_empty_log_has_the_hash_of_nothing() -> None:
    """As the RFC says."""
    assert CompactRange().root() == root_of(0, NODES) == EMPTY_ROOT == sha256(b"").digest()


def test_every_proof_of_small_logs_is_that_of_the_rfc_and_holds() -> None:
    """Each leaf of each log, and each pair of sizes; nothing is read beyond the size."""
    for size in range(1, 35):
        entries = LARGE[:size]
        root = naive.root(entries)
        nodes = nodes_of(entries)
        for index in range(size):
            path = inclusion_path(index, size, nodes)
            assert path == naive.path(index, entries)
            check_inclusion(leaf_hash(entries[index]), index, size, path, root)
        for old in range(size + 1):
            path = consistency_path(old, size, nodes)
            assert path == (naive.proof(old, entries) if old else [])


@given(SIZES, SIZES)
@settings(deadline=None)
def test_proofs_across_tiles_are_those_of_the_rfc(first: int, second: int) -> None:
    """Where nodes stand in several tiles, of a log that has grown since."""
    old, size = sorted((first, second))
    path = consistency_path(old, size, NODES)
    assert path == (naive.proof(old, LARGE[:size]) if old else [])
    if old < size:
        assert inclusion_path(old, size, NODES) == naive.path(old, LARGE[:size])


@pytest.mark.parametrize(("index", "size"), [(3, 3), (-1, 3), (0, 0)])
def test_there_is_no_path_to_a_leaf_that_is_not_there(index: int, size: int) -> None:
    """Neither made nor believed."""
    with pytest.raises(ValueError, match="no leaf"):
        inclusion_path(index, size, NODES)
    assert is_refused(check_inclusion, leaf_hash(b"x"), index, size, [], leaf_hash(b"x"))


@pytest.mark.parametrize(("old", "size"), [(4, 3), (-1, 3)])
def test_a_log_does_not_shrink(old: int, size: int) -> None:
    """A beginning that is longer than the whole is not proved."""
    with pytest.raises(ValueError, match="beginning"):
        consistency_path(old, size, NODES)


def changed(value: bytes) -> bytes:
    """Some bytes with one bit flipped."""
    return bytes([value[0] ^ 1]) + value[1:]


def broken(path: list[bytes]) -> list[list[bytes]]:
    """A proof with each hash flipped, left out, doubled or cut short in turn, and two swapped."""
    found = [[*path, EMPTY_ROOT]]
    for at, step in enumerate(path):
        for instead in ([changed(step)], [], [step, step], [step[:31]]):
            found.append([*path[:at], *instead, *path[at + 1 :]])
    if len(path) > 1:
        found.append([path[1], path[0], *path[2:]])
    return found


@pytest.mark.parametrize("size", [1, 2, 7, 8, 13, 300])
def test_every_wrong_inclusion_is_refused(size: int) -> None:
    """Another leaf, index, size, root or path."""
    entries = LARGE[:size]
    root = naive.root(entries)
    for index in {0, size // 2, size - 1}:
        leaf, path = leaf_hash(entries[index]), inclusion_path(index, size, NODES)
        assert is_refused(check_inclusion, changed(leaf), index, size, path, root)
        assert is_refused(check_inclusion, leaf, index, size, path, changed(root))
        for other in {0, index ^ 1, index + 1, size - 1} - {index}:
            assert is_refused(check_inclusion, leaf, other, size, path, root)
        for wrong in broken(path):
            assert is_refused(check_inclusion, leaf, index, size, wrong, root)


def test_a_refusal_says_what_was_expected_and_computed() -> None:
    """As facts, and in words."""
    with pytest.raises(ProofError, match="leaf 0 in a log of 1") as caught:
        check_inclusion(b"a" * 32, 0, 1, [], b"b" * 32)
    assert caught.value.facts == {
        "proof": "inclusion",
        "expected": b"b" * 32,
        "computed": b"a" * 32,
    }
