"""`make soak`: the tests of faults, with more of everything, for at most 15 minutes.

The same tests as in `make test`, with the second of their bounds (`tests/support/soak.py`): 200
rounds of kill -9, every way in which each write can fail, more damage to every page, more fuzzing,
longer histories, 1,000 random conversations by each model API, a replay of 10,000. Ends with how
much of each was done; exits with pytest's code, or with 1 where the time was up first.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

LIMIT_S = 15 * 60
TELLING_S = 20
HOW = ["-n", "2", "--dist", "worksteal", "-v", "--color=no", "--durations=20"]
SOAKED = [
    "tests/replay/test_many.py",  # First: it takes one worker for a third of the time.
    "tests/faults/test_kill.py",
    "tests/faults/test_damage.py",
    "tests/faults/test_disk_faults.py",
    "tests/faults/test_power_loss.py",
    "tests/faults/test_concurrent_histories.py",
    "tests/stateful",
    "tests/fuzz",
    "tests/capture/test_random_talks.py",
    "tests/cli/test_strangers_files.py",
]


def soaked(tests_named: Sequence[str], limit_s: float) -> int:
    """Run the tests, tell how far they are, and what was done."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as figures:
        tests = subprocess.Popen(
            [sys.executable, "-m", "pytest", *HOW, *tests_named],
            env={**os.environ, "REFOLD_SOAK": "1", "REFOLD_SOAK_FIGURES": figures},
            start_new_session=True,
        )
        try:
            code = tests.wait(limit_s)
        except subprocess.TimeoutExpired:
            code = 1
            print(f"stopped after {limit_s / 60:.0f} minutes: what was reached is above")
            # What failed until then is told where pytest is asked to end, not where it is killed.
            tests.send_signal(signal.SIGINT)
            with suppress(subprocess.TimeoutExpired):
                tests.wait(TELLING_S)
        finally:
            # The workers too, and whatever they have started: the group is theirs alone.
            with suppress(ProcessLookupError):
                os.killpg(tests.pid, signal.SIGKILL)
            tests.wait()
        done: Counter[str] = Counter()
        for path in Path(figures).glob("*.json"):
            done.update(json.loads(path.read_text()))
    for what, count in sorted(done.items()):
        print(f"{count:>9,} {what}")
    print(f"{time.monotonic() - began:>9,.0f} seconds")
    return code


if __name__ == "__main__":
    sys.exit(soaked(SOAKED, LIMIT_S))
