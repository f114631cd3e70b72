"""Arguments of the wrong kind are refused by what was called, with what to give instead."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

import refold
from refold import recording
from refold.conversation import (
    Conversation,
    ToolCall,
    UserUtterance,
    transcript,
)
from refold.conversation.importers import import_files
from refold.errors import InvalidEvent, RefoldError, UsageError
from refold.replay import Variant, compare, decisions, replay, select, verify

SAID = UserUtterance(text="Hi")
VARIANT = Variant(prompt="Be brief.")
# Untyped: a type checker would refuse every call here.
rf: Any = refold
replaying: Any = replay
comparing: Any = compare
Call = Callable[[Any], Any]


@pytest.fixture
def store() -> refold.Store:
    """One conversation in memory."""
    store = refold.open("memory:")
    store.append("call-1", [SAID])
    return store


def answering(request: Any) -> Any:
    """A candidate that is never asked."""
    raise AssertionError(request)


STORE_WANTED: dict[str, Call] = {
    "replay": lambda store: replay(store, ["call-1"], VARIANT, answering),
    "compare": lambda store: compare(store, ["call-1"], VARIANT),
    "verify": lambda store: verify(store, ["call-1"]),
    "select": lambda store: select(store, streams=["call-1"]),
    "import_files": lambda store: import_files(store, "openai-chat", ["x.jsonl"]),
    "record": lambda store: recording.record(store, "call-2"),
    "resume": lambda store: recording.resume(store, "call-1"),
}


@pytest.mark.parametrize("name", STORE_WANTED)
def test_an_async_store_is_told_where_it_belongs(name: str) -> None:
    """What takes a ``Store`` says so, and what to do from asyncio; nothing is left unawaited."""

    async def tried() -> None:
        async with refold.open_async("memory:") as store:
            with pytest.raises(UsageError) as caught:
                STORE_WANTED[name](store)
            assert caught.value.argument == "store"
            assert "AsyncStore" in caught.value.message
            instead = f"{name}_async" if name in ("record", "resume") else "asyncio.to_thread"
            assert instead in caught.value.message

    asyncio.run(tried())


@pytest.mark.parametrize("call", [recording.record_async, recording.resume_async])
def test_an_async_recorder_wants_an_async_store(store: refold.Store, call: Call) -> None:
    """And names the other way round."""
    with pytest.raises(UsageError) as caught:
        call(store, "call-1")  # type: ignore[call-arg]
    assert caught.value.argument == "store"


@pytest.mark.parametrize(
    ("argument", "call"),
    [
        ("from_version", lambda s: s.read("call-1", from_version="1")),
        ("to_version", lambda s: s.read("call-1", to_version=1.0)),
        ("limit", lambda s: s.read("call-1", limit="1")),
        ("limit", lambda s: s.read_all(limit=True)),
        ("after", lambda s: s.read_all(after="1")),
        ("after", lambda s: s.subscribe(after="1")),
        ("version", lambda s: s.fold("call-1", Conversation, version="3")),
        ("position", lambda s: s.fold("call-1", Conversation, position="3")),
        ("version", lambda s: s.branch("call-1", at="3")),
        ("fold", lambda s: s.fold("call-1", "conversation")),
        ("fold", lambda s: s.fold("call-1", dict)),
        ("fold", lambda s: s.fold_all(dict)),
        ("decider", lambda s: s.execute("call-1", Conversation, 3)),
        ("stream", lambda s: s.read(["call-1"])),
        ("stream", lambda s: s.fold(5, Conversation)),
        ("fold", lambda s: s.branch("call-1").fold("conversation")),
        ("categories", lambda s: s.read_all(categories=5)),
        ("types", lambda s: s.subscribe(types=[5])),
        ("url", lambda s: rf.open(5)),
        ("streams", lambda s: replaying(s, "call-1", VARIANT, answering)),
        ("streams", lambda s: compare(s, "call-1", VARIANT)),
        ("streams", lambda s: verify(s, "call-1")),
        ("streams", lambda s: select(s, streams="call-1")),
        ("paths", lambda s: import_files(s, "openai-chat", "x.jsonl")),
        ("variant", lambda s: replaying(s, ["call-1"], {"prompt": "x"}, answering)),
        ("variant", lambda s: comparing(s, ["call-1"], "Be brief.")),
        ("candidate", lambda s: replaying(s, ["call-1"], VARIANT, "gpt-4o")),
    ],
)
def test_the_argument_is_named(store: refold.Store, argument: str, call: Call) -> None:
    """A version as text, a fold by its name, one stream for a list: never a raw TypeError."""
    with pytest.raises(UsageError) as caught:
        call(store)
    assert caught.value.argument == argument


@pytest.mark.parametrize(
    "call",
    [
        lambda s: s.append_together([("call-1", [SAID])]),
        lambda s: s.append_together(refold.Append("call-1", [SAID])),
        lambda s: s.branch("call-1").save(5),
        lambda s: rf.Fold("x", dict).on(5)(lambda state, event: state),
        lambda s: rf.Decider("x", lambda command, state: []),
        lambda s: rf.Decider(Conversation, None),
        lambda s: s.execute("call-1", rf.Decider(Conversation, lambda c, t: None), 1),
        lambda s: s.execute("call-1", rf.Decider(Conversation, lambda c, t: SAID), 1),
        lambda s: s.execute("call-1", rf.Decider(Conversation, lambda c, t: "x"), 1),
    ],
)
def test_other_wrong_calls_are_refused(store: refold.Store, call: Call) -> None:
    """Appends that are tuples, deciders that decide None: an error of refold's own."""
    with pytest.raises((UsageError, InvalidEvent)):
        call(store)
    assert store.log_head() == 1


@pytest.mark.parametrize(
    ("named", "call"),
    [
        ("diff", lambda s, given: rf.diff(given, s.read("call-1"))),
        ("diff", lambda s, given: rf.diff(s.read("call-1"), given)),
        ("transcript", lambda s, given: transcript(given)),
        ("decisions", lambda s, given: decisions(given)),
        ("a fold", lambda s, given: Conversation.run(given)),
    ],
)
@pytest.mark.parametrize("given", ["call-1", 5, [SAID], ["call-1"], None])
def test_a_history_is_recorded_events(
    store: refold.Store, named: str, call: Callable[[Any, Any], Any], given: Any
) -> None:
    """A stream's name, a store or events that were not recorded: said by what wanted a history."""
    for wrong in (given, store):
        with pytest.raises(UsageError) as caught:
            call(store, wrong)
        assert caught.value.call == named


def test_an_import_goes_on_after_what_is_no_append(store: refold.Store) -> None:
    """``append_many`` gives the refusal in its place."""
    parts: list[Any] = [("call-2", [SAID]), refold.Append("call-3", [SAID])]
    refused, stored = store.append_many(parts)
    assert isinstance(refused, UsageError)
    assert not isinstance(stored, RefoldError)


def test_arguments_of_a_tool_call_are_text(store: refold.Store) -> None:
    """The parsed object instead of the model's own text is refused, and told how it is made."""
    call: Any = ToolCall(call_id="c1", name="slots", arguments={"day": "Tue"})  # type: ignore[arg-type]
    with pytest.raises(InvalidEvent) as caught:
        store.append("call-1", [call])
    assert (caught.value.index, caught.value.path) == (0, "/arguments")
    assert "json.dumps" in caught.value.message
    with recording.record(store, "call-2") as session:
        with pytest.raises(InvalidEvent) as caught:
            session.model_answered(tool_calls=[ToolCall(call_id="c0", name="ok"), call])
        assert caught.value.path == "/tool_calls/1/arguments"
        with pytest.raises(InvalidEvent) as caught:
            session.record(call)
        assert caught.value.path == "/arguments"
        assert session.version == 0


@pytest.mark.parametrize(
    ("calls", "path"),
    [
        ([{"id": "c1", "name": "slots", "arguments": "{}"}], "/tool_calls/0"),
        (["slots"], "/tool_calls/0"),
        (ToolCall(call_id="c1", name="slots"), "/tool_calls"),
        ({"id": "c1"}, "/tool_calls"),
        (None, "/tool_calls"),
        ("slots", "/tool_calls"),
    ],
)
def test_tool_calls_are_tool_calls(store: refold.Store, calls: Any, path: str) -> None:
    """A dict of the model's API is refused with its place; nothing of the answer is recorded."""
    with recording.record(store, "call-2") as session:
        with pytest.raises(InvalidEvent) as caught:
            session.model_answered("Let me look.", tool_calls=calls)
        assert caught.value.path == path
        assert session.version == 0
