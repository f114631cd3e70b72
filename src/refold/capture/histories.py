"""Where histories stand in the store: found by their tags, recent ones at hand."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import reduce
from itertools import islice
from operator import or_
from typing import Final, NamedTuple

from refold.capture.events import WireBranch
from refold.core.query import Query
from refold.engine.append import Append
from refold.engine.store import Store
from refold.errors import UsageError

HELD_MAX: Final = 20_000
"""How many tags are at hand; the store has them all."""
STREAMS_MAX: Final = 8
"""How many streams with one and the same history are looked at, the newest first."""
LOOKED_UP_MAX: Final = 8
"""How many tags of one request the store is asked for."""
BACK: Final = (10_000, 1_000_000, 1 << 62)
"""How many positions back the store is searched, first and then; the newest mostly is the one."""
EVENTS_MAX: Final = 1_000
"""How many events that match are looked at in one such stretch."""
BRANCHES: Final = "wire-branches"
"""The stream that says where histories stand in branches, in which tags find nothing."""

_OF_REQUEST: Final = frozenset({"wire.piece", "wire.request", "model.request"})
"""What stands behind the history that a request was about."""


class Spot(NamedTuple):
    """Where a history ends: it is what the stream holds up to this version."""

    stream: str
    version: int


class Histories:
    """What was said, by tag, to where it stands."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._held: dict[str, list[Spot]] = {}

    def note(self, tags: Iterable[str], spot: Spot) -> None:
        """A history stands there, and is the newest of its kind."""
        for tag in tags:
            others = [one for one in self._held.pop(tag, ()) if one.stream != spot.stream]
            self._held[tag] = [spot, *others[: STREAMS_MAX - 1]]
        for tag in [*islice(self._held, max(len(self._held) - HELD_MAX, 0))]:
            del self._held[tag]

    def at_hand(self, tag: str) -> Sequence[Spot]:
        """Where the histories of a tag stand as far as is known here, the newest first."""
        return self._held.get(tag, ())

    def look_up(self, tags: Sequence[str]) -> None:
        """Ask the store for the first few of these tags; what it finds is at hand then."""
        if not tags:
            return
        query = reduce(or_, (Query(tags=[tag]) for tag in tags[:LOOKED_UP_MAX]))
        head = self._store.log_head()
        for back in BACK:
            matching = self._store.read_all(matching=query, after=max(head - back, 0))
            try:
                found = [one for one in islice(matching, EVENTS_MAX) if one.type not in _OF_REQUEST]
            except UsageError:  # A kind of store that finds nothing by tags.
                return
            for recorded in found:
                spot = Spot(recorded.stream, recorded.version)
                if recorded.type == "wire.branch":
                    spot = Spot(recorded.data["stream"], recorded.data["version"])
                self.note(recorded.metadata["tags"], spot)
            if found or back >= head:
                return


def with_branch(append: Append, spot: Spot) -> list[Append]:
    """An append, and what makes its history be found where it is one to a branch."""
    if "~" not in append.stream:
        return [append]
    pointer = WireBranch(spot.stream, spot.version)
    return [append, Append(BRANCHES, [pointer], tags=append.tags)]
