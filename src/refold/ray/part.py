"""A part of a run, asked by a worker of a Ray cluster."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from refold import connect
from refold._version import __version__
from refold.errors import UsageError
from refold.pacing import RateLimiter
from refold.ray.grants import GrantedBudget, SharedPauses, gone, telling
from refold.replay.options import Bounds
from refold.replay.summary import ReplaySummary
from refold.replay.work import Work, work_off


class Order(NamedTuple):
    """What all parts have in common: the store, the work, who grants, and of which version."""

    url: str
    work: Work
    grants: Any
    counts: bool
    version: str = __version__


def ask_part(order: Order, holder: str, streams: Sequence[str]) -> ReplaySummary:
    """Ask what these conversations miss, within what is granted to all."""
    import ray
    from ray.exceptions import RayActorError

    if order.version != __version__:
        raise UsageError(
            f"a worker has refold {__version__}, and the run is of {order.version}: install the "
            "same on all machines"
        )
    work, grants = order.work, order.grants
    budget = GrantedBudget(grants, holder, order.counts)
    asker = work.how.asker_within(
        work.candidate, Bounds(SharedPauses(grants), RateLimiter(), budget)
    )
    with connect.open(order.url, mode="write") as store:
        run = work.part(store, streams, telling(grants, holder))
        try:
            if not run.is_whole:
                work_off(run, asker, work.how.workers)
        finally:
            try:
                ray.get(grants.over.remote(holder, run.contained))
            except RayActorError as error:
                raise gone(error) from error
    return run.summary
