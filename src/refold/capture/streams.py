"""The streams that calls are captured into: what must be known of each, and of histories."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from functools import reduce
from itertools import islice
from operator import or_
from typing import Final, NamedTuple

from refold.capture.conversations import told
from refold.capture.elements import KnownElements
from refold.capture.events import WireAnswer, WireBranch
from refold.capture.exact import CALL, form_of
from refold.core.query import Query
from refold.core.recorded import Recorded
from refold.engine.append import Append
from refold.engine.store import Store
from refold.errors import Conflict, OutcomeUnknown, UsageError
from refold.process import has_ended, this_process
from refold.recording.notes import Notes, follow
from refold.recording.tool_run import RAN, SOURCE

PROCESS: Final = "process"
"""The metadata that names the process which made a call."""
GOING_ON_US_MAX: Final = 3_600 * 1_000_000
"""How long a call may go on of which it cannot be seen whether its process still runs."""
GOING_ON: Final[set[str]] = set()
"""The calls of this process that go on."""
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

TRIES_MAX: Final = 100
"""How often an append is made again after others who write to the same stream."""

_OF_REQUEST: Final = frozenset({"wire.piece", "wire.request", "model.request"})
"""What stands behind the history that a request was about."""


class Followed:
    """A stream as far as it was read.

    ``tags`` are those of the history up to here; ``open`` has the ``wire.request`` of each call
    that has no end yet; ``asked`` is the last request: its hash, when it was made, its
    history; ``known``
    are the elements that it holds; ``ran`` has what the results say that the tools themselves told,
    by call id, which calls of one answer may share; ``waiting`` has, by its id, the
    ``wire.waiting`` of each run of a tool that is not known to be told.
    """

    def __init__(self, store: Store, stream: str) -> None:
        self.notes = Notes(stream)
        self.tags: frozenset[str] = frozenset()
        self.open: dict[str, Recorded] = {}
        self.asked = ("", 0, self.tags)
        self._store = store
        self.known = KnownElements()
        self.waiting: dict[str, Recorded] = {}
        self.ran: dict[str, list[str]] = {}

    def __len__(self) -> int:
        """How many digests of elements it takes up; an empty one takes room too."""
        return 100 + len(self.known)

    def catch_up(self) -> None:
        """Read what was appended since, by whomever."""
        stream, version = self.notes.stream, self.notes.version
        if self._store.head(stream) > version:
            for recorded in self._store.read(stream, from_version=version + 1):
                self._take(recorded)

    def _take(self, recorded: Recorded) -> None:
        follow(self.notes, recorded)
        call = recorded.noted(CALL)
        if call is not None and (tags := recorded.noted("tags")):
            self.tags = frozenset(tags)
        if recorded.type == "wire.request":
            form = form_of(self._store, recorded)
            if recorded.stream == self.notes.stream:  # Else it ends in the parent of this branch.
                self.open[call] = recorded
            self.asked = (form.hash, recorded.occurred_at_us, self.tags)
            self.known.learn(recorded.version, form)
        elif recorded.type == "wire.answer" and recorded.to_class(WireAnswer).hash is not None:
            self.open.pop(call, None)
        elif recorded.type == "wire.waiting":
            self.waiting[recorded.data["run"]["id"]] = recorded
        elif recorded.type == "tool.call":
            self.ran.pop(recorded.data["call_id"], None)
        elif recorded.type == "tool.result" and recorded.noted(SOURCE) == RAN:
            ran = self.ran.setdefault(recorded.data["call_id"], [])
            ran.append(told(recorded.data.get("result")))


def again(work: Callable[[], object]) -> None:
    """Do it again where another writer came first, or the store could not say what became."""
    for _ in range(TRIES_MAX - 1):
        with suppress(Conflict, OutcomeUnknown):
            work()
            return
    work()


def goes_on(call: str, request: Recorded, *, now_us: int) -> bool:
    """Whether a call without an end still goes on, as far as can be seen from here."""
    is_own = request.noted(PROCESS) == this_process()
    return call in GOING_ON if is_own else may_run(request, now_us=now_us)


def may_run(recorded: Recorded, *, now_us: int) -> bool:
    """Whether the other process that recorded this still runs, as far as can be seen from here.

    One of this machine, or container, is looked up; any other is taken to run for an hour.
    """
    is_recent = now_us - recorded.occurred_at_us < GOING_ON_US_MAX
    return is_recent and not has_ended(str(recorded.noted(PROCESS)))


# -- histories ------------------------------------------------------------------------------------


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
