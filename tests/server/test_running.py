"""The server as it runs: limits of connections, slow readers, and an end that loses nothing."""

from __future__ import annotations

import asyncio
import json
import resource
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import httpx2
import pytest

import refold
from refold.errors import Overloaded
from refold.server import application, following, running, sending
from tests.server.serving import append, connected, served
from tests.server.serving import following as followed

LIMIT_S = 60
SUBSCRIBERS = 1_000
RSS_MAX_KB = 200 * 1024


class Process(NamedTuple):
    """A server of its own, and where it is."""

    running: subprocess.Popen[str]
    port: int

    def rss_kb(self) -> int:
        """The memory that it holds."""
        status = Path(f"/proc/{self.running.pid}/status").read_text()
        return int(status.partition("VmRSS:")[2].split()[0])


@contextmanager
def process(path: Path, *options: str, files: int | None = None) -> Iterator[Process]:
    """`refold serve` of a store, with a limit on files where one is given."""

    def limited() -> None:
        if files is not None:
            resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))

    command = [sys.executable, "-m", "refold", "serve", "--db", str(path), "--port", "0", *options]
    how: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, preexec_fn=limited, **how) as started:
        try:
            assert started.stdout is not None
            yield Process(started, int(started.stdout.readline().rpartition(":")[2].strip(" /\n")))
        finally:
            started.kill()


@pytest.fixture
def store() -> Iterator[refold.Store]:
    """A store in memory."""
    with refold.open("memory:") as opened:
        yield opened


def is_ended(connection: socket.socket) -> bool:
    """Whether the other end closed a connection, before or after it read what was sent."""
    try:
        return connection.recv(100) == b""
    except ConnectionError:
        return True


def subscribed(port: int) -> socket.socket:
    """A subscriber that has its head, and reads no more."""
    made = socket.create_connection(("127.0.0.1", port), timeout=LIMIT_S)
    made.sendall(b"GET /v1/subscribe HTTP/1.1\r\nhost: localhost\r\n\r\n")
    assert made.recv(4_096).startswith(b"HTTP/1.1 200")
    return made


@pytest.mark.parametrize("head", [b"", b"GET /health HTTP/1.1\r\nhost: local"])
def test_a_head_that_does_not_come_is_not_waited_for(
    store: refold.Store, monkeypatch: pytest.MonkeyPatch, head: bytes
) -> None:
    """A connection that says nothing, or never to its end, gives its place back."""
    monkeypatch.setattr(running, "HEAD_S_MAX", 0.05)
    with served(store) as client, connected(client) as silent:
        silent.sendall(head)
        assert is_ended(silent)


def test_a_second_head_has_its_limit_too(
    store: refold.Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a connection that is kept alive."""
    with served(store) as client, connected(client) as slow:
        slow.sendall(b"GET /health HTTP/1.1\r\nhost: localhost\r\n\r\n")
        answer = b""
        while not answer.endswith(b"}"):  # Its head may come by itself.
            answer += slow.recv(4_096)
        assert answer.startswith(b"HTTP/1.1 200")
        monkeypatch.setattr(running, "HEAD_S_MAX", 0.05)
        slow.sendall(b"GET /he")
        assert is_ended(slow)


def test_a_body_that_does_not_come_is_not_waited_for(
    store: refold.Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """408, and nothing is written."""
    monkeypatch.setattr(application, "BODY_S_MAX", 0.05)
    head = "POST /v1/streams/a-1/events HTTP/1.1\r\nhost: localhost\r\n"
    head += "content-type: application/json\r\ncontent-length: 100\r\n\r\n{"
    with served(store) as client, connected(client) as slow:
        slow.sendall(head.encode())
        assert slow.recv(4_096).startswith(b"HTTP/1.1 408")
    assert store.log_head() == 0


def test_there_are_so_many_places(store: refold.Store) -> None:
    """One more is told to come later, and has its place when another goes."""
    with served(store, connections_max=2) as client:
        with connected(client) as first, connected(client), connected(client) as third:
            assert third.recv(4_096).startswith(b"HTTP/1.1 503")
            assert third.recv(4_096) == b""
            first.sendall(b"GET /health HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
            assert first.recv(4_096).startswith(b"HTTP/1.1 200")
        assert client.get("/health").is_success


@pytest.fixture
def was_cut(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Set when the connection of somebody who does not read was cut."""
    ended, cut = threading.Event(), sending.cut

    async def told(scope: Any) -> None:
        await cut(scope)
        ended.set()

    for module in (sending, following):
        monkeypatch.setattr(module, "cut", told)
    return ended


def test_a_slow_subscriber_holds_up_nobody(
    store: refold.Store, monkeypatch: pytest.MonkeyPatch, was_cut: threading.Event
) -> None:
    """Appends and others who follow go on; who reads nothing is let go, and little waits for it."""
    monkeypatch.setattr(sending, "SLOW_S_MAX", 2.0)  # A machine at work lets readers wait too.
    text = "x" * 100_000
    with served(store) as client, subscribed(client.base_url.port or 0) as slow:
        with followed(client) as events:
            for n in range(200):
                assert append(client, "much-1", {"n": n, "text": text}).is_success
                assert next(events)["data"]["data"]["n"] == n
        assert was_cut.wait(LIMIT_S)
        got = 0
        with pytest.raises(ConnectionError):
            while chunk := slow.recv(1 << 20):
                got += len(chunk)
            raise ConnectionResetError
        assert got < 15_000_000


def test_who_does_not_read_a_page_is_let_go(
    store: refold.Store, monkeypatch: pytest.MonkeyPatch, was_cut: threading.Event
) -> None:
    """Its connection is cut, and what it held is free again."""
    monkeypatch.setattr(sending, "SLOW_S_MAX", 0.2)
    store.append("much-1", [refold.Event("a.b", "x" * 4_000_000)] * 2)
    with served(store) as client, connected(client) as unread:
        unread.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        unread.sendall(b"GET /v1/events HTTP/1.1\r\nhost: localhost\r\n\r\n")
        assert was_cut.wait(LIMIT_S)
        monkeypatch.setattr(sending, "SLOW_S_MAX", LIMIT_S)
        assert len(client.get("/v1/events").content) > 8_000_000


def test_answers_have_a_limit_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """One beyond it is to be asked for later; a single one that is larger is answered."""
    monkeypatch.setattr(sending, "ANSWERS_BYTES_MAX", 10)
    room = sending.Room("answers")
    first = sending.PatientResponse(b"x" * 99, 200, "text/plain", room)
    with pytest.raises(Overloaded):
        sending.PatientResponse(b"x", 200, "text/plain", room)
    sent = list[Any]()

    async def send(message: Any) -> None:
        sent.append(message)

    asyncio.run(first({}, None, send))  # type: ignore[arg-type]
    assert b"".join(one.get("body", b"") for one in sent) == b"x" * 99
    sending.PatientResponse(b"x", 200, "text/plain", room)


def test_it_ends_when_it_is_told_to_and_loses_nothing(tmp_path: Path) -> None:
    """An append that is under way is answered, a subscriber told, and the exit is 0."""
    body = json.dumps({"events": [{"type": "a.b"}]}).encode()
    head = b"POST /v1/streams/a-1/events HTTP/1.1\r\nhost: localhost\r\n"
    head += b"content-type: application/json\r\ncontent-length: %d\r\n" % len(body)
    head += b"expect: 100-continue\r\n\r\n"
    with process(tmp_path / "log.db") as served_there, ExitStack() as held:
        subscriber = held.enter_context(subscribed(served_there.port))
        appending = held.enter_context(
            socket.create_connection(("127.0.0.1", served_there.port), timeout=LIMIT_S)
        )
        appending.sendall(head)
        assert appending.recv(4_096).startswith(b"HTTP/1.1 100")  # It is under way now.
        appending.sendall(body[:5])
        served_there.running.send_signal(signal.SIGTERM)
        told = b""
        while chunk := subscriber.recv(4_096):
            told += chunk
        appending.sendall(body[5:])
        assert appending.recv(4_096).startswith(b"HTTP/1.1 201")
        assert served_there.running.wait(LIMIT_S) == 0
    assert b"event: problem" in told
    assert b"server_ends" in told
    with refold.open(tmp_path / "log.db", mode="read") as store:
        assert store.log_head() == 1


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_thousand_subscribers_take_little(tmp_path: Path) -> None:
    """Idle, they and the server take 200 MB at most; each is told of an append."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = SUBSCRIBERS + 200
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(wanted, hard)), hard))
    with process(tmp_path / "log.db") as served_there, ExitStack() as held:
        all_of_them = [
            held.enter_context(subscribed(served_there.port)) for _ in range(SUBSCRIBERS)
        ]
        rss_kb = served_there.rss_kb()
        base = f"http://127.0.0.1:{served_there.port}"
        with httpx2.Client(base_url=base, timeout=LIMIT_S) as client:
            assert append(client, "a-1", "for all").is_success
        for one in all_of_them:
            told = b""
            while b"for all" not in told:
                told += one.recv(4_096)
    print(f"{SUBSCRIBERS} subscribers: {rss_kb / 1024:.0f} MB")
    assert rss_kb < RSS_MAX_KB


def test_too_few_files_are_told(tmp_path: Path) -> None:
    """How many connections there are then, and what to do."""
    with process(tmp_path / "log.db", "--connections", "900", files=256) as served_there:
        served_there.running.terminate()
        _, said = served_there.running.communicate(timeout=LIMIT_S)
    assert "192 connections in place of 900" in said
    assert "ulimit -n 964" in said


def test_threads_of_callers_share_commits(store: refold.Store) -> None:
    """Of many callers at once every append is stored, each at a place of its own."""
    with served(store) as client:

        def write(lane: int) -> None:
            for n in range(10):
                places.append(append(client, f"lane-{lane}", n).json()["last_position"])

        places: list[int] = []
        threads = [threading.Thread(target=write, args=(lane,)) for lane in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(LIMIT_S)
    assert sorted(places) == list(range(1, 81))
