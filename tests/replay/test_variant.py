"""A variant changes what it says in a request and nothing else, and is known by its content."""

from typing import Any

import msgspec
import pytest

import refold
from refold.conversation import AgentConfigured, AgentUtterance, Tool, UserUtterance
from refold.core.event import category_of
from refold.errors import UsageError
from refold.replay import ChatRequest, Variant, branch_name, decisions
from refold.replay.request import RequestMaker, with_prompt
from tests.replay.stories import record

SYSTEM = {"role": "system", "content": "Be kind."}
USER = {"role": "user", "content": "Where is booking B1?"}
TOOL = {
    "type": "function",
    "function": {"name": "find", "description": "Find.", "parameters": {"type": "object"}},
}


def asked(variant: Variant, *, at: int = 0, model: str | None = None) -> ChatRequest:
    """The request for a decision of the small story."""
    with refold.open("memory:") as store:
        record(store, "call-1")
        history = list(store.read("call-1"))
    return RequestMaker(history, [variant], model=model).at(decisions(history)[at])[0]


def test_the_unchanged_variant_asks_exactly_what_was_recorded() -> None:
    """Messages, model, tools and params are those in force at the decision."""
    body = asked(Variant(), at=1).body()
    assert [message["role"] for message in body["messages"]] == [
        "system",
        "user",
        "assistant",
        "tool",
    ]
    assert body["messages"][:2] == [SYSTEM, USER]
    assert (body["model"], body["temperature"]) == ("small", 0)
    assert [tool["function"]["name"] for tool in body["tools"]] == ["lookup"]


def test_a_custom_tool_is_offered_as_one() -> None:
    """It takes text: offered as a function it would be another tool."""
    offered = AgentConfigured(tools=[Tool("run", "Runs it.", kind="custom")])
    with refold.open("memory:") as store:
        store.append("call-1", [offered, UserUtterance("Hi"), AgentUtterance("Hello")])
        history = list(store.read("call-1"))
    custom = {"type": "custom", "custom": {"name": "run", "description": "Runs it."}}
    (request,) = RequestMaker(history, [Variant()]).at(decisions(history)[0])
    assert request.tools == [custom]


CUSTOM = {"type": "custom", "custom": {"name": "run"}}


@pytest.mark.parametrize(
    ("variant", "name", "value"),
    [
        (Variant(prompt="Be brief."), "messages", [{**SYSTEM, "content": "Be brief."}, USER]),
        (Variant(model="large"), "model", "large"),
        (Variant(params={"temperature": 1}), "temperature", 1),
        (Variant(params={"seed": 7}), "seed", 7),
        (Variant(tools=[TOOL]), "tools", [TOOL]),
        (Variant(tools=[TOOL["function"]]), "tools", [TOOL]),  # type: ignore[list-item]
        (Variant(tools=[{"type": "function", **TOOL["function"]}]), "tools", [TOOL]),  # type: ignore[dict-item]
        (Variant(tools=[CUSTOM]), "tools", [CUSTOM]),
        (Variant(tools=[{"type": "web_search"}]), "tools", [{"type": "web_search"}]),
    ],
)
def test_a_variant_changes_only_what_it_names(variant: Variant, name: str, value: Any) -> None:
    """Every other member of the request is as it is without the variant."""
    body, plain = asked(variant).body(), asked(Variant()).body()
    assert body.pop(name) == value
    plain.pop(name, None)
    assert body == plain


def test_an_empty_list_of_tools_takes_them_away() -> None:
    """Services refuse an empty list, so the member is left out."""
    assert "tools" not in asked(Variant(tools=[])).body()


def test_the_variants_model_comes_before_the_endpoints_before_the_recorded() -> None:
    """Whoever is most explicit about the model decides."""
    assert asked(Variant(model="large"), model="default").model == "large"
    assert asked(Variant(), model="default").model == "default"
    assert asked(Variant()).model == "small"


@pytest.mark.parametrize(
    ("messages", "expected"),
    [
        pytest.param([USER], [{"role": "system", "content": "New."}, USER], id="added"),
        pytest.param(
            [{"role": "developer", "content": "Old.", "name": "d"}, USER],
            [{"role": "developer", "content": "New.", "name": "d"}, USER],
            id="in place, role and name kept",
        ),
        pytest.param(
            [SYSTEM, USER, {"role": "system", "content": "It is noon."}],
            [
                {"role": "system", "content": "New."},
                USER,
                {"role": "system", "content": "It is noon."},
            ],
            id="later ones stay",
        ),
    ],
)
def test_a_prompt_takes_the_place_of_the_system_message(
    messages: list[dict[str, Any]], expected: list[dict[str, Any]]
) -> None:
    """Replaced where there is one, put first where there is none; the argument is untouched."""
    before = msgspec.json.encode(messages)
    assert with_prompt(messages, "New.") == expected
    assert msgspec.json.encode(messages) == before


def test_the_id_of_a_variant_is_its_content() -> None:
    """Equal variants have equal ids whatever the order of keys; ids stay the same for ever."""
    one = Variant(prompt="p", params={"a": 1, "b": 2})
    assert one.id == Variant(prompt="p", params={"b": 2, "a": 1}).id
    others = [Variant(), Variant(prompt="q"), Variant(label="p"), Variant(tools=[])]
    assert len({variant.id for variant in [one, *others]}) == 5
    assert Variant().id == "44136fa355b3"
    assert one.id == "0bc405b9436e"


def test_a_branch_is_named_after_its_stream_variant_and_sample() -> None:
    """The name says what it is, and keeps replays out of the stream's category."""
    assert branch_name("call-1", Variant(), 3) == "call-1~replay-44136fa355b3-3"
    assert category_of(branch_name("call-1", Variant())) == "call~"


@pytest.mark.parametrize("name", ["messages", "model", "tools", "stream", "n"])
def test_params_cannot_smuggle_in_another_request(name: str) -> None:
    """What refold itself fills in, or cannot read the answer of, is refused by name."""
    with pytest.raises(UsageError) as refused:
        Variant(params={name: 1})
    assert refused.value.names == [name]
