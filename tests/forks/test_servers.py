"""The recipes of the page on servers that fork, under the real servers."""

from __future__ import annotations

import http.client
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

import refold
from tests.house.snippets import blocks_of
from tests.house.tree import ROOT

PAGE = ROOT / "docs" / "how-to" / "use-a-store-in-servers-that-fork.md"
BIN = Path(sys.executable).parent
STARTS_IN_S = 60.0
REQUESTS = 24


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with the files of the page."""
    for block in blocks_of(PAGE):
        if block.file_name is not None:
            (tmp_path / block.file_name).write_text(block.text)
    for name in ("queue", "results"):  # Celery's.
        (tmp_path / name).mkdir()
    return tmp_path


def command(program: str, *more: str) -> list[str]:
    """The line of the page that starts a server."""
    (line,) = re.findall(rf"^{program} .*", PAGE.read_text(), re.MULTILINE)
    words = shlex.split(line)
    return [str(BIN / words[0]), *words[1:], *more]


@contextmanager
def running(words: list[str], folder: Path, *, until: str) -> Iterator[str]:
    """A server in a folder, until the block ends; what its log says when it has started."""
    log = folder / "server.log"
    environment = {**os.environ, "HOME": str(folder), "PYTHONPATH": str(folder)}
    with log.open("wb") as to:
        server = subprocess.Popen(words, cwd=folder, env=environment, stdout=to, stderr=to)
    try:
        yield awaited(log, until, server)
    finally:
        server.send_signal(signal.SIGTERM)
        try:
            server.wait(STARTS_IN_S)
        except subprocess.TimeoutExpired:
            server.kill()
            raise


def awaited(log: Path, wanted: str, server: subprocess.Popen[bytes]) -> str:
    """The part of a log that was waited for."""
    until = time.monotonic() + STARTS_IN_S
    while time.monotonic() < until and server.poll() is None:
        if found := re.search(wanted, log.read_text()):
            return found[1]
        time.sleep(0.05)
    raise AssertionError(f"not started: {log.read_text()}")


def asked(port: str, path: str) -> tuple[int, str]:
    """The status and the text that a server on this machine answers."""
    connection = http.client.HTTPConnection("127.0.0.1", int(port), timeout=STARTS_IN_S)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


def check_recorded(folder: Path, told: list[int]) -> None:
    """Each position that was told holds an event, and there are no others; the file is sound."""
    with refold.open(folder / "calls.db", mode="write") as store:
        assert [event.position for event in store.read_all()] == sorted(told)
        assert [check for check in store.check() if not check.good] == []


@pytest.mark.parametrize(
    ("program", "address", "started"),
    [
        ("gunicorn", ["--bind", "127.0.0.1:0"], r"Listening at: http://127\.0\.0\.1:(\d+)"),
        (
            "uvicorn",
            ["--port", "0"],
            r"running on http://127\.0\.0\.1:(\d+)[\s\S]*startup complete",
        ),
    ],
    ids=["gunicorn", "uvicorn"],
)
def test_workers_of_a_web_server_append(
    program: str, address: list[str], started: str, folder: Path
) -> None:
    """Requests at once to two workers: each is told where its event is, and there it is."""
    with (
        running(command(program, *address), folder, until=started) as port,
        ThreadPoolExecutor(4) as pool,
    ):
        answers = list(pool.map(lambda number: asked(port, f"/{number}"), range(REQUESTS)))
    assert {status for status, _ in answers} == {200}
    check_recorded(folder, [int(position) for _, position in answers])


def test_a_store_of_the_master_is_refused_in_its_workers(folder: Path) -> None:
    """Opened at import under a preloading gunicorn: the worker says what to do instead."""
    app = folder / "calls_app.py"
    app.write_text(f'{app.read_text()}\n\nstore = refold.open("calls.db")\n')
    (folder / "gunicorn.conf.py").write_text("preload_app = True\nworkers = 2\n")
    words = command("gunicorn", "--bind", "127.0.0.1:0")
    with running(words, folder, until=r"Listening at: http://127\.0\.0\.1:(\d+)") as port:
        assert [asked(port, "/")[0] for _ in range(4)] == [500] * 4
    assert "open the store here, after the fork" in (folder / "server.log").read_text()
    check_recorded(folder, [])


def test_workers_of_celery_append(folder: Path) -> None:
    """Tasks in the processes of a prefork pool: each result is where its event is."""
    program = f"""
from calls_tasks import record
tasks = [record.delay(number) for number in range({REQUESTS})]
print(*(task.get(timeout={STARTS_IN_S}) for task in tasks))
"""
    quiet = ["--loglevel", "info", "--without-gossip", "--without-mingle"]
    with running(command("celery", *quiet), folder, until="(ready)"):
        done = subprocess.run(
            [sys.executable, "-c", program],
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=2 * STARTS_IN_S,
        )
    assert done.returncode == 0, done.stderr
    check_recorded(folder, [int(position) for position in done.stdout.split()])
