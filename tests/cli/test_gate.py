"""The gate, from a plan to an exit code, on all 200 real conversations of tau-bench (MIT).

A server on this machine, in a process of its own, answers with what gpt-4o did in another trial of
the same task; told to by its prompt, it says nothing at all, or is cut off after twenty characters.
The tests share a store: what one of them asked is not asked again.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

import refold
from refold.conversation.openai_chat import from_messages
from refold.replay import replays
from refold.replay.plan import plan_of
from tests.cli.running import Ran, Refold
from tests.support.chat_server import Body, ChatServer
from tests.support.nearest_prefix import CONVERSATIONS, CUT, MUTE

FEW, ALL = 4, 200
OF_ALL = ("--category", "airline", "--model", "openai:gpt-4o", "--workers", "8")
ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.skipif(
    not CONVERSATIONS.exists(), reason=f"{CONVERSATIONS.name} is not here"
)


@pytest.fixture(scope="module")
def agent() -> Iterator[str]:
    """The base URL of the agent."""
    command = [sys.executable, "-m", "tests.support.nearest_prefix"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield process.stdout.readline().strip()
        process.kill()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the recorded conversations are, and what was asked of them."""
    made = tmp_path_factory.mktemp("gate")
    with refold.open(made / "refold.db", synchronous="NORMAL") as store:
        for trial in json.loads(CONVERSATIONS.read_text()):
            stream = f"airline-{trial['task_id']}-{trial['trial']}"
            store.append(stream, from_messages(trial["traj"]))
        assert len(list(store.streams())) == ALL
    return made


@pytest.fixture
def gate(run: Refold, agent: str, folder: Path) -> Any:
    """`refold replay` with the recorded conversations, and what a gate is asked."""
    os.chdir(folder)  # What runs around every test goes back.

    def asked(*args: str) -> Ran:
        return run("replay", *args, "--base-url", agent)

    return asked


@pytest.mark.parametrize(("prompt", "level"), [(MUTE, "empty"), (CUT, "truncated")])
def test_an_agent_that_is_broken_is_stopped(gate: Any, prompt: str, level: str) -> None:
    """Worse by broken answers, whatever it does else: exit 1, and the page says so first."""
    question = ("--prompt", prompt, "--fail-on", "worse", "--margin", "2pt")
    done = gate(*OF_ALL, *question, "--report", f"{level}.html")
    assert done.code == 1, done
    assert "Do not ship it: worse in answers that are broken." in done.out
    told = "answers that are broken: 100.0 % with the candidate, 0.0 % with the record"
    assert told in done.out
    assert f"  {level} " in done.out
    page = Path(f"{level}.html").read_text()
    assert "<h1>Do not ship it: worse" in page
    assert "200 recorded conversations with 2,454 decisions" in re.sub(r"<[^>]+>", "", page)


def test_the_agent_against_itself_passes_with_all_and_not_with_few(gate: Any) -> None:
    """Under another prompt the same answers: 0 within the margin, 4 with too few to say so."""
    question = ("--fail-on", "worse", "--margin", "2pt", "--control", "--prompt", "Be as you are.")
    # The record names no model: who changes nothing but that has nobody to be set against.
    assert gate(*OF_ALL, "--control", "--fail-on", "worse").code == 2
    few = [f"airline-{number}-0" for number in range(FEW)]
    unsure = gate(*few, "--model", "openai:gpt-4o", *question, "--report", "few.html")
    assert unsure.code == 4, unsure
    assert "more conversations would tell" in unsure.out
    assert "more conversations would tell.</h1>" in Path("few.html").read_text()
    done = gate(*OF_ALL, *question, "--junit", "out.xml", "--summary", "out.md")
    assert done.code == 0, done
    assert "Ship it if you like" in done.out
    suite = ElementTree.parse("out.xml").getroot()[0]
    assert suite.attrib["failures"] == suite.attrib["errors"] == "0"
    assert "Ship it if you like" in Path("out.md").read_text()
    with refold.open("refold.db", mode="read") as store:
        plans = [plan_of(store, one.variant.id) for one in replays(store)]
    terms = {plan.variant.prompt: plan.terms for plan in plans if plan is not None}
    asked = terms["Be as you are."]
    assert (terms[None].role, asked.role) == ("control", "candidate")
    assert (asked.primary, asked.margin) == ("broken_answers", 0.02)


def test_a_changed_agent_is_stopped_only_where_that_is_asked(gate: Any) -> None:
    """Another thing done at most decisions is no harm by itself; `--fail-on changed` stops it."""
    question = ("--prompt", CUT, "--fail-on", "changed")
    done = gate(*OF_ALL, *question, "--inconclusive", "pass")
    assert done.code == 1, done
    assert "Changed more than noise" in done.out


def test_a_gate_that_cannot_be_is_refused_before_anything_is_asked(run: Refold, gate: Any) -> None:
    """Metrics that are none, margins without a unit, thresholds that say nothing: exit 2."""
    assert gate
    for wrong in (
        ("--primary", "happiness"),
        ("--margin", "2"),
        ("--margin", "0pt"),
        ("--guardrail", "cost=0USD"),
        ("--primary", "outcome"),
        ("--cluster", "costumer"),
        ("--guardrail", "cost=2pt"),
        ("--fail-on", "kost>0.05"),
        ("--fail-on", "sadness"),
        ("--fail-on", "worse", "--junit", "gone/out.xml"),
        ("--fail-on", "worse", "--junit", "out.html"),
    ):
        with ChatServer(_never) as server:
            done = run("replay", *OF_ALL, *wrong, "--base-url", server.base_url)
        assert done.code == 2, (wrong, done)
        assert not server.requests


def _never(_body: Body) -> Body:
    raise AssertionError("nothing may be asked")


def test_the_gate_reads_what_it_asks_from_a_file(run: Refold, gate: Any, agent: str) -> None:
    """`refold gate` is told by [gate] of refold.toml; whom to ask, a found file may not say."""
    assert gate
    Path("mute.md").write_text(MUTE)
    Path("refold.toml").write_text(
        f"""
        [gate]
        category = "airline"
        model = "openai:gpt-4o"
        prompt = "mute.md"
        fail-on = ["worse"]
        margin = "2pt"
        workers = 8
        base-url = "{agent}"
        summary = "gate.md"
        """
    )
    refused = run("gate")
    assert refused.code == 2
    assert "names whom to ask" in refused.err
    done = run("gate", "--config", "refold.toml")
    assert done.code == 1, done
    assert "Do not ship it" in Path("gate.md").read_text()
