"""Replays that the pages start: one at a time, in the background, and how far each has come."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from dataclasses import dataclass
from decimal import Decimal
from threading import Lock, Thread
from typing import Final

from refold.errors import RefoldError, UsageError
from refold.replay.running import Progress
from refold.replay.summary import ReplaySummary

STARTED_MAX: Final = 20
"""So many of the replays that were started are still told of."""
BEGIN_MAX_S: Final = 60
"""So long is waited until it is known what is to be asked; a refusal comes before that."""


@dataclass
class StartedReplay:
    """A replay of these pages: of which variant and how many conversations, and how it stands.

    ``total`` is how many decisions are to be asked, ``done`` those that are, ``failed`` of these
    got no answer. ``ended`` says how it ended; "" while it goes on.
    """

    variant: str
    conversations: int
    done: int = 0
    total: int = 0
    failed: int = 0
    cost: Decimal | None = None
    ended: str = ""


class StartedReplays:
    """What was started, the last first."""

    def __init__(self) -> None:
        self._kept: deque[StartedReplay] = deque(maxlen=STARTED_MAX)
        self._lock = Lock()

    def __iter__(self) -> Iterator[StartedReplay]:
        return iter([*self._kept])

    def start(
        self, variant: str, conversations: int, run: Callable[[Progress], ReplaySummary]
    ) -> None:
        """Run a replay on a thread of its own; ``run`` is given what it is to tell progress to.

        Raises what it raises before anything is asked, and
        :class:`~refold.errors.UsageError` while another goes on.
        """
        made, begun = StartedReplay(variant, conversations), Future[None]()
        with self._lock:
            going = next((one for one in self._kept if not one.ended), None)
            if going is not None:
                said = f"the replay of {going.variant} goes on ({going.done:,} of {going.total:,})"
                raise UsageError(f"{said}: start this one when it has ended")
            self._kept.appendleft(made)
        # A daemon: every answer that came is kept, and the same replay asks for the rest.
        Thread(target=_run, args=(made, begun, run), name="replay", daemon=True).start()
        try:
            _wait(begun)
        except RefoldError:
            with self._lock:
                self._kept.remove(made)
            raise


def _wait(begun: Future[None]) -> None:
    """Until it is known whether a replay can be; who waits no longer is told nothing of it."""
    try:
        begun.result(BEGIN_MAX_S)
    except TimeoutError:
        if not begun.cancel():
            begun.result()


def _say(begun: Future[None], error: BaseException | None = None) -> bool:
    """Tell who waits whether a replay can be, the first time; whether that is told."""
    with suppress(InvalidStateError):
        begun.set_result(None) if error is None else begun.set_exception(error)
        return True
    return False


def _run(
    made: StartedReplay, begun: Future[None], run: Callable[[Progress], ReplaySummary]
) -> None:
    def tell(done: int, total: int, cost: Decimal | None, failed: int) -> None:
        made.done, made.total, made.cost, made.failed = done, total, cost, failed
        _say(begun)

    try:
        summary = run(tell)
        made.ended = f"stopped: {summary.stopped}" if summary.stopped else "done"
    except BaseException as error:
        why = error.message if isinstance(error, RefoldError) else "the terminal says why"
        made.ended = f"stopped: {why}"
        if not _say(begun, error) and not isinstance(error, RefoldError):
            raise
    _say(begun)
