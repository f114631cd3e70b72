"""One attempt at an effect: ask the handler, record what came of it."""

from __future__ import annotations

import asyncio
import inspect
import random
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

import msgspec

from refold.conversation.governance import EffectCommitted
from refold.core.event import Event
from refold.core.recorded import Recorded
from refold.engine.batching import batch_of
from refold.engine.results import Append
from refold.engine.store import Store
from refold.errors import InvalidEvent, RefoldError, Rejected, UsageError
from refold.outbox.events import COMMITTED, FAILED, EffectFailed, EffectRequested, outcome_key

Answer = EffectCommitted | str | None
Handler = Callable[[EffectRequested, str], Answer | Awaitable[Answer]]
"""Does an effect, or raises: ``handler(effect, idempotency_key)``.

Gives what to record: an ``EffectCommitted``, or its ``reference`` alone, or None. Raises
:class:`~refold.Rejected` when the effect was refused for good; any other error is tried again.
"""
RECORDINGS_MAX: Final = 5
"""How often an outcome is tried to be recorded while the store cannot take it."""
PAUSE_S: Final = 0.05
ERROR_CHARS_MAX: Final = 2_000


class Performer:
    """Performs effects; every attempt may be made on a thread of its own."""

    def __init__(self, store: Store, handlers: Mapping[str, Handler], *, attempts_max: int) -> None:
        self._store = store
        self._handlers = handlers
        self._attempts_max = attempts_max

    def attempt(self, effect_id: str, number: int) -> str | None:
        """Attempt an effect for the n-th time; the error when it is to be tried again.

        None: it has its outcome, this one or that of another worker. Raises what the store
        raises.
        """
        recorded = self._store.event(effect_id)
        try:
            append = _append(recorded, COMMITTED, self._performed(recorded))
            batch_of([append], None, self._store.registry)
        except Rejected as refusal:
            failed = EffectFailed(effect_id, "refused", _text(refusal.reason), number)
            append = _append(recorded, FAILED, failed)
        except Exception as error:
            if number < self._attempts_max:
                return _text(repr(error))
            failed = EffectFailed(effect_id, "gave_up", _text(repr(error)), number)
            append = _append(recorded, FAILED, failed)
        self._record(append, outcome_key(effect_id))
        return None

    def _performed(self, recorded: Recorded) -> EffectCommitted:
        effect: EffectRequested = recorded.to_class(EffectRequested)
        key = effect.idempotency_key or recorded.id
        answer = self._handlers[effect.name](effect, key)
        if inspect.isawaitable(answer):
            answer = asyncio.run(_awaited(answer))
        if isinstance(answer, EffectCommitted):
            return msgspec.structs.replace(answer, effect=recorded.id)
        if answer is None or isinstance(answer, str):
            return EffectCommitted(answer or key, effect=recorded.id)
        raise InvalidEvent(
            f"the handler of {effect.name!r} gave {type(answer).__name__}: "
            "give EffectCommitted, its reference as text, or None"
        )

    def _record(self, append: Append, key: str) -> None:
        stream, events, *_ = append
        for number in range(1, RECORDINGS_MAX + 1):
            try:
                self._store.append(stream, events, key=key, metadata=append.metadata)
                return
            except RefoldError as error:
                if isinstance(error, UsageError) and error.code == "key_reused":
                    return  # Another worker was first: its outcome stands.
                if error.retry not in ("later", "check") or number == RECORDINGS_MAX:
                    raise
            time.sleep(random.uniform(0, PAUSE_S * 2**number))


async def _awaited(answer: Awaitable[Any]) -> Any:
    return await answer


def _append(recorded: Recorded, type_name: str, outcome: EffectCommitted | EffectFailed) -> Append:
    # By its type, not its class: a store's own registry need not know the class.
    return Append(recorded.stream, [Event(type_name, outcome)], metadata=recorded.cause)


def _text(error: str) -> str:
    """What an error says, such that it can be recorded."""
    return str(error)[:ERROR_CHARS_MAX].encode("utf-8", "replace").decode()
