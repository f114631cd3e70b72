"""The pool hands results to one thread, takes tasks as they are worked off, and lets go."""

import threading
from collections.abc import Iterator

import pytest

from refold.replay.asking import Stopped
from refold.replay.pool import QUEUED_PER_WORKER, Pool


def test_results_come_as_they_end() -> None:
    """Every task once, with its own result, whoever finishes first."""
    first_may_end = threading.Event()

    def work(n: int) -> int:
        if n == 0:
            first_may_end.wait(10)
        return n * n

    pool: Pool[int, int] = Pool(work, workers=2, stop=threading.Event())
    seen = []
    for task, result in pool.results(iter(range(10))):
        seen.append((task, result))
        if len(seen) == 9:
            first_may_end.set()
    assert seen[-1] == (0, 0)
    assert sorted(seen) == [(n, n * n) for n in range(10)]
    assert list(pool.close()) == []


def test_tasks_are_taken_only_as_fast_as_they_are_worked_off() -> None:
    """A long list of conversations is never all in memory."""
    taken = 0

    def tasks() -> Iterator[int]:
        nonlocal taken
        for n in range(1_000):
            taken += 1
            yield n

    pool: Pool[int, int] = Pool(lambda n: n, workers=2, stop=threading.Event())
    done = 0
    for _ in pool.results(tasks()):
        assert taken - done <= 2 * QUEUED_PER_WORKER
        done += 1
    assert done == 1_000
    assert list(pool.close()) == []


def test_what_work_raises_ends_the_pool() -> None:
    """The error reaches the thread that waits for results."""

    def work(n: int) -> int:
        raise ValueError(n)

    pool: Pool[int, int] = Pool(work, workers=1, stop=threading.Event())
    with pytest.raises(ValueError, match="0"):
        list(pool.results(iter([0])))
    assert list(pool.close()) == []


def test_closing_gives_what_ends_in_time_and_abandons_the_rest() -> None:
    """Work that hangs does not hold up the end; work that waits is told to stop."""
    stop, never, waiting = threading.Event(), threading.Event(), threading.Event()

    def work(task: str) -> str:
        match task:
            case "hangs":
                waiting.set()
                never.wait()
            case "waits":
                stop.wait()
                raise Stopped
        return task

    pool: Pool[str, str] = Pool(work, workers=3, stop=stop)
    results = pool.results(iter(["quick", "hangs", "waits", "quick"]))
    assert next(results) == ("quick", "quick")
    waiting.wait(10)
    assert [task for task, _ in pool.close(grace_s=0.2)] in (["quick"], [])
    never.set()
