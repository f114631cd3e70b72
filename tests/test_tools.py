"""An agent's own tools: each run is one call and one result, whatever recorded the call."""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

import openai
import pytest
from hypothesis import given
from hypothesis import strategies as st

import refold
from refold import capture, recording, tools
from refold.capture import writer
from refold.capture.call import ModelCall
from refold.capture.recorder import CallRecorder
from refold.conversation import Conversation, ToolCall, to_messages
from refold.conversation.apis import APIS
from refold.conversation.state import ConversationState, ToolUse
from refold.errors import BackendError, UsageError
from refold.process import this_process
from refold.recording import declared
from refold.recording.tool_run import ToolRun, began, ended, json_value
from tests.capture.model_server import ModelServer, chat, serving


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A log that said nothing yet; afterwards nothing of a test is declared or installed.

    A client that an earlier test has let go may not be collected yet, and its recorder goes on: it
    would be the one in force here, and take runs of tools that are to be told as not recorded.
    """
    monkeypatch.setattr(writer, "_writers", [])
    monkeypatch.setattr(tools, "_said", set())
    monkeypatch.setattr(declared, "_declared", {"find_slots": "read"})
    yield
    capture.uninstall()


@pytest.fixture
def server() -> Iterator[ModelServer]:
    """A scripted model server."""
    with serving() as made:
        yield made


@pytest.fixture
def store(tmp_path: Path) -> Iterator[refold.Store]:
    """An empty store."""
    with refold.open(tmp_path / "a.db") as made:
        yield made


def state_of(store: refold.Store, stream: str = "call-1") -> ConversationState:
    return store.fold(stream, Conversation).state


def told(use: ToolUse) -> tuple[Any, ...]:
    """What a call and its answer come to, but for ids and times."""
    assert use.answer is not None
    call, result = use.event, use.answer.event
    return call.name, call.parsed, call.effect, result.result, result.is_error


@refold.tool(effect="read")
def find_slots(day: str, limit: int = 3) -> list[str]:
    """Free hours of a day."""
    return [f"{day} {hour}:00" for hour in range(9, 9 + limit)]


class Desk:
    """A tool's methods."""

    @refold.tool(effect="write")
    def book(self, slot: str, /, *guests: str, **notes: str) -> str:
        """Book a slot."""
        return f"booked {slot}"

    @refold.tool("opening_hours", effect="read")
    @staticmethod
    def hours() -> str:
        """When it is open."""
        return "9-17"

    @refold.tool
    @classmethod
    def place(cls) -> str:
        """Where it is."""
        return cls.__name__


# -- in the block of a recorder -------------------------------------------------------------------


def test_a_run_is_recorded_with_arguments_result_latency_and_effect(store: refold.Store) -> None:
    """Where no model asked for it, as a call of its own; the function is as it was."""
    with recording.record(store, "call-1") as session:
        assert find_slots("friday", limit=1) == ["friday 9:00"]
    assert (session.version, find_slots.__name__, find_slots.__doc__) == (
        3, "find_slots", "Free hours of a day."
    )  # fmt: skip
    (use,) = state_of(store).tool_calls
    asked = {"day": "friday", "limit": 1}
    assert told(use) == ("find_slots", asked, "read", ["friday 9:00"], False)
    assert json.loads(use.event.arguments) == asked
    assert use.answer is not None
    latency_ms = use.answer.event.latency_ms
    assert latency_ms is not None and 0 <= latency_ms < 5_000
    assert [e.metadata["actor"] for e in store.read("call-1")][1:3] == ["agent", "find_slots"]
    assert [e.metadata.get("source") for e in store.read("call-1")] == [None, "tool", "tool", None]


def test_a_run_is_the_call_that_the_model_made(store: refold.Store) -> None:
    """The first of its name and arguments; the effect and the result are told, the call is one."""
    asked = [ToolCall(f"c{n}", "find_slots", json.dumps({"day": d})) for n, d in enumerate("aba")]
    with recording.record(store, "call-1") as session:
        session.model_answered(tool_calls=asked)
        find_slots(day="a", limit=0)
        find_slots("b", limit=1)
        find_slots("a", limit=1)
    uses = state_of(store).tool_calls
    results = [use.answer and use.answer.event.result for use in uses]
    assert results == [[], ["b 9:00"], ["a 9:00"]]
    assert [use.event.call_id for use in uses] == ["c0", "c1", "c2"]
    assert {use.event.effect for use in uses} == {"read"}


def test_a_call_is_paired_by_its_id_first(store: refold.Store) -> None:
    """The id that a function is given is no argument; an id of no call is that of a new one."""

    @refold.tool(call_id_from="tool_call_id")
    def weather(place: str, tool_call_id: str) -> str:
        return f"{place} {tool_call_id}"

    with recording.record(store, "call-1") as session:
        asked = [ToolCall(one, "weather", '{"place": "Ulm"}') for one in ("c1", "c2")]
        session.model_answered(tool_calls=asked)
        weather("Ulm", "c1")
        weather("Ulm", tool_call_id="c2")
        weather("Ulm", tool_call_id="c9")
        with refold.tool("weather", call_id="c9", arguments={"place": "Bonn"}) as running:
            running.result = 1
    uses = state_of(store).tool_calls
    assert [(use.event.call_id, told(use)[1], told(use)[3]) for use in uses] == [
        ("c1", {"place": "Ulm"}, "Ulm c1"),
        ("c2", {"place": "Ulm"}, "Ulm c2"),
        ("c9", {"place": "Ulm"}, "Ulm c9"),
        ("c9", {"place": "Bonn"}, 1),
    ]


def test_the_only_call_of_a_name_is_it_though_its_arguments_were_converted(
    store: refold.Store,
) -> None:
    """A framework makes a date of a text; of two such calls nobody knows which it was."""
    with recording.record(store, "call-1") as session:
        session.model_answered(tool_calls=[ToolCall("c1", "find_slots", '{"day": "1"}')])
        find_slots(day=1, limit=0)  # type: ignore[arg-type]
        asked = [ToolCall(f"d{day}", "find_slots", json.dumps({"day": day})) for day in "23"]
        session.model_answered(tool_calls=asked)
        find_slots(day=2, limit=0)  # type: ignore[arg-type]
    state = state_of(store)
    assert [use.answer is not None for use in state.tool_calls] == [True, False, False, True]
    assert state.tool_calls[0].event.call_id == "c1"


def test_the_newest_answer_is_answered_first_and_of_one_the_calls_in_order(
    store: refold.Store,
) -> None:
    """What an earlier answer asked for and nobody ran is not what runs now."""
    rolled = iter(range(1, 4))

    @refold.tool
    def roll() -> int:
        return next(rolled)

    with recording.record(store, "call-1") as session:
        session.model_answered(tool_calls=[ToolCall("a1", "roll")])
        session.model_answered(tool_calls=[ToolCall("b1", "roll"), ToolCall("b2", "roll")])
        for _ in range(3):
            roll()
    uses = state_of(store).tool_calls
    assert [(use.event.call_id, told(use)[3]) for use in uses] == [("a1", 3), ("b1", 1), ("b2", 2)]


def test_a_function_that_gives_a_coroutine_ends_with_it(store: refold.Store) -> None:
    """As one in a decorator that is not async itself; also with an error."""

    def passed_on(function: Any) -> Any:
        return lambda *args: function(*args)

    @refold.tool("later")
    @passed_on
    async def later(wanted: int) -> int:
        await asyncio.sleep(0)
        return 1 // wanted

    async def talk() -> None:
        with pytest.raises(ZeroDivisionError):
            await later(0)
        assert [*await asyncio.gather(later(1), later(1))] == [1, 1]

    with recording.record(store, "call-1"):
        asyncio.run(talk())
    results = [told(use)[3:] for use in state_of(store).tool_calls]
    assert results[0] == ("ZeroDivisionError: integer division or modulo by zero", True)
    assert results[1:] == [(1, False)] * 2


def test_one_block_within_itself_is_two_runs(store: refold.Store) -> None:
    """The object of a block may be used again, also inside of it: that fails nothing."""
    block = refold.tool("post")
    with recording.record(store, "call-1"), block, block:
        pass
    assert len(state_of(store).tool_calls) == 2


def test_values_that_do_not_fit_into_an_event_are_shortened(store: refold.Store) -> None:
    """Large ones by their size, deep ones and numbers that JSON has not as text, each by itself."""

    @refold.tool
    def give(text: str, other: Any) -> Any:
        return other

    deep: Any = 1
    for _ in range(150):
        deep = [deep]
    with recording.record(store, "call-1"):
        give('"' * 1_900_000, deep)
        give("a" * 3_000_000, "b")
        give("c", float("nan"))
    first, second, third = state_of(store).tool_calls
    assert told(first)[1]["text"].startswith("[3,800,002 bytes of SHA-256 ")
    assert told(first)[1]["other"] == told(first)[3] == repr(deep)
    assert told(second)[1] == {"text": "a" * 3_000_000, "other": "b"}
    assert told(third)[1] == {"text": "c", "other": "nan"}


def test_a_run_within_a_run_takes_no_call_by_its_name_only(store: refold.Store) -> None:
    """With other arguments than the model's it is a call of the tool's own; in a session inside
    the tool, the only call of its name is it.
    """

    @refold.tool
    def lookup(key: Any) -> str:
        return f"L{key}"

    @refold.tool
    def report() -> str:
        with recording.record(store, "call-2") as inner:
            inner.model_answered(tool_calls=[ToolCall("d1", "lookup", '{"key": "7"}')])
            lookup(7)
        return lookup(2)

    with recording.record(store, "call-1") as session:
        asked = [ToolCall("c1", "report"), ToolCall("c2", "lookup", '{"key": "1"}')]
        session.model_answered(tool_calls=asked)
        report()
        lookup(1)
    uses = state_of(store).tool_calls
    assert [told(use)[3] for use in uses] == ["L2", "L1", "L2"]
    assert [use.event.call_id for use in uses][:2] == ["c1", "c2"]
    (inner_use,) = state_of(store, "call-2").tool_calls
    assert (inner_use.event.call_id, told(inner_use)[3]) == ("d1", "L7")


def test_of_an_injected_object_only_its_type_is_kept(store: refold.Store) -> None:
    """It may hold secrets, or the whole conversation; what the model asked for is compared."""

    @dataclass
    class Context:
        api_key: str = "sk-secret"

    @refold.tool
    def pay(context: Context, price: Money) -> str:
        return f"paid {price.amount}"

    with recording.record(store, "call-1") as session:
        asked = [
            ToolCall(f"c{n}", "pay", json.dumps({"price": {"amount": str(n), "unit": None}}))
            for n in (1, 2)
        ]
        session.model_answered(tool_calls=asked)
        for amount in (2, 1, 3):
            pay(Context(), Money(Decimal(amount)))
    uses = state_of(store).tool_calls
    assert [told(use)[3] for use in uses] == ["paid 1", "paid 2", "paid 3"]
    assert told(uses[2])[1] == {"context": Context.__qualname__, "price": "Money"}
    assert all(b"sk-secret" not in bytes(event.raw) for event in store.read("call-1"))


def test_a_tool_on_another_event_loop_does_not_wait_for_its_recorder() -> None:
    """The recorder's loop may be waiting for the thread of the tool; its block waits for both."""

    @refold.tool
    async def look() -> int:
        return 1

    async def talk() -> list[ToolUse]:
        async with refold.open_async("memory:") as store:
            async with recording.record_async(store, "call-1"):
                found: list[int] = []
                run = copy_context().run
                work = lambda: run(lambda: found.append(asyncio.run(look())))  # noqa: E731
                thread = threading.Thread(target=work, daemon=True)
                thread.start()
                thread.join(10)  # The loop stands still meanwhile.
                assert found == [1]
            return (await store.fold("call-1", Conversation)).state.tool_calls

    (use,) = asyncio.run(talk())
    assert told(use)[3] == 1


def test_a_tool_that_is_cancelled_while_its_call_is_told_has_an_end() -> None:
    """The call is not left open: an error is its result."""

    @refold.tool
    async def look() -> int:
        raise AssertionError("it was cancelled before")

    async def talk() -> list[ToolUse]:
        async with refold.open_async("memory:") as store:
            async with recording.record_async(store, "call-1"):
                task = asyncio.ensure_future(look())
                await asyncio.sleep(0)
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
            return (await store.fold("call-1", Conversation)).state.tool_calls

    (use,) = asyncio.run(talk())
    assert told(use)[3:] == ("CancelledError", True)


def test_a_run_within_a_run_takes_no_call_that_is_being_answered(store: refold.Store) -> None:
    """A tool that calls itself is a second call, inside the first."""

    @refold.tool
    def fold(depth: int) -> int:
        return depth if depth == 0 else fold(depth - 1) + 1

    with recording.record(store, "call-1") as session:
        session.model_answered(tool_calls=[ToolCall("c1", "fold", '{"depth": 1}')])
        assert fold(1) == 1
    first, second = state_of(store).tool_calls
    assert (first.event.call_id, told(first)[3]) == ("c1", 1)
    assert told(second)[1:4:2] == ({"depth": 0}, 0)


def test_an_error_is_the_result_and_goes_on(store: refold.Store) -> None:
    """With its type and text; also one that is no ``Exception``, and one whose text fails."""

    class Odd(Exception):
        def __str__(self) -> str:
            raise ValueError("no text")

    @refold.tool(effect="irreversible")
    def fail(error: str) -> None:
        raise {"key": KeyError("x"), "stop": KeyboardInterrupt(), "odd": Odd()}[error]

    with recording.record(store, "call-1"):
        for error, kind in (("key", KeyError), ("stop", KeyboardInterrupt), ("odd", Odd)):
            with pytest.raises(kind):
                fail(error)
    uses = state_of(store).tool_calls
    assert [told(use)[2:] for use in uses] == [
        ("irreversible", "KeyError: 'x'", True),
        ("irreversible", "KeyboardInterrupt", True),
        ("irreversible", f"{Odd.__qualname__}: (its text could not be had)", True),
    ]


def test_methods_are_tools_without_their_object(store: refold.Store) -> None:
    """Positional-only, further and named arguments are told by name; static and class methods."""
    with recording.record(store, "call-1"):
        Desk().book("9:00", "Ann", "Bo", note="window")
        Desk().hours()
        Desk.place()
    assert [told(use) for use in state_of(store).tool_calls] == [
        ("book", {"slot": "9:00", "guests": ["Ann", "Bo"], "note": "window"}, "write",
         "booked 9:00", False),
        ("opening_hours", {}, "read", "9-17", False),
        ("place", {}, "unknown", "Desk", False),
    ]  # fmt: skip


def test_what_is_no_function_of_one_result_is_refused() -> None:
    """Generators, classes, effects that are none, a block without a name."""

    def each() -> Iterator[int]:
        yield 1

    async def each_async() -> Any:
        yield 1

    for wrong in (each, each_async, Desk, partial(each)):
        with pytest.raises(UsageError):
            refold.tool(effect="read")(wrong)
    with pytest.raises(UsageError, match="read, write, irreversible, unknown"):
        refold.tool(effect="harmless")  # type: ignore[call-overload]
    with pytest.raises(UsageError, match="no name"), refold.tool(effect="read"):
        pass


def test_a_block_is_a_run(store: refold.Store) -> None:
    """Sync and async; ``is_error`` says that a result is a failure."""

    async def later() -> None:
        async with refold.tool("post", effect="write", arguments={"n": 2}) as running:
            running.result, running.is_error = {"status": 500}, True

    with recording.record(store, "call-1"):
        with refold.tool("post", effect="write", arguments={"n": 1}) as running:
            running.result = {"status": 201}
        asyncio.run(later())
    assert [told(use) for use in state_of(store).tool_calls] == [
        ("post", {"n": 1}, "write", {"status": 201}, False),
        ("post", {"n": 2}, "write", {"status": 500}, True),
    ]


def test_async_tools_run_at_once_in_an_async_session(tmp_path: Path) -> None:
    """In order, each with its call; a cancelled one has an error; sync ones too."""

    @refold.tool(effect="read")
    async def look(key: int) -> int:
        await asyncio.sleep(0.01 * (3 - key))
        return key * 10

    @refold.tool
    async def hang() -> None:
        await asyncio.sleep(60)

    async def talk() -> ConversationState:
        async with refold.open_async(tmp_path / "a.db") as store:
            async with recording.record_async(store, "call-1") as session:
                asked = [ToolCall(f"c{n}", "look", json.dumps({"key": n})) for n in range(3)]
                await session.model_answered(tool_calls=asked)
                assert await asyncio.gather(*(look(n) for n in range(3))) == [0, 10, 20]
                with pytest.raises(TimeoutError):
                    await asyncio.wait_for(hang(), 0.02)
                find_slots("here", limit=1)
                await session.model_answered("Done.")
                await asyncio.to_thread(find_slots, "there", limit=1)
                await session.user_said("Thanks.")
            return (await store.fold("call-1", Conversation)).state

    state = asyncio.run(talk())
    assert [told(use)[3:] for use in state.tool_calls] == [
        (0, False), (10, False), (20, False), ("CancelledError", True),
        (["here 9:00"], False), (["there 9:00"], False),
    ]  # fmt: skip
    assert [use.event.call_id for use in state.tool_calls[:3]] == ["c0", "c1", "c2"]
    here, answered = state.tool_calls[4].answer, state.transcript[0]
    assert here is not None
    assert int(here.id.split("@")[1]) < int(answered.id.split("@")[1]), "in the order of the calls"


def test_tools_of_many_threads_are_each_recorded_once(store: refold.Store) -> None:
    """Each in the recorder of the context that it was given its work in."""
    with recording.record(store, "call-1"), ThreadPoolExecutor(8) as pool:
        work = [
            pool.submit(copy_context().run, find_slots, str(n), limit=1) for n in range(40)
        ]  # fmt: skip
        assert [one.result() for one in work] == [[f"{n} 9:00"] for n in range(40)]
    uses = state_of(store).tool_calls
    assert sorted(told(use)[1]["day"] for use in uses) == sorted(map(str, range(40)))
    assert all(told(use)[3] == [f"{told(use)[1]['day']} 9:00"] for use in uses)


@dataclass
class Money:
    """A value of the caller's."""

    amount: Decimal
    unit: object = None


@given(
    st.one_of(
        st.floats(), st.binary(), st.text(), st.integers(), st.sets(st.integers()),
        st.dictionaries(st.integers(), st.decimals()), st.just(object()), st.just(Money),
        st.builds(Money, st.decimals(), st.just(object())), st.lists(st.just(object())),
        st.recursive(st.none(), st.lists, max_leaves=4), st.just("x" * 5_000_000), st.just(1 << 99),
    )
)  # fmt: skip
def test_any_value_becomes_one_that_a_store_takes(value: object) -> None:
    """Whatever a tool gives back can be recorded, and comes back as it was recorded."""
    shown = json_value(value)
    with refold.open("memory:") as store:
        store.append("s-1", [refold.Event("tool.result", {"call_id": "c", "result": shown})])
        (event,) = store.read("s-1")
        assert event.data["result"] == shown


def test_values_are_shown_as_json_says_them() -> None:
    """Exact numbers as text, fields by name, what is unknown by its ``repr``."""

    class Own:
        def __repr__(self) -> str:
            return "Own()"

    class Broken:
        def __repr__(self) -> str:
            raise RuntimeError

    assert json_value({"m": Money(Decimal("1.50"), Own())}) == {
        "m": {"amount": "1.50", "unit": "Own()"}
    }
    assert json_value(float("nan")) == "nan"
    assert json_value([Broken()]) == [f"<{Broken.__qualname__}>"]
    assert json_value("x" * 5_000_000).startswith("[5,000,002 bytes of SHA-256 ")


def test_recording_that_fails_does_not_fail_the_tool(
    store: refold.Store, caplog: pytest.LogCaptureFixture
) -> None:
    """Another wrote to the stream, the session is over, the store is closed: told once."""
    with recording.record(store, "call-1") as session:
        session.suspend()
        store.append("call-1", [refold.Event("note", {})])
        assert find_slots("a", limit=1) == ["a 9:00"]
        with pytest.raises(KeyError), refold.tool("x") as running:
            raise KeyError(running)
        store.close()
        assert find_slots("b", limit=1) == ["b 9:00"]
    assert [r.levelname for r in caplog.records if r.name == "refold.tools"] == ["WARNING"]
    assert "was not recorded" in caplog.text


def test_a_recorder_whose_block_another_task_left_is_not_in_force(
    store: refold.Store, caplog: pytest.LogCaptureFixture
) -> None:
    """As of a fixture: what runs then is recorded in the block around it, where one goes on."""
    with recording.record(store, "call-1"):
        left = recording.record(store, "left-1")
        left.__enter__()
        copy_context().run(left.__exit__, None, None, None)
        find_slots("a", limit=0)
    find_slots("nowhere", limit=0)
    assert [told(use)[1]["day"] for use in state_of(store).tool_calls] == ["a"]
    assert state_of(store, "left-1").tool_calls == []
    assert [r.message for r in caplog.records] == [
        "no conversation is recorded here: the runs of 'find_slots' are not either"
    ]


def test_looking_for_the_recorder_does_not_fail_the_tool(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever goes wrong there is told."""

    def fails() -> None:
        raise RuntimeError("Set changed size during iteration")

    monkeypatch.setattr(tools, "writer_in_force", fails)
    assert find_slots("a", limit=1) == ["a 9:00"]
    assert "was not recorded" in caplog.text


def test_recorders_are_listed_while_another_thread_makes_them(
    store: refold.Store,
) -> None:
    """Neither gets in the other's way; what nobody holds any more is no longer listed."""
    held = [writer.CaptureWriter(store) for _ in range(50)]
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(1) as pool:
            made = pool.submit(lambda: [len([writer.CaptureWriter(store)]) for _ in range(2_000)])
            while not made.done():
                assert {*held} <= {*writer._all()}
            made.result()
    finally:
        sys.setswitchinterval(interval)
    gone = weakref.ref(held.pop())
    gc.collect()
    assert gone() is None and {*held} <= {*writer._all()}


def test_without_a_conversation_the_tool_runs_and_that_is_said_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Nothing is recorded, and nothing fails."""
    assert find_slots("a", limit=1) == find_slots("a", limit=1) == ["a 9:00"]
    said = [r.message for r in caplog.records if r.name == "refold.tools"]
    assert said == ["no conversation is recorded here: the runs of 'find_slots' are not either"]


def test_the_effect_of_a_tool_is_that_of_its_calls(store: refold.Store) -> None:
    """Also of those that nobody ran; what the agent's configuration says goes before it; two
    tools of one name with two effects are unknown.
    """
    refold.tool("send", effect="irreversible")(lambda: None)
    for effect in ("read", "write"):
        refold.tool("both", effect=effect)(lambda: None)
    with recording.record(store, "call-1") as session:
        calls = [ToolCall("1", "send"), ToolCall("2", "both"), ToolCall("3", "send", effect="read")]
        session.model_answered(tool_calls=calls)
    uses = state_of(store).tool_calls
    assert [use.event.effect for use in uses] == ["irreversible", "unknown", "read"]


# -- where capture records ------------------------------------------------------------------------


def called(*calls: tuple[str, str, dict[str, Any]]) -> list[dict[str, Any]]:
    return [
        {"id": id, "type": "function", "function": {"name": name, "arguments": json.dumps(given)}}
        for id, name, given in calls
    ]


def loop(
    server: ModelServer, ask: Callable[[dict[str, Any]], str], text: str = "Hi"
) -> list[dict[str, Any]]:
    """An agent's loop: what the model asks for is run by ``ask``, until it says no more."""
    messages: list[dict[str, Any]] = [{"role": "user", "content": text}]
    with openai.OpenAI(api_key="x", base_url=f"{server.url}/v1", max_retries=0) as client:
        while True:
            answer = client.chat.completions.create(model="m", messages=messages)  # type: ignore[arg-type]
            messages.append(answer.choices[0].message.model_dump(exclude_unset=True))
            made = messages[-1].get("tool_calls") or []
            if not made:
                return messages
            for call in made:
                given = json.loads(call["function"]["arguments"])
                said = {"role": "tool", "tool_call_id": call["id"], "content": ask(given)}
                messages.append(said)


def wire_script(server: ModelServer, *calls: tuple[str, str, dict[str, Any]]) -> None:
    server.script = [chat("", content=None, tool_calls=called(*calls)), chat("Done.")]


@pytest.mark.parametrize("named", [True, False])
def test_a_captured_call_and_its_run_are_one(
    server: ModelServer, store: refold.Store, named: bool
) -> None:
    """One call and one result, with the tool's latency; the bytes are what they were."""
    wire_script(server, ("c1", "find_slots", {"day": "a"}), ("c2", "find_slots", {"day": "b"}))
    capture.install(store)
    ask = lambda given: json.dumps(find_slots(**given, limit=1), indent=1)  # noqa: E731
    if named:
        with capture.conversation("call-1"):
            sent = loop(server, ask)
    else:
        sent = loop(server, ask)
    assert capture.flush()
    (info,) = store.streams()
    state = state_of(store, info.stream)
    assert [told(use) for use in state.tool_calls] == [
        ("find_slots", {"day": "a"}, "read", ["a 9:00"], False),
        ("find_slots", {"day": "b"}, "read", ["b 9:00"], False),
    ]
    assert all(use.answer and use.answer.event.latency_ms is not None for use in state.tool_calls)
    assert state.unmatched_results == []
    types = [event.type for event in store.read(info.stream)]
    assert (types.count("tool.call"), types.count("tool.result")) == (2, 2)
    assert "tool.relayed" not in types, "the same value, with other white space"
    assert [turn.text for turn in state.transcript] == ["Hi", "Done."]
    last = [e for e in store.read(info.stream) if e.type == "wire.request"][-1]
    body = json.loads(capture.request_of(store, info.stream, last.version))
    assert body["messages"] == sent[:-1]


def test_what_the_agent_was_told_instead_is_kept_beside_it(
    server: ModelServer, store: refold.Store
) -> None:
    """As an error's text in the agent's own words: a model is shown what it was shown."""

    @refold.tool(effect="write")
    def pay(amount: int) -> None:
        raise PermissionError("over the limit")

    def ask(given: dict[str, Any]) -> str:
        try:
            return str(pay(**given))
        except PermissionError:
            return "You may not pay so much."

    wire_script(server, ("c1", "pay", {"amount": 9}))
    capture.install(store)
    with capture.conversation("call-1"):
        sent = loop(server, ask)
    assert capture.flush()
    (use,) = state_of(store).tool_calls
    assert told(use)[2:] == ("write", "PermissionError: over the limit", True)
    shown = to_messages(store.read("call-1"))
    assert [m["content"] for m in shown] == ["Hi", None, "You may not pay so much.", "Done."]
    assert shown[2] == sent[2]


def test_a_run_that_no_model_asked_for_is_a_call_of_its_own_in_a_named_conversation(
    server: ModelServer, store: refold.Store, caplog: pytest.LogCaptureFixture
) -> None:
    """Before, between and after model calls; without a name nobody knows where it belongs."""
    capture.install(store)
    with capture.conversation("call-1"):
        find_slots("before", limit=0)
        loop(server, lambda given: "")
        find_slots("after", limit=0)
    find_slots("outside", limit=0)
    assert capture.flush()
    uses = state_of(store).tool_calls
    assert [told(use)[1]["day"] for use in uses] == ["before", "after"]
    assert [info.stream for info in store.streams()] == ["call-1"]
    first, second, *_ = store.read("call-1")
    assert (first.type, second.type) == ("session.started", "tool.call")
    assert {e.metadata["causation"] for e in store.read("call-1") if e.type == "tool.result"} == {
        use.id for use in uses
    }
    assert "a run of a tool was not recorded" in caplog.text
    with capture.conversation("call-1"):
        loop(server, lambda given: "", text="And again?")
    assert capture.flush()
    assert [turn.text[:2] for turn in state_of(store).transcript] == ["Hi", "Hi", "An", "Hi"]


def test_the_first_request_after_a_run_is_recorded_whole(
    server: ModelServer, store: refold.Store
) -> None:
    """Also where examples of answers stand in it: nothing of it was told before."""
    capture.install(store)
    asked: Any = [
        {"role": "user", "content": "2+2"},
        {"role": "assistant", "content": "4"},
        {"role": "user", "content": "3+3"},
    ]
    with (
        openai.OpenAI(api_key="x", base_url=f"{server.url}/v1") as client,
        capture.conversation("call-1"),
    ):
        find_slots("before", limit=0)
        client.chat.completions.create(model="m", messages=asked)
    assert capture.flush()
    said = [turn.text for turn in state_of(store).transcript]
    assert said[:3] == ["2+2", "4", "3+3"] and len(said) == 4


def test_the_same_call_in_two_conversations_is_answered_in_neither(
    server: ModelServer, store: refold.Store
) -> None:
    """Unless the ids say which: then what the tool told is there before the next request."""
    calls = called(("c1", "find_slots", {"day": "a"}))
    server.script = [chat("", content=None, tool_calls=calls)] * 2 + [chat("Done.")]
    capture.install(store)
    with openai.OpenAI(api_key="x", base_url=f"{server.url}/v1") as client:
        for text in ("One", "Two"):
            asked: Any = [{"role": "user", "content": text}]
            client.chat.completions.create(model="m", messages=asked)
    find_slots("a", limit=0)
    assert capture.flush()
    uses = [state_of(store, info.stream).tool_calls for info in store.streams()]
    assert [[use.answer for use in each] for each in uses] == [[None], [None]]


def test_a_run_that_begins_before_its_answer_has_ended_is_still_that_call(
    server: ModelServer, store: refold.Store
) -> None:
    """As in frameworks that run tools while the answer is read."""
    calls = called(("c1", "find_slots", {"day": "a"}))
    message = {"role": "assistant", "tool_calls": [{"index": 0, **calls[0]}]}
    head = {"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": "m-1"}
    choices = [{"index": 0, "delta": message, "finish_reason": None}]
    ends = [{"index": 0, "delta": {}, "finish_reason": "tool_calls"}]
    lines = [json.dumps({**head, "choices": each}) for each in (choices, ends)]
    body = "".join(f"data: {line}\n\n" for line in lines) + "data: [DONE]\n\n"
    reply = chat()
    reply.body, reply.type, reply.size = body.encode(), "text/event-stream", len(lines[0]) + 8
    server.script = [reply]
    capture.install(store)
    started, go_on = threading.Event(), threading.Event()

    @refold.tool("find_slots", effect="read")
    def slow(day: str) -> str:
        started.set()
        go_on.wait(10)
        return day

    with (
        openai.OpenAI(api_key="x", base_url=f"{server.url}/v1") as client,
        capture.conversation("call-1"),
    ):
        asked: Any = [{"role": "user", "content": "Hi"}]
        with client.chat.completions.create(model="m", messages=asked, stream=True) as stream:
            next(iter(stream))
            thread = threading.Thread(target=slow, args=("a",))
            thread.start()
            started.wait(10)
            assert capture.flush()
            for _ in stream:
                pass
        go_on.set()
        thread.join()
    assert capture.flush()
    (use,) = state_of(store).tool_calls
    assert (use.event.call_id, told(use)[3]) == ("c1", "a")


class Wire:
    """Model calls as the transports tell them to a recorder, their answers ended when asked to."""

    def __init__(self, store: refold.Store, count: int = 0) -> None:
        self.recorder, self.count = CallRecorder(store), count
        self.api = next(api for api in APIS if api.name == "openai.chat")

    def call(
        self, messages: list[dict[str, Any]], *made: tuple[str, str, dict[str, Any]],
        named: str | None = None, is_sent: bool = True,
    ) -> Callable[[], dict[str, Any]]:  # fmt: skip
        """Ask; the answer with these tool calls has come; gives what ends it, and gives it.

        Of one that is not ``is_sent`` nothing has come.
        """
        self.count += 1
        body = json.dumps({"model": "m", "messages": messages}).encode()
        url = "https://api.openai.com/v1/chat/completions"
        one = ModelCall(f"{self.count:032x}", self.api, url, body, {}, 1, conversation=named)
        self.recorder.begin(one)
        said = {
            "role": "assistant",
            "content": None if made else "Bye",
            "tool_calls": called(*made),
        }
        whole = {"id": f"r{self.count}", "object": "chat.completion", "model": "m"}
        choices = [{"index": 0, "finish_reason": "stop", "message": said}]
        one.status, one.answer_headers = 200, {"content-type": "application/json"}
        if is_sent:
            self.recorder.received(one, json.dumps({**whole, "choices": choices}).encode())

        def end() -> dict[str, Any]:
            one.ending, one.latency_ms = "whole", 1.0
            self.recorder.end(one)
            return said

        return end

    def begin(self, name: str, given: dict[str, Any], named: str | None = None) -> Any:
        """A run begins; gives what ends it with a result."""
        run = ToolRun(name, given, 1)
        self.recorder.tools.tell(named, run, began)

        def end(result: Any) -> None:
            run.result, run.latency_ms = result, 1.0
            self.recorder.tools.tell(named, run, ended)

        return end


HI: list[dict[str, Any]] = [{"role": "user", "content": "Hi"}]


def test_a_run_that_ends_before_its_answer_has_ended_is_still_that_call(
    store: refold.Store,
) -> None:
    """As of a quick tool in frameworks that run tools while the answer is read."""
    wire = Wire(store)
    end = wire.call(HI, ("c1", "look", {"x": 1}), named="call-1")
    wire.begin("look", {"x": 1}, "call-1")("done")
    said = end()
    wire.call(
        [*HI, said, {"role": "tool", "tool_call_id": "c1", "content": "done"}], named="call-1"
    )()
    types = [event.type for event in store.read("call-1")]
    (use,) = state_of(store).tool_calls
    assert (use.event.call_id, told(use)[3]) == ("c1", "done")
    assert (types.count("tool.result"), types.count("tool.relayed")) == (1, 0)


def test_of_calls_that_share_an_id_no_result_takes_anothers_place(store: refold.Store) -> None:
    """As of models that give none: a model is shown what it was shown."""
    wire, shared = Wire(store), "function:look"
    said = wire.call(HI, (shared, "look", {"x": 1}), (shared, "look", {"x": 2}), named="call-1")()
    for x in (1, 2):
        wire.begin("look", {"x": x}, "call-1")(f"done {x}")
    results = [{"role": "tool", "tool_call_id": shared, "content": f"done {x}"} for x in (1, 2)]
    wire.call([*HI, said, *results], named="call-1")()
    events = [*store.read("call-1")]
    assert [m["content"] for m in to_messages(events)] == ["Hi", None, "done 1", "done 2", "Bye"]
    assert [told(use)[3] for use in state_of(store).tool_calls] == ["done 1", "done 2"]
    assert "tool.relayed" not in [event.type for event in events]


def test_a_run_that_no_answer_asked_for_is_told_when_they_have_ended(store: refold.Store) -> None:
    """In order, each once; and at the end of the program where an answer never ends."""
    wire = Wire(store)
    end = wire.call(HI, named="call-1")
    wire.call(HI, named="other-1")
    wire.begin("own", {"n": 1}, "call-1")(1)
    wire.begin("own", {"n": 2}, "other-1")(2)
    assert state_of(store).tool_calls == []
    end()
    assert [told(use)[3] for use in state_of(store).tool_calls] == [1]
    assert state_of(store, "other-1").tool_calls == []
    for _ in range(2):
        wire.recorder.tools.tell_due()
    assert [told(use)[3] for use in state_of(store, "other-1").tool_calls] == [2]


def test_a_call_that_another_process_stores_first_is_the_runs(store: refold.Store) -> None:
    """Between reading the conversation and appending to it."""

    class Late:
        def __getattr__(self, name: str) -> Any:
            return getattr(store, name)

        def append(self, *args: Any, **named: Any) -> Any:
            if ends:
                ends.pop()()
            return store.append(*args, **named)

    ends = [Wire(store).call(HI, ("c1", "look", {"x": 1}), named="call-1")]
    wire = Wire(store)
    wire.recorder.tools._store = Late()  # type: ignore[assignment]
    wire.begin("look", {"x": 1}, "call-1")("done")
    (use,) = state_of(store).tool_calls
    assert (use.event.call_id, told(use)[3]) == ("c1", "done")


def die_later(patched: pytest.MonkeyPatch) -> None:
    """What is recorded from here on is of a process that has ended."""
    ended_process = subprocess.Popen([sys.executable, "-c", ""])
    ended_process.wait()
    own = f"{this_process().rsplit(':', 2)[0]}:{ended_process.pid}:1"
    for module in ("recorder", "tools"):
        patched.setattr(f"refold.capture.{module}.this_process", lambda: own)


A: list[dict[str, Any]] = [{"role": "user", "content": "A"}]
B: list[dict[str, Any]] = [{"role": "user", "content": "B"}]
THERE: list[dict[str, Any]] = [{"role": "user", "content": "There?"}]


@pytest.mark.parametrize("ending", [["a-1"], ["b-1"], [], ["a-1", "b-1"]])
@pytest.mark.parametrize("first", ["a-1", "b-1"])
def test_a_run_that_awaits_several_answers_outlasts_its_process(
    store: refold.Store, monkeypatch: pytest.MonkeyPatch, ending: list[str], first: str
) -> None:
    """Whichever have ended by then, also all, and whoever goes on first; it is told once."""
    wire = Wire(store)
    with monkeypatch.context() as elsewhere:
        die_later(elsewhere)
        ends = {
            "a-1": wire.call(A, named="a-1"),
            "b-1": wire.call(B, ("c1", "look", {"x": 1}), named="b-1"),
        }
        wire.begin("look", {"x": 1})("done")
        elsewhere.setattr(wire.recorder.tools, "tell_due", lambda **_: None)
        for name in ending:
            ends[name]()
    for n, name in enumerate(sorted(["a-1", "b-1"], key=lambda one: one != first)):
        asked = A if name == "a-1" else B
        Wire(store, 2 + n).call([*asked, *THERE], named=name)()
    uses = {one: state_of(store, one).tool_calls for one in ("a-1", "b-1")}
    assert [(name, told(use)[3]) for name, each in uses.items() for use in each] == [
        ("b-1", "done")
    ]
    again = Wire(store, 4)
    for asked, name in ((A, "a-1"), (B, "b-1")):
        again.call([*asked, *THERE], named=name)()
    assert [e.type for e in store.read_all()].count("tool.result") == 1
    assert again.recorder._places.following("a-1").waiting == {}


def test_a_run_that_waits_in_a_process_that_runs_is_left_to_it(store: refold.Store) -> None:
    """Another recorder of the process goes on with the conversation meanwhile."""
    wire = Wire(store)
    end = wire.call(HI, ("c1", "look", {"x": 1}), named="call-1")
    wire.begin("look", {"x": 1}, "call-1")("done")
    wire.recorder.tools.tell_due, tell_due = lambda **_: None, wire.recorder.tools.tell_due  # type: ignore[method-assign]
    end()
    Wire(store, 1).call([*HI, *THERE], named="call-1")()
    assert [use.answer for use in state_of(store).tool_calls] == [None]
    tell_due()
    assert [told(use)[3] for use in state_of(store).tool_calls] == ["done"]


@pytest.mark.parametrize("goes_on", [0, 39])
def test_a_run_that_awaits_very_many_answers_outlasts_its_process(
    store: refold.Store, monkeypatch: pytest.MonkeyPatch, goes_on: int
) -> None:
    """Whichever of their conversations goes on; what is noted grows by a little with each."""
    wire = Wire(store)
    asked = [[{"role": "user", "content": str(n)}] for n in range(40)]
    with monkeypatch.context() as elsewhere:
        die_later(elsewhere)
        for n, said in enumerate(asked[:-1]):
            wire.call(said, named=f"a-{n}")
        wire.call(asked[-1], ("c1", "look", {"x": 1}), named="a-39")()
        end = wire.call([*asked[-1], *THERE], ("c2", "look", {"x": 2}), named="a-39")
        wire.begin("look", {"x": 2})("done")
        elsewhere.setattr(wire.recorder.tools, "tell_due", lambda **_: None)
        end()
    sizes = [len(one.raw) for one in store.read_all(types=["wire.waiting"])]
    assert (len(sizes), sum(sizes) < 12_000) == (40, True)
    for n in range(39):  # Each goes on; the last to do so tells it.
        again = (n + goes_on) % 39
        Wire(store, 200 + n).call([*asked[again], *THERE], named=f"a-{again}")()
    Wire(store, 300).call([*asked[39], *THERE, *THERE], named="a-39")()
    uses = {
        use.event.call_id: use.answer and told(use)[3] for use in state_of(store, "a-39").tool_calls
    }
    assert uses["c2"] == "done"
    assert [e.type for e in store.read_all()].count("tool.result") == 1


def test_a_run_that_awaits_very_many_answers_is_told_once(store: refold.Store) -> None:
    """By its own process, as any other."""
    wire = Wire(store)
    others = [wire.call([{"role": "user", "content": str(n)}]) for n in range(16)]
    others.append(wire.call(HI, ("c1", "look", {"x": 1}), named="call-1"))
    wire.begin("look", {"x": 1})("done")
    for end in others:
        end()
    assert [told(use)[3] for use in state_of(store).tool_calls] == ["done"]


def test_a_run_that_cannot_be_noted_waits_all_the_same(
    store: refold.Store, caplog: pytest.LogCaptureFixture
) -> None:
    """It is not told as lost, and recorded when its answer has ended."""

    class Full:
        def __getattr__(self, name: str) -> Any:
            return getattr(store, name)

        def append_together(self, *_: Any, **__: Any) -> Any:
            raise BackendError("disk full")

    wire = Wire(store)
    end = wire.call(HI, ("c1", "look", {"x": 1}), named="call-1")
    wire.recorder.tools._store = Full()  # type: ignore[assignment]
    wire.begin("look", {"x": 1}, "call-1")("done")
    assert "a run of a tool waits in memory alone: disk full" in caplog.text
    end()
    assert [told(use)[3] for use in state_of(store).tool_calls] == ["done"]


@pytest.mark.parametrize("named", ["call-1", None])
@pytest.mark.parametrize("is_whole", [True, False])
def test_a_run_that_waits_outlasts_its_process(
    store: refold.Store, monkeypatch: pytest.MonkeyPatch, is_whole: bool, named: str | None
) -> None:
    """Who goes on with the conversation tells it, as the call of the answer where that had come."""
    wire = Wire(store)
    with monkeypatch.context() as elsewhere:
        die_later(elsewhere)
        calls = [("c1", "look", {"x": 1})] if is_whole else []
        said = wire.call(HI, *calls, named="call-1", is_sent=is_whole)
        wire.begin("look", {"x": 1}, named)("done")
    assert state_of(store).tool_calls == []
    Wire(store, 1).call([*HI, {"role": "user", "content": "Still there?"}], named="call-1")()
    (use,) = state_of(store).tool_calls
    assert told(use)[3] == "done"
    assert (use.event.call_id == "c1") is is_whole
    assert [turn.text for turn in state_of(store).transcript] == ["Hi", "Still there?", "Bye"]
    said()
    wire.recorder.tools.tell_due()
    assert [told(use)[3] for use in state_of(store).tool_calls] == ["done"]


@pytest.mark.parametrize("is_quick", [True, False])
def test_without_a_name_a_run_waits_for_all_answers_that_may_hold_its_call(
    store: refold.Store, is_quick: bool
) -> None:
    """One conversation hung up with this call open, another's answer still comes: it is not known
    whose the run is, and it goes into neither.
    """
    wire = Wire(store)
    wire.call([{"role": "user", "content": "A"}], ("c1", "time", {}))()
    end_b = wire.call([{"role": "user", "content": "B"}], ("c9", "time", {}))
    end_run = wire.begin("time", {})
    if is_quick:
        end_run("9:00")
        end_b()
    else:
        end_b()
        with pytest.raises(refold.NotFound):
            end_run("9:00")
    uses = [use for info in store.streams() for use in state_of(store, info.stream).tool_calls]
    assert [(use.event.call_id, use.answer) for use in uses] == [("c1", None), ("c9", None)]


def test_without_a_name_the_only_call_is_it_when_the_others_have_ended(store: refold.Store) -> None:
    """Answers of other conversations come meanwhile."""
    wire = Wire(store)
    end = wire.call(HI, ("c1", "time", {}))
    end_other = wire.call([{"role": "user", "content": "Other"}])
    wire.begin("time", {})("9:00")
    end()
    end_other()
    (use,) = [use for info in store.streams() for use in state_of(store, info.stream).tool_calls]
    assert (use.event.call_id, told(use)[3]) == ("c1", "9:00")


def test_a_run_is_looked_for_where_calls_wait_alone(
    store: refold.Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not in all conversations whose model has ever called a tool."""
    wire = Wire(store)
    for n in range(5):
        wire.call([{"role": "user", "content": str(n)}], (f"c{n}", "look", {"x": n}))()
        wire.begin("look", {"x": n})("done")
    asked: list[str] = []
    places = wire.recorder._places
    following = places.following

    def noted(name: str) -> Any:
        asked.append(name)
        return following(name)

    monkeypatch.setattr(places, "following", noted)
    with pytest.raises(refold.NotFound):
        wire.begin("look", {"x": 9})("done")
    assert len(asked) <= 2


def test_capture_that_cannot_store_does_not_fail_the_tool(
    server: ModelServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """With ``on_error="raise"`` too, which is for model calls; it is told."""
    caplog.set_level(logging.WARNING)
    store = refold.open(tmp_path / "b.db")
    for on_error in ("log", "raise"):
        capture.install(store, on_error=on_error)
        store.close()
        with capture.conversation("call-1"):
            assert find_slots("a", limit=1) == ["a 9:00"]
        capture.uninstall()
        store = refold.open(tmp_path / "c.db")
    store.close()
    assert {r.name for r in caplog.records} >= {"refold.capture", "refold.tools"}
