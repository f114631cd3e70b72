"""Requests that repeat those before them say what each says by itself, each message read once."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from refold.conversation import openai_chat
from refold.conversation.importers.base import Options
from refold.conversation.importers.otlp import GatheredSpans
from refold.conversation.importers.repeating import KEPT_MAX, RepeatedRequests
from refold.conversation.importers.telling import Telling
from refold.errors import InvalidEvent
from tests.server.spans import chat, sent

CALL = {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": "{}"}}
MESSAGES: list[Any] = [
    {"role": "system", "content": "Be brief."},
    {"role": "system", "parts": [{"type": "text", "content": "Be kind."}]},
    {"role": "user", "content": "One."},
    {"role": "user", "content": 1},
    {"role": "user", "content": 1.0},
    {"role": "user", "content": True},
    {"role": "user", "parts": [{"type": "text", "content": "Two."}]},
    {"role": "assistant", "content": None, "tool_calls": [CALL]},
    {"role": "assistant", "parts": [{"type": "tool_call", "id": "c2", "name": "weather"}]},
    {"role": "tool", "tool_call_id": "c1", "content": "sunny"},
    {"role": "weather", "content": "of a tool by its name"},
    {"role": "tool", "parts": [{"type": "tool_call_response", "id": "c2", "response": {"n": 2}}]},
    {"role": "assistant", "content": [{"type": "tool_use", "id": "u", "name": "f", "input": {}}]},
    {"type": "human", "content": "of a framework"},
    {"type": "function_call", "call_id": "c3", "name": "f", "arguments": "{}"},
    {"role": "nobody", "content": "x"},
    "text alone",
]
LISTS = st.lists(st.sampled_from(MESSAGES), max_size=5)
ANSWERS = st.sampled_from(["Yes.", {"object": "response", "instructions": "Be brief."}, None])


def read(requests: RepeatedRequests, request: Any, answer: Any) -> Any:
    """What is read, or how it is refused."""
    try:
        return requests.read(request, answer)
    except InvalidEvent as error:
        return (error.reason, error.path)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 6), LISTS, ANSWERS, st.booleans()), max_size=8))
def test_what_goes_on_is_read_as_it_is_by_itself(given_: list[tuple[int, Any, Any, bool]]) -> None:
    """From whichever request it goes on; also where a message makes all of it another API's."""
    before: list[list[Any]] = [[]]
    requests = RepeatedRequests()
    for place, more, answer, is_text in given_:
        messages = [*before[place % len(before)], *more]
        before.append(messages)
        request = json.dumps(messages) if is_text else messages
        alone = read(RepeatedRequests(), request, answer)
        assert repr(read(requests, request, answer)) == repr(alone)  # 1 is not true.
        if isinstance(alone, tuple) and isinstance(alone[0], str):
            return  # What cannot be read ends its trace.


@pytest.mark.parametrize("agents", [1, KEPT_MAX])
def test_each_message_of_a_trace_is_read_once(monkeypatch: pytest.MonkeyPatch, agents: int) -> None:
    """Of every agent in it, however often the requests repeat it."""
    typed, real = list[Any](), openai_chat._typed

    def counted(index: int, message: Any, *more: Any) -> Any:
        typed.append(message)
        return real(index, message, *more)

    monkeypatch.setattr(openai_chat, "_typed", counted)
    turns, spans = 40, GatheredSpans("here")
    for agent in range(agents):
        history: list[Any] = []
        for turn in range(turns):
            history.append({"role": "user", "content": f"question {turn} to {agent}"})
            says = {"role": "assistant", "content": f"answer {turn} of {agent}"}
            number, at_s = 1 + agent * turns + turn, turn * 10.0 + agent
            spans.add_span(sent(number, 1, at_s, at_s + 1, chat([*history], [says])), "/0", number)
            history.append(says)
    (trace,) = spans.traces()
    telling = Telling(trace, Options())  # type: ignore[arg-type]
    telling.tell()
    assert sorted(len(talk.keys) for talk in telling.talks) == [2 * turns] * agents
    assert len(typed) == agents * (2 * turns - 1)
