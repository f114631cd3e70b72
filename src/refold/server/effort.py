"""Work that may be long: so much at once, for so long, and only for callers who wait for it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextvars import ContextVar, copy_context
from typing import TYPE_CHECKING, Any, Final, TypeVar

from refold.core.fold import Fold
from refold.core.stored import Row
from refold.engine.store import Store
from refold.errors import Overloaded, UsageError
from refold.server.desk import WORKS_MAX, ServedCall

if TYPE_CHECKING:
    from starlette.types import Receive

    from refold.core.recorded import Recorded

S = TypeVar("S")
R = TypeVar("R")

WORK_S_MAX: Final = 30.0
"""A caller is answered after so long, with what there is to say then."""


class Effort:
    """Work under way; ``over`` says that nobody waits for it any more."""

    over = False


_EFFORT: Final[ContextVar[Effort | None]] = ContextVar("effort", default=None)


class NobodyWaits(Exception):
    """Ends work that nobody waits for any more."""


def heed() -> None:
    """End the work of this thread where nobody waits for it any more."""
    effort = _EFFORT.get()
    if effort is not None and effort.over:
        raise NobodyWaits


class HeedingFold(Fold[S]):
    """A fold that ends, with what it does, where nobody waits for it any more."""

    def __init__(self, fold: Fold[S]) -> None:
        self.__dict__.update(fold.__dict__)  # Its steps, and those that it gets later.

    def over(self, state: S, row: Row, *, first: int, last: int) -> S:
        """See :meth:`Fold.over`."""
        heed()
        return super().over(state, row, first=first, last=last)

    def step(self, state: S, recorded: Recorded) -> S:
        """See :meth:`Fold.step`."""
        heed()
        return super().step(state, recorded)


async def worked(call: ServedCall, work: Callable[[Store], R]) -> R:
    """What a function makes of a store; it looks by :func:`heed` whether it is still wanted.

    Raises :class:`~refold.errors.UsageError` (``takes_too_long``) where it is not done in time,
    and :class:`~refold.errors.Overloaded` where it was not begun.
    """
    effort = Effort()
    begun = call.desk.workers.submit(copy_context().run, _under, effort, work, call.desk.store)
    done: asyncio.Future[Any] = asyncio.wrap_future(begun)
    gone: asyncio.Future[Any] = asyncio.ensure_future(gone_away(call.request.receive))
    try:
        first = asyncio.FIRST_COMPLETED
        await asyncio.wait({done, gone}, timeout=WORK_S_MAX, return_when=first)
        if done.done():
            made: R = done.result()
            return made
        if not begun.running():
            raise Overloaded(f"{WORKS_MAX} such questions are being answered: try later")
        why = f"not done in {WORK_S_MAX:.0f} s: ask it of fewer events, up to a version"
        raise UsageError(why, code="takes_too_long")
    finally:
        effort.over = True
        gone.cancel()
        done.cancel()


def _under(effort: Effort, work: Callable[[Store], R], store: Store) -> R:
    _EFFORT.set(effort)
    heed()
    return work(store)


async def gone_away(receive: Receive) -> None:
    """Return when whoever asked is gone."""
    while (await receive())["type"] != "http.disconnect":
        pass
