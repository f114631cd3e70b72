"""The one reader of chat shapes: what is odd voids itself alone, and is told."""

from decimal import Decimal
from typing import Any

import msgspec
import pytest

import refold
from refold.conversation.amounts import read_amount
from refold.conversation.chat_export import to_messages
from refold.conversation.chat_shapes import (
    attachments,
    exact_arguments,
    read_calls,
    read_tools,
    read_words,
)
from refold.conversation.events import (
    AgentConfigured,
    AgentUtterance,
    ModelFailed,
    ModelResponse,
    Tool,
    ToolCall,
    ToolResult,
    Usage,
    UserUtterance,
)
from refold.conversation.openai_chat import Chat, read_completion, read_messages
from refold.conversation.tokens import read_usage
from refold.errors import InvalidEvent

FREE = {"type": "object"}
CALL = {"id": "c1", "type": "function", "function": {"name": "book", "arguments": "{}"}}
ASKED = {"role": "user", "content": "Book it."}


def words(**message: Any) -> tuple[str, list[str]]:
    """The text of a message, and the pointers of what is not understood."""
    unread: list[Any] = []
    text, _ = read_words(message, [], unread)
    return text, [one.pointer for one in unread]


@pytest.mark.parametrize(
    ("message", "text"),
    [
        ({"content": None}, ""),
        ({}, ""),
        ({"content": ["Yes, ", "we are open."]}, "Yes, we are open."),
        ({"content": [{"type": "text", "text": "Yes, "}, "we are."]}, "Yes, we are."),
        ({"content": [{"type": "refusal", "refusal": "I cannot."}]}, "I cannot."),
        ({"content": [{"type": "text", "text": {"value": "Hi", "annotations": []}}]}, "Hi"),
        ({"content": [{"type": "thinking", "text": "hm"}, {"type": "text", "text": "a"}]}, "a"),
        ({"content": [{"type": "image_url", "image_url": {"url": "x"}}]}, ""),
        ({"content": {"type": "text", "text": "One part alone"}}, "One part alone"),
        ({"content": None, "refusal": "I cannot."}, "I cannot."),
        ({"content": "Well.", "refusal": "I cannot."}, "Well.\nI cannot."),
        ({"content": "I cannot.", "refusal": "I cannot."}, "I cannot."),
        ({"content": None, "audio": {"id": "a", "transcript": "Hello"}}, "Hello"),
        ({"content": "Hello", "audio": {"id": "a"}}, "Hello"),
    ],
)  # fmt: skip
def test_words_are_read_wherever_they_stand(message: dict[str, Any], text: str) -> None:
    """Strings, parts, a refusal in either form, and what was said aloud."""
    assert words(**message) == (text, [])


@pytest.mark.parametrize(
    ("message", "text", "pointers"),
    [
        ({"content": 5}, "", ["/content"]),
        ({"content": {"type": "text"}}, "", ["/content"]),
        ({"content": [{"type": "text", "value": "a"}, {"type": "text", "text": "b"}]},
         "b", ["/content/0"]),
        ({"content": ["a", 5, None, {}]}, "a", ["/content/1", "/content/2", "/content/3"]),
        ({"content": None, "audio": {"id": "a"}}, "", ["/audio"]),
        ({"content": "a", "refusal": {"because": "b"}}, "a", ["/refusal"]),
    ],
)  # fmt: skip
def test_words_that_are_not_understood_are_told(
    message: dict[str, Any], text: str, pointers: list[str]
) -> None:
    """Each by its place; what stands beside it is read."""
    assert words(**message) == (text, pointers)


def calls(**message: Any) -> tuple[list[tuple[str, str, str]], list[str]]:
    """Id, name and arguments of each call, and the pointers of what is not understood."""
    unread: list[Any] = []
    read = read_calls(message, [], unread)
    return [(c.call_id, c.name, c.arguments) for c in read], [one.pointer for one in unread]


@pytest.mark.parametrize(
    ("message", "read", "pointers"),
    [
        ({"tool_calls": None}, [], []),
        ({"tool_calls": [{"function": {"name": "f", "arguments": None}}]}, [("", "f", "")], []),
        ({"tool_calls": [{"id": 7, "function": {"name": "f"}}]}, [("7", "f", "")], []),
        ({"tool_calls": [{"function": {"name": "f", "arguments": {"a": 1}}}]},
         [("", "f", '{"a":1}')], []),
        ({"tool_calls": [{"id": "c", "custom": {"name": "run", "input": "ls"}, "function": None}]},
         [("c", "run", "ls")], []),
        ({"function_call": {"name": "f", "arguments": "{}"}}, [("function:f", "f", "{}")], []),
        ({"tool_calls": [CALL], "function_call": CALL["function"]}, [("c1", "book", "{}")], []),
        ({"tool_calls": [CALL], "function_call": {"name": "book", "arguments": " { }"}},
         [("c1", "book", "{}")], []),
        ({"tool_calls": [{"function": {"name": "f", "arguments": "[1]"}}],
          "function_call": {"name": "f", "arguments": "[true]"}},
         [("", "f", "[1]"), ("function:f", "f", "[true]")], []),
        ({"tool_calls": [CALL], "function_call": {"name": "g", "arguments": ""}},
         [("c1", "book", "{}"), ("function:g", "g", "")], []),
        ({"tool_calls": [{"type": "web_search"}, CALL]},
         [("c1", "book", "{}")], ["/tool_calls/0/function"]),
        ({"tool_calls": [CALL, 3]}, [("c1", "book", "{}")], ["/tool_calls/1"]),
        ({"tool_calls": {"f": 1}}, [], ["/tool_calls"]),
        ({"tool_calls": [{"function": {"name": "f", "arguments": {"a": float("nan")}}}]},
         [], ["/tool_calls/0/function/arguments/a"]),
        ({"function_call": "auto"}, [], ["/function_call"]),
    ],
)  # fmt: skip
def test_calls_of_every_form(message: Any, read: Any, pointers: list[str]) -> None:
    """Function, custom and the older function_call; one that is none hides no other."""
    assert calls(**message) == (read, pointers)


@pytest.mark.parametrize(
    ("one", "other", "alike"),
    [
        ("", "{}", True),
        ("null", "{}", True),
        (" ", "null", True),
        ('{"a": 1.0}', '{"a": 1}', True),
        ('{"a": 1.000000000000000001}', '{"a": 1.000000000000000002}', False),
        ('{"a": 9007199254740993.0}', '{"a": 9007199254740992.0}', False),
        ('{"a": 0.1}', '{"a": 0.1000000000000000055511151231257827021181583404541015625}', False),
        ('{"a": 1e400}', '{"a": 2e400}', False),
        ('{"a": null}', "{}", False),
        ('"ls"', "ls", False),
        ("[]", "{}", False),
    ],
)
def test_arguments_are_what_they_are_to_the_last_digit(one: str, other: str, alike: bool) -> None:
    """No arguments are an empty object; a number is its exact value, however it is written."""
    assert (exact_arguments(one) == exact_arguments(other)) is alike


@pytest.mark.parametrize(
    ("usage", "read", "pointers"),
    [
        (None, None, []),
        ({}, None, []),
        ({"total_tokens": 9}, None, []),
        ({"prompt_tokens": None, "completion_tokens": None}, None, []),
        ({"prompt_tokens": 3}, Usage(input_tokens=3), []),
        ({"input_tokens": 3, "output_tokens": 2}, Usage(input_tokens=3, output_tokens=2), []),
        ({"prompt_tokens": "3", "completion_tokens": 2}, None, ["/usage/prompt_tokens"]),
        ({"prompt_tokens": "3", "input_tokens": 3}, None, ["/usage/prompt_tokens"]),
        ({"prompt_tokens": 3, "completion_tokens": -1}, None, ["/usage/completion_tokens"]),
        ({"prompt_tokens": 3, "prompt_tokens_details": {"cached_tokens": -1}},
         Usage(input_tokens=3), ["/usage/prompt_tokens_details/cached_tokens"]),
        ({"prompt_tokens": True}, None, ["/usage/prompt_tokens"]),
        (7, None, ["/usage"]),
    ],
)  # fmt: skip
def test_tokens_are_counted_or_not_known(usage: Any, read: Any, pointers: list[str]) -> None:
    """A count that is none is told; of input or output it is not taken for 0 beside the other."""
    unread: list[Any] = []
    assert read_usage(usage, ["usage"], unread) == read
    assert [one.pointer for one in unread] == pointers


@pytest.mark.parametrize(
    ("said", "amount"),
    [
        (0.0012, Decimal("0.0012")),
        ("1e9999999", None),
        (10**400, None),
        (float("nan"), None),
        ("free", None),
        (-1, None),
        (True, None),
        ([1], None),
    ],
)
def test_an_amount_is_exact_or_not_known(said: Any, amount: Decimal | None) -> None:
    """What no one can have charged is no amount."""
    assert read_amount(said) == amount


def tools(items: Any) -> tuple[list[str], list[str]]:
    """The names of the tools, and the pointers of what is not kept."""
    read, unread = read_tools(items)
    return [tool.name for tool in read], [one.pointer for one in unread]


BOOK = {"type": "function", "function": {"name": "book", "parameters": FREE}}


@pytest.mark.parametrize(
    ("items", "names", "pointers"),
    [
        ([BOOK], ["book"], []),
        (msgspec.json.encode([BOOK]).decode(), ["book"], []),
        ([{"name": "book", "parameters": FREE}], ["book"], []),
        ([{"type": "custom", "custom": {"name": "run"}}], ["run"], []),
        ([{"type": "web_search"}, BOOK], ["book"], ["/0/name"]),
        (["book", BOOK], ["book"], ["/0"]),
        ([{"name": "a", "parameters": None, "description": None}], ["a"], []),
        ([{"name": "a", "parameters": []}, BOOK], ["a", "book"], ["/0/parameters"]),
        ([{"name": "a", "description": {"b": 1}}], ["a"], ["/0/description"]),
        ([{"name": "a", "parameters": [1]}, BOOK], ["book"], ["/0/parameters"]),
        ([{**BOOK, "effect": "magic"}], ["book"], ["/0"]),
        ([{**BOOK, "strict": True}], ["book"], ["/0/strict"]),
        ("not JSON", [], [""]),
        ({}, [], [""]),
    ],
)
def test_a_tool_that_is_none_costs_itself_alone(
    items: Any, names: list[str], pointers: list[str]
) -> None:
    """A tool that a provider runs, a broken one, an unknown field: told, and the rest is kept."""
    assert tools(items) == (names, pointers)


def test_a_custom_tool_is_one() -> None:
    """It takes text and has no schema."""
    (tool,), _ = read_tools([{"type": "custom", "custom": {"name": "run"}}])
    assert (tool.kind, tool.parameters) == ("custom", {})


# -- whole chats ----------------------------------------------------------------------------------


def of_type(chat: Chat, kind: type) -> list[Any]:
    return [event.data for event in chat.events if isinstance(event.data, kind)]


def test_every_system_message_leaves_model_parameters_and_tools_in_force() -> None:
    """At the beginning or in the middle: a prompt is one part of what the agent runs with."""
    agent = AgentConfigured(model="m-1", params={"seed": 1}, tools=[Tool("book")])
    chat = read_messages(
        [
            {"role": "developer", "content": "You answer the phone."},
            {"role": "system", "content": "Today is Monday."},
            ASKED,
            {"role": "system", "content": "The caller is silent."},
        ],
        agent,
    )
    configured = of_type(chat, AgentConfigured)
    assert [one.prompt.text for one in configured] == [
        "You answer the phone.", "Today is Monday.", "The caller is silent.",
    ]  # fmt: skip
    for one in configured:
        assert msgspec.structs.replace(one, prompt=None) == agent


def test_without_a_prompt_what_the_agent_runs_with_comes_first() -> None:
    """And stays in force when a system message comes later."""
    agent = AgentConfigured(model="m-1")
    chat = read_messages([ASKED, {"role": "system", "content": "Be brief."}], agent)
    assert chat.events[0].data == agent
    assert [one.model for one in of_type(chat, AgentConfigured)] == ["m-1", "m-1"]


def test_a_legacy_function_is_answered_by_its_message() -> None:
    """The older calls have no id: the result finds its call by the name, each time anew."""
    turn: list[dict[str, Any]] = [
        {"role": "assistant", "content": None, "function_call": {"name": "book"}},
        {"role": "function", "name": "book", "content": "done"},
    ]
    chat = read_messages(
        [ASKED, *turn, *turn], AgentConfigured(tools=[Tool("book", effect="write")])
    )
    called, results = of_type(chat, ToolCall), of_type(chat, ToolResult)
    assert {c.call_id for c in called} == {r.call_id for r in results} == {"function:book"}
    assert {c.effect for c in called} == {"write"}
    assert chat.unread == []


def test_a_result_that_answers_no_call_is_told() -> None:
    """Another id, no id, a second result: each by its place."""
    answer = {"role": "assistant", "content": "", "tool_calls": [CALL]}
    results: list[dict[str, Any]] = [
        {"role": "tool", "tool_call_ids": ["c1"], "content": "ok"},
        {"role": "tool", "tool_call_id": "c1", "content": "ok"},
        {"role": "tool", "tool_call_id": "c1", "content": "again"},
        {"role": "function", "name": "other", "content": "ok"},
    ]
    unread = read_messages([ASKED, answer, *results]).unread
    assert [(one.what, one.pointer) for one in unread] == [
        ("result", "/2"), ("result", "/4"), ("result", "/5"),
    ]  # fmt: skip


def test_who_of_several_spoke_is_kept() -> None:
    """The name of a message is the party of its event."""
    chat = read_messages(
        [
            {"role": "user", "name": "Ann", "content": "Write it."},
            {"role": "assistant", "name": "coder", "content": "Done."},
        ]
    )
    assert [one.party for one in of_type(chat, UserUtterance)] == ["Ann"]
    assert [one.party for one in of_type(chat, AgentUtterance)] == ["coder"]


def test_an_unreadable_call_leaves_the_rest_of_its_message() -> None:
    """Words and calls beside it are events, and it is told."""
    answer = {"role": "assistant", "content": "One moment", "tool_calls": [{"id": "x"}, CALL]}
    chat = read_messages([ASKED, answer])
    assert [call.name for call in of_type(chat, ToolCall)] == ["book"]
    assert [one.pointer for one in chat.unread] == ["/1/tool_calls/0/function"]


@pytest.mark.parametrize("item", [5, None, {"id": "x", "type": "mcp"}])
def test_an_unreadable_call_is_not_taken_for_the_legacy_call_beside_it(item: Any) -> None:
    """Both are kept, and come back as they were."""
    legacy = {"name": "f", "arguments": "{}"}
    said = {"role": "assistant", "content": None, "tool_calls": [item], "function_call": legacy}
    chat = read_messages([said])
    assert [call.name for call in of_type(chat, ToolCall)] == ["f"]
    with refold.open("memory:") as store:
        store.append("chat-1", chat.events)
        assert to_messages(store.read("chat-1")) == [said]


@pytest.mark.parametrize(
    ("said", "marks"),
    [
        ({"tool_calls": [{"type": "web_search"}]}, ["unread call"]),
        ({"function_call": {}}, ["unread call"]),
        ({"tool_calls": {"a": 1}}, ["unread call"]),
        ({"refusal": 5}, ["unread words"]),
        ({"content": ["Here", 5]}, ["unread words"]),
        ({"content": ["Here", {"type": "text", "value": "a"}]}, ["text"]),
        (
            {"content": ["Here", {"type": "image"}], "tool_calls": 3},
            ["image", "unread call"],
        ),
        ({"content": ["Here", {"type": "thinking", "text": "a"}, {"type": [1]}]}, ["[1]"]),
    ],
)
def test_what_is_not_understood_stands_beside_the_words(
    said: dict[str, Any], marks: list[str]
) -> None:
    """So that the answer is not taken for its words alone."""
    (event,) = read_messages([{"role": "assistant", "content": "Here", **said}]).events
    assert (event.data.text, attachments(event.data.parts)) == ("Here", marks)
    assert event.data.parts[0] == {"type": "text", "text": "Here"}


@pytest.mark.parametrize(
    ("said", "mark"),
    [
        ({"content": 5}, "unread words"),
        ({"content": None, "audio": {"id": "a"}}, "unread words"),
        ({"content": None, "tool_calls": [{"type": "web_search"}]}, "unread call"),
        ({"content": [{"type": "text", "value": "a"}]}, "text"),
        ({"content": [{"type": "image_url"}]}, "image_url"),
    ],
)
def test_what_is_not_understood_does_not_pass_for_silence(said: dict[str, Any], mark: str) -> None:
    """An answer without words that were read has a part that says so."""
    (event,) = read_messages([{"role": "assistant", **said}]).events
    assert (event.data.text, attachments(event.data.parts)) == ("", [mark])


def completed(**choice: Any) -> dict[str, Any]:
    return {"id": "r", "model": "m", "choices": [choice]}


def test_an_error_in_a_choice_is_a_failure_beside_what_was_said() -> None:
    """A stream that broke off keeps its words; the model failed all the same."""
    error = {"code": 502, "message": "upstream"}
    chat = read_completion(
        completed(message={"content": "We are"}, error=error, finish_reason="error"),
        ModelResponse(message_id="m1"),
    )
    assert [type(event.data) for event in chat.events] == [
        ModelResponse, AgentUtterance, ModelFailed,
    ]  # fmt: skip
    assert of_type(chat, ModelFailed) == [ModelFailed(error="upstream", status=502)]


@pytest.mark.parametrize("body", [{"error": "no"}, {"error": {"message": "no"}, "choices": []}])
def test_an_error_alone_is_a_failure(body: dict[str, Any]) -> None:
    """There is no answer to be read from it."""
    assert [event.data for event in read_completion(body, ModelResponse()).events] == [
        ModelFailed(error="no")
    ]


@pytest.mark.parametrize(
    ("body", "path"),
    [
        ({}, "/choices"),
        ({"choices": []}, "/choices"),
        ({"choices": [3]}, "/choices/0"),
        ({"choices": [{}]}, "/choices/0/message"),
        ({"choices": [{"message": {"role": "user"}}]}, "/choices/0/message"),
        ("text", ""),
    ],
)
def test_what_is_no_answer_is_refused(body: Any, path: str) -> None:
    """With the place in it."""
    with pytest.raises(InvalidEvent) as refused:
        read_completion(body, ModelResponse())
    assert refused.value.path == path


def test_further_choices_are_told() -> None:
    """The first one is read."""
    message = {"role": "assistant", "content": "Yes"}
    body = {"choices": [{"message": message}, {"message": message}]}
    chat = read_completion(body, ModelResponse())
    assert [(one.what, one.pointer) for one in chat.unread] == [("choice", "/choices/1")]
    assert [said.text for said in of_type(chat, AgentUtterance)] == ["Yes"]
