"""One attempt at an effect: ask the handler, record what came of it."""

from __future__ import annotations

import asyncio
import inspect
import logging
import random
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

import msgspec

from refold.conversation.governance import EffectCommitted
from refold.core.event import Event
from refold.core.recorded import Recorded
from refold.engine.append import Append, batch_of
from refold.engine.store import Store
from refold.errors import InvalidEvent, RefoldError, Rejected, UsageError
from refold.outbox.events import COMMITTED, FAILED, EffectFailed, EffectRequested, outcome_key

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
PAUSE_S: Final = 0.05
ERROR_CHARS_MAX: Final = 2_000


@dataclass
class Performer:
    """Performs effects; every attempt may be made on a thread of its own."""

    store: Store
    handlers: Mapping[str, Handler]
    attempts_max: int

    def attempt(self, effect_id: str, number: int) -> str | None:
        """Attempt an effect for the n-th time; the error when it is to be tried again.

        None: it has its outcome, this one or that of another worker. Raises what the store
        raises.
        """
        recorded = self.store.event(effect_id)
        try:
            effect: EffectRequested = recorded.to_class(EffectRequested)
            key = effect.idempotency_key or recorded.id
            answer = self._answer(effect, key)
        except Rejected as refusal:
            append = _failed(recorded, "refused", _text(refusal.reason), number)
        except Exception as error:
            if number < self.attempts_max:
                return _text(repr(error))
            append = _failed(recorded, "gave_up", _text(repr(error)), number)
        else:
            append = self._committed(recorded, answer, key, number)
        self._record(append, outcome_key(effect_id))
        return None

    def _answer(self, effect: EffectRequested, key: str) -> object:
        answer = self.handlers[effect.name](effect, key)
        return asyncio.run(_awaited(answer)) if inspect.isawaitable(answer) else answer

    def _committed(self, recorded: Recorded, answer: object, key: str, number: int) -> Append:
        """The outcome of a handler that has returned.

        What it gave may be of no use; the effect was done, and must not be done again for that.
        """
        try:
            append = _append(recorded, COMMITTED, _outcome(answer, key, recorded.id))
            batch_of(append, self.store.registry)
        except Exception as unusable:
            tell_unusable(recorded.id, attempt=number, error=_text(str(unusable)))
            return _append(recorded, COMMITTED, EffectCommitted(key, effect=recorded.id))
        return append

    def _record(self, append: Append, key: str) -> None:
        stream, events, *_ = append
        for number in range(1, RECORDINGS_MAX + 1):
            try:
                self.store.append(stream, events, key=key, metadata=append.metadata)
                return
            except RefoldError as error:
                if isinstance(error, UsageError) and error.code == "key_reused":
                    return  # Another worker was first: its outcome stands.
                if error.retry not in ("later", "check") or number == RECORDINGS_MAX:
                    raise
            time.sleep(random.uniform(0, PAUSE_S * 2**number))


def checked_handlers(handlers: Mapping[str, Handler]) -> dict[str, Handler]:
    """The handlers by name; raises UsageError where they are none."""
    advice = 'give callables by the names of effects, such as {"charge": charge}'
    if not isinstance(handlers, Mapping):
        raise UsageError(f"the handlers are of type {type(handlers).__name__}: {advice}")
    for name, handler in handlers.items():
        if not isinstance(name, str) or not name:
            raise UsageError(f"{name!r} names no effect: {advice}")
        if not callable(handler):
            raise UsageError(f"the handler of {name!r} cannot be called: {handler!r}; {advice}")
    return dict(handlers)


def _outcome(answer: object, key: str, effect_id: str) -> EffectCommitted:
    if isinstance(answer, EffectCommitted):
        return msgspec.structs.replace(answer, effect=effect_id)
    if answer is None or isinstance(answer, str):
        return EffectCommitted(answer or key, effect=effect_id)
    raise InvalidEvent(
        f"it is of type {type(answer).__name__}: "
        "give EffectCommitted, its reference as text, or None"
    )


def _failed(
    recorded: Recorded, reason: Literal["refused", "gave_up"], error: str, number: int
) -> Append:
    tell_failed(recorded.id, attempt=number, error=error, next_try_s=None)
    return _append(recorded, FAILED, EffectFailed(recorded.id, reason, error, number))


async def _awaited(answer: Awaitable[Any]) -> Any:
    return await answer


def _append(recorded: Recorded, type_name: str, outcome: EffectCommitted | EffectFailed) -> Append:
    # By its type, not its class: a store's own registry need not know the class.
    return Append(recorded.stream, [Event(type_name, outcome)], metadata=recorded.cause)


def _text(error: str) -> str:
    """What an error says, such that it can be recorded."""
    return str(error)[:ERROR_CHARS_MAX].encode("utf-8", "replace").decode()


# -- what an operator is told while it works --------------------------------------------------


def tell_failed(effect: str, *, attempt: int, error: str, next_try_s: float | None) -> None:
    """An attempt at an effect has failed; the next is so many seconds away, None: there is none.

    The facts are attributes of the log record too, by the names of the arguments.
    """
    when = "it is not tried again" if next_try_s is None else f"next try in {next_try_s:.1f} s"
    facts = {"effect": effect, "attempt": attempt, "error": error, "next_try_s": next_try_s}
    text = "effect %(effect)s: attempt %(attempt)d failed: %(error)s; " + when
    LOGGER.warning(text, facts, extra=facts)


def tell_unusable(effect: str, *, attempt: int, error: str) -> None:
    """A handler has done an effect, and what it gave cannot be recorded."""
    facts = {"effect": effect, "attempt": attempt, "error": error}
    text = "effect %(effect)s: done, and recorded without what its handler gave: %(error)s"
    LOGGER.warning(text, facts, extra=facts)
