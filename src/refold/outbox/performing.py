"""One attempt at an effect: ask the handler, record what came of it."""

from __future__ import annotations

import asyncio
import inspect
import logging
import random
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from msgspec.structs import replace

from refold.conversation.governance import EffectCommitted
from refold.core.event import Event
from refold.core.recorded import Recorded
from refold.core.registry import default_registry
from refold.engine.append import Append, batch_of
from refold.engine.store import Store
from refold.errors import InvalidEvent, RefoldError, Rejected, UsageError, shown
from refold.outbox.effects import EffectFailed, EffectRequested, Outcome, outcome_key
from refold.pacing import backoff_s

Answer = EffectCommitted | str | None
Handler = Callable[[EffectRequested, str], Answer | Awaitable[Answer]]
"""Does an effect, or raises: ``handler(effect, idempotency_key)``.

Gives what to record: an ``EffectCommitted``, or its ``reference`` alone, or None; anything else,
or what cannot be stored, counts as None, with a warning: the effect was done. Raises
:class:`~refold.Rejected` when the effect was refused for good; any other error is tried again.
"""
LOGGER: Final = logging.getLogger("refold.outbox")
RECORDINGS_MAX: Final = 5
"""How often an outcome is tried to be recorded while the store cannot take it."""
PAUSE_S: Final = 0.1
ERROR_CHARS_MAX: Final = 2_000


class Tried(NamedTuple):
    """What an effect has behind it in a run: attempts, the last one's error, the wait after it."""

    attempts: int = 0
    error: str | None = None
    delay_s: float = 0.0


@dataclass
class Performer:
    """Performs effects; every attempt may be made on a thread of its own."""

    store: Store
    handlers: Mapping[str, Handler]
    attempts_max: int
    first_delay_s: float
    delay_max_s: float

    def attempt(self, effect_id: str, number: int) -> Tried | None:
        """Attempt an effect for the n-th time; what it has behind it when it is to be tried again.

        None: it has its outcome, this one or that of another worker. Raises what the store
        raises.
        """
        recorded = self.store.event(effect_id)
        outcome: Outcome
        try:
            effect: EffectRequested = recorded.to_class(EffectRequested)
            key = effect.idempotency_key or effect_id
            answer = self.handlers[effect.name](effect, key)
            answer = asyncio.run(_awaited(answer)) if inspect.isawaitable(answer) else answer
        except Rejected as refusal:
            outcome = EffectFailed(effect_id, "refused", _text(refusal.reason), number)
        except Exception as error:
            if number < self.attempts_max:
                return self._tried(effect_id, number, _text(repr(error)))
            outcome = EffectFailed(effect_id, "gave_up", _text(repr(error)), number)
        else:
            outcome = self._committed(recorded, answer, key, number)
        if isinstance(outcome, EffectFailed):
            tell_failed(effect_id, number, outcome.error, None)
        self._record(_append(recorded, outcome))
        return None

    def _tried(self, effect_id: str, number: int, error: str) -> Tried:
        # Half of the wait by lot: workers that failed together do not come back together.
        part, longest_s = random.uniform(0.5, 1), self.delay_max_s
        delay_s = backoff_s(number, part, first_s=self.first_delay_s, longest_s=longest_s)
        tell_failed(effect_id, number, error, delay_s)
        return Tried(number, error, delay_s)

    def _committed(self, recorded: Recorded, answer: object, key: str, number: int) -> Outcome:
        """The outcome of a handler that has returned.

        What it gave may be of no use; the effect was done, and must not be done again for that.
        """
        plain = EffectCommitted(key, effect=recorded.id)
        try:
            if isinstance(answer, EffectCommitted):
                outcome = replace(answer, effect=recorded.id)
            elif answer is None or isinstance(answer, str):
                outcome = replace(plain, reference=answer or key)
            else:
                wanted = "give EffectCommitted, its reference as text, or None"
                raise InvalidEvent(f"it is of type {type(answer).__name__}: {wanted}")
            batch_of(_append(recorded, outcome), self.store.registry)
        except Exception as unusable:
            facts = {"effect": recorded.id, "attempt": number, "error": _text(str(unusable))}
            _tell("done, and recorded without what its handler gave: %(error)s", facts)
            return plain
        return outcome

    def _record(self, append: Append) -> None:
        for number in range(1, RECORDINGS_MAX + 1):
            try:
                self.store.append(**append._asdict())
                return
            except RefoldError as error:
                if error.code == "key_reused":
                    return  # Another worker was first: its outcome stands.
                if error.retry not in ("later", "check") or number == RECORDINGS_MAX:
                    raise
            time.sleep(backoff_s(number, random.random(), first_s=PAUSE_S))


def checked_handlers(handlers: Mapping[str, Handler]) -> dict[str, Handler]:
    """The handlers by name; raises UsageError where they are none."""
    advice = 'give callables by the names of effects, such as {"charge": charge}'
    if not isinstance(handlers, Mapping):
        raise UsageError(f"the handlers are of type {type(handlers).__name__}: {advice}")
    for name, handler in handlers.items():
        if not isinstance(name, str) or not name:
            raise UsageError(f"{shown(name)} names no effect: {advice}")
        if not callable(handler):
            raise UsageError(
                f"the handler of {name!r} cannot be called: {shown(handler)}; {advice}"
            )
    return dict(handlers)


async def _awaited(answer: Awaitable[Any]) -> Any:
    return await answer


def _append(recorded: Recorded, outcome: Outcome) -> Append:
    # By its type, not its class: a store's own registry need not know the class.
    event = Event(default_registry.kind_of(outcome).type, outcome)
    return Append(recorded.stream, [event], metadata=recorded.cause, key=outcome_key(recorded.id))


def _text(error: str) -> str:
    """What an error says, such that it can be recorded."""
    return str(error)[:ERROR_CHARS_MAX].encode("utf-8", "replace").decode()


# -- what an operator is told while it works --------------------------------------------------


def tell_failed(effect: str, attempt: int, error: str, next_try_s: float | None) -> None:
    """An attempt at an effect has failed; the next is so many seconds away, None: there is none.

    The facts are attributes of the log record too, by the names of the arguments.
    """
    when = "it is not tried again" if next_try_s is None else f"next try in {next_try_s:.1f} s"
    facts = {"effect": effect, "attempt": attempt, "error": error, "next_try_s": next_try_s}
    _tell("attempt %(attempt)d failed: %(error)s; " + when, facts)


def _tell(text: str, facts: dict[str, object]) -> None:
    LOGGER.warning(f"effect %(effect)s: {text}", facts, extra=facts)
