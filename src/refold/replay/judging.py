"""Asking a judge about the answers of a replay: what it has not said yet, a question once."""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Callable, Iterable
from contextlib import closing
from dataclasses import dataclass, field
from decimal import Decimal
from itertools import islice
from typing import Any, NamedTuple

from refold.breaker import OUTAGE_MAX_S
from refold.engine.store import Store
from refold.engine.store_check import check_store
from refold.errors import UsageError
from refold.event_loop import LoopThread
from refold.pacing import RateLimiter
from refold.replay.actions import total_cost
from refold.replay.budget import Budget, BudgetSpent
from refold.replay.candidate import Candidate
from refold.replay.clients import candidate_of
from refold.replay.compare import Conversations
from refold.replay.decision import Action, Prices, decisions, priced
from refold.replay.events import JudgeAnswered
from refold.replay.hidden import Hidden
from refold.replay.judge import Judge, Judgements, Pairing, pairings
from refold.replay.leases import TAKEN_MAX, Leases, Waits
from refold.replay.normalising import ignored
from refold.replay.request import ChatRequest, RequestMaker
from refold.replay.requests import Asker
from refold.replay.variant import OPENED, Variant, checked_streams
from refold.replay.workers import all_work

Told = Callable[[int], None]


class _Question(NamedTuple):
    stream: str
    pairing: Pairing
    request: ChatRequest


@dataclass
class Judging:
    """What came of asking a judge: how often it ``chose``, and did not; what that cost.

    ``cost`` is in US dollars, of the ``cost_known`` answers that told. ``stopped`` says why not all
    was asked. ``unread`` is the first answer that made no choice, "" where there is none; such are
    not kept.
    """

    chose: int = 0
    failed: int = 0
    cost: Decimal | None = None
    cost_known: int = 0
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
    waits: Waits | None = None,
) -> Judging:
    """Have a judge say of each answer whether it is better than the recorded one.

    The answers are those of the ``variants`` that there are, of a sample or of all that were
    planned (None), to the conversations ``streams``. ``candidate`` is who is asked, an endpoint or
    a function; what is kept of the judge is not asked again, and a conversation that cannot be read
    is left out. :func:`~refold.replay.compare` with the judge takes what it said. ``progress`` is
    called with how many questions were asked so far. ``max_cost`` (US dollars) is for this alone,
    ``budget`` one that counts what was spent before. Two that ask one judge at the same time share
    the work (see :mod:`refold.replay.leases`); ``waits`` is called when one begins to wait for the
    other. Raises :class:`~refold.errors.Unavailable` where it cannot be reached; what it said until
    then is kept.
    """
    check_store(store, call="ask_judge", instead=OPENED)
    those, fields = dict.fromkeys(checked_streams(streams)), ignored(ignore)
    sides = [
        Conversations(store, those, variant, sample, ignored=fields)
        for variant, sample in variants
        if variant is not None
    ]
    budget = budget or Budget(max_cost, None, prices or {})
    how: Any = {"limiter": RateLimiter(), "budget": budget, "outage_max_s": outage_max_s}
    asker, hidden = Asker(candidate_of(candidate), **how), Hidden(store)
    for stream in those if hidden.is_any else ():
        hidden.read(stream)  # Refused before anybody is asked.
    kept = Judgements(store, judge)
    run = _Run(store, hidden, kept, sides, [*those], prices or {}, progress, waits)
    with closing(LoopThread()) as thread:
        thread.run(run.work_off(asker, workers))
    return run.done


@dataclass
class _Run:
    """A judge that is being asked, and what came of it.

    ``sides`` are the answers of each variant, ``left`` the conversations that are to be looked at.
    """

    store: Store
    hidden: Hidden
    judgements: Judgements
    sides: list[Conversations]
    left: list[str]
    prices: Prices
    progress: Told | None
    waits: Waits | None
    done: Judging = field(default_factory=Judging)
    _ready: deque[_Question] = field(default_factory=deque)
    _open: Counter[str] = field(default_factory=Counter)
    _is_stopping: bool = False

    async def work_off(self, asker: Asker, workers: int) -> None:
        """Ask all of it; the first error ends it, and comes as it is."""
        self._taking, self._leases = asyncio.Lock(), Leases(self.store, self.waits)
        async with asker, self._leases.going_on():
            await all_work(workers, lambda: self._work(asker), lambda: self._stop(asker))

    def _stop(self, asker: Asker) -> None:
        self._is_stopping = True
        asker.stop()

    async def _work(self, asker: Asker) -> None:
        try:
            while (question := await self._next()) is not None:
                action = (await asker.ask(question.request)).action
                await self._keep(question, action)
        except BudgetSpent as spent:
            self.done.stopped = f"the budget is spent: {spent}"

    async def _next(self) -> _Question | None:
        async with self._taking:
            while self.left and not self._ready and not self._is_stopping:
                if not await asyncio.to_thread(self._take):
                    await self._leases.wait(len(self.left))
            return self._ready.popleft() if self._ready and not self._is_stopping else None

    def _take(self) -> bool:
        """Take some conversations about which no other run asks; whether there are any."""
        held = self._leases.of_others()
        free = [*islice((one for one in self.left if self._lease(one) not in held), TAKEN_MAX)]
        # Whoever held one of these has said all that it heard.
        self.judgements.hear()
        found = {stream: self._missing(stream) for stream in free}
        to_ask = {stream: questions for stream, questions in found.items() if questions}
        if to_ask and not self._leases.take(map(self._lease, to_ask)):
            return True  # Somebody took some meanwhile.
        self.left = [stream for stream in self.left if stream not in found]
        for stream, questions in to_ask.items():
            self._open[stream] = len(questions)
            self._ready.extend(questions)
        return bool(free)

    def _lease(self, stream: str) -> str:
        """What is held: the same answers may be on several branches of a conversation."""
        return f"{self.judgements.judge.stream}:{stream}"

    def _missing(self, stream: str) -> list[_Question]:
        """What the judge has not said of a conversation, each with what it is to be asked."""
        answered = [one for side in self.sides for one in side.of(stream)]
        every = {one.key: one for of in answered for pair in pairings(of) for one in pair}
        left = [one for key, one in every.items() if key not in self.judgements.choices]
        if not left:
            return []
        history = self.hidden.read(stream)
        at = {decision.at: decision for decision in decisions(history)}
        gone = self.hidden.led_to(history, at.values())
        left = [one for one in left if one.at not in gone]
        maker, found = RequestMaker(history, [Variant()]), list[_Question]()
        for one in sorted(left, key=lambda one: at[one.at].version):
            (seen,) = maker.at(at[one.at])
            request = one.request(self.judgements.judge, seen.messages)
            found.append(_Question(stream, one, request))
        return found

    async def _keep(self, question: _Question, action: Action | None) -> None:
        done, said = self.done, None
        if action is not None:
            cost = priced(action, question.request.model, self.prices).cost
            done.cost = total_cost([done.cost, cost])
            done.cost_known += cost is not None
            said = question.pairing.answered(self.judgements.judge, action.text)
        if said is None:
            done.failed += 1
            done.unread = done.unread or (action.text if action else "")
        else:
            await asyncio.to_thread(self._put, said)
            done.chose += 1
        self._open[question.stream] -= 1
        if not self._open[question.stream]:
            self._leases.give_back([self._lease(question.stream)])
        if self.progress is not None:
            self.progress(done.chose + done.failed)

    def _put(self, said: JudgeAnswered) -> None:
        judge = self.judgements.judge
        try:
            self.store.append(judge.stream, [said], key=f"judge-{judge.id}-{said.question}")
        except UsageError as error:
            # Whoever it was taken over from was not gone, and has put it there; one is enough.
            if error.code != "key_reused":
                raise
