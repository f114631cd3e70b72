"""Protected values at the command line: shown to who is named, and recorded with where they go."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import refold
from refold import Event
from refold.privacy.access_report import Access, accesses
from refold.privacy.keyring import new_keyring, save_keyring
from refold.privacy.privacy import Privacy
from tests.cli.running import CALL, Refold

SECRET = "Is Tuesday free?"


@pytest.fixture
def protected(tmp_path: Path) -> tuple[str, ...]:
    """`refold.db` with a protected call, and the options by which it is read."""
    keyring = new_keyring()
    save_keyring(keyring, tmp_path / "keys", passphrase="opensesame")
    fields = {"user.utterance": ["/text"]}
    with refold.open("refold.db", privacy=Privacy(keyring, fields)) as store:
        store.append("call-1", [Event(kind, data) for kind, data in CALL])
    return ("--actor", "ann", "--purpose", "care", "--keyring", str(tmp_path / "keys"))


PASSPHRASE = {"REFOLD_KEYRING_PASSPHRASE": "opensesame"}
SHOWN = [
    ("show", "call-1"),
    ("log",),
    ("log", "--json", "--type", "user.utterance"),
    ("state", "call-1"),
    ("what-if", "call-1", "--without", "2", "--json"),
    ("export", "openai-chat", "call-1"),
]


def recorded() -> list[Access]:
    """The reads that stand in the log."""
    with refold.open("refold.db") as store:
        return list(accesses(store))


@pytest.mark.parametrize("command", SHOWN, ids=lambda command: command[0])
def test_values_are_shown_to_who_is_named(
    run: Refold, protected: tuple[str, ...], command: tuple[str, ...]
) -> None:
    """And withheld from who is not; each read is recorded, with actor and purpose."""
    without = run(*command)
    assert without.code == 0 and SECRET not in without.out
    assert recorded() == []
    named = run(*command, *protected, **PASSPHRASE)
    assert named.code == 0 and SECRET in named.out
    (read,) = recorded()
    assert (read.actor, read.purpose, read.streams) == ("ann", "care", ["call-1"])
    assert read.destination == ("standard output" if command[0] == "export" else None)


def test_who_reads_can_stand_in_the_environment(run: Refold, protected: tuple[str, ...]) -> None:
    """As every option can."""
    env = {"REFOLD_ACTOR": "bo", "REFOLD_PURPOSE": "audit", "REFOLD_KEYRING": protected[-1]}
    assert SECRET in run("show", "call-1", **env, **PASSPHRASE).out
    assert [(one.actor, one.purpose) for one in recorded()] == [("bo", "audit")]


def test_where_an_export_goes_is_recorded(protected: tuple[str, ...]) -> None:
    """The file that standard output is."""
    with Path("out.json").open("w") as out:
        words = ["export", "openai-chat", "call-1", *protected]
        command = [sys.executable, "-m", "refold", *words]
        subprocess.run(command, stdout=out, check=True, env={**os.environ, **PASSPHRASE})
    assert SECRET in Path("out.json").read_text()
    assert [one.destination for one in recorded()] == [str(Path("out.json").resolve())]


def test_a_name_alone_opens_nothing(run: Refold, protected: tuple[str, ...]) -> None:
    """Without the keyring, whoever it is."""
    shown = run("show", "call-1", "--actor", "ann")
    assert shown.code == 0 and SECRET not in shown.out
    assert recorded() == []


def test_a_wrong_passphrase_is_told(run: Refold, protected: tuple[str, ...]) -> None:
    """And nothing is shown."""
    shown = run("show", "call-1", *protected, REFOLD_KEYRING_PASSPHRASE="wrong")
    assert shown.code == 2 and "passphrase" in shown.err


def test_a_journal_is_read_as_ever(run: Refold, protected: tuple[str, ...]) -> None:
    """Nothing in it is protected."""
    with refold.open("plain.jsonl") as store:
        store.append("call-9", [Event("note", {"a": 1})])
    assert run("show", "call-9", "--db", "plain.jsonl", *protected).code == 0
