"""What a call's arguments are known from, whatever shape the value has."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest

import refold
from refold import recording
from refold.conversation.events import (
    AgentConfigured,
    AgentUtterance,
    Prompt,
    ToolCall,
    ToolRelayed,
    ToolResult,
    UserUtterance,
)
from refold.conversation.what_if import what_if


def talk(result: Any, arguments: Any, *between: object) -> list[object]:
    """A result at version 2, an answer, what the user says then, and a call at the end."""
    return [
        UserUtterance("Look me up."),
        ToolCall(call_id="a", name="find"),
        ToolResult(call_id="a", result=result),
        AgentUtterance("What then?"),
        UserUtterance("The usual."),
        *between,
        ToolCall(
            call_id="b",
            name="act",
            arguments=arguments if isinstance(arguments, str) else json.dumps(arguments),
        ),
    ]


def lost(events: list[object], **changed: Any) -> dict[int, str]:
    """What loses its ground, and why."""
    with refold.open("memory:") as store:
        store.append("call-1", events)
        found = what_if(store.branch("call-1"), **changed)
    return {one.event.version: one.reason for one in found.groundless}


@pytest.mark.parametrize(
    ("result", "arguments", "pointer"),
    [
        ({"id": "ann_7"}, {"user": "ann_7"}, "/user"),
        ({"id": "ann_7"}, {"to": [{"user": {"id": "ANN_7"}}]}, "/to/0/user/id"),
        ('{"id": "\\u00dcnal"}', {"name": "Ünal"}, "/name"),
        ({"fare": 327.5}, {"pay": [{"amount": 327.50}]}, "/pay/0/amount"),
        ('{"fare": 327.0}', {"amount": 327}, "/amount"),
        ("It is $1,200 in all.", {"amount": 1200}, "/amount"),
        ({"fare": "1e3"}, {"amount": 1000.0}, "/amount"),
        ({"fare": Decimal("0.10")}, '{"amount": 0.1}', "/amount"),
        ({"items": {"9523456873": {"left": 2}}}, {"item": "9523456873"}, "/item"),
        ({"fare": 158}, {"expression": "(158 + 2) * 3"}, "/expression"),
        ({"mail": "ann@x.org"}, {"note": "Wrote to ann@x.org."}, "/note"),
        ({"name": "Ann Lee"}, {"note": "For Ann Lee, by phone."}, "/note"),
        ({"seats": [{"row": "17C"}]}, {"body": '{"seat": {"row": "17C"}}'}, "/body/seat/row"),
        ("Her number is P-771.", "P-771 is to be called", "/"),
    ],
)
def test_a_value_that_the_removed_result_alone_told(
    result: Any, arguments: Any, pointer: str
) -> None:
    """Whatever the tool, and wherever it stands: deep in JSON, in JSON within text, in a sum."""
    why = lost(talk(result, arguments), without=["2"])
    assert why[5] == f"its argument {pointer} is known from call-1@2 (tool.result) alone"
    assert why.keys() == {3, 5}


@pytest.mark.parametrize(
    ("result", "arguments", "said"),
    [
        ({"id": "ann_7"}, {"user": "ann_7"}, "I am Ann_7."),
        ({"fare": 327}, {"amount": 327.0}, "I pay 327."),
        ({"fare": 1200}, {"sum": "1200 + 3"}, "It was 1,200 dollars."),
        ({"day": "2024-05-15"}, {"day": "2024-05-15"}, "From 2024-05-15T10:00 on."),
        ({"seats": 2}, {"seats": 2}, ""),
        ({"id": "ann_7"}, {"user": "eve_9"}, ""),
    ],
)
def test_a_value_that_another_source_told_too_or_none(
    result: Any, arguments: Any, said: str
) -> None:
    """It is still known; one that nobody told, or that is too short, says nothing."""
    assert 6 not in lost(talk(result, arguments, UserUtterance(said)), without=["2"])


@pytest.mark.parametrize(
    ("result", "arguments", "said"),
    [
        ({"fare": 150}, {"amount": 150}, "My flight is HAT150 of 1500, for 150.75."),
        ({"code": "HAT9"}, {"code": "HAT9"}, "Not HAT90, and no CHAT9."),
        ({"airport": "BOS"}, {"from": "BOS"}, "I am in Boston."),
    ],
)
def test_a_piece_of_a_longer_value_is_another_value(result: Any, arguments: Any, said: str) -> None:
    """Who said 1500 did not say 150."""
    assert 6 in lost(talk(result, arguments, UserUtterance(said)), without=["2"])


def test_what_two_told_is_lost_with_both() -> None:
    """Each alone may go; where both do, the first is named."""
    events = talk({"id": "ann_7"}, {"user": "ann_7"}, UserUtterance("I am ann_7."))
    assert 6 not in lost(events, without=["2"])
    assert lost(events, without=["5"]) == {6: "rests on call-1@5 (user.utterance)"}
    assert lost(events, without=["2", "5"])[6] == "rests on call-1@5 (user.utterance)"
    later = [*events[:6], AgentUtterance("Well."), UserUtterance("Go on."), events[6]]
    assert lost(later, without=["2", "5"])[8] == (
        "its argument /user is known from call-1@2 (tool.result) alone"
    )


def test_the_same_in_the_place_of_an_event_takes_no_ground_away() -> None:
    """As many events as were changed are told, and nothing rests on another."""
    events = talk({"id": "ann_7", "seats": 2}, {"user": "ann_7"})
    same = ToolResult(call_id="a", result={"seats": 2, "id": "ann_7"})
    with refold.open("memory:") as store:
        store.append("call-1", events)
        history = store.branch("call-1")
        found = what_if(history, replacing={"2": [same]})
        assert (len(found.removed), len(found.added), found.groundless) == (1, 1, [])
        both = what_if(history, replacing={"2": [same]}, adding={"2": [UserUtterance("Hm.")]})
    assert {one.event.version for one in both.groundless} == {3}
    other = ToolResult(call_id="a", result={"id": "ann_7", "seats": 3})
    assert lost(events, replacing={"2": [other]}).keys() == {3}


def test_the_first_event_and_the_last() -> None:
    """On the prompt rest all answers that were given under it; on the last event rests nothing."""
    events = [AgentConfigured(prompt=Prompt("Be kind.")), *talk({"id": "x-1"}, {"user": "x-1"})]
    assert lost(events, without=["6"]) == {}
    why = lost(events, without=["0"])
    assert why[2] == "rests on call-1@0 (agent.configured)"
    assert why.keys() == {2, 3, 4, 6}
    assert lost(events, replacing={"0": [AgentConfigured(prompt=Prompt("Be kind."))]}) == {}
    twice = [*events[:5], AgentConfigured(prompt=Prompt("Be brief.")), *events[5:]]
    assert lost(twice, without=["5"]) == {7: "rests on call-1@5 (agent.configured)"}
    new = lost(events, adding={"4": [AgentConfigured(prompt=Prompt("Be brief."))]})
    assert new == {6: "did not know of call-1~@0 (agent.configured)"}


def test_what_was_relayed_of_a_result_goes_with_it() -> None:
    """It tells nothing then, of which a later call could be made."""
    relayed = ToolRelayed(call_id="a", result="It is ann_7.")
    events = talk({"id": "ann_7"}, {"user": "ann_7"})
    events = [*events[:3], relayed, *events[3:]]
    why = lost(events, without=["2"])
    assert why[3] == "rests on call-1@2 (tool.result)"
    assert why[6] == "its argument /user is known from call-1@2 (tool.result) alone"
    assert lost(events, without=["1"]).keys() == {2, 3, 4, 6}


def test_where_causes_were_recorded_they_lead_from_one_event_to_the_next() -> None:
    """A recorded call is a chain of causes: each that follows is named once, by its own cause."""
    with refold.open("memory:") as store:
        with recording.record(store, "call-1") as session:
            session.user_said("I am Ann Lee.")
            session.model_answered(tool_calls=[ToolCall("c1", "find")])
            session.tool_returned("c1", {"patient": "P-77"})
            session.model_answered(tool_calls=[ToolCall("c2", "book", arguments='{"p": "P-77"}')])
            session.tool_returned("c2", {"booked": True})
            session.model_answered("Booked.")
        history = store.branch("call-1")
        (find,) = (
            one.id for one in history if one.data.get("call_id") == "c1" and "name" in one.data
        )
        found = what_if(history, without=[find])
        last = what_if(history, without=[history.events[-1].id])
    lost_ids = [one.event.version for one in found.groundless]
    assert lost_ids == list(range(int(find.partition("@")[2]) + 1, len(history)))
    assert last.groundless == []
