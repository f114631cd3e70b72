"""The read models that pages are made from, brought to where the log ends before they are read.

Where much is to come, another thread does it, and the pages say how far it is.
"""

from __future__ import annotations

import threading
from contextlib import suppress
from typing import Final, NamedTuple
from weakref import WeakKeyDictionary

from refold import Store
from refold.errors import RefoldError, StoreClosed
from refold.projections import Projector
from refold.readmodels.finding import bring_up
from refold.readmodels.forks import branches
from refold.readmodels.searching import search

KEPT: Final = (search, branches)
AT_ONCE_EVENTS_MAX: Final = 2_000
"""A page waits for the rows of so many events."""
WAIT_S: Final = 0.5
"""It waits so long for those of more, and then shows what there is."""


class RowsBehind(NamedTuple):
    """The rows stand at position ``done`` of a log that ends at ``head``."""

    done: int
    head: int


class _Work(threading.Thread):
    """Brings the rows up once; ``error`` is what kept it from that."""

    error: RefoldError | None = None

    def __init__(self, projector: Projector) -> None:
        super().__init__(name="refold-ui-rows", daemon=True)
        self._projector = projector

    def run(self) -> None:
        """Catch up; the store may be closed meanwhile."""
        with suppress(StoreClosed):
            try:
                bring_up(self._projector)
            except RefoldError as error:
                self.error = error


_lock: Final = threading.Lock()
_working: Final[WeakKeyDictionary[Store, _Work]] = WeakKeyDictionary()


def brought_up(store: Store, rows: Store | None) -> RowsBehind | None:
    """Bring the rows to where the log ends; how far they are, where that takes longer.

    Raises what kept them from it, such as :class:`~refold.errors.Unavailable`.
    """
    projector = Projector(store, KEPT, rows=rows)
    behind = _behind(store, projector)
    if behind.head - behind.done <= AT_ONCE_EVENTS_MAX:
        bring_up(projector)
        return None
    with _lock:
        work = _working.get(store)
        if work is None or not work.is_alive():
            work = _working[store] = _Work(projector)
            work.start()
    work.join(WAIT_S)
    if work.is_alive():
        return _behind(store, Projector(store, KEPT, rows=rows))
    if work.error is not None:
        raise work.error
    return None


def bring_all_up(store: Store, rows: Store | None) -> None:
    """Bring the rows to where the log ends, however long that takes."""
    bring_up(Projector(store, KEPT, rows=rows))


def _behind(store: Store, projector: Projector) -> RowsBehind:
    """Rows that other code made count for nothing: they are made anew."""
    done = [
        one.position if one.state == "current" else one.filling_position or 0
        for one in projector.status()
    ]
    return RowsBehind(min(done), store.log_head())
