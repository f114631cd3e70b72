"""What `refold doctor` finds in a file whose pages are whole and whose rows are not."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import apsw
import pytest

import refold
from refold.errors import Corrupt
from refold.ports import Check

LAST = "WHERE position = (SELECT max(position) FROM log)"
FIRST_SEGMENT = "WHERE position = (SELECT min(position) FROM segments)"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A log with packed and hot appends of three streams and a branch."""
    made = tmp_path / "a.db"
    with refold.open(made, synchronous="NORMAL") as store:
        for number in range(90):
            store.append(f"c-{number % 3}", [refold.Event(f"t.{number % 5}", {"n": number})])
        store.compact()
        for number in range(9):
            event = refold.Event("t.0", {"n": number}, occurred_at=number)
            store.append(f"c-{number % 3}", [event], metadata={"n": number})
        store.branch("c-1", at=3).save("c-1~b")
        store.append("c-2", [refold.Event("t.1", {"n": 1})], metadata={"n": 1})
    return made


def found_wrong(path: Path) -> list[Check]:
    """The checks that fail."""
    with refold.open(path, mode="read") as store:
        return [check for check in store.check() if not check.good]


def test_a_log_as_it_must_be_is_good(path: Path) -> None:
    """Packed, hot and branched: nothing is found."""
    assert found_wrong(path) == []


@pytest.mark.parametrize(
    ("change", "name"),
    [
        (f"UPDATE log SET position = 1 << 60 {LAST}", "positions without gaps"),
        (f"UPDATE log SET count = 1 << 50 {LAST}", "positions without gaps"),
        (f"UPDATE log SET types = 0 {LAST}", "bodies"),
        (f"UPDATE segments SET types = types + 1 {FIRST_SEGMENT}", "bodies"),
        (f"UPDATE log SET body = '[5]' {LAST}", "bodies"),
        (f'UPDATE log SET body = \'[["t.1",1],["t*1",1]]\', count = 2 {LAST}', "bodies"),
        (f"UPDATE log SET metadata = '[' {LAST}", "bodies"),
        (f"UPDATE log SET occurred_from = 1, occurred_to = 2 {LAST}", "bodies"),
        (f"UPDATE segments SET occurred_to = 5 {FIRST_SEGMENT}", "bodies"),
        (f"UPDATE segments SET frame = zeroblob(50) {FIRST_SEGMENT}", "bodies"),
        ("UPDATE streams SET packed_version = 3 WHERE name = 'c-1'", "streams"),
        ("UPDATE streams SET packed_version = NULL WHERE name = 'c-1'", "streams"),
        ("UPDATE streams SET category = 'other' WHERE name = 'c-1'", "streams"),
        ("UPDATE streams SET parent = 'gone' WHERE name = 'c-1~b'", "streams"),
        ("INSERT INTO streams (name, category) VALUES ('d-1', 'd')", "streams"),
        (f"UPDATE log SET stream = 99 {LAST}", "streams"),
    ],
)
def test_a_row_that_is_not_as_it_must_be_is_found(path: Path, change: str, name: str) -> None:
    """Each of these could not be read, or be passed over by a read, and the pages are in order."""
    connection = apsw.Connection(str(path))
    connection.execute(change)
    connection.close()
    assert name in [check.name for check in found_wrong(path)]


@pytest.mark.parametrize("kept", [0.95, 0.5, 0.1])
def test_an_error_says_how_much_of_a_file_is_gone(path: Path, kept: float) -> None:
    """Whatever reads a file that is shorter than its header says: how long it is, and was."""
    whole = path.stat().st_size
    os.truncate(path, left := int(whole * kept))
    with pytest.raises(Corrupt) as caught, refold.open(path, mode="read") as store:
        list(store.read_all())
        list(store.streams())
        store.sizes()
    assert f"cut short: {left:,} bytes of {whole:,}" in caught.value.message


def test_what_is_written_meanwhile_is_no_finding(path: Path) -> None:
    """A store in use is looked at as it is at one moment.

    Appends and compactions between two of the checks were taken for gaps.
    """
    with refold.open(path, synchronous="NORMAL") as writer, refold.open(path, mode="read") as store:

        def beside(checks: Iterator[Check]) -> Iterator[Check]:
            for number, check in enumerate(checks):
                yield check
                writer.append("c-9", [refold.Event("new", {"n": number})] * 3)
                writer.compact()

        assert [check for check in beside(store.check()) if not check.good] == []


@pytest.fixture
def tagged(tmp_path: Path) -> Path:
    """A log with tags in packed appends and in hot ones, and metadata that only look like tags."""
    made = tmp_path / "tagged.db"
    with refold.open(made, synchronous="NORMAL") as store:
        for number in range(40):
            events = [refold.Event(f"t.{number % 5}", {"n": number})] * (1 + number % 3)
            tags = [f"odd:{number % 2}", f"n:{number}", "é"] if number % 4 else []
            store.append(f"c-{number % 3}", events, tags=tags, metadata={"n": number})
            if number == 25:
                store.compact()
        store.append("c-1", [refold.Event("t.1")], metadata={"note": ["tags", {"tags": ["no"]}]})
        store.append_together(
            [refold.Append("c-1", [refold.Event("t.9")], tags=["x"])] * 2, key="both"
        )
        store.branch("c-1", at=3).save("c-1~b")
    return made


def changed(path: Path, change: str) -> None:
    """The file with a change made behind refold's back."""
    connection = apsw.Connection(str(path))
    connection.execute(change)
    assert connection.changes()
    connection.close()


@pytest.mark.parametrize("last", ["max", "min"])
@pytest.mark.parametrize(
    "change",
    [
        "DELETE FROM tags WHERE {}",
        "UPDATE tags SET tag = 'other' WHERE {}",
        "UPDATE tags SET last_position = last_position + 1 WHERE {}",
        "UPDATE tags SET stream = stream + 1 WHERE {}",
        "UPDATE tags SET version = version + 1 WHERE {}",
        "UPDATE tags SET count = count + 1 WHERE {}",
        "UPDATE tags SET types = 0 WHERE {}",
        "INSERT INTO tags SELECT 'more', last_position, 1, 1, 1, types FROM tags WHERE {}",
        "DELETE FROM tags",
    ],
)
def test_an_index_of_tags_that_is_not_the_logs_is_found_and_made_anew(
    tagged: Path, change: str, last: str
) -> None:
    """Of packed appends and of hot ones: nothing is missing, nothing too many, nothing else."""
    with refold.open(tagged) as store:
        before = [e.id for e in store.read_all(matching=refold.Query(tags=("odd:1",)))]
        assert before
    where = f"last_position = (SELECT {last}(last_position) FROM tags) AND tag = ("
    where += f"SELECT min(tag) FROM tags WHERE last_position = (SELECT {last}(last_position) "
    changed(tagged, change.format(where + "FROM tags))"))
    assert [check.name for check in found_wrong(tagged)] == ["tags"]
    with refold.open(tagged) as store:
        said = list(store.repair())
        assert [line for line in said if "tags" in line]
        after = [e.id for e in store.read_all(matching=refold.Query(tags=("odd:1",)))]
    assert after == before
    assert found_wrong(tagged) == []


def test_a_repair_leaves_the_index_of_tags_where_the_log_is_damaged(tagged: Path) -> None:
    """What cannot be made from the log stays as it was, and the rest of the repair goes on."""
    changed(tagged, f"UPDATE segments SET frame = zeroblob(50) {FIRST_SEGMENT}")
    connection = apsw.Connection(str(tagged))
    before = connection.execute("SELECT * FROM tags").fetchall()
    with refold.open(tagged) as store:
        said = list(store.repair())
    assert "left the index of tags" in " ".join(said)
    assert "write-ahead log" in said[-1]
    assert connection.execute("SELECT * FROM tags").fetchall() == before
    connection.close()
