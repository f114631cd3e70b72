"""`refold serve` and `refold tokens`: who is let in, and where it says that it listens."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import httpx2
import pytest

import refold
from tests.cli.running import Refold
from tests.support import postgres

LIMIT_S = 60
BODY = {"events": [{"type": "note.taken"}]}
PLACE = "v1/streams/a-1/events"
get, post = partial(httpx2.get, timeout=LIMIT_S), partial(httpx2.post, timeout=LIMIT_S)


@contextmanager
def serving(*options: str) -> Iterator[str]:
    """The address of a server of its own, which ends by SIGTERM with 0."""
    command = [sys.executable, "-m", "refold", "serve", "--port", "0", *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as running:
        try:
            assert running.stdout is not None
            yield running.stdout.readline().strip()
            running.send_signal(signal.SIGTERM)
            assert running.wait(LIMIT_S) == 0
        finally:
            running.kill()


@pytest.mark.parametrize("name", ["calls.db", "calls.jsonl"])
def test_it_serves_until_it_is_told_to_end(name: str) -> None:
    """A file and a journal; what was appended is there afterwards, and what was found too."""
    with serving("--db", name) as address:
        assert post(address + PLACE, json=BODY).status_code == 201
        found = get(address + "v1/conversations").json()["conversations"]
        assert [one["stream"] for one in found] == ["a-1"]
    with refold.open(name, mode="read") as store:
        assert store.log_head() == 1


def test_a_token_is_made_listed_and_revoked(run: Refold) -> None:
    """Printed once by itself, so that it can be piped; the list has what it allows."""
    made = run("tokens", "create", "reception", "--scope", "append", "--category", "call")
    mark = made.out.split("_")[1]
    assert made.out.startswith("refold_")
    listed = run("tokens")
    assert f"{mark}  " in listed.out
    assert "reception: append in call" in listed.out
    assert made.out.strip() not in listed.out + Path("refold.db.tokens").read_text()
    assert run("tokens", "revoke", mark).code == 0
    assert run("tokens", "--json").out == ""
    assert run("tokens", "revoke", mark).code == 2


def test_a_second_token_of_a_name_is_told(run: Refold) -> None:
    """Whoever wants to replace one has to revoke the first."""
    first = run("tokens", "create", "reception", "--json")
    assert "the same name" not in first.err
    said = f"{first.lines[0]['id']} has the same name, and counts as before"
    assert said in run("tokens", "create", "reception").err


def test_without_a_token_it_is_said_who_comes_in(run: Refold) -> None:
    """Before anybody does; not where a token is asked for."""
    assert "everybody on this machine may read and append" in run("serve", "--port", "0").err
    run("tokens", "create", "reception")
    assert "everybody" not in run("serve", "--port", "0").err


def test_a_token_of_a_store_that_is_not_there_says_so(run: Refold) -> None:
    """It keeps nobody out of another store, such as the one that is served."""
    made = run("tokens", "create", "t")
    assert "in refold.db.tokens" in made.err
    assert "refold.db is not there: nobody is asked for this token" in made.err
    refold.open("refold.db").close()
    assert "is not there" not in run("tokens", "create", "t").err
    assert "is not there" not in run("tokens", "create", "t", "--tokens", "mine.tokens").err


def test_where_there_was_never_a_token_it_is_said(run: Refold) -> None:
    """And which file would hold them."""
    assert "refold.db.tokens is not there" in run("tokens").err


def test_a_tenant_is_for_postgresql(run: Refold) -> None:
    """A file holds one log."""
    assert run("tokens", "create", "t", "--tenant", "7").code == 2
    assert not Path("refold.db.tokens").exists()


@pytest.mark.parametrize("options", [("--host", "0.0.0.0"), ("--name", "agents.example.com")])
def test_others_are_let_in_by_tokens_alone(run: Refold, options: tuple[str, str]) -> None:
    """Without any it does not start; one that was revoked is one that there was."""
    refused = run("serve", "--port", "0", *options)
    assert refused.code == 2
    assert "refold tokens create" in refused.err
    made = json.loads(run("tokens", "create", "t", "--json").out)
    assert run("serve", "--port", "0", *options).code == 0
    run("tokens", "revoke", made["id"])
    assert run("serve", "--port", "0", *options).code == 0


def test_a_file_of_tokens_that_is_named_must_be_there(run: Refold) -> None:
    """A wrong name is not an open door."""
    refused = run("serve", "--port", "0", "--tokens", "elsewhere.tokens")
    assert refused.code == 2
    assert "elsewhere.tokens" in refused.err


def test_with_a_token_it_is_asked_for_one(run: Refold) -> None:
    """On loopback too, from the first token on."""
    token = run("tokens", "create", "t", "--db", "calls.db").out.strip()
    with serving("--db", "calls.db") as address:
        assert post(address + PLACE, json=BODY).status_code == 401
        headers = {"authorization": f"Bearer {token}"}
        assert post(address + PLACE, json=BODY, headers=headers).status_code == 201


def test_the_first_token_counts_where_a_server_runs_already(run: Refold) -> None:
    """Whoever makes it need not start anew; nor does it open again where the file is gone."""
    with serving("--db", "calls.db") as address:
        assert post(address + PLACE, json=BODY).status_code == 201
        token = run("tokens", "create", "t", "--db", "calls.db").out.strip()
        headers = {"authorization": f"Bearer {token}"}
        assert post(address + PLACE, json=BODY).status_code == 401
        assert post(address + PLACE, json=BODY, headers=headers).status_code == 201
        Path("calls.db.tokens").unlink()
        assert post(address + PLACE, json=BODY).status_code == 401


def test_a_token_of_a_tenant_reaches_its_log_alone(run: Refold) -> None:
    """In one database: neither sees, nor writes, what the other has."""
    url = postgres.schema_of_its_own()
    made = [run("tokens", "create", "t", "--db", url, *of) for of in ((), ("--tenant", "7"))]
    heads = [{"authorization": f"Bearer {one.out.strip()}"} for one in made]
    with serving("--db", url) as address:
        for headers, name in zip(heads, ("own", "sevens"), strict=True):
            place = f"{address}v1/streams/{name}-1/events"
            assert post(place, json=BODY, headers=headers).status_code == 201
        seen = [get(f"{address}v1/events", headers=headers).json() for headers in heads]
    streams = [[event["stream"] for event in page["events"]] for page in seen]
    assert streams == [["own-1"], ["sevens-1"]]
