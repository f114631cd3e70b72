"""What a run is to do, as a value: done here, or in parts by other processes."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Protocol

from refold.engine.store import Store
from refold.event_loop import Interrupted, LoopThread
from refold.replay.candidate import Candidate
from refold.replay.decision import Prices
from refold.replay.events import ReplayPlanned
from refold.replay.journal import Journal
from refold.replay.leases import Waits
from refold.replay.options import RunOptions
from refold.replay.plan import close_plan
from refold.replay.requests import Asker
from refold.replay.running import Progress, RunningReplay
from refold.replay.variant import Variant


@dataclass(frozen=True)
class Work:
    """The ``variants`` of a run, the ``candidate`` that is asked, and how; it can be pickled.

    ``terms`` are what is put on record of it before the first answer, of all its conversations,
    with their ``versions``. ``model`` is asked for where a variant names none, ``making`` makes
    the run.
    """

    variants: list[Variant]
    sample: int
    candidate: Candidate
    model: str | None
    prices: Prices
    how: RunOptions
    terms: list[ReplayPlanned] = field(default_factory=list)
    versions: dict[str, int] = field(default_factory=dict)
    making: Callable[..., RunningReplay] = RunningReplay

    def running(
        self, store: Store, progress: Progress | None = None, waits: Waits | None = None
    ) -> RunningReplay:
        """The run, of which nothing is planned yet."""
        samples = range(self.sample, self.sample + self.how.samples)
        journals = [Journal(store, one, n) for n in samples for one in self.variants]
        return self.making(
            store, journals, self.model, self.prices, progress, waits, self.how.actor
        )

    def part(self, store: Store, streams: Iterable[str], progress: Progress) -> RunningReplay:
        """The run of some of its conversations, as far as they are not answered yet."""
        run = self.running(store, progress)
        run.versions |= self.versions
        run.plan(streams, self.versions)
        run.terms = [*self.terms]
        return run


class Machines(Protocol):
    """Other processes that do the work of a run, such as :class:`refold.ray.OnRay`."""

    def check(self, store: Store) -> None:
        """Refuse a store that they cannot share, before anything is planned."""

    def work_off(self, run: RunningReplay, work: Work) -> None:
        """Have what a planned run misses asked, and count it in the run."""


def carry_out(run: RunningReplay, work: Work, on: Machines | None) -> None:
    """Have what a planned run misses asked by other machines, or here, and close its plan."""
    try:
        if on is not None:
            on.work_off(run, work)
        else:
            work_off(run, work.how.asker(work.candidate, work.prices), work.how.workers)
    finally:
        if run.contained is not None:
            close_plan(run.store, work.terms, run.contained)


def work_off(run: RunningReplay, asker: Asker, workers: int) -> None:
    """Have what a planned run misses asked here, on an event loop of its own."""
    thread = LoopThread()
    try:
        thread.run(run.work_off(asker, workers))
    except Interrupted as interrupted:
        raise interrupted.__cause__ or interrupted from None
    finally:
        thread.close()
