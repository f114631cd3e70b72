"""A replay on a cluster of three machines: every result once, whatever is killed.

``REFOLD_SOAK=1`` runs the first over 10,000 conversations.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest

import refold
from refold.errors import UsageError
from refold.privacy import CONVERSATION, Privacy
from refold.privacy.keyring import new_keyring
from refold.ray import OnRay
from refold.replay import Variant, replay
from refold.replay.plan import plan_of
from tests.replay.stories import as_recorded
from tests.support.faulty_server import FAULTS, faulty
from tests.support.many import assert_every_result_once, recorded
from tests.support.postgres import schema_of_its_own
from tests.support.ray_cluster import RayCluster, kill, quiet, ray_cluster
from tests.support.soak import bound, counted

CONVERSATIONS = bound(150, 10_000)
WORKERS = 4
FEW = 24


@pytest.fixture(scope="module")
def cluster() -> Iterator[RayCluster]:
    with ray_cluster() as one:
        yield one


@pytest.fixture
def address() -> str:
    """A store that all machines share, with a few conversations."""
    address = schema_of_its_own()
    recorded(address, FEW)
    return address


def begun(address: str, on: str, server_url: str, *more: str) -> subprocess.Popen[str]:
    """The command, under way, on a cluster or ("") here."""
    asked = ["--db", address, "--base-url", server_url, "--workers", str(WORKERS)]
    asked += ["--on", on] if on else []
    what = ["--category", "call", "--label", "many", "--timeout", "5", "--json"]
    return subprocess.Popen(
        [sys.executable, "-m", "refold", "replay", *asked, *what, *more],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**quiet(tempfile.gettempdir()), "REFOLD_API_KEY": "-"},
        text=True,
    )


def ended(child: subprocess.Popen[str], code: int = 0) -> dict[str, Any]:
    """What it said, having ended so."""
    out, err = child.communicate(timeout=bound(300, 1_800))
    assert child.returncode == code, err
    said: dict[str, Any] = json.loads(out or "{}")
    return said | {"stderr": err}


def once(child: subprocess.Popen[str], holds: Callable[[], bool]) -> None:
    """Wait until something holds of a run that goes on."""
    while not holds():
        assert child.poll() is None, child.communicate()
        time.sleep(0.02)


def at_work(
    child: subprocess.Popen[str], cluster: RayCluster, what: str, but: Sequence[int] = ()
) -> int:
    """A process of a run that is at a function or actor, once there is one ``but`` these."""
    found: list[int] = []

    def is_found() -> bool:
        found[:] = [pid for pid in cluster.workers(what) if pid not in but]
        return bool(found)

    once(child, is_found)
    return found[0]


def test_a_worker_is_lost_and_a_machine_and_every_result_is_there_once(
    cluster: RayCluster,
) -> None:
    """5 % of the requests fail at first, in every way. No more is asked again than was under way.

    What the lost had answered is kept, and what was held for them does not keep others waiting.
    """
    address, decisions = schema_of_its_own(), 2 * CONVERSATIONS
    recorded(address, CONVERSATIONS)
    with faulty() as server:
        child = begun(address, cluster.address, server.url, "--max-tokens", str(10**12))
        answered: Callable[[], int] = lambda: server.counts()["answered"]  # noqa: E731
        once(child, lambda: answered() >= decisions // 4)
        kill(at_work(child, cluster, "ask_part"))
        once(child, lambda: answered() >= decisions // 2)
        cluster.kill_machine(2)
        said, counts = ended(child), server.counts()
    assert (said["kept"] + said["answered"], said["failed"]) == (decisions, 0)
    assert counts["different"] == decisions
    assert counts["again"] <= 2 * WORKERS
    assert all(counts[fault] > 0 for fault in FAULTS)
    assert_every_result_once(address, CONVERSATIONS)
    with refold.open(address) as store:
        plan = plan_of(store, said["variant_id"])
    assert plan is not None and len(plan.versions) == CONVERSATIONS
    for _ in range(decisions):
        counted("decisions replayed on a cluster")


def test_a_budget_is_held_over_all_workers(cluster: RayCluster, address: str) -> None:
    """Whoever asks: what was spent together is within it, and the run says why it ended."""
    with faulty() as server:
        said = ended(begun(address, cluster.address, server.url, "--max-tokens", "2500"), code=1)
        assert said["stopped"].startswith("the budget is spent: of 2,500 tokens")
        spent = said["usage"]["input_tokens"] + said["usage"]["output_tokens"]
        assert 0 < spent <= 2_500
        whole = ended(begun(address, "", server.url))
        assert (whole["kept"], whole["answered"]) == (said["answered"], 2 * FEW - said["answered"])
        assert server.counts()["again"] == 0
    assert_every_result_once(address, FEW)


def test_with_who_grants_gone_nobody_asks_any_more(cluster: RayCluster, address: str) -> None:
    """The run ends, and says that it can be started again; what is missing is then asked."""
    with faulty() as server:
        slowly = ("--requests-per-minute", "120")
        before = cluster.workers("Grants")  # Of a run that has ended it may be there yet.
        child = begun(address, cluster.address, server.url, *slowly)
        once(child, lambda: server.counts()["answered"] > 2)
        kill(at_work(child, cluster, "Grants", before))
        said = ended(child, code=3)
        assert "who grants requests is gone" in said["stderr"]
        asked = server.counts().total()
        assert asked < 2 * FEW
        ended(begun(address, "", server.url))
        assert server.counts()["again"] == 0
    assert_every_result_once(address, FEW)


def test_ctrl_c_ends_all_workers_and_keeps_what_they_were_told(
    cluster: RayCluster, address: str
) -> None:
    """Nothing goes on behind the back of who interrupts, and nothing is asked again."""
    with faulty() as server:
        child = begun(address, cluster.address, server.url, "--requests-per-minute", "120")
        once(child, lambda: server.counts()["answered"] > 2)
        child.send_signal(signal.SIGINT)
        said = ended(child, code=130)
        assert "answered and kept" in said["stderr"]
        asked = server.counts()["answered"]
        whole = ended(begun(address, "", server.url))
        assert whole["kept"] == asked
        assert server.counts()["again"] == 0
    assert_every_result_once(address, FEW)


REFUSED = """
import sys, threading, refold
from refold.ray import OnRay
from refold.replay import Variant, replay

class Open:
    def __init__(self):
        self.held = threading.Lock()

    def __call__(self, request):
        return hello(request)

def hello(request):
    return {"role": "assistant", "content": "Hello."}

on = OnRay(sys.argv[1], sys.argv[2])
with refold.open(sys.argv[1]) as store:
    try:
        replay(store, ["call-1"], Variant(label="x"), Open(), on=on)
    except refold.RefoldError as error:
        print(error)
    print(replay(store, ["call-1"], Variant(label="x"), hello, on=on).answered)
"""


def test_a_candidate_that_cannot_be_sent_is_refused_and_a_function_is_asked(
    cluster: RayCluster, address: str
) -> None:
    """What holds a file or a connection stays where it is; a function goes along by its code."""
    done = subprocess.run(
        [sys.executable, "-c", REFUSED, address, cluster.address],
        capture_output=True,
        env=quiet(tempfile.gettempdir()),
        text=True,
    )
    why, answered = done.stdout.splitlines()
    assert "cannot be sent to other machines" in why and "ChatEndpoint" in why
    assert answered == "2", done.stderr


@pytest.mark.parametrize("file", ["calls.db", "sqlite:///calls.db", "calls.jsonl", "memory:"])
def test_a_store_that_machines_cannot_share_is_refused(file: str) -> None:
    """Before anything is asked, with what to do."""
    with pytest.raises(UsageError, match=r"refold copy FILE postgresql://"):
        OnRay(file)


def test_an_address_that_is_none_of_ray_is_refused() -> None:
    """Whoever gives that of something else is told how one looks."""
    with pytest.raises(UsageError, match="ray://HOST:PORT"):
        OnRay("postgresql://here/agents", "here:6379")


def test_protected_values_do_not_leave_for_other_machines() -> None:
    """They could not be read there, and a model would be asked about what is not there."""
    address = schema_of_its_own()
    with (
        refold.open(address, privacy=Privacy(new_keyring(), CONVERSATION)) as store,
        pytest.raises(UsageError, match="run it here"),
    ):
        replay(store, [], Variant(label="x"), as_recorded, on=OnRay(address))


def test_a_cluster_of_this_machine_alone(address: str) -> None:
    """Without an address there is one for the run, which ends with it."""
    with faulty() as server:
        assert ended(begun(address, "ray", server.url))["answered"] == 2 * FEW
    assert_every_result_once(address, FEW)
