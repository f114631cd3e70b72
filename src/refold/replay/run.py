"""A replay under way: what is missing, what has come, what it took."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Final

import msgspec

from refold.conversation.events import Tool, Usage
from refold.core.event import check_name
from refold.engine.store import Store
from refold.errors import UsageError
from refold.replay.asking import Outcome
from refold.replay.checks import checked_streams
from refold.replay.decision import Decision, decisions
from refold.replay.figures import total_usage
from refold.replay.ledger import Ledger
from refold.replay.prices import Prices, priced
from refold.replay.request import ChatRequest, configured_by, request_at
from refold.replay.variant import NEXT_STEP, NOT_MEASURED, REPLAY_MARK, Variant

Progress = Callable[[int, int, Decimal | None, int], None]
"""Called with ``(done, total, cost, failures)`` of this run, after every decision."""

FAILURES_SHOWN_MAX: Final = 20


class FailedDecision(msgspec.Struct, frozen=True):
    """A decision without an answer: where, why (``kind: message``), after how many requests."""

    at: str
    error: str
    attempts: int


class ReplaySummary(msgspec.Struct, frozen=True, kw_only=True):
    """What a run of a replay did; ``mode`` says how, ``not_measured`` what that does not show.

    Of ``decisions`` in ``conversations``, ``kept`` had their answer before; this run's ``answered``
    and ``failed`` took ``requests``. ``cost`` (US dollars, None: not known) and ``usage`` are of
    this run. ``failures`` holds the first 20. A later run asks what failed again.
    """

    mode: str
    not_measured: str
    variant: Variant
    variant_id: str
    sample: int
    conversations: int
    decisions: int
    kept: int
    answered: int
    failed: int
    requests: int
    usage: Usage
    cost: Decimal | None
    failures: list[FailedDecision]


@dataclass(frozen=True)
class Task:
    """A decision to be asked, and what is needed to record the answer."""

    stream: str
    decision: Decision
    request: ChatRequest
    fork_version: int
    tools: Mapping[str, Tool]


@dataclass
class Run:
    """A run under way. Used by one thread, the one that called :func:`replay`."""

    store: Store
    variant: Variant
    ledger: Ledger
    prices: Prices
    progress: Progress
    pending: dict[str, set[str]] = field(default_factory=dict)
    kept: list[str] = field(default_factory=list)
    decisions: int = 0
    total: int = 0
    answered: int = 0
    requests: int = 0
    cost: Decimal | None = None
    usages: list[Usage] = field(default_factory=list)
    failures: list[FailedDecision] = field(default_factory=list)

    def plan(self, streams: Iterable[str]) -> None:
        """Find what is missing, in every stream, before anything is asked."""
        for stream in dict.fromkeys(checked_streams(streams)):
            _check_stream(stream, self.ledger.branch(stream))
            found = [decision.at for decision in decisions(self.store.read(stream))]
            done = self.ledger.answers(stream)
            kept = {at for at, answer in done.items() if answer.action is not None}
            self.decisions += len(found)
            if missing := {at for at in found if at not in kept}:
                self.pending[stream] = missing
            else:
                self.kept.append(stream)
        self.total = sum(map(len, self.pending.values()))
        self.progress(0, self.total, None, 0)

    def tasks(self, *, model: str | None) -> Iterator[Task]:
        """Every decision that is missing, conversation by conversation.

        ``model`` is asked for where the variant names none, before the recorded one.
        """
        for stream, pending in self.pending.items():
            wanted = set(pending)
            history = list(self.store.read(stream))
            found = decisions(history)
            for decision in found:
                if decision.at in wanted:
                    yield Task(
                        stream,
                        decision,
                        request_at(history, decision, self.variant, model=model),
                        found[0].version - 1,
                        {t.name: t for t in configured_by(history).tools},
                    )

    def record(self, task: Task, outcome: Outcome) -> None:
        """Put an outcome on its branch and count it."""
        if outcome.action is not None:
            action = priced(outcome.action, task.request.model, self.prices)
            outcome = Outcome(outcome.attempts, action=action)
        recorded = self.ledger.record(
            task.stream,
            task.decision,
            outcome,
            fork_version=task.fork_version,
            tools=task.tools,
        )
        self._count(task, recorded)
        self.pending[task.stream].discard(task.decision.at)
        if not self.pending[task.stream]:
            self.ledger.finish(task.stream)
        self.progress(self._done, self.total, self.cost, len(self.failures))

    def finish_kept(self) -> None:
        """Close the branches for which a run that was cut off had done everything but that."""
        for stream in self.kept:
            self.ledger.finish(stream)

    def summary(self, sample: int) -> ReplaySummary:
        """What was done."""
        return ReplaySummary(
            mode=NEXT_STEP,
            not_measured=NOT_MEASURED,
            variant=self.variant,
            variant_id=self.variant.id,
            sample=sample,
            conversations=len(self.pending) + len(self.kept),
            decisions=self.decisions,
            kept=self.decisions - self.total,
            answered=self.answered,
            failed=len(self.failures),
            requests=self.requests,
            usage=total_usage(self.usages),
            cost=self.cost,
            failures=self.failures[:FAILURES_SHOWN_MAX],
        )

    @property
    def _done(self) -> int:
        return self.answered + len(self.failures)

    def _count(self, task: Task, outcome: Outcome) -> None:
        self.requests += outcome.attempts
        if outcome.action is None:
            failed = FailedDecision(task.decision.at, outcome.error, outcome.attempts)
            self.failures.append(failed)
            return
        self.answered += 1
        if outcome.action.usage is not None:
            self.usages.append(outcome.action.usage)
        if outcome.action.cost is not None:
            self.cost = (self.cost or Decimal(0)) + outcome.action.cost


def _check_stream(stream: str, branch: str) -> None:
    """Refuse now what could not be recorded, or would make no sense, after it was paid for."""
    check_name(branch, what="the name of a replay's branch")
    if REPLAY_MARK in stream:
        raise UsageError(
            f"{stream!r} is itself a replay: replay {stream.partition(REPLAY_MARK)[0]!r}",
            stream=stream,
        )
