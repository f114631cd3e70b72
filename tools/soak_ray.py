"""`make soak-ray`: replays on a cluster that loses workers and machines, for at most 40 minutes.

10,000 conversations at their recorded decisions, then 2,000 that a candidate goes on with: three
machines of one processor each (processes on this one), 5 % of the requests failing in five ways, a
worker killed and a machine killed in each (`tests/ray/test_many_machines.py`). Ends with a table:
each promise, with how often it was broken, and how many decisions there were.
"""

from __future__ import annotations

import sys

from tools.soak import soaked

LIMIT_S = 40 * 60

if __name__ == "__main__":
    sys.exit(soaked(["tests/ray/test_many_machines.py", "-k", "lost"], LIMIT_S))
