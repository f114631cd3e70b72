"""A long run through faults and a kill: every result once, and no more memory than for a short one.

``make soak`` runs it over 10,000 conversations.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import refold
from refold.conversation.events import AgentConfigured, AgentUtterance, Prompt, UserUtterance
from refold.engine.append import Append
from tests.support.faulty_server import FAULTS, FaultyServer, faulty
from tests.support.soak import bound, counted

CONVERSATIONS = bound(150, 10_000)
DECISIONS = 2 * CONVERSATIONS
WORKERS = 16
PEAK_MB_MAX = 150
"""The most that a run may take, however many conversations it is over; looked at on Linux."""
CHILD = """
import json, pathlib, re, sys, refold
from refold.replay import ChatEndpoint, Variant, replay, select
with refold.open(sys.argv[1]) as store:
    streams = select(store, category="call")
    # So short that what is silent is given up, and so long that a busy machine is none.
    endpoint = ChatEndpoint(sys.argv[2], api_key="", timeout_s=5.0)
    said = replay(store, streams, Variant(label="many"), endpoint, workers=16)
status = pathlib.Path("/proc/self/status")
told = status.read_text() if status.exists() else "VmHWM: 0 kB"
peak_mb = int(re.search("VmHWM:[^0-9]*([0-9]+)", told)[1]) // 1024
print(json.dumps([said.kept, said.answered, said.failed, said.requests, peak_mb]))
"""


def recorded(path: Path) -> None:
    """Conversations of which no two decisions are alike."""
    opening = AgentConfigured(prompt=Prompt("Be kind. " * 20), model="m")
    with refold.open(path) as store:
        appends = []
        for n in range(CONVERSATIONS):
            said = [
                (UserUtterance(f"{n}: where is it?"), AgentUtterance("At gate 4.")),
                (UserUtterance(f"{n}: and when?"), AgentUtterance("At noon.")),
            ]
            appends.append(
                Append(f"call-{n}", [opening, *(event for pair in said for event in pair)])
            )
        assert not [one for one in store.append_many(appends) if isinstance(one, Exception)]


def started(path: Path, server: FaultyServer) -> subprocess.Popen[str]:
    asked = [sys.executable, "-c", CHILD, str(path), server.url]
    return subprocess.Popen(asked, stdout=subprocess.PIPE, text=True)


def test_a_long_run_through_faults_and_a_kill_has_every_result_once(tmp_path: Path) -> None:
    """5 % of the requests fail at first, in every way; in the midst of it the process is killed."""
    path = tmp_path / "calls.db"
    recorded(path)
    with faulty() as server:
        killed = started(path, server)
        while server.counts()["answered"] < DECISIONS // 2:
            assert killed.poll() is None
            time.sleep(0.01)
        killed.kill()
        killed.communicate()
        child = started(path, server)
        out, _ = child.communicate()
        counts = server.counts()
    kept, answered, failed, requests, peak_mb = json.loads(out)
    assert (kept + answered, failed) == (DECISIONS, 0)
    assert DECISIONS // 2 - WORKERS <= kept < DECISIONS
    assert counts["different"] == DECISIONS
    assert counts["again"] <= WORKERS
    assert counts["answered"] == DECISIONS + counts["again"]
    assert all(counts[fault] > 0 for fault in FAULTS)
    assert requests <= counts.total() - counts["different"] - counts["again"]
    assert peak_mb < PEAK_MB_MAX
    assert_every_result_once(path)
    for _ in range(DECISIONS):
        counted("replayed decisions")


def assert_every_result_once(path: Path) -> None:
    """Each decision has one answer, to what it was asked; each branch begins and ends once."""
    types: Counter[str] = Counter()
    answers: Counter[tuple[str, str]] = Counter()
    with refold.open(path) as store:
        for event in store.read_all(categories=["call~"]):
            types[event.type] += 1
            if event.type == "agent.utterance":
                number, _, _ = event.stream.removeprefix("call-").partition("~")
                assert event.data["text"].startswith(f"To {number}: ")
                answers[event.stream, event.data["text"]] += 1
    assert len(answers) == answers.total() == types["model.response"] == DECISIONS
    for once in ("session.forked", "replay.started", "replay.finished"):
        assert types[once] == CONVERSATIONS
