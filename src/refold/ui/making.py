"""What takes longer than a page may: made on a thread of its own, kept, and how far it has come."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from threading import BoundedSemaphore, Event, Lock, Thread
from time import monotonic
from typing import Any, Final, Generic, NamedTuple, TypeVar

from refold.errors import Unavailable

KEPT_MAX: Final = 8
"""So much of what was made is kept, what was asked for last."""
AT_ONCE: Final = 2
"""So many threads make something; the others wait, for they would only take turns."""
UNDER_WAY_MAX: Final = 16
"""So much may be waited for; what is asked beyond is refused until some of it is there."""
PATIENCE_S: Final = 0.08
"""A page waits so long for what is not there yet, then it shows what there is and how far that is.
"""

T = TypeVar("T")
Tell = Callable[[int, int], object]
"""Told how much is done, and of how much."""


class LookedAt(NamedTuple, Generic[T]):
    """What there is of something: None before it was made once.

    ``is_newest``: it is of what was asked for, not of what was there before. ``done`` of ``total``
    is how far the newest has come; ``total`` is 0 while that is not known.
    """

    value: T | None
    is_newest: bool
    done: int = 0
    total: int = 0


@dataclass
class _Making:
    """Something that is made ``of`` something; ``before`` is what was made under its name last."""

    of: object
    before: Any = None
    value: Any = None
    error: Exception | None = None
    done: int = 0
    total: int = 0
    ended: Event = field(default_factory=Event)

    def tell(self, done: int, total: int) -> None:
        self.done, self.total = done, total


class KeptResults:
    """What pages are made of, by name."""

    def __init__(self) -> None:
        self._lock, self._turns = Lock(), BoundedSemaphore(AT_ONCE)
        self._made: OrderedDict[Hashable, _Making] = OrderedDict()

    def look(
        self, name: Hashable, of: object, make: Callable[[Tell], T], patience_s: float | None
    ) -> LookedAt[T]:
        """What ``make`` gives, made once for what it is ``of``; waits so long, endlessly for None.

        What failed is told once, as the error that it was, and is then tried again. Raises
        :class:`~refold.errors.Unavailable` where too much is being made.
        """
        until = None if patience_s is None else monotonic() + patience_s
        while True:
            making = self._begun(name, of, make)
            left_s = None if until is None else max(0.0, until - monotonic())
            if not making.ended.wait(left_s):
                return LookedAt(making.before, False, making.done, making.total)
            if making.error is not None:
                self._forget(name, making)
                raise making.error
            if making.of == of:
                return LookedAt(making.value, True, making.done, making.total)

    def _begun(self, name: Hashable, of: object, make: Callable[[Tell], object]) -> _Making:
        """What is being made under a name, or is there already if it is of the same."""
        with self._lock:
            known = self._made.get(name)
            if known is None or (known.ended.is_set() and known.of != of):
                under_way = sum(not one.ended.is_set() for one in self._made.values())
                if under_way >= UNDER_WAY_MAX:
                    raise Unavailable("too much is being made for other pages: ask again later")
                known = _Making(of, None if known is None else known.value)
                Thread(target=self._make, args=(known, make), daemon=True).start()
                self._made[name] = known  # Now that it begins: else nobody would end it.
            self._made.move_to_end(name)
            old = [one for one, held in self._made.items() if held.ended.is_set() and one != name]
            for one in old[: max(0, len(self._made) - KEPT_MAX)]:
                del self._made[one]
            return known

    def _make(self, making: _Making, make: Callable[[Tell], object]) -> None:
        with self._turns:
            try:
                making.value = make(making.tell)
            except Exception as error:
                making.error = error
            making.before = None
            making.ended.set()

    def _forget(self, name: Hashable, making: _Making) -> None:
        with self._lock:
            if self._made.get(name) is making:
                del self._made[name]
