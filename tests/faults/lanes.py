"""Threads that append, each through a store of its own, while harm is done; what they were told."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from typing import Any, Final

import refold
from refold import Event
from refold.core.recorded import Recorded
from refold.engine.store import Store
from refold.errors import OutcomeUnknown, RefoldError, Unavailable

WAIT_S: Final = 60


class Load:
    """Lanes that append until they are stopped; two of three appends have keys.

    ``acknowledged`` has, by lane and number, the position that was told; ``unknown`` those without
    a key of which nobody knows; ``errors`` all that was raised, ``broken`` what ended a lane.
    """

    def __init__(self, url: str, lanes: int = 4) -> None:
        self.acknowledged: dict[tuple[int, int], int] = {}
        self.unknown: set[tuple[int, int]] = set()
        self.errors: list[RefoldError] = []
        self.broken: list[BaseException] = []
        self._url = url
        self._stopped = threading.Event()
        self._threads = [threading.Thread(target=self._work, args=(one,)) for one in range(lanes)]
        for thread in self._threads:
            thread.start()

    def wait(self, more: int = 40) -> None:
        """Until so many more appends were acknowledged."""
        wanted, until = len(self.acknowledged) + more, time.monotonic() + WAIT_S
        while len(self.acknowledged) < wanted:
            assert not self.broken, self.broken
            assert time.monotonic() < until, (
                f"nothing was told any more; at last {self.errors[-1:]}"
            )
            time.sleep(0.01)

    def stop(self) -> None:
        """Let each lane end after the append that it is at."""
        self._stopped.set()
        for thread in self._threads:
            thread.join(WAIT_S)
            assert not thread.is_alive(), "a call hangs"

    def _work(self, lane: int) -> None:
        try:
            with refold.open(self._url, mode="write") as store:
                number = 0
                while not self._stopped.is_set():
                    number += self._appended(store, lane, number)
        except BaseException as error:
            self.broken.append(error)

    def _appended(self, store: Store, lane: int, number: int) -> bool:
        """Append once; whether that is settled, or never will be."""
        key = f"{lane}-{number}" if number % 3 else None
        stream = "shared-1" if number % 4 == 0 else f"lane-{lane}"
        event = Event("test.told", {"lane": lane, "number": number})
        try:
            told = store.append(stream, [event], key=key)
        except (OutcomeUnknown, Unavailable) as error:
            self.errors.append(error)
            if isinstance(error, OutcomeUnknown) and key is None:
                self.unknown.add((lane, number))
                return True
            return False
        self.acknowledged[lane, number] = told.position
        return True

    def judge(self, store: Store, *, lost: int = 0) -> list[Recorded]:
        """Everything told is there, once, where it was told and in its order; and nothing else.

        But for ``lost`` of them, the last ones.
        """
        assert self.broken == []
        events = list(store.read_all())
        assert [e.position for e in events] == list(range(1, len(events) + 1))
        found: dict[tuple[int, int], list[int]] = defaultdict(list)
        for event in events:
            data: Any = event.data
            found[data["lane"], data["number"]].append(event.position)
        told = sorted(self.acknowledged.items(), key=lambda one: one[1])
        for place, position in told[: len(told) - lost]:
            assert found.pop(place) == [position]
        assert found.keys() <= self.unknown
        assert all(len(positions) == 1 for positions in found.values())
        for (lane, number), position in told:
            before = self.acknowledged.get((lane, number - 1), 0)
            assert before < position, "an append stands before the one that had ended before it"
        assert [check for check in store.check() if not check.good] == []
        return events
