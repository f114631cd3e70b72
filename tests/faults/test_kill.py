"""Processes at work are killed at any moment; what they were told is there."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import pytest

import refold
from refold.engine.store import Store
from tests.faults import victims
from tests.faults.judging import judge_diagnosis, judge_places, judge_tags
from tests.support.soak import bound, counted

KILLS = bound(5, 10)
LOGS = bound(2, 7)
WAIT_S = 60
IMPORTED_WHEN_NEEDED = ["refold.engine.aio", "refold.backends.sqlite.compaction", "backports.zstd"]
ANSWERS_MAX = 60
PACKED_MAX = 2

Victim = Callable[[str, str, Any, Connection], None]
VICTIMS: tuple[Victim, ...] = (victims.write_in_threads, victims.write_in_tasks, victims.compact)


class Told(NamedTuple):
    """An answer that a process has passed on: where the parts of an append ended."""

    lane: str
    turn: int
    places: list[list[Any]]


class Crowd:
    """Processes at work on one log, and the end of the pipe that they tell through."""

    def __init__(
        self, path: Path | str, name: str, synchronous: str, victims: Sequence[Victim] = VICTIMS
    ) -> None:
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(["tests.faults.victims", *IMPORTED_WHEN_NEEDED])
        self._hears, tells = context.Pipe(duplex=False)
        self._rest = b""
        self.processes: list[BaseProcess] = []
        for victim in victims:
            own = f"{name}.{victim.__name__}"
            args = (str(path), own, synchronous, tells)
            self.processes.append(context.Process(target=victim, args=args, daemon=True))
            self.processes[-1].start()
        tells.close()

    def answers(self, at_least: int, *, packed_at_least: int = 0) -> Iterator[Told]:
        """So many answers and compactions, or a few more."""
        while at_least > 0 or packed_at_least > 0:
            assert wait([self._hears], timeout=WAIT_S), "the processes are silent"
            for answer in self._heard():
                if answer.lane == victims.PACKED:
                    packed_at_least -= 1
                else:
                    at_least -= 1
                    yield answer

    def last_words(self) -> Iterator[Told]:
        """What is left in the pipe of processes that are no more."""
        while True:
            try:
                yield from (answer for answer in self._heard() if answer.lane != victims.PACKED)
            except EOFError:
                return

    def _heard(self) -> list[Told]:
        chunk = os.read(self._hears.fileno(), 1 << 16)
        if not chunk:
            raise EOFError("every process has ended")
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        heard = [Told(*json.loads(line)) for line in lines]
        assert [answer.places for answer in heard if answer.lane == victims.FAILED] == []
        return heard

    def kill(self, process: BaseProcess) -> None:
        """End one of them at once, with no chance to tidy up."""
        assert process.pid is not None
        os.kill(process.pid, signal.SIGKILL)
        counted("kill -9")
        process.join(WAIT_S)
        assert process.exitcode == -signal.SIGKILL, "it had ended before, by itself"

    def close(self) -> None:
        """Leave nobody behind, whatever came before."""
        for process in self.processes:
            process.kill()
            process.join(WAIT_S)
        self._hears.close()


@pytest.mark.parametrize("number", range(LOGS))
def test_killed_processes_lose_nothing_that_they_were_told(tmp_path: Path, number: int) -> None:
    """Threads and tasks append and a third process compacts; each is killed, some before others.

    Every answer is true afterwards, every append is whole, each caller's appends are there in its
    order up to its last one, and a key that was in flight can be used again.
    """
    random = Random(number)
    path = tmp_path / "log.db"
    refold.open(path).close()
    told: dict[tuple[str, int], Told] = {}
    for kill in range(KILLS):
        crowd = Crowd(path, f"{number}.{kill}", random.choice(["FULL", "NORMAL"]))
        try:
            packed = random.randint(0, PACKED_MAX)
            heard = list(crowd.answers(random.randint(1, ANSWERS_MAX), packed_at_least=packed))
            random.shuffle(crowd.processes)
            crowd.kill(crowd.processes[0])
            if random.random() < 0.5:  # The others go on without it.
                heard += crowd.answers(random.randint(1, ANSWERS_MAX) + 2 * victims.LANES)
            crowd.kill(crowd.processes[1])
            crowd.kill(crowd.processes[2])
            heard += crowd.last_words()
        finally:
            crowd.close()
        told |= {(answer.lane, answer.turn): answer for answer in heard}
        with refold.open(path, synchronous="NORMAL") as store:
            judge(store, told)


def judge(store: Store, told: dict[tuple[str, int], Told]) -> None:
    """Everything told is there; everything there is whole and in its caller's order."""
    events = list(store.read_all())
    judge_places(store, events)
    judge_tags(store, events)
    found: dict[tuple[str, int], list[refold.Recorded]] = {}
    for event in events:
        found.setdefault((event.data["lane"], event.data["turn"]), []).append(event)
    turns: dict[str, list[int]] = {}
    for (lane, turn), parts in found.items():
        turns.setdefault(lane, []).append(turn)
        _judge_whole(lane, turn, parts)
    for lane, seen in turns.items():
        assert seen == list(range(len(seen))), f"{lane} is not there in its order"
    for place, answer in told.items():
        ends = {e.position: (e.stream, e.version) for e in found[place]}
        for stream, version, position in answer.places:
            assert ends[position] == (stream, version), answer
    judge_diagnosis(store)
    _judge_keys(store, turns, told)


def _judge_whole(lane: str, turn: int, parts: list[refold.Recorded]) -> None:
    appends, _ = victims.parts_of(lane, turn)
    wanted = [append.stream for append in appends for _ in append.events]
    assert [e.stream for e in parts] == wanted, (lane, turn)
    assert [e.data["n"] for e in parts] == list(range(parts[0].data["of"])), (lane, turn)
    assert parts[-1].position - parts[0].position == len(parts) - 1, (lane, turn)


def _judge_keys(
    store: Store, turns: dict[str, list[int]], told: dict[tuple[str, int], Told]
) -> None:
    """A caller that was killed with a keyed append in flight comes back with it."""
    for lane, seen in turns.items():
        last = len(seen) - 1
        appends, key = victims.parts_of(lane, last)
        if key is not None and (lane, last) not in told:
            before = store.log_head()
            assert all(answer.duplicate for answer in store.append_together(appends, key=key))
            assert store.log_head() == before
