"""`refold replays`, and what an interrupted replay says of itself."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import refold
from refold.replay import Variant, compare
from tests.cli.endpoints import says, serving, status
from tests.cli.running import CALL, Refold

CALLS = 12


def recorded(count: int) -> None:
    """Conversations with two decisions each."""
    events = [refold.Event(name, data) for name, data in CALL]
    with refold.open("refold.db") as store:
        for number in range(count):
            store.append(f"call-{number}", events)


def test_a_store_without_replays_says_so(run: Refold, call: str) -> None:
    """On stderr, with how one is made."""
    ran = run("replays")
    assert (ran.code, ran.out) == (0, "")
    assert "refold replay" in ran.err


def test_replays_are_listed_with_what_they_are(run: Refold) -> None:
    """Which variant, when, of which conversations, how many answers; each sample for itself."""
    recorded(3)
    answers = [says("Yes, at nine.")]
    with serving(lambda request: answers[-1](request)) as service:
        base = ("--base-url", service.url)
        assert run("replay", "call-0", "call-1", "--prompt", "Be long.", *base).code == 0
        assert run("replay", "--category", "call", "--label", "again", *base).code == 0
        answers.append(status(500))
        options = ("--prompt", "Be long.", "--samples", "2", "--attempts", "1")
        assert run("replay", "call-0", *options, *base).code == 3
    rows: list[dict[str, Any]] = run("replays", "--json").lines
    told = {
        (row["label"], row["sample"]): (row["answered"], row["failed"], row["streams"])
        for row in rows
    }
    assert told == {
        (None, 0): (4, 0, ["call-0", "call-1"]),
        ("again", 0): (6, 0, ["call-0", "call-1", "call-2"]),
        (None, 1): (0, 2, ["call-0"]),
    }
    prompted = rows[0]
    assert prompted["variant"] == Variant(prompt="Be long.").id
    assert prompted["changes"] == {"prompt": "Be long."}
    assert prompted["first_at"] <= prompted["last_at"]
    plain = run("replays").out
    assert "2 conversations, 4 answered, 0 failed  prompt Be long." in plain
    assert "3 conversations, 6 answered, 0 failed  nothing changed  (again)" in plain


def test_replays_of_a_category_are_listed(run: Refold) -> None:
    """By that of the conversations; a category without replays says so."""
    recorded(1)
    with serving(says("Yes.")) as service:
        assert run("replay", "call-0", "--base-url", service.url).code == 0
    assert len(run("replays", "--category", "call", "--json").lines) == 1
    ran = run("replays", "--category", "cal")
    assert ran.out == ""
    assert "did you mean call" in ran.err


def test_an_interrupted_replay_says_what_is_kept_and_how_to_go_on(tmp_path: Path) -> None:
    """Ctrl-C in the middle: exit 130; the number that it names is what the branches hold."""
    recorded(CALLS)
    child: subprocess.Popen[str] | None = None
    started = threading.Event()
    asked = 0
    answer = says("Yes, at nine.")

    def interrupting(request: dict[str, Any]) -> tuple[int, bytes]:
        nonlocal asked
        asked += 1
        if asked == 5 and started.wait(30) and child is not None:
            child.send_signal(signal.SIGINT)
        return answer(request)

    with serving(interrupting) as service:
        command = ("replay", "--category", "call", "--base-url", service.url, "--workers", "1")
        child = subprocess.Popen(
            [sys.executable, "-m", "refold", *command],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=dict(os.environ),
        )
        started.set()
        out, err = child.communicate(timeout=60)
    said = re.search(r"([\d,]+) of ([\d,]+) decisions are answered and kept", err)
    assert said is not None, (out, err)
    assert (child.returncode, said[2]) == (130, str(2 * CALLS))
    assert "Traceback" not in err
    with refold.open("refold.db", mode="read") as store:
        figures = compare(store, [f"call-{n}" for n in range(CALLS)], Variant()).figures
        kept = figures.decisions - figures.counts["missing"] - figures.counts["failed"]
    assert int(said[1]) == kept
    assert 3 <= kept < 2 * CALLS


def test_no_gate_lets_pass_what_was_never_asked(run: Refold) -> None:
    """Of a category all there is counts; of a replay by itself what it was to ask."""
    recorded(3)
    with serving(says("Yes, at nine.")) as service:
        base = ("--base-url", service.url)
        assert run("replay", "call-0", "--label", "part", *base).code == 0
        assert run("compare", "--fail-on", "failed").code == 0
        of_all = ("compare", "--category", "call", "--fail-on")
        for gate in ("failed", "different"):
            assert run(*of_all, gate).code == 1
        assert "4 of 6 have no answer: 4 never begun" in run(*of_all, "failed").out.splitlines()[0]
        assert run("replay", "--category", "call", "--label", "part", *base).code == 0
        assert run(*of_all, "failed").code == 0
        assert run("replay", "call-0", "--label", "control", *base).code == 0
    controlled = ("compare", "--variant", "part", "--control", "control", "--fail-on", "failed")
    assert run(*controlled).code == 1


def test_a_decision_that_failed_shuts_every_gate(run: Refold) -> None:
    """The answers that came were no other action; one did not come."""
    recorded(2)
    first = [status(404)]  # What the service fails by itself is asked again at the end of the run.

    def answer(request: dict[str, Any]) -> tuple[int, bytes]:
        return (first.pop() if first else says("Yes, at nine."))(request)

    with serving(answer) as service:
        ran = run("replay", "--category", "call", "--attempts", "1", "--base-url", service.url)
        assert ran.code == 1
    (found,) = run("compare", "--json").lines
    accounting = {"decisions": 4, "answered": 3, "failed": 1, "missing": 0}
    accounting |= {"never_begun": 0, "later": 0, "conditional": 0, "excluded": 0}
    assert found["figures"]["accounting"] == accounting
    for gate in ("failed", "different"):
        assert run("compare", "--fail-on", gate).code == 1
    assert "; 1 of 4 have no answer: 1 failed" in run("replays").out


def test_a_second_endpoint_is_asked_and_named(run: Refold) -> None:
    """The same command against another --base-url; compare wants to know which of the two."""
    recorded(2)
    with serving(says("Yes, at nine.")) as one, serving(says("No.")) as other:
        for service in (one, other, one, other):
            asked = ("replay", "--category", "call", "--param", "seed=1")
            ran = run(*asked, "--base-url", service.url)
            assert ran.code == 0
            assert (f" at {other.url}" in ran.out) is (service is other)
        assert (len(one.requests), len(other.requests)) == (4, 4)
    runs = {row["variant"]: row["changes"] for row in run("replays", "--json").lines}
    assert sorted(len(changes) for changes in runs.values()) == [1, 2]
    for options in ([], ["--param", "seed=1"]):
        ran = run("compare", *options)
        assert (ran.code, other.url in ran.err) == (2, True)
    for variant in runs:
        assert run("compare", "--variant", variant, "--fail-on", "failed").code == 0
