"""A sealed log looked at by several processes: they find what one finds, and none outlives it."""

from __future__ import annotations

import pickle
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

import refold
from refold.audit import processes, verify
from refold.audit.findings import FINDINGS_MAX, Findings
from refold.errors import NotFound, Unavailable
from tests.audit.attacks import Db, change_payload, cut_tail, delete_event, made


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[subprocess.Popen[bytes]]]:
    """The processes that are started, for stretches of a small log; all are to have ended."""
    monkeypatch.setattr(processes, "EVENTS_A_STRETCH", 20)
    all_of_them: list[subprocess.Popen[bytes]] = []

    class Noted(subprocess.Popen[bytes]):
        def __init__(self, *args: object, **how: object) -> None:
            super().__init__(*args, **how)  # type: ignore[call-overload]
            all_of_them.append(self)

    monkeypatch.setattr(processes, "Helper", Noted)
    yield all_of_them
    assert [one.poll() is None for one in all_of_them] == [False] * len(all_of_them)


def reader_of(db: Db) -> partial[refold.Store]:
    """What opens the log anew."""
    return partial(refold.open, db.url, mode="read")


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_several_find_what_one_finds(
    kind: str, tmp_path: Path, started: list[subprocess.Popen[bytes]]
) -> None:
    """In the order of the log, with what is wrong in the tree and its heads first."""
    db, told = made(kind, tmp_path / "log"), list[tuple[int, int]]()
    for attack in (None, change_payload, delete_event, cut_tail):
        if attack is not None:
            attack(db)
        told.clear()
        with reader_of(db)() as store:
            alone = verify(store, deep=True)
            found = verify(
                store,
                deep=True,
                reopen=reader_of(db),
                jobs=3,
                progress=lambda done, whole: told.append((done, whole)),
            )
            assert found == alone
            until = min(90, store.log_head())
        assert bool(found.findings) == (attack is not None)
        assert told == [(done, until) for done in (*range(21, until, 21), until)]
    assert len(started) == 12


@pytest.mark.parametrize("error", [KeyboardInterrupt, ZeroDivisionError])
def test_what_ends_it_ends_the_processes(
    error: type[BaseException], tmp_path: Path, started: list[subprocess.Popen[bytes]]
) -> None:
    """An interrupt, or a failure of who is told of the progress."""
    db = made("sqlite", tmp_path / "log")

    def fail(_done: int, _whole: int) -> None:
        raise error

    with reader_of(db)() as store, pytest.raises(error):
        verify(store, deep=True, reopen=reader_of(db), jobs=2, progress=fail)
    assert len(started) == 2


@pytest.mark.parametrize("hears", [True, False])
def test_a_process_without_a_parent_ends(hears: bool, tmp_path: Path) -> None:
    """Before it is asked anything, or when it has something to tell; it says nothing of that."""
    db, pipe = made("sqlite", tmp_path / "log"), subprocess.PIPE
    code = f"from {processes.__name__} import help_verify; help_verify()"
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe) as helper:
        assert helper.stdin is not None
        assert helper.stdout is not None
        helper.stdout.close()
        if hears:
            pickle.dump((reader_of(db), [(0, 90)]), helper.stdin)
        helper.stdin.close()
        assert helper.stderr is not None
        assert helper.stderr.read() == b""
    assert helper.returncode == 0


@pytest.mark.parametrize(
    ("opens", "executable", "raised"),
    [
        (partial(refold.open, "/nowhere/a.db", mode="read"), sys.executable, NotFound),
        (partial(refold.open, "memory:"), "/bin/false", Unavailable),
    ],
)
def test_what_a_process_fails_with_is_raised(
    opens: Callable[[], refold.Store],
    executable: str,
    raised: type[Exception],
    tmp_path: Path,
    started: list[subprocess.Popen[bytes]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Silence is not agreement: one that says nothing is an error as well."""
    db = made("sqlite", tmp_path / "log")
    monkeypatch.setattr(sys, "executable", executable)
    with reader_of(db)() as store, pytest.raises(raised):
        verify(store, deep=True, reopen=opens, jobs=2)
    assert len(started) == 2


@pytest.mark.parametrize("how", [{}, {"jobs": 2}, {"reopen": partial(refold.open, "memory:")}])
def test_one_process_looks_alone_where_no_other_is_asked(
    how: dict[str, object], tmp_path: Path, started: list[subprocess.Popen[bytes]]
) -> None:
    """A log in memory cannot be opened elsewhere, and a small one need not be."""
    db = made("sqlite", tmp_path / "log")
    with reader_of(db)() as store:
        assert verify(store, deep=True, **how).events == 90  # type: ignore[arg-type]
    assert started == []


def test_findings_of_several_are_told_within_the_bound() -> None:
    """The first ones, and how many there are."""
    findings = Findings()
    for start in (0, 70, 140):
        own = Findings()
        for position in range(start, start + 70):
            own.add("event", "differs", position)
        findings.take(own)
    assert findings.count == 210
    assert [one.position for one in findings.told] == list(range(FINDINGS_MAX))
