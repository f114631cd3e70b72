"""`refold redact`, `erase`, `hold`, `retention`, and what doctor and verify say of them."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import refold
from refold.conversation import AgentUtterance, UserUtterance
from tests.cli.running import Refold

CARD = "4242 4242 4242 4242"
ANN = "ann@example.com"
WHY = ("--reason", "asked by mail", "--by", "dpo")


@pytest.fixture
def filled(tmp_path: Path) -> Path:
    """A store of a conversation that repeats a number, and one of somebody else."""
    path = tmp_path / "refold.db"
    with refold.open(path, synchronous="NORMAL") as store:
        said = [UserUtterance(f"my card is {CARD}"), AgentUtterance(f"Charged {CARD}.")]
        store.append("call-1", said, metadata={"subject": ANN})
        store.append("call-2", [UserUtterance("hello")], metadata={"subject": "bob@example.com"})
    return path


def test_a_number_is_redacted(run: Refold, filled: Path) -> None:
    """The dry run lists what the run then does; the transcript shows the mark."""
    assert filled.exists()
    how = ("redact", "call-1@0", "--field", "text", "--match", "([0-9]{4} ?){4}", *WHY)
    listed = run(*how, "--dry-run", "--json")
    assert listed.code == 0, listed.err
    done = run(*how, "--json")
    assert done.code == 0, done.err
    assert done.lines[0]["changes"] == listed.lines[0]["changes"]
    assert [one["event"] for one in done.lines[0]["changes"]] == ["call-1@0", "call-1@1"]
    shown = run("show", "call-1").out
    assert "my card is [redacted]" in shown
    assert "Charged [redacted]." in shown
    assert run(*how).out.splitlines()[-1] == "0 events redacted"
    assert run("doctor").code == 0


def test_wrong_words_are_told(run: Refold, filled: Path) -> None:
    """What is missing, is no part of a text, or is nowhere, and what to say instead."""
    assert filled.exists()
    assert "text" in run("redact", "call-1@0", "--field", "txt", *WHY).err
    for how in (
        ("call-1@0", "--field", "text", "--span", "5:999"),
        ("call-1@0", "--field", "text", "--span", "x"),
        ("call-1@0", "--field", "text", "--match", "("),
        ("call-1@0",),
        ("call-9", "--field", "text"),
        (),
    ):
        ran = run("redact", *how, *WHY)
        assert ran.code == 2, ran
        assert ran.err.startswith("error: "), ran.err
    assert run("redact", "call-1@0", "--field", "text").code == 2  # No reason.
    assert run("erase", "nobody", *WHY).code == 2


def test_a_selection_is_redacted(run: Refold, filled: Path) -> None:
    """Streams are chosen as elsewhere."""
    assert filled.exists()
    ran = run("redact", "--category", "call", "--match", "hello|4242", *WHY, "--json", "--dry-run")
    events = [one["event"] for one in ran.lines[0]["changes"]]
    assert events == ["call-1@0", "call-1@1", "call-2@0"]


def test_holds_are_placed_listed_and_released(run: Refold, filled: Path) -> None:
    """What is held is refused with the hold named, on both commands."""
    assert filled.exists()
    assert "nothing is held" in run("hold").err
    placed = run("hold", "place", ANN, "--reason", "claim 7", "--by", "legal", "--json")
    assert placed.code == 0, placed.err
    assert placed.lines[0]["name"] == "hold-1"
    assert ANN not in placed.out
    assert run("hold", "--json").lines == placed.lines
    for how in (("erase", ANN), ("redact", "call-1@0", "--field", "text")):
        ran = run(*how, *WHY, "--json")
        assert (ran.code, ran.error["code"], ran.error["hold"]) == (2, "held", "hold-1")
    assert run("hold", "release", "hold-1", "--reason", "settled").code == 0
    assert run("hold", "release", "hold-1", "--reason", "settled").code == 2
    assert run("hold", "place", "--category", "call", "--reason", "audit").code == 0
    assert "category call" in run("hold").out


def test_retention_stands_in_a_file_of_settings(run: Refold, filled: Path) -> None:
    """A floor refuses; a ceiling counts where the file is named, and empties what is past it."""
    assert filled.exists()
    Path("refold.toml").write_text('[retention.call]\nfloor = "6y"\nwhy = "HIPAA"\n')
    (told,) = run("retention", "--json").lines
    assert (told["category"], told["floor"], told["under_floor"]) == ("call", "6y", 3)
    ran = run("erase", ANN, *WHY)
    assert ran.code == 1
    assert "kept by law until 20" in ran.out
    ran = run("redact", "call-1@0", "--field", "text", *WHY, "--json")
    assert (ran.code, ran.error["code"]) == (2, "kept")
    assert run("redact", "call-1@0", "--field", "text", *WHY, "--despite-floor").code == 0
    Path("refold.toml").write_text('[retention."*"]\nceiling = "0d"\n')
    assert "ignored the ceilings of *" in run("retention", "--apply").err
    assert "hello" in run("show", "call-2").out
    how = ("retention", "--apply", "--config", "refold.toml", "--json")
    listed, done = run(*how, "--dry-run"), run(*how)
    assert done.code == 0, done.err
    assert listed.lines[0]["changes"] == done.lines[0]["changes"]
    assert "hello" not in run("show", "call-2").out
    Path("refold.toml").write_text('[retention.call]\nflor = "6y"\n')
    assert "call" in run("retention").err


def test_a_person_is_erased(run: Refold, filled: Path) -> None:
    """What went is told, and what the store cannot reach."""
    assert filled.exists()
    listed = run("erase", ANN, *WHY, "--dry-run", "--json")
    done = run("erase", ANN, *WHY, "--json")
    assert done.code == 0, done.err
    assert done.lines[0]["done"] is True
    assert done.lines[0]["changes"] == listed.lines[0]["changes"]
    assert "copies, backups and exports" in done.err
    assert ANN not in done.out
    assert "4242" not in run("log").out
    assert "hello" in run("log").out
    ran = run("doctor", "--json")
    assert ran.code == 0
    assert "holds, erasures" in ran.out


@pytest.mark.parametrize("step", ["keep_sealed", "settle_all", "purged"])
def test_an_erasure_that_was_killed_is_taken_up(run: Refold, filled: Path, step: str) -> None:
    """Doctor tells of it, verify finds nothing wrong, and the next erase finishes it."""
    assert filled.exists()
    assert run("seal", "--origin", "example.com/agents").code == 0
    module = "removing" if step == "keep_sealed" else "erasure"
    killed = subprocess.run(
        [sys.executable, "-c", f"""
import os, signal
from refold.cli.main import main
from refold.privacy import {module}
{module}.{step} = lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL)
main(["erase", {ANN!r}, "--reason", "asked by mail"])
"""],
        check=False,
    )  # fmt: skip
    assert killed.returncode == -signal.SIGKILL
    ran = run("doctor")
    assert ran.code == 1
    assert "refold erase" in ran.out
    assert run("verify", "--deep").code == 0
    assert run("erase", ANN, *WHY).code == 0
    assert run("doctor").code == 0
    assert run("checkpoint").code == 0
    verified = run("verify", "--deep", "--json")
    assert verified.code == 0, verified.out
    (told,) = verified.lines
    assert {event for event, _ in told["redacted"]} == {"call-1@0", "call-1@1"}
    assert "4242" not in json.dumps(run("log", "--json").lines)
