"""`make soak-shared`: everything that is shared, at work at once, and harmed; 10 minutes.

Four processes of 16 writers on one log in PostgreSQL, readers, projections, feeds to three brokers
of Kafka and consumers of them; the server, brokers, sessions, connections and processes are killed
by a schedule that a seed gives. What each was told is noted outside, and held against the log, the
rows and the topics at the end (`tests/faults/shared`). Ends with a table: the promises, each with
how often it was broken, and what was done. Exits with 1 where one was, or the time was up first.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from random import SystemRandom

from tests.faults.shared.running import Plan, Verdict, run
from tests.support.kafka import cluster

SUMMARY = "Harm everything that is shared while it is at work; count the promises broken."
SHOWN_MAX = 5
END_S = 15
BEYOND_S = 160
"""Before and after the work: servers are started, everybody catches up, all is read."""


def main() -> int:
    """A run in a process of its own, ended with all that it has started when the time is up."""
    parser = argparse.ArgumentParser(prog="make soak-shared", description=SUMMARY)
    parser.add_argument("--minutes", type=float, default=10, help="of work (default 10)")
    parser.add_argument("--seed", type=int, default=SystemRandom().randrange(10**6))
    parser.add_argument("--processes", type=int, default=4, help="that write (default 4)")
    parser.add_argument("--writers", type=int, default=16, help="in each (default 16)")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    if given.inside:
        return judge(Plan(given.seed, given.minutes * 60, given.processes, given.writers))
    own = ["--inside", "--seed", str(given.seed)]
    inside = subprocess.Popen(
        [sys.executable, "-m", "tools.soak_shared", *sys.argv[1:], *own], start_new_session=True
    )
    try:
        return inside.wait(given.minutes * 60 + BEYOND_S)
    except subprocess.TimeoutExpired:
        say("stopped: the time was up")
        return 1
    finally:
        # Its processes too: the group is theirs alone, and others end when it does.
        with suppress(ProcessLookupError):
            os.killpg(inside.pid, signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            inside.wait(END_S)
        with suppress(ProcessLookupError):
            os.killpg(inside.pid, signal.SIGKILL)


def judge(plan: Plan) -> int:
    """Run, judge, tell."""
    began = time.monotonic()
    say(f"seed {plan.seed}")
    with cluster() as brokers:
        verdict = run(plan, brokers, say)
    show(verdict, plan, time.monotonic() - began)
    return 0 if verdict.is_good else 1


def say(what: str) -> None:
    """Progress."""
    print(what, file=sys.stderr, flush=True)


def show(verdict: Verdict, plan: Plan, spent_s: float) -> None:
    """The table."""
    for column in verdict.columns:
        print(f"{len(column.found):>9,} {column.name}")
        for one in column.found[:SHOWN_MAX]:
            print(f"{'':>12}{one}")
    print()
    for what, count in [*verdict.figures.items(), *sorted(verdict.done.items())]:
        print(f"{count:>9,} {what}")
    rate = verdict.figures["events in the log"] / plan.seconds
    print(f"{rate:>9,.0f} events a second, for {plan.seconds:,.0f} s; {spent_s:,.0f} s in all")
    print(f"{plan.seed:>9} the seed")


if __name__ == "__main__":
    sys.exit(main())
