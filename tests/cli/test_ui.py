"""`refold ui` as a process: it says where it is, answers there, and ends when it is told to."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import webbrowser
from pathlib import Path

import httpx2
import pytest

import refold
from refold.conversation.events import UserUtterance
from tests.cli.running import Refold

LIMIT_S = 60


@pytest.mark.parametrize(
    ("name", "by"), [("calls.db", signal.SIGINT), ("calls.jsonl", signal.SIGTERM)]
)
def test_it_serves_a_store_until_it_is_told_to_end(
    tmp_path: Path, name: str, by: signal.Signals
) -> None:
    """To whoever has the address; a file and a journal have no event more or less afterwards."""
    with refold.open(tmp_path / name) as store:
        store.append("call-1", [UserUtterance(text="Is my table booked?")])
    command = [sys.executable, "-m", "refold", "ui", "--db", str(tmp_path / name), "--port", "0"]
    running = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert running.stdout is not None
        address = running.stdout.readline().strip()
        first, _, token = address.partition("?token=")
        assert len(token) > 30
        assert httpx2.get(first, timeout=LIMIT_S).status_code == 403
        with httpx2.Client(timeout=LIMIT_S, base_url=first, follow_redirects=True) as client:
            assert "call-1" in client.get(address).text
            found = client.get("/?q=booked").text
            marked = client.get("/marked?mark=call-1").text
        assert f"<bdi>--db</bdi> <bdi>{tmp_path / name}</bdi>" in marked
        assert "1 conversation," in found
    finally:
        running.send_signal(by)
        _, said = running.communicate(timeout=LIMIT_S)
    assert "Traceback" not in said
    assert running.returncode == 0 or by == signal.SIGINT
    with refold.open(tmp_path / name, mode="read") as store:
        assert store.log_head() == 1


def test_a_port_in_use_is_said(run: Refold) -> None:
    """With the option that names another."""
    with refold.open("refold.db"), socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        done = run("ui", "--port", str(taken.getsockname()[1]))
    assert done.code == 2
    assert "give another --port" in done.err
    assert done.out == ""


def test_a_store_that_is_not_there_is_said(run: Refold) -> None:
    """Before anything is listened on."""
    done = run("ui", "--db", "nothing.db", "--port", "0")
    assert (done.code, done.out) == (2, "")
    assert "nothing.db" in done.err


def test_no_other_user_sees_the_token_of_a_browser_that_is_opened(
    run: Refold, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a browser is started with is a file of one's own that leads there, gone afterwards."""
    opened: list[tuple[str, int, str]] = []

    def browse(address: str) -> None:
        path = Path(address.removeprefix("file://"))
        opened.append((address, path.stat().st_mode & 0o777, path.read_text()))

    monkeypatch.setattr(webbrowser, "open", browse)
    with refold.open("refold.db"):
        done = run("ui", "--open", "--port", "0")
    ((address, mode, told),) = opened
    assert "token" not in address
    assert mode == 0o600
    assert f"url={done.out.strip()}" in told
    assert not Path(address.removeprefix("file://")).exists()


def test_who_changes_something_is_said_only_where_something_can_be_changed(run: Refold) -> None:
    """Else nothing would be recorded as theirs."""
    with refold.open("refold.db"):
        done = run("ui", "--actor", "ann")
    assert (done.code, done.out) == (2, "")
    assert "without --write" in done.err


def test_pages_are_written_to_a_folder(run: Refold) -> None:
    """Of all, or of what is chosen as in other commands; what is not in it is told."""
    with refold.open("refold.db") as store:
        store.append("call-1", [UserUtterance(text="Is my table booked?")])
        store.append("call-2", [UserUtterance(text="Never mind.")])
    done = run("ui", "--export", "pages")
    count = len([*Path("pages").rglob("*.html")])
    assert (done.code, done.out) == (0, f"pages: {count} pages\n")
    assert "link to live" in done.err
    done = run("ui", "--export", "pages", "--text", "booked", "--json")
    (told,) = done.lines
    held = b"".join(one.read_bytes() for one in Path("pages").rglob("*.html"))
    assert told["folder"] == "pages"
    assert 3 < told["pages"] < count
    assert b"Is my table booked?" in held
    assert b"Never mind." not in held


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("call-1",), "without --export"),
        (("--last", "7d"), "without --export"),
        (("--export", "pages", "--write"), "with --export"),
        (("--export", "pages", "--port", "1"), "with --export"),
        (("--export", "pages", "call-9"), "call-9"),
        (("--export", "."), "which no export made"),
    ],
)
def test_what_a_folder_cannot_be_made_with_is_said(
    run: Refold, words: tuple[str, ...], said: str
) -> None:
    """And no folder is made."""
    with refold.open("refold.db") as store:
        store.append("call-1", [UserUtterance(text="Hi")])
    done = run("ui", *words)
    assert done.code == 2
    assert said in done.err
    assert not Path("pages").exists()
