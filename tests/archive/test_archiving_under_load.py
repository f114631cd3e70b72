"""Months that are archived and dropped while others are written and all of it is read."""

from __future__ import annotations

import threading
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import pytest

import refold
from refold import Event
from refold.core.clock import to_us
from refold.errors import RefoldError
from refold.partitions import Partitions
from tests.support import postgres
from tests.support.soak import bound

HOUR = 3_600_000_000
START = to_us("2024-01-25T00:00:00Z")
APPENDS = bound(60, 1_000)
"""Of each writer, at least: so many that several months end."""


class Clock:
    """Goes on by some hours with every look at it."""

    def __init__(self, hours: int) -> None:
        self._lock, self._us, self._step = threading.Lock(), START, hours * HOUR

    def __call__(self) -> int:
        """Microseconds."""
        with self._lock:
            self._us += self._step
            return self._us


def test_months_leave_while_others_are_written(tmp_path: Path) -> None:
    """Nothing is lost, doubled or passed over; a key counts once, whichever month it is in."""
    url, clock, done = postgres.schema_of_its_own(), Clock(18), threading.Event()
    archived = f"{url}&archive={tmp_path}"
    failed: list[object] = []
    firsts: list[list[str]] = [[], []]
    dropped: list[str] = []

    def write(own: list[str]) -> None:
        with refold.open(url, clock=clock) as store:
            for number in count():
                if number >= APPENDS and (dropped or failed):
                    break
                event = Event("test.a", {"n": number})
                if not store.append(f"call-{number % 7}", [event], key=f"k{number}").duplicate:
                    own.append(f"k{number}")

    def read() -> None:
        with refold.open(archived, mode="read") as store:
            while not done.is_set():
                found = [e.position for e in store.read_all()]
                assert found == list(range(1, len(found) + 1))

    def drop() -> None:
        with refold.open(url, mode="write") as store:
            partitions = Partitions(store)
            while not done.is_set():
                held = [one for one in partitions.months() if one.events]
                for one in held[:-2]:
                    if one.state == "attached":
                        partitions.archive(after(one.month), tmp_path)
                        partitions.drop(one.month)
                        dropped.append(one.month)

    def running(work: Callable[..., Any], *given: Any) -> threading.Thread:
        def run() -> None:
            try:
                work(*given)
            except (RefoldError, AssertionError) as error:
                failed.append(error)

        thread = threading.Thread(target=run)
        thread.start()
        return thread

    refold.open(url).close()
    others = [running(read), running(read), running(drop)]
    for writer in [running(write, own) for own in firsts]:
        writer.join()
    done.set()
    for other in others:
        other.join()
    assert failed == []
    first = firsts[0] + firsts[1]
    assert sorted(first) == sorted(f"k{number}" for number in range(len(first)))
    with refold.open(archived) as store:
        states = {one.month: one.state for one in Partitions(store).months()}
        assert {states[month] for month in dropped} == {"dropped"}
        for name in range(7):
            versions = [e.version for e in store.read(f"call-{name}")]
            assert versions == list(range(len(versions)))
        assert store.log_head() == len(first) >= APPENDS
        assert [check for check in store.check() if not check.good] == []


def after(month: str) -> str:
    """The month after one."""
    year, number = map(int, month.split("-"))
    return f"{year + number // 12}-{number % 12 + 1:02}"


@pytest.mark.parametrize(("month", "next_one"), [("2024-01", "2024-02"), ("2024-12", "2025-01")])
def test_the_month_after(month: str, next_one: str) -> None:
    """Also over the end of a year."""
    assert after(month) == next_one
