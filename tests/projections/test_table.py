"""Tables of projections: classes to columns, rows to SQL's values and back."""

from datetime import UTC, datetime
from decimal import Decimal
from enum import Enum
from typing import Any, Literal
from uuid import UUID

import apsw
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from refold.errors import UsageError
from refold.projections.dialect import SQLITE, quoted
from refold.projections.table import Table


class Colour(Enum):
    """A colour."""

    RED = "red"


class Part(msgspec.Struct):
    """A struct in a row."""

    n: int


class Every(msgspec.Struct):
    """A row with a column of every sort."""

    name: str
    count: int
    share: float
    raw: bytes
    is_open: bool
    amount: Decimal
    at: datetime
    colour: Colour
    side: Literal["buy", "sell"]
    uid: UUID
    parts: list[Part]
    anything: Any
    note: str | None = None
    price: Decimal | None = None


EVERY = Table("every", Every, key=("name", "amount"), indexes=[["count", "at"], ["note"]])
ROWS = st.builds(
    Every,
    name=st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")),
    count=st.integers(-(2**63), 2**63 - 1),
    share=st.floats(allow_nan=False),
    raw=st.binary(),
    is_open=st.booleans(),
    amount=st.decimals(allow_nan=False, allow_infinity=False),
    at=st.datetimes(timezones=st.just(UTC)),
    colour=st.just(Colour.RED),
    side=st.sampled_from(["buy", "sell"]),
    uid=st.uuids(),
    parts=st.lists(st.builds(Part, n=st.integers(0, 9)), max_size=3),
    anything=st.none() | st.integers(0, 9) | st.lists(st.text("ab"), max_size=2),
    note=st.none() | st.text("abc"),
    price=st.none() | st.decimals(allow_nan=False, allow_infinity=False),
)


@given(row=ROWS)
def test_a_row_comes_back_from_sql_as_it_was(row: Every) -> None:
    """Through a real table, every value is the same: decimals to the digit, times to the µs."""
    connection = apsw.Connection(":memory:")
    for statement in SQLITE.create(EVERY, "every@1"):
        connection.execute(statement)
    connection.execute(SQLITE.put(EVERY, "every@1"), EVERY.values(row))
    key = EVERY.key_of((row.name, row.amount))
    (values,) = connection.execute(SQLITE.select(EVERY, "every@1"), key).fetchall()
    assert EVERY.row_of(values) == row
    assert str(EVERY.row_of(values).amount) == str(row.amount)
    assert EVERY.key_in(values) == key
    connection.execute(SQLITE.delete(EVERY, "every@1"), key)
    assert not connection.execute("SELECT * FROM [every@1]").fetchall()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", 1),
        ("name", None),
        ("count", "1"),
        ("count", True),
        ("count", 1.0),
        ("share", "1"),
        ("share", True),
        ("raw", "text"),
        ("is_open", 1),
        ("amount", 1.5),
        ("amount", Decimal("NaN")),
        ("amount", None),
        ("at", "2026-01-01"),
        ("colour", "green"),
        ("side", "hold"),
        ("uid", "no"),
        ("price", 1.5),
        ("parts", [object()]),
    ],
)
def test_a_value_that_is_no_such_is_refused_with_its_column(field: str, value: object) -> None:
    """A struct does not check what it is made with; the table does, before SQL could bend it."""
    row = Every(
        "a", 1, 1.0, b"", True, Decimal(1), datetime(2026, 1, 1, tzinfo=UTC), Colour.RED, "buy",
        UUID(int=1), [], None,
    )  # fmt: skip
    EVERY.values(row)
    setattr(row, field, value)
    with pytest.raises(UsageError) as refused:
        EVERY.values(row)
    assert (refused.value.table, refused.value.column) == ("every", field)


def test_a_whole_number_is_a_real_where_one_is_wanted() -> None:
    """An int in a float column is stored and given back as the float it stands for."""

    class Share(msgspec.Struct):
        name: str
        share: float

    table = Table("shares", Share, key="name")
    values = table.values(Share("a", 2))
    assert values == ("a", 2.0)
    assert type(values[1]) is float


def test_rows_by_keyword_and_keys_of_one_column() -> None:
    """Keyword-only structs work; a key of one column is given as the value or as a tuple."""

    class Named(msgspec.Struct, kw_only=True):
        n: int = 0
        name: str

    table = Table("named", Named, key="name")
    assert table.row_of(table.values(Named(name="a", n=2))) == Named(name="a", n=2)
    assert table.key_of("a") == table.key_of(("a",)) == ("a",)
    with pytest.raises(UsageError):
        table.key_of(("a", "b"))


@pytest.mark.parametrize(
    "name", ["", "Tool", "tool-calls", "1st", "refold_x", "sqlite_x", "a" * 64]
)
def test_a_name_that_sql_would_have_to_quote_is_refused(name: str) -> None:
    """Tables are for people who write SQL; names that refold or SQLite keep are refused too."""
    with pytest.raises(UsageError):
        Table(name, Part, key="n")


def test_a_key_must_be_of_columns_that_are_never_none() -> None:
    """No key, an unknown column, or one that may be None: refused when the table is made."""
    for key in ((), ("nothing",), ("note",)):
        with pytest.raises(UsageError):
            Table("every", Every, key=key)
    with pytest.raises(UsageError):
        Table("every", Every, key="name", indexes=[["nothing"]])
    with pytest.raises(UsageError):
        Table("every", dict, key="name")  # type: ignore[type-var]


def test_a_row_of_another_class_is_refused() -> None:
    """A table holds rows of its class."""
    with pytest.raises(UsageError):
        EVERY.values(Part(1))  # type: ignore[arg-type]


def test_any_name_can_be_quoted() -> None:
    """Quotes inside are doubled."""
    assert quoted('a"b') == '"a""b"'


class Note(msgspec.Struct):
    """A row that is found by its words."""

    rowid: int
    about: str
    text: str | None = None


def test_a_table_of_words_finds_rows_and_keeps_no_text() -> None:
    """Put, put again and taken away by its key, found by its words whatever case and accents."""
    notes = Table("notes", Note, key="rowid", words="text")
    connection = apsw.Connection(":memory:")
    for statement in SQLITE.create(notes, "notes@1"):
        connection.execute(statement)
    put = SQLITE.put(notes, "notes@1")
    for text in ("Café au lait", "Tea"):
        connection.execute(put, notes.values(Note(1, "a", text)))
        connection.execute(put, notes.values(Note(2, "b", "café")))
    match = "SELECT about FROM [notes@1] WHERE text MATCH 'cafe'"
    assert connection.execute(match).fetchall() == [("b",)]
    (values,) = connection.execute(SQLITE.select(notes, "notes@1"), (1,)).fetchall()
    assert notes.row_of(values) == Note(1, "a", None)
    connection.execute(SQLITE.delete(notes, "notes@1"), (2,))
    assert not connection.execute(match).fetchall()


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ({"key": "about", "words": ["text"]}, "its key is rowid"),
        ({"key": "rowid", "words": ["text"], "indexes": [["about"]]}, "without indexes"),
        ({"key": "rowid", "words": ["texts"]}, "has no column 'texts'"),
        ({"key": "rowid", "words": [1]}, "not the names of columns"),
    ],
)
def test_a_table_of_words_that_cannot_be_is_refused(how: dict[str, Any], said: str) -> None:
    """Where it is defined, with the reason."""
    with pytest.raises(UsageError, match=said):
        Table("notes", Note, **how)
