"""What is done to a run, and when: by lot, the same for the same seed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from random import Random
from threading import Event, Thread
from time import monotonic
from typing import NamedTuple

Act = Callable[[Random], bool]
"""Does something, and says whether it could."""


class Blow(NamedTuple):
    """One thing that is done so many seconds after the begin."""

    at_s: float
    what: str
    lot: int


def schedule(seed: int, seconds: float, every_s: Mapping[str, float]) -> dict[str, list[Blow]]:
    """Of each kind of harm when it comes, on average so often; none is left out."""
    found = {}
    for what, mean_s in sorted(every_s.items()):
        random, blows = Random(f"{seed} {what}"), []
        at_s = random.uniform(0.1, 0.6) * min(mean_s, seconds)
        while at_s < seconds:
            blows.append(Blow(at_s, what, random.getrandbits(32)))
            at_s += random.uniform(0.3, 1.7) * mean_s
        found[what] = blows
    return found


class Harm:
    """Carries a schedule out, each kind in a thread of its own; ``done`` counts what was done."""

    def __init__(
        self,
        blows: Mapping[str, Sequence[Blow]],
        acts: Mapping[str, Act],
        tell: Callable[[BaseException], None],
    ) -> None:
        self.done: Counter[str] = Counter()
        self._over, self._tell, self._began = Event(), tell, monotonic()
        self._threads = [
            Thread(target=self._strike, args=(acts[what], own)) for what, own in blows.items()
        ]
        for thread in self._threads:
            thread.start()

    def _strike(self, act: Act, blows: Sequence[Blow]) -> None:
        try:
            for blow in self._due(blows):
                self.done[blow.what] += act(Random(blow.lot))
        except BaseException as error:
            self._tell(error)

    def _due(self, blows: Sequence[Blow]) -> Iterator[Blow]:
        for blow in blows:
            if self._over.wait(max(0, self._began + blow.at_s - monotonic())):
                return
            yield blow

    def wait(self, seconds: float) -> bool:
        """Sleep, unless it is over; whether it is."""
        return self._over.wait(seconds)

    def end(self) -> None:
        """Begin nothing more, and wait for what was begun."""
        self._over.set()
        for thread in self._threads:
            thread.join()
