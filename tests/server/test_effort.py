"""What may take long is worked for beside: so much at once, for so long, and for who waits."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx2
import pytest

import refold
from refold.core.fold import Fold
from refold.server import effort, knowing
from refold.server.effort import HeedingFold, heed
from tests.server.serving import append, served

STATE = "/v1/streams/call-1/state"
COMPARED = "/v1/compare?a=call-1&b=call-1~b"


class Steps:
    """A step of a fold that waits until it may go on, and counts."""

    def __init__(self) -> None:
        self.began, self.goes_on = threading.Semaphore(0), threading.Event()
        self.count, self.ended = 0, threading.Semaphore(0)

    def __call__(self, state: dict[str, int], _event: Any) -> dict[str, int]:
        """Take it."""
        self.count += 1
        self.began.release()
        self.goes_on.wait(60)
        return state


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> Steps:
    """The steps of the fold that is asked for by the name of conversations."""
    made = Steps()
    fold = Fold("slow", dict[str, int])
    fold.on("note.taken")(made)
    monkeypatch.setitem(knowing.FOLDS, "conversation", HeedingFold(fold))
    return made


@pytest.fixture
def client() -> Iterator[httpx2.Client]:
    """A client of a store with a stream and a branch of it."""
    with refold.open("memory:") as store, served(store) as connected:
        for n in range(600):
            store.append("call-1", [refold.Event("note.taken", {"n": n})])
        store.branch("call-1", at=300).save("call-1~b")
        yield connected


@pytest.mark.parametrize("asked", [STATE, COMPARED])
def test_a_caller_is_answered_in_time(
    client: httpx2.Client, steps: Steps, monkeypatch: pytest.MonkeyPatch, asked: str
) -> None:
    """Where it is not done by then, with a problem document; and the work ends."""
    monkeypatch.setattr(effort, "WORK_S_MAX", 0.05)
    answer = client.get(asked)
    assert (answer.status_code, answer.json()["code"]) == (422, "takes_too_long")
    assert answer.json()["retry"] == "never"
    until_ended(steps, lambda: client.get("/health").is_success)


@pytest.mark.parametrize("asked", [STATE, COMPARED])
def test_nobody_is_worked_for_who_is_gone(
    client: httpx2.Client, steps: Steps, monkeypatch: pytest.MonkeyPatch, asked: str
) -> None:
    """The fold ends before its next page of events."""
    ended = threading.Event()
    real = effort._under

    def under(*given: Any) -> Any:
        try:
            return real(*given)
        except effort.NobodyWaits:
            ended.set()
            raise

    monkeypatch.setattr(effort, "_under", under)
    with ThreadPoolExecutor(1) as pool, httpx2.Client(base_url=client.base_url) as leaving:
        pool.submit(_unheard, leaving, asked)
        assert steps.began.acquire(timeout=60)
    steps.goes_on.set()
    assert ended.wait(60)
    assert steps.count < 600


def _unheard(client: httpx2.Client, asked: str) -> None:
    with pytest.raises(httpx2.TransportError):
        client.get(asked, timeout=0.2)
