"""While tools are stood in for the process reaches the model and nothing else."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

import refold
from refold.errors import OutsideRefused, UsageError
from refold.freerun import FreeRun
from refold.freerun.outside import closed_off
from tests.support.stores import url_of

SCRIPT = Path(__file__).with_name("outside_script.py")


class _Counting(BaseHTTPRequestHandler):
    """Answers every GET, and a proxy's, and counts who came."""

    came: list[str]

    def do_GET(self) -> None:
        self.came.append(self.path)
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None: ...


@pytest.fixture(scope="module")
def servers() -> Iterator[list[tuple[str, list[str]]]]:
    """Two servers: the address of each, and the paths that were asked for there."""
    made = []
    for _ in range(2):
        came: list[str] = []
        handler = type("Handler", (_Counting,), {"came": came})
        server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        made.append((server, came))
    yield [(f"http://localhost:{server.server_port}", came) for server, came in made]
    for server, _ in made:
        server.shutdown()
        server.server_close()


def ran(*arguments: str, **environment: str) -> dict[str, Any]:
    """What the script prints."""
    env = {name: text for name, text in os.environ.items() if "proxy" not in name.lower()}
    done = subprocess.run(
        [sys.executable, str(SCRIPT), *arguments], env={**env, **environment}, text=True,
        capture_output=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    told: dict[str, Any] = json.loads(done.stdout)
    return told


def test_only_the_model_is_reached(servers: Any) -> None:
    """Seen from outside: the other server is asked once live and once afterwards, and not before.

    Each attempt is refused by name with the line that tried; the model's name is looked up.
    """
    (model, asked), (other, reached) = servers
    asked.clear(), reached.clear()
    told = ran(model, other)
    assert (len(asked), len(reached)) == (2, 2)
    assert set(told["refused"]) == {
        "connect", "look up", "datagram", "unix", "urllib", "program", "shell", "process",
        "thread", "spawn", "look up all", "look up by asyncio", "name of a number",
        "name and service of a number", "message", "connect by asyncio", "program by asyncio",
        "nobody's name",
    }  # fmt: skip
    assert told["refused"].pop("thread") == "OutsideRefused"
    by_thread = told["refused"].pop("look up by asyncio")
    assert by_thread.rpartition(":")[0].endswith("socket.py")
    assert {where.rpartition(":")[0] for where in told["refused"].values()} == {str(SCRIPT)}
    assert told["allowed"] == [model.removeprefix("http://")]
    assert sum(told["connections"].values()) == 2
    assert told["live"] == {"look": 2}
    kinds = [what for what, _, _ in told["told"]]
    assert kinds.count("socket.getaddrinfo") >= 1
    assert {"socket.connect", "socket.sendto", "subprocess.Popen", "os.system"} <= set(kinds)
    assert {"socket.gethostbyaddr", "socket.getnameinfo", "os.posix_spawn"} <= set(kinds)
    assert ["socket.connect", "127.0.0.1:9", 2] in told["told"], "by forked processes"
    assert ["os.exec", "/bin/true", 1] in told["told"]
    assert {(what, to) for what, to, _ in told["unseen"]} >= {("ctypes.dlsym", "getpid")}
    assert {where.rpartition(":")[0] for _, _, where in told["unseen"]} == {str(SCRIPT)}


def test_a_proxy_of_the_environment_stands_before_the_model(servers: Any) -> None:
    """Where requests to the model go by it, it is reached, and the name is left to it."""
    (proxy, asked), (other, _) = servers
    asked.clear()
    told = ran("http://model.invalid", other, http_proxy=proxy)
    assert asked[0].startswith("http://model.invalid")
    assert proxy.removeprefix("http://") in told["allowed"]


def test_a_proxy_that_the_model_does_not_go_by_is_not_reached(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Through it everything else would be reached, and nobody could tell."""
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("no_proxy", "model.invalid")
    with closed_off(["http://model.invalid", "http://127.0.0.1:8000"]) as outside:
        assert ("127.0.0.1", 9) in outside.places
    with closed_off(["http://model.invalid"]) as outside:
        assert outside.places == {("model.invalid", 80)}


def test_what_may_be_reached_is_an_address() -> None:
    """A URL, or a host with its port."""
    with closed_off(["127.0.0.1:9", "https://a.invalid/v1", "http://[::1]:8000"]) as outside:
        assert outside.places >= {("127.0.0.1", 9), ("a.invalid", 443), ("::1", 8000)}
    for wrong in ("a.invalid", "ftp://a.invalid", "", "a.invalid:99999", "http://[::1"):
        with pytest.raises(UsageError, match="neither a URL nor host:port"):
            FreeRun(allow=[wrong])
    with pytest.raises(UsageError, match="a list of URLs"):
        FreeRun(allow="http://a.invalid")


def test_many_refusals_are_told_by_name_as_far_as_there_is_room() -> None:
    """The rest are counted together: nothing that was refused is left out of the count."""
    with closed_off([]) as outside:
        for number in range(150):
            with pytest.raises(OutsideRefused):
                socket.getaddrinfo(f"a{number}.invalid", 80)
        told = outside.told("run").refused
    assert len(told) == 100
    assert sum(one.times for one in told) == 150
    assert (told[-1].what, told[-1].to) == ("others", "51 more")


def test_a_process_that_closed_its_files_writes_into_no_other(tmp_path: Path) -> None:
    """Its refusal is told to nobody, but no file that has the number now gets a word of it."""
    other = tmp_path / "other"
    with closed_off([]) as outside:
        if (child := os.fork()) == 0:
            os.closerange(3, 4_096)
            opened = [os.open(other, os.O_RDWR | os.O_CREAT) for _ in range(3, 64)]
            try:
                socket.getaddrinfo("a.invalid", 80)
            except OutsideRefused:
                os._exit(7 if opened else 1)
            os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
        assert outside.told("run").refused == []
    assert other.read_bytes() == b""


def test_a_refusal_says_what_may_be_allowed_and_how() -> None:
    """A connection or a name may; a program and what is no address may not."""
    with closed_off([]), socket.socket() as own:
        with pytest.raises(OutsideRefused) as raised:
            own.connect(("127.0.0.1", 9))
        assert "allow=['127.0.0.1:9']" in raised.value.message
        with pytest.raises(OutsideRefused) as raised:
            socket.getaddrinfo("a.invalid", 80)
        assert "allow=['a.invalid:PORT']" in raised.value.message
        with pytest.raises(OutsideRefused) as raised:
            subprocess.run(["true"], check=True)
        assert "allow=" not in raised.value.message


def test_a_store_in_postgres_is_reached_by_its_name(tmp_path: Path) -> None:
    """Connections are made while a run goes on; its driver looks their names up in Python."""
    url = str(url_of("postgres", tmp_path)).replace("127.0.0.1", "localhost")
    assert "localhost" in url
    with closed_off([]) as outside, refold.open(url) as store:
        store.append("call-1", [refold.Event("note", {})])
        assert store.head("call-1") == 0
    assert not outside.told("run").refused
