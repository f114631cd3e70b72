"""Asking a candidate until it answers or it is clear that it will not."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import KW_ONLY, dataclass, field
from dataclasses import replace as replace_fields
from itertools import count
from typing import Any, Final, Self

from msgspec.structs import replace

from refold.breaker import OUTAGE_MAX_S, CircuitBreaker
from refold.conversation.events import Usage
from refold.errors import RefoldError, UsageError
from refold.event_loop import finished, is_stopping, on_thread
from refold.pacing import Pace, RateLimiter, Retries
from refold.replay.budget import Budget, Held
from refold.replay.candidate import (
    FAILURES_MAX,
    Candidate,
    ChatEndpoint,
    ModelFailure,
    action_of,
    snippet,
)
from refold.replay.decision import Action, total_usage
from refold.replay.faults import fault_in
from refold.replay.request import ChatRequest

ATTEMPTS_MAX: Final = 5
GRACE_S: Final = 5.0
"""How long a run that is stopped waits for what is under way: it may be paid for."""


@dataclass(frozen=True)
class Outcome:
    """What came of asking: an action, or the last failure; ``attempts`` counts the requests.

    ``answers_before`` is how many others had been answered when this one was given up.
    """

    attempts: int
    action: Action | None = None
    failure: ModelFailure | None = None
    answers_before: int = 0

    def after(self, before: Outcome) -> Outcome:
        """The outcome of asking again, with the requests of the first time."""
        return replace_fields(self, attempts=self.attempts + before.attempts)

    @property
    def error(self) -> str:
        """Why there is no action, as ``kind: message``; "" where there is one."""
        return "" if self.failure is None else f"{self.failure.kind}: {self.failure.message}"


@dataclass
class Lost:
    """What the requests took that were not answered: the tokens that are known, and the rest."""

    usages: list[Usage] = field(default_factory=list)
    unknown: int = 0

    def add(self, failure: ModelFailure) -> None:
        """One more was not answered."""
        if failure.usage is not None:
            self.usages.append(failure.usage)
        elif not failure.is_free:
            self.unknown += 1

    def said(self) -> dict[str, Any]:
        """As an :class:`Action` says it."""
        return {"lost_usage": total_usage(self.usages), "lost_unknown": self.unknown}


@dataclass
class Asker:
    """Asks a candidate at a rate, again where that can help; a context of one event loop.

    While the service is away (see :class:`CircuitBreaker`) everyone waits, and what fails then is
    no try of a decision.
    """

    candidate: Candidate
    _: KW_ONLY
    limiter: RateLimiter
    tokens: RateLimiter = field(default_factory=RateLimiter)
    budget: Budget = field(default_factory=Budget)
    pace: Pace = field(default_factory=Pace)
    attempts_max: int = ATTEMPTS_MAX
    outage_max_s: float = OUTAGE_MAX_S
    answers: int = 0

    def __post_init__(self) -> None:
        if self.attempts_max < 1:
            raise UsageError(
                f"attempts_max={self.attempts_max} must be 1 or more", argument="attempts_max"
            )
        name = getattr(self.candidate, "__qualname__", type(self.candidate).__qualname__)
        name = getattr(self.candidate, "url", name)
        self._breaker = CircuitBreaker(name, self.pace, self.outage_max_s)
        self._resting: set[asyncio.Task[Any] | None] = set()
        self._numbers = count()

    async def __aenter__(self) -> Self:
        if isinstance(self.candidate, ChatEndpoint):
            # Not in the time of the first answers.
            client, idle = self.candidate.http.ready()
            idle.append(client)
        return self

    async def __aexit__(self, *_: object) -> None:
        if isinstance(self.candidate, ChatEndpoint):
            await self.candidate.http.aclose()

    def beside(self, candidate: Candidate) -> Asker:
        """Who asks another within the same budget, and the same rates where its service is this."""
        mine, other = (getattr(one, "address", None) for one in (self.candidate, candidate))
        asker = replace_fields(self, candidate=candidate, answers=0)
        if mine is None or mine != other:
            asker.limiter, asker.tokens = self.limiter.another(), self.tokens.another()
            asker.budget = self.budget.of_another()
        return asker

    def stop(self) -> None:
        """Wake everyone who only waits, by cancelling them: nothing of theirs is under way."""
        for task in self._resting:
            if task is not None:
                task.cancel()

    async def ask(self, request: ChatRequest) -> Outcome:
        """The outcome of one decision.

        Raises :class:`~refold.errors.Unavailable` when there is no point in asking anything more,
        and :class:`~refold.replay.budget.BudgetSpent` when nothing more may be.
        """
        retries = Retries(self.attempts_max, self.limiter, self.pace)
        lost, sent, began_s, number = Lost(), 0, None, next(self._numbers)
        while True:
            with self._rest():
                held = await self._admitted(request, retries, number)
            began_s = self.pace.now_s() if began_s is None else began_s
            sent += 1
            try:
                action = await self._attempt(request)
            except ModelFailure as failure:
                self.budget.settle(held, None, is_free=failure.is_free)
                lost.add(failure)
                if self._breaker.failed(failure, number):
                    if failure.retry_after_s:
                        self.limiter.hold(self.pace.now_s() + failure.retry_after_s)
                    continue
                most = FAILURES_MAX.get(failure.kind)
                pause_s = retries.pause_s(failure.kind, failure.retry_after_s, most=most)
                if pause_s is None:
                    outcome = Outcome(sent, failure=failure, answers_before=self.answers)
                    # What is the candidate's own says nothing of the service.
                    if fault_in(outcome.error) is None:
                        self._breaker.gave_up(failure)
                    return outcome
                with self._rest():
                    await self.pace.sleep(pause_s)
            except BaseException:
                self.budget.settle(held, None)
                raise
            else:
                self.budget.settle(held, action)
                self._breaker.answered()
                self.answers += 1
                if sent > 1:
                    wait_ms = round((self.pace.now_s() - began_s) * 1_000, 3)
                    action = replace(action, attempts=sent, wait_ms=wait_ms, **lost.said())
                return Outcome(sent, action=action)

    async def _admitted(self, request: ChatRequest, retries: Retries, number: int) -> Held:
        """Wait until a request may go: through an outage, for money, and for its turn."""
        await self._breaker.passed(number)
        held = await self.budget.hold(request)
        try:
            now_s = self.pace.now_s()
            wait_s = max(retries.turn_s(), self.tokens.reserve(now_s, held.tokens) - now_s)
            while wait_s > 0:
                await self.pace.sleep(wait_s)
                # Somebody may have been told meanwhile that all are to wait.
                wait_s = retries.turn_s() if self.limiter.is_held(self.pace.now_s()) else 0.0
        except BaseException:
            self.budget.settle(held, None, is_free=True)
            raise
        return held

    @contextmanager
    def _rest(self) -> Iterator[None]:
        task = asyncio.current_task()
        self._resting.add(task)
        try:
            yield
        finally:
            self._resting.discard(task)

    async def _attempt(self, request: ChatRequest) -> Action:
        if isinstance(self.candidate, ChatEndpoint):
            return await self.candidate.ask(request)
        began_s = self.pace.now_s()
        # A function may change what it is given, and other requests hold the same.
        given = replace(request, messages=[{**message} for message in request.messages])
        try:
            action = action_of(await finished(self._answered(given), grace_s=GRACE_S))
        except asyncio.CancelledError as error:
            if is_stopping():
                raise
            # The candidate's own.
            raise _raised(error) from error
        if action.latency_ms is not None:
            return action
        latency_ms = round((self.pace.now_s() - began_s) * 1_000, 3)
        return replace(action, latency_ms=latency_ms)

    async def _answered(self, request: ChatRequest) -> Any:
        def called() -> Any:
            with _explained():
                return self.candidate(request)

        answered: Any = await on_thread(called)
        if inspect.isawaitable(answered):
            with _explained():
                answered = await answered
        return answered


@contextmanager
def _explained() -> Iterator[None]:
    """What a candidate function raises is a failure of its own kind."""
    try:
        yield
    except RefoldError:
        raise
    except Exception as error:
        raise _raised(error) from error


def _raised(error: BaseException) -> ModelFailure:
    message = f"the candidate raised {type(error).__name__}: {snippet(str(error))}"
    return ModelFailure(message, kind="error")
