"""A store whose files are removed, renamed or replaced while it is open: it says so, and when.

Found with `rm`: ten appends were acknowledged and none of them was anywhere.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import apsw
import pytest

import refold
from refold import Append, Event, Fold
from refold.backends.sqlite.file import close_quietly
from refold.errors import BackendError, Corrupt, UsageError

EVENTS = 30


def said(number: int) -> list[Event]:
    """One event."""
    return [Event("said", {"n": number})]


def numbers(store: refold.Store) -> list[int]:
    """What is in a log."""
    return [e.data["n"] for e in store.read_all(types=["said"])]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the log is, in a folder of its own."""
    (tmp_path / "folder").mkdir()
    return tmp_path / "folder" / "log.db"


@pytest.fixture
def store(path: Path) -> Iterator[refold.Store]:
    """A store that has acknowledged some events; an older copy of it lies beside."""
    with refold.open(path) as store:
        for number in range(EVENTS):
            store.append("call-1", said(number))
            if number == EVENTS // 2:
                store.backup(path.with_name("copy.db"))
        yield store


def remove(path: Path) -> None:
    """All of it."""
    for end in ("", "-wal", "-shm"):
        path.with_name(path.name + end).unlink()


def remove_alone(path: Path) -> None:
    """The database alone."""
    path.unlink()


def remove_wal(path: Path) -> None:
    """What was appended lately."""
    path.with_name(path.name + "-wal").unlink()


def remove_index(path: Path) -> None:
    """What connections find each other by."""
    path.with_name(path.name + "-shm").unlink()


def rename(path: Path) -> None:
    """Out of the way, as when logs are rotated."""
    path.rename(path.with_name("old.db"))


def replace(path: Path) -> None:
    """By an older copy, at once."""
    path.with_name("copy.db").rename(path)


def restore(path: Path) -> None:
    """As the documentation says, where the file was removed first."""
    remove(path)
    done = subprocess.run(
        [sys.executable, "-m", "refold", "restore", str(path.with_name("copy.db"))],
        env={**os.environ, "REFOLD_URL": str(path)},
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done


def rename_folder(path: Path) -> None:
    """The whole folder, with another in its place."""
    path.parent.rename(path.parent.with_name("old"))
    path.parent.mkdir()


CHANGES: list[Callable[[Path], None]] = [
    remove,
    remove_alone,
    remove_wal,
    remove_index,
    rename,
    replace,
    restore,
    rename_folder,
]


def counting() -> Fold[int]:
    """A fold."""
    fold: Fold[int] = Fold("count", int)
    fold.on("said")(lambda state, _: state + 1)
    return fold


CALLS: dict[str, Callable[[refold.Store], Any]] = {
    "append": lambda store: store.append("call-1", said(100)),
    "append to a new stream": lambda store: store.append("call-2", said(100)),
    "append together": lambda store: store.append_together([Append("call-1", said(100))]),
    "append many": lambda store: list(store.append_many([Append("call-1", said(100))])),
    "read": lambda store: list(store.read("call-1")),
    "read all": lambda store: list(store.read_all()),
    "head": lambda store: store.head("call-1"),
    "fold": lambda store: store.fold("call-1", counting()),
    "compact": lambda store: store.compact(),
    "check": lambda store: list(store.check()),
}


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_the_next_call_says_that_the_files_are_gone(
    store: refold.Store, path: Path, tmp_path: Path, change: Callable[[Path], None]
) -> None:
    """Every one of them, each time; and what was acknowledged can still be saved."""
    change(path)
    for call in [*CALLS.values()] * 2:
        with pytest.raises(BackendError) as gone:
            call(store)
        assert (gone.value.code, gone.value.path) == ("file_gone", str(path))
        assert gone.value.file.startswith(str(path))
    store.backup(tmp_path / "saved.db")
    with refold.open(tmp_path / "saved.db") as saved:
        assert numbers(saved) == list(range(EVENTS))
        assert all(check.good for check in saved.check())


def test_a_reader_of_a_file_that_was_replaced_says_so(store: refold.Store, path: Path) -> None:
    """It would show the old log for ever."""
    with refold.open(path, mode="read") as reader:
        assert numbers(reader) == list(range(EVENTS))
        store.close()
        restore(path)
        with pytest.raises(BackendError) as gone:
            numbers(reader)
        assert gone.value.code == "file_gone"
    with refold.open(path, mode="read") as reader:
        assert numbers(reader) == list(range(EVENTS // 2 + 1))


def test_appends_from_a_loop_are_told_as_well(path: Path) -> None:
    """Each that waits for the commit."""

    async def appended() -> list[object]:
        async with refold.open_async(path) as store:
            await store.append("call-1", said(0))
            rename(path)
            appends = [store.append(f"call-{number}", said(1)) for number in range(5)]
            return list(await asyncio.gather(*appends, return_exceptions=True))

    for error in asyncio.run(appended()):
        assert isinstance(error, BackendError)
        assert error.code == "file_gone"


def test_a_link_that_leads_elsewhere_is_told(store: refold.Store, path: Path) -> None:
    """What is acknowledged stands where the path leads."""
    link = path.with_name("link.db")
    link.symlink_to(path)
    with refold.open(link) as linked:
        linked.append("call-1", said(EVENTS))
        assert numbers(store) == numbers(linked) == list(range(EVENTS + 1))
        link.unlink()
        link.symlink_to(path.with_name("copy.db"))
        with pytest.raises(BackendError) as gone:
            linked.append("call-1", said(EVENTS + 1))
        assert gone.value.code == "file_gone"
    store.append("call-1", said(EVENTS + 1))


def test_a_file_that_is_put_back_is_gone_on_with(store: refold.Store, path: Path) -> None:
    """It is the one that is open: nothing was lost."""
    rename(path)
    with pytest.raises(BackendError):
        store.append("call-1", said(EVENTS))
    path.with_name("old.db").rename(path)
    store.append("call-1", said(EVENTS))
    assert numbers(store) == list(range(EVENTS + 1))


@pytest.mark.parametrize("forks", [False, True])
def test_a_log_restored_into_the_same_file_is_told(
    store: refold.Store, path: Path, forks: bool
) -> None:
    """SQLite's own backup writes into the file as it stands: the log goes back.

    Also where the process forked meanwhile, for which its connections were closed.
    """
    if forks and os.fork() == 0:
        os._exit(0)
    connection = apsw.Connection(str(path))
    copy = apsw.Connection(str(path.with_name("copy.db")))
    with connection.backup("main", copy, "main") as backup:
        backup.step()
    copy.close()
    connection.close()
    for _ in range(2):
        with pytest.raises(BackendError) as gone:
            store.append("call-1", said(EVENTS))
        assert not isinstance(gone.value, Corrupt)
        assert gone.value.code == "file_gone"
    assert numbers(store) == list(range(EVENTS // 2 + 1))


def test_what_others_rightly_do_to_the_files_is_no_loss(
    store: refold.Store, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Packing, checkpoints, repairs, copies, closing, and a process that changes its folder."""
    monkeypatch.chdir(path.parent)
    with refold.open("log.db") as relative:
        relative.append("call-1", said(EVENTS))
        monkeypatch.chdir(path.parent.parent)
        with refold.open(path) as other:
            other.compact()
            list(other.repair())
            other.backup(path.with_name("other.db"))
            other.append("call-1", said(EVENTS + 1))
        relative.append("call-1", said(EVENTS + 2))
        assert relative.head("call-1") == EVENTS + 2
        path.with_name("unrelated").write_text("x")
        path.touch()
        relative.append("call-1", said(EVENTS + 3))
    store.append("call-1", said(EVENTS + 4))
    assert numbers(store) == list(range(EVENTS + 5))


# -- files that come and go with the connections ------------------------------------------------


def test_a_reader_that_opens_while_the_last_connection_closes(
    store: refold.Store, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The WAL was removed by the close, and made anew by the reader: nothing has been replaced."""
    backend: Any = store._backend
    found = list[int]()

    def closed(connection: apsw.Connection) -> None:
        close_quietly(connection)
        if not found:
            path.with_name("other").touch()  # or the new WAL may get the inode of the old one
            found.append(backend.log_head())

    store.log_head()
    with backend._write_lock:
        backend._writer = None
        backend._close_writing()
    monkeypatch.setattr("refold.backends.sqlite.backend.close_quietly", closed)
    backend._close_idle_readers()
    assert found == [EVENTS]
    monkeypatch.undo()
    assert store.append("call-1", said(EVENTS)).position == EVENTS + 1


@pytest.mark.parametrize("mode", ["create", "write", "read"])
def test_a_file_of_two_names_is_opened_by_none(
    store: refold.Store, path: Path, mode: Literal["create", "write", "read"]
) -> None:
    """SQLite would keep a WAL for each name: what was appended by one was lost by the other.

    Found with `ln`: five appends of another process were acknowledged and overwritten.
    """
    other = path.with_name("other.db")
    os.link(path, other)
    for name in (path, other):
        with pytest.raises(UsageError) as error:
            refold.open(name, mode=mode)
        assert error.value.code == "hard_links"
    other.unlink()
    store.append("call-1", said(EVENTS))
    with refold.open(path, mode=mode) as again:
        assert numbers(again) == [*range(EVENTS + 1)]
