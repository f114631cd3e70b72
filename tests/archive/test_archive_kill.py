"""An archiving that is killed: the whole archive or nothing that counts, and it goes on."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable
from functools import partial, wraps
from pathlib import Path
from typing import Any

import pytest

import refold
from refold.archive import archiving, manifest
from refold.backends.postgres.session import ServerSession
from refold.partitions import Partitions
from tests.support import postgres
from tests.support.forking import ended, forked
from tests.support.months import everything, fill
from tests.support.soak import bound, counted

MONTH = "2025-01"


def dropping(url: str, folder: Path, kill_at: int) -> None:
    """Archive a month and drop it; end by a kill before an operation of that number."""
    done = 0

    def counting(real: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(real)
        def step(*given: Any, **named: Any) -> Any:
            nonlocal done
            done += 1
            if done == kill_at:
                os.kill(os.getpid(), signal.SIGKILL)
            return real(*given, **named)

        return step

    for place, name in (
        (ServerSession, "execute"),
        (os, "fsync"),
        (Path, "replace"),
        (archiving, "write_index"),
        (archiving, "zip_longest"),
        (manifest, "file_of"),
    ):
        setattr(place, name, counting(getattr(place, name)))
    with refold.open(url) as store:
        done = 0
        Partitions(store).archive("2025-02", folder)
        Partitions(store).drop(MONTH)


@pytest.fixture
def url() -> str:
    """A store with events in three months."""
    made = postgres.schema_of_its_own()
    fill(made)
    return made


def test_killed_anywhere_it_is_whole_or_nothing(url: str, tmp_path: Path) -> None:
    """At every step: doctor is content, all can be read, and it ends when it is run again."""
    folder, kill_at, is_killed = tmp_path / "old", 1, True
    with refold.open(f"{url}&archive={folder}") as store:
        before = everything(store)
        while is_killed:
            code = ended(forked(partial(dropping, url, folder, kill_at)))
            is_killed = code == -signal.SIGKILL
            assert is_killed or code == 0
            assert [check for check in store.check() if not check.good] == []
            assert everything(store) == before
            (month,) = [one for one in Partitions(store).months() if one.month == MONTH]
            assert month.state != "dropped" or not is_killed or month.manifest is not None
            if (folder / f"{MONTH}.json").exists():
                said = manifest.read_manifest(folder, MONTH, month.manifest)
                manifest.check_files(folder, said)
            if kill_at % 2:  # Run again where it was, and else from the beginning.
                Partitions(store).archive("2025-02", folder)
                Partitions(store).drop(MONTH)
            Partitions(store).attach(MONTH)
            assert everything(store) == before
            begin_again(url, folder)
            store._backend._months.close()  # type: ignore[attr-defined]
            counted("archiving killed")
            kill_at += bound(7, 1)
    assert kill_at > 40


def begin_again(url: str, folder: Path) -> None:
    """As if the month had never been archived."""
    shutil.rmtree(folder, ignore_errors=True)
    schema = url.rpartition("=")[2]
    with postgres.connect(postgres.shared()) as admin:
        admin.execute(f"UPDATE {schema}.months SET folder = NULL, manifest = NULL".encode())
