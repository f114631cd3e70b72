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
    with serving(says("Yes, at nine.")) as service:
        base = ("--base-url", service.url)
        assert run("replay", "call-0", "call-1", "--prompt", "Be long.", *base).code == 0
        assert run("replay", "--category", "call", "--label", "again", *base).code == 0
    with serving(status(500)) as service:
        options = ("--prompt", "Be long.", "--samples", "2", "--attempts", "1")
        ran = run("replay", "call-0", *options, "--base-url", service.url)
        assert ran.code == 3
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
