"""A journal: a file that anyone can read, whose acknowledged lines are there whatever happens."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import msgspec
import pytest

import refold
from refold import Event
from refold.backends.journal import JournalBackend
from refold.errors import (
    BackendError,
    Corrupt,
    NotFound,
    OutcomeUnknown,
    Unavailable,
    UsageError,
)
from refold.times import restart_clock, to_us
from tests.house.tree import BIN
from tests.support.forking import ended, forked

NUMBERS: Any = [Event("test.n", {"n": 1})]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "calls.jsonl"


def numbers(store: refold.Store) -> list[int]:
    """What the events say, in order."""
    return [event.data["n"] for event in store.read_all()]


def n(number: int) -> list[Any]:
    return [Event("test.n", {"n": number})]


def test_whatever_space_a_payload_has_it_is_stored_elsewhere_too(path: Path) -> None:
    """A carriage return ends no line."""
    raw = msgspec.Raw(b'{"n":\r1}')
    with refold.open(path) as store:
        store.append("call-1", [Event("test.n", raw)])
    with closing(JournalBackend(path, mode="read")) as backend:
        ((_, batch),) = backend.batches()
    assert batch.writes[0].body == '[["test.n",{"n":\r1}]]'


def test_nothing_is_written_behind_what_an_interrupt_kept_from_memory(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would stand at the same place, and the file could not be read again."""
    with refold.open(path) as store:
        store.append("call-1", n(0))
        with monkeypatch.context() as patched:
            patched.setattr(JournalBackend, "_keep", _interrupted)
            with pytest.raises(KeyboardInterrupt):
                store.append("call-1", n(1))
        with pytest.raises(Unavailable, match="open it again"):
            store.append("call-1", n(2))
    with refold.open(path) as store:
        store.append("call-1", n(3))
        assert numbers(store) == [0, 1, 3]


def _interrupted(*_: object) -> None:
    raise KeyboardInterrupt


def test_a_line_can_be_read_by_anyone(path: Path) -> None:
    """An append is a line, appends that belong together are one."""
    with refold.open(path) as store:
        store.append("call-1", [Event("a.b", {"text": "é\n"})], key="k", metadata={"m": 1})
        store.append_together(
            [refold.Append("call-1", n(1)), refold.Append("call-2", n(2), refold.NO_STREAM)]
        )
    first, second = map(json.loads, path.read_text().splitlines())
    assert first["events"] == [["a.b", {"text": "é\n"}]]
    assert (first["stream"], first["version"], first["position"]) == ("call-1", 0, 1)
    assert (first["key"], first["metadata"]) == ("k", {"m": 1})
    assert to_us(first["recorded_at"]) > 0
    assert [(line["stream"], line["position"]) for line in second] == [("call-1", 2), ("call-2", 3)]


def test_what_the_clock_said_is_kept(path: Path) -> None:
    """Where it stood behind, and where time began again: opened anew, and copied."""
    readings = [900, 100, 800]
    clock = lambda: readings[0] * 1_000_000  # noqa: E731
    with refold.open(path, clock=clock) as store:
        store.append("call-1", n(1), key="k")
        del readings[0]
        with pytest.warns(RuntimeWarning, match="restart-clock"):
            store.append_together([refold.Append("call-1", n(2)), refold.Append("call-2", n(3))])
        restart_clock(store)
        del readings[0]
        store.append("call-1", n(4))
        written = list(store.read_all())
    assert [one.occurred_at_us // 1_000_000 for one in written] == [900, 100, 100, 100, 800]
    assert [one.recorded_at_us // 1_000_000 for one in written] == [900, 900, 900, 100, 800]
    _, (behind, _), turn, _ = map(json.loads, path.read_text().splitlines())
    assert (to_us(behind["clock_at"]), "clock_at" in turn) == (100_000_000, False)
    with refold.open(path, clock=clock) as again, refold.open(path.with_suffix(".db")) as database:
        assert list(again.read_all()) == written
        assert again.copy_into(database) == 5
        assert list(database.read_all()) == written
        assert all(check.good for store in (again, database) for check in store.check())
        for store in (again, database):
            known = [event.version for event in store.read("call-1")]
            fold = store.fold("call-1", refold.Fold("any", int), recorded_until=100_000_000)
            assert (fold.version, known) == (1, [0, 1, 2])


def test_bytes_with_line_breaks_come_back(path: Path) -> None:
    """A payload that was given as text keeps its white space, and stays on one line."""
    raw = b'{\n "n": 1\r\n}'
    with refold.open(path) as store:
        store.append("call-1", [Event("test.n", msgspec.Raw(raw))])
        store.append("call-1", n(2))
    with refold.open(path) as store:
        assert store.event("call-1@0").raw == raw
        assert numbers(store) == [1, 2]


@pytest.mark.parametrize("torn", [b"{", b'{"position":3', b"\x00" * 100, b"\xff"])
def test_a_torn_last_line_is_mended(path: Path, torn: bytes) -> None:
    """It was never acknowledged; what was is there, and the next append stands behind it."""
    with refold.open(path) as store:
        store.append("call-1", n(1))
    with path.open("ab") as file:
        file.write(torn)
    with refold.open(path, mode="read") as reader:
        assert numbers(reader) == [1]
    with refold.open(path) as store:
        assert store.append("call-1", n(2)).position == 2
    with refold.open(path) as store:
        assert numbers(store) == [1, 2]


@pytest.mark.parametrize(
    "damage",
    [
        lambda lines: [lines[0], b"{}\n", lines[2]],
        lambda lines: [lines[0], lines[2]],
        lambda lines: [lines[0], lines[0], *lines[1:]],
        lambda lines: [lines[1], lines[0], lines[2]],
        lambda lines: [lines[0].replace(b'"version":0', b'"version":1'), *lines[1:]],
        lambda lines: [lines[0].replace(b"test.n", b"te\xff.n"), *lines[1:]],
        lambda lines: [lines[0].replace(b"20", b"2o", 1), *lines[1:]],
        lambda lines: [b"\n", *lines],
    ],
)
def test_damage_within_is_told_with_its_line(path: Path, damage: Any) -> None:
    """A line that was changed, lost, doubled or moved: nothing is guessed."""
    with refold.open(path) as store:
        for number in range(3):
            store.append("call-1", n(number))
    before = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(damage(before)))
    with pytest.raises(Corrupt, match=r"line \d of .*calls.jsonl"):
        refold.open(path)


def test_one_process_writes_and_others_read_on(path: Path) -> None:
    """A second writer is refused; a reader sees each append as it is made."""
    with refold.open(path) as store, refold.open(path, mode="read") as reader:
        with pytest.raises(Unavailable, match="one writer"):
            refold.open(path)
        for number in range(3):
            store.append("call-1", n(number), key=f"k{number}")
            assert reader.log_head() == number + 1
            assert reader.head("call-1") == number
            assert reader.find(f"k{number}") == store.find(f"k{number}")
            assert numbers(reader) == list(range(number + 1))
        with pytest.raises(UsageError, match="opened to read"):
            reader.append("call-1", n(9))
    with pytest.raises(NotFound):
        refold.open(path.with_name("none.jsonl"), mode="read")


def test_a_subscription_of_a_reader_follows(path: Path) -> None:
    """What another process appends reaches who subscribes."""
    with (
        refold.open(path) as store,
        refold.open(path, mode="read") as reader,
        reader.subscribe() as subscription,
    ):
        store.append("call-1", n(1))
        assert next(subscription).data == {"n": 1}
        threading.Timer(0.1, store.append, ["call-1", n(2)]).start()
        assert next(subscription).data == {"n": 2}


@pytest.mark.parametrize("how", ["removed", "replaced"])
def test_a_file_that_is_gone_is_told_at_the_next_append(path: Path, how: str) -> None:
    """What was acknowledged is no longer there: nothing more is acknowledged into nowhere."""
    with refold.open(path) as store:
        store.append("call-1", n(1))
        moved = path.rename(path.with_suffix(".old"))
        if how == "replaced":
            path.write_bytes(moved.read_bytes())
        with pytest.raises(BackendError) as error:
            store.append("call-1", n(2))
        assert error.value.code == "file_gone"
        moved.rename(path)
        assert store.append("call-1", n(3)).position == 2


@pytest.mark.parametrize("how", ["removed", "replaced"])
def test_a_reader_of_a_file_that_is_gone_is_told(path: Path, how: str) -> None:
    """What it has read is no longer what is there: it would never see what comes."""
    with refold.open(path) as store:
        store.append("call-1", n(1))
    with refold.open(path, mode="read") as reader:
        assert numbers(reader) == [1]
        moved = path.rename(path.with_suffix(".old"))
        if how == "replaced":
            with refold.open(path) as another:
                another.append("call-1", n(2))
        with pytest.raises(BackendError) as error:
            numbers(reader)
        assert error.value.code == "file_gone"
        assert "nothing was read" in str(error.value) and "written" not in str(error.value)
        moved.rename(path)
        assert numbers(reader) == [1]


def test_a_relative_path_stays_what_it_was_in_another_folder(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both who writes and who reads go on where the process has changed its folder."""
    monkeypatch.chdir(path.parent)
    with refold.open(path.name) as store, refold.open(path.name, mode="read") as reader:
        (tmp_path / "other").mkdir()
        monkeypatch.chdir(tmp_path / "other")
        store.append("call-1", n(1))
        assert numbers(reader) == numbers(store) == [1]


def test_a_folder_that_cannot_be_looked_into_any_more_is_told(tmp_path: Path) -> None:
    """As it is where the folder is none any more: in an error of refold's own, with the path."""
    path = tmp_path / "folder" / "calls.jsonl"
    path.parent.mkdir()
    with refold.open(path) as store:
        store.append("call-1", n(1))
        kept = path.parent.rename(tmp_path / "kept")
        path.parent.symlink_to(path.parent)
        with pytest.raises(Unavailable) as unavailable:
            store.append("call-1", n(2))
        assert unavailable.value.path == str(path)
        path.parent.unlink()
        path.parent.write_text("no folder")
        with pytest.raises(BackendError) as gone:
            store.append("call-1", n(2))
        assert gone.value.code == "file_gone"
        path.parent.unlink()
        kept.rename(path.parent)
        assert store.append("call-1", n(2)).position == 2


def test_a_check_is_right_while_another_process_writes(path: Path) -> None:
    """What was written between two looks is no fault of the file."""
    with refold.open(path) as writer, refold.open(path, mode="read") as reader:
        writer.append("call-1", n(1))

        @contextmanager
        def read_by(again: JournalBackend) -> Iterator[JournalBackend]:
            with closing(again):
                yield again
            writer.append("call-1", n(2))

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("refold.backends.journal.closing", read_by)
            (check,) = reader.check()
        assert check.good, check.detail
        assert numbers(reader) == [1, 2]


def test_a_forked_process_opens_the_journal_of_one_that_is_gone(path: Path) -> None:
    """As a daemon does: what it was forked with keeps no lock on the file."""

    def middle() -> None:
        store = refold.open(path)
        store.append("call-1", n(1))

        def daemon() -> None:
            with pytest.raises(UsageError) as refused:
                list(store.check())
            assert refused.value.code == "forked"
            while os.getppid() == parent:
                time.sleep(0.001)
            with refold.open(path) as own:
                own.append("call-1", n(2))
            os.write(told, b"done")

        parent = os.getpid()
        forked(daemon)

    heard, told = os.pipe()
    assert ended(forked(middle)) == 0
    os.close(told)
    assert os.read(heard, 9) == b"done"
    os.close(heard)
    with refold.open(path) as store:
        assert numbers(store) == [1, 2]


def check_heard(pipe: int) -> None:
    """Wait for a word."""
    assert os.read(pipe, 1)


def test_a_forked_process_keeps_no_lock_of_a_journal(path: Path) -> None:
    """Its parent closes the file and opens it again, however long the child lives."""
    heard, told = os.pipe()
    store = refold.open(path)
    store.append("call-1", n(1))
    child = forked(lambda: check_heard(heard))
    store.close()
    with refold.open(path) as again:
        assert again.append("call-1", n(2)).position == 2
    os.write(told, b"x")
    assert ended(child) == 0
    os.close(heard)
    os.close(told)


def test_a_full_disk_stores_nothing_of_an_append(path: Path) -> None:
    """The call says so, and the next one that fits is stored."""
    program = """
import resource, signal, sys
import refold
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
with refold.open(sys.argv[1]) as store:
    store.append("call-1", [refold.Event("test.n", {"n": 1})])
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, resource.RLIM_INFINITY))
    try:
        store.append("call-1", [refold.Event("test.n", {"n": 2, "long": "x" * 2000})])
    except refold.RefoldError as error:
        print(type(error).__name__, error)
    store.append("call-1", [refold.Event("test.n", {"n": 3})])
"""
    shown = subprocess.run(
        [sys.executable, "-c", program, path], capture_output=True, text=True, check=True
    )
    assert shown.stdout.startswith("Unavailable ")
    assert "nothing was stored" in shown.stdout
    with refold.open(path) as store:
        assert numbers(store) == [1, 3]


def test_a_sync_that_fails_leaves_the_outcome_unknown(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No more is written over what may not be on the disk; opened again it is there or not."""
    with refold.open(path) as store:
        store.append("call-1", n(1))
        with monkeypatch.context() as broken:

            def fail(_: int) -> None:
                raise OSError(5, "Input/output error")

            broken.setattr(os, "fdatasync", fail)
            with pytest.raises(OutcomeUnknown):
                store.append("call-1", n(2))
        with pytest.raises(Unavailable, match="open it again"):
            store.append("call-1", n(3))
        assert numbers(store) == [1]
    with refold.open(path) as store:
        assert numbers(store) in ([1], [1, 2])


def test_an_interrupt_between_file_and_memory_loses_nothing(path: Path) -> None:
    """Wherever in a commit it comes, the file and the store agree at the next one."""
    with refold.open(path) as store:
        for number in range(60):
            with suppress(KeyboardInterrupt), Interrupted(number):
                store.append("call-1", n(number))
        store.append("call-1", n(99))
        seen = numbers(store)
    with refold.open(path) as again:
        assert numbers(again) == seen
    assert seen[-1] == 99
    assert seen == sorted(set(seen))


class Interrupted:
    """Raises KeyboardInterrupt at the n-th line that the journal runs in the block."""

    def __init__(self, lines: int) -> None:
        self.left = lines

    def _trace(self, frame: Any, event: str, _: Any) -> Any:
        if not frame.f_code.co_filename.endswith(("journal.py", "memory.py")):
            return None
        if event == "line":
            self.left -= 1
            if self.left == 0:
                raise KeyboardInterrupt
        return self._trace

    def __enter__(self) -> None:
        self._before = sys.gettrace()
        sys.settrace(self._trace)

    def __exit__(self, *_: object) -> None:
        sys.settrace(self._before)


def test_a_killed_writer_leaves_every_acknowledged_append(path: Path) -> None:
    """Killed in the midst, several times; the next writer goes on where it stood."""
    program = """
import sys, refold
with refold.open(sys.argv[1]) as store:
    while True:
        number = store.append("call-1", [refold.Event("test.n", {"n": store.log_head()})]).position
        print(number, flush=True)
"""
    acknowledged = 0
    for _ in range(4):
        child = subprocess.Popen([sys.executable, "-c", program, path], stdout=subprocess.PIPE)
        assert child.stdout is not None
        lines: Iterator[bytes] = iter(child.stdout)
        for _ in range(50):
            acknowledged = int(next(lines))
        child.send_signal(signal.SIGKILL)
        acknowledged = max([acknowledged, *(int(line) for line in lines if line.endswith(b"\n"))])
        child.wait()
        child.stdout.close()
        with refold.open(path, mode="read") as reader:
            assert reader.log_head() >= acknowledged
            assert numbers(reader) == list(range(reader.log_head()))


def test_many_threads_share_it(path: Path) -> None:
    """Their appends are committed together, each whole."""
    with refold.open(path) as store:

        def work(worker: int) -> None:
            for number in range(25):
                expected = number - 1 if number else refold.NO_STREAM
                store.append(f"call-{worker}", n(number), expected=expected)

        threads = [threading.Thread(target=work, args=(worker,)) for worker in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    with refold.open(path) as store:
        assert store.log_head() == 200
        for worker in range(8):
            assert [e.data["n"] for e in store.read(f"call-{worker}")] == list(range(25))


def test_it_is_copied_when_it_is_outgrown(path: Path, tmp_path: Path) -> None:
    """`refold copy` makes a database in which all stands as it stood."""
    with refold.open(path) as store:
        for number in range(5):
            store.append(f"call-{number % 2}", n(number), key=f"k{number}", metadata={"m": number})
        store.branch("call-1", at=0).save("call-1~b")
        before = [(e, e.metadata, e.recorded_at_us) for e in store.read_all()]
    target = tmp_path / "agents.db"
    command = [str(BIN / "refold"), "copy", str(path), "--db", str(target)]
    shown = subprocess.run(command, capture_output=True, text=True, check=True)
    assert shown.stdout == f"copied {len(before)} events to {target}\n"
    with refold.open(target) as copy:
        assert [(e, e.metadata, e.recorded_at_us) for e in copy.read_all()] == before
        assert copy.append("call-1", n(3), key="k3", metadata={"m": 3}).duplicate
    again = subprocess.run(command, capture_output=True, text=True, check=True)
    assert again.stdout == shown.stdout
    with refold.open(target) as copy:
        assert copy.log_head() == len(before) == len({(e.stream, e.version) for e, *_ in before})
        copy.append("call-9", n(1))
    again = subprocess.run(command, capture_output=True, text=True, check=False)
    assert again.returncode == 2
    assert "7 events, none of them of this copy" in again.stderr


def test_a_journal_is_a_backend_of_its_own(path: Path) -> None:
    """The suffix decides."""
    with refold.open(path) as store:
        assert isinstance(store._backend, JournalBackend)
