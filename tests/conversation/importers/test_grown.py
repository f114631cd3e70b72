"""A file that was imported before and has grown since: what is new comes in, and no more."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import refold
from refold.conversation import Conversation
from refold.conversation.importers import import_files
from tests.conversation.importers.inputs import real


def jsonl(items: list[Any]) -> str:
    return "".join(json.dumps(item) + "\n" for item in items)


CALL = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
CHAT = [
    {"role": "system", "content": "Be kind"},
    {"role": "user", "content": "Hi"},
    {"role": "assistant", "content": None, "tool_calls": [CALL]},
    {"role": "tool", "tool_call_id": "c", "content": "found"},
    {"role": "assistant", "content": "Hello"},
]
CLAUDE = [
    {"role": "user", "content": "Hi"},
    {"role": "assistant", "content": [{"type": "tool_use", "id": "c", "name": "f", "input": {}}]},
    {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "c", "content": "r"}]},
    {"role": "assistant", "content": [{"type": "text", "text": "Hello"}]},
]
ITEMS = [
    {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}", "id": "fc"},
    {"type": "function_call_output", "call_id": "c", "output": "r"},
    {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "A"}]},
    {"role": "user", "content": [{"type": "input_text", "text": "More"}]},
]


def entry(number: int, kind: str, **more: Any) -> dict[str, Any]:
    """A line of Claude Code."""
    message: dict[str, Any] = {"role": kind, "content": [{"type": "text", "text": f"t{number}"}]}
    if kind == "assistant":
        message |= {"id": f"M{number}", "type": "message", "model": "m", "usage": {}}
    head = {"uuid": f"u{number}", "parentUuid": f"u{number - 1}" if number else None}
    at = f"2026-01-01T00:00:{number:02}Z"
    return {"type": kind, "sessionId": "s", "timestamp": at, **head, "message": message, **more}


SIDE: dict[str, Any] = {"isSidechain": True, "agentId": "sub"}
CODE = [
    entry(0, "user"),
    entry(1, "assistant"),
    entry(2, "user", parentUuid=None, **SIDE),
    entry(3, "user", parentUuid="u1", cwd="/elsewhere"),
    entry(4, "assistant", parentUuid="u2", **SIDE),
    entry(5, "assistant", parentUuid="u3"),
]


def codex(count: int) -> str:
    """A rollout of Codex with so many items."""
    head = [("session_meta", {"id": "cs"}), ("turn_context", {"model": "m"})]
    said = [*head, *(("response_item", one) for one in ITEMS[:count])]
    times = (f"2026-01-01T00:00:{n:02}Z" for n in range(9))
    return jsonl(
        [
            {"timestamp": at, "type": kind, "payload": one}
            for at, (kind, one) in zip(times, said, strict=False)
        ]
    )


def chatgpt(count: int) -> str:
    """An export with one conversation of so many messages; what stands beside changes with it."""
    nodes: dict[str, Any] = {}
    for number in range(count):
        author = {"role": "assistant" if number % 2 else "user"}
        content = {"content_type": "text", "parts": [f"t{number}"]}
        message = {"author": author, "content": content, "create_time": 1_700_000_000 + number}
        parent = f"n{number - 1}" if number else None
        nodes[f"n{number}"] = {"parent": parent, "children": [], "message": message}
    told = {"conversation_id": "c", "update_time": 1_700_000_000 + count, "mapping": nodes}
    return json.dumps([{**told, "current_node": f"n{count - 1}"}])


def vcon(count: int) -> str:
    """A vCon of so many dialogs."""
    parties = [{"name": "A", "role": "agent"}, {"name": "B"}]
    said = [
        {"type": "text", "start": f"2026-01-01T00:00:0{n}Z", "parties": n % 2, "body": f"b{n}"}
        for n in range(count)
    ]
    told = {"vcon": "0.0.1", "uuid": "U", "parties": parties, "dialog": said}
    return json.dumps({**told, "updated_at": f"2026-01-01T00:01:0{count}Z"})


def otlp(count: int) -> str:
    """So many traces of one conversation."""
    talk: list[Any] = []
    lines = []
    for number in range(count):
        talk.append({"role": "user", "parts": [{"type": "text", "content": f"u{number}"}]})
        answer = {"role": "assistant", "parts": [{"type": "text", "content": f"a{number}"}]}
        said = {
            "gen_ai.operation.name": "chat", "gen_ai.conversation.id": "c",
            "gen_ai.input.messages": json.dumps(talk),
            "gen_ai.output.messages": json.dumps([answer]),
        }  # fmt: skip
        talk.append(answer)
        start = 1_700_000_000_000_000_000 + number
        span = {
            "traceId": f"T{number}", "spanId": f"s{number}", "name": "chat",
            "startTimeUnixNano": str(start), "endTimeUnixNano": str(start),
            "attributes": [{"key": k, "value": {"stringValue": v}} for k, v in said.items()],
        }  # fmt: skip
        lines.append({"resourceSpans": [{"scopeSpans": [{"spans": [span]}]}]})
    return jsonl(lines)


def langfuse(count: int) -> str:
    """A trace of so many calls, which was rated."""
    talk: list[Any] = []
    observed: list[dict[str, Any]] = []
    for number in range(count):
        talk.append({"role": "user", "content": f"u{number}"})
        at = f"2026-01-01T00:00:0{number}Z"
        answer = {"role": "assistant", "content": f"a{number}"}
        observed.append({"id": f"o{number}", "type": "GENERATION", "startTime": at, "endTime": at})
        observed[-1] |= {"input": [*talk], "output": answer}
        talk.append(answer)
    scores = [{"name": "good", "value": 1.0, "timestamp": "2026-01-01T00:01:00Z"}]
    whole = {"id": "T", "updatedAt": count, "observations": observed, "scores": scores}
    return json.dumps({"trace": whole, "observations": observed})


FORMATS: dict[str, tuple[str, Callable[[int], str], int]] = {
    "lines of messages": ("jsonl", lambda n: jsonl(CHAT[:n]), len(CHAT)),
    "a document of messages": ("json", lambda n: json.dumps(CHAT[:n]), len(CHAT)),
    "a request": ("json", lambda n: json.dumps({"id": "x", "messages": CHAT[:n]}), len(CHAT)),
    "lines of conversations": ("jsonl", lambda n: jsonl([CHAT] * n), 3),
    "lines of Anthropic's": ("jsonl", lambda n: jsonl([*CLAUDE[1:3], *CLAUDE][: n + 1]), 5),
    "a request of Anthropic's": (
        "json",
        lambda n: json.dumps({"id": "x", "system": "p", "messages": CLAUDE[:n]}),
        len(CLAUDE),
    ),
    "items of Responses": ("jsonl", lambda n: jsonl(ITEMS[:n]), len(ITEMS)),
    "Claude Code": ("jsonl", lambda n: jsonl(CODE[:n]), len(CODE)),
    "Codex": ("jsonl", codex, len(ITEMS)),
    "ChatGPT": ("json", chatgpt, 5),
    "vCon": ("json", vcon, 4),
    "OTLP": ("jsonl", otlp, 4),
    "Langfuse": ("json", langfuse, 4),
}


def told(store: refold.Store) -> dict[str, list[Any]]:
    """What each stream says, wherever its scores stand."""
    return {
        one.stream: sorted(
            ((e.type, e.raw) for e in store.read(one.stream) if e.type != "session.forked"),
            key=lambda said: said[0] == "score.recorded",
        )
        for one in store.streams()
    }


@pytest.mark.parametrize("name", FORMATS)
def test_a_file_that_grows_adds_what_is_new(name: str, tmp_path: Path) -> None:
    """Step by step it comes to what the whole file is; and again, nothing is added."""
    suffix, text, count = FORMATS[name]
    path = tmp_path / f"talk.{suffix}"
    with refold.open("memory:") as steps, refold.open("memory:") as whole:
        for length in range(1, count + 1):
            path.write_text(text(length))
            report = import_files(steps, None, [path])
            assert (report.problems, report.events > 0) == ([], True), length
            again = import_files(steps, None, [path])
            assert (again.problems, again.events, again.grown) == ([], 0, 0)
        import_files(whole, None, [path])
        assert told(steps) == told(whole)


@pytest.mark.parametrize("name", ["edge_cases", "representative_messages", "todowrite_examples"])
def test_real_sessions_grow(name: str, tmp_path: Path) -> None:
    """After each of their lines."""
    lines = real("formats", "claude-code", f"{name}.jsonl").read_text().splitlines(keepends=True)
    path = tmp_path / "s.jsonl"
    with refold.open("memory:") as steps, refold.open("memory:") as whole:
        for length in range(1, len(lines) + 1):
            path.write_text("".join(lines[:length]))
            report = import_files(steps, "claude-code", [path])
            assert report.problems == [] or not list(steps.streams())
        import_files(whole, None, [path])
        assert told(steps) == told(whole)


def block(number: int, own: str, said: dict[str, Any], **more: Any) -> dict[str, Any]:
    """A line of a message that is written block by block; it says why it ended in the last."""
    reason = more.pop("stop_reason", None)
    made = entry(number, "assistant", **more)
    usage = {"input_tokens": 9, "output_tokens": number}
    told = {"content": [said], "stop_reason": reason, "usage": usage}
    return made | {"message": {**made["message"], "id": own, **told}}


def answered(number: int, *calls: str, **more: Any) -> dict[str, Any]:
    """A line with the results of calls."""
    content = [{"type": "tool_result", "tool_use_id": one, "content": "r"} for one in calls]
    return entry(number, "user", **more) | {"message": {"role": "user", "content": content}}


def words(text: str) -> dict[str, Any]:
    return {"type": "text", "text": text}


def use(own: str) -> dict[str, Any]:
    return {"type": "tool_use", "id": own, "name": "f", "input": {}}


IN_BLOCKS = [
    entry(0, "user"),
    block(1, "A", {"type": "thinking", "thinking": "hm", "signature": "s"}),
    block(2, "A", words("I look")),
    block(3, "A", use("c1")),
    answered(4, "c1"),
    block(5, "A", use("c2"), stop_reason="tool_use"),
    entry(6, "user", parentUuid=None, **SIDE),
    block(7, "S", words("sub "), parentUuid="u6", **SIDE),
    block(8, "S", use("s1"), stop_reason="tool_use", **SIDE),
    answered(9, "s1", **SIDE),
    answered(10, "c2", parentUuid="u5"),
    block(11, "B", words("There ")),
    block(12, "B", words("it is"), stop_reason="end_turn"),
    {"type": "system", "subtype": "turn_duration", "sessionId": "s", "uuid": "u13"},
    entry(14, "user", parentUuid="u12"),
    block(15, "C", words("Bye"), stop_reason="end_turn"),
]


@pytest.mark.parametrize("inside", [0, 1, 30, -2])
def test_a_session_may_be_cut_anywhere(inside: int, tmp_path: Path) -> None:
    """Between the lines of a message too, or inside a line: whole, it is as if never cut.

    A message that may still be written is told, and is not taken before it is whole.
    """
    whole = jsonl(IN_BLOCKS).splitlines(keepends=True)
    path = tmp_path / "s.jsonl"
    with refold.open("memory:") as once:
        path.write_text("".join(whole))
        import_files(once, "claude-code", [path])
        wanted = told(once)
    for length in range(len(whole)):
        with refold.open("memory:") as store:
            path.write_text("".join(whole[:length]) + (whole[length][:inside] if inside else ""))
            cut = import_files(store, "claude-code", [path])
            is_told = any("a message that is not whole yet" in one.what for one in cut.loss)
            assert is_told == (length in (2, 3, 4, 5, 8, 12)), length
            path.write_text("".join(whole))
            grown = import_files(store, "claude-code", [path])
            assert (grown.problems, told(store)) == ([], wanted), length
            again = import_files(store, "claude-code", [path])
            assert (again.problems, again.events) == ([], 0)


def test_the_tokens_of_an_answer_may_come_later(store: refold.Store, tmp_path: Path) -> None:
    """Where no line says why its message ended: what follows is added, and the first are told."""
    lines = [
        entry(0, "user"), block(1, "A", words("Hi")), entry(2, "user"),
        block(3, "B", words("I look")), block(4, "B", use("c")), answered(5, "c"),
        block(6, "C", words("There")),
    ]  # fmt: skip
    path = tmp_path / "s.jsonl"
    path.write_text(jsonl(lines[:4]))
    assert import_files(store, None, [path]).loss == []
    path.write_text(jsonl(lines))
    for added in (4, 0):
        report = import_files(store, None, [path])
        assert (report.problems, report.events) == ([], added)
        (lost,) = report.loss
        assert lost.what.endswith("the first are kept, in claude-s@6 (model.response)")
    state = store.fold("claude-s", Conversation).state
    assert [one.text for one in state.transcript] == ["t0", "Hi", "t2", "I look", "There"]
    assert (len(state.tool_calls), state.usage.output_tokens) == (1, 1 + 3 + 6)


@pytest.mark.parametrize(
    ("said", "reason", "is_open"),
    [
        (words("x"), None, True),
        (words("x"), "end_turn", False),
        (words("x"), "tool_use", True),
        (use("c"), "tool_use", False),
        ({"type": "thinking", "thinking": "hm"}, "end_turn", True),
        ({"type": "redacted_thinking", "data": "hm"}, "tool_use", True),
    ],
)
def test_a_message_says_whether_it_is_whole(
    store: refold.Store, tmp_path: Path, said: dict[str, Any], reason: str | None, is_open: bool
) -> None:
    """By why it ended, and by what it says so far: none ends with a thought."""
    path = tmp_path / "s.jsonl"
    path.write_text(jsonl([entry(0, "user"), block(1, "A", said, stop_reason=reason)]))
    report = import_files(store, None, [path])
    assert (report.imported, len(report.loss)) == (1, int(is_open))
    types = [one.type for one in store.read("claude-s")]
    assert ("model.response" in types) != is_open


def test_what_a_side_chain_says_does_not_hang_on_what_came_after(tmp_path: Path) -> None:
    """It is told as it was when it left, its own further lines are added to its branch."""
    path = tmp_path / "s.jsonl"
    with refold.open("memory:") as store:
        for length in (4, 6):
            path.write_text(jsonl(CODE[:length]))
            assert import_files(store, None, [path]).ok
        words = [one.text for one in store.fold("claude-s~1", Conversation).state.transcript]
        assert words == ["t0", "t1", "t2", "t4"]
        forked, *own = store.read("claude-s~1", from_version=store.head("claude-s~1") - 2)
        assert forked.version < own[0].version


def test_the_first_of_a_start_that_changed_is_kept_and_told(
    store: refold.Store, tmp_path: Path
) -> None:
    """What stands beside a conversation is of its whole, and changes as it goes on."""
    path = tmp_path / "c.json"
    path.write_text(chatgpt(2))
    import_files(store, None, [path])
    path.write_text(chatgpt(3))
    report = import_files(store, None, [path])
    assert (report.imported, report.grown, report.unchanged) == (0, 1, 0)
    (lost,) = report.loss
    assert lost.what.endswith("the first are kept, in chatgpt-c@0 (session.started)")
    first = next(store.read("chatgpt-c"))
    assert first.metadata["chatgpt"]["update_time"] == 1_700_000_002


def test_an_older_file_changes_nothing(store: refold.Store, tmp_path: Path) -> None:
    """It says less than is there, and nothing else."""
    path = tmp_path / "c.jsonl"
    for count, added in ((2, 3), (4, 2), (3, 0), (2, 0)):
        path.write_text(jsonl(CHAT[:count]))
        report = import_files(store, "openai-chat", [path])
        assert (report.ok, report.events) == (True, added)


@pytest.fixture
def grown(store: refold.Store, tmp_path: Path) -> Iterator[Path]:
    """A file that was imported with three messages, to be written again."""
    path = tmp_path / "c.jsonl"
    path.write_text(jsonl(CHAT[:3]))
    assert import_files(store, "openai-chat", [path]).ok
    yield path


def test_what_changed_is_named_and_nothing_is_added(store: refold.Store, grown: Path) -> None:
    """The event, and in what it differs."""
    grown.write_text(jsonl([CHAT[0], {"role": "user", "content": "Ho"}, *CHAT[2:]]))
    before = list(store.read_all())
    (problem,) = import_files(store, "openai-chat", [grown]).problems
    assert "chat-c@2 (user.utterance) has another payload" in problem.message
    assert list(store.read_all()) == before


def test_a_score_that_was_given_here_is_no_change(store: refold.Store, grown: Path) -> None:
    """The conversation goes on behind it; what else was recorded here is another history."""
    score = refold.Event("score.recorded", {"name": "x", "value": 1.0, "rater": "me"})
    store.append("chat-c", [score])
    grown.write_text(jsonl(CHAT[:4]))
    report = import_files(store, "openai-chat", [grown])
    assert (report.grown, report.events) == (1, 1)
    store.append("chat-c", [refold.Event("said.here")])
    grown.write_text(jsonl(CHAT))
    (problem,) = import_files(store, "openai-chat", [grown]).problems
    assert "(said.here) has another type" in problem.message
