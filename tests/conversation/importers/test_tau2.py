"""Results of tau2-bench, small ones of the shapes that it writes."""

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

import refold
from refold.conversation import Conversation
from refold.conversation.importers import import_files
from tests.conversation.importers.inputs import tau_element


def message(number: int, role: str, text: str | None, **more: Any) -> dict[str, Any]:
    at = f"2025-09-29T01:38:{10 + number}.000000"
    return {"role": role, "content": text, "turn_idx": number, "timestamp": at, **more}


def call(call_id: str, who: str) -> list[dict[str, Any]]:
    return [{"id": call_id, "name": "toggle", "arguments": {"on": True}, "requestor": who}]


def result(number: int, call_id: str, who: str, **more: Any) -> dict[str, Any]:
    return message(number, "tool", "ok", id=call_id, requestor=who, error=False, **more)


def results(words: str = "Done.", model: str = "m1", **changed: Any) -> dict[str, Any]:
    """A run with one simulation: the agent and the customer each call a tool."""
    usage = {"prompt_tokens": 100, "completion_tokens": 10}
    messages = [
        message(0, "assistant", "Hi!", cost=0.0),
        message(1, "user", "Flight?", cost=0.0005, usage={"prompt_tokens": 7}),
        message(2, "assistant", None, cost=0.0013, usage=usage, tool_calls=call("c1", "assistant")),
        {"role": "tool", "tool_messages": [result(3, "c1", "assistant")], "id": "multi"},
        message(4, "user", None, tool_calls=call("c2", "user")),
        result(5, "c2", "user"),
        message(6, "assistant", words),
    ]
    simulation = {
        "id": "s1",
        "task_id": "0",
        "trial": 0,
        "start_time": "2025-09-29T01:38:10.000000",
        "end_time": "2025-09-29T01:38:20.000000",
        "termination_reason": "user_stop",
        "agent_cost": 0.0013,
        "user_cost": 0.0005,
        "reward_info": {"reward": 1.0},
        "messages": messages,
        **changed,
    }
    info = {
        "agent_info": {"implementation": "llm_agent", "llm": model, "llm_args": {"temperature": 0}},
        "user_info": {"implementation": "user_simulator", "llm": "m2"},
        "environment_info": {"domain_name": "airline", "policy": "P"},
    }
    return {"timestamp": "2025-09-29", "info": info, "tasks": [], "simulations": [simulation]}


def imported(store: refold.Store, path: Path, value: Any) -> Any:
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(value, indent=1))
    return import_files(store, None, [path])


def test_a_simulation_is_a_conversation_of_the_agent(store: refold.Store, tmp_path: Path) -> None:
    """Its calls, tokens, cost, reward and times; model, parameters and prompt in force."""
    report = imported(store, tmp_path / "run.json", results())
    assert ([one.format for one in report.taken], report.loss) == (["tau2-bench"], [])
    state = store.fold("airline-0-0", Conversation).state
    assert [use.event.call_id for use in state.tool_calls] == ["c1"]
    assert (state.open_calls, state.unmatched_results) == ({}, [])
    assert state.cost == {"USD": Decimal("0.0013")}
    assert (state.usage.input_tokens, state.usage.output_tokens) == (100, 10)
    assert [score.event.value for score in state.scores] == [1.0]
    assert (state.end_reason, state.duration_ms) == ("user_stop", 10_000)
    assert [turn.text for turn in state.transcript] == ["Hi!", "Flight?", "Done."]
    agent = state.agent
    assert agent is not None and agent.prompt is not None
    assert (agent.agent, agent.model, agent.prompt.text) == ("llm_agent", "m1", "P")
    assert agent.params == {"temperature": 0}


def test_what_the_customer_does_is_the_customers(store: refold.Store, tmp_path: Path) -> None:
    """Its call and its result, in their places, and what it cost beside."""
    imported(store, tmp_path / "run.json", results())
    own = [one for one in store.read("airline-0-0") if one.type.startswith("customer.")]
    assert [(one.type, one.data.get("call_id")) for one in own] == [
        ("customer.tool_call", "c2"),
        ("customer.tool_result", "c2"),
        ("customer.cost", None),
    ]
    assert own[-1].data == {"cost": "0.0005", "currency": "USD", "model": "m2"}


def test_runs_of_the_same_tasks_stand_side_by_side(store: refold.Store, tmp_path: Path) -> None:
    """By the names of their files or folders; importing again changes nothing."""
    paths = [tmp_path / "a" / "results.json", tmp_path / "b" / "results.json", tmp_path / "c.json"]
    for path, model in zip(paths, ("m1", "m2", "m3"), strict=True):
        assert imported(store, path, results(model=model)).imported == 1
    again = import_files(store, None, paths)
    assert (again.imported, again.unchanged, again.failed) == (0, 3, 0)
    models = {
        one.stream: getattr(store.fold(one.stream, Conversation).state.agent, "model", None)
        for one in store.streams()
    }
    assert models == {"airline-0-0": "m1", "airline-0-0-b": "m2", "airline-0-0-c": "m3"}


def test_runs_of_one_name_in_one_import(store: refold.Store, tmp_path: Path) -> None:
    """They differ in what is in them; importing again changes nothing, together or alone."""
    paths = [tmp_path / name / "gpt-4o-airline.json" for name in ("1", "2")]
    for number, path in enumerate(paths):
        path.parent.mkdir()
        path.write_text(json.dumps([tau_element(reward=float(number))]))
    assert import_files(store, None, paths).imported == 2
    for again in (paths, paths[1:], paths[:1]):
        report = import_files(store, None, again)
        assert (report.unchanged, report.failed) == (len(again), 0)
    assert len(list(store.streams())) == 2


def test_agents_of_tau_bench_are_known_by_their_files(store: refold.Store, tmp_path: Path) -> None:
    """One command brings both, and each conversation knows its agent."""
    paths = [tmp_path / "gpt-4o-airline.json", tmp_path / "claude-3-airline.json"]
    for number, path in enumerate(paths):
        path.write_text(json.dumps([tau_element(reward=float(number))]))
    assert import_files(store, "tau-bench", paths).imported == 2
    agents = {
        one.stream: getattr(store.fold(one.stream, Conversation).state.agent, "agent", None)
        for one in store.streams()
    }
    assert agents == {"airline-0-0": "gpt-4o", "airline-0-0-claude-3-airline": "claude-3"}


def test_a_changed_file_of_one_run_is_told(store: refold.Store, tmp_path: Path) -> None:
    """It is no other run: what is there is left as it is."""
    imported(store, tmp_path / "run.json", results())
    report = imported(store, tmp_path / "run.json", results("Other."))
    assert (report.imported, report.failed) == (0, 1)
    assert report.problems[0].stream == "airline-0-0"


def test_cost_of_the_whole_where_answers_do_not_tell(store: refold.Store, tmp_path: Path) -> None:
    """The agent's cost is in the conversation either way."""
    messages = [message(0, "assistant", "Hi!"), message(1, "user", "Bye")]
    imported(store, tmp_path / "run.json", results(messages=messages, agent_cost=0.25))
    assert store.fold("airline-0-0", Conversation).state.cost == {"USD": Decimal("0.25")}


@pytest.mark.parametrize(
    ("changed", "pointer"),
    [
        ({"start_time": "noon"}, "/simulations/0/start_time"),
        ({"agent_cost": "much"}, "/simulations/0/agent_cost"),
        ({"reward_info": {"reward": "good"}}, "/simulations/0/reward_info/reward"),
        ({"messages": [result(0, "c9", "assistant")]}, "/simulations/0/messages/0"),
        ({"messages": [result(0, "c9", "user")]}, "/simulations/0/messages/0"),
        ({"messages": [message(0, "user", "x", cost=-1)]}, None),
    ],
)
def test_an_odd_field_voids_itself_alone(
    store: refold.Store, tmp_path: Path, changed: dict[str, Any], pointer: str | None
) -> None:
    """It is told by its place, and the conversation is there."""
    report = imported(store, tmp_path / "run.json", results(**changed))
    assert (report.imported, report.problems) == (1, [])
    assert [one.pointer for one in report.loss] == ([] if pointer is None else [pointer])


@pytest.mark.parametrize(
    "changed", [{"messages": None}, {"messages": [1]}, {"messages": [message(0, "robot", "x")]}]
)
def test_a_simulation_that_is_none_costs_itself(
    store: refold.Store, tmp_path: Path, changed: dict[str, Any]
) -> None:
    """The others come in."""
    document = results(**changed)
    document["simulations"].append({**results()["simulations"][0], "trial": 1})
    report = imported(store, tmp_path / "run.json", document)
    assert (report.imported, report.failed) == (1, 1)
    assert "/simulations/0" in report.problems[0].message
