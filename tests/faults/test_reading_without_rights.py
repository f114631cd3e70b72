"""Readers who may not write: they see what others commit, and leave nothing behind.

Found in a folder of another user's: the reader had taken the file for one that nobody writes to,
and showed the log of the day it was opened, for ever.
"""

from __future__ import annotations

import gc
import os
import signal
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import refold
from refold import Event, Fold
from refold.backends.sqlite.place import FilePlace
from refold.errors import Unavailable
from tests.faults.unprivileged import unprivileged


def said(number: int) -> list[Event]:
    """One event, large enough for a few of them to fill a page."""
    return [Event("said", {"n": number, "text": "x" * 900})]


def counting() -> Fold[int]:
    """A fold."""
    fold: Fold[int] = Fold("count", int)
    fold.on("said")(lambda state, _: state + 1)
    return fold


def seen(reader: refold.Store) -> set[int]:
    """How many events there are, by everything that can tell."""
    return {
        len(list(reader.read_all())),
        len(list(reader.read("call-1"))),
        reader.log_head(),
        reader.head("call-1") + 1,
        reader.fold("call-1", counting()).state,
    }


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder of somebody else's that others may look into, with a log of ten events."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with refold.open(folder / "log.db") as store:
            append(store, range(10))
            store.compact()
            assert seen(store) == {10}
        folder.chmod(0o555)
        yield folder
        folder.chmod(0o755)


def append(store: refold.Store, numbers: range) -> None:
    """Append events one by one."""
    for number in numbers:
        store.append("call-1", said(number))


def watched(path: Path, steps: list[Callable[[], object]]) -> list[Any]:
    """What one reader without rights sees before, between and after what the owner does."""
    gc.collect()  # A store that a test left broken off would keep the reader from opening.
    go, done = os.pipe(), os.pipe()
    owner = os.fork()
    if owner == 0:
        for step in steps:
            os.read(go[0], 1)
            path.parent.chmod(0o755)
            step()
            path.parent.chmod(0o555)
            os.write(done[1], b"x")
        os._exit(0)

    def reader() -> list[Any]:
        found: list[Any] = []
        with refold.open(path, mode="read") as store:
            found.append(seen(store))
            for _ in steps:
                os.write(go[1], b"x")
                os.read(done[0], 1)
                found.append(seen(store))
        return found

    found = unprivileged(reader)
    if not isinstance(found, list):
        os.kill(owner, signal.SIGKILL)  # It waits for a reader that has ended.
    os.waitpid(owner, 0)
    for descriptor in (*go, *done):
        os.close(descriptor)
    assert isinstance(found, list), found
    return found


@pytest.mark.parametrize("bits", [0o444, 0o666])
@pytest.mark.parametrize("linked", [False, True])
def test_a_reader_without_rights_sees_what_its_owner_commits(
    folder: Path, tmp_path: Path, bits: int, linked: bool
) -> None:
    """While the owner has it open, after it was closed, packed, opened again; also by a link."""
    path = folder / "log.db"
    path.chmod(bits)
    given = path
    with tempfile.TemporaryDirectory() as links:
        if linked:
            Path(links).chmod(0o777)
            given = Path(links) / "link.db"
            given.symlink_to(path)
        kept: list[refold.Store] = []

        def session(numbers: range, *, packs: bool) -> None:
            with refold.open(path) as store:
                append(store, numbers)
                if packs:
                    store.compact()

        def begun() -> None:
            kept.append(refold.open(path))
            append(kept[0], range(10, 20))

        def gone_on() -> None:
            append(kept[0], range(20, 30))

        def ended() -> None:
            kept[0].compact()
            append(kept[0], range(30, 31))
            kept[0].close()

        steps: list[Callable[[], object]] = [
            begun,
            gone_on,
            ended,
            lambda: session(range(31, 40), packs=False),
            lambda: session(range(40, 400), packs=True),
        ]
        found = watched(given, steps)
    assert found == [{10}, {20}, {30}, {31}, {40}, {400}]


def test_a_reader_without_rights_leaves_nothing_behind(folder: Path) -> None:
    """Files of its own beside the log would keep the owner from writing."""
    (folder / "log.db").chmod(0o444)
    folder.chmod(0o777)
    before = sorted(folder.iterdir())

    def read() -> set[int]:
        with refold.open(folder / "log.db", mode="read") as store:
            return seen(store)

    assert unprivileged(read) == {10}
    assert sorted(folder.iterdir()) == before


def test_what_was_written_while_it_was_read_is_refused(folder: Path) -> None:
    """Half of one state and half of the next is neither."""
    path = folder / "log.db"

    def read() -> object:
        place = FilePlace(path.resolve())
        rest = place.at_rest()
        assert rest is not None
        place.check_unchanged(rest)
        with pytest.raises(Unavailable):
            place.check_unchanged((rest[0], rest[1], rest[2] - 1))
        return "refused"

    assert unprivileged(read) == "refused"
