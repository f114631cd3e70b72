"""Work that may be long: so much at once, for so long, and only for callers who wait for it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import asynccontextmanager
from contextvars import ContextVar, copy_context
from typing import TYPE_CHECKING, Any, Final, TypeVar

from refold.core.fold import Fold
from refold.core.stored import Row
from refold.engine.store import Store
from refold.errors import Overloaded, RefoldError, UsageError
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


def heeded(found: Iterable[R]) -> Iterator[R]:
    """The same one by one, as long as they are wanted."""
    for one in found:
        heed()
        yield one


def too_long() -> RefoldError:
    """What is said of work that is not done in time."""
    advice = "ask it of fewer events, up to a version or after a position"
    return UsageError(f"not done in {WORK_S_MAX:.0f} s: {advice}", code="takes_too_long")


async def worked(
    call: ServedCall, work: Callable[[Store], R], *, late: Callable[[], RefoldError] = too_long
) -> R:
    """What a function makes of a store; it looks by :func:`heed` whether it is still wanted.

    Raises what ``late`` gives where it is not done in time, and
    :class:`~refold.errors.Overloaded` where it was not begun.
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
        raise late()
    finally:
        effort.over = True
        gone.cancel()
        done.cancel()


@asynccontextmanager
async def in_turn(turns: asyncio.Lock) -> AsyncIterator[None]:
    """One caller at a time; Overloaded for who would wait longer than for an answer."""
    try:
        async with asyncio.timeout(WORK_S_MAX):
            await turns.acquire()
    except TimeoutError:
        raise Overloaded("others ask the same, and are not answered yet: try later") from None
    try:
        yield
    finally:
        turns.release()


def _under(effort: Effort, work: Callable[[Store], R], store: Store) -> R:
    _EFFORT.set(effort)
    heed()
    return work(store)


async def gone_away(receive: Receive) -> None:
    """Return when whoever asked is gone."""
    while (await receive())["type"] != "http.disconnect":
        pass
