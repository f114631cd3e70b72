"""Other bytes in the place of what was stored in PostgreSQL, and the old ones out of its tables.

A row that was changed leaves the old one in its table, and a plain VACUUM the old bytes on its
page: so tables are written anew. Which ones have to be is kept in a table, ``refold_replaced``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import msgspec

from refold.archive.month import ArchivedAppend
from refold.archive.rewriting import Rewritten, appends_in, rewrite, settle
from refold.backends.copied import tags_in
from refold.backends.postgres.address import Address
from refold.backends.postgres.statements import qualified, statement
from refold.core.canonical import OF_REPLACED
from refold.core.replacing import Replacement, replaced
from refold.core.stored import Row
from refold.errors import NotFound, RefoldError, Unavailable
from refold.ports import Begin, Check, TableTransaction

ELSEWHERE: Final = ("archived_months", "elsewhere")
"""The statements that tell what else may hold what was replaced."""
_BESIDE: Final = ("keys", "tags", "snapshots", "log_default")


class ServerEraser:
    """One replacement of events of a log, in its transaction."""

    def __init__(self, tables: TableTransaction, address: Address, new: Replacement) -> None:
        self._tables, self._address, self._new = tables, address, new
        self._tenant, self._log = address.tenant, qualified("refold.log", address.schema)
        self._left = new.positions()
        self._streams, self._keys = set[str](), set[str]()

    def all(self) -> list[Rewritten]:
        """Replace all; the archives to be put in the place of others once it is committed."""
        self._run("make_replaced")
        if self._run("turn_of_months") != [(1,)]:
            raise Unavailable("another process is changing the months: try again when it is done")
        due = (position for position in [*self._left] if position in self._left)
        archives = {one[0]: one for position in due for one in self._row(position)}
        again = [
            self._archive(month, Path(self._address.archive or kept), str(manifest))
            for month, kept, manifest in archives.values()
        ]
        if self._left:
            position = self._left[0]
            raise NotFound(f"no event stands at position {position}", position=position)
        self._run("drop_made_of", [*self._streams], self._tenant)
        for key in self._keys:
            self._run("forget_digest", OF_REPLACED, self._tenant, key)
        for name in _BESIDE:
            self._run("mark_replaced", self._log.removesuffix("log") + name)
        return again

    def _row(self, position: int) -> list[tuple[Any, ...]]:
        """Replace the append that holds a position, if it is in a table; where it is archived."""
        found = self._at(self._log, position)
        away = [] if found else self._run("away_at", self._tenant, position)
        for _, table in away:
            found = self._at(table, position) if table else []
        for *values, key, types, table in found:
            old = Row(*values)
            new = self._changed(old, key, types)
            place = self._tenant, old.position, old.recorded_at
            self._run("put_append", new.body, new.metadata, *place, table=table)
            self._run("mark_replaced", table)
        at = found[0][4] if found else -1
        return self._run("archived_at", at, away[0][0] if away else None)

    def _archive(self, month: str, folder: Path, sha256: str) -> Rewritten:
        """Write what is archived of a month again, as it is to be, and let the store know that."""
        for one in appends_in(folder, month, sha256):
            if one.tenant == self._tenant and self._holds(one.row, self._new.positions()):
                self._changed(one.row, one.key, one.types)
        again = rewrite(folder, month, sha256, self._archived)
        self._run("know_archive", again.sha256, str(folder.absolute()), month)
        return again

    def _archived(self, one: ArchivedAppend) -> ArchivedAppend:
        if one.tenant != self._tenant:
            return one
        digest = OF_REPLACED if _base(one.key) in self._keys else one.digest
        new = replaced(one.row, self._new)
        said = {"metadata": new.metadata, "body": new.body, "digest": digest}
        return msgspec.structs.replace(one, **said)

    def _changed(self, old: Row, key: str | None, types: list[str]) -> Row:
        """An append as it is to be; what else tells of it is so at once."""
        self._left = [one for one in self._left if not self._holds(old, [one])]
        self._streams.add(old.stream)
        self._keys |= {_base(key)} if key is not None else set()
        new = replaced(old, self._new)
        last = old.position + old.event_count - 1
        if old.metadata != new.metadata and "~" not in old.stream:
            for tag in tags_in(old.metadata):
                self._run("untag", self._tenant, tag, last)
            for tag in tags_in(new.metadata):
                place = self._tenant, old.event_count, last, old.recorded_at
                self._run("tag", *place, tag, types)
        return new

    def _holds(self, row: Row, positions: list[int]) -> bool:
        return any(0 <= one - row.position < row.event_count for one in positions)

    def _at(self, table: str, position: int) -> list[tuple[Any, ...]]:
        return self._run("append_at", self._tenant, position, table=table)

    def _run(self, name: str, *values: Any, table: str = "") -> list[tuple[Any, ...]]:
        sql = statement(name, self._address.schema).replace("any_table", table)
        return self._tables.execute(sql, values)


def rewritten(begin: Begin, schema: str) -> tuple[bool, str]:
    """Write the tables anew that may hold what was replaced; whether that is gone, and the words.

    A row is carried along as long as a transaction that began before may see it.
    """
    run = begin().execute
    run(statement("make_replaced", schema))
    run("SELECT set_config('lock_timeout', '2s', true)")
    marked = run(statement("marked", schema))
    oldest = max((int(age) for _, age, _ in marked), default=0)
    older = (
        [str(one) for (one,) in run(statement("older_than", schema), (oldest,))] if marked else []
    )
    if older:
        why = f"transactions that began before still see old rows ({', '.join(older)})"
        return False, f"tables hold what was replaced: {why}: end them, and run it again"
    for name, _, index in marked:
        if index is not None:
            run(f"CLUSTER {name} USING {index}")
    run(statement("forget_marks", schema))
    return True, f"{len(marked)} written anew; their old files are gone"


def archives(months: list[tuple[Any, ...]], folder: str | None) -> Check:
    """What archives may still hold, of months that were archived: their folder and manifest."""
    for month, kept, manifest in months:
        try:
            settle(Path(folder or kept), month, manifest)
        except (RefoldError, OSError) as error:
            return Check("archives", False, f"{month} cannot be looked at: {error}")
    told = f"{len(months)} months are as the log is; whether they were copied is not known"
    return Check("archives", True, told)


def _base(key: str | None) -> str:
    return "" if key is None else key.partition("\x1f")[0]
