"""A writer that is killed: what it was told is stored is stored."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import refold
from refold.core.event import Event

KILLS = 10
ROOT = Path(__file__).resolve().parents[2]


class Told(NamedTuple):
    """A stored append, as the writer was told of it before it was killed."""

    key: str
    stream: str
    version: int
    position: int
    event_count: int


def killed_round(path: Path, round_number: int, told_before_kill: int) -> list[Told]:
    """Let a writer append, kill it in the middle of its work, and give all that it told."""
    command = [sys.executable, "-m", "tests.faults.killed_writer", str(path), str(round_number)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) as writer:
        assert writer.stdout is not None
        lines = [writer.stdout.readline() for _ in range(told_before_kill)]
        writer.kill()
        lines += writer.stdout.read().splitlines(keepends=True)
        assert writer.wait(60) == -signal.SIGKILL
    return [_told(line.decode()) for line in lines if line.endswith(b"\n")]


def _told(line: str) -> Told:
    key, stream, *places = line.split()
    return Told(key, stream, *(int(place) for place in places))


def test_a_kill_loses_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    """Ten kills of a process with three writing threads, each followed by an opening.

    All that was acknowledged stands where it was said to, whole; what was in flight is there
    whole or not at all; places are dense; a key that was in flight can be appended again.
    """
    path, chance = tmp_path / "log.db", random.Random(7)
    told: list[Told] = []
    for round_number in range(KILLS):
        told += killed_round(path, round_number, chance.randint(1, 40))
        with refold.open(path) as store:
            check(store, told)
    with refold.open(path) as store:
        keys = {event.data["key"] for event in store.read_all()}
        for append in told:
            events = [
                Event("test.token", {"key": append.key, "n": n}) for n in range(append.event_count)
            ]
            assert store.append(append.stream, events, key=append.key).duplicate
        assert {event.data["key"] for event in store.read_all()} == keys
        check(store, told)


def check(store: refold.Store, told: list[Told]) -> None:
    """The log against what its writers were told."""
    events = list(store.read_all())
    assert [e.position for e in events] == list(range(1, len(events) + 1))
    for info in store.streams():
        versions = [e.version for e in events if e.stream == info.stream]
        assert versions == list(range(info.version + 1))
    for append in told:
        own = events[append.position - append.event_count : append.position]
        assert [e.data for e in own] == [
            {"key": append.key, "n": n} for n in range(append.event_count)
        ]
        assert (own[-1].stream, own[-1].version) == (append.stream, append.version)
    numbers: dict[str, list[int]] = {}
    for event in events:
        numbers.setdefault(event.data["key"], []).append(event.data["n"])
    for key, found in numbers.items():
        # Whole and once: an append of a key holds one to three events, by its number.
        assert found == list(range(1 + int(key.split("-")[2]) % 3)), key
    assert [line for line in store.check() if not line.good] == []
