"""A Ray cluster of the tests' own: some machines of one processor each, on this one's loopback.

It runs in a process of its own, and ends with that; nothing is told to anybody, and no dashboard.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from tests.support.postgres import free_port

MACHINES: Final = 3
_PATIENT: Final = {"RAY_CLIENT_SERVER_CHECK_CHANNEL_TIMEOUT_S": "120"}
"""How long a connection may take to be made: a busy machine is no defect."""
_CLUSTER: Final = """
import json, sys
from ray.cluster_utils import Cluster

small = dict(num_cpus=1, object_store_memory=80 * 2**20)
head = dict(small, include_dashboard=False, ray_client_server_port=int(sys.argv[1]))
cluster = Cluster(initialize_head=True, head_node_args=dict(head, node_ip_address="127.0.0.2"))
for number in range(int(sys.argv[2]) - 1):
    cluster.add_node(wait=False, **small, node_ip_address=f"127.0.0.{number + 3}")
cluster.wait_for_nodes(timeout=120)
raylets = [node.all_processes["raylet"][0].process.pid for node in cluster.list_all_nodes()]
print(json.dumps([cluster.address, raylets]), flush=True)
sys.stdin.read()
cluster.shutdown()
"""


class RayCluster:
    """``address`` is what a run is given; machine 0 is the head.

    ``inside`` is what ``RAY_ADDRESS`` is on its machines, for which no server has to be started.
    """

    def __init__(self, address: str, inside: str, raylets: list[int]) -> None:
        self.address, self.inside = address, inside
        self._raylets = raylets

    def workers(self, what: str, machine: int | None = None) -> list[int]:
        """The processes that are at a function or actor of this name, of one machine or all."""
        of = self._raylets if machine is None else [self._raylets[machine]]
        return [pid for raylet in of for pid, name in _children(raylet) if f"ray::{what}" in name]

    def kill_machine(self, number: int) -> None:
        """All at once, as when its plug is pulled."""
        raylet = self._raylets[number]
        for pid in (raylet, *(pid for pid, _ in _children(raylet))):
            kill(pid)


def kill(pid: int) -> None:
    """-9, unless it is gone already."""
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def _children(parent: int) -> Iterator[tuple[int, str]]:
    """The processes that one has started, with what they are called."""
    listed = subprocess.run(
        ["ps", "-e", "-o", "pid=,ppid=,args="], check=True, capture_output=True, text=True
    )
    for line in listed.stdout.splitlines():
        pid, of, name = line.split(maxsplit=2)
        if int(of) == parent:
            yield int(pid), name


def quiet(folder: str, inside: str | None = None) -> dict[str, str]:
    """The environment of what uses Ray: its files in a folder, and nothing told to anybody.

    ``inside`` is that of a machine of this cluster.
    """
    at = {} if inside is None else {"RAY_ADDRESS": inside}
    own = {"RAY_TMPDIR": folder, "RAY_USAGE_STATS_ENABLED": "0", **_PATIENT}
    return {**os.environ, **own, **at}


@contextmanager
def ray_cluster(machines: int = MACHINES) -> Iterator[RayCluster]:
    """A cluster for a block."""
    # Sockets lie in it, whose paths have to be short.
    with (
        tempfile.TemporaryDirectory(prefix="ray", ignore_cleanup_errors=True) as folder,
        Path(folder, "log").open("w") as log,
    ):
        port = free_port()
        process = subprocess.Popen(
            [sys.executable, "-c", _CLUSTER, str(port), str(machines)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            env=quiet(folder),
            text=True,
        )
        try:
            assert process.stdout is not None and process.stdin is not None
            told = process.stdout.readline()
            assert told, Path(folder, "log").read_text()
            yield RayCluster(f"ray://127.0.0.2:{port}", *json.loads(told))
        finally:
            process.communicate()
