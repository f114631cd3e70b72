"""One odd answer ends one decision, whatever it is: every other has its result, and all add up."""

from __future__ import annotations

import contextlib
import json
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

import refold
from refold.conversation.events import Usage
from refold.replay import Action, Call, ChatEndpoint, ChatRequest, ModelFailure, compare, replays
from refold.replay.compare import json_pieces
from refold.replay.report import render_report, summary
from tests.replay.stories import VARIANT, as_message, as_recorded, record, run
from tests.support.chat_server import ChatServer, Fault, completion_of

STREAMS = ["call-0", "call-1", "call-2"]
EXAMPLES = settings(
    max_examples=15,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
DEEP = "[" * 3_000 + "]" * 3_000
ODD_JSON = [
    *("null", "true", "0", "-1", "7", '"7"', '""', "[]", "{}", "[null]", '[""]', '{"":null}'),
    *("NaN", "Infinity", "-Infinity", "1e400", "1e9999999", "-0.0", "1" * 400, "1e-9999999"),
    *('"\\ud83d"', '"a\\udc00b"', '"\\u0000"', '"1e9999999"', '"NaN"', '{"\\ud83d": 1}'),
    *(DEEP, '{"a":' * 600 + "1" + "}" * 600, '"' + "x" * 300_000 + '"', "[[1,2],[3]]"),
    *(str(2**63), str(2**64), str(-(2**63) - 1), "18446744073709551616", '{"a":1,"a":2}'),
]
PLACES: list[list[str | int]] = [
    ["id"],
    ["model"],
    ["choices"],
    ["usage"],
    ["cost"],
    ["error"],
    ["error", "code"],
    ["error", "message"],
    ["usage", "prompt_tokens"],
    ["usage", "completion_tokens"],
    ["usage", "prompt_tokens_details"],
    ["usage", "prompt_tokens_details", "cached_tokens"],
    ["usage", "cost"],
    ["choices", 0],
    ["choices", 0, "finish_reason"],
    ["choices", 0, "message"],
    ["choices", 0, "message", "role"],
    ["choices", 0, "message", "content"],
    ["choices", 0, "message", "refusal"],
    ["choices", 0, "message", "audio"],
    ["choices", 0, "message", "reasoning"],
    ["choices", 0, "message", "function_call"],
    ["choices", 0, "message", "tool_calls"],
    ["choices", 0, "message", "tool_calls", 0],
    ["choices", 0, "message", "tool_calls", 0, "id"],
    ["choices", 0, "message", "tool_calls", 0, "type"],
    ["choices", 0, "message", "tool_calls", 0, "function"],
    ["choices", 0, "message", "tool_calls", 0, "function", "name"],
    ["choices", 0, "message", "tool_calls", 0, "function", "arguments"],
]


def odd_body(changes: list[tuple[list[str | int], str]]) -> bytes:
    """A completion with odd values, as JSON text put there as it is, at some places."""
    call = {"id": "c", "type": "function", "function": {"name": "lookup", "arguments": "{}"}}
    message = {"role": "assistant", "content": "Hm.", "tool_calls": [call]}
    said: Any = completion_of({"messages": [], "model": "small"}, message)
    marks = {}
    for number, (place, odd) in enumerate(changes):
        holder: Any = said
        mark = f"odd-{number}-"
        with contextlib.suppress(TypeError, IndexError):  # It is gone by a change before.
            for key in place[:-1]:
                holder = holder.setdefault(key, {}) if isinstance(holder, dict) else holder[key]
            holder[place[-1]] = mark
            marks[json.dumps(mark)] = odd
    text = json.dumps(said)
    for mark, odd in marks.items():
        text = text.replace(mark, odd)
    return text.encode()


def recorded(store: refold.Store) -> list[str]:
    """Three conversations of two decisions each: where they stand."""
    return [
        f"{stream}@{version}"
        for stream in [record(store, stream) for stream in STREAMS]
        for version in (2, 5)
    ]


def hold_up(store: refold.Store, summary_: Any, *, odd_at: str) -> None:
    """Whatever came of the odd one: the others are as recorded, and everything can be shown."""
    assert summary_.answered + summary_.failed == 6
    compared = compare(store, STREAMS, VARIANT)
    account = compared.figures.accounting
    assert account.decisions == account.answered + account.failed == 6
    assert (account.answered, account.failed) == (summary_.answered, summary_.failed)
    every = {d.at: d for c in compared.conversations for d in c.decisions}
    assert all(d.level == "same" for at, d in every.items() if at != odd_at)
    if every[odd_at].level == "failed":
        assert every[odd_at].error
    summary(compared)
    b"".join(json_pieces(compared))
    (told,) = replays(store)
    assert told.run(store, 0).answered == account.answered


@pytest.fixture
def server() -> Any:
    with ChatServer(as_message) as served:
        yield served


@given(
    changes=st.lists(st.tuples(st.sampled_from(PLACES), st.sampled_from(ODD_JSON)), max_size=3),
    at=st.integers(0, 5),
)
@example(changes=[(["choices"], "null")], at=0)
@example(changes=[(["error", "code"], "9" * 30), (["choices"], "[]")], at=5)
@example(changes=[(["choices", 0, "message", "content"], '"\\ud83d"')], at=2)
@EXAMPLES
def test_an_odd_answer_of_a_service_ends_one_decision(
    server: ChatServer, changes: list[tuple[list[str | int], str]], at: int
) -> None:
    """Odd values at any place of a completion; the next run asks what failed again."""
    body = odd_body(changes)
    with refold.open("memory:") as store:
        decisions = recorded(store)
        server.requests.clear()
        endpoint = ChatEndpoint(server.base_url, model="small")
        odd_at = decisions[at]
        asked = 0

        def candidate(request: ChatRequest) -> Any:
            nonlocal asked
            asked += 1
            if asked == at + 1:
                server.faults.append(Fault(200, body))
            return endpoint(request)

        done = run(store, candidate, *STREAMS, workers=1, attempts_max=1)
        hold_up(store, done, odd_at=odd_at)
        render_report(compare(store, STREAMS, VARIANT), read=store.read).encode()
        again = run(store, as_recorded, *STREAMS)
        assert (again.kept, again.answered) == (done.answered, done.failed)
        endpoint.close()


class Broken:
    """What raises whatever is done with it."""

    def __getattr__(self, name: str) -> Any:
        raise RuntimeError("broken")

    def __repr__(self) -> str:
        raise RuntimeError("broken")


ODD: list[Any] = [
    *(None, True, 0, -1, 2**70, 0.1, float("nan"), float("inf"), "", "x", "\ud83d", b"x", [], {}),
    *((), set(), object(), Broken(), Decimal("NaN"), Decimal("sNaN"), Decimal("Infinity")),
    *(Decimal("1e999999"), Decimal(-1), [None], [{"type": "text"}], {"a": {1, 2}}, [Broken()]),
    *(Usage(2**70, 1), Usage(-1, -1), Usage("1"), Call("lookup"), [Call("lookup", {})]),  # type: ignore[arg-type]
]


@given(
    odd=st.dictionaries(st.sampled_from(Action.__struct_fields__), st.sampled_from(ODD)),
    at=st.integers(0, 5),
)
@EXAMPLES
def test_an_odd_action_of_a_function_ends_one_decision(odd: dict[str, Any], at: int) -> None:
    """Fields of other types, of no size, of half a character."""

    def candidate(request: ChatRequest) -> Action:
        return Action(**odd) if request.at == odd_at else as_recorded(request)

    with refold.open("memory:") as store:
        odd_at = recorded(store)[at]
        hold_up(store, run(store, candidate, *STREAMS, attempts_max=1), odd_at=odd_at)


@pytest.mark.parametrize("odd", ODD, ids=lambda odd: type(odd).__name__)
def test_an_odd_value_for_an_answer_ends_one_decision(odd: Any) -> None:
    """What is no action, message or completion; and failures that say odd things."""

    def fails(request: ChatRequest) -> Any:
        if request.at == "call-1@2":
            raise ModelFailure("x", kind="refused", status=odd, retry_after_s=odd)
        return as_recorded(request)

    def answers(request: ChatRequest) -> Any:
        return odd if request.at == "call-1@2" else as_recorded(request)

    for candidate in (answers, fails):
        with refold.open("memory:") as store:
            recorded(store)
            done = run(store, candidate, *STREAMS, attempts_max=1)
            hold_up(store, done, odd_at="call-1@2")
