"""Files of OpenAI chat messages: fine-tuning lines, single documents, logs of single calls."""

import json
import sys
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest

import refold
from refold.conversation.chat_export import Loss, to_messages
from refold.conversation.importers import import_files
from tests.conversation.importers.inputs import line, real

SYSTEM = {"role": "system", "content": "Be kind"}
USER = {"role": "user", "content": "Hi"}
CALL = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
ASKS = {"role": "assistant", "content": None, "tool_calls": [CALL]}
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}


def write(tmp_path: Path, text: str, name: str = "talk.jsonl") -> Path:
    path = tmp_path / name
    path.write_text(text)
    return path


def configured(store: refold.Store, stream: str) -> Any:
    [one] = [e.event for e in store.read(stream) if e.type == "agent.configured"]
    return one


def test_a_line_is_a_list_of_messages_or_an_object(store: refold.Store, tmp_path: Path) -> None:
    """Both forms come back as the messages that they held."""
    path = write(tmp_path, json.dumps([SYSTEM, USER]) + "\n" + line(messages=[USER]))
    assert import_files(store, "openai-chat", [path]).imported == 2
    assert to_messages(store.read("chat-talk-1")) == [SYSTEM, USER]
    assert to_messages(store.read("chat-talk-2")) == [USER]


@pytest.mark.parametrize(
    ("document", "streams"),
    [
        ([SYSTEM, USER], ["chat-one"]),
        ({"messages": [USER]}, ["chat-one"]),
        ({"messages": [USER], "id": "x"}, ["chat-x"]),
        ([[USER], [USER]], ["chat-one-1", "chat-one-2"]),
        ([{"messages": [USER], "id": 5}, {"messages": [USER]}], ["chat-5", "chat-one-2"]),
    ],
)
def test_a_json_document_is_one_conversation_or_a_list_of_them(
    store: refold.Store, tmp_path: Path, document: Any, streams: list[str]
) -> None:
    """A .json file is read as a whole, however it is laid out."""
    path = write(tmp_path, json.dumps(document, indent=2), "one.json")
    assert import_files(store, "openai-chat", [path]).failed == 0
    assert [info.stream for info in store.streams()] == streams


@pytest.mark.parametrize("text", ["{", "[", "12", '"a"', "{}", "[]", '{"messages": []}', "[1, 2]"])
def test_a_document_that_is_no_conversation(store: refold.Store, tmp_path: Path, text: str) -> None:
    """It is told, and nothing is stored."""
    report = import_files(store, "openai-chat", [write(tmp_path, text, "one.json")])
    assert (report.imported, report.ok) == (0, False)
    assert store.log_head() == 0


def test_model_tools_and_parameters_stand_beside_the_prompt(
    store: refold.Store, tmp_path: Path
) -> None:
    """What the agent ran with is one agent.configured; each call knows its tool."""
    said = line(
        messages=[SYSTEM, USER, ASKS], tools=[TOOL], model="m-1", temperature=0.5, seed=None
    )
    import_files(store, "openai-chat", [write(tmp_path, said)])
    agent = configured(store, "chat-talk-1")
    assert (agent.prompt.text, agent.model, agent.params) == (
        "Be kind",
        "m-1",
        {"temperature": 0.5},
    )
    assert [tool.name for tool in agent.tools] == ["f"]
    [call] = [e.event for e in store.read("chat-talk-1") if e.type == "tool.call"]
    assert call.schema_hash == agent.tools[0].schema_hash != ""
    assert to_messages(store.read("chat-talk-1")) == [SYSTEM, USER, ASKS]


def test_without_a_prompt_the_configuration_comes_first(
    store: refold.Store, tmp_path: Path
) -> None:
    """A model without a system message is known, and adds no message."""
    import_files(store, "openai-chat", [write(tmp_path, line(messages=[USER], model="m-1"))])
    assert configured(store, "chat-talk-1").model == "m-1"
    assert to_messages(store.read("chat-talk-1")) == [USER]


def test_effects_of_a_tools_file_hold_for_the_tools_of_a_line(
    store: refold.Store, tmp_path: Path
) -> None:
    """The API's shape has no effect: a tools file says what the tools of a line do."""
    tools = write(tmp_path, json.dumps([{**TOOL, "effect": "write"}]), "tools.json")
    path = write(tmp_path, line(messages=[USER, ASKS], tools=[TOOL]) + line(messages=[USER, ASKS]))
    import_files(store, "openai-chat", [path], tools=tools)
    for stream in ("chat-talk-1", "chat-talk-2"):
        assert configured(store, stream).tools[0].effect == "write"
        assert [e.event.effect for e in store.read(stream) if e.type == "tool.call"] == ["write"]


def test_other_fields_are_kept(store: refold.Store, tmp_path: Path) -> None:
    """What no event holds stands with the start of the session, as it was."""
    said = line(messages=[USER], id="a", metadata={"x": [1.5]}, model=7, tools=None, user="u")
    import_files(store, "openai-chat", [write(tmp_path, said)])
    started = next(iter(store.read("chat-a")))
    assert started.metadata["openai_chat"] == {
        "id": "a", "metadata": {"x": [1.5]}, "model": 7, "tools": None, "user": "u",
    }  # fmt: skip


def test_what_other_apis_call_a_prompt_is_no_parameter(store: refold.Store, tmp_path: Path) -> None:
    """Asked for by name, a file is read as chat completions have it: the rest stands beside."""
    said = {"system": "S", "instructions": "I", "prompt": "P", "output": "O", "text": "T"}
    path = write(tmp_path, line(messages=[USER], id="a", model="m", **said))
    assert import_files(store, "openai-chat", [path]).imported == 1
    assert configured(store, "chat-a").params == {}
    assert next(iter(store.read("chat-a"))).metadata["openai_chat"] == {"id": "a", **said}


def test_what_is_lost_of_a_tool_is_listed(store: refold.Store, tmp_path: Path) -> None:
    """A field of a tool that has no place is named by file, line and pointer."""
    tool = {"type": "function", "function": {"name": "f", "strict": True}, "cache": 1}
    path = write(tmp_path, "\n" + line(messages=[USER], tools=[tool]))
    report = import_files(store, "openai-chat", [path])
    told = "a field of a tool that is not known here"
    assert report.loss == [
        Loss(f"{path}:2", told, "/tools/0/function/strict"),
        Loss(f"{path}:2", told, "/tools/0/cache"),
    ]
    assert (report.loss_count, report.ok) == (2, True)


@pytest.mark.parametrize(
    ("said", "path"),
    [
        ({"messages": [{"role": "critic"}]}, "/messages/0/role"),
        ({"messages": [USER, 1]}, "/messages/1"),
        ({"messages": []}, "/messages"),
    ],
)
def test_what_cannot_be_represented_is_named_by_its_path(
    store: refold.Store, tmp_path: Path, said: Any, path: str
) -> None:
    """A conversation that cannot be kept as it was is a problem with the place in it."""
    report = import_files(store, "openai-chat", [write(tmp_path, line(**said))])
    assert (report.imported, report.failed) == (0, 1)
    assert path in report.problems[0].message


def test_a_logged_call_ends_with_its_answer(store: refold.Store, tmp_path: Path) -> None:
    """Response, usage, exact cost, latency and time of a single call."""
    answer = {"content": "Hello", "tool_calls": [CALL]}
    usage = {
        "prompt_tokens": 10, "completion_tokens": 2, "prompt_tokens_details": {"cached_tokens": 4},
    }  # fmt: skip
    choices = [{"message": answer, "finish_reason": "tool_calls"}, {"message": answer}]
    response = {"id": "r", "model": "m-1", "choices": choices, "usage": usage}
    path = tmp_path / "call.json"
    said = {"messages": [USER], "response": response, "latency_sec": 1.5, "timestamp": 1757015025.5}
    path.write_text(json.dumps(said)[:-1] + ', "cost": 0.010000000000000000001}')
    report = import_files(store, "openai-chat", [path])
    assert [loss.pointer for loss in report.loss] == ["/response/choices/1"]
    events = list(store.read("chat-call"))
    assert [e.type for e in events] == [
        "session.started", "agent.configured", "user.utterance", "model.response",
        "agent.utterance", "tool.call",
    ]  # fmt: skip
    told = events[3].event
    assert (told.usage.input_tokens, told.usage.output_tokens, told.usage.cached_tokens) == (
        10,
        2,
        4,
    )
    assert told.cost == Decimal("0.010000000000000000001")
    assert (told.latency_ms, told.finish_reason) == (1500.0, "tool_calls")
    assert {e.event.message_id for e in events[3:]} == {"m1"}
    assert {e.occurred_at_us for e in events} == {1757015025_500_000}
    assert to_messages(events) == [USER, {"role": "assistant", **answer}]
    assert events[0].metadata["openai_chat"]["response"]["usage"] == usage


@pytest.mark.parametrize(
    ("said", "cost", "pointers"),
    [
        ("0.12345678901234567890123", Decimal("0.12345678901234567890123"), []),
        ("null", None, []),
        ('"free"', None, ["/response/usage/cost"]),
        ("-1", None, ["/response/usage/cost"]),
        ("1e40", None, ["/response/usage/cost"]),
    ],
)
def test_what_a_response_says_it_cost_is_exact_or_told(
    store: refold.Store, tmp_path: Path, said: str, cost: Decimal | None, pointers: list[str]
) -> None:
    """It is not rounded on its way, and what is no amount is named."""
    path = tmp_path / "call.json"
    response = {"choices": [{"message": {"content": "a"}}], "usage": {"cost": "COST"}}
    whole = json.dumps({"messages": [USER], "response": response})
    path.write_text(whole.replace('"COST"', said))
    report = import_files(store, "openai-chat", [path])
    assert [loss.pointer for loss in report.loss] == pointers
    (told,) = (e.event for e in store.read("chat-call") if e.type == "model.response")
    assert told.cost == cost


@pytest.mark.parametrize("odd", [{"cost": "free"}, {"cost": -1}, {"cost": "NaN"}, {"cost": True},
                                 {"timestamp": "now"}, {"timestamp": 1e300}, {"timestamp": -1e15},
                                 {"timestamp": "2026-13-01"}, {"created": []}, {"created_at": 12},
                                 {"latency_sec": "x"}, {"latency_sec": -1}, {"latency_sec": True},
                                 {"latency_sec": 10**400}, {"timestamp": 10**400}, {"id": [1]},
                                 {"response": "text"}, {"kwargs": 1}, {"model": 7}])  # fmt: skip
def test_an_odd_field_voids_itself_alone(
    store: refold.Store, tmp_path: Path, odd: dict[str, Any]
) -> None:
    """It is kept as it was and told by its place; what stands beside it is read."""
    said = {
        "messages": [USER], "response": {"choices": [{"message": {"content": "a"}}]},
        "cost": 0.5, "latency_sec": 2, "timestamp": "2026-01-01T00:00:00Z",
    } | odd  # fmt: skip
    [key] = odd
    report = import_files(store, "openai-chat", [write(tmp_path, line(**said))])
    assert (report.imported, report.ok) == (1, True)
    told = {loss.pointer for loss in report.loss}
    # Without an answer there is nothing that cost and latency could be of.
    assert told == ({"/response", "/cost", "/latency_sec"} if key == "response" else {f"/{key}"})
    events = list(store.read("chat-talk-1"))
    assert odd.items() <= events[0].metadata["openai_chat"].items()
    for answer in (e.event for e in events if e.type == "model.response"):
        assert answer.cost == (None if key == "cost" else Decimal("0.5"))
        assert answer.latency_ms == (None if key == "latency_sec" else 2000.0)
    if key != "timestamp":
        assert {e.occurred_at_us for e in events} == {1_767_225_600_000_000}


@pytest.mark.parametrize(
    ("odd", "pointers"),
    [
        ({"tools": {}}, {"/tools"}),
        ({"tools": [{"type": "web_search"}, TOOL]}, {"/tools/0/name"}),
        ({"tools": "[1"}, {"/tools"}),
        ({"functions": 1}, {"/functions"}),
        ({"response": {}}, set()),
        ({"response": {"choices": []}}, {"/response/choices"}),
        ({"response": {"choices": [1]}}, {"/response/choices/0"}),
        ({"response": {"choices": [{}]}}, {"/response/choices/0/message"}),
    ],
)
def test_odd_tools_and_answers_void_themselves_alone(
    store: refold.Store, tmp_path: Path, odd: dict[str, Any], pointers: set[str]
) -> None:
    """The messages are imported, the rest is told by its place."""
    path = write(tmp_path, line(messages=[USER], model="m", **odd))
    report = import_files(store, "openai-chat", [path])
    assert (report.imported, report.ok) == (1, True)
    assert {loss.pointer for loss in report.loss} == pointers
    assert configured(store, "chat-talk-1").model == "m"
    assert to_messages(store.read("chat-talk-1")) == [USER]


def at(store: refold.Store, stream: str) -> list[tuple[str, str]]:
    """When the events of a stream happened, after 2026-01-01T00."""
    return [(e.type, e.occurred_at.isoformat()[13:19]) for e in store.read(stream)]


@pytest.mark.parametrize(
    "time",
    [
        {"timestamp": "2026-01-01T00:00:00Z"},
        {"timestamp": "2026-01-01 01:00:00+01:00"},
        {"timestamp": "2026-01-01T00:00:00"},
        {"timestamp": "1767225600"},
        {"timestamp": 1_767_225_600_000},
        {"created": 1_767_225_600},
        {"created_at": 1_767_225_600.0},
        {"create_time": 1_767_225_600_000_000},
        {"timestamp": "soon", "created": 1_767_225_600_000_000_000},
    ],
)
@pytest.mark.parametrize("answered", [True, False])
def test_a_time_that_the_log_gives_is_used(
    store: refold.Store, tmp_path: Path, time: dict[str, Any], answered: bool
) -> None:
    """Whatever form it has, with an answer or without: all of it happened then."""
    answer = {"response": {"choices": [{"message": {"content": "a"}}]}} if answered else {}
    import_files(store, "openai-chat", [write(tmp_path, line(messages=[USER], **answer, **time))])
    happened = {e.occurred_at_us for e in store.read("chat-talk-1")}
    assert happened == {1_767_225_600_000_000}


def test_the_time_of_an_answer_is_used(store: refold.Store, tmp_path: Path) -> None:
    """Where the line says none itself."""
    response = {"created": 1_767_225_600, "choices": [{"message": {"content": "a"}}]}
    import_files(store, "openai-chat", [write(tmp_path, line(messages=[USER], response=response))])
    assert {e.occurred_at_us for e in store.read("chat-talk-1")} == {1_767_225_600_000_000}


def test_messages_have_times_of_their_own(store: refold.Store, tmp_path: Path) -> None:
    """One without goes with the one before it; an odd one is told; all come back as they were."""
    times: list[dict[str, Any]] = [
        {}, {"timestamp": "2026-01-01T00:00:05Z"}, {"created": "x"}, {"created": 1767225607},
    ]  # fmt: skip
    messages: list[dict[str, Any]] = [SYSTEM, USER, ASKS, USER]
    said = [message | time for message, time in zip(messages, times, strict=True)]
    early, late = {"id": "e", "created": 1_767_225_601}, {"id": "l", "created": 1_767_225_690}
    text = line(messages=said) + line(messages=said, **early) + line(messages=said, **late)
    report = import_files(store, "openai-chat", [write(tmp_path, text)])
    assert [loss.pointer for loss in report.loss] == ["/messages/2/created"] * 3
    rest = [("user.utterance", ":00:05"), ("tool.call", ":00:05"), ("user.utterance", ":00:07")]
    for stream, begun in (("talk-1", ":00:05"), ("e", ":00:01"), ("l", ":00:05")):
        opening = [("session.started", begun), ("agent.configured", begun)]
        assert at(store, f"chat-{stream}") == opening + rest
        assert to_messages(store.read(f"chat-{stream}")) == said


BROKEN = ['"\\ud83d"', "NaN", "1e999", '"a', "[", '"a"}}', '"\xff"']


@pytest.mark.parametrize("form", ['{"id": "%s", "messages": [%s]}', "[%.0s%s]"])
@pytest.mark.parametrize(
    ("around", "between", "line"), [("[%s]", ",", 1), ("[\n%s\n]", ",\n", 3), ("%s\n", "\n", 2)]
)
def test_one_bad_conversation_of_many_costs_itself_alone(
    tmp_path: Path, form: str, around: str, between: str, line: int
) -> None:
    """In an array on one line or several, and in lines: whatever is wrong with it."""
    path = tmp_path / ("many.jsonl" if between == "\n" else "many.json")
    for bad in BROKEN:
        each = [
            form % (number, f'{{"role": "user", "content": {content}}}')
            for number, content in enumerate(['"a"', bad, '"c"'], 1)
        ]
        path.write_bytes((around % between.join(each)).encode("latin-1"))
        with refold.open("memory:") as store:
            report = import_files(store, "openai-chat", [path])
        assert (report.imported, report.failed) == (2, 1), bad
        assert [problem.line for problem in report.problems] == [line]


@pytest.mark.parametrize("name", ["-", "one.txt", "one.chat", "one.json"])
@pytest.mark.parametrize("indent", [1, 4])
def test_a_document_over_several_lines_is_one(
    store: refold.Store,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    indent: int,
) -> None:
    """Whatever its name, or on the standard input; a list, an object, or several of them."""
    for document, count in (([SYSTEM, USER], 1), ({"messages": [USER]}, 1), ([[USER]] * 3, 3)):
        with refold.open("memory:") as empty:
            path = write(tmp_path, json.dumps(document, indent=indent), name)
            with path.open() as piped:
                monkeypatch.setattr(sys, "stdin", piped)
                source = name if name == "-" else path
                report = import_files(empty, "openai-chat", [source])
            assert (report.imported, report.failed) == (count, 0)


def test_lines_in_a_file_called_json(store: refold.Store, tmp_path: Path) -> None:
    """Data sets are often called so: the first line is a conversation, and others follow."""
    path = write(tmp_path, line(messages=[USER]) * 3, "train.json")
    assert import_files(store, "openai-chat", [path]).imported == 3


def test_a_broken_document_over_several_lines_is_one_problem(
    store: refold.Store, tmp_path: Path
) -> None:
    """Not one a line."""
    text = json.dumps([SYSTEM, USER, ASKS], indent=1)
    path = write(tmp_path, text.replace('"Be kind"', '"Be kind'), "one.txt")
    report = import_files(store, "openai-chat", [path])
    assert (report.imported, report.failed) == (0, 1)


def test_recorded_calls_of_a_coding_agent(store: refold.Store) -> None:
    """Twelve real files: ten single calls with their price, two whole conversations."""
    folder = real("openhands")
    paths = sorted(folder.glob("*.json"))
    report = import_files(store, "openai-chat", paths)
    assert (report.imported, report.failed) == (12, 0)
    responses = list(store.read_all(types=["model.response"]))
    assert len(responses) == 10
    for path in paths:
        whole = msgspec.json.decode(path.read_bytes())
        events = list(store.read(f"chat-{path.stem}"))
        if isinstance(whole, list):
            assert to_messages(events) == whole
            continue
        answer = whole["response"]["choices"][0]["message"]
        assert to_messages(events) == [*whole["messages"], answer]
        [told] = [e.event for e in events if e.type == "model.response"]
        assert float(told.cost) == whole["cost"]
        assert told.usage.output_tokens == whole["response"]["usage"]["completion_tokens"]
