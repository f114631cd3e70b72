"""A redaction that is cut off in PostgreSQL: all or nothing, and the same command finishes it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from itertools import count
from typing import Any

import pytest

import refold
from refold import Event
from refold.audit import verify
from refold.backends.postgres import session as sessions
from refold.backends.postgres.eraser import ServerEraser
from refold.errors import RefoldError
from refold.privacy.decisions import OUT_OF_REACH, decisions
from refold.privacy.redaction import redact
from refold.privacy.removing import Removal
from tests.audit.sealed import key_of, sealed_by
from tests.support import postgres
from tests.support.bytescan import ByteScan

KEPT = "what nobody asked to redact"
WHY = Removal("asked for")
_numbers = count(1)


@pytest.fixture(scope="module")
def server() -> Iterator[postgres.Server]:
    """A server that may be killed, and whose every byte can be looked through."""
    with postgres.servers() as started:
        yield started


@pytest.fixture
def place(server: postgres.Server) -> tuple[str, str]:
    """A sealed store of its own there, and what was said in it, many times."""
    number = next(_numbers)
    said = f"canary-words of the caller {number} canary"
    url = postgres.url(server.port, schema=f"cut_{number}")
    with refold.open(url) as store:
        for at in range(12):
            words = {"text": said, "more": f"{at:x}" * 3_000, "n": at}
            store.append("call-1", [Event("said", words), Event("said", {"text": KEPT})])
        sealed_by(store).checkpoint()
    return url, said


def run(url: str) -> list[str]:
    """The command: redact what was said, in the whole of the call; the parts that failed."""
    with refold.open(url) as store:
        removed = redact(store, ["call-1@0"], field="text", wanted=WHY)
        return [one.name for one in removed.checks if not one.good and one.name != OUT_OF_REACH]


def is_old(url: str, said: str) -> bool:
    """Whether all of it stands, where nothing else does; fails where it is a part of it."""
    with refold.open(url, mode="read") as store:
        texts = [event.data["text"] for event in store.read("call-1")]
    assert texts in ([said, KEPT] * 12, ["[redacted]", KEPT] * 12)
    return bool(texts[0] == said)


def check_finished(server: postgres.Server, url: str, said: str) -> None:
    """The same command finishes it: gone from every table, proved, and nothing left undone."""
    assert run(url) == []
    assert not is_old(url, said)
    with refold.open(url) as store:
        sealed_by(store).checkpoint()
        found = verify(store, deep=True, keys=[str(key_of().verifying)])
        assert (found.findings, len(found.redacted)) == ([], 12)
        assert decisions(store).redactions == {}
        assert [one for one in store.check() if one.name == "digests" and not one.good] == []
    with postgres.connect(server.port) as admin:
        admin.execute("CHECKPOINT")
    assert ByteScan([said]).in_folder(server._folder / "data" / "base") == {}


VICTIM = """
import os, signal, sys
from refold.backends.postgres.eraser import ServerEraser
from refold.privacy import removing
from tests.erasure.test_server_cut_off import run
name, left = sys.argv[2], [int(sys.argv[3])]
usual = ServerEraser._run
def counting(self, done, *values, **how):
    left[0] -= done == name
    if left[0] < 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return usual(self, done, *values, **how)
ServerEraser._run = counting
if name == "committed":
    removing.finish = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
run(sys.argv[1])
"""


@pytest.mark.parametrize(
    ("name", "number"),
    [("make_replaced", 0), ("put_append", 0), ("put_append", 7), ("mark_replaced", 14)],
)
def test_killed_before_the_commit_nothing_is_replaced(
    server: postgres.Server, place: tuple[str, str], name: str, number: int
) -> None:
    """Before the first statement, between two appends, behind the last of them."""
    url, said = place
    kill(url, name, number)
    assert is_old(url, said)
    check_finished(server, url, said)


def test_killed_behind_the_commit_all_of_it_is_replaced(
    server: postgres.Server, place: tuple[str, str]
) -> None:
    """Old bytes and salts may still be there; the same command takes them out."""
    url, said = place
    kill(url, "committed", 0)
    assert not is_old(url, said)
    check_finished(server, url, said)


def kill(url: str, name: str, number: int) -> None:
    """Run the command in a process that is killed at the statement of a name and number."""
    done = subprocess.run(
        [sys.executable, "-c", VICTIM, url, name, str(number)],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert done.returncode == -signal.SIGKILL, done.stderr


def once_at_append(
    monkeypatch: pytest.MonkeyPatch, number: int, fault: Callable[[int], object]
) -> None:
    """Something happens once to the session, before the append of a number is replaced."""
    usual, left = ServerEraser._run, [number]

    def counting(self: ServerEraser, name: str, *values: Any, **how: Any) -> Any:
        left[0] -= name == "put_append"
        if left[0] == -1 and name == "put_append":
            fault(self._tables.execute("SELECT pg_backend_pid()", ())[0][0])
        return usual(self, name, *values, **how)

    monkeypatch.setattr(ServerEraser, "_run", counting)


@pytest.mark.parametrize("number", [0, 7])
def test_a_server_that_is_killed_meanwhile_has_all_or_nothing(
    server: postgres.Server, place: tuple[str, str], monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """Where the command does not get through by itself it says so; repeated, it does."""
    url, said = place
    happened: list[int] = []

    def killing(_: int) -> None:
        happened.append(server.process.pid)
        server.kill()
        server.start()

    once_at_append(monkeypatch, number, killing)
    try:
        run(url)
    except RefoldError:
        assert is_old(url, said)
    assert len(happened) == 1
    is_old(url, said)
    check_finished(server, url, said)


@pytest.mark.parametrize("number", [0, 7])
def test_a_disk_that_is_full_meanwhile_leaves_what_stood(
    server: postgres.Server, place: tuple[str, str], monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """No table and no log of the server can grow: the command fails; with room it succeeds."""
    url, said = place
    monkeypatch.setattr(sessions, "RETRY_S", 1.0)

    def filling(session: int) -> None:
        postgres.limited([server.process.pid, session], 4096)

    once_at_append(monkeypatch, number, filling)
    try:
        with pytest.raises(RefoldError):
            run(url)
    finally:
        server.stop()
        server.start()
    assert is_old(url, said)
    check_finished(server, url, said)
