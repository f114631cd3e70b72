"""Each check that comes with refold, on conversations and on single answers: yes, no, not here."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

import refold
from refold.conversation.attributes import Attributes
from refold.conversation.events import (
    AgentConfigured,
    AgentUtterance,
    Effect,
    ModelResponse,
    SessionEnded,
    StatePatched,
    Tool,
    ToolCall,
    ToolResult,
    Usage,
    UserUtterance,
)
from refold.errors import UsageError
from refold.replay import Action, Call, decisions
from refold.replay.checks.built_in import BUILT_IN
from refold.replay.checks.reading import read_check
from refold.replay.checks.scoring import recorded_values
from refold.replay.checks.seen import SoFar

TOOLS = AgentConfigured(tools=[Tool("find", effect="read"), Tool("book", effect="write")])


def user(text: str = "Hello?") -> UserUtterance:
    return UserUtterance(text=text)


def agent(text: str, **took: Any) -> list[object]:
    said = AgentUtterance(text=text, message_id=text)
    return [ModelResponse(message_id=text, **took), said] if took else [said]


def call(name: str, said: str = "{}", *, is_error: bool = False) -> list[object]:
    effect: Effect = next((tool.effect for tool in TOOLS.tools if tool.name == name), "unknown")
    return [
        ToolCall(call_id="c", name=name, arguments=said, effect=effect),
        ToolResult(call_id="c", result="r", is_error=is_error),
    ]


def history(*events: object) -> list[refold.Recorded]:
    flat = [one for event in events for one in (event if isinstance(event, list) else [event])]
    store = refold.open("memory:")
    store.append("call-1", [TOOLS, *flat])
    return list(store.read("call-1"))


def of_all(check: str, *events: object) -> float | None:
    """What a check gives of a whole conversation; None where it does not apply."""
    seen, asked = history(*events), read_check(check)
    return recorded_values("call-1", seen, Attributes.of(seen), [asked]).get(asked.metric.name)


def of_answer(check: str, action: Action, *events: object) -> float | None:
    """What a check gives of an answer that comes after these events, in place of words."""
    seen = history(*events, agent("Recorded."))
    return read_check(check).value(SoFar(seen).answered(decisions(seen)[-1], action))


FIND, FIND_A = call("find"), call("find", '{"a": 1}')
BOOK, FAILED = call("book", '{"day": 1}'), call("book", '{"day": 1}', is_error=True)
TO_BOOK = Action(calls=(Call("book", '{"day":1}'),))
SAYS = Action(text="Your seat is booked, thank you.")


@pytest.mark.parametrize(
    ("check", "expected", "events"),
    [
        ("repeated_calls", 1.0, [user(), FIND, FIND]),
        ("repeated_calls", 0.0, [user(), FIND, FIND_A, FIND, FIND]),
        ("repeated_calls", 1.0, [user(), FIND, FIND, user(), FIND, FIND]),
        ("repeated_calls=1", 0.0, [user(), FIND, FIND]),
        ("repeated_calls", None, [user(), agent("Hi.")]),
        ("loops", 0.0, [user(), *[FIND, FIND_A] * 3]),
        ("loops", 1.0, [user(), *[FIND, FIND_A] * 2]),
        ("loops", 1.0, [user(), *[FIND] * 9]),
        ("loops", None, [user(), agent("Hi.")]),
        ("only_tools=find", 1.0, [user(), FIND]),
        ("only_tools=find", 0.0, [user(), FIND, BOOK]),
        ("only_tools=find", None, [user(), agent("Hi.")]),
        ("never_tools=book", 0.0, [user(), BOOK]),
        ("never_tools=book", 1.0, [user(), agent("Hi.")]),
        ("tool_before=find,book", 1.0, [user(), FIND, BOOK]),
        ("tool_before=find,book", 0.0, [user(), BOOK, FIND]),
        ("tool_before=find,book", 0.0, [user(), call("find", is_error=True), BOOK]),
        ("tool_before=find,book", None, [user(), FIND]),
        ("done_twice", 0.0, [user(), BOOK, user(), BOOK]),
        ("done_twice", 1.0, [user(), FAILED, BOOK]),
        ("done_twice", 1.0, [user(), BOOK, call("book", '{"day": 2}')]),
        ("done_twice", None, [user(), FIND, FIND]),
        ("max_calls=2", 1.0, [user(), FIND, FIND]),
        ("max_calls=1", 0.0, [user(), FIND, FIND]),
        ("max_cost=0.3", 0.0, [agent("A", cost=Decimal("0.2")), agent("B", cost=Decimal("0.2"))]),
        ("max_cost=0.4", 1.0, [agent("A", cost=Decimal("0.2")), agent("B", cost=Decimal("0.2"))]),
        ("max_cost=0.4", None, [agent("A", cost=Decimal("0.9")), agent("B", latency_ms=1.0)]),
        ("max_tokens=5", 0.0, [agent("A", usage=Usage(3, 3))]),
        ("max_words=2", 0.0, [agent("one two three")]),
        ("max_words=3", 1.0, [agent("one two three")]),
        ("max_words=3", None, [user(), FIND]),
        ("says=gate \\d", 1.0, [agent("At GATE 4.")]),
        ("says=gate \\d", 0.0, [agent("At gate four.")]),
        ("never_says=competitor", 0.0, [agent("Our competitor is cheaper.")]),
        ("never_says=competitor", 1.0, [agent("We are cheaper.")]),
        ("language=de", 1.0, [agent("Ihr Termin ist nicht der erste, und wir rufen Sie an.")]),
        ("language=de", 0.0, [agent("You have the first of the slots, and it is yours.")]),
        ("language=de", None, [agent("OK.")]),
        ("personal_data", 0.0, [agent("Your card 4111 1111 1111 1111 was charged.")]),
        ("personal_data", 1.0, [agent("Your order 4111 1111 1111 1112 is on its way.")]),
        ("personal_data", 0.0, [agent("We pay to DE89 3704 0044 0532 0130 00.")]),
        ("personal_data", 0.0, [user(), agent("Write to mia@example.org.")]),
        ("personal_data", 1.0, [user("I am mia@example.org"), agent("So mia@example.org?")]),
        ("personal_data", 1.0, [agent("Flight HAT001 leaves on 2024-05-15 at 14:00.")]),
        ("kept_promises", 1.0, [user(), BOOK, agent("I have booked it.")]),
        ("kept_promises", 0.0, [user(), FIND, agent("I've now booked it.")]),
        ("kept_promises", 0.0, [user(), FAILED, agent("I have booked it.")]),
        ("kept_promises", None, [user(), agent("Shall I book it? It has been cancelled.")]),
        ("ended=completed", 1.0, [user(), SessionEnded()]),
        ("ended=completed", 0.0, [user(), SessionEnded("error")]),
        ("ended=completed", None, [user()]),
        (
            "state=/paid=12.50",
            1.0,
            [StatePatched([{"op": "add", "path": "/paid", "value": 12.5}]), agent("Thanks.")],
        ),
        ("state=/paid=1", 0.0, [user(), agent("Thanks.")]),
    ],
)
def test_a_check_of_a_recorded_conversation(
    check: str, expected: float | None, events: list[object]
) -> None:
    """1 where it holds, 0 where it does not, nothing where it does not apply."""
    assert of_all(check, *events) == expected


@pytest.mark.parametrize(
    ("check", "expected", "action", "events"),
    [
        ("repeated_calls", 0.0, Action(calls=(Call("find"),)), [user(), FIND, FIND]),
        ("repeated_calls", 1.0, Action(calls=(Call("find"),)), [user(), FIND, FIND, user()]),
        ("repeated_calls", None, SAYS, [user(), FIND, FIND, FIND]),
        ("tool_before=find,book", 0.0, TO_BOOK, [user(), agent("Yes?"), user()]),
        ("tool_before=find,book", 1.0, TO_BOOK, [user(), FIND]),
        ("tool_before=find,book", None, SAYS, [user(), BOOK]),
        ("done_twice", 0.0, TO_BOOK, [user(), BOOK, user()]),
        ("done_twice", 1.0, TO_BOOK, [user(), FAILED]),
        ("kept_promises", 0.0, Action(text="I've booked it."), [user(), FIND]),
        ("kept_promises", 1.0, Action(text="I've booked it.", calls=TO_BOOK.calls), [user()]),
        ("never_tools=book", 0.0, TO_BOOK, [user()]),
        ("max_words=5", 0.0, SAYS, [user()]),
        ("ended=completed", None, SAYS, [user()]),
        ("state=/paid=1", None, SAYS, [user()]),
    ],
)
def test_a_check_of_an_answer_in_the_place_of_the_recorded_one(
    check: str, expected: float | None, action: Action, events: list[object]
) -> None:
    """What was recorded up to there, and the answer, whose calls have no results yet."""
    assert of_answer(check, action, *events) == expected


def test_an_output_contract_is_a_schema_in_a_file(tmp_path: Path) -> None:
    """The words must be JSON, and fit."""
    schema = tmp_path / "contract.json"
    schema.write_text(json.dumps({"type": "object", "required": ["ok"]}))
    check = f"json_output={schema}"
    assert of_all(check, agent('{"ok": true}')) == 1.0
    assert of_all(check, agent('{"no": true}')) == 0.0
    assert of_all(check, agent("Yes, it is ok.")) == 0.0


@pytest.mark.parametrize("name", BUILT_IN)
def test_every_check_needs_its_setting_or_has_a_default(name: str) -> None:
    """Without either it is refused, with what to give."""
    own = BUILT_IN[name]
    if own.default is not None:
        assert read_check(name).metric.name == f"check:{name}"
    else:
        with pytest.raises(UsageError, match=f"{name}={own.setting}".replace("|", r"\|")):
            read_check(name)


@pytest.mark.parametrize(
    "text",
    ["max_calls=many", "repeated_calls=0", "says=(", "tool_before=a", "only_tools=,", "nothing"],
)
def test_a_wrong_check_is_refused(text: str) -> None:
    """An unknown name, or a setting that is none."""
    with pytest.raises(UsageError, match=text.partition("=")[0]):
        read_check(text)
