"""tau-bench results: 200 real conversations, and small ones that go wrong."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

import refold
from refold.conversation import Conversation
from refold.conversation.chat_export import to_messages
from refold.conversation.importers import import_files
from tests.conversation.importers.inputs import real, tau_element


@pytest.fixture(scope="module")
def airline() -> Iterator[refold.Store]:
    """The 200 conversations, imported once with their tools."""
    files = real("tau-bench", "gpt-4o-airline.json"), real("tau-bench", "airline-tools.json")
    with refold.open("memory:") as store:
        report = import_files(store, "tau-bench", [files[0]], tools=files[1])
        assert (report.imported, report.failed, report.ok) == (200, 0, True)
        assert report.loss == []
        yield store


def elements() -> list[dict[str, Any]]:
    path = real("tau-bench", "gpt-4o-airline.json")
    found: list[dict[str, Any]] = msgspec.json.decode(path.read_bytes())
    return found


def stream_of(element: dict[str, Any]) -> str:
    return f"airline-{element['task_id']}-{element['trial']}"


def write(tmp_path: Path, array: Any, name: str = "m-airline.json") -> Path:
    path = tmp_path / name
    path.write_text(array if isinstance(array, str) else json.dumps(array, indent=1))
    return path


def test_the_recorded_conversations_are_all_there(airline: refold.Store) -> None:
    """200 conversations with 5,308 messages, and 1,164 tool calls of which 73 failed."""
    types = [recorded.type for recorded in airline.read_all()]
    assert types.count("session.started") == types.count("session.ended") == 200
    assert types.count("score.recorded") == 200
    assert types.count("tool.call") == types.count("tool.result") == 1164
    failed = [e for e in airline.read_all(types=["tool.result"]) if e.event.is_error]
    assert len(failed) == 73
    assert sum(len(to_messages(airline.read(s.stream))) for s in airline.streams()) == 5308


def test_every_call_has_its_result_in_the_fold(airline: refold.Store) -> None:
    """The fold matches each of 1,164 calls with its own result, though call ids repeat."""
    answered = failed = 0
    for info in airline.streams():
        state = airline.fold(info.stream, Conversation).state
        assert (state.open_calls, state.unmatched_results) == ({}, [])
        for use in state.tool_calls:
            assert use.answer is not None
            answered += 1
            failed += use.answer.event.is_error
    assert (answered, failed) == (1164, 73)


def test_exporting_gives_the_messages_as_they_were(airline: refold.Store) -> None:
    """Imported, stored and exported, each message is the same, field by field."""
    for element in elements():
        got = to_messages(airline.read(stream_of(element)))
        assert [exact(m) for m in got] == [exact(m) for m in element["traj"]]


def exact(value: Any) -> bytes:
    return msgspec.json.encode(value, order="deterministic")


def test_nothing_of_an_element_is_lost(airline: refold.Store) -> None:
    """Task, trial, reward and the whole of info stand beside the end of the session."""
    for element in elements():
        events = list(airline.read(stream_of(element)))
        [ended] = [e for e in events if e.type == "session.ended"]
        beside = {key: value for key, value in element.items() if key != "traj"}
        assert exact(ended.metadata["tau_bench"]) == exact(beside)
        assert events[-1].event.value == element["reward"]
        assert (events[-1].event.name, events[-1].event.rater) == ("reward", "tau-bench")


def test_a_session_starts_with_its_task_and_its_customer(airline: refold.Store) -> None:
    """What was settled before the first word is the initial state, and whom it is about."""
    first = next(iter(airline.read("airline-0-0")))
    task = elements()[0]["info"]["task"]
    assert first.event.initial_state == {
        "task_id": 0, "trial": 0, "user_id": task["user_id"], "instruction": task["instruction"],
    }  # fmt: skip
    assert first.metadata["subject"] == task["user_id"]
    assert [(p.role, p.id) for p in first.event.parties] == [
        ("customer", task["user_id"]), ("agent", None),
    ]  # fmt: skip


def test_how_the_sessions_ended(airline: refold.Store) -> None:
    """By the customer's stop mark, by a transfer, or without either."""
    reasons = [e.event.reason for e in airline.read_all(types=["session.ended"])]
    assert {reason: reasons.count(reason) for reason in sorted(set(reasons))} == {
        "completed": 147, "transferred": 48, "unfinished": 5,
    }  # fmt: skip


def test_tools_come_with_their_effects(airline: refold.Store) -> None:
    """14 tools stand beside the prompt, and each call knows what its tool does."""
    [configured] = [e for e in airline.read("airline-0-0") if e.type == "agent.configured"]
    effects = {tool.name: tool.effect for tool in configured.event.tools}
    assert len(effects) == 14
    assert configured.event.prompt.text.startswith("# Airline Agent Policy")
    for recorded in airline.read_all(types=["tool.call"]):
        assert recorded.event.effect == effects[recorded.event.name] != "unknown"
        assert len(recorded.event.schema_hash) == 64


def test_what_chat_messages_cannot_hold_is_listed(airline: refold.Store) -> None:
    """Exporting tells of the session's start, end and score, and of effects and tools."""
    exported = to_messages(airline.read("airline-0-0"))
    lost = {(loss.what, loss.pointer) for loss in exported.loss}
    assert {("session.started", ""), ("session.ended", ""), ("score.recorded", "")} <= lost
    assert {("agent.configured", "/tools"), ("tool.call", "/effect")} <= lost


def test_the_real_file_with_a_broken_element(store: refold.Store, tmp_path: Path) -> None:
    """One quote lost in the middle of the real file costs one conversation of 200."""
    text = real("tau-bench", "gpt-4o-airline.json").read_bytes()
    place = text.index(b'"role"', len(text) // 2)
    path = tmp_path / "gpt-4o-airline.json"
    path.write_bytes(text[:place] + text[place + 1 :])
    report = import_files(store, "tau-bench", [path])
    assert (report.imported, report.failed) == (199, 1)
    [problem] = report.problems
    broken = text[:place].rindex(b'\n  {\n    "task_id"') + 1
    assert (problem.file, problem.line) == (str(path), text[:broken].count(b"\n") + 1)


@pytest.mark.parametrize(
    "broken",
    [
        {"task_id": 1, "trial": 0},
        {**tau_element(1), "trial": "x"},
        {"trial": 0, "traj": []},
        tau_element(1, traj=None),
        tau_element(1, traj=[{"role": "critic"}]),
        tau_element(1, task_id="1~2"),
        12,
        None,
        [],
    ],
)
def test_an_element_that_is_no_conversation(
    store: refold.Store, tmp_path: Path, broken: Any
) -> None:
    """It is told with its number; those around it are imported."""
    path = write(tmp_path, [tau_element(0), broken, tau_element(2)])
    report = import_files(store, "tau-bench", [path])
    assert (report.imported, report.failed) == (2, 1)
    assert "element 2" in report.problems[0].message
    assert report.problems[0].line > 1
    assert [info.stream for info in store.streams()] == ["airline-0-0", "airline-2-0"]


def test_a_place_in_a_broken_conversation_is_named(store: refold.Store, tmp_path: Path) -> None:
    """What cannot be represented is told with its path."""
    bad = tau_element(traj=[{"role": "user", "content": "a"}, {"role": "critic"}])
    report = import_files(store, "tau-bench", [write(tmp_path, [bad])])
    assert "traj/1/role" in report.problems[0].message


def test_a_conversation_without_reward_has_no_score(store: refold.Store, tmp_path: Path) -> None:
    """A rating is recorded where there is one."""
    element = tau_element()
    del element["reward"], element["info"]
    import_files(store, "tau-bench", [write(tmp_path, [element])])
    events = list(store.read("airline-0-0"))
    assert events[-1].type == "session.ended"
    assert events[-1].metadata["tau_bench"] == {"task_id": 0, "trial": 0}
    assert "subject" not in events[0].metadata


@pytest.mark.parametrize("odd", [{"reward": "good"}, {"reward": 10**400}, {"info": []}])
def test_an_odd_field_voids_itself_alone(
    store: refold.Store, tmp_path: Path, odd: dict[str, Any]
) -> None:
    """It is told by its place and kept as it was; the conversation is imported."""
    path = write(tmp_path, [tau_element(0, **odd)])
    report = import_files(store, "tau-bench", [path])
    [key] = odd
    assert (report.imported, report.ok) == (1, True)
    assert [(loss.where, loss.pointer) for loss in report.loss] == [(f"{path}:2", f"/{key}")]
    [ended] = [e for e in store.read("airline-0-0") if e.type == "session.ended"]
    assert ended.metadata["tau_bench"][key] == odd[key]
    assert store.head("airline-0-0") == (7 if key == "info" else 6)


def test_other_fields_are_kept(store: refold.Store, tmp_path: Path) -> None:
    """A field that later versions of the format may add stays beside the end."""
    import_files(store, "tau-bench", [write(tmp_path, [tau_element(extra={"a": [1.5]})])])
    [ended] = [e for e in store.read("airline-0-0") if e.type == "session.ended"]
    assert ended.metadata["tau_bench"]["extra"] == {"a": [1.5]}


def test_tools_without_a_system_message(store: refold.Store, tmp_path: Path) -> None:
    """Tools that were given are in force from the start, prompt or none."""
    tools = tmp_path / "tools.json"
    tools.write_text('[{"type": "function", "function": {"name": "look_up"}, "effect": "read"}]')
    element = tau_element()
    del element["traj"][0]
    import_files(store, "tau-bench", [write(tmp_path, [element])], tools=tools)
    events = list(store.read("airline-0-0"))
    assert [e.type for e in events[:2]] == ["session.started", "agent.configured"]
    assert [e.event.effect for e in events if e.type == "tool.call"] == ["read"]


def test_an_object_is_not_an_array_of_conversations(store: refold.Store, tmp_path: Path) -> None:
    """A file of another shape is told as such."""
    report = import_files(store, "tau-bench", [write(tmp_path, {"messages": []})])
    assert (report.imported, report.failed) == (0, 1)
    assert "array" in report.problems[0].message


def test_an_empty_array_is_told(store: refold.Store, tmp_path: Path) -> None:
    """Nothing to import is not success."""
    report = import_files(store, "tau-bench", [write(tmp_path, [])])
    assert (report.failed, report.ok) == (1, False)
