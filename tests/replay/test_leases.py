"""Runs of one variant at the same time share the work: each request is made, and paid for, once."""

import asyncio
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

import refold
from refold.conversation.events import UserUtterance
from refold.process import this_process
from refold.replay import Action, ChatRequest, ModelFailure, Variant, compare, replay
from refold.replay.events import ReplayLeased
from refold.replay.judge import Judge, Judgements
from refold.replay.leases import APART_S, LEASE_S, STREAM, Leases
from tests.replay.stories import (
    BRANCH,
    CONFIGURED,
    as_message,
    as_recorded,
    asks_tool,
    record,
    run,
    tells,
)
from tests.support.chat_server import Body, ChatServer
from tests.support.postgres import schema_of_its_own

WORKERS = 3
CONVERSATIONS = 48
DECISIONS = 2 * CONVERSATIONS
CHILD = """
import json, sys, refold, refold.process
from refold.engine.store import system_clock
from refold.replay import ChatEndpoint, Variant, replay, select

def planned(done, *_):
    if not done and not went:
        went.append(print("planned", flush=True) or sys.stdin.readline())

went = []
if sys.argv[3:]:  # As on a machine of its own, whose clock is so many seconds ahead.
    refold.process._numbering = lambda: sys.argv[3]
    clock = lambda: system_clock() + int(sys.argv[3]) * 1_000_000
else:
    clock = system_clock
with refold.open(sys.argv[1], clock=clock) as store:
    streams = select(store, category="call")
    endpoint = ChatEndpoint(sys.argv[2])
    said = replay(store, streams, Variant(label="both"), endpoint, workers=3, progress=planned)
print(json.dumps([said.kept, said.answered, said.failed]))
"""
JUDGING = """
import json, sys, refold
from refold.replay import ChatEndpoint, Variant, select
from refold.replay.judge import Judge
from refold.replay.judging import ask_judge

with refold.open(sys.argv[1]) as store:
    streams, answers = select(store, category="call"), [(Variant(label="both"), None)]
    print("planned", flush=True), sys.stdin.readline()
    endpoint = ChatEndpoint(sys.argv[2])
    said = ask_judge(store, streams, answers, Judge(model="judge-1"), endpoint)
print(json.dumps([said.chose, said.failed]))
"""


# -- two processes ---------------------------------------------------------------------------------


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A store of conversations of which no two decisions are alike."""
    path = tmp_path / "calls.db"
    fill(path)
    return path


def fill(address: Path | str) -> None:
    with refold.open(address) as store:
        for n in range(CONVERSATIONS):
            opening = [CONFIGURED, UserUtterance(text=f"Where is booking B{n}?")]
            record(store, f"call-{n}", opening, asks_tool(), tells())


def started(
    address: Path | str, server: ChatServer, *ahead_s: str, script: str = CHILD
) -> "subprocess.Popen[str]":
    """A run in a process of its own that has planned, and waits for a word."""
    child = subprocess.Popen(
        [sys.executable, "-c", script, str(address), server.base_url, *ahead_s],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert child.stdout is not None
    assert child.stdout.readline() == "planned\n"
    return child


def go(child: "subprocess.Popen[str]") -> None:
    assert child.stdin is not None
    child.stdin.write("go\n")
    child.stdin.flush()


def ended(child: "subprocess.Popen[str]") -> list[int]:
    """What it kept, answered, and failed at."""
    out, _ = child.communicate(timeout=60)
    assert child.returncode == 0
    counts: list[int] = json.loads(out)
    return counts


def times_asked(server: ChatServer) -> list[int]:
    """How often each request came that came at all, the most first."""
    counted = Counter(json.dumps(body, sort_keys=True) for body in server.requests)
    return sorted(counted.values(), reverse=True)


def unhurried(body: Body) -> Body:
    time.sleep(0.005)
    return as_message(body)


@pytest.mark.parametrize("database", ["SQLite", "PostgreSQL"])
def test_two_processes_share_what_is_to_be_asked(tmp_path: Path, database: str) -> None:
    """Both have planned it all; each request is made once, and each finds the other's answers.

    On PostgreSQL neither can see whether the other runs, as on two machines with wrong clocks.
    """
    on_two = database == "PostgreSQL"
    address = schema_of_its_own() if on_two else tmp_path / "calls.db"
    fill(address)
    with ChatServer(unhurried) as server:
        children = [started(address, server, *[ahead_s] * on_two) for ahead_s in ("0", "300")]
        for child in children:
            go(child)
        said = [ended(child) for child in children]
        assert times_asked(server) == [1] * DECISIONS
    assert sum(answered for _, answered, _ in said) == DECISIONS
    assert all(kept + answered == DECISIONS for kept, answered, _ in said)
    assert all(answered > 0 for _, answered, _ in said)
    with refold.open(address) as store:
        assert_whole(store)


def test_two_processes_share_what_a_judge_is_asked(path: Path) -> None:
    """Each question is paid once, and both find all that it said."""

    def other_words(request: ChatRequest) -> Action:
        return Action(text=f"Other words at {request.at}.")

    def judged(body: Body) -> Body:
        time.sleep(0.005)
        return {"role": "assistant", "content": '{"better": 1}'}

    with refold.open(path) as store:
        streams = [f"call-{n}" for n in range(CONVERSATIONS)]
        replay(store, streams, Variant(label="both"), other_words)
    with ChatServer(judged) as server:
        children = [started(path, server, script=JUDGING) for _ in range(2)]
        for child in children:
            go(child)
        said = [ended(child) for child in children]
        assert times_asked(server) == [1] * 2 * DECISIONS
    assert sum(chose for chose, _ in said) == 2 * DECISIONS
    assert all(chose > 0 and not failed for chose, failed in said)
    with refold.open(path) as store:
        judge = Judge(model="judge-1")
        found = compare(store, streams, Variant(label="both"), judge=judge)
        assert len(Judgements(store, judge).choices) == 2 * DECISIONS
        told = [one.scores["judge"] for of in found.conversations for one in of.decisions]
        assert told == [0.5] * DECISIONS
        assert list(store.read(STREAM))[-1].data["branches"] == []


def test_what_a_killed_run_held_is_taken_over(path: Path) -> None:
    """At once, for its process is gone: no more is asked again than was under way."""
    children: list[subprocess.Popen[str]] = []
    begun, lock = threading.Event(), threading.Lock()
    served = 0

    def killing(body: Body) -> Body:
        nonlocal served
        with lock:
            served += 1
            if served == DECISIONS // 3 and begun.wait(10):
                children[0].kill()
                children[0].wait()
        return unhurried(body)

    with ChatServer(killing) as server:
        children += [started(path, server), started(path, server)]
        begun.set()
        began_s = time.monotonic()
        for child in children:
            go(child)
        kept, answered, failed = ended(children[1])
        assert time.monotonic() - began_s < LEASE_S
        asked = times_asked(server)
        children[0].communicate()
    assert (kept + answered, failed) == (DECISIONS, 0)
    assert len(asked) == DECISIONS
    assert sum(asked) - DECISIONS <= WORKERS
    with refold.open(path) as store:
        assert_whole(store)


def assert_whole(store: refold.Store) -> None:
    """Every decision has its one answer, and each branch its end."""
    streams = [f"call-{n}" for n in range(CONVERSATIONS)]
    figures = compare(store, streams, Variant(label="both")).figures
    assert (figures.counts["same"], figures.decisions) == (DECISIONS, DECISIONS)
    types = Counter(event.type for event in store.read_all(categories=["call~"]))
    assert types["model.response"] == DECISIONS
    assert types["replay.started"] == types["replay.finished"] == CONVERSATIONS
    assert list(store.read(STREAM))[-1].data["branches"] == []


def test_a_run_gives_signs_of_life_while_it_waits_for_an_answer(
    store: refold.Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However long one takes; the last of them says that nothing is held any more."""
    monkeypatch.setattr("refold.replay.leases.SIGN_S", 0.001)
    record(store, "call-1")

    def signs() -> list[list[str]]:
        return [event.data["branches"] for event in store.read(STREAM)]

    async def slow(request: ChatRequest) -> Action:
        before = len(signs())
        while len(signs()) < before + 3:
            await asyncio.sleep(0.001)
        return as_recorded(request)

    run(store, slow, workers=1)
    *during, last = signs()
    assert len(during) >= 6
    assert {*map(tuple, during)} <= {(BRANCH,), ()}
    assert during[:4] == [[BRANCH]] * 4
    assert last == []


def test_what_another_run_gave_up_is_asked_by_the_one_that_waited(store: refold.Store) -> None:
    """It is free again with the end of that run, answered or not."""
    for n in range(3):
        record(store, f"call-{n}")
    streams = [f"call-{n}" for n in range(3)]
    waiting, asked = threading.Event(), list[str]()

    def refuses(request: ChatRequest) -> Action:
        waiting.wait(10)
        raise ModelFailure("no", kind="refused", status=400)

    def answers(request: ChatRequest) -> Action:
        asked.append(request.at)
        return as_recorded(request)

    def told(done: int, *_: object) -> None:
        waiting.set()

    first = threading.Thread(target=run, args=(store, refuses, *streams))
    first.start()
    while store.head(STREAM) < 0:
        time.sleep(0.001)
    said = run(store, answers, *streams, progress=told)
    first.join()
    assert (said.answered, said.kept, said.failed) == (6, 0, 0)
    assert len(asked) == 6


def test_a_run_tells_of_what_another_answered_meanwhile(store: refold.Store) -> None:
    """Its progress ends with nothing left to do, and not where it began."""
    record(store, "call-1")
    waiting, told = threading.Event(), list[tuple[int, int]]()

    def answers(request: ChatRequest) -> Action:
        waiting.wait(10)
        return as_recorded(request)

    def tell(done: int, total: int, *_: object) -> None:
        told.append((done, total))
        waiting.set()

    first = threading.Thread(target=run, args=(store, answers))
    first.start()
    while store.head(STREAM) < 0:
        time.sleep(0.001)
    said = run(store, answers, progress=tell)
    first.join()
    assert (said.answered, said.kept) == (0, 2)
    assert told == [(0, 2), (0, 0)]


# -- leases by themselves --------------------------------------------------------------------------


class Clock:
    """The store's clock, as a test sets it."""

    now_us = 1_000_000_000_000

    def __call__(self) -> int:
        return self.now_us

    def pass_s(self, seconds: float) -> None:
        self.now_us += int(seconds * 1_000_000)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(clock: Clock) -> Iterator[refold.Store]:
    with refold.open("memory:", clock=clock) as opened:
        yield opened


def test_what_one_holds_another_sees_until_it_gives_it_back(store: refold.Store) -> None:
    """What was given back is told with the next sign of life; at the end all of it is free."""
    one, other = Leases(store), Leases(store)
    assert one.of_others() == set()
    assert one.take(["a", "b"])
    assert one.of_others() == set()
    assert other.of_others() == {"a", "b"}
    one.give_back(["a"])
    one.renew()
    assert other.of_others() == {"b"}
    one.release()
    assert other.of_others() == set()
    other.release()


def test_nothing_is_taken_on_what_was_seen_before_another_spoke(store: refold.Store) -> None:
    """Of two that look at the same moment one takes it, and the other looks again."""
    one, other = Leases(store), Leases(store)
    assert one.of_others() == other.of_others() == set()
    assert one.take(["a"])
    assert not other.take(["a"])
    assert other.of_others() == {"a"}
    assert other.take(["b"])
    for each in (one, other):
        each.release()


def test_a_run_that_is_over_takes_nothing_more(store: refold.Store) -> None:
    """A thread of it may still be at it, and nobody would ever give that back."""
    late, other = Leases(store), Leases(store)
    late.of_others()
    late.release()
    late.take(["a"])
    assert other.of_others() == set()
    other.release()


def says(store: refold.Store, holder: str, *branches: str) -> None:
    """Another run says what it holds."""
    store.append(STREAM, [ReplayLeased(holder, [*branches])])


@pytest.mark.parametrize("is_here", [True, False])
def test_what_a_process_held_that_is_gone_is_free_at_once(
    store: refold.Store, is_here: bool
) -> None:
    """Where it can be seen: not in another container, though it may say the same name of a host."""
    where = this_process().rsplit(":", 2)[0] if is_here else socket.gethostname()
    with subprocess.Popen([sys.executable, "-c", ""]) as child:
        child.wait()
    for number in (child.pid, os.getpid()):
        says(store, f"{where}:{number}:1:x", f"held by {number}")
    says(store, f"{this_process()}:x", "held by a run of this process that is over")
    looking = Leases(store)
    assert len(looking.of_others()) == (0 if is_here else 2)
    looking.release()


@pytest.fixture
def own_clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The clock by which a run counts how long another is silent."""
    clock = Clock()
    monkeypatch.setattr("refold.replay.leases.monotonic", lambda: clock() / 1_000_000)
    return clock


def test_what_a_silent_run_held_is_free_after_its_time(
    store: refold.Store, own_clock: Clock
) -> None:
    """A sign of life begins the time anew, and whoever has just come waits as long."""
    looking = Leases(store)
    for silent_s in (LEASE_S - 1, LEASE_S - 1):
        says(store, "another.example:7:1:x", "a")
        assert looking.of_others() == {"a"}
        own_clock.pass_s(silent_s)
        assert looking.of_others() == {"a"}
    own_clock.pass_s(2)
    late = Leases(store)
    assert looking.of_others() == set()
    assert late.of_others() == {"a"}
    own_clock.pass_s(LEASE_S)
    assert late.of_others() == set()
    for each in (looking, late):
        each.release()


@pytest.mark.parametrize("ahead_s", [70.0, APART_S - 1, -70.0, 1 - APART_S])
def test_a_clock_that_is_wrong_frees_nothing(
    store: refold.Store, clock: Clock, ahead_s: float
) -> None:
    """Neither one that is ahead of the clock of the run that holds it, nor one behind."""
    says(store, "another.example:7:1:x", "a")
    clock.pass_s(ahead_s)
    looking = Leases(store)
    assert looking.of_others() == {"a"}
    assert looking.take(["b"])
    looking.release()


def test_a_run_that_ended_long_ago_without_a_word_is_not_waited_for(
    store: refold.Store, clock: Clock
) -> None:
    """What comes after its last sign can be taken."""
    says(store, "another.example:7:1:x", "a")
    clock.pass_s(APART_S + 1)
    looking = Leases(store)
    assert looking.of_others() == set()
    assert looking.take(["a"])
    looking.release()
