"""Who speaks after a divergence, and the faults that are theirs and not the agent's."""

from __future__ import annotations

import json
import re
from collections import Counter
from typing import Any

import pytest

import refold
from refold.conversation.events import (
    AgentUtterance,
    GoalStated,
    SimulatorFaulted,
    UserUtterance,
)
from refold.conversation.openai_chat import from_messages
from refold.freerun import FreeRun
from refold.freerun.goals import ask_goal, goal_in, goal_of, state_goal
from refold.freerun.user import STOP, HeardLine, checked, rule_user
from refold.replay import Action, ChatEndpoint, ChatRequest, ModelFailure, Variant, compare, replay
from refold.replay.replays import replays
from refold.replay.requests import Asker
from tests.freerun.courses import (
    AS_RECORDED,
    CONFIGURED,
    VARIANT,
    record,
    says,
    scripted,
    walked,
)
from tests.support.chat_server import Body, ChatServer
from tests.support.nearest_prefix import CONVERSATIONS

GOAL = GoalStated(
    text="Cancel the booking B7.",
    facts={"user id": "ann_7", "booking number": "B7"},
    wants=["I want to cancel my booking.", "I need a refund by mail."],
)


def heard(*texts: str) -> list[HeardLine]:
    """A talk, the agent first."""
    return [HeardLine("user" if n % 2 else "agent", text) for n, text in enumerate(texts)]


@pytest.mark.parametrize(
    ("talk", "said", "faults"),
    [
        (["What is your user id?"], "It is ann_7.", []),
        (["What is your user id?"], "It is ann_9.", ["invents_facts"]),
        (["What is your user id?"], "I don't know.", ["forgets_goal"]),
        (["The fee is $50.", "Fine.", "Shall I?"], "Yes, 50 dollars is fine.", []),
        (
            ["How may I help?"],
            "I want to cancel booking B7, made on 2024-05-01.",
            ["invents_facts"],
        ),
        (["How may I help?"], "How can I help you today?", ["answers_for_agent"]),
        (["Done?"], "I have cancelled your booking.", ["answers_for_agent"]),
        (["Can you give me the number?"], STOP, ["forgets_goal", "ends_early"]),
        (
            ["Hello.", "Cancel my booking. And a refund by mail.", "Is there anything else?"],
            f"No. {STOP}",
            [],
        ),
        (["Hello.", "Cancel my booking.", "Done. Anything else?"], f"No. {STOP}", ["forgets_goal"]),
    ],
)
def test_faults_of_a_simulated_user_are_found_by_rules(
    talk: list[str], said: str, faults: list[str]
) -> None:
    """What nobody gave, what it forgot, an early end, the agent's words; and no others."""
    found = checked(GOAL, heard(*talk), said)
    assert [fault.kind for fault in found.faults] == faults
    assert found.is_end == (STOP in said)


def test_the_user_of_rules_says_what_it_wants_and_knows_and_ends() -> None:
    """It is asked, gives, agrees, brings up the rest, and stops: without a fault."""
    talk = heard("How may I help?")
    asked = ["What is your user id?", "Shall I go ahead?", "Done. Anything else?", "Fine.", "Bye."]
    told = []
    for question in asked:
        said = rule_user(GOAL, talk)
        assert checked(GOAL, talk, said).faults == []
        told.append(said)
        if STOP in said:
            break
        talk += [HeardLine("user", said), HeardLine("agent", question)]
    assert told == [
        "I want to cancel my booking.",
        "My user id is ann_7.",
        "Yes, please.",
        "I need a refund by mail.",
        f"That is all, thank you. {STOP}",
    ]


def test_after_a_divergence_the_simulated_user_speaks(tmp_path: Any) -> None:
    """Not before; what it says is an event, in samples, and left out of every rate."""
    with refold.open(tmp_path / "log.db") as store:
        record(store)
        state_goal(store, "call-1", GOAL)
        script = [*AS_RECORDED[:3], says("It is taken. What is your user id?"), says("Sorry. Bye.")]
        compared = walked(store, scripted(script), mode=FreeRun(user="rules"), samples=2)
        assert (compared.mode, compared.samples) == ("simulated-user", [0, 1])
        assert compared.figures.simulator is not None
        assert compared.figures.simulator.turns > 2
        first = compared.conversations[0]
        assert (first.led is not None and first.led.parted) == "other_calls"
        spoken = [e for e in store.read(first.branch) if e.type == "user.utterance"]
        own = [e.data["text"] for e in spoken if "user" in (e.metadata.get("replay") or {})]
        assert own[0] == "My user id is ann_7."
        assert [e.data["text"] for e in spoken[:2]] == ["A room for Tuesday?", "Yes, that one."]
        assert "Thanks." not in [e.data["text"] for e in spoken]
        assert compared.figures.by_decision.trials + compared.figures.not_assessed == 2 * 4


def test_goals_are_proposed_stated_and_edited() -> None:
    """By rules until somebody says otherwise; the last one counts, and twice is once."""
    with refold.open("memory:") as store:
        record(store)
        said = UserUtterance(text="I want to move it. My user ID is ann_7, on May 20.")
        store.append("call-1", [said])
        proposed = goal_of(store.read("call-1"))
        assert proposed.facts == {"user id": "ann_7", "date": "May 20"}
        assert "I want to move it." in proposed.wants
        assert state_goal(store, "call-1", GOAL, actor="ann")
        assert not state_goal(store, "call-1", GOAL)
        assert goal_of(store.read("call-1")) == GOAL
        told = json.dumps({"text": "Move it.", "facts": {"user id": "ann_7"}})
        goal = ask_goal(store.read("call-1"), lambda _: {"content": told}, by="a model")
        assert (goal.text, goal.facts, goal.by) == ("Move it.", {"user id": "ann_7"}, "a model")


@pytest.mark.parametrize(
    ("said", "facts"),
    [
        ("My email is isabel@example.com.", {"email": "isabel@example.com"}),
        ("The code is IDX99, my user id identity_99.", {"code": "IDX99", "user id": "identity_99"}),
        ("Order id: #W5.", {"order id": "W5"}),
        ("Reservation number is 4567", {"reservation number": "4567"}),
    ],
)
def test_a_fact_is_the_whole_word(said: str, facts: dict[str, str]) -> None:
    """A value that begins with "is" or "id" is not cut: the user would be taken to invent it."""
    assert goal_in([said]).facts == facts


@pytest.mark.parametrize("text", ["x" * 300_000, "a-" * 150_000, f"order {' ' * 300_000}y"])
def test_a_file_that_was_said_is_looked_through_once(text: str) -> None:
    """What takes the square of its length is not done in the time that a test has."""
    talk = [HeardLine("user", text), HeardLine("agent", text)]
    assert checked(goal_in([text]), talk, f"B7 and {text}").faults == [
        SimulatorFaulted("invents_facts", "b7")
    ]


# -- the tasks of tau-bench -----------------------------------------------------------------------

EVERY = 5
"""The model behind the endpoint invents a value at every so manieth of its answers."""


class RuleUserServer(ChatServer):
    """A model that plays the user, by OpenAI's protocol: rules, and a fault now and then."""

    def __init__(self) -> None:
        super().__init__(self.play)
        self.played = 0
        self.broken = 0

    def play(self, body: Body) -> Body:
        system, *talk = body["messages"]
        goal = re.search(r"Goal:\n(.*)\n\nFacts:\n(.*)", system["content"], re.DOTALL)
        assert goal is not None
        facts = dict(line[2:].split(": ", 1) for line in goal[2].split("\n") if ": " in line)
        stated = goal_in([goal[1]])
        stated = GoalStated(text=goal[1], facts=facts, wants=stated.wants)
        roles = {"assistant": "user", "user": "agent"}
        said = rule_user(stated, [HeardLine(roles[m["role"]], m["content"]) for m in talk])
        self.played += 1
        if self.played % EVERY == 0:
            self.broken += 1
            said = f"My number is ZZ{9_000_000 + self.played}. {said}"
        return {"role": "assistant", "content": said}


@pytest.mark.skipif(not CONVERSATIONS.exists(), reason="../shared/data/tau-bench is not here")
def test_the_faults_of_two_simulated_users_on_the_50_tasks() -> None:
    """With each task's instructions as the goal: the rules' own rate, and a model's by HTTP."""
    trials = [t for t in json.loads(CONVERSATIONS.read_text()) if t["trial"] == 0]
    assert len(trials) == 50
    rates: dict[str, tuple[int, dict[str, int]]] = {}
    with refold.open("memory:") as store, RuleUserServer() as server:
        for trial in trials:
            stream = f"airline-{trial['task_id']}-0"
            store.append(stream, from_messages(trial["traj"]))
            state_goal(store, stream, goal_in([trial["info"]["task"]["instruction"]]))
        streams = [f"airline-{trial['task_id']}-0" for trial in trials]
        endpoint = ChatEndpoint(server.base_url, model="user", api_key="")
        for name, user in (("rules", "rules"), ("endpoint", endpoint)):
            mode = FreeRun(user=user, named=name)  # type: ignore[arg-type]
            said = replay(store, streams, Variant(label="asks"), _asks, mode=mode, workers=1)
            found = compare(store, streams, said.variant).figures.simulator
            assert found is not None
            rates[name] = found.turns, found.faults
        assert server.broken > 0
        invented = Counter(rates["endpoint"][1])["invents_facts"]
        assert invented == server.broken
    assert rates == RATES


RATES: Any = {"rules": (164, {}), "endpoint": (164, {"invents_facts": 32})}
"""How often each spoke, and its faults; docs/explanation/replay.md says the same."""


def _asks(request: ChatRequest) -> Any:
    """An agent that calls nothing, and asks what agents ask."""
    asked = (
        "Could you please provide your user ID?",
        "What is your reservation number?",
        "Shall I go ahead?",
        "That is done. Is there anything else?",
    )
    given = sum(one["role"] == "assistant" for one in request.messages)
    return {"role": "assistant", "content": asked[min(given, 3)]}


def test_a_simulated_user_who_says_nothing_has_ended() -> None:
    """It is asked once, and that is a fault of its own."""
    asked: list[object] = []

    def silent(request: ChatRequest) -> Action:
        asked.append(request)
        return says("")

    with refold.open("memory:") as store:
        record(store)
        mode = FreeRun(user=silent)
        compared = walked(store, scripted([says("There is no room.")]), mode=mode)
        led = compared.conversations[0].led
    assert len(asked) == 1
    assert led is not None
    assert led.simulator_faults["ends_early"] == 1


def test_a_simulated_user_who_fails_stops_one_conversation() -> None:
    """The others go on; it is no fault of the candidate's, and the next run goes on with it.

    Until then it is said that one has not come to its end; what it came to is kept.
    """

    def unfinished() -> list[int]:
        course = compare(store, streams, mode.stamped(VARIANT)).figures.course
        (found,) = replays(store)
        assert course is not None
        return [course.unfinished, found.run(store, 0).unfinished]

    failing = [True]

    def user(request: ChatRequest) -> Action:
        if failing:
            failing.clear()
            raise ModelFailure("maximum context length is 8", kind="refused", status=400)
        return says(f"Thanks. {STOP}")

    with refold.open("memory:") as store:
        record(store), record(store, "call-2")
        mode, streams = FreeRun(user=user), ["call-1", "call-2"]
        candidate = scripted([says("There is no room.")])
        said = replay(store, streams, VARIANT, candidate, mode=mode, workers=1)
        assert [one.error for one in said.failures] == [
            "error: the simulated user gave no answer: maximum context length is 8"
        ]
        assert unfinished() == [1, 1]
        again = replay(store, streams, VARIANT, candidate, mode=mode)
        assert (again.kept, again.answered, again.failed) == (13, 1, 0)
        assert unfinished() == [0, 0]
        course = compare(store, streams, mode.stamped(VARIANT)).figures.course
    assert course is not None
    assert (course.comparable, course.diverged, course.conditional) == (0, {"other_calls": 2}, 12)


def test_one_service_is_held_to_one_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether the candidate asks it or who plays the user: the rate is that of the service."""
    kept: dict[str, set[int]] = {}
    ask = Asker.ask

    async def noted(asker: Asker, request: ChatRequest) -> Any:
        kept.setdefault(request.model or "", set()).add(id(asker.limiter))
        return await ask(asker, request)

    monkeypatch.setattr(Asker, "ask", noted)
    with (
        refold.open("memory:") as store,
        ChatServer(lambda _: {"content": "There is no room."}) as one,
        ChatServer(lambda _: {"content": STOP}) as other,
    ):
        record(store)
        for server, together in ((one, True), (other, False)):
            kept.clear()
            user = ChatEndpoint(server.base_url, model="user", api_key="")
            candidate = ChatEndpoint(one.base_url, model="small", api_key="")
            how: Any = {"mode": FreeRun(user=user), "requests_per_second": 1_000.0}
            replay(store, ["call-1"], Variant(label=server.base_url), candidate, **how)
            assert (kept["small"] == kept["user"]) is together


def test_an_answer_that_cannot_be_stored_is_that_of_one_conversation() -> None:
    """As decision by decision: it is told as a failure, and the others go on."""

    def at_length(request: ChatRequest) -> Action:
        first = next(one["content"] for one in request.messages if one["role"] == "user")
        return says("x" * 9_000_000 if first == "All of it?" else "No room.")

    with refold.open("memory:") as store:
        store.append("call-0", [CONFIGURED, UserUtterance(text="All of it?"), AgentUtterance("No")])
        record(store)
        said = replay(store, ["call-0", "call-1"], VARIANT, at_length, mode=FreeRun())
        (failed,) = said.failures
        assert failed.error.startswith("garbage: the answer cannot be stored")
        assert (said.decisions, said.failed, said.answered) == (8, 1, 7)
        course = compare(store, ["call-0", "call-1"], said.variant).figures.course
    assert course is not None
    assert course.excluded == {"infrastructure": 1}


FAULTY: dict[str, str] = {
    "invents_facts": "My user id is zz_9.",
    "forgets_goal": "I do not know.",
    "ends_early": STOP,
    "answers_for_agent": "How can I help you today?",
}
"""What each of four models says first that play the user, asked for the user id ann_7."""


def test_each_fault_of_a_model_is_counted_once() -> None:
    """Whatever plays the user by OpenAI's protocol: by kind, and held against no agent."""

    def play(body: Body) -> Body:
        system, *talk = body["messages"]
        kind = next(kind for kind in FAULTY if f"Goal:\n{kind}\n" in system["content"])
        if sum(one["role"] == "assistant" for one in talk) == 1:
            return {"content": FAULTY[kind]}
        return {"content": STOP if "anything else" in talk[-1]["content"] else "Fine."}

    with refold.open("memory:") as store, ChatServer(play) as server:
        for kind in FAULTY:
            record(store, kind)
            state_goal(store, kind, GoalStated(text=kind, facts={"user id": "ann_7"}))
        user = ChatEndpoint(server.base_url, model="user", api_key="")
        said = replay(store, [*FAULTY], VARIANT, _asks, mode=FreeRun(user=user))
        compared = compare(store, [*FAULTY], said.variant)
        found = {one.stream: one.led and one.led.simulator_faults for one in compared.conversations}
    assert found == {kind: {kind: 1} for kind in FAULTY}
    assert compared.figures.simulator is not None
    assert compared.figures.simulator.faults == dict.fromkeys(FAULTY, 1)
    assert compared.figures.counts["failed"] == 0
