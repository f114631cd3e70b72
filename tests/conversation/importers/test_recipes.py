"""The recipes of "Bring another format", on files that those projects publish or describe."""

import importlib
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import refold
from tests.conversation.importers.inputs import real
from tests.conversation.importers.traces import said

PAGE = Path(__file__).resolve().parents[3] / "docs" / "how-to" / "bring-another-format.md"
FILES = dict(re.findall(r"```python\n# file: (\w+)\.py\n(.*?)```", PAGE.read_text(), re.DOTALL))
RECIPES = [name for name, text in FILES.items() if "def to_chat" in text]
AT = "2026-03-02T10:00:00Z"
TALK: list[Any] = [
    ("user", "Hi"),
    ("call", "c1", "price", {}),
    ("result", "c1", "0"),
    ("agent", "It is free."),
]
DOCUMENTS: dict[str, Any] = {
    "openhands": [
        {"source": "user", "action": "message", "args": {"content": "Hi"}, "timestamp": AT},
        {"source": "agent", "action": "run", "args": {}, "timestamp": AT,
         "tool_call_metadata": {"tool_call_id": "c1", "function_name": "price"}},
        {"source": "agent", "observation": "run", "content": "0", "timestamp": AT,
         "tool_call_metadata": {"tool_call_id": "c1", "function_name": "price"}},
        {"source": "agent", "action": "message", "args": {"content": "It is free."},
         "timestamp": AT},
    ],
    "autogen": {"messages": [
        {"type": "TextMessage", "source": "user", "content": "Hi"},
        {"type": "ToolCallRequestEvent", "source": "a",
         "content": [{"id": "c1", "name": "price", "arguments": "{}"}]},
        {"type": "ToolCallExecutionEvent", "source": "a",
         "content": [{"call_id": "c1", "content": "0", "name": "price", "is_error": False}]},
        {"type": "TextMessage", "source": "a", "content": "It is free."},
    ]},
    "vapi": {"id": "v", "messages": [
        {"role": "user", "message": "Hi", "time": 1772445600000},
        {"role": "tool_calls",
         "toolCalls": [{"id": "c1", "function": {"name": "price", "arguments": "{}"}}]},
        {"role": "tool_call_result", "toolCallId": "c1", "name": "price", "result": "0"},
        {"role": "bot", "message": "It is free.", "time": 1772445601000},
    ]},
    "retell": {"call_id": "r", "start_timestamp": 1772445600000, "transcript_with_tool_calls": [
        {"role": "user", "content": "Hi", "words": []},
        {"role": "tool_call_invocation", "tool_call_id": "c1", "name": "price", "arguments": "{}"},
        {"role": "tool_call_result", "tool_call_id": "c1", "content": "0"},
        {"role": "agent", "content": "It is free.", "words": [{"start": 1.0}]},
    ]},
    "livekit": {"items": [
        {"type": "message", "role": "user", "content": ["Hi"], "created_at": 1772445600.0},
        {"type": "function_call", "call_id": "c1", "name": "price", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c1", "output": "0", "is_error": False},
        {"type": "message", "role": "assistant", "content": ["It is free."]},
    ]},
}  # fmt: skip


@pytest.fixture(autouse=True)
def _modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The files of the page, importable from where the test runs."""
    for name, text in FILES.items():
        (tmp_path / f"{name}.py").write_text(text)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    yield
    for name in FILES:
        sys.modules.pop(name, None)


def brought(store: refold.Store, path: Path, recipe: str) -> list[Any]:
    """What a file says, brought in by a recipe."""
    to_chat = importlib.import_module(recipe).to_chat
    report = importlib.import_module("bringing").bring(store, path, to_chat, "x")
    assert (report.imported, report.failed) == (1, 0)
    [stream] = [one.stream for one in store.streams()]
    return said(store, stream)


def test_there_are_ten_and_they_are_short() -> None:
    """Of 15 lines at most, imports left out."""
    assert len(RECIPES) == 10
    for name in RECIPES:
        body = FILES[name][FILES[name].index("def to_chat") :]
        assert len(body.strip().splitlines()) <= 16, name


@pytest.mark.parametrize("recipe", DOCUMENTS)
def test_a_call_is_paired_and_each_speaks_as_who_they_are(
    store: refold.Store, tmp_path: Path, recipe: str
) -> None:
    """A question, a call, its result and an answer, as each of these projects writes them."""
    (tmp_path / "d.json").write_text(json.dumps(DOCUMENTS[recipe]))
    assert brought(store, tmp_path / "d.json", recipe) == TALK


def test_words_alone(store: refold.Store, tmp_path: Path) -> None:
    """ShareGPT's turns."""
    turns = [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Ho"}]
    (tmp_path / "d.json").write_text(json.dumps({"id": "s", "conversations": turns}))
    assert brought(store, tmp_path / "d.json", "sharegpt") == [("user", "Hi"), ("agent", "Ho")]


def test_a_tracker(store: refold.Store, tmp_path: Path) -> None:
    """Rasa's events, of which most are no words."""
    events = [
        {"event": "action", "timestamp": 1772445600.5},
        {"event": "user", "text": "Hi", "timestamp": 1772445601.5},
        {"event": "bot", "text": "Ho", "timestamp": 1772445602.5},
    ]
    (tmp_path / "d.json").write_text(json.dumps({"sender_id": "s", "events": events}))
    assert brought(store, tmp_path / "d.json", "rasa") == [("user", "Hi"), ("agent", "Ho")]


@pytest.mark.parametrize(
    ("recipe", "parts", "calls"),
    [
        ("swe_agent", ("formats", "swe-agent", "function_calling_simple.traj"), None),
        ("adk", ("formats", "adk", "123.session.json"), None),
        ("managed_agents", ("formats", "langsmith", "anthropic_managed_custom_tools.jsonl"), 1),
    ],
)
def test_real_files(
    store: refold.Store, recipe: str, parts: tuple[str, ...], calls: int | None
) -> None:
    """Every call of a real file has its result."""
    told = brought(store, real(*parts), recipe)
    called = [one[1] for one in told if one[0] == "call"]
    answered = [one[1] for one in told if one[0] == "result"]
    assert called and set(answered) <= set(called)
    assert calls is None or len(called) == len(answered) == calls
