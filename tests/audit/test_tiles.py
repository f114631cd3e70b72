"""Tiles as c2sp.org/tlog-tiles has them: names, which there are, and the nodes in them."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from refold.audit.tiles import Tile, reader, tiles_of
from refold.errors import ProofError
from tests.audit.logs import entries_of, tiles_for


@pytest.mark.parametrize(
    ("tile", "path"),
    [
        (Tile(0, 0), "tile/0/000"),
        (Tile(0, 0, 1), "tile/0/000.p/1"),
        (Tile(1, 255, 255), "tile/1/255.p/255"),
        (Tile(2, 1_000), "tile/2/x001/000"),
        (Tile(0, 1_234_067), "tile/0/x001/x234/067"),
        (Tile(63, 999_999, 8), "tile/63/x999/999.p/8"),
    ],
)
def test_a_tile_has_the_path_of_the_specification(tile: Tile, path: str) -> None:
    """Its index in groups of three digits, each but the last with an x before it."""
    assert tile.path == path
    assert Tile(0, *tile[1:]).entries_path == path.replace(f"tile/{tile.level}", "tile/entries")


def test_a_log_of_70000_has_the_tiles_of_the_specification() -> None:
    """The example: 256 tiles of leaves less a partial one, the level above, and one at the top."""
    tiles = list(tiles_of(70_000))
    assert len([tile for tile in tiles if tile.level == 0 and tile.width == 256]) == 273
    assert [tile for tile in tiles if tile.width != 256] == [
        Tile(0, 273, 112),
        Tile(1, 1, 17),
        Tile(2, 0, 1),
    ]
    assert next(tile for tile in tiles if tile.level == 1) == Tile(1, 0)


@given(st.integers(0, 200_000), st.integers(0, 200_000))
@settings(max_examples=50, deadline=None)
def test_a_growth_writes_what_is_new_or_fuller_and_nothing_else(first: int, second: int) -> None:
    """The tiles of the larger log that the smaller has not."""
    old, size = sorted((first, second))
    had = set(tiles_of(old))
    assert list(tiles_of(size, since=old)) == [tile for tile in tiles_of(size) if tile not in had]


def test_the_empty_log_has_no_tiles() -> None:
    """There is nothing to hash."""
    assert list(tiles_of(0)) == []


def test_a_tile_that_is_too_short_is_told_by_its_name() -> None:
    """A node that is not there is no node of zeros."""
    tiles = {(tile.level, tile.number): held for tile, held in tiles_for(entries_of(5)).items()}
    nodes = reader(lambda level, index: tiles[level, index])
    nodes(2, 0)
    with pytest.raises(ProofError, match="tile/0/000 holds 5 hashes, and not number 6"):
        nodes(1, 2)


def test_a_tile_is_read_once_for_what_stands_together() -> None:
    """The nodes below one hash of the level above are all in one tile."""
    tiles = {(tile.level, tile.number): held for tile, held in tiles_for(entries_of(300)).items()}
    read = []

    def tile_at(level: int, index: int) -> bytes:
        read.append((level, index))
        return tiles[level, index]

    nodes = reader(tile_at)
    for level in range(8):
        nodes(level, 0)
    assert read == [(0, 0)]
