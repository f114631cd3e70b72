"""The replays of a store: how far each is, and whether it still goes on."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Final, NamedTuple

from refold import Store
from refold.replay import Variant
from refold.replay.events import Role
from refold.replay.leases import Leases
from refold.replay.plan import ReplayPlan, plans
from refold.replay.replays import Reckoned, Replay, ReplayRun, replays
from refold.replay.report.formatting import value_text
from refold.replay.variant import REPLAY_MARK, branch_name
from refold.ui.making import LookedAt, Tell
from refold.ui.visit import Visit

CHANGED_CHARS_MAX: Final = 80


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


class ReplaysFound(NamedTuple):
    """The replays of a store when its log ended at ``head``.

    By the id of a variant: ``lines`` are its samples, ``ends`` how far all that they are made of
    goes, ``plans`` what they set out to do. ``begun`` are conversations of runs that have no
    answer yet: what they set out to do is on record when the first is.
    """

    head: int
    replays: Sequence[Replay]
    lines: dict[str, list[RunLine]]
    ends: dict[str, list[object]]
    plans: dict[str, ReplayPlan]
    begun: int

    @property
    def newest_first(self) -> list[RunLine]:
        """All samples of all replays; of what was begun at once, what is tried before controls."""
        every = [line for lines in self.lines.values() for line in lines]
        every.sort(key=lambda one: (one.role == "control", one.run.variant))
        return sorted(every, key=lambda one: one.run.first_at or "~", reverse=True)

    @property
    def goes_on(self) -> bool:
        """Whether somebody still asks for any of them."""
        return bool(self.begun) or any(one.goes_on for one in self.newest_first)

    def control_of(self, replay: Replay) -> Variant | None:
        """The control that was asked in turn with a replay, if one was."""
        plan = self.plans.get(replay.variant.id)
        if plan is None or plan.terms.role == "control" or not plan.terms.run:
            return None
        of_run = (one for one in self.plans.values() if one.terms.run == plan.terms.run)
        return next((one.variant for one in of_run if one.terms.role == "control"), None)


class ReplaysSeen:
    """What was found of the replays of a store, so that no more is looked for than is new."""

    def __init__(self, store: Store) -> None:
        self._store, self._leases, self._lock = store, Leases(store), threading.Lock()
        self._reckoned: dict[str, Reckoned] = {}

    def held(self) -> frozenset[str]:
        """The branches that runs are asking for."""
        with self._lock:
            return frozenset(self._leases.of_others())

    def find(self, held: frozenset[str], tell: Tell) -> ReplaysFound:
        """All replays; ``held`` are the branches that runs are asking for."""
        head, every, lines = (
            self._store.log_head(),
            replays(self._store),
            dict[str, list[RunLine]](),
        )
        ends: dict[str, list[object]] = {}
        for number, one in enumerate(every):
            tell(number, len(every))
            lines[one.variant.id] = [
                self._line(one, sample, held) for sample in sorted(one.streams)
            ]
            names = [
                branch_name(stream, one.variant, sample)
                for sample, streams in sorted(one.streams.items())
                for stream in streams
            ]
            ends[one.variant.id] = [self._reckoned[name].at for name in names]
        begun = {
            of for of, _, sample in map(_parted, held) if sample.partition("-")[0] not in lines
        }
        planned = {plan.variant.id: plan for plan in plans(self._store)}
        return ReplaysFound(head, every, lines, ends, planned, len(begun))

    def _line(self, replay: Replay, sample: int, held: frozenset[str]) -> RunLine:
        run = replay.run(self._store, sample, kept=self._reckoned)
        goes_on = any(branch_name(one, replay.variant, sample) in held for one in run.streams)
        changes = [
            f"{len(value)} tools"
            if name == "tools"
            else f"{name} {value_text(value, CHANGED_CHARS_MAX)}"
            for name, value in run.changes.items()
        ]
        return RunLine(run, replay.role, goes_on, changes)


def _parted(branch: str) -> tuple[str, str, str]:
    """The conversation that a branch of a replay is of, and its variant and sample."""
    return branch.rpartition(REPLAY_MARK)


def looked(visit: Visit) -> LookedAt[ReplaysFound]:
    """The replays of the store that is visited, as far as they are found."""
    state = visit.request.app.state
    if not hasattr(state, "replays_seen"):
        state.replays_seen = ReplaysSeen(visit.store)
    seen: ReplaysSeen = state.replays_seen
    held = seen.held()
    of = (visit.store.log_head(), held)
    return visit.made("replays", of, lambda tell: seen.find(held, tell))


def screen(visit: Visit) -> str:
    """The list of the replays, the newest first."""
    at = looked(visit)
    return visit.page("replays.html", at=at, found=at.value)
