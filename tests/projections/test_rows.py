"""The unit of work of a projection: what handlers see, and what is written in the end."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import apsw
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from refold.backends.tables import SqlTransaction, Tables
from refold.errors import UsageError
from refold.ports import TableTransaction
from refold.projections.dialect import SQLITE, named
from refold.projections.rows import Rows
from refold.projections.table import Table


class Item(msgspec.Struct):
    """A row."""

    key: str
    n: int = 0
    tags: list[str] = []


ITEMS = Table("items", Item, key="key")
OTHERS = Table("others", Item, key="key")


class Base:
    """A database with the tables, and a count of what was asked of it."""

    def __init__(self) -> None:
        self.connection = apsw.Connection(":memory:")
        self.tables = Tables(lambda: nullcontext(self.connection))
        self.asked = 0
        self.writing: TableTransaction | None = None
        for statement in (*SQLITE.create(ITEMS, "items@1"), *SQLITE.create(OTHERS, "others@1")):
            self.connection.execute(statement)

    def rows(self) -> Rows:
        """A fresh unit of work."""

        def write() -> TableTransaction:
            assert self.writing is not None, "written outside of a transaction"
            return self.writing

        tables = {"items": ITEMS, "others": OTHERS}
        return Rows(tables, generation=1, read=self._read, write=write)

    def _read(self, sql: str, values: Any = ()) -> list[tuple[Any, ...]]:
        self.asked += 1
        return self.tables.query(sql, values)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """While it lasts, rows can be written."""
        with self.connection:
            self.writing = SqlTransaction(self.connection)
            yield
        self.writing = None

    def stored(self) -> list[tuple[Any, ...]]:
        """The rows as they are stored."""
        return self.tables.query('SELECT key, n FROM "items@1" ORDER BY key')


def test_a_row_is_asked_for_once_and_seen_as_it_was_put() -> None:
    """What was read or put is in memory; nothing is written before the end."""
    base = Base()
    rows = base.rows()
    assert rows.get(ITEMS, "a") is None
    assert rows.get(ITEMS, "a") is None
    assert base.asked == 1
    rows.put(ITEMS, Item("a", 1))
    assert rows.get(ITEMS, ("a",)) == Item("a", 1)
    assert rows.get(OTHERS, "a") is None
    assert base.stored() == []
    with base.transaction():
        rows.flush()
    assert base.stored() == [("a", 1)]
    assert base.rows().get(ITEMS, "a") == Item("a", 1)


def test_what_a_handler_changes_and_does_not_put_is_not_seen() -> None:
    """A row given out is the handler's own: else what rows hold would hang on where batches end."""
    rows = Base().rows()
    row = Item("a", 1, ["x"])
    rows.put(ITEMS, row)
    row.n = 2
    row.tags.append("y")
    got = rows.get(ITEMS, "a")
    assert got == Item("a", 1, ["x"])
    got.n = 3
    assert rows.get(ITEMS, "a") == Item("a", 1, ["x"])


def test_tables_known_to_be_empty_are_not_asked_until_something_is_forgotten() -> None:
    """A rebuild reads nothing: memory knows all there is. After a forget it asks again."""
    base = Base()
    rows = base.rows()
    rows.begin_empty()
    assert rows.get(ITEMS, "a") is None
    assert base.asked == 0
    rows.forget()
    assert rows.get(ITEMS, "a") is None
    assert base.asked == 1


def test_sql_sees_what_was_put_and_what_it_changes_is_seen() -> None:
    """`execute` writes first and forgets after; `{items}` is the table of this generation."""
    base = Base()
    rows = base.rows()
    rows.put(ITEMS, Item("a", 1))
    with base.transaction():
        assert rows.execute("SELECT n FROM {items} WHERE key = ?", ("a",)) == [(1,)]
        rows.execute("UPDATE {items} SET n = 5")
        assert rows.get(ITEMS, "a") == Item("a", 5)
        with pytest.raises(UsageError) as refused:
            rows.execute("SELECT nothing FROM {items}")
        assert refused.value.code == "sql_refused"
    with pytest.raises(UsageError):
        named("SELECT * FROM {unknown}", rows.names)
    assert named("SELECT '{}', \"{x y}\"", {}) == "SELECT '{}', \"{x y}\""


def test_a_table_of_another_projection_is_refused() -> None:
    """A projection writes its own tables only."""
    strange = Table("strange", Item, key="key")
    with pytest.raises(UsageError):
        Base().rows().get(strange, "a")


ACTIONS = st.lists(
    st.tuples(
        st.sampled_from(["put", "delete", "get", "flush", "forget after flush", "execute"]),
        st.sampled_from("abc"),
        st.integers(0, 9),
    ),
    max_size=30,
)


@given(actions=ACTIONS)
def test_any_work_ends_as_if_every_change_had_been_written_at_once(
    actions: list[tuple[str, str, int]],
) -> None:
    """Puts, deletes, flushes and SQL in any order: the model is a plain dict."""
    base = Base()
    rows = base.rows()
    model: dict[str, int] = {}
    with base.transaction():
        for action, key, n in actions:
            if action == "put":
                rows.put(ITEMS, Item(key, n))
                model[key] = n
            elif action == "delete":
                rows.delete(ITEMS, key)
                model.pop(key, None)
            elif action == "execute":
                rows.execute("REPLACE INTO {items} (key, n, tags) VALUES (?, ?, '[]')", (key, n))
                model[key] = n
            elif action == "get":
                found = rows.get(ITEMS, key)
                assert (found.n if found else None) == model.get(key)
            else:
                rows.flush()
                assert rows.dirty == 0
                if action != "flush":
                    rows.forget()
        rows.flush()
    assert base.stored() == sorted(model.items())
