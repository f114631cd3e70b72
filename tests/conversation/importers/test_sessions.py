"""Sessions of coding agents and ChatGPT's export: histories with branches."""

import json
from pathlib import Path
from typing import Any

import pytest

import refold
from refold.conversation import Conversation
from refold.conversation.importers import import_files
from tests.conversation.importers.inputs import real


def lines(*values: Any) -> str:
    return "".join(json.dumps(value) + "\n" for value in values)


def words(store: refold.Store, stream: str) -> list[str]:
    """What was said, in its order."""
    return [turn.text for turn in store.fold(stream, Conversation).state.transcript]


def imported(store: refold.Store, path: Path, text: str) -> Any:
    path.write_text(text)
    return import_files(store, None, [path])


# -- Claude Code -----------------------------------------------------------------------------------


def entry(uuid: str, parent: str | None, content: Any, second: int, **more: Any) -> dict[str, Any]:
    """A line of a session: of the model where it has an ``id``."""
    message = {"role": "user", "content": content}
    if "id" in more:
        usage = {"input_tokens": 10, "output_tokens": second}
        message = {"role": "assistant", "type": "message", "id": more.pop("id"), "model": "m"}
        message |= {"content": content, "usage": usage, "stop_reason": None}
    head = {"type": message["role"], "uuid": uuid, "parentUuid": parent, "sessionId": "s"}
    at = f"2026-01-01T00:00:{second:02}Z"
    return {**head, "isSidechain": False, "timestamp": at, "message": message, **more}


def use(name: str) -> dict[str, Any]:
    return {"type": "tool_use", "id": name, "name": name, "input": {}}


def result(name: str) -> list[dict[str, Any]]:
    return [{"type": "tool_result", "tool_use_id": name, "content": f"{name} done"}]


def text(said: str) -> list[dict[str, Any]]:
    return [{"type": "text", "text": said}]


TREE = lines(
    {"type": "summary", "summary": "x", "leafUuid": "a3"},
    entry("u1", None, "Hi", 1),
    entry("a0", "u1", text("draft"), 2, id="M0"),
    entry("u0", "a0", "left words", 3),
    entry("a9", "u0", text("left answer"), 4, id="M9"),
    entry("u2", "a0", "kept words", 5),
    entry("a1", "u2", [use("Task")], 6, id="M"),
    entry("a2", "a1", [use("Bash")], 7, id="M"),
    entry("s1", None, "sub prompt", 8, isSidechain=True),
    entry("s2", "s1", [use("Grep")], 9, id="S", isSidechain=True),
    entry("s3", "s2", result("Grep"), 10, isSidechain=True),
    entry("s4", "s3", text("sub says"), 11, id="S4", isSidechain=True),
    entry("r1", "a1", result("Task"), 12),
    entry("r2", "a2", result("Bash"), 13),
    entry("a3", "r2", text("Final"), 14, id="M3"),
)


def test_side_chains_and_what_was_left_are_branches(store: refold.Store, tmp_path: Path) -> None:
    """The session is the history that it ends with; parallel calls are in it, each answered."""
    report = imported(store, tmp_path / "s.jsonl", TREE)
    assert ([one.format for one in report.taken], report.loss) == (["claude-code"], [])
    assert (report.imported, report.branches) == (1, 2)
    assert words(store, "claude-s") == ["Hi", "draft", "kept words", "Final"]
    state = store.fold("claude-s", Conversation).state
    assert [one.answer and one.answer.event.result for one in state.tool_calls] == [
        "Task done",
        "Bash done",
    ]
    assert (state.usage.responses, state.usage.output_tokens) == (3, 2 + 7 + 14)
    branches = {one.stream: words(store, one.stream) for one in store.streams()}
    assert branches["claude-s~1"] == ["Hi", "draft", "left words", "left answer"]
    assert branches["claude-s~2"] == ["Hi", "draft", "kept words", "sub prompt", "sub says"]
    again = import_files(store, None, [tmp_path / "s.jsonl"])
    assert (again.unchanged, again.failed, again.branches) == (1, 0, 0)


@pytest.mark.parametrize("name", ["edge_cases", "representative_messages", "todowrite_examples"])
def test_real_sessions(store: refold.Store, name: str) -> None:
    """Calls paired, times kept, what is no message kept as it is and told."""
    file = real("formats", "claude-code", f"{name}.jsonl")
    report = import_files(store, None, [file])
    assert (report.imported, report.failed) == (1, 0)
    (info,) = store.streams()
    assert all(one.occurred_at.year == 2025 for one in store.read(info.stream))
    kept = [one.data for one in store.read(info.stream) if one.type == "claude_code.entry"]
    assert len(kept) >= len(report.loss)
    if name == "edge_cases":
        assert {"silly": "this"} in kept
        assert {"value": 42} in kept
        assert len(report.loss) == 6
    else:
        assert report.loss == []
        assert store.fold(info.stream, Conversation).state.open_calls == {}


def test_all_real_sessions_together(store: refold.Store) -> None:
    """A line that strayed from another session makes no session of its own."""
    folder = real("formats", "claude-code")
    report = import_files(store, None, sorted(folder.glob("*.jsonl")))
    assert (report.imported, report.failed) == (3, 0)


def test_each_side_chain_off_the_history_is_a_branch(store: refold.Store, tmp_path: Path) -> None:
    """Two that were left at entries of the history, and name no agent, stay apart."""
    sides = [
        entry("s1", "u", "first asks", 3, isSidechain=True),
        entry("s2", "s1", text("first says"), 4, id="S2", isSidechain=True),
        entry("t1", "a", "second asks", 5, isSidechain=True),
        entry("t2", "t1", text("second says"), 6, id="T2", isSidechain=True),
    ]
    history = [entry("u", None, "Hi", 1), entry("a", "u", text("Hello"), 2, id="A")]
    report = imported(store, tmp_path / "s.jsonl", lines(*history, *sides))
    assert (report.imported, report.branches) == (1, 2)
    assert words(store, "claude-s~1")[-2:] == ["first asks", "first says"]
    assert words(store, "claude-s~2") == ["Hi", "Hello", "second asks", "second says"]


# -- Codex -----------------------------------------------------------------------------------------


def line(second: int, kind: str, **payload: Any) -> dict[str, Any]:
    return {"timestamp": f"2026-01-01T00:00:{second:02}Z", "type": kind, "payload": payload}


SPENT = {
    "total_token_usage": {"input_tokens": 10, "output_tokens": 2},
    "last_token_usage": {"input_tokens": 10, "cached_input_tokens": 4, "output_tokens": 2},
}
ROLLOUT = [
    line(0, "session_meta", id="cs", cli_version="0.46", instructions="Be good"),
    line(
        1, "response_item", type="message", role="user",
        content=[{"type": "input_text", "text": "Hi"}],
    ),
    line(1, "event_msg", type="user_message", message="Hi"),
    line(2, "turn_context", model="m1", effort="high"),
    line(3, "response_item", type="function_call", name="shell", arguments="{}", call_id="c"),
    line(4, "event_msg", type="token_count", info=SPENT),
    line(4, "event_msg", type="token_count", info=SPENT),
    line(5, "response_item", type="function_call_output", call_id="c", output="files"),
    line(6, "turn_context", model="m2", effort="high"),
    line(
        7, "response_item", type="message", role="assistant",
        content=[{"type": "output_text", "text": "Done"}],
    ),
    line(8, "strange", a=1),
]  # fmt: skip


def test_a_session_of_codex(store: refold.Store, tmp_path: Path) -> None:
    """Words once, the call paired, tokens counted once, each model in force from where it was."""
    report = imported(store, tmp_path / "r.jsonl", lines(*ROLLOUT))
    assert [one.format for one in report.taken] == ["codex"]
    assert len(report.loss) == 1
    state = store.fold("codex-cs", Conversation).state
    assert words(store, "codex-cs") == ["Hi", "Done"]
    assert (state.open_calls, len(state.tool_calls)) == ({}, 1)
    usage = state.usage
    assert (usage.input_tokens, usage.output_tokens, usage.cached_tokens) == (10, 2, 4)
    configured = [one.event for one in store.read("codex-cs") if one.type == "agent.configured"]
    assert [(one.model, one.prompt.text) for one in configured] == [
        ("m1", "Be good"),
        ("m2", "Be good"),
    ]
    *_, last = store.read("codex-cs")
    assert (last.type, last.data) == ("codex.line", ROLLOUT[-1])
    assert state.duration_ms == 7_000


# -- ChatGPT ---------------------------------------------------------------------------------------


def node(key: str, parent: str | None, role: str, said: Any, **more: Any) -> dict[str, Any]:
    content = said if isinstance(said, dict) else {"content_type": "text", "parts": [said]}
    message = {"id": key, "author": {"role": role}, "content": content, "recipient": "all"}
    return {"id": key, "parent": parent, "message": {**message, "create_time": 1.7e9, **more}}


CODE = {"content_type": "code", "text": "print(1)"}
SLUG = {"metadata": {"model_slug": "gpt-x"}}
IMAGE = {"content_type": "image_asset_pointer", "asset_pointer": "a"}
NODES: list[dict[str, Any]] = [
    {"id": "root", "parent": None, "children": ["u1"], "message": None},
    node("u1", "root", "user", "Hi"),
    node("a1", "u1", "assistant", "first", metadata={"model_slug": "gpt-w"}),
    node("a2", "u1", "assistant", "second", **SLUG),
    node("u2", "a2", "user", {"content_type": "multimodal_text", "parts": [IMAGE, "look"]}),
    node("c1", "u2", "assistant", CODE, **{**SLUG, "recipient": "python"}),
    node("t1", "c1", "tool", {"content_type": "execution_output", "text": "1"}),
    node("a3", "t1", "assistant", "One", **SLUG),
    node("u3", "a1", "user", "edited"),
    node("a4", "u3", "assistant", "for the edited", **SLUG),
    node("a5", "u3", "assistant", "made anew", **SLUG),
]
TALK: dict[str, Any] = {"id": "c", "title": "T", "current_node": "a3", "create_time": 1.7e9}
TALK["mapping"] = {one["id"]: one for one in NODES}


def test_the_branches_of_a_tree_are_branches(store: refold.Store, tmp_path: Path) -> None:
    """The path to the current node is the conversation; each leaves it where they part."""
    report = imported(store, tmp_path / "conversations.json", json.dumps([TALK]))
    assert ([one.format for one in report.taken], report.loss) == (["chatgpt"], [])
    assert words(store, "chatgpt-c") == ["Hi", "second", "look", "One"]
    state = store.fold("chatgpt-c", Conversation).state
    assert (state.open_calls, len(state.tool_calls)) == ({}, 1)
    assert state.transcript[2].attachments == ["image_asset_pointer"]
    branches = {one.stream: words(store, one.stream) for one in store.streams()}
    assert branches["chatgpt-c~1"] == ["Hi", "first", "edited", "for the edited"]
    assert branches["chatgpt-c~2"] == ["Hi", "first", "edited", "made anew"]
    agent = store.fold("chatgpt-c~2", Conversation).state.agent
    assert agent is not None and agent.model == "gpt-x"


def test_content_that_is_not_known_is_told_and_kept(store: refold.Store, tmp_path: Path) -> None:
    """By its place in the document; it stands in the parts of the words."""
    odd = {"content_type": "hologram", "data": 1}
    nodes = [node("u1", None, "user", "Hi"), node("a1", "u1", "assistant", odd)]
    talk = {"id": "c", "current_node": "a1", "mapping": {one["id"]: one for one in nodes}}
    report = imported(store, tmp_path / "c.json", json.dumps(talk))
    assert [one.pointer for one in report.loss] == ["/mapping/a1/message/content/content_type"]
    *_, said = store.read("chatgpt-c")
    assert said.event.parts == [{"type": "hologram", **odd}]
