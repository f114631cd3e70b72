"""A short run of everything that is shared, with harm done to all of it: nothing is broken."""

from __future__ import annotations

import sys

import pytest

from tests.faults.shared.harm import schedule
from tests.faults.shared.running import Plan, run
from tests.support.kafka import Cluster

SEED = 20
SECONDS = 10


@pytest.mark.xdist_group("kafka")
def test_nothing_is_broken_whatever_is_killed(brokers: Cluster) -> None:
    """Writers, readers, projections, feeds and consumers at once: every promise holds.

    Each kind of harm was done, and what was killed was at work.
    """
    plan = Plan(SEED, SECONDS, processes=2, writers=4)
    verdict = run(plan, brokers, lambda what: print(what, file=sys.stderr))
    assert [column for column in verdict.columns if column.found] == []
    assert verdict.figures["acknowledged appends"] > 50
    assert set(verdict.done) == set(plan.every_s)
    assert all(verdict.done[what] for what in verdict.done if what.startswith("kill -9"))


def test_a_schedule_is_that_of_its_seed() -> None:
    """The same seed gives the same blows; each kind comes, on average as often as it should."""
    every_s = {"often": 2.0, "seldom": 50.0, "once": 1_000.0}
    found = schedule(7, 600, every_s)
    assert found == schedule(7, 600, every_s)
    assert found != schedule(8, 600, every_s)
    assert 250 < len(found["often"]) < 350
    assert 8 < len(found["seldom"]) < 20
    assert len(found["once"]) == 1
    for blows in found.values():
        times = [blow.at_s for blow in blows]
        assert times == sorted(times)
        assert 0 < times[0] <= times[-1] < 600
