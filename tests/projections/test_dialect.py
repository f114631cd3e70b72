"""What one database says otherwise than the next: names, the catalog's tables, functions."""

import apsw
import pytest

from refold.errors import UsageError
from refold.projections.dialect import SQLITE, named
from refold.readmodels.searching import search


def test_a_view_calls_functions_by_names_of_ours() -> None:
    """Where a table of the projection has such a name, it is the table."""
    sql = "SELECT {if_null}(a, 0), {how_many}(b) FROM {calls}"
    assert SQLITE.view(sql, ["calls"]) == "SELECT ifnull(a, 0), sum(b) FROM {calls}"
    assert SQLITE.view("SELECT * FROM {how_many}", ["how_many"]) == "SELECT * FROM {how_many}"


def test_a_name_is_a_table_or_refused() -> None:
    """What stands in braces is a table of the projection; other braces are SQL's own."""
    assert named("SELECT * FROM {calls}", {"calls": "calls@2"}) == 'SELECT * FROM "calls@2"'
    assert named("SELECT '{}'", {}) == "SELECT '{}'"
    with pytest.raises(UsageError):
        named("SELECT * FROM {other}", {"calls": "calls@2"})


def test_the_catalog_is_made_once() -> None:
    """Its statements do nothing where the tables are there, and `exists` finds them."""
    connection = apsw.Connection(":memory:")
    for _ in range(2):
        for statement in SQLITE.catalog():
            connection.execute(statement)
    for table in ("projections", "generations", "progress", "parked"):
        assert connection.execute(SQLITE.exists, (f"refold_{table}",)).fetchall()
    assert not connection.execute(SQLITE.exists, ("refold_others",)).fetchall()


@pytest.mark.parametrize(
    ("word", "is_found"),
    [
        *(("two\0three", True), ("\0two\0", True), ("\0", False), ("one\0three", False)),
        *(('"\0two', True), ("three\0\0FOUR", True), ("tw\0o", False)),
    ],
)
def test_a_nul_stands_between_words(word: str, is_found: bool) -> None:
    """In what is looked for as in what is kept: SQLite's language of queries would end there."""
    connection = apsw.Connection(":memory:")
    table = next(one for one in search.tables.values() if one.words)
    for statement in SQLITE.create(table, "said"):
        connection.execute(statement)
    connection.execute("INSERT INTO said (text) VALUES (?)", ("one two\0three four",))
    condition, values = SQLITE.saying([word])
    found = connection.execute(f"SELECT rowid FROM said WHERE {condition}", values).fetchall()
    assert bool(found) == is_found
