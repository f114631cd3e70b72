"""Running a replay: what is missing is asked, answers are recorded as they come."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Final, Literal

import msgspec
from msgspec.structs import replace

from refold.conversation.events import Usage
from refold.core.event import check_name
from refold.core.expected import NO_EVENTS
from refold.engine.checks import check_progress
from refold.engine.store import Store
from refold.engine.store_check import check_store
from refold.errors import NotFound, Unavailable, UsageError, refuse_unless, shown
from refold.event_loop import Interrupted, LoopThread, finished, is_stopping
from refold.http import RateLimiter
from refold.replay.actions import known, total_cost
from refold.replay.candidate import Candidate, ChatEndpoint
from refold.replay.decision import Prices, check_prices, decisions, priced
from refold.replay.figures import total_usage
from refold.replay.journal import Journal, Task, answers_on
from refold.replay.plan import answered_by
from refold.replay.request import configured_by, request_at
from refold.replay.requests import ATTEMPTS_MAX, GRACE_S, Asker, Outcome
from refold.replay.variant import (
    NEXT_STEP,
    OPENED,
    REPLAY_MARK,
    ReplayResult,
    Variant,
    check_variant,
    checked_streams,
)

Progress = Callable[[int, int, Decimal | None, int], None]
"""Called with ``(done, total, cost, failures)`` of this run, after every decision."""

WORKERS_MAX: Final = 256
FAILURES_SHOWN_MAX: Final = 20


class FailedDecision(msgspec.Struct, frozen=True):
    """A decision without an answer: where, why (``kind: message``), after how many requests."""

    at: str
    error: str
    attempts: int


class ReplaySummary(ReplayResult, frozen=True, kw_only=True):
    """What a run of a replay did; ``mode`` says how, ``not_measured`` what that does not show.

    Of ``decisions`` in ``conversations``, ``kept`` had their answer before; this run's ``answered``
    and ``failed`` took ``requests``. ``cost`` (US dollars) and ``usage`` are sums of this run over
    the ``cost_known`` and ``usage_known`` answers that told; None where none did, and at least so
    much where fewer did than ``requests`` were made. ``failures`` holds the first 20. A later run
    asks what failed again.
    """

    conversations: int
    decisions: int
    kept: int
    answered: int = 0
    failed: int = 0
    requests: int = 0
    usage: Usage | None = None
    usage_known: int = 0
    cost: Decimal | None = None
    cost_known: int = 0
    failures: list[FailedDecision] = []

    def adding(self, at: str, outcome: Outcome) -> ReplaySummary:
        """The summary with one more decision."""
        requests = self.requests + outcome.attempts
        if outcome.action is None:
            failed = FailedDecision(at, outcome.error, outcome.attempts)
            shown = [*self.failures, failed][:FAILURES_SHOWN_MAX]
            return replace(self, requests=requests, failed=self.failed + 1, failures=shown)
        usage, cost = outcome.action.usage, outcome.action.cost
        return replace(
            self,
            requests=requests,
            answered=self.answered + 1,
            usage=total_usage(known([self.usage, usage])),
            usage_known=self.usage_known + (usage is not None),
            cost=total_cost([self.cost, cost]),
            cost_known=self.cost_known + (cost is not None),
        )


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
    independent runs of one variant. The answers of another endpoint than the first are kept as a
    variant that names it: that of the summary.

    ``workers`` requests are under way at once, ``requests_per_second`` start at most; timeouts,
    429, 5xx and lost connections are tried up to ``attempts_max`` times. ``prices`` gives the cost
    where the provider does not. A failure is recorded as ``model.failed`` and counted apart.

    All of it runs on one event loop, on a thread of its own, from which ``progress`` is called; a
    candidate that is a plain function is called on further threads. Ctrl-C keeps every answer that
    has come. Raises :class:`~refold.errors.NotFound` for a stream that does not exist, before
    anything is asked, and :class:`~refold.errors.Unavailable` when the candidate cannot be reached
    or fails at 20 decisions in a row.
    """
    _check_arguments(store, variant, candidate, mode, workers, attempts_max)
    check_prices(prices)
    check_progress(progress)
    asker = Asker(candidate, limiter=RateLimiter(requests_per_second), attempts_max=attempts_max)
    model, endpoint = None, None
    if isinstance(candidate, ChatEndpoint):
        model, endpoint = candidate.model, candidate.url
    journal = Journal(store, answered_by(store, variant, endpoint), sample, endpoint)
    run = _Run(journal, model, prices or {}, progress)
    run.plan(streams)
    for stream, missing in run.missing.items():
        # Those for which a run that was cut off had done everything but that.
        if not missing:
            journal.finish(stream)
    if any(run.missing.values()):
        _work_off(run, asker, workers)
    return run.summary


def _check_arguments(
    store: object,
    variant: object,
    candidate: object,
    mode: object,
    workers: object,
    attempts_max: object,
) -> None:
    if mode != NEXT_STEP:
        raise UsageError(
            f"mode={shown(mode)}: replay runs {NEXT_STEP!r}; see verify() for the record"
        )
    check_store(store, call="replay", instead=OPENED)
    check_variant(variant)
    refuse_unless(callable(candidate), "a function, or a ChatEndpoint", candidate=candidate)
    right = type(workers) is int and 1 <= workers <= WORKERS_MAX
    refuse_unless(right, f"a number from 1 to {WORKERS_MAX}", workers=workers)
    right = type(attempts_max) is int and attempts_max > 0
    refuse_unless(right, "a number of tries, from 1", attempts_max=attempts_max)


def select(store: Store, *, streams: Sequence[str] = (), category: str | None = None) -> list[str]:
    """The streams to replay: those named, and those of a category; each once, branches left out.

    Named branches stay. Raises :class:`~refold.errors.NotFound` for a name that does not exist and
    for a category without streams other than branches.
    """
    check_store(store, call="select", instead=OPENED)
    for stream in checked_streams(streams):
        if store.head(stream) == NO_EVENTS:
            raise NotFound(f"there is no stream {stream!r}", stream=stream)
    found = [] if category is None else [i.stream for i in store.streams(category=category)]
    if category is not None and all("~" in stream for stream in found):
        raise NotFound(f"no stream but branches is in category {category!r}", category=category)
    return list(dict.fromkeys([*streams, *(stream for stream in found if "~" not in stream)]))


@dataclass
class _Run:
    """A run under way: ``missing`` holds the decisions without an answer, by stream.

    ``model`` is asked for where the variant names none, before the recorded one. ``recording``
    keeps what is written of one stream in order.
    """

    journal: Journal
    model: str | None
    prices: Prices
    progress: Progress | None
    missing: dict[str, set[str]] = field(default_factory=dict)
    recording: dict[str, asyncio.Lock] = field(default_factory=dict)

    def plan(self, streams: Iterable[str]) -> None:
        """Find what is missing, in every stream, before anything is asked."""
        every, store = 0, self.journal.store
        for stream in dict.fromkeys(checked_streams(streams)):
            branch = self.journal.branch(stream)
            _check_stream(stream, branch)
            found = {decision.at for decision in decisions(store.read(stream))}
            every += len(found)
            stored = answers_on(store, branch).items()
            self.missing[stream] = found - {at for at, answer in stored if answer.action}
            self.journal.planned.append(stream)
        self.summary = ReplaySummary(
            variant=self.journal.variant,
            variant_id=self.journal.variant.id,
            sample=self.journal.sample,
            conversations=len(self.missing),
            decisions=every,
            kept=every - sum(map(len, self.missing.values())),
        )
        self.tell()

    def tasks(self) -> Iterator[Task]:
        """Every decision that is missing, conversation by conversation."""
        store, variant = self.journal.store, self.journal.variant
        wanted = {stream: set(missing) for stream, missing in self.missing.items() if missing}
        for stream, missing in wanted.items():
            history = list(store.read(stream))
            tools = {tool.name: tool for tool in configured_by(history).tools}
            found = decisions(history)
            for decision in found:
                if decision.at in missing:
                    request = request_at(history, decision, variant, model=self.model)
                    yield Task(stream, decision, request, found[0].version - 1, tools)

    async def record(self, task: Task, outcome: Outcome) -> None:
        """Put an outcome on its branch and count it."""
        if outcome.action is not None:
            action = priced(outcome.action, task.request.model, self.prices)
            outcome = Outcome(outcome.attempts, action=action)
        missing = self.missing[task.stream]
        async with self.recording.setdefault(task.stream, asyncio.Lock()):
            outcome = await asyncio.to_thread(self.journal.record, task, outcome)
            missing.discard(task.decision.at)
            if not missing:
                await asyncio.to_thread(self.journal.finish, task.stream)
        self.summary = self.summary.adding(task.decision.at, outcome)
        self.tell()

    def tell(self) -> None:
        """Say how far it is."""
        said = self.summary
        if self.progress is not None:
            done, total = said.answered + said.failed, said.decisions - said.kept
            self.progress(done, total, said.cost, said.failed)


def _check_stream(stream: str, branch: str) -> None:
    """Refuse now what could not be recorded, or would make no sense, after it was paid for."""
    check_name(branch, what="the name of a replay's branch")
    if REPLAY_MARK in stream:
        raise UsageError(
            f"{stream!r} is itself a replay: replay {stream.partition(REPLAY_MARK)[0]!r}",
            stream=stream,
        )


def _work_off(run: _Run, asker: Asker, workers: int) -> None:
    """Ask and record what is missing; what is under way when it is stopped is recorded too."""
    thread = LoopThread()
    try:
        thread.run(_asked(run, asker, workers))
    except Interrupted as interrupted:
        raise interrupted.__cause__ or interrupted from None
    finally:
        thread.close()


async def _asked(run: _Run, asker: Asker, workers: int) -> None:
    tasks, taking = run.tasks(), asyncio.Lock()

    async def work() -> None:
        while not is_stopping():
            async with taking:
                task = await asyncio.to_thread(next, tasks, None)
            if task is None:
                return
            outcome = await asker.ask(task.request)
            await finished(run.record(task, outcome), grace_s=GRACE_S)

    try:
        async with asker, asyncio.TaskGroup() as group:
            for _ in range(workers):
                group.create_task(work())
    except BaseExceptionGroup as several:
        first = several.exceptions[0]
        raise first from first.__cause__
    # A group takes a worker that was cancelled alone for one that is done.
    if left := sum(map(len, run.missing.values())):
        raise Unavailable(
            f"the replay stopped with {left} decisions not asked, as something in it was "
            "cancelled; starting it again does what is missing"
        )
