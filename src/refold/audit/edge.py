"""Tiles as leaves come: whole ones and the last of each level, kept in memory."""

from __future__ import annotations

from refold.audit.tiles import WIDTH, TileReader, reader
from refold.audit.tree import HASH_BYTES, root_of, subtree_hash

TILE_BYTES = WIDTH * HASH_BYTES


class TreeEdge:
    """The right edge of a tree in tiles; ``stored`` reads a tile that is not in memory.

    ``changed`` holds the tiles that have grown, by level and number, until they are stored.
    """

    def __init__(self, size: int, stored: TileReader) -> None:
        self.size = size
        self.changed: dict[tuple[int, int], bytes] = {}
        self._stored = stored
        self._edges: list[bytes] = []
        while size:
            tile, held = divmod(size, WIDTH)
            self._edges.append(stored(len(self._edges), tile)[: held * HASH_BYTES])
            size = tile

    def extend(self, leaves: bytes) -> None:
        """Add leaf hashes, one after another."""
        level, hashes, first = 0, leaves, self.size
        self.size += len(leaves) // HASH_BYTES
        while hashes:
            if level == len(self._edges):
                self._edges.append(b"")
            hashes, first = self._filled(level, first, hashes)
            level += 1

    def _filled(self, level: int, first: int, hashes: bytes) -> tuple[bytes, int]:
        """Put hashes into the tiles of a level; those of the tiles that became whole, above."""
        tile, above = first // WIDTH, []
        held = self._edges[level] + hashes
        for at in range(0, len(held), TILE_BYTES):
            self.changed[level, tile] = part = held[at : at + TILE_BYTES]
            if len(part) == TILE_BYTES:
                above.append(subtree_hash(part))
                tile += 1
        self._edges[level] = held[len(above) * TILE_BYTES :]
        return b"".join(above), first // WIDTH

    def tile(self, level: int, index: int) -> bytes:
        """The hashes of a tile, stored or not yet."""
        if (level, index) in self.changed:
            return self.changed[level, index]
        if level < len(self._edges) and index == self.size >> 8 * (level + 1):
            return self._edges[level]
        return self._stored(level, index)

    def root(self) -> bytes:
        """The root of all leaves so far."""
        return root_of(self.size, reader(self.tile))
