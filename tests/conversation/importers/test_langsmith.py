"""LangSmith run records: batches of its SDK, exports, LangChain's messages inside."""

from pathlib import Path
from typing import Any

import pytest

import refold
from refold.conversation.events import Usage
from refold.conversation.importers import import_files
from tests.conversation.importers.inputs import real
from tests.conversation.importers.traces import imported, of_type, said

AT = "2026-03-02T10:00:0{}.000000"


def run(own: str, kind: str, second: int, inputs: Any, outputs: Any, **more: Any) -> Any:
    times = {"start_time": AT.format(second), "end_time": AT.format(second + 1)}
    made = {"id": own, "trace_id": "t", "run_type": kind, "name": own}
    return {**made, **times, "inputs": inputs, "outputs": outputs, **more}


def lc(kind: str, **kwargs: Any) -> Any:
    return {"lc": 1, "type": "constructor", "id": ["langchain", kind], "kwargs": kwargs}


def test_a_batch_of_the_sdk(store: refold.Store) -> None:
    """A run is posted at its start and patched at its end: together they are one call."""
    path = real("formats", "langsmith", "langsmith_py_wrap_openai_.json")
    report = import_files(store, "langsmith", [path])
    assert (report.imported, report.loss) == (1, [])
    [stream] = [one.stream for one in store.streams()]
    assert said(store, stream) == [
        ("user", "howdy"),
        ("agent", "Howdy! How can I assist you today?"),
    ]
    [response] = of_type(store, stream, "model.response")
    assert response.usage == Usage(9, 9, reasoning_tokens=0)
    assert (response.latency_ms, response.model) == (1118.333, "gpt-4o-mini-2024-07-18")
    [setup] = of_type(store, stream, "agent.configured")
    assert (setup.provider, setup.model) == ("openai", "gpt-4o-mini")


def test_langchain_runs_are_one_conversation(store: refold.Store, tmp_path: Path) -> None:
    """Messages as LangChain writes them, with a tool's run that gives its result a latency."""
    call = {"name": "weather", "args": {"city": "X"}, "id": "c1", "type": "tool_call"}
    user = lc("HumanMessage", content="Weather?")
    asks = lc("AIMessage", content="", tool_calls=[call], usage_metadata={"input_tokens": 7})
    result = lc("ToolMessage", content="sunny", tool_call_id="c1", name="weather")
    says = lc("AIMessage", content="Sunny.")
    runs = [
        run("g", "chain", 0, {"messages": [user]}, {}, extra={"metadata": {"thread_id": "th"}}),
        run("m1", "llm", 1, {"messages": [[user]]}, {"generations": [[{"message": asks}]]}),
        run("weather", "tool", 3, {"input": "{'city': 'X'}"}, {"output": result}),
        run(
            "m2", "llm", 5, {"messages": [[user, asks, result]]},
            {"generations": [[{"message": says}]]}, parent_run_id="g", total_cost=0.25,
        ),
    ]  # fmt: skip
    report = imported(store, tmp_path / "t.jsonl", "langsmith", *runs)
    assert [one.what for one in report.loss] == ["a step that is no call: g"]
    assert said(store, "langsmith-t") == [
        ("user", "Weather?"),
        ("call", "c1", "weather", {"city": "X"}),
        ("result", "c1", "sunny"),
        ("agent", "Sunny."),
    ]
    [given] = of_type(store, "langsmith-t", "tool.result")
    assert given.latency_ms == 1000.0
    first, last = of_type(store, "langsmith-t", "model.response")
    assert (first.usage, str(last.cost)) == (Usage(input_tokens=7), "0.25")
    assert next(iter(store.read("langsmith-t"))).metadata["correlation"] == "th"


def test_a_run_that_failed(store: refold.Store, tmp_path: Path) -> None:
    """Its error is that of the call."""
    one = run("m", "llm", 1, {"messages": [{"role": "user", "content": "Hi"}]}, None, error="429")
    imported(store, tmp_path / "t.jsonl", "langsmith", one)
    assert [one.error for one in of_type(store, "langsmith-t", "model.failed")] == ["429"]


def test_what_is_no_run_is_a_problem_by_itself(store: refold.Store, tmp_path: Path) -> None:
    """The others go on."""
    one = run("m", "llm", 1, {"messages": [{"role": "user", "content": "Hi"}]}, "Ho")
    report = imported(store, tmp_path / "t.jsonl", "langsmith", {"x": 1}, one, [1])
    assert (report.imported, report.failed) == (1, 2)


@pytest.mark.parametrize("output", [0, False, [], "", {}, None])
def test_the_output_of_a_tool_is_what_it_says(
    store: refold.Store, tmp_path: Path, output: Any
) -> None:
    """As it stands in the run, what counts as false too; its input likewise."""
    one = run("look", "tool", 1, {"input": {}}, {"output": output})
    imported(store, tmp_path / "t.jsonl", "langsmith", one)
    (call,) = of_type(store, "langsmith-t", "tool.call")
    assert call.arguments == "{}"
    (result,) = of_type(store, "langsmith-t", "tool.result")
    assert (type(result.result), result.result) == (type(output), output)
