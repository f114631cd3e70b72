"""The same free run begun twice, as on two machines: one store, and nothing else between them."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator

import pytest

import refold
from refold.errors import NotFound
from refold.replay.leases import STREAM
from tests.support.chat_server import Body, ChatServer
from tests.support.many import assert_every_result_once, recorded
from tests.support.postgres import schema_of_its_own

CONVERSATIONS = 24
"""More than one process takes at a time."""
WORKERS = 4
ASKED = 4 * CONVERSATIONS
"""Two decisions, of the candidate and of its control."""


class Shared:
    """A store in PostgreSQL, a model, and the processes that run the same command over both.

    The model answers nobody before both processes have said what they are about to ask; with
    ``killed_at`` the first is killed in the midst of that many requests.
    """

    def __init__(self, killed_at: int | None = None) -> None:
        self.address = schema_of_its_own()
        recorded(self.address, CONVERSATIONS)
        self.server = ChatServer(self._answer)
        self.children: list[subprocess.Popen[str]] = []
        self._killed_at, self._lock, self._are_both = killed_at, threading.Lock(), False

    def begin(self) -> None:
        """Begin the command twice."""
        asked = ["--db", self.address, "--base-url", self.server.base_url, "--category", "call"]
        asked += ["--mode", "free-run", "--user", "rules", "--model", "openai:other", "--control"]
        command = [sys.executable, "-m", "refold", "replay", *asked, "--json"]
        for _ in range(2):
            self.children.append(
                subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
            )

    def _answer(self, body: Body) -> Body:
        with self._lock:
            self._wait_for_both()
            if len(self.server.requests) >= (self._killed_at or sys.maxsize):
                self.children[0].kill()
                self.children[0].wait()
        return {"role": "assistant", "content": f"To {body['messages'][-1]['content']}"}

    def _wait_for_both(self) -> None:
        with refold.open(self.address, mode="read") as store:
            while not self._are_both and all(one.poll() is None for one in self.children):
                try:
                    holders = {event.data["holder"] for event in store.read(STREAM)}
                except NotFound:
                    holders = set()
                self._are_both = len(holders) == len(self.children)
                time.sleep(0 if self._are_both else 0.02)

    def times_asked(self) -> list[int]:
        """How often each request came, the most first."""
        counted = Counter(json.dumps(body, sort_keys=True) for body in self.server.requests)
        return sorted(counted.values(), reverse=True)


def told(child: subprocess.Popen[str]) -> tuple[list[int], str]:
    """What it kept, answered and failed at, and its verdict as it was printed."""
    out, err = child.communicate(timeout=120)
    assert child.returncode == 0, err
    *summaries, verdict = out.splitlines()
    parts = [json.loads(one) for one in summaries]
    return [sum(one[name] for one in parts) for name in ("kept", "answered", "failed")], verdict


@pytest.fixture
def shared(request: pytest.FixtureRequest) -> Iterator[Shared]:
    """Both of them under way."""
    one = Shared(getattr(request, "param", None))
    with one.server:
        one.begin()
        try:
            yield one
        finally:
            for child in one.children:
                child.kill()
                child.communicate()


def test_two_processes_share_the_conversations_of_a_free_run(shared: Shared) -> None:
    """Every conversation is walked once, no answer is paid twice, and both say the same of all."""
    (one, verdict), (other, same) = (told(child) for child in shared.children)
    assert shared.times_asked() == [1] * ASKED
    assert one[1] + other[1] == ASKED
    assert all(kept + answered == ASKED for kept, answered, _ in (one, other))
    assert all(answered > 0 and not failed for _, answered, failed in (one, other))
    assert verdict == same
    assert json.loads(verdict)["verdicts"]["primary"]["clusters"] == CONVERSATIONS
    assert_every_result_once(shared.address, CONVERSATIONS, variants=2)


@pytest.mark.parametrize("shared", [ASKED // 4], indirect=True)
def test_what_a_killed_process_walked_the_other_goes_on_with(shared: Shared) -> None:
    """From where it was: no more is asked again than was under way, at most one a worker."""
    (kept, answered, failed), verdict = told(shared.children[1])
    assert shared.children[0].wait() == -9
    assert (kept + answered, failed) == (ASKED, 0)
    asked = shared.times_asked()
    assert len(asked) == ASKED
    assert sum(asked) - ASKED <= WORKERS
    assert json.loads(verdict)["figures"]["decisions"] == 2 * CONVERSATIONS
    assert_every_result_once(shared.address, CONVERSATIONS, variants=2)
