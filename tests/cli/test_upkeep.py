"""Keeping a store: sizes, compaction, backup and restore, repair."""

import tempfile
from pathlib import Path

import apsw
import pytest

import refold
from tests.cli.running import Ran, Refold
from tests.faults.unprivileged import unprivileged


@pytest.fixture
def filled(tmp_path: Path) -> Path:
    """A store of a few streams."""
    path = tmp_path / "refold.db"
    with refold.open(path, synchronous="NORMAL") as store:
        for number in range(200):
            store.append(f"call-{number % 4}", [refold.Event("x", {"n": number})])
    return path


def test_compaction_shows_in_the_sizes_and_nowhere_else(run: Refold, filled: Path) -> None:
    """`compact` packs all but the last event; `log` prints the same; `stats` adds up."""
    before = run("log", "--json").out
    (packed,) = run("compact", "--json").lines
    assert packed["events"] == 199
    assert run("log", "--json").out == before
    sizes = {line["part"]: line for line in run("stats", "--json").lines}
    assert sizes["segments"]["events"] == 199
    assert sizes["log"]["events"] == 1
    assert sizes["all"]["events"] == 200
    parts = sum(line["size_bytes"] for part, line in sizes.items() if part != "all")
    assert sizes["all"]["size_bytes"] == parts >= filled.stat().st_size
    assert "bytes an event" in run("stats").out


@pytest.mark.parametrize("options", [(), ("--json",)])
def test_compaction_says_first_what_others_will_not_see(
    run: Refold, filled: Path, options: tuple[str, ...]
) -> None:
    """On stderr, with `--json` too, and before the progress of its work."""
    assert filled.exists()
    ran = run("compact", *options)
    assert "the view events tells others so in an error" in ran.err.splitlines()[0]
    assert "events_unpacked" in ran.err


def test_sql_sees_all_events_and_only_reads(run: Refold, filled: Path) -> None:
    """Packed or not; as text and as JSON; a PRAGMA that sets is wrong usage."""
    asked = "SELECT stream, count(*), NULL, max(data ->> 'n') FROM events GROUP BY 1 ORDER BY 1"
    before = run("sql", asked).out
    header, first, *_ = before.splitlines()
    assert header == "stream|count(*)|NULL|max(data ->> 'n')"
    assert first.startswith("call-0|50||")
    run("compact")
    assert filled.exists()
    assert run("sql", asked).out == before
    assert [*run("sql", asked, "--json").lines[0].items()][:3] == [
        ("stream", "call-0"),
        ("count(*)", 50),
        ("NULL", None),
    ]
    assert run("sql", "SELECT char(27)").out == "char(27)\n\\x1b\n"
    (twice,) = run("sql", "SELECT 1 AS a, 2 AS a, 3 AS b", "--json").lines
    assert twice == {"a": 1, "a:2": 2, "b": 3}
    assert run("sql", "SELECT 1 AS a WHERE 0").out == "a\n"
    for refused in (
        "PRAGMA user_version = 9",
        "DELETE FROM log",
        "ATTACH 'x' AS y",
        "SELECT nothing",
    ):
        ran = run("sql", refused)
        assert (ran.code, ran.out) == (2, "")
    assert run("doctor").code == 0


def test_compaction_of_what_is_old(run: Refold, filled: Path) -> None:
    """`--before` keeps what is newer."""
    assert filled.exists()
    (packed,) = run("compact", "--before", "1d", "--json").lines
    assert packed["events"] == 0


def test_a_backup_restores_to_the_same_log(run: Refold, filled: Path, tmp_path: Path) -> None:
    """Backed up, lost, restored: every event is there, and the store can be written again."""
    run("compact")
    before = run("log", "--json").out
    assert run("backup", "copy.db").code == 0
    for path in tmp_path.glob("refold.db*"):
        path.unlink()
    assert run("restore", "copy.db").code == 0
    assert run("log", "--json").out == before
    assert run("doctor").code == 0
    assert run("append", "call-1", "--type", "x", "--data", "{}", "--untyped").code == 0
    assert filled.exists()


def test_nothing_is_overwritten(run: Refold, filled: Path, tmp_path: Path) -> None:
    """A backup or a restore onto a file that exists is refused, as is a missing folder."""
    (tmp_path / "copy.db").write_text("precious")
    assert run("backup", "copy.db").code == 2
    assert (tmp_path / "copy.db").read_text() == "precious"
    assert run("backup", "gone/copy.db").code == 2
    assert run("backup", "other.db").code == 0
    assert run("restore", "other.db").code == 2
    assert sorted(path.name for path in tmp_path.glob("*.unfinished")) == []
    assert filled.exists()


def test_a_damaged_backup_is_not_restored(run: Refold, filled: Path, tmp_path: Path) -> None:
    """A check that fails ends the restore with 1, and makes nothing."""
    run("backup", "copy.db")
    connection = apsw.Connection(str(tmp_path / "copy.db"))
    connection.execute("DELETE FROM log WHERE position = 100")
    connection.close()
    for path in tmp_path.glob("refold.db*"):
        path.unlink()
    done = run("restore", "copy.db")
    assert done.code == 1
    assert "position" in done.err
    assert not filled.exists()


def test_repair_says_what_it_does_and_keeps_the_log(run: Refold, filled: Path) -> None:
    """An index that does not fit its table is made again; the events are as before."""
    before = run("log", "--json").out
    connection = apsw.Connection(str(filled))
    connection.execute("PRAGMA writable_schema=ON")
    connection.execute(
        "UPDATE sqlite_schema SET sql = 'CREATE UNIQUE INDEX log_key ON log (position)' "
        "WHERE name = 'log_key'"
    )
    connection.close()
    assert run("doctor").code == 1
    connection = apsw.Connection(str(filled))
    connection.execute("PRAGMA writable_schema=ON")
    connection.execute(
        "UPDATE sqlite_schema SET sql = 'CREATE UNIQUE INDEX log_key ON log (key) "
        "WHERE key IS NOT NULL' WHERE name = 'log_key'"
    )
    connection.close()
    done = run("doctor", "--repair")
    assert done.code == 0, done
    assert "made every index again" in done.out
    assert run("log", "--json").out == before


def test_a_backup_in_a_folder_of_others_is_restored(
    run: Refold, filled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where nothing can be written it is read as it is, and found to be good."""
    with tempfile.TemporaryDirectory() as name:
        monkeypatch.chdir(name)
        assert run("backup", "copy.db", "--db", str(filled)).code == 0
        run("doctor", "--db", "copy.db")  # a child cannot import what it needs
        Path("mine").mkdir()
        Path("mine").chmod(0o777)
        Path(name).chmod(0o555)

        def there() -> tuple[Ran, Ran]:
            restore = ("restore", "copy.db", "--db", "mine/restored.db")
            return run("doctor", "--json", "--db", "copy.db"), run(*restore)

        doctored, restored = unprivileged(there)
        Path(name).chmod(0o755)
        assert (doctored.code, restored.code) == (0, 0), (doctored, restored)
        assert {"check": "journal mode", "good": True, "detail": "wal"} in doctored.lines
        with refold.open("mine/restored.db") as store:
            assert store.log_head() == 200
        monkeypatch.undo()


def test_a_store_that_is_not_in_wal_mode_is_told(run: Refold, filled: Path) -> None:
    """Whoever switched it: it is found."""
    connection = apsw.Connection(str(filled))
    connection.execute("PRAGMA journal_mode=DELETE").fetchall()
    connection.close()
    (journal,) = (one for one in run("doctor", "--json").lines if one["check"] == "journal mode")
    assert journal == {"check": "journal mode", "good": False, "detail": "rollback journal"}


def test_a_store_is_not_copied_into_itself(run: Refold, filled: Path) -> None:
    """It would be told as copied, and there is no copy; a store of something else is named too."""
    for target in ("refold.db", "./refold.db", "sqlite:///refold.db"):
        refused = run("copy", str(filled), target)
        assert (refused.code, refused.out) == (2, "")
        assert "would be copied into itself" in refused.err
    with refold.open("other.db") as store:
        store.append("call-1", [refold.Event("y", {})])
    assert "holds 1 event, none of them of this copy" in run("copy", str(filled), "other.db").err
