"""Asking a judge about the answers of a replay: what it has not said yet, a question once.

Two processes that ask one judge at the same time know nothing of each other: both ask all of it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from refold.breaker import OUTAGE_MAX_S
from refold.engine.store import Store
from refold.engine.store_check import check_store
from refold.errors import UsageError
from refold.event_loop import LoopThread
from refold.pacing import RateLimiter
from refold.replay.actions import ConversationComparison, total_cost
from refold.replay.budget import Budget, BudgetSpent
from refold.replay.candidate import Candidate
from refold.replay.clients import candidate_of
from refold.replay.compare import Conversations
from refold.replay.decision import Action, Prices, decisions, priced
from refold.replay.judge import Judge, Judgements, Pairing, pairings
from refold.replay.normalising import ignored
from refold.replay.request import ChatRequest, RequestMaker
from refold.replay.requests import Asker
from refold.replay.running import ended
from refold.replay.variant import OPENED, Variant, checked_streams

Told = Callable[[int], None]


@dataclass
class Judging:
    """What came of asking a judge: how often it ``chose``, and did not; what that cost.

    ``cost`` is in US dollars, of what is known. ``stopped`` says why not all was asked. ``unread``
    is the first answer that made no choice, "" where there is none; such are not kept.
    """

    chose: int = 0
    failed: int = 0
    cost: Decimal | None = None
    stopped: str = ""
    unread: str = ""


def ask_judge(
    store: Store,
    streams: Iterable[str],
    variants: Iterable[tuple[Variant | None, int | None]],
    judge: Judge,
    candidate: Candidate,
    *,
    ignore: Iterable[str] = (),
    workers: int = 4,
    outage_max_s: float = OUTAGE_MAX_S,
    max_cost: Decimal | None = None,
    budget: Budget | None = None,
    prices: Prices | None = None,
    progress: Told | None = None,
) -> Judging:
    """Have a judge say of each answer whether it is better than the recorded one.

    The answers are those of the ``variants`` that there are, of a sample or of all that were
    planned (None), to the conversations ``streams``. ``candidate`` is who is asked, an endpoint or
    a function; what is kept of the judge is not asked again, and a conversation that cannot be read
    is left out. :func:`~refold.replay.compare` with the judge takes what it said. ``progress`` is
    called with how many questions were asked so far. ``max_cost`` (US dollars) is for this alone,
    ``budget`` one that counts what was spent before. Two that ask one judge at the same time ask
    both, and pay twice; the first answer stays. Raises :class:`~refold.errors.Unavailable`
    where it cannot be reached; what it said until then is kept.
    """
    check_store(store, call="ask_judge", instead=OPENED)
    those, fields = dict.fromkeys(checked_streams(streams)), ignored(ignore)
    answered = (
        conversation
        for variant, sample in variants
        if variant is not None
        for conversation in Conversations(store, those, variant, sample, ignored=fields).readable()
    )
    budget = budget or Budget(max_cost, None, prices or {})
    how: Any = {"limiter": RateLimiter(), "budget": budget, "outage_max_s": outage_max_s}
    asker = Asker(candidate_of(candidate), **how)
    run = _Run(store, judge, _questions(store, judge, answered), prices or {}, progress)
    with closing(LoopThread()) as thread:
        thread.run(run.work_off(asker, workers))
    return run.done


def _questions(
    store: Store, judge: Judge, conversations: Iterable[ConversationComparison]
) -> Iterator[tuple[Pairing, ChatRequest]]:
    """What the judge has not said yet, each with what it is to be asked."""
    known = {*Judgements(store, judge).choices}
    for conversation in conversations:
        missing = {one.key: one for pair in pairings(conversation) for one in pair}
        left = [one for key, one in missing.items() if key not in known]
        known |= missing.keys()
        if left:
            history = list(store.read(conversation.stream))
            at = {decision.at: decision for decision in decisions(history)}
            maker = RequestMaker(history, [Variant()])
            for one in left:
                (seen,) = maker.at(at[one.at])
                yield one, one.request(judge, seen.messages)


@dataclass
class _Run:
    """A judge that is being asked, and what came of it."""

    store: Store
    judge: Judge
    questions: Iterator[tuple[Pairing, ChatRequest]]
    prices: Prices
    progress: Told | None
    done: Judging = field(default_factory=Judging)

    async def work_off(self, asker: Asker, workers: int) -> None:
        """Ask all of it; the first error ends it, and comes as it is."""
        self._taking = asyncio.Lock()
        async with asker:
            tasks = [asyncio.create_task(self._work(asker)) for _ in range(workers)]
            try:
                await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
            finally:
                self.questions = iter(())
                asker.stop()
                await ended(tasks)
        for task in tasks:
            if not task.cancelled():
                task.result()

    async def _work(self, asker: Asker) -> None:
        try:
            while True:
                async with self._taking:
                    found = await asyncio.to_thread(next, self.questions, None)
                if found is None:
                    return
                pairing, request = found
                action = (await asker.ask(request)).action
                await asyncio.to_thread(self._keep, pairing, request, action)
        except BudgetSpent as spent:
            self.done.stopped = f"the budget is spent: {spent}"

    def _keep(self, pairing: Pairing, request: ChatRequest, action: Action | None) -> None:
        event = None if action is None else pairing.answered(self.judge, action.text)
        if action is not None:
            cost = priced(action, request.model, self.prices).cost
            self.done.cost = total_cost([self.done.cost, cost])
        if event is None:
            self.done.failed += 1
            self.done.unread = self.done.unread or (action.text if action else "")
        else:
            key = f"judge-{self.judge.id}-{event.question}"
            try:
                self.store.append(self.judge.stream, [event], key=key)
            except UsageError as error:
                # Another process has put down what it was told meanwhile; one is enough.
                if error.code != "key_reused":
                    raise
            self.done.chose += 1
        if self.progress is not None:
            self.progress(self.done.chose + self.done.failed)
