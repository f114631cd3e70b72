"""`refold doctor` on files that are not whole: it never sends its caller to itself."""

from __future__ import annotations

import os
import time
from pathlib import Path

import apsw
import pytest

import refold.times
from refold.capture.recorder import CallRecorder
from refold.engine.store import system_clock
from refold.privacy import CONVERSATION, Privacy, new_keyring
from tests.capture.talk import agent, talk, user
from tests.cli.running import Refold


@pytest.fixture
def size_bytes(tmp_path: Path) -> int:
    """A store of many pages, all of them in its one file; how long it is."""
    with refold.open("refold.db") as store:
        for number in range(100):
            store.append(f"call-{number % 5}", [refold.Event("a.b", {"text": "x" * 400})] * 3)
    assert [path.name for path in tmp_path.iterdir()] == ["refold.db"]
    return Path("refold.db").stat().st_size


@pytest.mark.parametrize("kept", [0.95, 0.5, 0.1, 0.02])
def test_a_file_that_is_cut_short_is_told_with_what_helps(
    run: Refold, size_bytes: int, kept: float
) -> None:
    """A finding: how much is gone, and to restore a backup; not to run what was just run."""
    os.truncate("refold.db", int(size_bytes * kept))
    for as_json in ([], ["--json"]):
        ran = run("doctor", *as_json)
        assert ran.code == 1
        assert "refold doctor" not in ran.out + ran.err
        assert "refold restore" in ran.err
    assert f"{int(size_bytes * kept):,} bytes of {size_bytes:,}" in run("doctor").out
    assert run("doctor", "--repair").code == 1


def test_a_file_that_is_whole_gets_no_advice(run: Refold, size_bytes: int) -> None:
    """All is well, and nothing is said on stderr."""
    ran = run("doctor")
    assert (ran.code, ran.err) == (0, "")


def test_what_is_wrong_inside_the_log_is_told_with_what_helps(run: Refold, size_bytes: int) -> None:
    """A page of zeroes in a file of the right length."""
    with Path("refold.db").open("r+b") as file:
        file.seek(size_bytes // 2 // 4096 * 4096)
        file.write(bytes(4096))
    ran = run("doctor")
    assert ran.code == 1
    assert "BAD" in ran.out
    assert "refold restore" in ran.err
    assert "cut short" not in ran.out


def test_captured_calls_are_read_back_to_the_byte(run: Refold) -> None:
    """How many there are; which one is not what was sent, where the log itself is whole."""
    with refold.open("refold.db") as store:
        talk(CallRecorder(store), [user("Is nine free?")], agent("Yes"))
    ran = run("doctor")
    assert ran.code == 0
    assert "exact bytes: 1 requests and 1 answers are what their hashes say" in ran.out
    with refold.open("refold.db") as store:
        (info,) = store.streams()
        form = next(one for one in store.read(info.stream) if one.type == "wire.request")
        wrong = refold.Event("wire.request", form.data | {"hash": "0" * 64})
        store.append(info.stream, [wrong], metadata={"call": "another"})
    ran = run("doctor")
    assert ran.code == 1
    assert f"BAD  exact bytes: {info.stream}@{info.version + 1}: the bytes of" in ran.out
    assert "refold doctor" not in ran.out + ran.err


def test_an_event_of_the_future_is_a_finding(run: Refold) -> None:
    """Which one, how many, and what to do; a backup would not help, so none is named."""
    later_us = (int(time.time()) + 3600) * 1_000_000
    with refold.open("refold.db") as store:
        store.append("call-1", [refold.Event("a.b"), refold.Event("a.b", occurred_at=later_us)])
        store.append("call-2", [refold.Event("a.b", occurred_at=later_us + 1)])
        store.append("call-2", [refold.Event("a.b", occurred_at=later_us - 3_595 * 1_000_000)])
    for packed in (False, True):
        if packed:
            assert run("compact").code == 0
        ran = run("doctor")
        assert ran.code == 1
        (bad,) = [line for line in ran.out.splitlines() if line.startswith("BAD")]
        assert bad.startswith("BAD  occurred in time: 2 events say")
        assert f"the first call-1@1, at {refold.times.rfc3339(later_us)}" in bad
        assert "mend the clock" in bad
        assert ran.err == ""


def test_times_that_have_passed_are_none(run: Refold) -> None:
    """Long ago, now, and a minute that clocks may differ by."""
    now_us = int(time.time()) * 1_000_000
    with refold.open("refold.db") as store:
        for at in (0, now_us, now_us + 30_000_000):
            store.append("call-1", [refold.Event("a.b", occurred_at=at)])
    assert run("doctor").code == 0


def test_a_schema_that_is_altered_is_told_with_what_to_do_and_mended(run: Refold) -> None:
    """Which trigger is missing; the repair makes it, and all is well."""
    refold.open("refold.db").close()
    connection = apsw.Connection("refold.db")
    connection.execute("DROP TRIGGER log_tags")
    connection.close()
    ran = run("doctor")
    assert ran.code == 1
    assert "the trigger log_tags is missing: `refold doctor --repair` makes it again" in ran.out
    ran = run("doctor", "--repair")
    assert ran.code == 0
    assert "did  the trigger log_tags is missing: made it again" in ran.out


def test_a_clock_that_is_behind_is_told_and_mended(run: Refold) -> None:
    """A figure, a finding, a command that adds one event; and then all is well."""
    day_us = 86_400 * 1_000_000
    with refold.open("refold.db", clock=lambda: system_clock() + 9 * day_us) as store:
        store.append("call-1", [refold.Event("user.utterance", {"text": "Hi"})])
    found = run("doctor", "--json")
    (time,) = [line for line in found.lines if line["check"] == "time"]
    assert (found.code, time["good"]) == (1, False)
    assert "--restart-clock" in time["detail"]
    assert "refold restore" not in found.err
    assert 8 * 86_400 < run("stats", "--json").lines[-1]["clock_behind_s"] <= 9 * 86_400
    assert "seconds behind the log" in run("stats").out
    assert run("show", "call-1", "--known-at", "2026-01-01", "--json").out == ""
    assert run("doctor", "--restart-clock").code == 0
    assert run("doctor").code == 0
    assert run("stats", "--json").lines[-1]["clock_behind_s"] == 0
    assert run("doctor", "--restart-clock").code == 2
    assert [line["id"] for line in run("log", "--json").lines] == ["call-1@0", "refold-clock@0"]
    assert len(run("show", "call-1", "--known-at", "1s", "--json").lines) == 0


def test_what_reads_as_personal_in_metadata_is_told(run: Refold) -> None:
    """Nothing encrypts it: forms of personal values, names, declared values; numbers are none."""
    with refold.open("refold.db") as store:
        said = refold.Event("user.utterance", {"text": "I am Ann Example.", "party": "Ann Example"})
        quiet = {"subject": "patient-7", "party": "patient-7", "request": "8412", "is": ["new"]}
        store.append("call-1", [said], metadata=quiet)
        numbered = refold.Event("user.utterance", {"text": "x", "party": "patient-7"})
        store.append("call-2", [numbered], metadata={"subject": "patient-7"})
    ran = run("doctor")
    assert (ran.code, ran.err) == (0, "")
    assert "personal data" not in ran.out
    with refold.open("refold.db") as store:
        store.append("call-3", [said], metadata={"subject": "ann_example"})
        by_event = refold.Event("a.b", {}, metadata={"mail": ["ann@example.com"]})
        store.append("call-3", [refold.Event("a.b", {}), by_event, by_event])
        store.append("call-4", [said], metadata={"who": {"name": "Ann Example"}})
        store.append("call-+49 30 1234567", [refold.Event("a.b", {})])
    ran = run("doctor")
    assert (ran.code, ran.err) == (0, "")
    (line,) = (
        one for one in ran.out.splitlines() if one.startswith("look personal data in the clear: ")
    )
    for told in (
        "a name of the subject (1, first call-3@0)",
        "email (2, first call-3@2)",
        "a declared value of the payload (1, first call-4@0)",
        "phone (1, first the stream call-+49 30 1234567)",
    ):
        assert told in line
    (told_again,) = (one for one in run("doctor", "--json").lines if "warning" in one)
    assert told_again["good"] is True
    with refold.open("refold.db", mode="write") as store:
        assert store.compact().events
    assert line in run("doctor").out.splitlines()


def test_a_value_beside_those_that_are_under_keys_is_told(run: Refold) -> None:
    """Once as it is appended without the keyring, then by every look; closed ones are not."""
    said = ["append", "call-1", "--type", "user.utterance", "--data", '{"text": "I am Ann."}']
    with refold.open("refold.db", privacy=Privacy(new_keyring(), CONVERSATION)) as store:
        store.append("call-1", [refold.Event("user.utterance", {"text": "I am Ann."})])
    assert "personal data" not in run("doctor").out
    assert run(*said, "--db", "plain.db").err == ""
    ran = run(*said)
    assert ran.code == 0
    assert "kept in the clear" in ran.err
    told = run("doctor")
    assert told.code == 0
    assert "a value beside those that are under keys (1, first call-1@1)" in told.out
