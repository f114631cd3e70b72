"""Running a replay: what is missing is asked, answers are recorded as they come."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from decimal import Decimal
from itertools import chain
from typing import Literal

from refold.core.expected import NO_EVENTS
from refold.engine.store import Store
from refold.engine.store_check import check_store
from refold.errors import NotFound, UsageError
from refold.http import RateLimiter
from refold.replay.asking import ATTEMPTS_MAX, Asker, Outcome, WallPace
from refold.replay.candidate import Candidate
from refold.replay.checks import OPENED, check_variant, checked_streams
from refold.replay.client import ChatEndpoint
from refold.replay.ledger import Ledger
from refold.replay.pool import Pool
from refold.replay.prices import Prices
from refold.replay.run import Progress, ReplaySummary, Run, Task
from refold.replay.variant import NEXT_STEP, Variant


def replay(
    store: Store,
    streams: Iterable[str],
    variant: Variant,
    candidate: Candidate,
    *,
    mode: Literal["next-step"] = NEXT_STEP,
    sample: int = 0,
    workers: int = 4,
    requests_per_second: float | None = None,
    attempts_max: int = ATTEMPTS_MAX,
    prices: Prices | None = None,
    progress: Progress | None = None,
) -> ReplaySummary:
    """Ask ``candidate`` at every decision of the streams what it would do, and record it.

    At each decision it gets the recorded conversation so far with only ``variant`` changed, and
    answers once. Its answers are saved on a branch a conversation (see :func:`branch_name`), one
    keyed append each, so running again asks only what is missing or failed. ``sample`` numbers
    independent runs of one variant.

    ``workers`` requests are under way at once, ``requests_per_second`` start at most; timeouts,
    429, 5xx and lost connections are tried up to ``attempts_max`` times. ``prices`` gives the cost
    where the provider does not. A failure is recorded as ``model.failed`` and counted apart.

    Ctrl-C keeps every answer that has come. Raises :class:`~refold.errors.NotFound` for a stream
    that does not exist, before anything is asked, and :class:`~refold.errors.Unavailable` when the
    candidate cannot be reached or fails at 20 decisions in a row.
    """
    if mode != NEXT_STEP:
        raise UsageError(f"mode={mode!r}: replay runs {NEXT_STEP!r}; see verify() for the record")
    check_store(store, call="replay", instead=OPENED)
    check_variant(variant)
    if not callable(candidate):
        raise UsageError(
            f"candidate={candidate!r} is no function of a request, nor a ChatEndpoint",
            argument="candidate",
        )
    ledger = Ledger(store, variant, sample=sample)
    run = Run(store, variant, ledger, prices or {}, progress or _silent)
    run.plan(streams)
    if run.total:
        _work_off(run, candidate, workers, requests_per_second, attempts_max)
    run.finish_kept()
    return run.summary(sample)


def select(store: Store, *, streams: Sequence[str] = (), category: str | None = None) -> list[str]:
    """The streams to replay: those named, and those of a category; each once, branches left out.

    Named branches stay. Raises :class:`~refold.errors.NotFound` for a name that does not exist and
    for a category without streams.
    """
    check_store(store, call="select", instead=OPENED)
    for stream in checked_streams(streams):
        if store.head(stream) == NO_EVENTS:
            raise NotFound(f"there is no stream {stream!r}", stream=stream)
    found = [] if category is None else [i.stream for i in store.streams(category=category)]
    if category is not None and not found:
        raise NotFound(f"there are no streams in category {category!r}", category=category)
    return list(dict.fromkeys([*streams, *(stream for stream in found if "~" not in stream)]))


def _work_off(
    run: Run,
    candidate: Candidate,
    workers: int,
    requests_per_second: float | None,
    attempts_max: int,
) -> None:
    endpoint = candidate if isinstance(candidate, ChatEndpoint) else None
    stop = threading.Event()
    asker = Asker(
        candidate,
        name=_name_of(candidate),
        limiter=RateLimiter(requests_per_second),
        pace=WallPace(stop),
        attempts_max=attempts_max,
    )

    def ask(task: Task) -> Outcome:
        return asker.ask(task.request)

    pool: Pool[Task, Outcome] = Pool(ask, workers=workers, stop=stop)
    cut_off: list[tuple[Task, Outcome]] = []
    try:
        for task, outcome in pool.results(run.tasks(model=endpoint.model if endpoint else None)):
            cut_off = [(task, outcome)]
            run.record(task, outcome)
            cut_off = []
    finally:
        # Answers that came while the run was being stopped are paid for too, and so is the one
        # that was being recorded: where it is recorded already, its key says so.
        run.progress = _silent
        try:
            answered = ((task, outcome) for task, outcome in cut_off if outcome.action is not None)
            for task, outcome in chain(pool.close(), answered):
                run.record(task, outcome)
        finally:
            asker.close()
            if endpoint is not None:
                endpoint.close()


def _name_of(candidate: Candidate) -> str:
    if isinstance(candidate, ChatEndpoint):
        return candidate.url
    return getattr(candidate, "__qualname__", type(candidate).__qualname__)


def _silent(_done: int, _total: int, _cost: Decimal | None, _failures: int) -> None:
    """No progress is shown."""
