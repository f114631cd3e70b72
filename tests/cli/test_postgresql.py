"""The command line on a store in PostgreSQL: the same commands, and no password on the screen."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

import refold
from refold import Event
from refold.backends.postgres import session
from tests.cli.running import Refold
from tests.support import postgres, roles

CANARY = "canary-4b7d"


def test_commands_take_an_address(run: Refold, tmp_path: Path) -> None:
    """Appended, listed, asked by SQL, projected, diagnosed and copied to a file."""
    url = postgres.schema_of_its_own()
    with refold.open(url) as store:
        store.append("call-1", [Event("note.taken", {"text": "Hi"})], key="k")
    where = ("--db", url)
    assert "call-1" in run("streams", *where).out
    assert "note.taken" in run("log", *where).out
    assert "Hi" in run("sql", "SELECT data ->> 'text' AS said FROM events", *where).out
    assert "BAD" not in run("doctor", *where).out
    copied = run("copy", url, str(tmp_path / "back.db"))
    assert copied.code == 0, copied.err
    with refold.open(tmp_path / "back.db") as back:
        assert back.find("k") is not None


def test_doctor_says_what_only_a_backup_has(run: Refold) -> None:
    """Of a log that lacks something; not of one that is whole, whatever else is wrong."""
    url = postgres.schema_of_its_own()
    with refold.open(url) as store, postgres.connect(postgres.shared()) as admin:
        store.append("call-1", [Event("note.taken")])
        schema = url.rpartition("=")[2]
        admin.execute(f"DROP INDEX {schema}.streams_category".encode())
        ran = run("doctor", "--db", url)
        assert (ran.code, ran.err) == (1, "")
        assert "CREATE INDEX streams_category" in ran.out
        rule = "CREATE POLICY refold_tenant ON {schema}.log USING (true)"
        admin.execute(rule.format(schema=schema).encode())
        ran = run("doctor", "--db", url)
        assert (ran.code, ran.err) == (1, "")
        assert "`refold init --roles` makes" in ran.out
        admin.execute(f"DELETE FROM {schema}.log".encode())
        ran = run("doctor", "--db", url)
        assert ran.code == 1
        assert "new database" in ran.err
        assert "refold restore" not in ran.err


def test_a_password_is_shown_to_nobody(run: Refold, tmp_path: Path) -> None:
    """Neither where a store is named, nor where it cannot be reached."""
    url = postgres.schema_of_its_own()
    with refold.open(tmp_path / "log.db") as store:
        store.append("note-1", [Event("note.taken", {"text": "Hi"})])
    secret = url.split(":")[2].partition("@")[0]
    wrong = url.replace(secret, "not-the-password")
    for done in (
        run("copy", str(tmp_path / "log.db"), url),
        run("demo", "--db", url),
        run("streams", "--db", wrong),
        run("streams", "--db", f"{url}&schema=no%20schema"),
    ):
        for word in (secret, postgres.PASSWORD, "not-the-password"):
            assert word not in done.out + done.err, done


def test_conversations_are_found_as_in_a_file(run: Refold, tmp_path: Path) -> None:
    """By the same options, for every command that takes many; what they are found by is kept."""
    url = postgres.schema_of_its_own()
    with refold.open(url) as store:
        for number in range(2):
            call = {"call_id": "c", "name": f"tool_{number}", "arguments": "{}"}
            said = [Event("user.utterance", {"text": "my order"}), Event("tool.call", call)]
            store.append(f"call-{number}", said)
    where = ("--db", url)
    for asked in (["--tool", "tool_1"], ["--tool", "tool_1", "--text", "order", "--last", "7d"]):
        found = run("streams", *asked, "--json", *where)
        assert [one["stream"] for one in found.lines] == ["call-1"], found
    assert "search" in run("projections", "status", *where).out
    assert run("datasets", "make", "d1", "--last", "7d", *where).code == 0
    ran = run("projections", "run", "--once", *where)
    assert ran.code == 0, ran
    status = run("projections", "status", *where)
    assert "never started" not in status.out, status
    assert "pg_dump" in run("backup", str(tmp_path / "copy.db"), *where).err


def test_who_may_not_keep_tables_finds_conversations_all_the_same(run: Refold) -> None:
    """What nobody has kept yet, or not to the end, is read from the log; what is there is used."""
    made = roles.shared(postgres.NEWEST)
    logins = {group: made.url(made.login(group)) for group in ("writer", "reader", "maintainer")}
    with refold.open(logins["writer"]) as store:
        store.append("call-1", [Event("user.utterance", {"text": "a gift card"})])
    for _ in range(2):
        for group in ("reader", "writer", "maintainer", "reader"):
            found = run("streams", "--text", "gift", "--json", "--db", logins[group])
            assert [one["stream"] for one in found.lines] == ["call-1"], (group, found)
    with refold.open(logins["writer"]) as store:
        store.append("call-2", [Event("user.utterance", {"text": "no gift"})])
    for group in ("reader", "writer"):
        found = run("streams", "--text", "gift", "--json", "--db", logins[group])
        assert len(found.lines) == 2, (group, found)
    asked = run("sql", "SELECT count(*) AS n FROM events", "--json", "--db", logins["reader"])
    assert asked.lines == [{"n": 2}]


def test_every_command_ends_with_3_where_the_server_is_away(
    run: Refold, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The store, or what is copied or imported from: trying again makes sense, no word is wrong."""
    monkeypatch.setattr(session, "RETRY_S", 0.1)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        away = f"postgresql://me:{CANARY}@127.0.0.1:{taken.getsockname()[1]}/d"
        (tmp_path / "talk.jsonl").write_text('{"role": "user", "content": "Hi"}\n')
        with refold.open(tmp_path / "log.db") as store:
            store.append("call-1", [Event("note.taken", {"text": "Hi"})])
        here = ("--db", "log.db")
        for command in (
            *(["copy", away, "new.db"], ["copy", "log.db", away], ["import", "sql", away, *here]),
            *(
                [*words, "--db", away]
                for words in (
                    ["streams"], ["streams", "--last", "7d"], ["log"], ["show", "call-1"],
                    ["state", "call-1"], ["stats"], ["doctor"], ["compact"], ["demo"],
                    ["append", "call-1", "--type", "note.taken", "--data", "{}", "--untyped"],
                    ["import", "talk.jsonl"], ["export", "openai-chat", "call-1"],
                    ["diff", "call-1", "call-2"], ["what-if", "call-1", "--without", "call-1@0"],
                    ["sql", "SELECT 1"], ["projections", "status"],
                    ["projections", "run", "--once"], ["datasets", "list"], ["prompts", "list"],
                    ["replays"], ["compare", "call-1"],
                )
            ),
        ):  # fmt: skip
            done = run(*command)
            assert (done.code, CANARY in done.out + done.err) == (3, False), (command, done)
            assert "cannot be reached now" in done.err, done
