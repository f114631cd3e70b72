"""Old months in a folder: what is written, read back, taken out and brought back."""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

import apsw
import pyarrow.parquet
import pytest

import refold
from refold import Event
from refold.archive import archiving
from refold.core.query import Query
from refold.errors import BackendError, Corrupt, NotFound, Unavailable, UsageError
from refold.partitions import Partitions
from tests.support import postgres
from tests.support.months import MARCH, everything, fill

A = Event("test.a", {"n": 1})


@pytest.fixture
def url() -> str:
    """A store with events in three months, of two tenants."""
    made = postgres.schema_of_its_own()
    fill(made)
    fill(f"{made}&tenant=3")
    return made


def bad(store: refold.Store) -> list[str]:
    """What doctor calls bad."""
    return [f"{check.name}: {check.detail}" for check in store.check() if not check.good]


def states(store: refold.Store) -> dict[str, str]:
    """Where the months are that hold anything."""
    return {one.month: one.state for one in Partitions(store).months() if one.appends}


@pytest.mark.parametrize("kept_as", ["packed", "parquet"])
def test_what_was_dropped_reads_as_before(url: str, tmp_path: Path, kept_as: Any) -> None:
    """Through the same calls, where the address names the folder; in every way of asking."""
    with refold.open(url) as store:
        before, partitions = everything(store), Partitions(store)
        done = partitions.archive("2025-03", tmp_path / "old", format=kept_as)
        assert [(one.month, one.first, one.last) for one in done] == [
            ("2025-01", 1, 9),
            ("2025-02", 10, 14),
        ]
        assert everything(store) == before
        for month in ("2025-01", "2025-02"):
            partitions.drop(month)
            assert bad(store) == []
        assert states(store) == {"2025-01": "dropped", "2025-02": "dropped", "2025-03": "attached"}
        with pytest.raises(BackendError) as caught:
            list(store.read("call-1"))
        assert str(tmp_path / "old") in caught.value.message
    for tenant in (0, 3):
        with refold.open(f"{url}&tenant={tenant}&archive={tmp_path}/old") as store:
            assert everything(store) == before
            assert bad(store) == []
            store._backend.drop_snapshots()  # type: ignore[attr-defined]
            assert everything(store) == before
    with refold.open(url) as store:
        for month in ("2025-02", "2025-01"):
            Partitions(store).attach(month)
        assert everything(store) == before


def test_a_dropped_month_comes_back(url: str, tmp_path: Path) -> None:
    """From its archive, to the byte; also where that was moved."""
    with refold.open(url) as store:
        before, partitions = everything(store), Partitions(store)
        partitions.archive("2025-02", tmp_path / "old")
        partitions.drop("2025-01")
        shutil.move(tmp_path / "old", tmp_path / "moved")
        with pytest.raises(NotFound):
            partitions.attach("2025-01")
        partitions.attach("2025-01", archive=tmp_path / "moved")
        assert everything(store) == before
        assert bad(store) == []
        assert set(states(store).values()) == {"attached"}
        partitions.drop("2025-01", archive=tmp_path / "moved")
        assert states(store)["2025-01"] == "dropped"


def test_nothing_is_dropped_before_it_is_archived(url: str, tmp_path: Path) -> None:
    """Nor where the archive is no longer what was written; it says which command comes first."""
    with refold.open(url) as store:
        partitions = Partitions(store)
        with pytest.raises(UsageError) as refused:
            partitions.drop("2025-01")
        assert "refold archive --before 2025-02" in refused.value.message
        partitions.archive("2025-02", tmp_path)
        path = tmp_path / "2025-01.packed"
        path.write_bytes(path.read_bytes()[:-1])
        with pytest.raises(Corrupt) as caught:
            partitions.drop("2025-01")
        assert caught.value.path == str(path)
        assert states(store)["2025-01"] == "attached"


def test_an_open_month_is_refused(url: str, tmp_path: Path) -> None:
    """Before anything is written."""
    with refold.open(url) as store, pytest.raises(UsageError) as caught:
        Partitions(store).archive("2025-04", tmp_path / "old")
    assert caught.value.code == "month_open"
    assert not (tmp_path / "old").exists()


@pytest.mark.parametrize(
    "name", ["2025-01.json", "2025-01.packed", "2025-01.index", "2025-01.parquet"]
)
def test_damage_is_found_by_name(url: str, tmp_path: Path, name: str) -> None:
    """Any byte of any file: whoever reads is told which, and so is doctor."""
    kept_as: Any = "packed" if name.endswith(("json", "packed")) else "parquet"
    with refold.open(url) as store:
        Partitions(store).archive("2025-02", tmp_path, format=kept_as)
        Partitions(store).drop("2025-01")
    path = tmp_path / name
    whole = path.read_bytes()
    for at in range(0, len(whole), len(whole) // 3):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        with refold.open(f"{url}&archive={tmp_path}") as store:
            with pytest.raises(Corrupt) as caught:
                list(store.read("call-1"))
            assert caught.value.path == str(path)
            (found,) = bad(store)
            assert found.startswith("months: ")
            assert name in found
    path.unlink()
    with refold.open(f"{url}&archive={tmp_path}") as store, pytest.raises(BackendError) as missing:
        list(store.read_all())
    assert name.partition(".")[0] in missing.value.message


def test_the_manifest_says_what_is_there(url: str, tmp_path: Path) -> None:
    """Every file with its SHA-256, each tenant's positions, and the bounds of the month."""
    with refold.open(url) as store:
        Partitions(store).archive("2025-02", tmp_path)
    said = json.loads((tmp_path / "2025-01.json").read_text())
    assert (said["format"], said["version"], said["month"]) == ("refold-archive", 1, "2025-01")
    assert said["runs"] == [
        {"tenant": 0, "first": 1, "last": 9, "appends": 6},
        {"tenant": 3, "first": 1, "last": 9, "appends": 6},
    ]
    assert [one["name"] for one in said["files"]] == ["2025-01.packed"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["2025-01.json", "2025-01.packed"]


def test_what_differs_from_the_store_does_not_count(url: str, tmp_path: Path) -> None:
    """A folder that holds the same month of another store is told of, and nothing is dropped."""
    other = postgres.schema_of_its_own()
    fill(other)
    for place in (other, url):
        with refold.open(place) as store:
            if place == other:
                Partitions(store).archive("2025-02", tmp_path)
                continue
            with pytest.raises(Corrupt):
                Partitions(store).archive("2025-02", tmp_path)
            assert {one.manifest for one in Partitions(store).months()} == {None}


def test_a_log_with_an_archive_is_copied_whole(url: str, tmp_path: Path) -> None:
    """Into a file, positions, keys and branches as they were; without it the copy is refused."""
    with refold.open(url) as store:
        before = everything(store)
        Partitions(store).archive("2025-03", tmp_path / "old")
        Partitions(store).drop("2025-01")
        with refold.open(tmp_path / "none.db") as target, pytest.raises(BackendError):
            store.copy_into(target)
    with (
        refold.open(f"{url}&archive={tmp_path}/old") as store,
        refold.open(tmp_path / "copy.db") as target,
    ):
        assert store.copy_into(target) == 19
        assert everything(target) == before


def test_read_models_are_built_through_the_archive(url: str, tmp_path: Path) -> None:
    """A subscriber from the first position on, and one that asks by tag."""
    with refold.open(url, clock=lambda: MARCH) as store:
        Partitions(store).archive("2025-03", tmp_path)
        Partitions(store).drop("2025-01")
        Partitions(store).drop("2025-02")
    with refold.open(f"{url}&archive={tmp_path}", clock=lambda: MARCH) as store:
        follower = store.subscribe(after=0)
        assert [next(follower).position for _ in range(19)] == list(range(1, 20))
        found = store.read_all(matching=Query(tags=["x:1"], types=["test.b"]))
        assert [e.position for e in found] == [4, 13, 18]


def test_other_tools_read_parquet(url: str, tmp_path: Path) -> None:
    """A row an append, with the columns of the log; the body is its text."""
    with refold.open(url) as store:
        Partitions(store).archive("2025-02", tmp_path, format="parquet")
    rows = pyarrow.parquet.read_table(tmp_path / "2025-01.parquet").to_pylist()
    assert [(row["tenant"], row["position"], row["count"]) for row in rows[:3]] == [
        (0, 1, 2),
        (0, 3, 2),
        (0, 5, 1),
    ]
    assert rows[0]["types"] == ["test.a", "test.b"]
    assert json.loads(rows[0]["body"])[0][0] == "test.a"


def test_parquet_names_its_extra(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where pyarrow is not installed; nothing is left in the folder."""
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with refold.open(url) as store, pytest.raises(UsageError) as caught:
        Partitions(store).archive("2025-02", tmp_path, format="parquet")
    assert "pip install 'refold[export]'" in caught.value.message
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), apsw.FullError("full")])
def test_a_full_disk_is_told(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    """With the folder; nothing there counts, and when there is room it is done."""

    def fail(*_: object) -> None:
        raise error

    with refold.open(url) as store:
        for place in (archiving, "write_index"), (os, "fsync"):
            with monkeypatch.context() as patched, pytest.raises(Unavailable) as caught:
                patched.setattr(*place, fail)
                Partitions(store).archive("2025-02", tmp_path)
            assert caught.value.path == str(tmp_path)
            assert "make room there, or name a folder" in caught.value.message
            assert not (tmp_path / "2025-01.json").exists()
        (tmp_path / "file").touch()
        with pytest.raises(Unavailable):
            Partitions(store).archive("2025-02", tmp_path / "file" / "old")
        Partitions(store).archive("2025-02", tmp_path)
        Partitions(store).drop("2025-01")


@pytest.mark.parametrize("kept_as", ["packed", "parquet"])
def test_what_rots_after_it_was_hashed_is_found(url: str, tmp_path: Path, kept_as: Any) -> None:
    """Each block says itself whether it is what was written."""
    path = tmp_path / f"2025-01.{kept_as}"
    with refold.open(url) as store:
        Partitions(store).archive("2025-02", tmp_path, format=kept_as)
        Partitions(store).drop("2025-01")
    with refold.open(f"{url}&archive={tmp_path}") as store:
        store._backend._months.month("2025-01")  # type: ignore[attr-defined]
        size = path.stat().st_size
        path.write_bytes(b"\xff" * size)
        with pytest.raises(Corrupt) as caught:
            list(store.read("call-1"))
        assert caught.value.path == str(path)
