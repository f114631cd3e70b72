"""A replay on a cluster of three machines: every result once, whatever is killed.

``make soak-ray`` loses workers and machines of a run of 10,000 conversations.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

import refold
from refold.errors import UsageError
from refold.freerun.user import STOP
from refold.privacy import CONVERSATION, Privacy
from refold.privacy.keyring import new_keyring
from refold.ray import OnRay
from refold.replay import Variant, replay
from refold.replay.plan import plan_of
from tests.freerun.courses import record
from tests.replay.stories import as_recorded
from tests.support.chat_server import Body, ChatServer, completion_of
from tests.support.faulty_server import FAULTS, faulty
from tests.support.many import assert_every_result_once, recorded, results_broken
from tests.support.postgres import schema_of_its_own
from tests.support.ray_cluster import RayCluster, kill, quiet, ray_cluster
from tests.support.soak import bound, counted

FREE = str(Path(__file__).with_name("free_script.py"))
COURSES = 6
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
    """The command, under way, on a cluster as seen from outside or inside, or ("") here."""
    is_inside = on[:1].isdigit()
    asked = ["--db", address, "--base-url", server_url, "--workers", str(WORKERS)]
    asked += ["--on", "ray" if is_inside else on] if on else []
    what = ["--category", "call", "--label", "many", "--timeout", "5", "--json"]
    return subprocess.Popen(
        [sys.executable, "-m", "refold", "replay", *asked, *what, *more],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=quiet(tempfile.gettempdir(), on if is_inside else None) | {"REFOLD_API_KEY": "-"},
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


def user(body: Body) -> Body:
    """Who speaks after a divergence: says something a few times, then ends."""
    own = sum(message["role"] == "assistant" for message in body["messages"])
    return {"role": "assistant", "content": f"That is all. {STOP}" if own > 3 else "Yes, room 4."}


def test_a_free_run_comes_to_the_same_as_on_one_machine(cluster: RayCluster) -> None:
    """To the byte of its verdict and of every branch, and nothing outside was reached there.

    Whoever speaks after a divergence is a model; what is not on record is answered by policies of a
    file, one of them a simulator and one the tool itself.
    """
    here, there = schema_of_its_own(), schema_of_its_own()
    for address in (here, there):
        with refold.open(address) as store:
            for number in range(COURSES):
                record(store, f"call-{number}")
    with ChatServer(user) as model:
        done = subprocess.run(
            [sys.executable, FREE, here, there, model.base_url],
            capture_output=True,
            env=quiet(tempfile.gettempdir(), cluster.inside),
            text=True,
        )
    one, other = map(json.loads, done.stdout.splitlines()) if done.stdout else ({}, done.stderr)
    assert one["plans"] == [["replay.planned", "replay.contained"]] * 2
    assert len(one["branches"]) == 2 * COURSES
    for contained in (*one["contained"], *other["contained"]):
        assert list(contained.pop("connections")) == contained["allowed"]
        assert contained["live"] == {"look": 1}
        (refused,) = contained["refused"]
        assert refused["where"].startswith(f"{FREE}:")
    assert one == other


@pytest.mark.parametrize(
    ("mode", "conversations", "machine"),
    [("next-step", bound(150, 10_000), 2), ("free-run", bound(50, 2_000), 1)],
)
def test_a_worker_is_lost_and_a_machine_and_every_result_is_there_once(
    cluster: RayCluster, mode: str, conversations: int, machine: int
) -> None:
    """5 % of the requests fail at first, in every way. No more is asked again than was under way.

    What the lost had answered is kept, and what was held for them does not keep others waiting. The
    plan of a free run says in the end what was reached, and that some could not tell any more.
    """
    address, decisions = schema_of_its_own(), 2 * conversations
    recorded(address, conversations)
    with faulty() as server:
        bounded = ("--max-tokens", str(10**12), "--mode", mode)
        on = cluster.address if mode == "next-step" else cluster.inside
        child = begun(address, on, server.url, *bounded)
        answered: Callable[[], int] = lambda: server.counts()["answered"]  # noqa: E731
        once(child, lambda: answered() >= decisions // 4)
        kill(at_work(child, cluster, "ask_part"))
        once(child, lambda: answered() >= decisions // 2)
        cluster.kill_machine(machine)
        said, counts = ended(child), server.counts()
    with refold.open(address) as store:
        plan = plan_of(store, said["variant_id"])
        *_, last = store.read(f"replay~plan-{said['variant_id']}")
    assert plan is not None
    broken = results_broken(address, conversations) | {
        "decisions that the summary does not count": decisions - said["kept"] - said["answered"],
        "decisions that failed": said["failed"],
        "decisions that were never asked": decisions - counts["different"],
        "requests asked again, beyond those under way": max(0, counts["again"] - 2 * WORKERS),
        "conversations that the plan has not": conversations - len(plan.versions),
    }
    for what, times in {**broken, f"decisions on a cluster, {mode}": decisions}.items():
        counted(what, times)
    assert not any(broken.values()), broken
    if mode == "next-step":
        assert all(counts[fault] > 0 for fault in FAULTS)
    else:
        assert sum(counts[fault] for fault in FAULTS) > decisions / 50
        assert last.data["allowed"] == [server.url.split("/")[2]] == [*last.data["connections"]]
        assert last.data["lost"] >= 1


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


def test_the_budget_of_a_free_run_is_that_of_who_plays_the_user_too(cluster: RayCluster) -> None:
    """Candidate and user are asked by every worker, and all of it together is within the bound."""
    address, spent = schema_of_its_own(), Counter[str]()
    with refold.open(address) as store:
        for number in range(FEW):
            record(store, f"call-{number}")

    def answer(body: Body) -> Body:
        message = {"role": "assistant", "content": "Would you like another day?"}
        spent[body["model"]] += completion_of(body, message)["usage"]["total_tokens"]
        return message

    with ChatServer(answer) as server:
        free = ("--mode", "free-run", "--user", "openai:user", "--max-tokens", "20000")
        said = ended(begun(address, cluster.inside, server.base_url, *free), code=1)
    assert said["stopped"].startswith("the budget is spent: of 20,000 tokens")
    assert min(spent["small"], spent["user"]) > 0
    assert 10_000 < spent.total() <= 20_000


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

inside, on = OnRay(sys.argv[1]), OnRay(sys.argv[1], sys.argv[2])
with refold.open(sys.argv[1]) as store:
    for at in (inside, on):
        try:
            replay(store, ["call-1"], Variant(label="x"), Open(), on=at)
        except refold.RefoldError as error:
            print(error)
    print(replay(store, ["call-1"], Variant(label="x"), hello, on=on).answered)
"""


def test_a_candidate_that_cannot_be_sent_is_refused_and_a_function_is_asked(
    cluster: RayCluster, address: str
) -> None:
    """What holds a file or a connection stays where it is; a function goes along by its code.

    Neither Ray nor refold shows the address of the store then, in which a password may be.
    """
    done = subprocess.run(
        [sys.executable, "-c", REFUSED, address, cluster.address],
        capture_output=True,
        env=quiet(tempfile.gettempdir(), cluster.inside),
        text=True,
    )
    *refused, answered = done.stdout.splitlines()
    for why in refused:
        assert "cannot be sent to other machines" in why and "ChatEndpoint" in why
    assert (len(refused), answered) == (2, "2"), done.stderr
    assert address not in done.stdout + done.stderr


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
