"""Logs of made-up entries, kept as tiles in memory."""

from refold.audit.tiles import WIDTH, Tile, reader, tiles_of
from refold.audit.tree import HASH_BYTES, NodeReader, subtree_hash
from refold.audit.verifier.heads import leaf_hash


def entries_of(size: int) -> list[bytes]:
    """As many entries as asked for, each of its own bytes."""
    return [b"entry %d" % index for index in range(size)]


def tiles_for(entries: list[bytes]) -> dict[Tile, bytes]:
    """All tiles of a log, made level by level from its leaves."""
    hashes = {0: b"".join(map(leaf_hash, entries))}
    tiles = {}
    for tile in tiles_of(len(entries)):
        if tile.level not in hashes:
            below, step = hashes[tile.level - 1], WIDTH * HASH_BYTES
            starts = range(0, len(below) // step * step, step)
            hashes[tile.level] = b"".join(subtree_hash(below[at : at + step]) for at in starts)
        first = tile.number * WIDTH * HASH_BYTES
        tiles[tile] = hashes[tile.level][first : first + tile.width * HASH_BYTES]
    return tiles


def nodes_of(entries: list[bytes]) -> NodeReader:
    """A reader of the nodes of a log."""
    kept = {(tile.level, tile.number): hashes for tile, hashes in tiles_for(entries).items()}
    return reader(lambda level, index: kept[level, index])
