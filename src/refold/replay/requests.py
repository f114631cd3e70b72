"""Asking a candidate until it answers or it is clear that it will not."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import KW_ONLY, dataclass, field
from typing import Any, Final, Self

import msgspec

from refold.errors import RefoldError, Unavailable, UsageError
from refold.event_loop import finished, is_stopping, on_thread
from refold.http import Pace, RateLimiter, Retries
from refold.replay.candidate import (
    FAILURES_MAX,
    Candidate,
    ChatEndpoint,
    ModelFailure,
    action_of,
    snippet,
)
from refold.replay.decision import Action
from refold.replay.request import ChatRequest

ATTEMPTS_MAX: Final = 5
GRACE_S: Final = 5.0
"""How long a run that is stopped waits for what is under way: it may be paid for."""
UNREACHABLE_MAX: Final = 5
"""So many failures to connect, before anything was ever reached, end the run."""
FAILED_IN_A_ROW_MAX: Final = 20
"""So many decisions in a row without an answer end the run."""


@dataclass(frozen=True)
class Outcome:
    """What came of asking: an action, or the last failure; ``attempts`` counts the requests."""

    attempts: int
    action: Action | None = None
    failure: ModelFailure | None = None

    @property
    def error(self) -> str:
        """Why there is no action, as ``kind: message``; "" where there is one."""
        return "" if self.failure is None else f"{self.failure.kind}: {self.failure.message}"


@dataclass
class CircuitBreaker:
    """Counts failures of the candidate ``name`` and opens: raises :class:`Unavailable`.

    So a run that gets nowhere ends before it has gone through every conversation.
    """

    name: str
    was_reached: bool = False
    has_answered: bool = False
    unreachable: int = 0
    in_a_row: int = 0

    def answered(self) -> None:
        """A decision has its answer."""
        self.was_reached = self.has_answered = True
        self.in_a_row = 0

    def failed(self, failure: ModelFailure) -> None:
        """An attempt failed."""
        if failure.kind != "unreachable":
            self.was_reached = True
        elif not self.was_reached:
            self.unreachable += 1
            if self.unreachable >= UNREACHABLE_MAX:
                raise self._opened("cannot be reached", failure) from failure

    def gave_up(self, failure: ModelFailure) -> None:
        """A decision stays without an answer."""
        # Once something was answered, a refused request says more about itself (too long, say).
        if failure.kind == "refused" and self.has_answered:
            return
        self.in_a_row += 1
        if self.in_a_row >= FAILED_IN_A_ROW_MAX:
            what = f"gave no answer to {self.in_a_row} decisions in a row, the last time"
            raise self._opened(what, failure) from failure

    def _opened(self, what: str, failure: ModelFailure) -> Unavailable:
        why = failure.message.removeprefix(f"{self.name}: ")
        return Unavailable(
            f"{self.name} {what}: {why}; the replay stopped, "
            "and starting it again does what is missing",
            candidate=self.name,
        )


@dataclass
class Asker:
    """Asks a candidate at a rate, again where that can help; a context of one event loop."""

    candidate: Candidate
    _: KW_ONLY
    limiter: RateLimiter
    pace: Pace = field(default_factory=Pace)
    attempts_max: int = ATTEMPTS_MAX

    def __post_init__(self) -> None:
        if self.attempts_max < 1:
            raise UsageError(
                f"attempts_max={self.attempts_max} must be 1 or more", argument="attempts_max"
            )
        name = getattr(self.candidate, "__qualname__", type(self.candidate).__qualname__)
        self._breaker = CircuitBreaker(getattr(self.candidate, "url", name))

    async def __aenter__(self) -> Self:
        if isinstance(self.candidate, ChatEndpoint):
            # Not in the time of the first answers.
            self.candidate.http.ready()
        return self

    async def __aexit__(self, *_: object) -> None:
        if isinstance(self.candidate, ChatEndpoint):
            await self.candidate.http.aclose()

    async def ask(self, request: ChatRequest) -> Outcome:
        """The outcome of one decision.

        Raises :class:`~refold.errors.Unavailable` when there is no point in asking anything more.
        """
        retries = Retries(self.attempts_max, self.limiter, self.pace)
        while True:
            await self.pace.sleep(retries.turn_s())
            try:
                action = await self._attempt(request)
            except ModelFailure as failure:
                most = FAILURES_MAX.get(failure.kind)
                pause_s = retries.pause_s(failure.kind, failure.retry_after_s, most=most)
                if pause_s is None:
                    self._breaker.gave_up(failure)
                    return Outcome(retries.seen.total(), failure=failure)
                await self.pace.sleep(pause_s)
            else:
                self._breaker.answered()
                return Outcome(retries.seen.total() + 1, action=action)

    async def _attempt(self, request: ChatRequest) -> Action:
        began_s = self.pace.now_s()
        try:
            action = action_of(await finished(self._answered(request), grace_s=GRACE_S))
        except ModelFailure as failure:
            self._breaker.failed(failure)
            raise
        except asyncio.CancelledError as error:
            if is_stopping():
                raise
            # The candidate's own.
            cancelled = _raised(error)
            self._breaker.failed(cancelled)
            raise cancelled from error
        if action.latency_ms is not None:
            return action
        latency_ms = round((self.pace.now_s() - began_s) * 1_000, 3)
        return msgspec.structs.replace(action, latency_ms=latency_ms)

    async def _answered(self, request: ChatRequest) -> Any:
        if isinstance(self.candidate, ChatEndpoint):
            return await self.candidate.ask(request)

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
