"""Where the nodes of the tree stand: in tiles of 256 hashes, as c2sp.org/tlog-tiles has them.

A tile of level L holds 256 neighbouring whole nodes of the tree's level 8 L; the last tile of a
level may hold fewer, and is then called partial. What a tile holds never changes, it only grows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Final, NamedTuple

from refold.audit.tree import HASH_BYTES, NodeReader, subtree_hash
from refold.errors import ProofError

HEIGHT: Final = 8
WIDTH: Final = 1 << HEIGHT
"""Hashes a whole tile holds."""
TileReader = Callable[[int, int], bytes]
"""The hashes of the tile at a level and an index, one after another: as many as there are."""


class Tile(NamedTuple):
    """A tile by its level and its number there, and how many hashes (1 to 256) it holds."""

    level: int
    number: int
    width: int = WIDTH

    @property
    def path(self) -> str:
        """The place under the folder or address of a log, such as ``tile/0/x001/067.p/8``."""
        return f"tile/{self.level}/{self._place}"

    @property
    def entries_path(self) -> str:
        """The place of the entries whose hashes a tile of level 0 holds."""
        return f"tile/entries/{self._place}"

    @property
    def _place(self) -> str:
        digits = f"{self.number:03d}"
        digits = digits.zfill(-(-len(digits) // 3) * 3)
        groups = [digits[at : at + 3] for at in range(0, len(digits), 3)]
        partial = "" if self.width == WIDTH else f".p/{self.width}"
        return "/".join([*(f"x{group}" for group in groups[:-1]), groups[-1]]) + partial


def tiles_of(size: int, *, since: int = 0) -> Iterator[Tile]:
    """The tiles of a log of ``size`` leaves that one of ``since`` leaves has not, or not so full.

    Level by level, each from left to right.
    """
    level = 0
    while size:
        if size > since:
            for index in range(since // WIDTH, -(-size // WIDTH)):
                yield Tile(level, index, min(size - index * WIDTH, WIDTH))
        level, size, since = level + 1, size // WIDTH, since // WIDTH


def reader(tile_at: TileReader) -> NodeReader:
    """A reader of the tree's nodes from tiles; it keeps the last 16 tiles that it read.

    It raises ProofError for a tile that is shorter than what is asked of it.
    """
    kept = lru_cache(maxsize=16)(tile_at)

    def node_at(level: int, index: int) -> bytes:
        tile_level, above = divmod(level, HEIGHT)
        tile_index, first = divmod(index << above, WIDTH)
        hashes = kept(tile_level, tile_index)
        end = (first + (1 << above)) * HASH_BYTES
        if len(hashes) < end:
            where = Tile(tile_level, tile_index).path
            held = len(hashes) // HASH_BYTES
            raise ProofError(
                f"{where} holds {held} hashes, and not number {end // HASH_BYTES}", proof="tile"
            )
        return subtree_hash(hashes[first * HASH_BYTES : end])

    return node_at
