"""Asking a candidate until it answers or it is clear that it will not."""

from __future__ import annotations

import inspect
import threading
from dataclasses import dataclass
from typing import Final

import msgspec

from refold.errors import RefoldError, UsageError
from refold.http import Pace, RateLimiter, Retries
from refold.replay.candidate import Answered, Candidate, ModelFailure
from refold.replay.completion import action_of, snippet
from refold.replay.decision import Action
from refold.replay.fuse import Fuse
from refold.replay.loop import LoopThread
from refold.replay.request import ChatRequest

ATTEMPTS_MAX: Final = 5


class Stopped(Exception):
    """The run ends; what was being waited for does not matter any more."""


class WallPace(Pace):
    """Real time, cut short by ``stop``: waiting then raises :class:`Stopped`."""

    def __init__(self, stop: threading.Event) -> None:
        self._stop = stop

    def wait(self, seconds: float) -> None:
        """Sleep, or raise :class:`Stopped`."""
        if self._stop.wait(max(0.0, seconds)):
            raise Stopped


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


class Asker:
    """Asks a candidate at a rate, again where that can help. Safe between threads."""

    def __init__(
        self,
        candidate: Candidate,
        *,
        name: str,
        limiter: RateLimiter,
        pace: Pace,
        attempts_max: int = ATTEMPTS_MAX,
    ) -> None:
        if attempts_max < 1:
            raise UsageError(
                f"attempts_max={attempts_max} must be 1 or more", argument="attempts_max"
            )
        self._candidate = candidate
        self._limiter = limiter
        self._pace = pace
        self._attempts_max = attempts_max
        self._fuse = Fuse(name)
        self._loop = LoopThread()

    def ask(self, request: ChatRequest) -> Outcome:
        """The outcome of one decision.

        Raises :class:`~refold.errors.Unavailable` when there is no point in asking anything more,
        and :class:`Stopped` when the run ends while it waits.
        """
        retries = Retries(self._attempts_max, self._limiter, self._pace)
        while True:
            self._pace.wait(retries.turn_s())
            try:
                action = self._attempt(request)
            except ModelFailure as failure:
                most = failure.seen_max(self._attempts_max)
                pause_s = retries.pause_s(failure.kind, failure.retry_after_s, most=most)
                if pause_s is None:
                    self._fuse.gave_up(failure)
                    return Outcome(retries.seen.total(), failure=failure)
                self._pace.wait(pause_s)
            else:
                self._fuse.answered()
                return Outcome(retries.seen.total() + 1, action=action)

    def close(self) -> None:
        """End the thread that async candidates run on."""
        self._loop.close()

    def _attempt(self, request: ChatRequest) -> Action:
        began_s = self._pace.now_s()
        try:
            action = action_of(self._answered(request))
        except ModelFailure as failure:
            self._fuse.failed(failure)
            raise
        if action.latency_ms is not None:
            return action
        latency_ms = round((self._pace.now_s() - began_s) * 1_000, 3)
        return msgspec.structs.replace(action, latency_ms=latency_ms)

    def _answered(self, request: ChatRequest) -> Answered:
        try:
            answered = self._candidate(request)
            return self._loop.run(answered) if inspect.isawaitable(answered) else answered
        except RefoldError:
            raise
        except Exception as error:
            message = f"the candidate raised {type(error).__name__}: {snippet(str(error))}"
            raise ModelFailure(message, kind="error") from error
