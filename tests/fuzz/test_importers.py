"""Any input to an import: what is broken is told with its place, the rest is there, whole, once."""

from __future__ import annotations

import json
from copy import deepcopy
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import refold
from refold.conversation import to_messages
from refold.conversation.importers import Importer, ImportReport, import_files
from refold.errors import UsageError
from tests.conversation.importers.inputs import real, tau_element
from tests.conversation.importers.test_api_files import ANSWER, REQUEST, RESPONSE
from tests.conversation.importers.test_api_files import CALL as CALL_OF_RESPONSES
from tests.conversation.importers.test_inspect_log import log
from tests.conversation.importers.test_otlp import CALLS, RESULT, SAYS, TOOL, of_today
from tests.conversation.importers.test_otlp import USER as USER_OF_SPANS
from tests.conversation.importers.test_sessions import ROLLOUT, TALK, TREE
from tests.conversation.importers.test_tau2 import results
from tests.conversation.importers.test_vcon import AT, vcon
from tests.conversation.importers.traces import otlp, span
from tests.fuzz.values import HALVES, JSON_VALUES, KEYS, TEXT, damaged, fuzzed

NAMES = ["some-airline.json", "talk.jsonl", "gpt.positions.jsonl", "one.json", "a b~c.ndjson"]
CALL = {"id": "c", "type": "function", "function": {"name": "f", "arguments": '{"a": 1e400}'}}
ROLES = st.sampled_from(["system", "user", "assistant", "tool", "function", "developer", "x", None])
SHORT: st.SearchStrategy[Any] = (
    st.none() | TEXT | HALVES | st.integers() | st.floats() | st.booleans() | st.just([])
)
MESSAGES = st.fixed_dictionaries(
    {"role": ROLES, "content": SHORT | st.lists(st.dictionaries(KEYS, SHORT, max_size=3))},
    optional={
        "tool_calls": st.lists(st.just(CALL) | JSON_VALUES, max_size=2) | SHORT,
        "tool_call_id": SHORT,
        "name": SHORT,
        "refusal": SHORT,
        "function_call": st.dictionaries(st.sampled_from(["name", "arguments"]), SHORT),
        "x": JSON_VALUES,
    },
)
NUMBERS = SHORT | st.sampled_from(["1.10", "NaN", "-Infinity", "1e999", 10**25, -1])
CONVERSATIONS = st.lists(MESSAGES, max_size=5)


@st.composite
def twisted(draw: st.DrawFn, sample: Any) -> Any:
    """A sample in which some values, wherever they are, are others."""
    value = deepcopy(sample)
    for _ in range(draw(st.integers(0, 3))):
        inside = value
        while True:
            keys = list(inside) if isinstance(inside, dict) else list(range(len(inside)))
            if not keys:
                break
            key = draw(st.sampled_from(keys))
            if isinstance(inside[key], dict | list) and draw(st.booleans()):
                inside = inside[key]
            else:
                inside[key] = draw(SHORT | JSON_VALUES)
                break
    return value


CHAT = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Ho"}]
STARTED: dict[str, Any] = {"start_time": "2026-03-02T10:00:00Z", "extra": {"metadata": {}}}
SAMPLES: dict[str, Any] = {
    "tau2-bench": results(),
    "otlp": otlp(
        span("m1", 0, 1, of_today([USER_OF_SPANS], [CALLS])),
        span("f", 1, 1.5, TOOL, parentSpanId="m1"),
        span("m2", 2, 4, of_today([USER_OF_SPANS, CALLS, RESULT], [SAYS])),
    ),
    "langfuse": {
        "id": "t",
        "observations": [
            {
                "id": "g",
                "type": "GENERATION",
                "startTime": "2026-03-02T10:00:00Z",
                "input": {"messages": CHAT[:1]},
                "output": CHAT[1],
                "usageDetails": {"input": 1, "output": 2},
            },
            {"id": "s", "type": "SPAN", "parentObservationId": "g", "input": {}, "output": "x"},
        ],
        "scores": [{"name": "good", "value": 0.5, "source": "EVAL"}],
    },
    "langsmith": {
        "runs": [
            {
                **STARTED, "id": "m", "trace_id": "t", "run_type": "llm",
                "inputs": {"messages": CHAT[:1]}, "outputs": {"choices": [{"message": CHAT[1]}]},
            },
            {
                **STARTED, "id": "f", "trace_id": "t", "run_type": "tool", "parent_run_id": "m",
                "name": "f", "inputs": {"input": "{}"}, "outputs": {"output": "x"},
            },
        ]
    },
    "inspect": log(),
    "vcon": vcon(
        {"type": "text", "start": AT, "parties": [0, 1], "body": "Hi"},
        {"type": "text", "start": AT, "parties": [0, 1], "originator": 1, "body": "Ho"},
    ),
    "claude-code": [json.loads(entry) for entry in TREE.splitlines()],
    "codex": ROLLOUT,
    "chatgpt": TALK,
    "anthropic-messages": {"request": REQUEST, "response": ANSWER},
    "openai-responses": {**CALL_OF_RESPONSES, **RESPONSE},
}  # fmt: skip
SHAPES: dict[str, st.SearchStrategy[Any]] = {
    "openai-chat": st.one_of(
        CONVERSATIONS,
        st.fixed_dictionaries(
            {"messages": CONVERSATIONS | SHORT},
            optional={
                "id": SHORT,
                "model": SHORT,
                "tools": st.lists(
                    st.fixed_dictionaries(
                        {"type": st.just("function")},
                        optional={"function": st.dictionaries(KEYS, SHORT), "name": SHORT},
                    )
                )
                | SHORT,
                "temperature": NUMBERS,
                "response": st.fixed_dictionaries(
                    {"choices": st.lists(st.fixed_dictionaries({"message": MESSAGES}), max_size=2)},
                    optional={"usage": st.dictionaries(KEYS, NUMBERS), "id": SHORT},
                ),
                "cost": NUMBERS,
                "latency_sec": NUMBERS,
                "timestamp": NUMBERS,
                "kwargs": st.dictionaries(KEYS, SHORT),
            },
        ),
    ),
    "tau-bench": st.builds(
        tau_element,
        st.integers(0, 2),
        st.integers(0, 1),
        traj=st.lists(MESSAGES, max_size=4) | SHORT,
        reward=NUMBERS,
        info=st.just({"task": {"user_id": "u"}}) | st.dictionaries(KEYS, JSON_VALUES) | SHORT,
    )
    | st.fixed_dictionaries({"task_id": SHORT, "trial": NUMBERS, "traj": CONVERSATIONS}),
    **{name: twisted(sample) for name, sample in SAMPLES.items()},
    "ai-trader": st.fixed_dictionaries(
        {
            "date": st.sampled_from(["2025-10-01", "2025-10-01 10:00:00", "x", "", "0001-01-01"])
            | SHORT,
            "id": st.integers(0, 4) | NUMBERS,
            "positions": st.dictionaries(st.sampled_from(["A", "CASH", ""]), NUMBERS) | SHORT,
        },
        optional={
            "this_action": st.fixed_dictionaries(
                {"action": st.sampled_from(["buy", "sell", "no_trade", "hold"]) | SHORT},
                optional={"symbol": SHORT, "amount": NUMBERS, "price": NUMBERS, "x": SHORT},
            )
            | SHORT
        },
    ),
}


def _dumped(value: Any) -> bytes:
    return json.dumps(value).encode()


REAL = {
    "tau-bench": ("tau-bench", "gpt-4o-airline.json"),
    "openai-chat": ("openhands", "fncall-llm-message.json"),
    "ai-trader": ("ai-trader", "crypto", "gpt-5.positions.jsonl"),
}


@fuzzed(90, 250)
@given(
    content=st.binary(max_size=200)
    | damaged([b"[[1, 2]]", b'{"messages": [{"role": "user", "content": "x"}]}\n' * 3]),
    name=st.sampled_from(NAMES),
    format_=st.sampled_from(Importer.names()),
)
def test_any_bytes_are_imported_or_told(content: bytes, name: str, format_: str) -> None:
    """Noise, text, half a file: the report names the file, and nothing half read is stored."""
    imported(format_, content, name)


@pytest.mark.parametrize("format_", Importer.names())
@fuzzed(60, 250)
@given(data=st.data(), name=st.sampled_from(NAMES), lines=st.booleans())
def test_any_json_is_imported_or_told(
    format_: str, data: st.DataObject, name: str, lines: bool
) -> None:
    """Values in the shape of the format, or of any other: stored whole, or told by line."""
    values = data.draw(
        # A session is all the lines of a file.
        SHAPES[format_]
        if isinstance(SAMPLES.get(format_), list)
        else st.lists(SHAPES[format_] | JSON_VALUES, max_size=4)
    )
    if lines:
        content = "\n".join(json.dumps(value) for value in values)
    else:
        content = json.dumps(values, indent=1)
    store, report = imported(format_, content.encode(), name)
    if format_ == "openai-chat" and lines and name == "talk.jsonl":
        judge_chats(store, report, values)
    if format_ == "tau-bench" and not lines:
        judge_trajectories(store, values)


@pytest.mark.parametrize("format_", Importer.names())
@fuzzed(25, 400)
@given(data=st.data())
def test_a_damaged_file_is_imported_as_far_as_it_is_sound(
    format_: str, data: st.DataObject
) -> None:
    """Real files with other bytes here and there: what can be read is there, the rest is told."""
    path = real(*REAL[format_]) if format_ in REAL else Path("sample.json")
    content = _start_of(path) if format_ in REAL else _dumped(SAMPLES[format_])
    imported(format_, data.draw(damaged([content], edits_max=6)), path.name)


@fuzzed(60, 500)
@given(content=st.binary(max_size=100) | st.builds(_dumped, SHAPES["openai-chat"] | JSON_VALUES))
def test_any_tools_file_is_taken_or_refused(content: bytes) -> None:
    """The tools that an agent was offered: a list of them, or a UsageError that names the file."""
    with TemporaryDirectory() as folder, refold.open("memory:") as store:
        tools = Path(folder, "tools.json")
        tools.write_bytes(content)
        chat = Path(folder, "talk.jsonl")
        chat.write_text('[{"role": "user", "content": "Hi"}]')
        try:
            assert import_files(store, "openai-chat", [chat], tools=tools).imported == 1
        except UsageError as error:
            assert error.path == str(tools)
            assert store.log_head() == 0


def imported(format_: str, content: bytes, name: str) -> tuple[refold.Store, ImportReport]:
    """The log and report of an import, and of importing the same again."""
    store = refold.open("memory:")
    with TemporaryDirectory() as folder:
        path = Path(folder, name)
        path.write_bytes(content)
        report = import_files(store, format_, [path])
        again = import_files(store, format_, [path])
    judge(store, report, str(path), content.count(b"\n") + 1)
    assert (again.imported, again.branches, again.events) == (0, 0, 0)
    assert again.unchanged == report.imported + report.unchanged
    return store, report


def judge(store: refold.Store, report: ImportReport, file: str, lines: int) -> None:
    """The log holds what the report says: whole conversations, each in one append, and forks."""
    events = list(store.read_all())
    assert report.events == len(events) == store.log_head()
    streams = list(store.streams())
    assert len(streams) == report.imported + report.branches
    assert len({(e.stream, e.recorded_at_us) for e in events}) == len(streams)
    assert all(e.metadata["origin"] == "imported" for e in events if "~" not in e.stream)
    problems = report.problems
    assert report.problem_count == len(problems) >= report.failed
    assert report.imported or report.unchanged or report.failed
    for problem in problems:
        assert problem.file == file
        assert 0 <= problem.line <= lines
        assert problem.message
    for event in events:
        # What the simulated customer does, and lines that are no messages, are untyped.
        is_untyped = event.type.startswith(("customer.", "claude_code.", "codex."))
        assert is_untyped or event.event is not None
    json.dumps([[e.data, e.metadata] for e in events], allow_nan=False)


def judge_chats(store: refold.Store, report: ImportReport, values: list[Any]) -> None:
    """Each conversation without an id that was accepted exports as the messages that it was."""
    broken = {problem.line for problem in report.problems}
    for number, value in enumerate(values, 1):
        if number not in broken and (isinstance(value, list) or value.get("id") in (None, "")):
            said = json.loads(json.dumps(value))
            messages = said if isinstance(said, list) else said["messages"]
            exported = to_messages(store.read(f"chat-talk-{number}"))[: len(messages)]
            assert json.dumps(exported, sort_keys=True) == json.dumps(messages, sort_keys=True)


def judge_trajectories(store: refold.Store, values: list[Any]) -> None:
    """Each conversation that was accepted exports as the messages of an element."""
    said = [value.get("traj") for value in values if isinstance(value, dict)]
    messages = {json.dumps(json.loads(json.dumps(one)), sort_keys=True) for one in said}
    for info in store.streams():
        exported = to_messages(store.read(info.stream))
        assert json.dumps(exported, sort_keys=True) in messages


@cache
def _start_of(path: Path) -> bytes:
    """A file, or the first conversations of a large one."""
    content = path.read_bytes()
    if len(content) < 100_000:
        return content
    return json.dumps(json.loads(content)[:2], indent=2).encode()
