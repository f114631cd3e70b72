"""The replays of a store: how far each is, and whether it still goes on."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import Future
from typing import Any, Final, NamedTuple, TypeVar

from refold import Store
from refold.replay.events import Role
from refold.replay.leases import Leases
from refold.replay.replays import Reckoned, Replay, ReplayRun, replays
from refold.replay.report.formatting import value_text
from refold.replay.variant import branch_name
from refold.ui.visit import Visit

VERDICTS_MAX: Final = 8
CHANGED_CHARS_MAX: Final = 80

T = TypeVar("T")


class RunLine(NamedTuple):
    """A sample of a variant: what became of it, and whether somebody still asks for it."""

    run: ReplayRun
    role: Role
    goes_on: bool
    changes: Sequence[str]

    @property
    def done(self) -> int:
        """Decisions that were asked."""
        return self.run.answered + self.run.failed

    @property
    def planned(self) -> int:
        """Decisions that were to be asked."""
        return self.run.decisions - self.run.later


class ReplaysSeen:
    """What was found of the replays of a store, so that a page looks for no more than is new."""

    def __init__(self, store: Store) -> None:
        self._leases, self._lock = Leases(store), threading.Lock()
        self.reckoned: dict[str, Reckoned] = {}
        self._made: OrderedDict[Hashable, tuple[Hashable, Future[Any]]] = OrderedDict()

    @classmethod
    def of(cls, visit: Visit) -> ReplaysSeen:
        """That of the application that is visited."""
        state = visit.request.app.state
        if not hasattr(state, "replays_seen"):
            state.replays_seen = cls(visit.store)
        seen: ReplaysSeen = state.replays_seen
        return seen

    def held(self) -> set[str]:
        """The branches that runs are asking for."""
        with self._lock:
            return self._leases.of_others()

    def made(self, name: Hashable, of: Hashable, make: Callable[[], T]) -> Future[T]:
        """What ``make`` gives on a thread of its own, once, unless it is of something else by now.

        What failed is tried again.
        """
        with self._lock:
            known = self._made.get(name)
            is_known = known is not None and known[0] == of
            if known is None or not is_known or (known[1].done() and known[1].exception()):
                known = self._made[name] = of, Future()
                threading.Thread(target=_into, args=(known[1], make), daemon=True).start()
            while len(self._made) > VERDICTS_MAX:
                self._made.popitem(last=False)
            return known[1]

    def failed(self, name: Hashable, of: Hashable) -> Future[Any] | None:
        """What failed since it was asked for, to be told once; after that it is tried again."""
        with self._lock:
            known = self._made.get(name)
            if known is None or known[0] != of or not known[1].done() or not known[1].exception():
                return None
            return self._made.pop(name)[1]


def _into(future: Future[T], make: Callable[[], T]) -> None:
    try:
        future.set_result(make())
    except Exception as error:
        future.set_exception(error)


def screen(visit: Visit) -> str:
    """The list of the replays, the newest first."""
    seen = ReplaysSeen.of(visit)
    held = seen.held()
    lines = listed(visit.store, seen, held)
    known = {one.run.variant for one in lines}
    # What a run sets out to do is on record when its first answer is.
    begun = sum(branch.rpartition("-")[0].rpartition("-")[2] not in known for branch in held)
    goes_on = bool(begun) or any(one.goes_on for one in lines)
    return visit.page("replays.html", lines=lines, begun=begun, goes_on=goes_on)


def listed(store: Store, seen: ReplaysSeen, held: set[str]) -> list[RunLine]:
    """Every sample of every replay of a store, the newest first."""
    lines = [line for one in replays(store) for line in lines_of(store, one, seen, held)]
    return sorted(
        lines, key=lambda line: (line.run.first_at or "~", line.run.variant), reverse=True
    )


def lines_of(store: Store, replay: Replay, seen: ReplaysSeen, held: set[str]) -> list[RunLine]:
    """The samples of one replay, in order; ``held`` are the branches that runs are asking for."""
    return [_line(store, replay, sample, seen, held) for sample in sorted(replay.streams)]


def _line(store: Store, replay: Replay, sample: int, seen: ReplaysSeen, held: set[str]) -> RunLine:
    run = replay.run(store, sample, kept=seen.reckoned)
    goes_on = any(branch_name(one, replay.variant, sample) in held for one in run.streams)
    changes = [
        f"{len(value)} tools"
        if name == "tools"
        else f"{name} {value_text(value, CHANGED_CHARS_MAX)}"
        for name, value in run.changes.items()
    ]
    return RunLine(run, replay.role, goes_on, changes)
