"""Any answer becomes an action or a failure that says why."""

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from refold.conversation.events import Usage
from refold.replay import Action, Call, ModelFailure
from refold.replay.candidate import action_of, parse_completion

LOOKUP = {"id": "c1", "type": "function", "function": {"name": "lookup", "arguments": '{"a": 1}'}}
COMPLETION: dict[str, Any] = {
    "model": "small-2",
    "choices": [
        {
            "finish_reason": "tool_calls",
            "message": {"role": "assistant", "content": None, "tool_calls": [LOOKUP]},
        }
    ],
    "usage": {
        "prompt_tokens": 20,
        "completion_tokens": 5,
        "prompt_tokens_details": {"cached_tokens": 8},
        "cost": 0.0012,
    },
}

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "choices",
                    "message",
                    "content",
                    "tool_calls",
                    "function",
                    "name",
                    "arguments",
                    "usage",
                    "error",
                    "cost",
                    "x",
                ]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


def message(**members: Any) -> dict[str, Any]:
    return {"role": "assistant", **members}


def test_a_completion_gives_words_calls_usage_cost_model_and_reason() -> None:
    """Everything that a comparison needs is taken from the first choice; money is exact."""
    assert parse_completion(COMPLETION) == Action(
        calls=(Call("lookup", '{"a": 1}', "c1"),),
        finish_reason="tool_calls",
        usage=Usage(input_tokens=20, output_tokens=5, cached_tokens=8),
        cost=Decimal("0.0012"),
        model="small-2",
    )


@pytest.mark.parametrize(
    ("answered", "action"),
    [
        (Action(text="x"), Action(text="x")),
        (message(content="x"), Action(text="x")),
        (message(content=""), Action()),
        (
            message(content=[{"type": "text", "text": "x"}, {"type": "image"}]),
            Action(text="x", parts=({"type": "text", "text": "x"}, {"type": "image"})),
        ),
        (
            message(content=None, refusal="I will not."),
            Action(text="I will not.", finish_reason="refusal"),
        ),
        (message(tool_calls=[LOOKUP]), Action(calls=(Call("lookup", '{"a": 1}', "c1"),))),
        (
            message(tool_calls=[{"function": {"name": "f", "arguments": {"a": 1}}}]),
            Action(calls=(Call("f", '{"a":1}', ""),)),
        ),
        (message(tool_calls=[{"function": {"name": "f"}}]), Action(calls=(Call("f", "", ""),))),
        (
            message(tool_calls=({"function": {"name": "f", "arguments": None}},)),
            Action(calls=(Call("f", "", ""),)),
        ),
        (
            message(content=None, function_call={"name": "f", "arguments": "{}"}),
            Action(calls=(Call("f", "{}", "function:f"),)),
        ),
        (
            message(tool_calls=[{"id": "c", "custom": {"name": "run", "input": "ls"}}]),
            Action(calls=(Call("run", "ls", "c", "custom"),)),
        ),
        (message(content=["x", "y"]), Action(text="xy")),
        (message(content="x", role=None), Action(text="x")),
        (message(content=[{"type": "thinking", "thinking": "x"}]), Action()),
        (message(content=[{"type": "image"}]), Action(parts=({"type": "image"},))),
        (
            message(content=[{"type": "refusal", "refusal": "I will not."}]),
            Action(text="I will not.", finish_reason="refusal"),
        ),
        (message(audio={"id": "a", "transcript": "x"}), Action(text="x")),
        (Action(text="x", cost=0.1), Action(text="x", cost=Decimal("0.1"))),  # type: ignore[arg-type]
    ],
)
def test_an_answer_may_come_in_several_forms(answered: Any, action: Action) -> None:
    """An action, a message or a completion; arguments stay the text they are."""
    assert action_of(answered) == action


@pytest.mark.parametrize(
    "answered",
    [
        None,
        "words alone",
        {},
        {"answer": 42},
        {"error": {"message": "out of credit"}},
        {"choices": []},
        {"choices": "x"},
        {"choices": [{"message": None}]},
        message(content=3),
        message(content=None, tool_calls={"f": 1}),
        message(content=None, tool_calls=[{"function": {"name": ""}}]),
        message(content=None, tool_calls=[LOOKUP] * 1_001),
        message(content=[{"type": "text", "value": "x"}]),
        message(content=None, tool_calls=[LOOKUP, {"type": "web_search"}]),
        message(content="\ud83d"),
        message(content=None, tool_calls=[{"function": {"name": "f", "arguments": object()}}]),
    ],
)
def test_what_is_no_answer_is_garbage(answered: Any) -> None:
    """It is a failure of the service, with a reason, and no action."""
    with pytest.raises(ModelFailure) as failed:
        action_of(answered)
    assert failed.value.kind == "garbage"


def test_the_services_own_error_is_the_reason() -> None:
    """Some services say 200 and put the error into the body."""
    with pytest.raises(ModelFailure) as failed:
        action_of({"error": {"message": "out of credit"}})
    assert "out of credit" in failed.value.message


@pytest.mark.parametrize(("code", "kind"), [(502, "busy"), (429, "busy"), (400, "garbage")])
def test_an_error_in_a_choice_is_no_answer(code: int, kind: str) -> None:
    """Words that came before it are not the model's answer; it may be asked again."""
    choice = {"message": message(content="We are"), "error": {"code": code, "message": "no"}}
    with pytest.raises(ModelFailure) as failed:
        parse_completion({"choices": [choice]})
    assert (failed.value.kind, failed.value.status) == (kind, code)


class Answered:
    """A completion as an SDK holds it: what was set, and defaults that nobody set."""

    def model_dump(self, *, exclude_unset: bool = False, **_: Any) -> dict[str, Any]:
        unset = {} if exclude_unset else {"refusal": None, "annotations": None}
        return {"choices": [{"message": message(content="x", **unset)}]}


def test_an_object_of_an_sdk_is_an_answer() -> None:
    """A candidate may give on what its client gave it."""
    assert action_of(Answered()) == Action(text="x")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "answered",
    [
        {
            "type": "message",
            "model": "m",
            "content": [
                {"type": "thinking", "thinking": "hm", "signature": "s"},
                {"type": "text", "text": "I look."},
                {"type": "tool_use", "id": "t", "name": "find", "input": {"a": 1}},
            ],
            "stop_reason": "end",
            "usage": {"input_tokens": 2, "cache_read_input_tokens": 3, "output_tokens": 7},
        },
        {
            "object": "response",
            "model": "m",
            "status": "end",
            "output": [
                {"type": "reasoning", "summary": []},
                {"type": "message", "content": [{"type": "output_text", "text": "I look."}]},
                {"type": "function_call", "call_id": "t", "name": "find", "arguments": '{"a":1}'},
            ],
            "usage": {
                "input_tokens": 5,
                "input_tokens_details": {"cached_tokens": 3},
                "output_tokens": 7,
            },
        },
        {
            "candidates": [
                {
                    "content": {
                        "parts": [
                            {"text": "hm", "thought": True},
                            {"text": "I look."},
                            {"functionCall": {"id": "t", "name": "find", "args": {"a": 1}}},
                        ]
                    },
                    "finishReason": "end",
                }
            ],
            "modelVersion": "m",
            "usageMetadata": {
                "promptTokenCount": 5,
                "cachedContentTokenCount": 3,
                "candidatesTokenCount": 7,
            },
        },
    ],
    ids=["anthropic", "responses", "gemini"],
)
def test_a_candidate_may_answer_as_any_api_does(answered: dict[str, Any]) -> None:
    """Each is the same action; thoughts are no part of it."""
    action = action_of(answered)
    assert action == Action(
        text="I look.",
        calls=(Call("find", '{"a":1}', "t"),),
        finish_reason="end",
        usage=action.usage,
        model="m",
    )
    usage = action.usage
    assert usage is not None
    assert (usage.input_tokens, usage.output_tokens, usage.cached_tokens) == (5, 7, 3)


def test_half_of_what_another_api_counts_is_no_usage() -> None:
    """Nor is an answer one in which a block is not known."""
    said = {"type": "message", "content": [{"type": "text", "text": "A"}]}
    assert action_of({**said, "usage": {"input_tokens": 5}}).usage is None
    for odd in ({"type": "hologram"}, {"type": "tool_use"}):
        with pytest.raises(ModelFailure) as failed:
            action_of({**said, "content": [odd]})
        assert failed.value.kind == "garbage"


@pytest.mark.parametrize("cost", [None, True, -1, "free", float("nan"), [1], "1e9999999"])
def test_a_cost_that_is_no_amount_is_not_known(cost: Any) -> None:
    """A bad cost does not spoil the answer."""
    assert parse_completion({**COMPLETION, "usage": {"cost": cost}}).cost is None


@given(json_values)
def test_no_json_breaks_the_parser(value: Any) -> None:
    """Whatever JSON comes gives an action or a failure, nothing else."""
    try:
        assert isinstance(parse_completion(value), Action)
    except ModelFailure as failure:
        assert failure.kind == "garbage"
