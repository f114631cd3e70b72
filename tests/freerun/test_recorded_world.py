"""Tool results come from the record by what was asked, and from nowhere else unless declared."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import refold
from refold.conversation.events import AgentConfigured, ToolCall, ToolRelayed, ToolResult
from refold.core.recorded import Recorded
from refold.errors import UsageError
from refold.freerun.policies import (
    Fixed,
    LiveRead,
    Simulated,
    Simulation,
    ToolPolicies,
    read_policies,
)
from refold.freerun.recorded_world import RecordedWorld
from refold.freerun.world import Missed, ToolOutput
from refold.replay import Call
from tests.freerun.records import Asked, call, record, tool

READ, WRITE = tool("look", "read"), tool("book", "write")
FRIDAY, SATURDAY = {"day": "Friday"}, {"day": "Saturday"}


def world(
    *answers: Sequence[Asked], tools: Any = (READ, WRITE), offered: Any = None, **declared: Any
) -> RecordedWorld:
    """The world of a record in which these were called, each sequence in one answer."""
    return RecordedWorld(record(answers, tools), ToolPolicies(**declared), offered)


def told(world: RecordedWorld, tool: str, arguments: Any = None) -> str:
    """What a call is told, or why it is told nothing."""
    found = world.answer(call(tool, arguments))
    return found.output if isinstance(found, ToolOutput) else found.cause


# -- what is found ---------------------------------------------------------------------------------


def test_a_result_is_that_of_the_same_arguments_whatever_the_order() -> None:
    """First-in-first-out would tell the hours of another day, and pass."""
    own = world([Asked("look", FRIDAY, "ten")], [Asked("look", SATURDAY, "nine")])
    assert (told(own, "look", SATURDAY), told(own, "look", FRIDAY)) == ("nine", "ten")


def test_the_same_call_again_gets_the_next_result_and_then_none() -> None:
    """The occurrence is part of what a result is found by."""
    own = world([Asked("look", FRIDAY, "ten")], [Asked("look", FRIDAY, "eleven")])
    assert [told(own, "look", FRIDAY) for _ in range(3)] == ["ten", "eleven", "absent"]


def test_arguments_are_values_and_no_text() -> None:
    """White space and the order of keys say nothing, and 1.0 is 1; True is not."""
    own = world([Asked("look", {"a": 1, "b": [2]}, "ten")])
    assert told(own, "look", {"a": True, "b": [2]}) == "absent"
    assert told(own, "look", '{ "b":[2.0], "a":1 }') == "ten"


def test_the_normal_form_comes_after_the_exact_one() -> None:
    """A field that does not count is ignored, but an equal one is found first."""
    one, two = {"day": "Friday", "id": 1}, {"day": "Friday", "id": 2}
    own = world([Asked("look", one, "a")], [Asked("look", two, "b")], ignore=["look/id"])
    assert own.answer(call("look", two)) == ToolOutput("b", source="recorded", at="call-1@4")
    other = own.answer(call("look", {"day": "Friday", "id": 3}))
    assert other == ToolOutput("a", source="normalised", at="call-1@2")


def test_another_schema_is_another_tool() -> None:
    """A candidate that is offered the tool with other parameters gets nothing of the record."""
    own = world([Asked("look", FRIDAY, "ten")], offered=[tool("look", "read", day={})])
    assert told(own, "look", FRIDAY) == "absent"
    own = world([Asked("look", FRIDAY, "ten")], offered=[READ])
    assert told(own, "look", FRIDAY) == "ten"


def test_a_record_without_schemas_is_asked_without_them() -> None:
    """Where the candidate has the tools of the record, what it does not say does not differ."""
    assert told(world([Asked("look", FRIDAY, "ten")], tools=()), "look", FRIDAY) == "ten"


def test_the_agent_is_told_what_it_was_told() -> None:
    """JSON as text, errors as errors, and what was relayed in place of the result."""
    events: list[Any] = [
        ToolCall("c1", "look", "{}"), ToolResult("c1", {"a": [1]}, is_error=True),
        ToolCall("c1", "look", '{"b": 1}'), ToolResult("c1", "all"), ToolRelayed("c1", "a part"),
    ]  # fmt: skip
    with refold.open("memory:") as store:
        store.append("call-1", [refold.Event.of(event) for event in events])
        own = RecordedWorld(list(store.read("call-1")), ToolPolicies())
    assert own.answer(call("look")) == ToolOutput('{"a":[1]}', is_error=True, at="call-1@1")
    assert told(own, "look", {"b": 1}) == "a part"


def test_a_miss_says_what_was_looked_for_and_what_would_help() -> None:
    """It names the call, what is on record of the tool, and what could be declared."""
    own = world([Asked("look", FRIDAY, "ten")])
    missed = own.answer(call("look", SATURDAY))
    assert isinstance(missed, Missed)
    assert (missed.effect, missed.cause) == ("read", "absent")
    for part in ('look({"day": "Saturday"})', "the 1 calls of look", "LiveRead"):
        assert part in missed.why
    assert told(own, "refund") == "absent"


def test_recordings_that_nobody_asked_for_are_told() -> None:
    """In the order of the record, by the event of the result; a call without one is none."""
    own = world(
        [Asked("look", FRIDAY, "ten"), Asked("look", SATURDAY, "nine")], [Asked("book", {})]
    )
    assert [one.at for one in own.unasked()] == ["call-1@3", "call-1@4"]
    told(own, "look", FRIDAY)
    assert [one.call.arguments for one in own.unasked()] == [json.dumps(SATURDAY)]


# -- reads after writes ----------------------------------------------------------------------------

BOOKED = [
    [Asked("look", FRIDAY, "ten")],
    [Asked("book", FRIDAY, "done")],
    [Asked("look", FRIDAY, "none")],
]


def test_a_read_after_the_recorded_writes_is_as_it_was() -> None:
    """The record walked as it is gives what it gave."""
    own = world(*BOOKED)
    for name, gave in (("look", "ten"), ("book", "done"), ("look", "none")):
        assert told(own, name, FRIDAY) == gave
    assert own.unasked() == []


def test_a_read_without_the_write_before_it_is_no_answer() -> None:
    """The second look saw a booking that was not made now."""
    own = world(*BOOKED)
    assert told(own, "look", FRIDAY) == "ten"
    missed = own.answer(call("look", FRIDAY))
    assert isinstance(missed, Missed)
    assert missed.cause == "changed"
    assert "at call-1@5" in missed.why


def test_a_read_before_a_write_of_the_record_gets_the_result_of_its_state() -> None:
    """Who books first and looks once sees what was seen after the booking."""
    own = world(*BOOKED)
    assert [told(own, "book", FRIDAY), told(own, "look", FRIDAY)] == ["done", "none"]


def test_a_read_after_another_write_is_no_answer() -> None:
    """Its key matches, and yet what it would say is not known."""
    own = world(*BOOKED, otherwise={"book": Fixed("done")})
    assert [told(own, "book", SATURDAY), told(own, "look", FRIDAY)] == ["done", "changed"]
    missed = own.answer(call("look", FRIDAY))
    assert isinstance(missed, Missed)
    assert "other writes" in missed.why


def test_calls_of_one_answer_have_no_order() -> None:
    """What was asked at once may be asked in any order, also where nobody says what a tool does."""
    own = world([Asked("look", FRIDAY, "ten"), Asked("book", FRIDAY, "done")], tools=())
    assert [told(own, "book", FRIDAY), told(own, "look", FRIDAY)] == ["done", "ten"]


def test_a_write_is_told_what_it_was_told_in_any_order() -> None:
    """Two bookings the other way round end in the same state, and are no divergence."""
    own = world([Asked("book", FRIDAY, "a")], [Asked("book", SATURDAY, "b")])
    assert [told(own, "book", SATURDAY), told(own, "book", FRIDAY)] == ["b", "a"]


ARGUMENTS = st.integers(0, 2).map(lambda number: {"n": number})
CALLS = st.tuples(st.sampled_from(["look", "book", "guess"]), ARGUMENTS)


@settings(max_examples=150, deadline=None)
@given(
    answers=st.lists(st.lists(CALLS, min_size=1, max_size=3), max_size=5),
    asked=st.lists(CALLS, max_size=8),
)
def test_it_answers_as_the_rules_say(
    answers: list[list[tuple[str, Any]]], asked: list[tuple[str, Any]]
) -> None:
    """Beside a plain reading of the rules: same tool and arguments, each once, reads as then."""
    flat = [(turn, name, str(said)) for turn, one in enumerate(answers) for name, said in one]
    own = world(
        *[[Asked(name, said, f"{turn}.{n}") for n, (name, said) in enumerate(one)]
          for turn, one in enumerate(answers)]
    )  # fmt: skip
    outputs = [f"{turn}.{n}" for turn, one in enumerate(answers) for n in range(len(one))]
    left, done = list(range(len(flat))), Counter[tuple[str, str]]()
    for name, said in asked:
        wanted = "absent"
        for place in left:
            turn, *known = flat[place]
            if known != [name, str(said)]:
                continue
            before = Counter((t, s) for at, t, s in flat if t != "look" and at < turn)
            most = Counter((t, s) for at, t, s in flat if t != "look" and at <= turn)
            if name == "book" or (before <= done and done <= most):
                wanted = outputs[place]
                left.remove(place)
                break
            wanted = "changed"
        assert told(own, name, said) == wanted
        if wanted in outputs and name != "look":
            done[name, str(said)] += 1
    assert len(own.unasked()) == len(left)


@settings(max_examples=60, deadline=None)
@given(answers=st.lists(st.lists(CALLS, min_size=1, max_size=3), max_size=6), data=st.data())
def test_the_record_itself_is_answered_whole(
    answers: list[list[tuple[str, Any]]], data: st.DataObject
) -> None:
    """An agent that does what the recorded one did, in any order within an answer, gets it all."""
    own = world(*[[Asked(name, said, f"{name}{said}") for name, said in one] for one in answers])
    for one in answers:
        for name, said in data.draw(st.permutations(one)):
            assert told(own, name, said) == f"{name}{said}"
    assert own.unasked() == []


# -- what may be declared --------------------------------------------------------------------------


class Till:
    """A simulation: what is booked is counted, from what the record shows at first."""

    def __init__(self, history: Sequence[Recorded]) -> None:
        self.booked = len(history)

    def perform(self, call: Call) -> tuple[str, bool]:
        """Count a booking; a look tells the count; anything else fails."""
        if call.name == "book":
            self.booked += 1
        elif call.name != "look":
            raise KeyError(call.name)
        return str(self.booked), False


def never(**_: Any) -> str:
    """A tool that must not run."""
    raise AssertionError("it ran")


@pytest.mark.parametrize("effect", ["irreversible", "unknown", "write"])
def test_no_tool_is_run_that_does_more_than_read(effect: Any) -> None:
    """It is refused where it is declared, and the error names the fix."""
    with pytest.raises(UsageError, match="look is " + effect) as raised:
        ToolPolicies(effects={"look": effect}, otherwise={"look": LiveRead(never)})
    assert {"unknown": "effects=", "irreversible": "Fixed", "write": "Simulated"}[
        effect
    ] in raised.value.args[0]


@pytest.mark.parametrize("effect", ["irreversible", "unknown"])
def test_no_simulator_stands_in_for_what_cannot_be_undone(effect: Any) -> None:
    """Nor for a tool of which nobody said what it does."""
    with pytest.raises(UsageError, match="Simulated may not stand in"):
        ToolPolicies(effects={"pay": effect}, otherwise={"pay": Simulated(Till)})


def test_the_record_may_say_worse_than_the_policy() -> None:
    """A tool that the record calls irreversible is not run as a read, whoever says so."""
    own = world(
        [Asked("pay", {}, "paid")],
        tools=[tool("pay", "irreversible")],
        effects={"pay": "read"},
        otherwise={"pay": LiveRead(never)},
    )
    missed = own.answer(call("pay", FRIDAY))
    assert isinstance(missed, Missed)
    assert missed.effect == "irreversible"
    assert "LiveRead may not stand in" in missed.why


@pytest.mark.parametrize("is_offered", [False, True])
def test_a_tool_that_was_never_called_is_what_its_description_says(is_offered: bool) -> None:
    """Who offers it says what it does, in the record or in the variant, called there or not."""
    described = [tool("pay", "irreversible")]
    policies = ToolPolicies(effects={"pay": "read"}, otherwise={"pay": LiveRead(never)})
    history = record([[Asked("look", FRIDAY, "ten")]], [] if is_offered else described)
    own = RecordedWorld(history, policies, described if is_offered else None)
    missed = own.answer(call("pay", FRIDAY))
    assert isinstance(missed, Missed)
    assert missed.effect == "irreversible"


def test_a_live_read_is_run_on_a_miss_alone_and_marked() -> None:
    """The record comes first; what the tool says now is contaminated, its failure an error."""
    seen: list[dict[str, Any]] = []

    def look(day: str) -> dict[str, str]:
        seen.append({"day": day})
        if day == "Sunday":
            raise ValueError("closed")
        return {"free": day}

    own = world([Asked("look", FRIDAY, "ten")], otherwise={"look": LiveRead(look)},
                effects={"look": "read"})  # fmt: skip
    assert told(own, "look", FRIDAY) == "ten"
    assert own.answer(call("look", SATURDAY)) == ToolOutput('{"free":"Saturday"}', source="live")
    failed = own.answer(call("look", {"day": "Sunday"}))
    assert failed == ToolOutput("ValueError: closed", is_error=True, source="live")
    assert seen == [SATURDAY, {"day": "Sunday"}]


def test_a_live_read_may_be_async() -> None:
    """What it comes to is told, not that it is to be awaited."""

    async def look(day: str) -> str:
        return f"free on {day}"

    policies: Any = {"otherwise": {"look": LiveRead(look)}, "effects": {"look": "read"}}
    own = world([Asked("look", FRIDAY, "ten")], **policies)
    assert own.answer(call("look", SATURDAY)) == ToolOutput("free on Saturday", source="live")


def test_a_call_that_is_on_record_without_its_result_is_told_as_that() -> None:
    """It was not asked more often than then: nobody knows what it gave."""
    missed = world([Asked("look", FRIDAY)]).answer(call("look", FRIDAY))
    assert isinstance(missed, Missed)
    assert "on record at call-1@1, but not what it gave" in missed.why


SIMULATED: dict[str, Any] = {
    "effects": {"look": "read", "book": "write"},
    "otherwise": dict.fromkeys(("look", "book"), Simulated(Till)),
}


def test_a_simulator_follows_the_record_and_answers_what_is_not_on_it() -> None:
    """It starts from the recorded state, knows what the record answered, and shares it by tool."""
    own = world(*BOOKED, **SIMULATED)
    start = len(record(BOOKED))
    assert told(own, "book", FRIDAY) == "done"
    assert own.answer(call("book", SATURDAY)) == ToolOutput(str(start + 2), source="simulated")
    assert own.answer(call("look", FRIDAY)) == ToolOutput(str(start + 2), source="simulated")


def test_a_simulator_that_fails_is_a_miss_and_is_not_asked_again_out_of_step() -> None:
    """What it would say after a call that it could not follow is not known."""

    def broken(_: Sequence[Recorded]) -> Simulation:
        raise OSError("no file")

    declared = {**SIMULATED, "otherwise": dict.fromkeys(("look", "book"), Simulated(broken))}
    own = world(*BOOKED, **declared)
    assert told(own, "look", FRIDAY) == "ten"
    assert told(own, "look", SATURDAY) == "failed"
    missed = own.answer(call("look", SATURDAY))
    assert isinstance(missed, Missed)
    assert "could not follow look: OSError: no file" in missed.why


def test_a_policy_is_one_of_three() -> None:
    """And an effect one of four."""
    with pytest.raises(UsageError, match="give Fixed"):
        ToolPolicies(otherwise={"look": "record"})  # type: ignore[dict-item]
    with pytest.raises(UsageError, match="is none of read, write"):
        ToolPolicies(effects={"look": "reads"})  # type: ignore[dict-item]


def test_policies_are_read_from_a_file(tmp_path: Path) -> None:
    """As checks are: FILE.py:NAME; what is there must be policies."""
    file = tmp_path / "tools.py"
    file.write_text(
        "from refold.freerun.policies import Fixed, ToolPolicies\n"
        "TOOLS = ToolPolicies(otherwise={'think': Fixed('')})\nOTHER = 1\n"
    )
    assert read_policies(f"{file}:TOOLS").otherwise == {"think": Fixed("")}
    with pytest.raises(UsageError, match="is no ToolPolicies"):
        read_policies(f"{file}:OTHER")
    with pytest.raises(UsageError, match="cannot be had"):
        read_policies(f"{file}:NONE")
    for text in (str(file), f"{file}:", ":TOOLS"):
        with pytest.raises(UsageError, match="give FILE"):
            read_policies(text)


def test_a_changed_configuration_does_not_lose_what_came_before() -> None:
    """A tool that was described anew in the middle is the same tool of the record."""
    events: list[Any] = [
        AgentConfigured(tools=[READ]), ToolCall("c1", "look", "{}"), ToolResult("c1", "ten"),
        AgentConfigured(tools=[tool("look", "read", day={})]),
    ]  # fmt: skip
    with refold.open("memory:") as store:
        store.append("call-1", [refold.Event.of(event) for event in events])
        own = RecordedWorld(list(store.read("call-1")), ToolPolicies())
    assert told(own, "look") == "ten"
