"""What other tools write, in every odd shape: imported, asked and compared by what it says."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

import refold
from refold.conversation import Conversation
from refold.conversation.importers import ImportReport, import_files
from refold.replay import Action, Call, Price, Variant, compare, replay
from refold.replay.actions import compare_actions
from refold.replay.decision import decisions
from refold.replay.request import request_at

USER = {"role": "user", "content": "Is it open?"}
FUNCTION = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}


@pytest.fixture
def store() -> Any:
    with refold.open("memory:") as made:
        yield made


def imported(store: refold.Store, folder: Path, *lines: Any) -> ImportReport:
    """Lines of a file of chats, each a conversation."""
    path = folder / "in.jsonl"
    path.write_text(
        "".join(f"{one if isinstance(one, str) else json.dumps(one)}\n" for one in lines)
    )
    return import_files(store, "openai-chat", [path])


def calling(arguments: Any, *, name: str = "f", kind: str = "function") -> dict[str, Any]:
    given = {"name": name, "arguments" if kind == "function" else "input": arguments}
    return {"content": None, "tool_calls": [{"id": "c", "type": kind, kind: given}]}


def legacy(arguments: str) -> dict[str, Any]:
    return {"content": None, "function_call": {"name": "f", "arguments": arguments}}


def words(*parts: Any) -> dict[str, Any]:
    return {"content": list(parts)}


@pytest.mark.parametrize(
    ("recorded", "candidate", "level"),
    [
        (calling("{}"), calling("  "), "same"),
        (calling("null"), calling(None), "same"),
        (calling('{"a": 1, "b": null}'), calling('{"b": null, "a": 1.0}'), "same"),
        (calling('{"a": 1e2}'), calling('{"a": 100}'), "same"),
        (calling('{"a": [1, 2]}'), calling('{"a": [2, 1]}'), "arguments"),
        (calling('{"a": 0.1}'), calling('{"a": 0.10000000000000000001}'), "arguments"),
        (calling('{"a": 9007199254740993}'), calling('{"a": 9007199254740992}'), "arguments"),
        (calling('{"a": {"b": [true]}}'), calling('{"a": {"b": [1]}}'), "arguments"),
        (calling('{"a": ""}'), calling('{"a": null}'), "arguments"),
        (calling("ls", kind="custom"), calling("ls -l", kind="custom"), "arguments"),
        (legacy('{"a": 1}'), calling('{"a": 1}'), "same"),
        (calling('{"a": 1}'), legacy('{"a": 2}'), "arguments"),
        (legacy("{}"), {"content": "No."}, "tools"),
        (words("Yes", "."), words({"type": "text", "text": "Yes."}), "same"),
        (words({"type": "text", "text": "Yes."}), words("No."), "words"),
        (words({"type": "refusal", "refusal": "No."}), {"content": None, "refusal": "No."}, "same"),
        (words("Yes."), {"content": None, "refusal": "I cannot."}, "refused"),
        (words("Yes."), words({"type": "refusal", "refusal": "I cannot."}), "refused"),
        (words("Yes."), words(), "empty"),
        (words("Yes."), {"content": "  \n"}, "empty"),
    ],
)  # fmt: skip
def test_answers_are_compared_by_what_they_say(
    store: refold.Store, tmp_path: Path, recorded: Any, candidate: Any, level: str
) -> None:
    """Whichever of a provider's shapes either side is in, on record or as an answer."""
    tools = [FUNCTION, {"type": "custom", "custom": {"name": "f"}}][
        : 1 + ("custom" in str(recorded))
    ]
    line = {"id": "a", "model": "m", "tools": tools[-1:]}
    line |= {"messages": [USER, {"role": "assistant", **recorded}]}
    assert imported(store, tmp_path, line).imported == 1
    said = {"role": "assistant", **candidate}
    answer = {"id": "r", "model": "m", "choices": [{"finish_reason": "stop", "message": said}]}
    replay(store, ["chat-a"], Variant(label="x"), lambda _: answer, attempts_max=1)
    (one,) = compare(store, ["chat-a"], Variant(label="x")).conversations
    assert [decision.level for decision in one.decisions] == [level]


def did(*calls: tuple[str, str]) -> Action:
    return Action(calls=tuple(Call(*one) for one in calls))


ONE, TWO, THREE = ("f", '{"a": 1}'), ("f", '{"a": 2}'), ("g", "{}")


@pytest.mark.parametrize(
    ("recorded", "candidate", "level", "more"),
    [
        ([ONE, TWO, THREE], [THREE, TWO, ONE], "same", []),
        ([ONE, ONE, TWO], [ONE, TWO, ONE], "same", []),
        ([ONE, TWO], [TWO, ONE, ONE], "tools", [ONE]),
        ([ONE, THREE], [THREE, TWO], "arguments", []),
        ([ONE, TWO], [TWO, ("f", '{"a": 3}')], "arguments", []),
        ([TWO], [ONE, THREE, TWO], "tools", [ONE, THREE]),
    ],
)
def test_calls_are_matched_by_their_arguments(
    recorded: Any, candidate: Any, level: str, more: Any
) -> None:
    """In any order and any number: what is left over is what was added."""
    found = compare_actions(did(*recorded), did(*candidate))
    assert found.level == level
    assert [(call.name, call.arguments) for call in found.only_candidate] == more


@pytest.mark.parametrize(
    "time",
    [
        {"timestamp": "2026-01-01T01:00:00+01:00"},
        {"timestamp": "2026-01-01T00:00:00.000Z"},
        {"timestamp": 1767225600},
        {"timestamp": 1767225600000},
        {"timestamp": "1767225600"},
        {"created": 1767225600.0},
        {"created_at": "2026-01-01T00:00:00Z"},
    ],
)
def test_a_time_is_used_or_told(store: refold.Store, tmp_path: Path, time: dict[str, Any]) -> None:
    """In whichever unit it is; where it is not understood, the report says so."""
    line = {"id": "a", "messages": [USER, {"role": "assistant", "content": "Yes."}], **time}
    report = imported(store, tmp_path, line)
    first = next(iter(store.read("chat-a"))).occurred_at
    is_used = first.isoformat() == "2026-01-01T00:00:00+00:00"
    assert is_used or report.loss or not report.ok, (first, report)


@pytest.mark.parametrize(
    ("odd", "kept"),
    [
        ({"cost": "0.0123"}, Decimal("0.0123")),
        ({"cost": 0.0123, "timestamp": "yesterday"}, Decimal("0.0123")),
        ({"cost": 0.0123, "timestamp": {}}, Decimal("0.0123")),
        ({"cost": 0.0123, "latency_sec": "soon"}, Decimal("0.0123")),
        ({"cost": 0.0123, "tools": [{"type": "web_search"}, FUNCTION]}, Decimal("0.0123")),
        ({"cost": 0.0123, "tools": json.dumps([FUNCTION])}, Decimal("0.0123")),
    ],
)
def test_an_odd_field_costs_itself_alone(
    store: refold.Store, tmp_path: Path, odd: dict[str, Any], kept: Decimal
) -> None:
    """The conversation is there, and so is what it cost."""
    choice = {"message": {"role": "assistant", "content": "Yes."}}
    line = {"id": "a", "messages": [USER], "response": {"choices": [choice]}, **odd}
    assert imported(store, tmp_path, line).imported == 1
    assert store.fold("chat-a", Conversation).state.cost == {"USD": kept}


@pytest.mark.parametrize(
    "bad",
    [
        '{"id": "2", "messages": [',
        '{"id": "2", "messages": {"role": "user"}}',
        '{"id": "2", "messages": [{"role": "user", "content": "\\ud800"}]}',
        '{"id": "2", "cost": 1' + "0" * 400 + ', "messages": [{"role": "user", "content": "x"}]}',
        '{"id": "2", "messages": [{"role": "robot", "content": 7}]}',
        "[]",
        "null",
    ],
)
def test_a_bad_line_costs_itself_alone(store: refold.Store, tmp_path: Path, bad: str) -> None:
    """Those before and after it are imported, and it is told."""
    good = [{"id": name, "messages": [USER]} for name in "13"]
    report = imported(store, tmp_path, good[0], bad, good[1])
    assert {"chat-1", "chat-3"} <= {info.stream for info in store.streams()}
    assert report.imported == 3 or report.problems or report.loss


@pytest.mark.parametrize("role", ["system", "developer"])
@pytest.mark.parametrize("place", [0, 1, 3, 4])
def test_a_system_message_anywhere_takes_nothing_away(
    store: refold.Store, tmp_path: Path, role: str, place: int
) -> None:
    """Model, parameters and tools are in force at each decision, wherever a second one stands."""
    messages: list[Any] = [
        {"role": "system", "content": "You answer the phone."}, USER,
        {"role": "assistant", "content": "Yes."}, USER,
        {"role": "assistant", "content": "As I said."},
    ]  # fmt: skip
    messages.insert(place, {"role": role, "content": "It is Monday."})
    line = {"id": "a", "model": "m", "temperature": 0.2, "tools": [FUNCTION], "messages": messages}
    imported(store, tmp_path, line)
    history = list(store.read("chat-a"))
    answers = [at for at, one in enumerate(messages) if one["role"] == "assistant"]
    for at, decision in zip(answers, decisions(history), strict=True):
        asked = request_at(history, decision, Variant(label="x"))
        assert (asked.model, len(asked.tools)) == ("m", 1)
        assert asked.params == {"temperature": 0.2}
        assert ("It is Monday." in json.dumps(asked.messages)) == (place < at)


PRICES = {"m": Price(input=Decimal("2.5"), output=Decimal(10))}


@pytest.mark.parametrize(
    ("usage", "cost"),
    [
        ({"prompt_tokens": 1000, "completion_tokens": 500}, Decimal("0.0075")),
        ({"prompt_tokens": 0, "completion_tokens": 0}, Decimal(0)),
        ({"prompt_tokens": 1000}, None),
        ({"completion_tokens": 500, "prompt_tokens": None}, None),
        ({"total_tokens": 1500}, None),
        (None, None),
    ],
)
def test_tokens_that_nobody_counted_are_not_free(
    store: refold.Store, tmp_path: Path, usage: Any, cost: Decimal | None
) -> None:
    """A part of a usage has no price either; a usage of nothing costs nothing."""
    line = {"id": "a", "model": "m", "messages": [USER, {"role": "assistant", "content": "Yes."}]}
    imported(store, tmp_path, line)
    said = {"role": "assistant", "content": "Yes."}
    answer = {"id": "r", "model": "m", "choices": [{"message": said, "finish_reason": "stop"}]}
    given = answer if usage is None else {**answer, "usage": usage}
    how: Any = {"prices": PRICES, "attempts_max": 1}
    assert replay(store, ["chat-a"], Variant(label="x"), lambda _: given, **how).cost == cost
