"""A replay that dies anywhere is continued by the next, and no answer is asked for twice."""

import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest

import refold
from refold.backends.memory import MemoryBackend
from refold.ports import Batch, Beside, Outcome
from refold.replay import ChatEndpoint, Variant, compare, replay
from tests.replay.stories import as_message, as_recorded, record
from tests.support.chat_server import Body, ChatServer

VARIANT = Variant(label="crash")
STREAMS = ["call-1", "call-2"]


class Killed(BaseException):
    """The process ends here."""


class DyingBackend(MemoryBackend):
    """Memory that ends the process instead of a commit."""

    commits_left: int | None = None

    def commit(
        self, batches: Sequence[Batch], *, now: int, beside: Beside | None = None
    ) -> list[Outcome]:
        if self.commits_left is not None:
            if self.commits_left == 0:
                raise Killed
            self.commits_left -= 1
        return super().commit(batches, now=now, beside=beside)


# What it holds, the plan; each stream: its branch, two answers, its end; that it holds nothing.
COMMITS = 2 + 2 * (1 + 2 + 1) + 1


@pytest.mark.parametrize("commits", range(COMMITS))
def test_a_run_cut_off_at_any_commit_is_completed_by_the_next(commits: int) -> None:
    """Whatever prefix of its writes was stored, the second run adds exactly the rest."""
    backend = DyingBackend()
    store = refold.Store(backend)
    for stream in STREAMS:
        record(store, stream)
    backend.commits_left = commits
    with pytest.raises(Killed):
        replay(store, STREAMS, VARIANT, as_recorded, workers=1)
    backend.commits_left = None
    kept = sum(
        decision.level == "same"
        for conversation in compare(store, STREAMS, VARIANT).conversations
        for decision in conversation.decisions
    )
    summary = replay(store, STREAMS, VARIANT, as_recorded, workers=1)
    assert (summary.kept, summary.requests) == (kept, 4 - kept)
    for conversation in compare(store, STREAMS, VARIANT).conversations:
        own = [e for e in store.read(conversation.branch) if e.stream == conversation.branch]
        assert [event.type for event in own] == [
            "session.forked",
            "replay.started",
            "model.response",
            "tool.call",
            "model.response",
            "agent.utterance",
            "replay.finished",
        ]


CHILD = """
import sys, refold
from refold.replay import ChatEndpoint, Variant, replay, select
from refold.conversation import events
with refold.open(sys.argv[1]) as store:
    streams = select(store, category="call")
    replay(store, streams, Variant(label="crash"), ChatEndpoint(sys.argv[2]), workers=3)
"""


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_a_killed_process_loses_no_answer_that_it_recorded(
    tmp_path: Path, how: signal.Signals
) -> None:
    """kill -9 or Ctrl-C in the middle of a run over HTTP: the next run asks only for the rest."""
    path = tmp_path / "calls.db"
    with refold.open(path) as store:
        streams = [record(store, f"call-{n}") for n in range(20)]
    child: subprocess.Popen[bytes] | None = None
    started = threading.Event()
    served = 0

    def end_at_the_fifteenth(body: Body) -> Body:
        nonlocal served
        served += 1
        if served == 15 and started.wait(10) and child is not None:
            child.send_signal(how)
        return as_message(body)

    with ChatServer(end_at_the_fifteenth) as server:
        child = subprocess.Popen(
            [sys.executable, "-c", CHILD, str(path), server.base_url], stderr=subprocess.DEVNULL
        )
        started.set()
        assert child.wait(60) == -how
        with refold.open(path) as store:
            stored = sum(
                decision.candidate is not None
                for conversation in compare(store, streams, VARIANT).conversations
                for decision in conversation.decisions
            )
            asked_before = len(server.requests)
            summary = replay(store, streams, VARIANT, ChatEndpoint(server.base_url), workers=3)
            assert 15 - 3 * 3 <= stored < 40
            assert (summary.kept, summary.requests) == (stored, 40 - stored)
            assert len(server.requests) - asked_before == 40 - stored
            figures = compare(store, streams, VARIANT).figures
            assert (figures.counts["same"], figures.decisions) == (40, 40)
            assert all(check.good for check in store.check())
