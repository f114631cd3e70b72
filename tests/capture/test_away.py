"""Recording is in no one's way: a server that goes and comes, a full disk, a locked file."""

from __future__ import annotations

import logging
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import quote

import apsw
import openai
import pytest

import refold
from refold import capture
from refold.backends.postgres import session
from refold.backends.sqlite import file as sqlite_file
from refold.capture import opening, writer
from refold.errors import NotFound, Unavailable, UsageError
from tests.capture.model_server import ModelServer, chat
from tests.house.tree import BIN
from tests.support import postgres

LIMIT_S = 120
AGENT = """
import pathlib, resource, signal, sys, time
import openai
from refold.backends.postgres import session
from refold.capture import opening, writer

session.RETRY_S = writer.OPENING_S = 0.3
folder = pathlib.Path(sys.argv[2])
# A file may not grow where that is said: a full disk.
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
_, most = resource.getrlimit(resource.RLIMIT_FSIZE)

with openai.OpenAI(api_key="x", base_url=sys.argv[1]) as client:
    for word in sys.argv[3:]:
        while not (folder / word).exists():
            time.sleep(0.01)
        full = word.startswith("full")
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096 if full else most, most))
        messages = [{"role": "user", "content": word}]
        answer = client.chat.completions.create(model="m", messages=messages)
        print(answer.choices[0].message.content)
        writer.flush()
        (folder / f"{word}.done").touch()
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
"""


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Nothing is installed afterwards, and nothing of earlier tests is still there."""
    monkeypatch.setattr(writer, "_writers", [])
    yield
    capture.uninstall()


@pytest.fixture
def silent() -> Iterator[str]:
    """The address of a server that takes connections and says nothing, for ten minutes if need."""
    with socket.create_server(("127.0.0.1", 0)) as served:
        port = served.getsockname()[1]
        password = quote(postgres.PASSWORD, safe="")
        yield f"postgresql://u:{password}@127.0.0.1:{port}/d?connect_timeout=600"


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits long for a server that is away."""
    monkeypatch.setattr(session, "RETRY_S", 0.3)
    monkeypatch.setattr(writer, "OPENING_S", 0.3)


def ask(server: ModelServer, text: str = "Hi") -> None:
    server.script = [chat()]
    with openai.OpenAI(api_key="x", base_url=f"{server.url}/v1") as client:
        client.chat.completions.create(model="m", messages=[{"role": "user", "content": text}])


def said(address: str | Path) -> list[str]:
    """What users said, in the order of the log."""
    with refold.open(address) as store:
        return [one.data["text"] for one in store.read_all(types=["user.utterance"])]


@pytest.mark.usefixtures("impatient")
def test_a_server_that_is_away_at_the_start_is_opened_when_it_is_there(
    server: ModelServer, caplog: pytest.LogCaptureFixture
) -> None:
    """What is said meanwhile is lost, told once and counted; by choice it raises."""
    with postgres.servers() as database:
        url, before = postgres.url(database.port), capture.lost()
        database.kill()
        with pytest.raises(Unavailable):
            capture.install(url, on_error="raise")
        capture.install(url)
        for word in ("one", "two"):
            ask(server, word)
        assert capture.flush()
        assert capture.lost() - before == 2
        told = [one.message for one in caplog.records if one.name == "refold.capture"]
        assert [one.partition(":")[0] for one in told] == [
            "the store is away, and opened when it is back",
            "a model call was not recorded, and others may not be",
        ]
        assert all(postgres.PASSWORD not in one for one in told)
        database.start()
        ask(server, "three")
        assert capture.flush()
        assert (said(url), capture.lost() - before) == (["three"], 2)
        capture.uninstall()


def test_a_server_that_says_nothing_is_one_that_is_away(
    silent: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The program begins, whatever time its store is given; by choice it is waited for."""
    asked, going = threading.Event(), threading.Event()

    def tried(_: object) -> None:
        asked.set()
        assert going.wait(20), "the program was held up"

    monkeypatch.setattr(opening, "TRYING_S", 0.05)
    with monkeypatch.context() as slow:
        slow.setattr(opening, "tried", tried)
        capture.install(silent)
        assert asked.is_set()
        capture.uninstall()
        going.set()
        capture.install(silent, on_error="raise")
        capture.uninstall()
    capture.install(silent)  # And as the driver has it.
    told = [one.message for one in caplog.records if one.name == "refold.capture"]
    assert [one.partition(":")[0] for one in told] == 2 * [
        "the store is away, and opened when it is back"
    ]


def test_what_can_be_no_store_is_refused_at_once_all_the_same() -> None:
    """Where the answer comes soon, it is that of whoever opens the store."""
    with pytest.raises(UsageError, match="invalid URI query parameter"):
        capture.install("postgresql://h/d?colour=red")
    capture.install("postgresql://127.0.0.1:1/d")


def test_a_store_in_a_database_is_not_made_before_there_is_something_in_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whatever may be written to the folder that the program begins in, which is not its place."""
    url = postgres.schema_of_its_own()
    monkeypatch.setattr(os, "access", lambda *_: False)
    capture.install(url)
    capture.uninstall()
    with pytest.raises(NotFound):
        refold.open(url, mode="write")


def test_calls_wait_for_a_server_that_comes(
    server: ModelServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where an agent and its database are started together."""
    monkeypatch.setattr(writer, "OPENING_S", LIMIT_S)
    with postgres.servers() as database:
        url, before = postgres.url(database.port), capture.lost()
        database.kill()
        capture.install(url)
        ask(server, "early")
        database.start()
        assert capture.flush(LIMIT_S)
        assert (said(url), capture.lost()) == (["early"], before)
        capture.uninstall()


@pytest.mark.usefixtures("impatient")
def test_a_server_that_goes_and_comes_back_under_an_agent(server: ModelServer) -> None:
    """The calls of the outage are counted, those before and after are whole."""
    with postgres.servers() as database:
        url, before = postgres.url(database.port), capture.lost()
        capture.install(url)
        ask(server, "before")
        assert capture.flush()
        database.kill()
        ask(server, "meanwhile")
        assert capture.flush()
        database.start()
        ask(server, "after")
        assert capture.flush()
        assert (said(url), capture.lost() - before) == (["before", "after"], 1)
        capture.uninstall()


def test_a_file_that_another_has_locked(
    server: ModelServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The agent is not held up; the call is counted, and the next is recorded."""
    monkeypatch.setattr(sqlite_file, "BUSY_WAIT_MS", 50)
    path, before = tmp_path / "agents.db", capture.lost()
    capture.install(path)
    ask(server, "before")
    assert capture.flush()
    other = apsw.Connection(str(path))
    other.execute("BEGIN IMMEDIATE")
    ask(server, "meanwhile")
    assert capture.flush()
    assert capture.lost() - before == 1
    other.close()
    ask(server, "after")
    assert capture.flush()
    assert said(path) == ["before", "after"]


def test_what_is_left_when_a_program_ends_is_counted(
    server: ModelServer, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Calls that still wait for the store, which nobody records any more."""
    going, waits = threading.Event(), threading.Event()

    def opened(*_: object) -> refold.Store:
        waits.set()
        assert going.wait(LIMIT_S)
        return refold.open("memory:")

    monkeypatch.setattr(opening, "tried", lambda _: None)
    monkeypatch.setattr(writer, "_opened", opened)
    before = capture.lost()
    capture.install("agents.db")
    ask(server)
    ask(server)
    assert waits.wait(LIMIT_S)
    (made,) = [one for one in writer._all() if not one.is_stopped]
    with caplog.at_level(logging.WARNING, "refold.capture"):
        made.miss_what_is_left()
    assert capture.lost() - before == 2
    assert caplog.messages[-1] == "2 model calls were not recorded, or not to their end"
    going.set()


# -- refold run -----------------------------------------------------------------------------------


@pytest.fixture
def run(server: ModelServer, tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Begins an agent by `refold run`: it says each word when a file of that name is there."""
    script = tmp_path / "agent.py"
    script.write_text(AGENT)
    begun: list[subprocess.Popen[str]] = []

    def begin(address: str | Path, *words: str) -> subprocess.Popen[str]:
        program = [sys.executable, script, f"{server.url}/v1", tmp_path, *words]
        command = [BIN / "refold", "run", "--db", str(address), "--", *program]
        pipe = subprocess.PIPE
        begun.append(subprocess.Popen([*map(str, command)], text=True, stdout=pipe, stderr=pipe))
        return begun[-1]

    yield begin
    for one in begun:
        one.kill()
        one.communicate()


def let(folder: Path, word: str) -> None:
    """Let the agent say a word, and wait until it did, and what was to be recorded is."""
    (folder / word).touch()
    until = time.monotonic() + LIMIT_S
    while not (folder / f"{word}.done").exists():
        assert time.monotonic() < until
        time.sleep(0.01)


def test_a_run_goes_on_through_an_outage_and_says_what_was_lost(
    server: ModelServer, tmp_path: Path, run: Callable[..., subprocess.Popen[str]]
) -> None:
    """The database is away at the start, there, gone and back; the agent notices nothing."""
    server.script = [chat(f"to {n}") for n in range(4)]
    with postgres.servers() as database:
        url = postgres.url(database.port)
        database.kill()
        agent = run(url, "early", "first", "meanwhile", "last")
        let(tmp_path, "early")
        database.start()
        let(tmp_path, "first")
        database.kill()
        let(tmp_path, "meanwhile")
        database.start()
        let(tmp_path, "last")
        out, err = agent.communicate(timeout=LIMIT_S)
        assert said(url) == ["first", "last"]
    assert out == "".join(f"to {n}\n" for n in range(4))
    assert agent.returncode == 3
    assert "recorded 2 model calls in 2 streams" in err
    assert "error: of 4 model calls 2 not recorded, or not to the end" in err
    assert postgres.PASSWORD not in err


def test_a_run_whose_store_is_away_to_the_end_does_not_say_that_nothing_was_made(
    server: ModelServer, tmp_path: Path, run: Callable[..., subprocess.Popen[str]]
) -> None:
    """How many calls there were is known, and why none of them can be counted on."""
    server.script = [chat("One.")]
    with postgres.servers() as database:
        url = postgres.url(database.port)
        database.kill()
        agent = run(url, "one")
        let(tmp_path, "one")
        out, err = agent.communicate(timeout=LIMIT_S)
        database.start()
    assert (agent.returncode, out) == (3, "One.\n")
    assert "error: 1 model call made, and the store cannot say" in err


def test_a_run_is_not_held_up_by_a_server_that_says_nothing(
    silent: str, run: Callable[..., subprocess.Popen[str]]
) -> None:
    """Neither before the program nor in it nor behind it, where there was nothing to record."""
    agent = run(silent)
    out, err = agent.communicate(timeout=LIMIT_S)
    assert (agent.returncode, out) == (3, "")
    assert "0 model calls made, and the store cannot say" in err
    assert "has not answered within 2 s" in err
    assert postgres.PASSWORD not in err


def test_a_full_disk_costs_the_calls_of_that_time_alone(
    tmp_path: Path, run: Callable[..., subprocess.Popen[str]]
) -> None:
    """The file takes no more; the agent goes on, and what comes later is recorded."""
    db = tmp_path / "agents.db"
    agent = run(db, "before", "full", "after")
    for word in ("before", "full", "after"):
        let(tmp_path, word)
    _, err = agent.communicate(timeout=LIMIT_S)
    assert (agent.returncode, said(db)) == (3, ["before", "after"])
    assert "error: of 3 model calls 1 not recorded" in err
