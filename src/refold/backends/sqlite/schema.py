"""The schema of a file beside the one that refold makes: what differs, and how to mend it."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from importlib import resources
from typing import Any, Final

import apsw

from refold.backends.sqlite.file import SCHEMA_VERSION, migration
from refold.backends.transaction import transacted

_FOLDER: Final = resources.files("refold.backends.sqlite")
_OBJECTS: Final = """
SELECT json_group_array(json_array(name, type, sql)) FROM sqlite_schema WHERE sql IS NOT NULL"""
_COLUMNS: Final = """
SELECT json_group_array(
    json_array(made.name, there.name, concat_ws(' ', there.type, "notnull", pk))
) FROM sqlite_schema AS made JOIN pragma_table_info(made.name) AS there WHERE made.type = 'table'"""


def differences(connection: apsw.Connection) -> list[tuple[str, str | None]]:
    """What is missing or altered, and what of others can refuse an append: each with what to do.

    And with the SQL that makes it again, where it is made of the log, or a rule about it.
    """
    rows: Any = connection.execute(_differing(), _due())
    return list(rows)


def remade(connection: apsw.Connection) -> Iterator[str]:
    """Make again what differs and is not the log itself; say what that is."""
    for _ in range(2):  # A view takes its triggers with it.
        for what, sql in differences(connection):
            if sql is not None:
                name, _, _ = what.partition(":")
                try:
                    transacted(connection, connection.execute, sql)
                    yield f"{name}: made it again"
                except apsw.Error as error:
                    yield f"{name}: left it, for {error}"


@cache
def _differing() -> str:
    return (_FOLDER / "schema.sql").read_text(encoding="utf-8")


@cache
def _due() -> dict[str, Any]:
    """What the migrations make of an empty file, as JSON."""
    made = apsw.Connection(":memory:")
    for number in range(1, SCHEMA_VERSION + 1):
        made.execute(migration(number)).fetchall()
    return {"objects": made.execute(_OBJECTS).get, "columns": made.execute(_COLUMNS).get}
