"""A model that judges, on the command line: it decides, is pinned, and is paid once."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import refold
from refold.conversation.events import AgentConfigured, AgentUtterance, UserUtterance
from refold.replay.plan import plan_of, plans
from tests.cli.running import Ran, Refold
from tests.support.chat_server import BROKEN, Body, ChatServer

CALLS = [f"call-{n}" for n in range(8)]
Judged = Callable[..., Ran]


class Preferring(ChatServer):
    """A judge that prefers the answer which holds a word; neither where both do, or none."""

    wanted = "four"
    nonsense = ""

    def __init__(self) -> None:
        super().__init__(self._judge)

    def _judge(self, body: Body) -> Body:
        if self.nonsense:
            return {"role": "assistant", "content": self.nonsense}
        answers = body["messages"][-1]["content"].split("Answer 1:")[1].split("Answer 2:")
        first, second = (self.wanted in one for one in answers)
        better = 0 if first == second else 1 if first else 2
        return {"role": "assistant", "content": json.dumps({"why": "So.", "better": better})}


@pytest.fixture
def judge() -> Iterator[Preferring]:
    with Preferring() as server:
        yield server


@pytest.fixture
def agent() -> Iterator[ChatServer]:
    """Says the same in other words."""
    with ChatServer(lambda _: {"role": "assistant", "content": "Gate four."}) as server:
        yield server


@pytest.fixture
def judged(run: Refold, agent: ChatServer, judge: Preferring) -> Judged:
    """`refold` with recorded calls and a judge."""
    with refold.open("refold.db") as store:
        for call in CALLS:
            said = [AgentConfigured(model="small"), UserUtterance("Where?")]
            store.append(call, [*said, AgentUtterance("At gate 4.")])

    def asked(command: str, *args: str, **env: str) -> Ran:
        whom = () if command == "compare" else ("--base-url", agent.base_url)
        own = ("--judge", "openai:judge-1", "--judge-url", judge.base_url)
        return run(command, *whom, *own, *args, **env)

    return asked


RUN = ("--category", "call", "--label", "curt")
DECIDES = ("--primary", "judge", "--fail-on", "worse")


@pytest.mark.parametrize(("wanted", "code", "said"), [("four", 0, "Ship it"), ("gate 4", 1, "not")])
def test_a_judge_decides(
    judged: Judged, judge: Preferring, wanted: str, code: int, said: str
) -> None:
    """The gate is shut where it prefers what was recorded; the page says by whom that was found."""
    judge.wanted = wanted
    done = judged("replay", *RUN, *DECIDES, "--report", "out.html")
    assert done.code == code, done
    assert said in done.out.splitlines()[3]
    assert "judge judge-1: 16 choices made, 0 not" in done.err
    assert "Nobody has said whether judge-1 judges well" in " ".join(done.out.split())
    assert "answers that judge-1 prefers" in Path("out.html").read_text()


def test_what_a_judge_said_is_paid_once(judged: Judged, judge: Preferring) -> None:
    """Neither the next run nor a comparison asks it again; another rubric is another judge."""
    assert judged("replay", *RUN, *DECIDES).code == 0
    assert judged("replay", *RUN, *DECIDES).code == 0
    done = judged("compare", *DECIDES, "--json")
    assert done.code == 0, done
    assert len(judge.requests) == 16
    told = json.loads(done.out)["judge"]
    assert (told["judge"]["model"], told["judge"]["endpoint"]) == (
        "judge-1",
        f"{judge.base_url}/chat/completions",
    )
    with refold.open("refold.db", mode="read") as store:
        (plan,) = plans(store)
        assert (plan.terms.primary, plan.terms.judge) == ("judge", told["id"])
        assert plan_of(store, plan.variant.id) == plan
    Path("rubric.md").write_text("Prefer what is short.")
    stricter = judged("compare", "--judge-prompt", "rubric.md", "--json")
    assert json.loads(stricter.out)["judge"]["id"] != told["id"]
    assert len(judge.requests) == 32
    assert judge.requests[-1]["messages"][0]["content"].startswith("Prefer what is short. Reply")


def test_people_are_set_beside_it(judged: Judged, run: Refold) -> None:
    """They score an answer where it stands; every comparison says how far they agree."""
    assert judged("replay", *RUN).code == 0
    told = json.loads(judged("compare", "--json").out)["conversations"]
    branch, _, version = told[0]["decisions"][0]["answer"].partition("@")
    assert run("label", branch, "better=1", "--version", version, "--rater", "ann").code == 0
    done = judged("compare")
    said = " ".join(done.out.split())
    assert "judge-1 agrees with ann in 100% of the 1 answers that both judged" in said


def test_a_judge_has_a_key_of_its_own(judged: Judged, agent: ChatServer, judge: Preferring) -> None:
    """Where it has one, that of the candidate does not go to it."""
    done = judged("replay", *RUN, REFOLD_API_KEY="agents", REFOLD_JUDGE_API_KEY="judges")
    assert done.code == 0, done
    for server, key in ((agent, "agents"), (judge, "judges")):
        assert {one["authorization"] for one in server.headers} == {f"Bearer {key}"}


def test_the_budget_is_for_both(judged: Judged, judge: Preferring) -> None:
    """What the candidate left is the judge's: where it is spent, that is said, and nothing sure."""
    prices = ("--price", "small=1,1", "--price", "judge-1=1,1")
    done = judged("replay", *RUN, *DECIDES, *prices, "--max-cost", "0.002", "--workers", "1")
    assert done.code == 4, done
    assert "stopped: the budget is spent" in done.err
    assert 0 < len(judge.requests) < 16
    assert judged("replay", *RUN, *DECIDES, *prices, "--max-cost", "1").code == 0
    assert len(judge.requests) == 16


def test_the_tokens_are_for_both(judged: Judged, agent: ChatServer, judge: Preferring) -> None:
    """As the money is."""
    done = judged("replay", *RUN, *DECIDES, "--max-tokens", "2000", "--workers", "1")
    assert done.code == 4, done
    assert "stopped: the budget is spent: of 2,000 tokens" in done.err
    assert (len(agent.requests), 0 < len(judge.requests) < 16) == (8, True)


def test_what_was_charged_without_an_answer_is_spent_too(
    judged: Judged, agent: ChatServer, judge: Preferring
) -> None:
    """Or may have been: the judge gets no more than is surely left."""
    agent.faults.extend([BROKEN] * 3)
    prices = ("--price", "small=1,1", "--price", "judge-1=1,1")
    done = judged("replay", *RUN, *DECIDES, *prices, "--max-cost", "0.006", "--workers", "1")
    assert (len(agent.requests), 0 < len(judge.requests) < 16) == (11, True), done
    assert "stopped: the budget is spent: of 0.006 US dollars" in done.err


def test_what_says_nothing_without_a_judge_is_refused(
    run: Refold, judged: Judged, judge: Preferring
) -> None:
    """As everywhere; and a file that was found does not say who judges."""
    assert run("compare", "--judge-prompt", "Be strict.").code == 2
    for odd in ("", "rubric.md"):
        assert "--judge-prompt" in judged("replay", *RUN, "--judge-prompt", odd).err
    assert run("replay", *RUN, "--primary", "judge").code == 2
    assert judged("compare", "--a", "call", "--b", "call").code == 2
    Path("refold.toml").write_text(f'[compare]\njudge-url = "{judge.base_url}"\n')
    assert judged("replay", *RUN).code == 0
    asked = len(judge.requests)
    done = run("compare", "--judge", "openai:judge-2")
    assert (done.code, len(judge.requests)) == (2, asked)
    assert "names who judges" in done.err


def test_a_judge_that_talks_nonsense_is_quoted(judged: Judged, judge: Preferring) -> None:
    """Its words, and the form that is wanted; the same command asks again, and nothing decides."""
    judge.nonsense = "purple monkey\x1b[31m"
    done = judged("replay", *RUN, *DECIDES)
    assert done.code == 4
    assert "judge judge-1: 0 choices made, 16 not" in done.err
    assert """'purple monkey""" in done.err
    assert """is no {"better": 0, 1 or 2}; such are asked for again""" in done.err
    assert "\x1b" not in done.err
