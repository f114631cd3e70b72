"""`refold access report`: who read protected values, as a table and as JSON."""

from __future__ import annotations

from pathlib import Path

import pytest

import refold
from refold.privacy import CONVERSATION, Privacy, new_keyring, save_keyring
from refold.privacy.access import AccessLog, AskedAbout, Reading, reading_as
from tests.cli.running import Refold

CALL, MAIL = AskedAbout("subject-1", "call-42"), AskedAbout("subject-2", "mail-7")


@pytest.fixture
def db(tmp_path: Path) -> str:
    """A log in which reads are recorded: two allowed, one refused, one exported."""
    path = tmp_path / "log.db"
    with refold.open(path) as store:
        with reading_as("ann", purpose="care"):
            AccessLog(store, Reading()).allowed([CALL, MAIL])
        with reading_as("bo"):
            AccessLog(store, Reading(), allow=lambda *_: "not yours").allowed([CALL])
        with reading_as("ann", purpose="subject request", destination="ann\x1b.json"):
            AccessLog(store, Reading()).allowed([CALL])
    return str(path)


def test_reads_are_a_table_and_exports_another(run: Refold, db: str) -> None:
    """With what was decided, and where it went; control characters are shown, not obeyed."""
    lines = run("access", "report", "--db", db).out.splitlines()
    head, *reads = lines[:4]
    assert head.split() == ["when", "decision", "actor", "purpose", "about", "streams"]
    assert [line.split("  ", 1)[1].split() for line in reads] == [
        ["allowed", "ann", "care", "subject-1", "call-42"],
        ["allowed", "ann", "care", "subject-2", "mail-7"],
        ["denied:", "not", "yours", "bo", "-", "subject-1", "call-42"],
    ]
    assert lines[4] == ""
    assert lines[5].split()[-2:] == ["went", "to"]
    assert lines[6].split()[-6:] == [
        "ann", "subject", "request", "subject-1", "call-42", r"ann\x1b.json",
    ]  # fmt: skip
    assert len(lines) == 7


def test_reads_can_be_chosen(run: Refold, db: str) -> None:
    """By actor, by whom or what they are about, and by time."""
    by_bo = run("access", "report", "--db", db, "--actor", "bo", "--json").lines
    assert [(one["decision"], one["reason"]) for one in by_bo] == [("denied", "not yours")]
    about = run("access", "report", "--db", db, "--subject", "subject-2", "--json").lines
    assert [one["streams"] for one in about] == [["mail-7"]]
    assert len(run("access", "report", "--db", db, "--since", "1h", "--json").lines) == 4
    assert run("access", "report", "--db", db, "--since", "2200-01-01", "--json").lines == []


def test_json_has_all_that_is_recorded(run: Refold, db: str) -> None:
    """An object a read; times as text and as microseconds."""
    last = run("access", "report", "--db", db, "--json").lines[-1]
    assert last.pop("at").endswith("Z") and last.pop("at_us") > 0
    assert last == {
        "id": "refold-access@3",
        "actor": "ann",
        "purpose": "subject request",
        "subject": "subject-1",
        "streams": ["call-42"],
        "decision": "allowed",
        "reason": "",
        "destination": "ann\x1b.json",
    }


def test_no_read_is_said(run: Refold, tmp_path: Path) -> None:
    """On stderr: it is no data."""
    refold.open(tmp_path / "empty.db").close()
    said = run("access", "report", "--db", str(tmp_path / "empty.db"))
    assert (said.out, said.code) == ("", 0)
    assert "no read" in said.err


def test_a_subject_is_found_by_name_with_the_keyring(run: Refold) -> None:
    """Reads name a pseudonym; who asks by the name must not be told that nobody looked."""
    keyring = new_keyring()
    save_keyring(keyring, "k.keyring")
    with refold.open("refold.db", privacy=Privacy(keyring, CONVERSATION)) as store:
        said = refold.Event("user.utterance", {"text": "Hi"})
        store.append("call-1", [said], metadata={"subject": "patient-7"})
    assert run("show", "call-1", "--actor", "ann", "--keyring", "k.keyring").err == ""
    about = ("access", "report", "--subject", "patient-7")
    (found,) = run(*about, "--keyring", "k.keyring", "--json").lines
    assert (found["actor"], found["streams"]) == ("ann", ["call-1"])
    assert "no read fits, of 1 that are recorded" in run(*about).err
    assert "no read fits" in run(*about[:-1], "patient-8", "--keyring", "k.keyring").err
    assert len(run(*about[:-1], "call-1", "--json").lines) == 1


def test_what_is_withheld_says_how_it_is_read(run: Refold) -> None:
    """Whoever forgot the keyring or the actor is told, and a search that it saw in part."""
    with refold.open("refold.db", privacy=Privacy(new_keyring(), CONVERSATION)) as store:
        store.append("call-1", [refold.Event("user.utterance", {"text": "Hi"})])
    with refold.open("clear.db") as store:
        store.append("call-1", [refold.Event("user.utterance", {"text": "[withheld]"})])
    shown = run("show", "call-1")
    assert "[withheld]" in shown.out
    assert "--actor NAME --keyring FILE" in shown.err
    assert "not looked into" in run("streams", "--text", "Hi").err
    for asked in (("show", "call-1"), ("streams", "--text", "Hi")):
        said = run(*asked, "--db", "clear.db").err
        assert "--keyring" not in said
        assert "not looked into" not in said
