"""The command line on a store in PostgreSQL: the same commands, and no password on the screen."""

from __future__ import annotations

from pathlib import Path

import refold
from refold import Event
from tests.cli.running import Refold
from tests.support import postgres


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
