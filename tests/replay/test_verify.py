"""Verifying finds every way in which a record does not agree with itself."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

import refold
from refold import Event
from refold.conversation.chat_export import to_messages
from refold.conversation.events import AgentUtterance, ToolCall, ToolResult, UserUtterance
from refold.conversation.openai_chat import from_messages, read_messages
from refold.errors import NotFound
from refold.replay import verify
from refold.replay.decision import before, decisions
from refold.replay.verify import Mismatch
from tests.replay.stories import asks_tool, opening, record, tells


def found_in(*events: Any) -> list[tuple[str, str]]:
    """Event and kind of each mismatch in a history of these events."""
    with refold.open("memory:") as store:
        store.append("call-1", list(events))
        return [(mismatch.at, mismatch.kind) for mismatch in verify(store, ["call-1"]).mismatches]


USER = UserUtterance(text="Hi")


def call(**fields: Any) -> ToolCall:
    return ToolCall(**{"call_id": "c1", "name": "f", "message_id": "m1", **fields})


def test_a_sound_record_has_nothing_to_report() -> None:
    """Every decision is derived again from the record alone."""
    with refold.open("memory:") as store:
        record(store, "call-1")
        record(store, "call-2", opening(), asks_tool(), tells(), [USER, *tells()])
        before = store.log_head()
        told: list[int] = []
        verification = verify(store, ["call-1", "call-2"], progress=told.append)
        assert store.log_head() == before
    assert (verification.mode, verification.mismatches) == ("verify", [])
    assert (verification.conversations, verification.decisions, told) == (2, 5, [1, 2])


@pytest.mark.parametrize(
    ("events", "mismatches"),
    [
        pytest.param(
            [
                USER,
                Event.of(
                    AgentUtterance(text="No.", message_id="m1"),
                    metadata={"openai": {"set": {"content": "Yes."}}},
                ),
            ],
            [("call-1@1", "answers")],
            id="words that the export changes",
        ),
        pytest.param(
            [
                USER,
                Event.of(
                    call(arguments='{"a": 1}'),
                    metadata={
                        "openai": {
                            "call": {"set": {"function": {"name": "f", "arguments": '{"a": 2}'}}}
                        }
                    },
                ),
            ],
            [("call-1@1", "answers")],
            id="arguments that the export changes",
        ),
        pytest.param(
            [USER, call(arguments='{"a": 1}', parsed={"a": 2})],
            [("call-1@1", "arguments")],
            id="a parsed form of other arguments",
        ),
        pytest.param(
            [USER, call(), USER, AgentUtterance(text="x", message_id="m2")],
            [("call-1@1", "results")],
            id="a call without a result",
        ),
        pytest.param(
            [USER, call(), USER, AgentUtterance(text="x"), ToolResult(call_id="c1")],
            [("call-1@1", "results")],
            id="a result that comes too late",
        ),
        pytest.param(
            [USER, ToolResult(call_id="c9", result="x"), AgentUtterance(text="x")],
            [("call-1@1", "results")],
            id="a result without a call",
        ),
        pytest.param(
            [USER, Event("tool.call", Raw(b'{"call_id":3}'))],
            [("", "unreadable")],
            id="an event that is none",
        ),
    ],
)
def test_a_tampered_record_is_caught(events: list[Any], mismatches: list[tuple[str, str]]) -> None:
    """Each disagreement is reported with the event and the kind."""
    assert found_in(*events) == mismatches


def test_imported_messages_that_no_model_accepts_are_reported() -> None:
    """A result that came behind what the user said: it goes back there, and verify tells."""
    calls = [{"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}]
    events = from_messages(
        [
            {"role": "user", "content": "Hi"},
            {"role": "assistant", "content": None, "tool_calls": calls},
            {"role": "user", "content": "Still there?"},
            {"role": "tool", "tool_call_id": "c1", "content": "ok"},
            {"role": "assistant", "content": "Done"},
        ]
    )
    assert found_in(*events) == [("call-1@3", "results")]


@pytest.mark.parametrize(
    "answer",
    [
        {"content": "Here", "tool_calls": [{"id": "x", "type": "mcp"}]},
        {"content": None, "tool_calls": [5], "function_call": {"name": "f", "arguments": "{}"}},
        {"content": [{"type": "image_url", "image_url": {"url": "A"}}]},
        {"content": ["x", 5]},
        {"content": [{"type": "thinking", "thinking": "x"}]},
    ],
)
def test_what_is_imported_though_odd_can_be_read_back(answer: dict[str, Any]) -> None:
    """What the importer takes is no mismatch of the record."""
    messages = [{"role": "user", "content": "Hi"}, {"role": "assistant", **answer}]
    assert found_in(*read_messages(messages).events) == []


def test_an_answer_split_by_another_is_reported() -> None:
    """Words that come back to an earlier answer change what was already seen."""
    kinds = {
        kind
        for _, kind in found_in(
            USER,
            call(message_id="m1"),
            AgentUtterance(text="y", message_id="m2"),
            AgentUtterance(text="x", message_id="m1"),
        )
    }
    assert {"prefix", "answers"} <= kinds


def test_one_bad_conversation_does_not_hide_the_others() -> None:
    """Verifying goes on to the end."""
    with refold.open("memory:") as store:
        store.append("call-1", [Event("tool.call", Raw(b'{"call_id":3}'))])
        store.append("call-2", [USER, ToolResult(call_id="c9")])
        streams = [m.stream for m in verify(store, ["call-1", "call-2"]).mismatches]
    assert streams == ["call-1", "call-2"]


def test_a_mismatch_says_what_was_found_on_either_side() -> None:
    """The detail shows both."""
    with refold.open("memory:") as store:
        fixed = {"openai": {"set": {"content": "Yes."}}}
        store.append("call-1", [USER, Event.of(AgentUtterance(text="No."), metadata=fixed)])
        (mismatch,) = verify(store, ["call-1"]).mismatches
    assert mismatch == Mismatch("call-1", "call-1@1", "answers", "log: 'No.'; export: 'Yes.'")


def test_a_store_that_knows_other_classes_is_verified_too() -> None:
    """The events of a conversation are refold's own, whatever else a store holds."""
    with refold.open("memory:", registry=refold.Registry()) as store:
        store.append("call-1", [Event("user.utterance", {"text": "Hi"})])
        said = {"text": "Hello", "message_id": "m1"}
        store.append("call-1", [Event("agent.utterance", said)])
        verification = verify(store, ["call-1"])
    assert (verification.decisions, verification.mismatches) == (1, [])


ANY_EVENT = st.one_of(
    st.builds(UserUtterance, text=st.sampled_from("ab")),
    st.builds(
        AgentUtterance,
        text=st.sampled_from("ab"),
        message_id=st.sampled_from([None, "m1", "m2"]),
    ),
    st.builds(
        call,
        call_id=st.sampled_from(["c1", "c2"]),
        message_id=st.sampled_from([None, "m1", "m2"]),
        arguments=st.just("{}"),
    ),
    st.builds(ToolResult, call_id=st.sampled_from(["c1", "c2", "c3"]), result=st.just("done")),
)
FIXES = st.sampled_from([{}, {"late": True}, {"set": {"content": "a"}}, {"unset": ["content"]}])


@given(
    st.lists(
        st.builds(
            lambda data, fix: Event.of(data, metadata={"openai": fix} if fix else {}),
            ANY_EVENT,
            FIXES,
        ),
        min_size=1,
        max_size=12,
    )
)
def test_what_an_agent_had_seen_is_looked_at_wherever_it_may_have_changed(
    events: list[Event],
) -> None:
    """One pass finds what exporting the conversation again at each decision finds."""
    with refold.open("memory:") as store:
        store.append("call-1", events)
        history = list(store.read("call-1"))
        found = {one.at for one in verify(store, ["call-1"]).mismatches if one.kind == "prefix"}
    whole = to_messages(history)
    expected = set()
    for decision in decisions(history):
        seen = to_messages(before(history, decision))
        if seen != whole[: len(seen)]:
            expected.add(decision.at)
    assert found == expected


def test_a_stream_that_does_not_exist_is_not_found() -> None:
    """A typo is not a sound record."""
    with refold.open("memory:") as store, pytest.raises(NotFound):
        verify(store, ["call-9"])


# -- branches --------------------------------------------------------------------------------------


def branches_of(store: refold.Store, stream: str, name: str) -> list[str]:
    """A branch without each event of a stream, and one that stops at each of its versions."""
    made = []
    for version in range(store.head(stream) + 1):
        at = next(e for e in store.read(stream) if e.version == version).id
        for kind, branch in (
            ("without", store.branch(stream).without(at)),
            ("at", store.branch(stream, at=version)),
        ):
            made.append(f"{stream}~{name}{kind}{version}")
            branch.save(made[-1])
    return made


def as_found(store: refold.Store, stream: str) -> list[tuple[int | None, str, str]]:
    """The mismatches of one stream by the version that they stand at."""
    found = verify(store, [stream]).mismatches
    ids = {at: e.version for e in store.read(stream) for at in (e.id, e.origin_id)}
    return [(ids[m.at] if m.at else None, m.kind, m.detail) for m in found]


@pytest.mark.parametrize("is_compacted", [False, True])
def test_a_branch_is_verified_as_the_same_events_in_a_stream(
    tmp_path: Path, *, is_compacted: bool
) -> None:
    """Branches at every version, without any one event, of branches, of packed streams."""
    with refold.open(str(tmp_path / "s.db")) as store:
        late = ToolResult(call_id="c1", result="x")
        again = [USER, call(), AgentUtterance(text="hm", message_id="m7"), late, *tells()]
        record(store, "call-1", opening(), asks_tool(), tells(), again)
        if is_compacted:
            store.compact()
        first = branches_of(store, "call-1", "a")
        second = branches_of(store, "call-1~awithout1", "b")[::3]
        kinds = set()
        for number, branch in enumerate([*first, *second]):
            plain = f"plain-{number}"
            events = [Event(e.type, e.data) for e in store.read(branch)]
            store.append(plain, events)
            found = as_found(store, branch)
            assert found == as_found(store, plain), branch
            kinds |= {kind for _, kind, _ in found}
        assert "results" in kinds
