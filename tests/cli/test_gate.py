"""The gate, from a plan to an exit code, on real conversations through a server on this machine.

It answers with what gpt-4o did in another trial of the same task (tau-bench, MIT); told to by its
prompt, it says nothing at all, or is cut off after twenty characters.
"""

from __future__ import annotations

import json
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
from tests.support.nearest_prefix import CONVERSATIONS, NearestPrefix

MANY, FEW = 60, 4
MUTE, CUT = "Say nothing.", "Be cut off."
OF_MANY = ("--category", "airline", "--model", "openai:gpt-4o", "--workers", "8")

pytestmark = pytest.mark.skipif(
    not CONVERSATIONS.exists(), reason=f"{CONVERSATIONS.name} is not here"
)


class Agent(ChatServer):
    """The nearest answer; nothing, or the beginning of it, where the prompt asks for that."""

    def respond(self, body: Body, headers: dict[str, str]) -> tuple[int, bytes, dict[str, str]]:
        """As its prompt says."""
        status, content, more = super().respond(body, headers)
        prompt, said = body["messages"][0]["content"], json.loads(content)
        choice = said["choices"][0]
        if prompt == MUTE:
            choice["message"] = {"role": "assistant", "content": ""}
        if prompt == CUT:
            choice["finish_reason"] = "length"
            choice["message"]["content"] = (choice["message"].get("content") or "")[:20]
        return status, json.dumps(said).encode(), more


@pytest.fixture(scope="module")
def agent() -> Iterator[Agent]:
    """The server, which keeps nothing between the tests."""
    with Agent(NearestPrefix(json.loads(CONVERSATIONS.read_text())).answer) as server:
        yield server


@pytest.fixture
def gate(run: Refold, agent: Agent) -> Any:
    """`refold replay` with the recorded conversations, and what a gate is asked."""
    with refold.open("refold.db", synchronous="NORMAL") as store:
        for trial in json.loads(CONVERSATIONS.read_text())[:MANY]:
            stream = f"airline-{trial['task_id']}-{trial['trial']}"
            store.append(stream, from_messages(trial["traj"]))

    def asked(*args: str) -> Ran:
        return run("replay", *args, "--base-url", agent.base_url)

    return asked


@pytest.mark.parametrize(("prompt", "level"), [(MUTE, "empty"), (CUT, "truncated")])
def test_an_agent_that_is_broken_is_stopped(gate: Any, prompt: str, level: str) -> None:
    """Worse by broken answers, whatever it does else: exit 1, and the page says so first."""
    done = gate(*OF_MANY, "--prompt", prompt, "--fail-on", "worse", "--report", "out.html")
    assert done.code == 1, done
    assert "Do not ship it: worse in answers that are broken." in done.out
    assert f"  {level} " in done.out
    assert "<h1>Do not ship it: worse" in Path("out.html").read_text()


def test_the_agent_against_itself_passes_with_enough_and_not_with_few(gate: Any) -> None:
    """Under another prompt the same answers: 0 within the margin, 4 with too few to say so."""
    question = ("--fail-on", "worse", "--margin", "10pt", "--control", "--prompt", "Be as you are.")
    # The record names no model: who changes nothing but that has nobody to be set against.
    assert gate(*OF_MANY, "--control", "--fail-on", "worse").code == 2
    few = [f"airline-{number}-0" for number in range(FEW)]
    unsure = gate(*few, "--model", "openai:gpt-4o", *question)
    assert unsure.code == 4, unsure
    assert "more conversations would tell" in unsure.out
    done = gate(*OF_MANY, *question, "--junit", "out.xml", "--summary", "out.md")
    assert done.code == 0, done
    assert "Ship it if you like" in done.out
    suite = ElementTree.parse("out.xml").getroot()[0]
    assert suite.attrib["failures"] == suite.attrib["errors"] == "0"
    assert "Ship it if you like" in Path("out.md").read_text()
    with refold.open("refold.db", mode="read") as store:
        plans = [plan_of(store, one.variant.id) for one in replays(store)]
    terms = {plan.terms.role: plan.terms for plan in plans if plan is not None}
    assert terms.keys() == {"control", "candidate"}
    assert terms["candidate"].primary == "broken_answers"
    assert terms["candidate"].margin == 0.1


def test_a_changed_agent_is_stopped_only_where_that_is_asked(gate: Any, agent: Agent) -> None:
    """Another thing done at most decisions is no harm by itself; `--fail-on changed` stops it."""
    question = ("--prompt", CUT, "--fail-on", "changed")
    done = gate(*OF_MANY, *question, "--inconclusive", "pass")
    assert done.code == 1, done
    assert "Changed more than noise" in done.out


def test_a_gate_that_cannot_be_is_refused_before_anything_is_asked(gate: Any, agent: Agent) -> None:
    """Metrics that are none, margins without a unit, thresholds that say nothing: exit 2."""
    asked = len(agent.requests)
    for wrong in (
        ("--primary", "happiness"),
        ("--margin", "2"),
        ("--primary", "outcome"),
        ("--cluster", "costumer"),
        ("--guardrail", "cost=2pt"),
        ("--fail-on", "kost>0.05"),
        ("--fail-on", "sadness"),
        ("--fail-on", "worse", "--junit", "gone/out.xml"),
        ("--fail-on", "worse", "--junit", "out.html"),
    ):
        done = gate(*OF_MANY, *wrong)
        assert done.code == 2, (wrong, done)
    assert len(agent.requests) == asked


def test_the_gate_reads_what_it_asks_from_a_file(run: Refold, gate: Any, agent: Agent) -> None:
    """`refold gate` is told by [gate] of refold.toml; whom to ask, a found file may not say."""
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
        base-url = "{agent.base_url}"
        summary = "out.md"
        """
    )
    refused = run("gate")
    assert refused.code == 2
    assert "names whom to ask" in refused.err
    done = run("gate", "--config", "refold.toml")
    assert done.code == 1, done
    assert "Do not ship it" in Path("out.md").read_text()
