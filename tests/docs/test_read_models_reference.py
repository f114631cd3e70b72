"""docs/reference/read-models.md says what the tables are."""

import re
from collections.abc import Iterator
from typing import Any

import pytest

import refold
from refold.projections import Projection, Projector
from refold.projections.table import Column
from refold.readmodels import built_in
from tests.house.tree import ROOT
from tests.readmodels.test_conversations import voice_call

PAGE = ROOT / "docs" / "reference" / "read-models.md"
TEXT = PAGE.read_text()
_SECTION = re.compile(r"^### `(\w+)`\n\n(.*?)(?=^##|\Z)", re.MULTILINE | re.DOTALL)
_ROW = re.compile(r"^\| `(\w+)` \| ([A-Z]+(?:, null)?) \| (\S.+) \|$", re.MULTILINE)
SECTIONS = {found[1]: found[2] for found in _SECTION.finditer(TEXT)}
TABLES = {table.name: table for one in built_in() for table in one.tables.values()}
VIEWS = {view: one for one in built_in() for view in one.views}
AS_TEXT = {int: "INTEGER", str: "TEXT", float: "REAL"}


def documented(name: str) -> list[tuple[str, str]]:
    """The columns of a section, each with its type."""
    rows = re.findall(r"^\| `", SECTIONS[name], re.MULTILINE)
    columns = [(found[1], found[2]) for found in _ROW.finditer(SECTIONS[name])]
    assert len(columns) == len(rows), f"{name}: a row without type or meaning"
    return columns


def typed(column: Column) -> tuple[str, str]:
    """A column as the page writes it."""
    return column.name, column.sql + (", null" if column.nullable else "")


@pytest.fixture(scope="module")
def projector() -> Iterator[Projector]:
    """The read models of one call."""
    with refold.open("memory:") as store:
        store.append("call-1", list(voice_call().values()))
        projector = Projector(store, built_in())
        projector.catch_up()
        yield projector


def test_every_table_and_view_is_on_the_page() -> None:
    """In the order of their projections, and nothing that does not exist."""
    assert set(SECTIONS) == TABLES.keys() | VIEWS.keys()


@pytest.mark.parametrize("name", TABLES)
def test_a_table_is_what_the_page_says(name: str) -> None:
    """Its columns in their order with their types, and its key and indexes."""
    table = TABLES[name]
    assert documented(name) == [typed(column) for column in table.columns]
    stated = re.search(r"Key: (.+?)\.(?: Indexes: (.+?)\.)?\n", SECTIONS[name])
    assert stated is not None
    assert re.findall(r"\w+", stated[1]) == list(table.key)
    indexes = [tuple(re.findall(r"\w+", one)) for one in (stated[2] or "").split(";")]
    assert indexes == [tuple(index) for index in table.indexes or [()]]


@pytest.mark.parametrize("name", TABLES)
def test_sql_finds_the_columns_of_the_page(projector: Projector, name: str) -> None:
    """What SQLite itself says of the table under its plain name; a table of words has no types."""
    found = projector.query(f"PRAGMA table_info({name})")
    has_types = not TABLES[name].words
    assert [(column, kind) for _, column, kind, *_ in found] == [
        (column, kind.removesuffix(", null") if has_types else "BLOB")
        for column, kind in documented(name)
        if has_types or column != "rowid"
    ]


@pytest.mark.parametrize("name", VIEWS)
def test_a_view_gives_the_columns_of_the_page(projector: Projector, name: str) -> None:
    """Its columns in their order, with values of the types that the page says."""
    columns = documented(name)
    assert [column for _, column, *_ in projector.query(f"PRAGMA table_info({name})")] == [
        column for column, _ in columns
    ]
    rows = projector.query(f"SELECT * FROM {name}")
    assert rows
    for row in rows:
        for value, (column, kind) in zip(row, columns, strict=True):
            assert fits(value, kind), column


def fits(value: Any, kind: str) -> bool:
    """Whether a value is of a type as the page writes it."""
    if value is None:
        return kind.endswith(", null")
    return AS_TEXT[type(value)] == kind.removesuffix(", null")


@pytest.mark.parametrize("projection", built_in(), ids=lambda one: one.name)
def test_tables_stand_under_their_projection(projection: Projection) -> None:
    """A section of the page holds what `refold projections rebuild` of its name fills."""
    _, _, rest = TEXT.partition(f"\n## {projection.name}\n")
    section = re.split(r"^## ", rest, maxsplit=1, flags=re.MULTILINE)[0]
    names = set(re.findall(r"^### `(\w+)`$", section, re.MULTILINE))
    assert names == projection.tables.keys() | projection.views.keys()
