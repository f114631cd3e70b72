"""What a conversation is known by, whichever tool recorded it."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

import refold
from refold.conversation import (
    AgentConfigured,
    AgentUtterance,
    Attributes,
    LabelRecorded,
    ModelResponse,
    Party,
    Prompt,
    ScoreRecorded,
    SessionEnded,
    SessionStarted,
    UserUtterance,
)
from refold.conversation.importers import import_files
from refold.errors import CodecError, UsageError
from tests.conversation.importers.inputs import real
from tests.conversation.importers.test_tau2 import results


def known(*events: object, metadata: dict[str, Any] | None = None) -> Attributes:
    """The attributes of a stream of these events."""
    with refold.open("memory:") as store:
        store.append("call-1", events, metadata=metadata)
        return Attributes.of(store.read("call-1"))


def imported(*parts: str, format: str | None = None) -> dict[str, Attributes]:
    """The attributes of each conversation of a file of the shared data."""
    with refold.open("memory:") as store:
        import_files(store, format, [real(*parts)])
        return {info.stream: Attributes.of(store.read(info.stream)) for info in store.streams()}


def test_a_recorded_conversation_is_known_by_what_its_recorder_said() -> None:
    """Agents, prompt and model as configured, the customer of the parties, the end, the score."""
    prompt = Prompt("Be kind.", id="desk-3")
    found = known(
        SessionStarted("voice", parties=[Party("customer", id="p1"), Party("agent", "desk")]),
        AgentConfigured(agent="desk", version="7", model="small", prompt=prompt),
        UserUtterance("Hi"),
        AgentUtterance("Hello", party="billing"),
        ModelResponse(model="small-2026-01"),
        SessionEnded("transferred"),
        ScoreRecorded("reward", 0.5, "tau"),
        metadata={"task": 17, "run": "nightly", "tenant": "north", "tags": ["vip"], "origin": "x"},
    )
    assert found == Attributes(
        task="17",
        customer="p1",
        run="nightly",
        agents=["desk", "billing"],
        models=["small", "small-2026-01"],
        prompts=[prompt.hash],
        versions=["7", "desk-3"],
        tags=["vip"],
        ended="transferred",
        scores={"reward": 0.5},
        noted={"tenant": "north", "origin": "x", "channel": "voice"},
    )
    assert (found.outcome, found.reward) == ("transferred", 0.5)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("task", "17"),
        ("customer", "ann"),
        ("outcome", "refunded"),
        ("reward", "1"),
        ("agent", "desk"),
        ("model", "small"),
        ("version", None),
        ("tag", "vip"),
        ("severity", "high"),
        ("tenant", "north"),
        ("channel", "chat"),
        ("run", None),
        ("nothing", None),
    ],
)
def test_conversations_are_put_together_by_one_value(name: str, value: str | None) -> None:
    """The first agent, model or tag; a label before metadata of its name; None for what is not."""
    found = known(
        SessionStarted(parties=[Party("customer", id="p1")]),
        AgentConfigured(agent="desk", model="small"),
        AgentConfigured(agent="billing", model="large"),
        SessionEnded(),
        ScoreRecorded("reward", 0.0, "a"),
        ScoreRecorded("reward", 1.0, "b"),
        LabelRecorded("outcome", "refunded", "ann"),
        LabelRecorded("severity", "high", "ann"),
        LabelRecorded("tag", "late", "ann"),
        metadata={"task": "17", "subject": "ann", "tenant": "north", "tags": ["vip"]},
    )
    assert found.by(name) == value


def test_a_label_of_one_event_is_not_the_conversations() -> None:
    """It says what it is about; one without does for the whole, and before its end too."""
    found = known(
        LabelRecorded("outcome", "right", "ann", at="call-1@0"),
        LabelRecorded("tag", "odd", "ann", at="call-1@0"),
        LabelRecorded("outcome", "lost", "ann"),
        SessionEnded(),
    )
    assert (found.outcome, found.tags, found.ended) == ("lost", [], "completed")


def test_one_that_goes_on_has_no_outcome() -> None:
    """Nor has one that began again after its end; who is told of later is the customer."""
    assert known(UserUtterance("Hi")).outcome is None
    parties = [Party("customer", address="+1")]
    again = known(SessionStarted(), SessionEnded(), SessionStarted(parties=parties))
    assert (again.outcome, again.customer) == (None, "+1")


def test_an_agent_that_the_wire_does_not_name_is_known_by_metadata() -> None:
    """What passes to a model names no agent: whoever records it may."""
    found = known(
        SessionStarted(),
        AgentConfigured(model="m"),
        metadata={"agent": "desk", "tags": ["history:1"]},
    )
    assert (found.agents, found.tags) == (["desk"], [])


def test_odd_values_are_no_names() -> None:
    """Of metadata only words and numbers count, and long texts are left out."""
    found = known(
        UserUtterance("Hi"),
        metadata={
            "task": {"a": 1},
            "run": "",
            "subject": ["ann"],
            "trace": {"langfuse": {"tags": 7}},
            "long": "x" * 257,
            "many": [1],
            "is_test": True,
        },
    )
    assert found == Attributes(noted={"is_test": "True"})


def test_what_is_no_history_or_no_event_is_refused() -> None:
    """As a fold refuses it."""
    with pytest.raises(UsageError, match=r"Attributes\.of takes a history"):
        Attributes.of("call-1")  # type: ignore[arg-type]
    with refold.open("memory:", registry=refold.Registry()) as store:
        store.append("call-1", [refold.Event("session.ended", {"reason": 7})])
        with pytest.raises(CodecError):
            Attributes.of(store.read("call-1"))


def test_the_conversations_of_tau_bench() -> None:
    """50 tasks with four trials each, their customers, one agent, how they ended, the reward."""
    found = imported("tau-bench", "gpt-4o-airline.json")
    assert Counter(Counter(one.task for one in found.values()).values()) == {4: 50}
    assert {tuple(one.agents) for one in found.values()} == {("gpt-4o",)}
    assert {one.outcome for one in found.values()} == {"completed", "transferred", "unfinished"}
    rewards = [one.reward for one in found.values()]
    assert (len(rewards), sum(filter(None, rewards))) == (200, 84)
    assert {len(one.prompts) for one in found.values()} == {1}
    # The customers of a task are one and the same.
    assert len({(one.task, one.customer) for one in found.values()}) == 50
    assert found["airline-3-1"].by("source") == "tau-bench"


def test_the_simulations_of_tau2(tmp_path: Path) -> None:
    """Tasks of two domains of one number are two tasks; the run is the file's."""
    path = tmp_path / "run-1.json"
    with refold.open("memory:") as store:
        import msgspec

        path.write_bytes(msgspec.json.encode(results()))
        assert import_files(store, "tau2-bench", [path]).imported == 1
        (info,) = store.streams()
        found = Attributes.of(store.read(info.stream))
    assert (found.task, found.run, found.reward) == ("airline/0", "run-1", 1.0)


def test_the_samples_of_inspect() -> None:
    """A task is a sample of an eval; its run, its scores and its model are the log's."""
    found = imported("formats", "inspect", "2025-05-12T20-28-13-04-00_popularity.json")
    assert sorted(str(one.task) for one in found.values()) == [
        "popularity/1",
        "popularity/2",
        "popularity/3",
    ]
    assert {one.run for one in found.values()} == {"7KyCuAQSqp76qKQZEKmG6M"}
    assert sorted(one.scores["match"] for one in found.values()) == [0.0, 1.0, 1.0]
    assert all("gpt-4o-mini" in one.models[0] for one in found.values())


def test_the_traces_of_langfuse() -> None:
    """Agents that handed over, models, scores that somebody gave; tags and users where they are."""
    (found,) = imported("formats", "langfuse", "openai-agents-2025-09-30.trace.json").values()
    assert found.scores["toxicity"] == 0.8
    assert found.agents
    assert found.models
    assert found.tags == []


def test_tags_and_experiments_of_tracers_count() -> None:
    """Those that an importer kept beside the conversation."""
    for tool in ("langfuse", "langsmith"):
        beside = {"tags": ["beta", "night"], "session_name": "exp-1"}
        found = known(SessionStarted(), metadata={"trace": {"id": "t", tool: beside}})
        assert (found.tags, found.run) == (["beta", "night"], "exp-1")
