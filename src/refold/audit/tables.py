"""The tables of a sealed log, in its own database: how far it is sealed, tiles, streams, heads."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, NamedTuple

from refold.audit.entry import StreamTip
from refold.engine.store import Store
from refold.errors import NotFound, UsageError
from refold.ports import SqlValue, TableKeeper, TableTransaction
from refold.privacy.stored import outlives, stored_backend
from refold.projections.postgres_dialect import dialect_of

Ask = Callable[[str, Sequence[SqlValue]], list[tuple[Any, ...]]]
_STREAMS_A_QUERY: Final = 500
_TABLES: Final = """
CREATE TABLE IF NOT EXISTS audit_log (
    id {integer} PRIMARY KEY, format {integer} NOT NULL, origin {text} NOT NULL,
    keys {text} NOT NULL, size {integer} NOT NULL, began_size {integer} NOT NULL,
    began_at {integer} NOT NULL
) {strict};
CREATE TABLE IF NOT EXISTS audit_tiles (
    level {integer} NOT NULL, tile {integer} NOT NULL, hashes {bytes} NOT NULL, secret {bytes},
    salts {bytes}, PRIMARY KEY (level, tile)
) {keyed};
CREATE TABLE IF NOT EXISTS audit_streams (
    stream {text} NOT NULL PRIMARY KEY, pseudonym {bytes} NOT NULL, version {integer} NOT NULL,
    leaf {bytes} NOT NULL
) {keyed};
CREATE TABLE IF NOT EXISTS audit_checkpoints (
    size {integer} PRIMARY KEY, root {bytes} NOT NULL, note {text}, made_at {integer} NOT NULL
) {strict};
CREATE TABLE IF NOT EXISTS audit_redacted (
    position {integer} PRIMARY KEY, entry {bytes} NOT NULL, salt {bytes} NOT NULL
) {strict};
CREATE TABLE IF NOT EXISTS audit_timestamps (
    size {integer} NOT NULL, stamped_at {integer} NOT NULL, note {text} NOT NULL,
    answer {bytes} NOT NULL, PRIMARY KEY (size, stamped_at)
) {keyed}"""
_SQLITE: Final = {
    "text": "TEXT", "integer": "INTEGER", "bytes": "BLOB", "strict": "STRICT",
    "keyed": "STRICT, WITHOUT ROWID",
}  # fmt: skip
_POSTGRES: Final = {
    "text": 'text COLLATE "C"', "integer": "bigint", "bytes": "bytea", "strict": "", "keyed": "",
}  # fmt: skip
_TIPS: Final = "SELECT stream, pseudonym, version, leaf FROM audit_streams WHERE stream IN"
ADD_TILE: Final = """
INSERT INTO audit_tiles (level, tile, hashes, secret) VALUES (?, ?, ?, ?)
ON CONFLICT (level, tile) DO UPDATE SET hashes = excluded.hashes"""
ADD_STREAM: Final = """
INSERT INTO audit_streams (stream, pseudonym, version, leaf) VALUES (?, ?, ?, ?)
ON CONFLICT (stream) DO UPDATE SET version = excluded.version, leaf = excluded.leaf"""
ADD_HEAD: Final = """
INSERT INTO audit_checkpoints (size, root, note, made_at) VALUES (?, ?, ?, ?)
ON CONFLICT (size) DO NOTHING"""


class SealedLog(NamedTuple):
    """How far a log is sealed, and since when.

    ``keys`` are the verifying keys of its heads as text, a line each, the newest last. Of the
    first ``began_size`` events nothing is claimed for the time before ``began_at`` (microseconds
    UTC): they were there when sealing was turned on.
    """

    origin: str
    keys: str
    size: int
    began_size: int
    began_at: int


class StoredHead(NamedTuple):
    """A head of the log as it is stored; ``note`` is None before it is signed."""

    size: int
    root: bytes
    note: str | None
    made_at: int


class SealTables(NamedTuple):
    """The tables, read by a function that runs a statement (of a keeper, or in a transaction)."""

    ask: Ask

    def log(self) -> SealedLog:
        """The row of the log."""
        sql = "SELECT origin, keys, size, began_size, began_at FROM audit_log WHERE id = 1"
        return SealedLog(*self.ask(sql, ())[0])

    def tile(self, level: int, index: int) -> bytes:
        """The hashes of a tile, one after another; none where it is not there."""
        sql = "SELECT hashes FROM audit_tiles WHERE level = ? AND tile = ?"
        found = self.ask(sql, (level, index))
        return bytes(found[0][0]) if found else b""

    def leaf_tiles(self, first: int, count: int) -> list[tuple[int, bytes, bytes | None]]:
        """Number, hashes and secret of some tiles of leaves, in order.

        Where one of its salts was destroyed, the others written out stand for the secret.
        """
        sql = """SELECT tile, hashes, coalesce(salts, secret) FROM audit_tiles
        WHERE level = 0 AND tile >= ? AND tile < ? ORDER BY tile"""
        return [(tile, bytes(h), s) for tile, h, s in self.ask(sql, (first, first + count))]

    def secret(self, tile: int) -> bytes | None:
        """The secret of a tile of leaves; None where it is not there."""
        found = self.leaf_tiles(tile, 1)
        return found[0][2] if found else None

    def tips(self, streams: Iterable[str]) -> dict[str, StreamTip]:
        """Where the entries of these streams have come, of those that have any."""
        names, tips = list(streams), {}
        for start in range(0, len(names), _STREAMS_A_QUERY):
            some = names[start : start + _STREAMS_A_QUERY]
            places = ", ".join("?" * len(some))
            for name, *tip in self.ask(f"{_TIPS} ({places})", some):
                tips[name] = StreamTip(*tip)
        return tips

    def heads(self, *, after: int = -1) -> list[StoredHead]:
        """The heads that are kept, the smallest first."""
        sql = "SELECT size, root, note, made_at FROM audit_checkpoints WHERE size > ? ORDER BY size"
        return [StoredHead(*row) for row in self.ask(sql, (after,))]

    def head_over(self, position: int) -> StoredHead | None:
        """The first signed head that holds a position, of those that are kept."""
        sql = """SELECT size, root, note, made_at FROM audit_checkpoints
        WHERE size >= ? AND note IS NOT NULL ORDER BY size LIMIT 1"""
        found = self.ask(sql, (position,))
        return StoredHead(*found[0]) if found else None

    def newest_head(self, *, signed: bool = False) -> StoredHead | None:
        """The head of the largest size, or of those that are signed; None before the first."""
        narrowed = "WHERE note IS NOT NULL" if signed else ""
        sql = f"SELECT size, root, note, made_at FROM audit_checkpoints {narrowed}"
        found = self.ask(f"{sql} ORDER BY size DESC LIMIT 1", ())
        return StoredHead(*found[0]) if found else None


def keeper_of(store: Store) -> TableKeeper:
    """Where the tables of a store are."""
    keeper = stored_backend(store)
    if not can_be_sealed(store) or not isinstance(keeper, TableKeeper):
        raise UsageError("a journal is not sealed: `refold copy` it into a database first")
    return keeper


def can_be_sealed(store: Store) -> bool:
    """Whether this kind of store keeps tables for as long as its events; a journal does not."""
    return outlives(stored_backend(store))


def is_sealed(store: Store) -> bool:
    """Whether sealing was ever turned on for a log."""
    keeper = stored_backend(store)
    if not isinstance(keeper, TableKeeper):
        return False
    there = keeper.query(dialect_of(keeper).exists, ("audit_log",))
    return bool(there and keeper.query("SELECT 1 FROM audit_log"))


def tables_of(store: Store) -> SealTables:
    """The tables of a sealed log; :class:`~refold.errors.NotFound` where it is not sealed."""
    if not is_sealed(store):
        raise NotFound("this log is not sealed: `refold seal` turns it on", code="not_sealed")
    return SealTables(keeper_of(store).query)


def make_tables(transaction: TableTransaction, *, sql: str) -> None:
    """Make the tables where they are missing."""
    words = _POSTGRES if sql == "postgresql" else _SQLITE
    for statement in _TABLES.format(**words).split(";"):
        transaction.execute(statement.strip())
