"""The password of a store is shown to nobody: no command, error, hint or JSON says it."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import httpx2
import pytest

import refold
from refold import Event
from refold.cli.main import main
from refold.errors import UsageError
from refold.secrecy import without_password
from tests.cli.running import CALL, Refold
from tests.support import postgres

CANARY = "canary-7c1f"
"""Stands in each password, so that half of one is found too."""
ENDLESS: dict[tuple[str, ...], list[str]] = {("projections", "run"): ["--once"]}
"""What has a command end that would go on."""
SLOW = [("demo",), ("feed", "kafka")]
"""What works for seconds, or waits for a broker, where it has a store."""
HIDDEN = [
    ("postgresql://me:canary-7c1f@h:5432/d?schema=a", "postgresql://me@h:5432/d?schema=a"),
    ("postgresql://me:x/canary-7c1f@h/d", "postgresql://me@h/d"),
    ("postgresql://me:x?canary-7c1f#@y@h/d", "postgresql://me@h/d"),
    ("postgresql://me@there:canary-7c1f@h/d", "postgresql://me@there@h/d"),
    ("mysql://root:canary-7c1f@127.0.0.1/x", "mysql://root@127.0.0.1/x"),
    ("postgresql://h/d?sslpassword=canary-7c1f&schema=a", "postgresql://h/d?sslpassword=***&schema=a"),
    ("host=h password='a canary-7c1f' dbname=d", "host=h password=*** dbname=d"),
    ("/tmp/postgresql:/me:canary-7c1f@h/d", "/tmp/postgresql:/me@h/d"),
]  # fmt: skip
"""Addresses, those among them that are none, and how they are told."""
NO_STORE = ("mysql://u:canary-7c1f@h/d", "host=h password=canary-7c1f", "sqlite://u:canary-7c1f@h")
PLAIN = (
    "postgresql://me@h:5432/d?schema=a",
    "sqlite:///a.db",
    "call-1@3: http://h:8000/v1",
    "a.db",
)


def commands(given: click.Command, *path: str) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Every command that there is, with the words that it is called by."""
    if not isinstance(given, click.Group):
        yield path, given
        return
    context = click.Context(given)
    for name in given.list_commands(context):
        inner = given.get_command(context, name)
        assert inner is not None
        yield from commands(inner, *path, name)


ALL = dict(commands(main))


def called(path: tuple[str, ...], word: str) -> list[str]:
    """A command with a word for each thing that it wants."""
    wanted: list[str] = [*path, *ENDLESS.get(path, [])]
    for one in ALL[path].params:
        if one.required and isinstance(one, click.Option):
            wanted += [one.opts[0], word]
    return wanted + [word for one in ALL[path].params if isinstance(one, click.Argument)]


@pytest.fixture(scope="module")
def server() -> str:
    """The address of a store in PostgreSQL that has a call."""
    url = postgres.schema_of_its_own()
    with refold.open(url) as store:
        store.append("call-1", [Event(type_, data) for type_, data in CALL])
    return url


@pytest.mark.parametrize(("given", "told"), HIDDEN)
def test_an_address_is_told_without_its_password(given: str, told: str) -> None:
    """All else of it stays, wherever a URL, a path or words have the password."""
    assert without_password(given) == told
    assert without_password(f"at {given} now") == f"at {told} now"


@pytest.mark.parametrize("given", PLAIN)
def test_what_has_no_password_stays_as_it_is(given: str) -> None:
    """A port, a stream and a path are none."""
    assert without_password(given) == given


@pytest.mark.parametrize("given", NO_STORE)
def test_an_error_of_open_holds_no_password(given: str) -> None:
    """Neither what it says nor its facts."""
    with pytest.raises(UsageError) as caught:
        refold.open(given)
    assert CANARY not in f"{caught.value} {caught.value.facts}"


@pytest.mark.parametrize("path", ALL, ids=" ".join)
def test_no_command_shows_the_password_of_an_address_that_is_none(
    run: Refold, path: tuple[str, ...]
) -> None:
    """Given as the store, by an option or a variable, and in every other place of the command."""
    for given in NO_STORE:
        for words in (["--db", given], ["--db", given, "--json"], []):
            done = run(*called(path, "x"), *words, REFOLD_URL=given, REFOLD_DEMO_DB=given)
            assert CANARY not in done.out + done.err, done
        done = run(*called(path, given), *(["--db", given] if path in SLOW else []))
        assert CANARY not in done.out + done.err, done


@pytest.mark.parametrize("path", [one for one in ALL if one not in SLOW], ids=" ".join)
def test_no_command_shows_the_password_of_a_store_in_use(
    run: Refold, server: str, tmp_path: Path, path: tuple[str, ...]
) -> None:
    """What a command prints when it works, hints at the next one among it."""
    secrets: list[Any] = [postgres.PASSWORD, server.split(":")[2].partition("@")[0]]
    for word in ("call-1", str(tmp_path / "new.db")):
        for words in ([], ["--json"]):
            done = run(*called(path, word), "--db", server, *words)
            assert not any(secret in done.out + done.err for secret in secrets), done


def test_no_page_shows_the_password_of_a_store_in_use(server: str) -> None:
    """Nor do the commands on it that name the store, to copy."""
    command = [sys.executable, "-m", "refold", "ui", "--db", server, "--port", "0"]
    running = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert running.stdout is not None
        first, _, query = running.stdout.readline().strip().partition("?")
        asked = f"{first}marked?mark=call-1&{query}"
        with httpx2.Client(timeout=60, follow_redirects=True) as client:
            shown = client.get(asked)
    finally:
        running.send_signal(signal.SIGINT)
        running.communicate(timeout=60)
    assert "<bdi>--db</bdi>" in shown.text
    assert postgres.PASSWORD not in shown.text
    assert server.split(":")[2].partition("@")[0] not in shown.text
