"""What no longer follows when a conversation had gone otherwise: by causes, and by data."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

import refold
from refold.conversation.events import (
    AgentUtterance,
    SessionStarted,
    ToolCall,
    ToolResult,
    UserUtterance,
)
from refold.conversation.importers import import_files
from refold.conversation.what_if import WhatIf, what_if
from refold.errors import NotFound, UsageError
from tests.conversation.importers.inputs import real
from tests.support.work import calls_counted


def call(own: str, name: str, /, **arguments: Any) -> ToolCall:
    return ToolCall(call_id=own, name=name, arguments=json.dumps(arguments))


def told(own: str, result: str) -> ToolResult:
    return ToolResult(call_id=own, result=result)


EVENTS: list[object] = [
    SessionStarted(),
    UserUtterance("I am Ada Smith, and it is about flight HAT9."),
    call("a", "find", name="Ada Smith"),
    told("a", '{"user": "ada_77", "seats": 2}'),
    AgentUtterance("What do you wish?"),
    UserUtterance("Cancel it."),
    call("b", "cancel", user="ada_77", flight="hat9", seats=2),
    told("b", "done"),
    AgentUtterance("It is done."),
]


def asked(**changed: Any) -> WhatIf:
    with refold.open("memory:") as store:
        store.append("call-1", EVENTS)
        return what_if(store.branch("call-1"), **changed)


def ground(found: WhatIf) -> dict[int, str]:
    return {one.event.version: one.reason for one in found.groundless}


def test_a_value_that_only_a_removed_result_told_is_known_no_more() -> None:
    """Turns later: the customer spoke in between, so nothing but the value leads back."""
    lost = ground(asked(without=["3"]))
    assert lost[4] == "rests on call-1@3 (tool.result)"
    assert lost[6] == "its argument /user is known from call-1@3 (tool.result) alone"
    assert lost[7] == "rests on call-1@6 (tool.call)"
    assert lost[8] == "rests on call-1@7 (tool.result)"
    assert lost.keys() == {4, 6, 7, 8}


def test_a_value_that_stands_elsewhere_is_still_known() -> None:
    """The flight was named by the customer, whatever the case; one digit tells nothing."""
    removed = ground(asked(without=["5"]))
    assert removed.keys() == {6, 7, 8}
    with refold.open("memory:") as store:
        store.append("call-1", [*EVENTS[:6], UserUtterance("I am ada_77."), *EVENTS[6:]])
        found = what_if(store.branch("call-1"), without=["3"])
    assert ground(found).keys() == {4}


def test_a_cause_on_record_is_taken_for_the_cause() -> None:
    """Where an event says why it came, its values are not looked into."""
    why = refold.Event(
        "tool.call",
        {"call_id": "b", "name": "cancel", "arguments": '{"u": "ada_77"}'},
        metadata={"causation": "call-1@5"},
    )
    with refold.open("memory:") as store:
        store.append("call-1", [*EVENTS[:6], why])
        found = what_if(store.branch("call-1"), without=["3"])
        assert ground(found).keys() == {4}
        found = what_if(store.branch("call-1"), without=["5"])
        assert ground(found).keys() == {6}


def test_with_another_result_what_was_made_of_the_first_is_named() -> None:
    """The branch holds the new one; a value that it tells too is known as before."""
    found = asked(replacing={"3": [told("a", '{"user": "bob_12"}')]})
    assert [one.version for one in found.removed] == [3]
    assert [one.data["result"] for one in found.added] == ['{"user": "bob_12"}']
    assert ground(found).keys() == {4, 6, 7, 8}
    same = asked(replacing={"call-1@3": [told("a", '{"user": "ada_77", "seats": 3}')]})
    assert ground(same).keys() == {4}


def test_an_answer_did_not_know_of_what_is_put_in_before_it() -> None:
    """The next answer, and what rests on it; one that comes later heard of other things."""
    found = asked(adding={"1": [UserUtterance("No, HAT8.")]})
    assert [one.type for one in found.after][:3] == [
        "session.started", "user.utterance", "user.utterance",
    ]  # fmt: skip
    lost = ground(found)
    assert lost[2] == "did not know of call-1~@0 (user.utterance)"
    assert lost.keys() >= {2, 3, 4}
    assert found.removed == []


def test_what_is_put_in_later_was_not_known_before() -> None:
    """A value that the agent hears again after its call does not tell what the call was made of."""
    again = [UserUtterance("I am ada_77.")]
    why = "its argument /user is known from call-1@3 (tool.result) alone"
    assert ground(asked(without=["3"], adding={"8": again}))[6] == why
    assert ground(asked(without=["3"], adding={"5": again}))[6] != why


def test_all_three_at_once_and_what_is_not_there() -> None:
    """Ids are those of the conversation as it was, in whatever order the changes are named."""
    found = asked(
        without=["5"],
        replacing={"7": [told("b", "failed")]},
        adding={"7": [UserUtterance("Well?")]},
    )
    assert [one.type for one in found.after][5:] == [
        "tool.call", "tool.result", "user.utterance", "agent.utterance",
    ]  # fmt: skip
    nowhere: list[dict[str, Any]] = [
        {"without": ["9"]},
        {"replacing": {"12": []}},
        {"adding": {"call-2@0": []}},
    ]
    for wrong in nowhere:
        with pytest.raises(NotFound):
            asked(**wrong)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"without": ["2"], "replacing": {"2": [told("a", "x")]}}, "both left out and replaced"),
        ({"without": ["call-1@2"], "replacing": {"2": []}}, "both left out and replaced"),
        ({"replacing": {"2": [], "call-1@2": []}}, "replaced twice"),
    ],
)
def test_one_thing_becomes_of_an_event(changed: dict[str, Any], said: str) -> None:
    """What is left out and replaced at once is refused by its id, with what to say instead."""
    with pytest.raises(UsageError, match=said) as raised:
        asked(**changed)
    assert raised.value.message.startswith("call-1@2 is")


def test_twice_the_changes_take_twice_the_steps() -> None:
    """However many events are left out or replaced: the conversation is read once for all."""

    def steps(count: int, how: str) -> int:
        with refold.open("memory:") as store:
            for number in range(count):
                spoken = UserUtterance(f"It is about flight HAT{number}.")
                found = call(f"c{number}", "find", flight=f"HAT{number}")
                store.append("call-1", [spoken, spoken, found, told(f"c{number}", "none")])
            branch = store.branch("call-1")
            assert len([*branch]) == 4 * count
            those = [str(4 * number) for number in range(count)]
            made: Any = (
                those if how == "without" else {one: [UserUtterance("Hm.")] for one in those}
            )
            with calls_counted() as counted:
                what_if(branch, **{how: made})
            return counted[0]

    for how in ("without", "replacing"):
        few, many = (steps(count, how) for count in (50, 200))
        assert many < 5 * few, how


def test_real_bookings_rest_on_the_profiles_that_were_looked_up() -> None:
    """Of recorded conversations: no customer had said a value that is named so."""
    file, named = real("tau-bench", "gpt-4o-airline.json"), 0
    with refold.open("memory:") as store:
        import_files(store, "tau-bench", [file])
        for info in list(store.streams())[:40]:
            history = store.branch(info.stream)
            results = [one for one in history if one.type == "tool.result"]
            if not results:
                continue
            found = what_if(history, without=[results[0].id])
            for one in found.groundless:
                if "its argument" not in one.reason:
                    continue
                named += 1
                pointer = one.reason.split()[2].split("/")[1:]
                value: Any = json.loads(one.event.data["arguments"])
                for part in pointer:
                    value = value[int(part) if isinstance(value, list) else part]
                users = [
                    e
                    for e in history
                    if e.type == "user.utterance" and e.version < one.event.version
                ]
                whole = re.compile(rf"(?<!\w){re.escape(str(value))}(?!\w)", re.IGNORECASE)
                assert not any(whole.search(e.data["text"]) for e in users)
    assert named > 0
