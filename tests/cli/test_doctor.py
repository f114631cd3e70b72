"""`refold doctor` on files that are not whole: it never sends its caller to itself."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import refold
from refold.capture.recorder import Recorder
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
        talk(Recorder(store), [user("Is nine free?")], agent("Yes"))
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
