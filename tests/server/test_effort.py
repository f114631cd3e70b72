"""What may take long is worked for beside: so much at once, for so long, and for who waits."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import httpx2
import pytest

import refold
from refold.core.diff import diff
from refold.core.fold import Fold
from refold.server import effort, knowing
from refold.server.desk import WORKS_MAX
from refold.server.effort import HeedingFold
from tests.server.serving import append, connected, served

LIMIT_S = 60
EVENTS = 600
STATE = "/v1/streams/call-1/state"
COMPARED = "/v1/compare?a=call-1&b=call-1~b"
CONVERSATIONS = "/v1/conversations"
LOOKED_FOR = [
    ("/v1/events?type=note.taken", 422, "takes_too_long"),
    ("/v1/events?category=call", 422, "takes_too_long"),
    (CONVERSATIONS, 429, "overloaded"),
]


class Slow:
    """A fold of which each step waits until it may go on; what was begun, and what was ended."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.goes_on, self.steps = threading.Event(), 0
        self.began, self.ended = threading.Semaphore(0), threading.Semaphore(0)
        self.efforts: list[effort.Effort] = []
        fold = Fold("slow", dict[str, int])
        fold.on("note.taken")(self.step)
        monkeypatch.setitem(knowing.FOLDS, "conversation", HeedingFold(fold))
        self._under = effort._under
        monkeypatch.setattr(effort, "_under", self.under)

    def step(self, state: dict[str, int], _event: Any) -> dict[str, int]:
        """Take it."""
        self.steps += 1
        self.began.release()
        self.goes_on.wait(LIMIT_S)
        return state

    def look(self, heed: Callable[[], None]) -> None:
        """Take a step before it is looked whether work is still wanted."""
        self.step({}, None)
        heed()

    def under(self, made: effort.Effort, *given: Any) -> Any:
        """The work, of which is known when nobody waits for it any more."""
        self.efforts.append(made)
        try:
            return self._under(made, *given)
        except effort.NobodyWaits:
            self.ended.release()
            raise


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> Iterator[Slow]:
    """The fold that is asked for by the name of conversations."""
    made = Slow(monkeypatch)
    yield made
    made.goes_on.set()


@pytest.fixture(scope="module")
def client() -> Iterator[httpx2.Client]:
    """A client of a store with a stream and a branch of it."""
    with refold.open("memory:") as store, served(store) as made:
        for first in range(0, EVENTS, 2):
            store.append("call-1", [refold.Event("note.taken", first + n) for n in range(2)])
        store.branch("call-1", at=EVENTS // 2).save("call-1~b")
        yield made


def begun(client: httpx2.Client, asked: str) -> httpx2.Response:
    """The answer to a question that was begun: a machine at work may not have come to it."""
    while "such questions" in (answer := client.get(asked)).json()["detail"]:
        pass
    return answer


@pytest.mark.parametrize("asked", [STATE, COMPARED])
def test_a_caller_is_answered_in_time(
    client: httpx2.Client, slow: Slow, monkeypatch: pytest.MonkeyPatch, asked: str
) -> None:
    """Where it is not done by then, with a problem document; and the work ends."""
    monkeypatch.setattr(effort, "WORK_S_MAX", 0.3)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(begun, client, asked)
        assert slow.began.acquire(timeout=LIMIT_S)
        answer = waiting.result()
    assert (answer.status_code, answer.json()["code"]) == (422, "takes_too_long")
    assert answer.json()["retry"] == "never"
    slow.goes_on.set()
    assert slow.ended.acquire(timeout=LIMIT_S)
    assert slow.steps < EVENTS


@pytest.mark.parametrize("asked", [STATE, COMPARED])
def test_nobody_is_worked_for_who_is_gone(client: httpx2.Client, slow: Slow, asked: str) -> None:
    """The fold ends before its next page of events."""
    with connected(client) as leaving:
        leaving.sendall(f"GET {asked} HTTP/1.1\r\nhost: localhost\r\n\r\n".encode())
        assert slow.began.acquire(timeout=LIMIT_S)
    until = time.monotonic() + LIMIT_S
    while not slow.efforts[0].over and time.monotonic() < until:
        time.sleep(0.001)
    slow.goes_on.set()
    assert slow.ended.acquire(timeout=LIMIT_S)
    assert slow.steps < EVENTS


@pytest.fixture
def slow_look(slow: Slow, monkeypatch: pytest.MonkeyPatch) -> Slow:
    """Each look whether work is still wanted waits, as what it does between two of them would."""
    monkeypatch.setattr(effort, "heed", partial(slow.look, effort.heed))
    return slow


@pytest.mark.parametrize(("asked", "status", "code"), LOOKED_FOR)
def test_what_is_looked_for_is_answered_in_time(
    client: httpx2.Client,
    slow_look: Slow,
    monkeypatch: pytest.MonkeyPatch,
    asked: str,
    status: int,
    code: str,
) -> None:
    """Events that may stand far apart, and conversations: who asks for those may come again."""
    monkeypatch.setattr(effort, "WORK_S_MAX", 0.3)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(begun, client, asked)
        assert slow_look.began.acquire(timeout=LIMIT_S)
        answer = waiting.result()
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert ("retry-after" in answer.headers) == (status == 429)
    slow_look.goes_on.set()
    assert slow_look.ended.acquire(timeout=LIMIT_S)
    monkeypatch.setattr(effort, "WORK_S_MAX", LIMIT_S)
    assert client.get(asked).is_success


def test_who_asks_for_conversations_waits_a_turn_and_no_longer(
    client: httpx2.Client, slow_look: Slow, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both are answered: the one with them, the other with when to come."""
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(client.get, CONVERSATIONS)
        assert slow_look.began.acquire(timeout=LIMIT_S)
        assert client.get("/health").is_success  # The server has begun to wait for the first.
        monkeypatch.setattr(effort, "WORK_S_MAX", 0.05)
        second = client.get(CONVERSATIONS)
        assert (second.status_code, second.json()["code"]) == (429, "overloaded")
        slow_look.goes_on.set()
        assert first.result().is_success


def test_so_many_are_worked_for_at_once(
    client: httpx2.Client, slow: Slow, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Others wait their turn, and come later where it does not come; the rest goes on meanwhile."""
    with ThreadPoolExecutor(WORKS_MAX) as pool:
        working = [pool.submit(client.get, STATE) for _ in range(WORKS_MAX)]
        for _ in working:
            assert slow.began.acquire(timeout=LIMIT_S)
        assert client.get("/health").is_success  # The server has begun to wait for all of them.
        monkeypatch.setattr(effort, "WORK_S_MAX", 0.05)
        answer = client.get(STATE)
        assert (answer.status_code, answer.json()["code"]) == (429, "overloaded")
        assert "retry-after" in answer.headers
        assert append(client, "note-1", 1).is_success
        assert client.get("/v1/events").is_success
        slow.goes_on.set()
        assert {one.result().status_code for one in working} == {200}


class Enough(Exception):
    """What ends a comparison here."""


@pytest.mark.parametrize("calls", [0, 3, 250, 1_500])
def test_a_comparison_can_be_ended_anywhere(calls: int) -> None:
    """While it reads, finds what is alike, and tells what changed."""
    left = calls

    def heed() -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise Enough

    with refold.open("memory:") as store:
        store.append("a-1", [refold.Event("a.b", n % 7) for n in range(200)])
        store.append("b-1", [refold.Event("a.b", n % 5) for n in range(200)])
        if calls > 1_000:
            diff(store.read("a-1"), store.read("b-1"), heed=heed)
            return
        with pytest.raises(Enough):
            diff(store.read("a-1"), store.read("b-1"), heed=heed)


def test_a_heeding_fold_uses_the_snapshots_of_its_own() -> None:
    """It is the same fold: what one left is where the other starts."""
    steps = 0
    fold = Fold("counted", dict[str, int], state_type=dict[str, int])

    @fold.on("a.b")
    def step(state: dict[str, int], _event: Any) -> dict[str, int]:
        nonlocal steps
        steps += 1
        return {"n": state.get("n", 0) + 1}

    with refold.open("memory:") as store:
        for _ in range(30):
            store.append("a-1", [refold.Event("a.b")] * 100)
        assert store.fold("a-1", fold).state == {"n": 3_000}
        steps = 0
        assert store.fold("a-1", HeedingFold(fold)).state == {"n": 3_000}
        assert steps < 1_000
