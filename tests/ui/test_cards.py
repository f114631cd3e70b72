"""How the events of a conversation are put under each other, and what rests on one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pytest

import refold
from refold.conversation.events import (
    AgentUtterance,
    ModelResponse,
    StatePatched,
    ToolCall,
    ToolResult,
    UserUtterance,
)
from refold.conversation.voice import CallTransferred, PlaybackInterrupted
from refold.ui.cards import CardStep
from refold.ui.conversation import shown
from refold.ui.resting import resting_on


def asks(message: str, call: str = "c", arguments: str = "{}") -> list[object]:
    """An answer that calls a tool, without a word."""
    return [
        ModelResponse(model="m", message_id=message),
        ToolCall(call_id=call, name="look", arguments=arguments, message_id=message),
    ]


def steps(*events: object) -> list[Any]:
    """The steps of a conversation: versions, what is under them in lists, repeats in tuples."""
    with refold.open("memory:") as store:
        store.append("call-1", list(events))
        return outlined(shown(store, "call-1").steps)


def outlined(found: Sequence[CardStep]) -> list[Any]:
    return list(told(found))


def told(found: Sequence[CardStep]) -> Iterator[Any]:
    for one in found:
        yield one.card.version
        if one.under:
            yield outlined(one.under)
        if one.again:
            yield tuple(outlined(one.again))


def test_tools_stand_under_the_answer_that_asked_for_them() -> None:
    """And under each call what it gave, wherever that came; words stand for their answer."""
    result, said = ToolResult(call_id="c", result=1), AgentUtterance(text="Hi", message_id="n")
    hello, answer = UserUtterance(text="Hello"), ModelResponse(message_id="n")
    assert steps(hello, *asks("m"), result) == [0, 1, [2, [3]]]
    assert steps(*asks("m"), hello, result) == [0, [1, [3]], 2]
    assert steps(answer, said, ToolCall(call_id="c", name="a", message_id="n"), result) == [
        1,
        [2, [3]],
    ]
    assert steps(said, ToolCall(call_id="c", name="a", message_id="n"), result) == [0, [1, [2]]]
    assert steps(result, hello) == [0, 1]


def test_a_call_id_that_is_used_again_belongs_to_the_call_that_waited_longest() -> None:
    """As the state pairs them."""
    calls = [*asks("m", arguments="1"), *asks("n", arguments="2")]
    results = [ToolResult(call_id="c", result=one) for one in (1, 2)]
    assert steps(*calls, *results) == [0, [1, [4]], 2, [3, [5]]]


def test_what_is_done_again_and_again_is_one_step_that_opens() -> None:
    """With what came of each; another call, other arguments or a word begin anew."""
    result = ToolResult(call_id="c", result=1)
    once = [*asks("m"), result]
    again = [*asks("n"), result, *asks("o"), result]
    assert steps(*once, *again) == [0, [1, [2]], (3, [4, [5]], 6, [7, [8]])]
    other = [*asks("p", arguments="[]"), result]
    assert steps(*once, *other) == [0, [1, [2]], 3, [4, [5]]]
    call = ToolCall(call_id="c", name="look")
    assert steps(call, result, call, result) == [0, [1], (2, [3])]


def test_what_was_heard_stands_beside_what_was_generated() -> None:
    """The words without the mark of a transcript, and who was handed on to is told apart."""
    said = AgentUtterance(text="At gate four, ma'am.", message_id="m")
    cut = PlaybackInterrupted(played_text="At gate", message_id="m")
    with refold.open("memory:") as store:
        store.append("call-1", [said, cut, CallTransferred(to_party="desk")])
        cards = [step.card for step in shown(store, "call-1").steps]
    assert (cards[0].line.text, cards[0].heard) == (said.text, cut.played_text)
    assert [card.kind for card in cards] == ["agent", "cut", "handed"]


@pytest.mark.parametrize(("version", "rests"), [(0, [1, 2]), (1, [2]), (3, [])])
def test_what_rests_on_an_event_is_what_would_lose_its_ground(
    version: int, rests: list[int]
) -> None:
    """The result of a call, the answer to a question; and the state without it."""
    events = [
        UserUtterance(text="Where?"),
        ToolCall(call_id="c", name="look"),
        ToolResult(call_id="c", result=1),
        StatePatched([{"op": "add", "path": "/gate", "value": 4}]),
    ]
    with refold.open("memory:") as store:
        store.append("call-1", events)
        found = resting_on(store, store.event(f"call-1@{version}"))
        long = [UserUtterance(text="x")] * 2_001
        store.append("long-1", long)
        assert resting_on(store, store.event("long-1@0")) is None
    assert found is not None
    assert [one.event.version for one in found.groundless] == rests
    changed = [(one.op, one.path) for one in found.changes]
    assert changed == ([("remove", "/state/gate")] if version == 3 else [])
