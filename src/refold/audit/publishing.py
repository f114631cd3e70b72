"""A sealed log as files that anyone may mirror and check: c2sp.org/tlog-tiles.

What goes out are hashes and entries: pseudonyms, places, times, kinds and commitments, but nothing
of what an event says. Any web server can serve the folder.
"""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Final

from refold.audit.note import Checkpoint, parse_checkpoint, parse_note
from refold.audit.proving import signed_head
from refold.audit.remaking import Remaker
from refold.audit.tables import SealTables, tables_of
from refold.audit.tiles import WIDTH, Tile, reader, tiles_of
from refold.audit.tree import HASH_BYTES, root_of
from refold.engine.store import Store
from refold.errors import ProofError
from refold.privacy.stored import stored_backend

_LENGTH_BYTES: Final = 2


def publish(store: Store, folder: Path) -> int:
    """Bring a folder to the newest signed head of a log; how many files were written.

    Whole tiles that are there are left as they are. ``checkpoint`` comes last, so that what it
    speaks of is there. Raises :class:`~refold.errors.ProofError` where the folder holds another
    log, or a longer one, or where an event is missing or not what was sealed.
    """
    tables, file = tables_of(store), folder / "checkpoint"
    note = str(signed_head(tables).note)
    said = parse_checkpoint(parse_note(note).text)
    _check_continued(said, file, tables)
    written = 0
    for tile in tiles_of(said.size):
        if not (folder / tile.path).exists():
            hashes = tables.tile(tile.level, tile.number)[: tile.width * HASH_BYTES]
            written += _put(folder / tile.path, hashes)
    written += _put_entries(Remaker(stored_backend(store), tables), folder, said.size)
    return written + _put(file, note.encode())


def _check_continued(said: Checkpoint, file: Path, tables: SealTables) -> None:
    """Refuse to write over what is no beginning of this log, or from tiles of another root."""
    node_at = reader(tables.tile)
    there = [file.read_text("utf-8")] if file.exists() else []
    for one in (*(parse_checkpoint(parse_note(note).text) for note in there), said):
        is_older = one.origin == said.origin and one.size <= said.size
        if not is_older or root_of(one.size, node_at) != one.root:
            raise ProofError(
                f"{file} is of {one.origin} with {one.size:,} events, which {said.origin} with "
                f"{said.size:,} does not continue: publish into another folder",
                proof="consistency",
            )


def _put_entries(remaker: Remaker, folder: Path, size: int) -> int:
    """Write the entries of the tiles of leaves that are not there, each behind its length."""
    done = written = 0
    while (folder / Tile(0, done).entries_path).exists():
        done += 1
    bundle = b""
    for _, event in remaker.whole(after=done * WIDTH, until=size):
        bundle += len(event.entry).to_bytes(_LENGTH_BYTES) + event.entry
        number, last = divmod(event.position - 1, WIDTH)
        if last == WIDTH - 1 or event.position == size:
            written += _put(folder / Tile(0, number, last + 1).entries_path, bundle)
            bundle = b""
    return written


def _put(file: Path, content: bytes) -> bool:
    """Put a file in its place whole, for readers see the folder meanwhile; whether it is new."""
    if file.exists() and file.read_bytes() == content:
        return False
    file.parent.mkdir(parents=True, exist_ok=True)
    new = file.with_name(f".{file.name}.{os.getpid()}-{threading.get_ident()}.new")
    new.write_bytes(content)
    new.replace(file)
    return True
