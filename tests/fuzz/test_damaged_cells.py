"""Any value in any cell of the file: answers and refold's errors, and nothing else."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest import mock

import apsw
import pytest
from hypothesis import given
from hypothesis import strategies as st

import refold
from refold.core.event import Event
from refold.engine.store import Store
from refold.errors import RefoldError
from tests.fuzz.asking import BODIES, COUNTING, REGISTRY, ask_all
from tests.fuzz.values import damaged, fuzzed

TAGGED = refold.Query(types=("a.b", "a.c"), tags=("t",))
TYPED = refold.Query(types=("test.noted",))
INTEGERS = st.integers(-3, 9) | st.integers(-(2**63), 2**63 - 1)
COLUMNS = {
    "log": "position stream version count recorded_at types metadata body "
    "occurred_from occurred_to",
    "segments": "position last_position stream version count recorded_at occurred_from occurred_to "
    "types dictionary body_bytes frame",
    "streams": "name category parent fork_version packed_version packed_at",
    "snapshots": "version position occurred_to in_order state digest fold fingerprint",
    "types": "id tag",
    "tags": "tag last_position stream version count types",
    "dictionaries": "bytes",
    "keys": "digest stream position version count recorded_at",
}
CELLS = [(table, column) for table, columns in COLUMNS.items() for column in columns.split()]
VALUES: st.SearchStrategy[Any] = st.one_of(
    st.none(),
    INTEGERS,
    damaged([*BODIES, b"call-1", b"a.b.v3", b"{}"]),
    st.binary(max_size=12),
    st.floats(),
)


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A log with something in every table, whose tables take any value, as damage does."""
    path = tmp_path_factory.mktemp("fuzz") / "log.db"
    with (
        mock.patch("refold.core.snapshot.EVENTS_BETWEEN_MIN", 3),
        mock.patch("refold.engine.snapshots.EVENTS_BETWEEN_MIN", 3),
        refold.open(path, registry=REGISTRY) as store,
    ):
        for number in range(4):
            store.append("call-1", [Event("test.noted", {"text": "x"})] * 2, key=f"key-{number}")
            store.append("call-2", [Event("a.b", [number])], metadata={"by": "x"}, tags=["t"])
        store.compact()
        store.append("call-2", [Event("a.b", {"n": 1})], tags=["t", "u"])
        store.append("call-1", [Event("a.c.v2", {"n": 1}), Event("a.b", occurred_at=5)], key="k")
        store.branch("call-1", at=3).adding(Event("a.b", {})).save("call-1~b")
        store.fold("call-1", COUNTING)
        assert list(store.check())
    changing = apsw.Connection(str(path))
    for word in ("STRICT, WITHOUT", "STRICT", "NOT NULL"):
        sql = "UPDATE sqlite_schema SET sql = replace(sql, ?, ?) WHERE type = 'table'"
        changing.execute("PRAGMA writable_schema=ON").fetchall()
        changing.execute(sql, (word, word[7:].strip(", ") if word.startswith("STRICT") else ""))
    changing.close()
    return path


@fuzzed(100, 1_000)
@given(cell=st.sampled_from(CELLS), value=VALUES, row=st.integers(0, 3))
def test_any_value_in_any_cell_gives_answers_or_errors(
    log: Path, cell: tuple[str, str], value: Any, row: int
) -> None:
    """Whatever a cell of the file says: every question has an answer or an error of refold's."""
    table, column = cell
    with TemporaryDirectory() as folder:
        path = Path(folder, "log.db")
        shutil.copy(log, path)
        changing = apsw.Connection(str(path))
        rowid = {"keys": "key", "tags": "last_position"}.get(table, "rowid")
        try:
            changing.execute(
                f"UPDATE {table} SET {column} = ? WHERE {rowid} = ("
                f"SELECT {rowid} FROM {table} LIMIT 1 OFFSET ?)",
                (value, row),
            )
        except apsw.Error:
            pass  # An index holds it to be the only one: then nothing is changed.
        finally:
            changing.close()
        with (
            suppress(RefoldError),
            refold.open(path, registry=REGISTRY, synchronous="NORMAL") as store,
        ):
            for ask in _questions():
                with suppress(RefoldError):
                    ask(store)


def _questions() -> Sequence[Callable[[Store], object]]:
    return (
        lambda s: ask_all(*s.read_all()),
        lambda s: list(s.read_all(after=3, categories=["call"], types=["a.b"])),
        lambda s: ask_all(*s.read_all(matching=TAGGED)),
        lambda s: ask_all(*s.read_all(matching=TYPED, after=2)),
        lambda s: s.find("key-1"),
        lambda s: list(s.streams()),
        lambda s: ask_all(*s.read("call-1")),
        lambda s: list(s.read("call-2", direction="backward", limit=2)),
        lambda s: list(s.read("call-1~b", from_version=2)),
        lambda s: s.fold("call-1", COUNTING),
        lambda s: s.fold("call-1", COUNTING, recorded_until="2026-01-01"),
        lambda s: s.fold("call-1~b", COUNTING, occurred_until="2026-01-01"),
        lambda s: list(s.check()),
        lambda s: s.sizes(),
        lambda s: s.append("call-1", [Event("a.b", {})], key="key-1"),
        lambda s: s.append("call-1", [Event("a.b", {})]),
        lambda s: s.append("call-1", [Event("a.b", {})], unless=TAGGED, after=9),
        lambda s: s.append("call-1", [Event("a.b", {})], unless=TYPED, after=1),
        lambda s: s.append("new-1", [Event("a.new", {})], expected=refold.NO_STREAM),
        lambda s: s.compact(),
        lambda s: list(s.repair()),
        lambda s: list(s.read_all()),
    )
