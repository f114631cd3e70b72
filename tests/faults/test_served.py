"""A server of a store is killed at any moment; what its callers were told is there, once."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import httpx2

import refold
from tests.faults.judging import judge_diagnosis, judge_places
from tests.support.postgres import free_port
from tests.support.soak import bound, counted

KILLS = bound(3, 20)
ANSWERS_PER_KILL = 80
WRITERS = 4
WAIT_S = 60
SHARED, RACE = "shared-1", "race-1"


class Said(NamedTuple):
    """What a writer was told of an append: its lane and turn, and the answer."""

    lane: int
    turn: int
    answer: dict[str, Any]


class Served:
    """The server, its callers, and all that they were told."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.port = free_port()
        self.said: list[Said] = []
        self.enough = threading.Condition()
        self.done = threading.Event()
        self.failed: list[BaseException] = []

    @contextmanager
    def running(self) -> Iterator[subprocess.Popen[str]]:
        """A process of `refold serve`; killed when the block ends, if it is still there."""
        command = [sys.executable, "-m", "refold", "serve", "--db", str(self.path)]
        command += ["--port", str(self.port)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            try:
                assert process.stdout is not None
                assert process.stdout.readline().startswith("http"), "it does not listen"
                yield process
            finally:
                process.kill()
                process.wait(WAIT_S)

    def write(self, lane: int) -> None:
        """Append under a key each, again until there is an answer; every third into a race."""
        try:
            with httpx2.Client(base_url=f"http://127.0.0.1:{self.port}", timeout=WAIT_S) as client:
                turn = 0
                while not self.done.is_set():
                    self._turn(client, lane, turn)
                    turn += 1
        except BaseException as error:
            self.failed.append(error)
            raise

    def _turn(self, client: httpx2.Client, lane: int, turn: int) -> None:
        count = 1 + turn % 3
        data = [{"lane": lane, "turn": turn, "n": n, "of": count} for n in range(count)]
        body: dict[str, Any] = {"events": [{"type": "test.token", "data": one} for one in data]}
        stream = (f"own-{lane}", SHARED, RACE)[turn % 3]
        attempt, head = 0, -1
        while True:
            body["key"] = f"{lane}/{turn}/{attempt}"
            if stream == RACE:
                body["expected"] = "no_stream" if head < 0 else head
            answer = _sure(client, f"/v1/streams/{stream}/events", body)
            if answer.status_code != 409:
                break
            head, attempt = answer.json()["facts"]["actual"], attempt + 1
        assert answer.status_code == 201, answer.text
        if stream == RACE:
            assert answer.json()["first_version"] == head + 1
        with self.enough:
            self.said.append(Said(lane, turn, answer.json()))
            self.enough.notify_all()

    def wait(self, count: int) -> None:
        """Until so many answers were given."""
        with self.enough:
            assert self.enough.wait_for(lambda: self.failed or len(self.said) >= count, WAIT_S)
        assert self.failed == []


def _sure(client: httpx2.Client, place: str, body: dict[str, Any]) -> httpx2.Response:
    """The answer to a request, sent again until there is one."""
    while True:
        try:
            answer = client.post(place, json=body)
        except httpx2.TransportError:
            threading.Event().wait(0.01)
            continue
        if answer.status_code not in (429, 503, 504):
            return answer


def test_a_killed_server_loses_and_doubles_nothing(tmp_path: Path) -> None:
    """Four callers append with keys and repeat what was not answered, while it is killed -9.

    Every answer is true afterwards; each append is there whole and once, in its caller's order; of
    those that expected the same version one won.
    """
    served, random = Served(tmp_path / "log.db"), Random(1)
    threads = [threading.Thread(target=served.write, args=(lane,)) for lane in range(WRITERS)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(KILLS):
            with served.running() as process:
                served.wait(len(served.said) + random.randint(1, ANSWERS_PER_KILL))
                process.send_signal(signal.SIGKILL)
                counted("kill -9 of a server")
        with served.running():
            served.wait(len(served.said) + 3 * WRITERS)
            served.done.set()
            for thread in threads:
                thread.join(WAIT_S)
    finally:
        served.done.set()
    assert served.failed == []
    with refold.open(served.path) as store:
        judge(store, served.said)


def judge(store: refold.Store, said: list[Said]) -> None:
    """Whether the log holds what was said, once, whole and in order, and nothing else."""
    events = list(store.read_all())
    judge_places(store, events)
    judge_diagnosis(store)
    found: dict[tuple[int, int], list[refold.Recorded]] = {}
    for event in events:
        found.setdefault((event.data["lane"], event.data["turn"]), []).append(event)
    assert found.keys() == {(one.lane, one.turn) for one in said}
    for one in said:
        there, answer = found[one.lane, one.turn], one.answer
        assert [event.data["n"] for event in there] == list(range(there[0].data["of"])), one
        places = (there[0].position, there[-1].position, there[0].version, there[-1].version)
        names = ("first_position", "last_position", "first_version", "last_version")
        assert places == tuple(answer[name] for name in names), one
        assert {event.stream for event in there} == {answer["stream"]}
    for lane in range(WRITERS):
        turns = [turn for of, turn in found if of == lane]
        assert turns == list(range(len(turns))), "the log is not in the order of the calls"
    won = Counter(one.answer["first_version"] for one in said if one.answer["stream"] == RACE)
    assert set(won.values()) == {1}
