"""`refold seal`, `checkpoint`, `prove`, `verify`, `export sealed`, and what others say of seals."""

import json
import re
import signal
import stat
import subprocess
import sys
import time
from importlib.resources import files
from pathlib import Path

import apsw
import pytest

import refold
from refold.audit.tables import tables_of
from tests.cli.running import Refold


@pytest.fixture
def filled(tmp_path: Path) -> Path:
    """A store of two streams."""
    path = tmp_path / "refold.db"
    with refold.open(path, synchronous="NORMAL") as store:
        for number in range(10):
            store.append(f"call-{number % 2}", [refold.Event("x", {"n": number})] * 3)
    return path


def changed(path: Path) -> None:
    """The payload of an event, changed past refold."""
    connection = apsw.Connection(str(path))
    connection.execute("UPDATE log SET body = replace(body, ':4}', ':5}') WHERE position = 13")
    connection.close()


def test_a_log_is_sealed_and_its_key_is_private(run: Refold, filled: Path) -> None:
    """A key is made once; again it says the same; without a key it says what makes one."""
    assert filled.exists()
    assert run("seal").code == 2
    assert "`refold seal --origin NAME` makes one" in run("seal").err
    first = run("seal", "--origin", "example.com/agents", "--json")
    assert first.code == 0, first.err
    (told,) = first.lines
    assert told["events"] == 30
    assert told["key"].startswith("example.com/agents+")
    assert stat.S_IMODE(Path("refold.key").stat().st_mode) == 0o600
    assert Path("refold.key.head").read_text() == told["checkpoint"]
    assert run("seal", "--json").lines == [told]
    again = run("seal")
    assert again.out.startswith("example.com/agents: 30 events sealed; its verifying key is ")
    assert run("seal", "--origin", "example.com/other").code == 2


def test_a_checkpoint_is_a_note(run: Refold, filled: Path) -> None:
    """As it is; with `--json` its parts beside it."""
    assert filled.exists()
    run("seal", "--origin", "example.com/agents")
    plain = run("checkpoint").out
    assert plain.startswith("example.com/agents\n30\n")
    (told,) = run("checkpoint", "--json").lines
    assert told["note"] == plain
    assert (told["origin"], told["size"]) == ("example.com/agents", 30)
    assert told["root"] in plain
    Path("mine").write_text(plain)
    (proof,) = run("checkpoint", "--since", "mine", "--json").lines
    assert (proof["old"], proof["new"], proof["path"]) == (plain, plain, [])


def test_verify_ends_with_1_where_something_was_changed(run: Refold, filled: Path) -> None:
    """And names the event; what follows from finding nothing is told in words."""
    run("seal", "--origin", "example.com/agents")
    Path("mine").write_text(run("checkpoint").out)
    key = run("seal", "--json").lines[0]["key"]
    good = run("verify", "--deep", "--against", "mine", "--key", key)
    assert good.code == 0
    assert "as they were sealed" in good.out
    assert "nothing is claimed" in good.out
    assert "--against" not in good.out
    assert "--against" in run("verify").out
    changed(filled)
    assert run("verify").code == 0
    bad = run("verify", "--deep")
    assert bad.code == 1
    assert "call-0@6 is not what was sealed" in bad.out
    assert "NOT as they were sealed" in bad.out
    (told,) = run("verify", "--deep", "--json").lines
    assert told["finding_count"] == len(told["findings"]) >= 1
    assert told["findings"][0]["position"] == 13
    assert run("seal").code == 1


def test_what_to_do_is_said_where_something_was_changed(run: Refold, filled: Path) -> None:
    """On stderr: keep the store, and where what was sealed is; of signatures, what they are of."""
    run("seal", "--origin", "example.com/agents")
    changed(filled)
    bad = run("verify", "--deep")
    assert "refold restore" in bad.err
    assert "--against are of this one" not in bad.err
    with refold.open("other.db") as other_store:
        other_store.append("call-0", [refold.Event("x", {})])
    other = ["--db", "other.db", "--key", "other.key"]
    assert run("seal", "--origin", "example.com/other", *other).code == 0
    Path("theirs").write_text(run("checkpoint", *other).out)
    refused = run("verify", "--against", "theirs")
    assert refused.code == 1
    assert "a checkpoint that was kept elsewhere: the note is not signed by" in refused.out
    assert "--against are of this one" in refused.err
    assert "refold restore" not in refused.err


def test_a_copy_that_was_sealed_on_ends_sealing_here_with_what_to_do(
    run: Refold, filled: Path
) -> None:
    """By the newest head beside the key; looking at the log itself would find nothing."""
    run("seal", "--origin", "example.com/agents")
    assert run("copy", str(filled), "other.db").code == 0
    with refold.open("other.db") as store:
        store.append("call-0", [refold.Event("x", {})])
    assert run("seal", "--db", "other.db").code == 0
    refused = run("seal")
    assert refused.code == 1
    assert "or a copy of it was sealed on" in refused.err
    assert "under another origin" in refused.err
    assert "refold verify" not in refused.err


def test_a_file_to_verify_that_is_not_there_is_told(run: Refold, filled: Path) -> None:
    """By its name, in plain words, also one to compare with."""
    assert filled.exists()
    key = run("seal", "--origin", "example.com/agents", "--json").lines[0]["key"]
    for asked in (["none.zip"], ["refold.key.head", "--against", "none.zip"]):
        ran = run("verify", *asked, "--key", key)
        assert (ran.code, ran.err.strip()) == (
            2,
            "error: none.zip cannot be read: No such file or directory",
        )


def test_the_key_to_verify_with_may_stand_in_a_file(run: Refold, filled: Path) -> None:
    """As for the verifier; what is neither a file nor a key is told by its name."""
    assert filled.exists()
    key = run("seal", "--origin", "example.com/agents", "--json").lines[0]["key"]
    Path("key").write_text(key + "\n")
    assert run("verify", "--key", "key").code == 0
    typo = run("verify", "--key", "kez")
    assert typo.code == 2
    assert "kez is no file" in typo.err
    secret = run("verify", "--key", "refold.key")
    assert secret.code == 2
    assert Path("refold.key").read_text().split("+")[-1].strip() not in secret.err


def test_a_log_that_names_another_key_is_a_finding(run: Refold, filled: Path) -> None:
    """Whoever changed it wants the next verifier to trust that one."""
    key = run("seal", "--origin", "example.com/agents", "--json").lines[0]["key"]
    connection = apsw.Connection(str(filled))
    connection.execute("UPDATE audit_log SET keys = 'example.com/agents+00000000+AcK'")
    connection.close()
    bad = run("verify", "--key", key)
    assert bad.code == 1
    assert "not the one that is given: example.com/agents+00000000+AcK" in bad.out


def test_seals_that_were_taken_out_are_a_finding_where_a_checkpoint_is_kept(
    run: Refold, filled: Path
) -> None:
    """Not an invitation to seal the log anew."""
    run("seal", "--origin", "example.com/agents")
    connection = apsw.Connection(str(filled))
    connection.execute("DELETE FROM audit_log")
    connection.close()
    bad = run("verify", "--against", "refold.key.head")
    assert bad.code == 1
    assert "its seals were taken out" in bad.err
    assert "turns it on" not in bad.err


def test_a_log_that_is_not_sealed_says_so(run: Refold, filled: Path) -> None:
    """Nothing is made of a question, and `doctor` says it in a line that is not bad."""
    assert filled.exists()
    for asked in (["verify"], ["prove", "call-0@1"], ["export", "sealed"]):
        assert "is not sealed" in run(*asked).err
    ran = run("doctor")
    assert "ok   seals: the log is not sealed, for want of a key: `refold seal`" in ran.out
    assert ran.code == 0


def test_doctor_looks_at_the_seals(run: Refold, filled: Path) -> None:
    """A line of its own, which is bad where a tile was changed."""
    run("seal", "--origin", "example.com/agents")
    assert "ok   seals: 30 events are sealed" in run("doctor").out
    connection = apsw.Connection(str(filled))
    connection.execute("UPDATE audit_tiles SET hashes = zeroblob(length(hashes))")
    connection.close()
    bad = run("doctor")
    assert bad.code == 1
    assert "BAD  seals" in bad.out


def test_a_proof_and_an_export_are_json(run: Refold, filled: Path) -> None:
    """To a file or to stdout, with what is withheld named."""
    assert filled.exists()
    run("seal", "--origin", "example.com/agents")
    proof = json.loads(run("prove", "call-0@1").out)
    assert proof["format"] == "refold-proof/1"
    assert set(proof["disclosed"]) == {"0", "3"}
    done = run("prove", "call-0@1", "--out", "proof.json", "--withhold", "payload")
    assert done.out == "call-0@1 is event 2 of 30 sealed: proof.json\n"
    kept = json.loads(Path("proof.json").read_text())
    assert set(kept["disclosed"]) == {"3"}
    assert kept["withheld"] == [{"ordinal": 0, "why": "not asked for"}]
    head, *events = run("export", "sealed").lines
    assert head["format"] == "refold-sealed-export/1"
    assert [event["index"] for event in events] == list(range(30))
    assert run("prove", "call-0@99").code == 2


def test_a_copy_carries_the_seals(run: Refold, filled: Path) -> None:
    """To another file; a journal has no place for them, which is told."""
    run("seal", "--origin", "example.com/agents")
    (told,) = run("copy", str(filled), "other.db", "--json").lines
    assert (told["events"], told["sealed"]) == (30, 30)
    Path("mine").write_text(run("checkpoint").out)
    assert run("verify", "--deep", "--against", "mine", "--db", "other.db").code == 0
    journal = run("copy", str(filled), "other.jsonl")
    assert journal.code == 0
    assert "a journal keeps none" in journal.err
    assert run("copy", "other.jsonl", "third.db", "--json").lines[0]["sealed"] is None
    backed = run("backup", "fourth.db")
    assert backed.code == 0
    assert run("verify", "--deep", "--against", "mine", "--db", "fourth.db").code == 0


def test_a_passphrase_locks_the_key(run: Refold, filled: Path) -> None:
    """It comes from the environment; another opens nothing. The key may come from there too."""
    assert filled.exists()
    words = {"REFOLD_KEY_PASSPHRASE": "open"}
    assert run("seal", "--origin", "example.com/agents", **words).code == 0
    assert "PRIVATE" not in Path("refold.key").read_text()
    assert run("seal", **words).code == 0
    refused = run("seal")
    assert refused.code == 2
    assert "and none was given (REFOLD_KEY_PASSPHRASE)" in refused.err
    run("init", "--db", "b.db")
    run("seal", "--origin", "example.com/b", "--key", "b.key", "--db", "b.db")
    secret = Path("b.key").read_text()
    Path("b.key").unlink()
    done = run("seal", "--db", "b.db", "--last-head", "b.head", REFOLD_SIGNING_KEY=secret)
    assert done.code == 0, done.err


@pytest.mark.parametrize(
    "words", [("checkpoint", "--since"), ("verify", "--against"), ("seal", "--key")]
)
def test_a_file_that_is_none_of_its_kind_is_told(
    run: Refold, filled: Path, words: tuple[str, str]
) -> None:
    """One that is missing, one that is no text, a folder: with its name, and no traceback."""
    assert run("seal", "--origin", "example.com/agents").code == 0
    (filled.parent / "binary").write_bytes(b"\xff\xfe")
    (filled.parent / "binary").chmod(0o600)
    for name in ("missing", "binary"):
        done = run(*words, name)
        assert done.code == 2, done
        assert "bug" not in done.err
        assert name in done.err or "key" in done.err


def test_a_head_that_was_damaged_outside_is_told(run: Refold, filled: Path) -> None:
    """It is no head: nothing is sealed on by it."""
    assert run("seal", "--origin", "example.com/agents").code == 0
    (filled.parent / "refold.key.head").write_bytes(b"\xff")
    done = run("seal")
    assert (done.code, "is not sealed on: " in done.err, "a note is" in done.err) == (1, True, True)


def test_follow_seals_what_comes_until_it_is_told_to_end(run: Refold, filled: Path) -> None:
    """A process of its own, which SIGTERM ends in order."""
    assert run("seal", "--origin", "example.com/agents").code == 0
    command = [sys.executable, "-m", "refold", "seal", "--follow", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        with refold.open(filled) as store:
            store.append("call-0", [refold.Event("x", {"n": 99})])
        head, until = Path("refold.key.head"), time.monotonic() + 60
        while "\n31\n" not in head.read_text() and time.monotonic() < until:
            time.sleep(0.05)
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)
    assert "\n31\n" in head.read_text()
    assert run("verify", "--deep").code == 0


def test_evidence_is_a_bundle_that_is_verified(run: Refold, filled: Path) -> None:
    """By `verify FILE` with the key, to 0 or 1; without a key it is a wrong call."""
    assert filled.exists()
    (sealed,) = run("seal", "--origin", "example.com/agents", "--json").lines
    made = run("evidence", "call-1", "--out", "a.zip", "--withhold", "call-1@0=private")
    assert (made.code, "evidence of call-1: a.zip (" in made.out) == (0, True), made.err
    good = run("verify", "a.zip", "--key", sealed["key"])
    assert good.code == 0, good.err
    assert "withheld: payload ('private')" in good.out
    assert "a.zip: verified: all 15 events of a stream" in good.out
    Path("b.zip").write_bytes(Path("a.zip").read_bytes()[:-1] + b"\1")
    bad = run("verify", "a.zip", "b.zip", "--key", sealed["key"], "--json")
    assert bad.code == 1
    assert [(one["file"], one["is_verified"]) for one in bad.lines] == [
        ("a.zip", True),
        ("b.zip", False),
    ]
    assert "b.zip: from byte " in bad.lines[1]["said"]
    assert run("verify", "a.zip").code == 2
    assert run("verify", "a.zip", "--deep", "--key", sealed["key"]).code == 2
    assert run("verify", "a.zip", "--key", "nonsense").code == 2
    assert run("evidence", "call-9", "--out", "c.zip").code == 2
    assert run("evidence", "call-1", "--out", "c.txt").code == 2


def test_a_receipt_is_written_with_its_entry(run: Refold, filled: Path) -> None:
    """A COSE_Sign1 (its tag is 0xd2), and the entry; it discloses nothing, and needs a file."""
    assert filled.exists()
    run("seal", "--origin", "example.com/agents")
    made = run("prove", "call-1@0", "--format", "cose", "--out", "receipt.cbor")
    assert (made.code, made.out) == (
        0,
        "a receipt of call-1@0: receipt.cbor, of the entry receipt.entry\n",
    ), made.err
    assert Path("receipt.cbor").read_bytes()[:2] == b"\xd2\x84"
    assert b"x" in Path("receipt.entry").read_bytes()
    assert run("prove", "call-1@0", "--format", "cose").code == 2
    with_held = ("--format", "cose", "--out", "r.cbor", "--withhold", "name")
    assert run("prove", "call-1@0", *with_held).code == 2


def test_an_authority_that_does_not_answer_is_told(run: Refold, filled: Path) -> None:
    """The head is signed all the same."""
    assert filled.exists()
    run("seal", "--origin", "example.com/agents")
    done = run("checkpoint", "--timestamp", "http://127.0.0.1:1/")
    assert done.code not in (0, 1, 2)
    assert "http://127.0.0.1:1/ does not answer" in done.err
    assert run("checkpoint").out.startswith("example.com/agents\n30\n")


KEY = {"REFOLD_SEAL_KEY": "refold.key"}
WRITING = {
    "append": ("append", "call-0", "--type", "x", "--data", "@", "--untyped"),
    "label": ("label", "call-0", "outcome=@", "--rater", "ann"),
    "hold": ("hold", "place", "ann@", "--reason", "a claim"),
    "redact": ("redact", "call-@@0", "--field", "n", "--reason", "asked"),
    "import": ("import", "any", "chat-@.jsonl", "--format", "openai-chat"),
}


@pytest.mark.parametrize("name", WRITING)
def test_what_a_command_appends_is_sealed_by_the_key_of_the_environment_alone(
    run: Refold, filled: Path, name: str
) -> None:
    """`[seal]` of a file of settings is of `refold seal`: what opens a store reads no key there."""
    for at in "01":
        turns = [{"role": "user", "content": at}, {"role": "assistant", "content": "hi"}]
        Path(f"chat-{at}.jsonl").write_text(json.dumps({"messages": turns}) + "\n")
    Path("named.toml").write_text('[seal]\nkey = "refold.key"\n')
    assert run("seal", "--origin", "example.com/agents").code == 0
    assert run("seal", "--config", "named.toml").code == 0
    for number, env in enumerate(({"REFOLD_CONFIG": "named.toml"}, KEY)):
        done = run(*(one.replace("@", str(number), 1) for one in WRITING[name]), **env)
        assert done.code == 0, done.err
        with refold.open(filled, mode="read") as store:
            size = tables_of(store).log().size
            assert (size == store.log_head()) is (env is KEY), done.out + done.err
            assert store.log_head() > 30


def test_only_the_commands_that_seal_by_hand_open_a_store_plainly() -> None:
    """Every other that opens one leaves the key to the environment, so it seals what it appends."""
    plain, folder = [], Path(str(files("refold.cli")))
    for file in folder.rglob("*.py"):
        plain += [file.name] * len(re.findall(r"\bseal=", file.read_text("utf-8")))
    assert plain == ["seal.py", "seal.py"]
