"""What a source says is read in one way by every importer: to the last digit, no key twice."""

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest

import refold
from refold.conversation.importers import import_files
from refold.conversation.importers.fields import reason_of, time_us
from tests.conversation.importers.inputs import tau_element
from tests.conversation.importers.test_api_files import CALL, REQUEST
from tests.conversation.importers.test_inspect_log import log
from tests.conversation.importers.test_langsmith import lc, run
from tests.conversation.importers.test_otlp import SAYS, TOOL, USER, of_today
from tests.conversation.importers.test_sessions import ROLLOUT, entry
from tests.conversation.importers.test_sessions import TALK as TREE
from tests.conversation.importers.test_tau2 import call as tau2_call
from tests.conversation.importers.test_tau2 import message, results
from tests.conversation.importers.test_vcon import AT, vcon
from tests.conversation.importers.traces import imported, otlp, said, span

MARK = "M-ARK"
"""A key that stands once where it is written, and twice where a test says so."""
LONG = "1.00000000000000000000000000012"
NOTE = {MARK: 1}
CHAT = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Ho"}]
ANSWER = {"choices": [{"message": CHAT[1]}]}


def observed(own: str, **more: Any) -> dict[str, Any]:
    """A trace of Langfuse with one call."""
    call = {"id": "g", "type": "GENERATION", "startTime": AT, "input": CHAT[:1], "output": CHAT[1]}
    return {"id": own, "observations": [{**call, **more}]}


def simulated(**changed: Any) -> dict[str, Any]:
    """Two simulations of tau2, of which the first is changed."""
    document = results(**changed)
    document["simulations"].append({**results()["simulations"][0], "trial": 1})
    return document


def sampled(**changed: Any) -> dict[str, Any]:
    """Two samples of Inspect, of which the first is changed."""
    document = log(**changed)
    document["samples"].append({**log()["samples"][0], "epoch": 1})
    return document


def ran(trace: str, **more: Any) -> dict[str, Any]:
    """A run of LangSmith."""
    made = run(f"m{trace}", "llm", 0, {"messages": CHAT[:1]}, {"message": CHAT[1]}, **more)
    return {**made, "trace_id": trace}


BOOK = {"date": "2025-11-01 10:00:00", "id": 0, "positions": {"X": 0, "CASH": 1}}
TALKS: dict[str, list[Any]] = {
    "tau-bench": [[tau_element(0, info=NOTE), tau_element(1)]],
    "openai-chat": [{"messages": CHAT, "x": NOTE}, {"messages": CHAT}],
    "anthropic-messages": [{**REQUEST, "metadata": NOTE}, REQUEST],
    "openai-responses": [{**CALL, "metadata": NOTE}, CALL],
    "chatgpt": [{**TREE, "id": "a", "x": NOTE}, {**TREE, "id": "b"}],
    "vcon": [
        vcon({"type": "text", "start": AT, "parties": 0, "body": "Hi"}, uuid=own, x=note)
        for own, note in (("a", NOTE), ("b", {}))
    ],
    "langfuse": [observed("a", x=NOTE), observed("b")],
    "langsmith": [{"runs": [ran("a", extra=NOTE), ran("b")]}],
    "otlp": [
        otlp(
            span("m", 0, 1, of_today([USER], [SAYS]), x=NOTE),
            span("m", 0, 1, of_today([USER], [SAYS]), traceId="t2"),
        )
    ],
    "inspect": [sampled(metadata=NOTE)],
    "tau2-bench": [simulated(x=NOTE)],
    # Of a session's log, and of a plug-in's here, a line alone is refused.
    "ai-trader": [BOOK, {**BOOK, "id": 1, **NOTE}],
    "claude-code": [entry("a", None, "Hi", 1), entry("b", "a", "Ho", 2, x=NOTE)],
    "codex": [*ROLLOUT, {"type": "event_msg", "payload": {"type": "x", **NOTE}}],
}


def written(path: Path, format_: str, twice: bool) -> Path:
    text = "".join(json.dumps(one) + "\n" for one in TALKS[format_])
    assert text.count(f'"{MARK}"') == 1
    path.write_text(text.replace(f'"{MARK}"', f'"{MARK}": 0, "{MARK}"') if twice else text)
    return path


@pytest.mark.parametrize("format_", TALKS)
def test_a_key_that_stands_twice_costs_its_conversation_alone(
    store: refold.Store, tmp_path: Path, format_: str
) -> None:
    """Which of the two is meant nobody knows: it is told, and the others come in."""
    is_session = format_ in ("ai-trader", "claude-code", "codex")
    path = written(tmp_path / "twice.jsonl", format_, twice=True)
    report = import_files(store, format_, [path])
    assert (report.imported, report.failed) == (1, 1)
    (problem,) = report.problems
    assert f"'{MARK}' stands twice" in problem.message
    whole = written(tmp_path / "twice.jsonl", format_, twice=False)
    with refold.open("memory:") as sound:
        again = import_files(sound, format_, [whole])
        assert (again.imported, again.problems) == (1 if is_session else 2, [])


COSTS: dict[str, Any] = {
    "openai-chat": {
        "messages": CHAT,
        "cost": LONG,
        "response": {"choices": [{"message": CHAT[1]}]},
    },
    "langfuse": observed("a", totalCost=LONG),
    "langsmith": ran("a", total_cost=LONG),
    "tau2-bench": results(messages=[message(0, "assistant", "Hi", cost=LONG)]),
    "claude-code": entry("a", None, [{"type": "text", "text": "Ho"}], 1, id="M", costUSD=LONG),
}


@pytest.mark.parametrize("format_", COSTS)
def test_a_cost_is_kept_to_the_last_digit(
    store: refold.Store, tmp_path: Path, format_: str
) -> None:
    """As a number, and not only where it is written as text."""
    (tmp_path / "c.json").write_text(json.dumps(COSTS[format_]).replace(f'"{LONG}"', LONG))
    report = import_files(store, format_, [tmp_path / "c.json"])
    assert (report.imported, report.loss) == (1, [])
    costs = [one.event.cost for one in store.read_all(types=["model.response"])]
    assert list(map(str, costs)) == [LONG]


NUMBER = {"n": LONG}
FUNCTION = {"id": "c", "type": "function", "function": {"name": "f", "arguments": NUMBER}}
USE = {"type": "tool_use", "id": "c", "name": "f", "input": NUMBER}
PART = {"type": "tool_call", "id": "c", "name": "f", "arguments": NUMBER}
OF_LANGCHAIN = {"name": "f", "args": NUMBER, "id": "c"}
OF_TAU2 = {**tau2_call("c", "assistant")[0], "arguments": NUMBER}
ARGUMENTS: dict[str, Any] = {
    "openai-chat": [{"role": "assistant", "tool_calls": [FUNCTION]}],
    "anthropic-messages": {"system": "", "messages": [{"role": "assistant", "content": [USE]}]},
    "langsmith": run("m", "llm", 0, {}, lc("AIMessage", content="", tool_calls=[OF_LANGCHAIN])),
    "otlp": otlp(span("m", 0, 1, of_today([USER], [{"role": "assistant", "parts": [PART]}]))),
    "tau2-bench": results(messages=[message(0, "assistant", None, tool_calls=[OF_TAU2])]),
}


@pytest.mark.parametrize("format_", ARGUMENTS)
def test_a_number_in_arguments_is_kept_exactly_or_told(
    store: refold.Store, tmp_path: Path, format_: str
) -> None:
    """Whichever a format can: nothing is rounded in silence."""
    text = json.dumps(ARGUMENTS[format_])
    for quote in ('"', '\\"'):
        text = text.replace(f"{quote}{LONG}{quote}", LONG)
    (tmp_path / "c.json").write_text(text)
    report = import_files(store, format_, [tmp_path / "c.json"])
    assert report.imported + report.failed == 1
    calls = [one.event.arguments for one in store.read_all(types=["tool.call"])]
    told = [one.what for one in report.loss] + [one.message for one in report.problems]
    assert calls == [f'{{"n":{LONG}}}'] or (calls == [] and LONG in str(told))


TWICE = '{"role": "user", "role": "assistant", "parts": []}'


def test_text_of_json_with_a_key_twice(store: refold.Store, tmp_path: Path) -> None:
    """Messages are not guessed at: the trace is refused. A tool's result stays the text it is."""
    asked = of_today([USER], [SAYS]) | {"gen_ai.input.messages": f"[{TWICE}]"}
    report = imported(store, tmp_path / "t.jsonl", "otlp", otlp(span("m", 0, 1, asked)))
    assert (report.imported, report.failed) == (0, 1)
    assert "'role' stands twice" in report.problems[0].message
    ran = TOOL | {"gen_ai.tool.call.arguments": "{}", "gen_ai.tool.call.result": TWICE}
    imported(store, tmp_path / "t.jsonl", "otlp", otlp(span("f", 0, 1, ran, traceId="t2")))
    assert said(store, "otlp-t2") == [("call", "c1", "weather", {}), ("result", "c1", TWICE)]


@pytest.mark.parametrize("value", [{"n": LONG}, [LONG]])
def test_a_number_in_a_tools_result_is_kept_exactly(
    store: refold.Store, tmp_path: Path, value: Any
) -> None:
    """As text where an event cannot hold it."""
    text = json.dumps(value).replace(f'"{LONG}"', LONG)
    ran = TOOL | {"gen_ai.tool.call.arguments": "{}", "gen_ai.tool.call.result": text}
    imported(store, tmp_path / "t.jsonl", "otlp", otlp(span("f", 0, 1, ran)))
    assert said(store, "otlp-t1")[-1] == ("result", "c1", text)


# -- how what is odd is told -----------------------------------------------------------------------


class Odd(msgspec.Struct):
    """A value of a format that is read strictly."""

    count: int
    names: list[str | None]


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"count": "x"}, "Expected a whole number, got text - at `$.count`"),
        ({"count": 1, "names": [1]}, "Expected text or null, got a whole number - at `$.names[0]`"),
        ({"count": 1, "names": {}}, "Expected a list, got an object - at `$.names`"),
        ([], "Expected an object, got a list"),
        ({}, "Object missing required field `count`"),
    ],
)
def test_the_types_of_values_have_the_names_of_json(given: Any, told: str) -> None:
    """And not those that they have in Python."""
    with pytest.raises(msgspec.ValidationError) as refused:
        msgspec.convert(given, Odd)
    assert reason_of(refused.value) == told


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (KeyError("id"), "there is no 'id', which its format has"),
        (TypeError("unhashable type"), "a value in it is of another kind than its format has"),
        (AttributeError("x"), "a value in it is of another kind than its format has"),
        (IndexError("list index out of range"), "a value in it is of another kind than"),
    ],
)
def test_an_error_of_python_is_no_message(error: Exception, told: str) -> None:
    """What it says is of use to who writes an importer, who sees its kind."""
    said = reason_of(error)
    assert said.startswith(told)
    assert isinstance(error, KeyError) or str(error) not in said.removesuffix(")")


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ("yesterday", "'yesterday' is not a time"),
        ("2025-13-45T00:00:00Z", "'2025-13-45T00:00:00Z' is not a time"),
        (True, "true is not a time"),
        (None, "null is not a time"),
        (Decimal("1.50"), "1.50 is not a time"),
        ([None], "[null] is not a time"),
        ({"a": Decimal(1)}, '{"a":1} is not a time'),
        (float("inf"), "inf is not a time"),
        ("x" * 99, f"'{'x' * 49} is not a time"),
    ],
)
def test_a_value_is_told_as_json_has_it(value: Any, told: str) -> None:
    """A time that is none has no word of Python in what is said of it."""
    with pytest.raises(ValueError, match="is not a time") as refused:
        time_us(value)
    assert str(refused.value) == told
