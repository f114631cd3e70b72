"""How effects stand, read from the log."""

from __future__ import annotations

from collections import deque
from collections.abc import Container, Mapping, Sequence
from functools import partial
from typing import Final, NamedTuple

from refold.core.recorded import Recorded
from refold.engine.store import Store
from refold.errors import NotFound, UsageError
from refold.outbox.backlog import TYPES, Backlog, asked_by
from refold.outbox.dispatch import Tried
from refold.outbox.events import COMMITTED, FAILED, REQUESTED, EffectFailed

HELD_MAX: Final = 10_000


class PendingEffect(NamedTuple):
    """An effect without an outcome.

    ``handled``: the outbox that was asked has a handler for its name. ``attempts`` and ``error``
    (of the last one) are those of its run; an effect that cannot be read has no name, and says so
    in ``error``.
    """

    id: str
    name: str | None
    requested_at_us: int
    age_s: float
    handled: bool
    attempts: int
    error: str | None


class FailedEffect(NamedTuple):
    """An effect that failed: ``refused`` and not done, or ``gave_up``, and nobody knows."""

    id: str
    name: str | None
    reason: str
    error: str
    attempts: int
    failed_at_us: int
    age_s: float


class OutboxStatus(NamedTuple):
    """Counts of all effects; the oldest pending and the latest failed ones, oldest first."""

    requested: int
    committed: int
    failed: int
    oldest_pending: list[PendingEffect]
    latest_failed: list[FailedEffect]

    @property
    def pending(self) -> int:
        """How many have no outcome yet."""
        return self.requested - self.committed - self.failed


def status_of(
    store: Store,
    *,
    handled: Container[str | None],
    tried: Mapping[str, Tried],
    now_us: int,
    limit: int,
    categories: Sequence[str] | None,
) -> OutboxStatus:
    """How the effects of a log stand, from one reading of its ``effect.*`` events.

    More readings follow only where over 10,000 effects were pending at once.
    """
    counts = dict.fromkeys(TYPES, 0)
    failed: deque[tuple[EffectFailed, Recorded]] = deque(maxlen=limit)
    backlog = Backlog(wanted=lambda _: True, effects_max=max(limit, HELD_MAX))
    events = partial(store.read_all, categories=categories, types=TYPES)
    for recorded in events(after=0):
        noted = backlog.note(recorded)
        counts[recorded.type] += noted is not None
        if isinstance(noted, EffectFailed):
            failed.append((noted, recorded))
    while len(backlog.open) < limit and backlog.left_out_after is not None:
        for recorded in events(after=backlog.read_again()):
            backlog.note(recorded)
    oldest = sorted(backlog.open.values(), key=lambda asked: asked.position)[:limit]
    pending = []
    for asked in oldest:
        attempts, error = tried.get(asked.id, Tried())
        at_us, said = asked.requested_at_us, asked.error or error
        waiting = (now_us - at_us) / 1e6, asked.name in handled, attempts, said
        pending.append(PendingEffect(asked.id, asked.name, at_us, *waiting))
    return OutboxStatus(
        requested=counts[REQUESTED],
        committed=counts[COMMITTED],
        failed=counts[FAILED],
        oldest_pending=pending,
        latest_failed=[_failed(store, outcome, at, now_us) for outcome, at in failed],
    )


def _failed(store: Store, outcome: EffectFailed, recorded: Recorded, now_us: int) -> FailedEffect:
    try:
        name = asked_by(store.event(outcome.effect)).name
    except (NotFound, UsageError):
        name = None  # It names no event: somebody else has recorded it.
    at_us = recorded.recorded_at_us
    why = outcome.reason, outcome.error, outcome.attempts
    return FailedEffect(outcome.effect, name, *why, at_us, (now_us - at_us) / 1e6)
