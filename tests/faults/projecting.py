"""Processes that keep projections until they are killed."""

from __future__ import annotations

import signal
from itertools import count
from typing import Final

import refold
from refold import Event
from refold.projections import Projector
from tests.projections.sums import sums

APPENDS_MAX: Final = 300


def follow(path: str, _number: int) -> None:
    """Keep the rows, for ever."""
    Projector(_opened(path), [sums()]).run()


def rebuild(path: str, _number: int) -> None:
    """Build the rows anew, again and again."""
    projector = Projector(_opened(path), [sums()])
    for _turn in count():
        projector.rebuild("sums")
        projector.confirm("sums")


def compact(path: str, _number: int) -> None:
    """Pack the log whenever it has grown."""
    store = _opened(path)
    for _event in store.subscribe(after=store.log_head()):
        store.compact()


def append_inline(path: str, number: int) -> None:
    """Append with the rows in the same transaction, some hundred times; then wait for the end."""
    with refold.open(path, synchronous="NORMAL", inline=[sums()]) as store:
        for n in range(APPENDS_MAX):
            store.append(f"s-{(number + n) % 4}", events(n))
        signal.pause()


def events(n: int) -> list[Event]:
    """Events to append, some of which take rows away or change them by SQL."""
    made = [Event("added", {"n": n + k}) for k in range(n % 3 + 1)]
    if n % 17 == 0:
        made.append(Event("removed", {}))
    if n % 11 == 0:
        made.append(Event("doubled", {}))
    return made


def _opened(path: str) -> refold.Store:
    return refold.open(path, mode="write", synchronous="NORMAL")
