"""Timing: one caller, threads, tasks, and the busy thread beside them. Standard library only."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from statistics import median, quantiles
from time import perf_counter, process_time
from typing import Any, Final

Work = Callable[[int, int], object]
"""Do the n-th call of a caller: ``work(caller, n)``."""

WARM_UP_CALLS: Final = 3
CALLS_MAX: Final = 1_000_000


Spent = Callable[[], float]
"""Processor seconds that what is measured has used so far."""


def called(
    work: Work, *, callers: int, seconds: float, spent: Spent = process_time
) -> dict[str, float]:
    """Calls a second of ``callers`` threads that each call again as soon as they have an answer.

    One caller runs on this thread. Gives ``per_s``, ``p50_ms`` and ``p99_ms`` of a call, and
    ``processor_us`` that it took.
    """
    for caller in range(callers):
        for n in range(WARM_UP_CALLS):
            work(caller, n)
    gc.collect()
    if callers == 1:
        took_s: list[float] = []
        spent_before, started = spent(), perf_counter()
        _repeat(work, 0, started + seconds, took_s)
        return _figures(took_s, perf_counter() - started, spent() - spent_before)
    return _in_threads(work, callers, seconds, spent)


def awaited(
    work: Callable[[int, int], Awaitable[object]],
    *,
    tasks: int,
    seconds: float,
    spent: Spent = process_time,
) -> Awaitable[dict[str, float]]:
    """The same for tasks of one event loop; to be awaited."""

    async def caller(number: int, until: float, took_s: list[float]) -> None:
        for n in range(WARM_UP_CALLS, CALLS_MAX):
            before = perf_counter()
            if before > until:
                return
            await work(number, n)
            took_s.append(perf_counter() - before)

    async def run() -> dict[str, float]:
        for n in range(WARM_UP_CALLS):
            await asyncio.gather(*(work(number, n) for number in range(tasks)))
        gc.collect()
        took_s: list[float] = []
        spent_before, started = spent(), perf_counter()
        await asyncio.gather(
            *(caller(number, started + seconds, took_s) for number in range(tasks))
        )
        return _figures(took_s, perf_counter() - started, spent() - spent_before)

    return run()


def timed(work: Callable[[], Any], *, seconds: float, times_min: int = 1) -> tuple[float, Any]:
    """Median seconds of a call repeated for ``seconds``, at least so often, and its last answer."""
    gc.collect()
    took_s: list[float] = []
    answer = None
    until = perf_counter() + seconds
    while len(took_s) < times_min or (perf_counter() < until and len(took_s) < CALLS_MAX):
        before = perf_counter()
        answer = work()
        took_s.append(perf_counter() - before)
    return median(took_s), answer


@contextmanager
def busy_threads(count: int) -> Iterator[None]:
    """Threads that do nothing but compute in Python meanwhile, as an agent's process may."""
    stopped = threading.Event()

    def compute() -> None:
        total = 0
        while not stopped.is_set():
            for number in range(1_000):
                total += number * number

    threads = [threading.Thread(target=compute) for _ in range(count)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stopped.set()
        for thread in threads:
            thread.join()


def _repeat(work: Work, caller: int, until: float, took_s: list[float]) -> None:
    for n in range(WARM_UP_CALLS, CALLS_MAX):
        before = perf_counter()
        if before > until:
            return
        work(caller, n)
        took_s.append(perf_counter() - before)


def _in_threads(work: Work, callers: int, seconds: float, spent: Spent) -> dict[str, float]:
    lists: list[list[float]] = [[] for _ in range(callers)]
    failures: list[BaseException] = []
    gate = threading.Barrier(callers + 1)

    def run(caller: int) -> None:
        gate.wait()
        try:
            _repeat(work, caller, perf_counter() + seconds, lists[caller])
        except BaseException as failure:
            failures.append(failure)

    threads = [threading.Thread(target=run, args=(caller,)) for caller in range(callers)]
    for thread in threads:
        thread.start()
    gate.wait()
    spent_before, started = spent(), perf_counter()
    for thread in threads:
        thread.join()
    elapsed_s, spent_s = perf_counter() - started, spent() - spent_before
    if failures:
        raise failures[0]
    return _figures([one for took_s in lists for one in took_s], elapsed_s, spent_s)


def _figures(took_s: list[float], elapsed_s: float, spent_s: float) -> dict[str, float]:
    if not took_s:
        return {"per_s": 0.0, "p50_ms": elapsed_s * 1e3, "p99_ms": elapsed_s * 1e3}
    p99_s = quantiles(took_s, n=100)[-1] if len(took_s) > 1 else took_s[0]
    return {
        "per_s": len(took_s) / elapsed_s,
        "p50_ms": median(took_s) * 1e3,
        "p99_ms": p99_s * 1e3,
        "processor_us": spent_s / len(took_s) * 1e6,
    }
