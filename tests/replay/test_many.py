"""A long run through faults and a kill: every result once, and no more memory than for a short one.

``make soak`` runs it over 10,000 conversations.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

from tests.support.faulty_server import FAULTS, FaultyServer, faulty
from tests.support.many import assert_every_result_once, recorded
from tests.support.soak import bound, counted

CONVERSATIONS = bound(150, 10_000)
DECISIONS = 2 * CONVERSATIONS
WORKERS = 16
PEAK_MB_MAX = 150
"""The most that a run may take, however many conversations it is over; looked at on Linux."""
CHILD = """
import json, pathlib, re, sys, refold
from refold.replay import ChatEndpoint, Variant, replay, select
with refold.open(sys.argv[1]) as store:
    streams = select(store, category="call")
    # So short that what is silent is given up, and so long that a busy machine is none.
    endpoint = ChatEndpoint(sys.argv[2], api_key="", timeout_s=5.0)
    said = replay(store, streams, Variant(label="many"), endpoint, workers=16)
status = pathlib.Path("/proc/self/status")
told = status.read_text() if status.exists() else "VmHWM: 0 kB"
peak_mb = int(re.search("VmHWM:[^0-9]*([0-9]+)", told)[1]) // 1024
print(json.dumps([said.kept, said.answered, said.failed, said.requests, peak_mb]))
"""


def started(path: Path, server: FaultyServer) -> subprocess.Popen[str]:
    asked = [sys.executable, "-c", CHILD, str(path), server.url]
    return subprocess.Popen(asked, stdout=subprocess.PIPE, text=True)


def test_a_long_run_through_faults_and_a_kill_has_every_result_once(tmp_path: Path) -> None:
    """5 % of the requests fail at first, in every way; in the midst of it the process is killed."""
    path = tmp_path / "calls.db"
    recorded(path, CONVERSATIONS)
    with faulty() as server:
        killed = started(path, server)
        while server.counts()["answered"] < DECISIONS // 2:
            assert killed.poll() is None
            time.sleep(0.01)
        killed.kill()
        killed.communicate()
        child = started(path, server)
        out, _ = child.communicate()
        counts = server.counts()
    kept, answered, failed, requests, peak_mb = json.loads(out)
    assert (kept + answered, failed) == (DECISIONS, 0)
    assert DECISIONS // 2 - WORKERS <= kept < DECISIONS
    assert counts["different"] == DECISIONS
    assert counts["again"] <= WORKERS
    assert counts["answered"] == DECISIONS + counts["again"]
    assert all(counts[fault] > 0 for fault in FAULTS)
    assert requests <= counts.total() - counts["different"] - counts["again"]
    assert peak_mb < PEAK_MB_MAX
    assert_every_result_once(path, CONVERSATIONS)
    for _ in range(DECISIONS):
        counted("replayed decisions")
