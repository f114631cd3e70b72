"""The tree is that of RFC 9162: hashes and proofs beside a naive reading."""

from __future__ import annotations

from hashlib import sha256

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from refold.audit.tree import (
    EMPTY_ROOT,
    consistency_path,
    inclusion_path,
    root_of,
    subtree_hash,
)
from refold.audit.verifier.heads import leaf_hash
from tests.audit import naive
from tests.audit.logs import entries_of, nodes_of

LARGE = entries_of(700)
SIZES = st.integers(0, len(LARGE))
NODES = nodes_of(LARGE)


@given(st.lists(st.binary(max_size=40), min_size=1, max_size=70))
def test_the_root_is_that_of_the_rfc(entries: list[bytes]) -> None:
    """Of any entries, from their leaves at once."""
    assert subtree_hash(b"".join(map(leaf_hash, entries))) == naive.root(entries)


@given(SIZES)
@settings(deadline=None)
def test_the_root_of_each_beginning_is_made_from_tiles(size: int) -> None:
    """Of a log that has grown since."""
    assert root_of(size, NODES) == naive.root(LARGE[:size])


def test_the_empty_log_has_the_hash_of_nothing() -> None:
    """As the RFC says."""
    assert root_of(0, NODES) == EMPTY_ROOT == sha256(b"").digest()


def test_every_proof_of_small_logs_is_that_of_the_rfc() -> None:
    """Each leaf of each log, and each pair of sizes; nothing is read beyond the size."""
    for size in range(1, 35):
        entries = LARGE[:size]
        nodes = nodes_of(entries)
        for index in range(size):
            assert inclusion_path(index, size, nodes) == naive.path(index, entries)
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
    """None is made."""
    with pytest.raises(ValueError, match="no leaf"):
        inclusion_path(index, size, NODES)


@pytest.mark.parametrize(("old", "size"), [(4, 3), (-1, 3)])
def test_a_log_does_not_shrink(old: int, size: int) -> None:
    """A beginning that is longer than the whole is not proved."""
    with pytest.raises(ValueError, match="beginning"):
        consistency_path(old, size, NODES)


def changed(value: bytes) -> bytes:
    """Some bytes with one bit flipped."""
    return bytes([value[0] ^ 1]) + value[1:]
