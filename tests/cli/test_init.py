"""`refold init`."""

from pathlib import Path

import pytest

import refold
from refold import Event
from tests.cli.running import Refold
from tests.support import postgres


@pytest.mark.parametrize("name", ["calls.db", "calls.jsonl"])
def test_a_store_is_made_once(run: Refold, tmp_path: Path, name: str) -> None:
    """It says what it did; the second time there is nothing to do."""
    path = str(tmp_path / name)
    assert run("init", path).out == f"made {path}\n"
    with refold.open(path) as store:
        store.append("call-1", [Event("test.a")])
    again = run("init", "--db", path, "--json")
    assert again.lines == [{"store": path, "state": "is up to date:"}]
    with refold.open(path) as store:
        assert store.log_head() == 1


def test_roles_are_made_and_how_they_are_given_is_told(run: Refold) -> None:
    """Logins become members by the lines that it prints; it may be run again."""
    url = postgres.schema_of_its_own()
    first = run("init", url, "--roles", "--prefix", "desk")
    assert first.code == 0, first
    assert first.out.splitlines()[1:] == [
        "GRANT desk_writer TO my_writer;",
        "GRANT desk_reader TO my_reader;",
        "GRANT desk_maintainer TO my_maintainer;",
    ]
    assert postgres.PASSWORD not in first.out + first.err
    again = run("init", url, "--roles", "--prefix", "desk", "--json").lines
    assert again[0]["state"] == "is up to date:"
    assert again[1]["writer"] == "desk_writer"
    assert len(again[1]["grants"]) == 3
    of_tenant = run("init", f"{url}&tenant=7", "--roles", "--prefix", "desk")
    schema = url.partition("schema=")[2]
    bound = f"""INSERT INTO "{schema}".tenants VALUES ('my_writer', 7), ('my_reader', 7);"""
    assert of_tenant.out.splitlines()[-1] == bound
    wrong = run("init", url, "--roles", "--prefix", "others")
    assert wrong.code == 2
    assert "desk_writer" in wrong.err


def test_the_sql_is_printed_and_nothing_is_made(run: Refold) -> None:
    """The server is not even asked."""
    url = "postgresql://admin:hidden@nowhere.example/agents?schema=desk"
    plain = run("init", url, "--print")
    assert plain.out.startswith('CREATE SCHEMA IF NOT EXISTS "desk";')
    assert "CREATE ROLE" not in plain.out
    both = run("init", url, "--print", "--roles")
    assert both.out.startswith(plain.out)
    assert "refold_maintainer" in both.out
    assert "hidden" not in both.out


def test_what_has_no_effect_is_refused(run: Refold, tmp_path: Path) -> None:
    """A prefix without roles, and roles of a file."""
    path = str(tmp_path / "calls.db")
    assert run("init", path, "--prefix", "a").code == 2
    assert not Path(path).exists()
    for asked in (["--roles"], ["--print"]):
        done = run("init", path, *asked)
        assert done.code == 2
        assert "postgresql://" in done.err
