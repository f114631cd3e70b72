"""Nothing captured is lost or doubled: killed processes, two at once, a store that fails."""

import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import refold
from refold.capture import placing, recorder, streams
from refold.capture.exact import answer_of, check_exact, request_of
from refold.capture.recorder import CallRecorder
from refold.capture.streams import GOING_ON, GOING_ON_US_MAX
from refold.conversation import Conversation, to_messages
from refold.errors import Conflict, OutcomeUnknown, Unavailable
from tests.capture.talk import START_US, agent, answered, asked, call_of, ends, streamed, talk, user

ROOT = Path(__file__).parents[2]
BEGUN = """
import sys, time
import refold
from refold.capture.recorder import CallRecorder
from tests.capture.talk import agent, asked, call_of, streamed, talk, user
recorder = CallRecorder(refold.open(sys.argv[1]))
messages = [user("a")]
if sys.argv[2] == "later":
    talk(recorder, messages, agent("b"))
    messages.append(user("c"))
call = call_of(asked(messages, stream=True))
recorder.begin(call)
call.status, call.answer_headers = 200, {"content-type": "text/event-stream"}
for piece in streamed("half of it", end=False):
    recorder.received(call, piece)
print("ready", flush=True)
time.sleep(60)
"""
TALKING = """
import sys
import refold
from refold.capture.recorder import CallRecorder
from tests.capture.talk import agent, talk, user
recorder, me = CallRecorder(refold.open(sys.argv[1])), sys.argv[2]
messages = [user("shared " + "s" * 200)]
for turn in range(int(sys.argv[3])):
    messages.append(user(f"{me} {turn} " + "w" * 200))
    talk(recorder, [*messages], agent(f"to {me} {turn}"), conversation="call-1")
"""


def started(script: str, *arguments: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", script, *map(str, arguments)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )


def types_of(store: refold.Store, stream: str) -> list[str]:
    return [one.type for one in store.read(stream)]


def words_in(store: refold.Store, stream: str) -> list[str]:
    return [one.text for one in store.fold(stream, Conversation).state.transcript]


@pytest.mark.parametrize("which", ["first", "later"])
def test_what_came_before_a_kill_is_there_and_the_conversation_goes_on(
    tmp_path: Path, which: str
) -> None:
    """The next call of it, by another process, marks the answer as cut."""
    path = tmp_path / "agents.db"
    child = started(BEGUN, path, which)
    assert child.stdout is not None
    assert child.stdout.readline() == "ready\n"
    with refold.open(path) as store:
        (info,) = store.streams()
        assert answer_of(store, info.stream, info.version) == b"".join(
            streamed("half of it", end=False)
        )
    child.send_signal(signal.SIGKILL)
    child.wait()
    child.stdout.close()
    messages = [user("a")] + ([agent("b"), user("c")] if which == "later" else [])
    before = [one["content"] for one in messages]
    with refold.open(path) as store:
        recorder = CallRecorder(store)
        talk(recorder, messages, agent("again"), rest={"stream": True})
        (info,) = store.streams()
        assert words_in(store, info.stream) == [*before, "half of it ", "again"]
        (failed,) = [one for one in store.read(info.stream) if one.type == "model.failed"]
        assert failed.data == {
            "error": "the process that made the call ended before the answer was whole",
            "status": 200,
        }
        assert answer_of(store, info.stream, failed.version) == b"".join(
            streamed("half of it", end=False)
        )
        assert [check.good for check in check_exact(store)] == [True]
        assert types_of(store, info.stream).count("model.request") == len(before) // 2 + 2


def test_two_processes_capture_into_one_stream(tmp_path: Path) -> None:
    """Each call once and whole, each word once, whoever came first."""
    path, turns = tmp_path / "agents.db", 12
    with refold.open(path) as store:
        store.append("other-1", [refold.Event("note", {})])
    children = [started(TALKING, path, name, turns) for name in ("x", "y")]
    for child in children:
        assert child.wait() == 0
        assert child.stdout is not None
        child.stdout.close()
    with refold.open(path) as store:
        everything = [one for info in store.streams() for one in store.read(info.stream)]
        own = {one.position: one for one in everything if "call" in one.metadata}.values()
        for name in ("x", "y"):
            for turn in range(turns):
                asked_for = [one for one in own if one.type == "user.utterance"]
                texts = [one.data["text"] for one in asked_for]
                assert sum(text.startswith(f"{name} {turn} ") for text in texts) >= 1
                said = [one for one in own if one.type == "agent.utterance"]
                assert [one.data["text"] for one in said].count(f"to {name} {turn}") == 1
        assert len([one for one in own if one.type == "model.request"]) == 2 * turns
        assert len([one for one in own if one.type == "model.response"]) == 2 * turns
        assert [check.good for check in check_exact(store)] == [True]


def test_calls_of_two_recorders_in_one_stream_keep_their_elements_once(tmp_path: Path) -> None:
    """What the other has kept is known when its turn comes."""
    with refold.open(tmp_path / "agents.db") as store:
        both, messages = [CallRecorder(store), CallRecorder(store)], [user("a" * 100)]
        for turn in range(8):
            talk(both[turn % 2], messages, agent(f"b{turn} " + "b" * 100))
            messages.append(user(f"c{turn} " + "c" * 100))
        (info,) = store.streams()
        requests = [one for one in store.read(info.stream) if one.type == "wire.request"]
        assert [len(one.data.get("new", [])) for one in requests] == [1] + [2] * 7


@pytest.mark.parametrize(
    ("error", "stored"),
    [
        (Conflict(stream="chat-1", expected=0, actual=1), False),
        (OutcomeUnknown("who knows"), False),
        (OutcomeUnknown("who knows"), True),
    ],
)
def test_a_store_that_is_unsure_makes_nothing_double(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, stored: bool
) -> None:
    """Each append is made once, whether the store that failed had made it or not."""
    with refold.open(tmp_path / "agents.db") as store:
        _failing_each_time(store, monkeypatch, error, stored=stored)
        recorder, messages = CallRecorder(store), [user("a")]
        for turn in range(3):
            call = call_of(asked(messages))
            recorder.begin(call)
            ends(recorder, call, streamed(f"b{turn}"))
            messages += [agent(f"b{turn} "), user(f"c{turn}")]
        (info,) = store.streams()
        assert to_messages(store.read(info.stream)) == messages[:-1]
        assert answer_of(store, info.stream, info.version) == b"".join(streamed("b2"))
        assert [check.good for check in check_exact(store)] == [True]
        assert types_of(store, info.stream).count("model.request") == 3


def _failing_each_time(
    store: refold.Store, monkeypatch: pytest.MonkeyPatch, error: Exception, *, stored: bool
) -> None:
    """Every append fails the first time that it is tried."""
    tried: set[Any] = set()

    def failing(append: Callable[..., Any]) -> Callable[..., Any]:
        def tried_twice(*given: Any, **known: Any) -> Any:
            if known["key"] in tried:
                return append(*given, **known)
            tried.add(known["key"])
            if stored:
                append(*given, **known)
            raise error

        return tried_twice

    for name in ("append", "append_together"):
        monkeypatch.setattr(store, name, failing(getattr(store, name)))


def test_a_call_that_cannot_be_stored_is_let_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its error is told once; the next call is recorded, and does not wait for it."""
    with refold.open(tmp_path / "agents.db") as store:
        recorder, messages = CallRecorder(store), [user("a")]
        talk(recorder, messages, agent("b"))
        messages.append(user("c"))
        call = call_of(asked(messages))
        recorder.begin(call)
        with monkeypatch.context() as broken:
            broken.setattr(store, "append", _refuses)
            with pytest.raises(Unavailable):
                recorder.received(call, b"x")
        ends(recorder, call, [b"y"])
        assert call.id not in GOING_ON
        talk(recorder, [*messages, user("d")], agent("e"))
        (info,) = store.streams()
        assert words_in(store, info.stream) == ["a", "b", "c", "d", "e"]
        assert types_of(store, info.stream).count("model.request") == 3


def _refuses(*_: object, **__: object) -> None:
    raise Unavailable("the disk is full")


@pytest.mark.parametrize(
    ("process", "minutes", "goes_on"),
    [
        ("this", 0, True),
        ("this", 120, True),
        ("elsewhere:1:ab", 0, True),
        ("elsewhere:1:ab", 61, False),
        ("no name", 61, False),
    ],
)
def test_a_call_that_goes_on_is_not_taken_for_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, process: str, minutes: int, goes_on: bool
) -> None:
    """Where its process cannot be asked it may go on for an hour."""
    with refold.open(tmp_path / "agents.db") as store:
        recorder, messages = CallRecorder(store), [user("a")]
        talk(recorder, messages, agent("b"))
        messages.append(user("c"))
        with monkeypatch.context() as elsewhere:
            if process != "this":
                elsewhere.setattr("refold.capture.recorder.this_process", lambda: process)
            recorder.begin(call_of(asked(messages)))
        talk(recorder, messages, agent("d"), started_us=START_US + minutes * 60_000_000)
        assert len([*store.streams()]) == (3 if goes_on else 1)
        assert GOING_ON_US_MAX == 3_600_000_000


def test_a_process_that_ended_is_known_by_its_number(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On this machine: one that runs, and one that has ended."""
    says = "from refold.process import this_process; print(this_process(), flush=True)"
    sleeping = started(f"import time; {says}; time.sleep(60)")
    assert sleeping.stdout is not None
    name = sleeping.stdout.readline().strip()
    for is_running in (True, False):
        if not is_running:
            sleeping.kill()
            sleeping.wait()
        with refold.open(tmp_path / f"{is_running}.db") as store:
            recorder, messages = CallRecorder(store), [user("a"), agent("b"), user("c")]
            with monkeypatch.context() as elsewhere:
                elsewhere.setattr("refold.capture.recorder.this_process", lambda: name)
                recorder.begin(call_of(asked(messages)))
            talk(recorder, messages, agent("d"))
            assert len([*store.streams()]) == (3 if is_running else 1)
    sleeping.stdout.close()


def test_what_is_larger_than_an_event_is_kept_once(tmp_path: Path) -> None:
    """As an image may be: in pieces, each element once, exact; the typed event only names it."""
    image = "data:image/png;base64," + "iVBORw0K" * 1_100_000
    parts = [{"type": "image_url", "image_url": {"url": image}}, {"type": "text", "text": "é?"}]
    with refold.open(tmp_path / "agents.db") as store:
        recorder, messages = CallRecorder(store), [{"role": "user", "content": parts}]
        talk(recorder, messages, agent("A cat"))
        call = talk(recorder, [*messages, user("Sure?")], agent("Yes"))
        (info,) = store.streams()
        said = next(one.event for one in store.read(info.stream) if one.type == "user.utterance")
        assert said.text == "é?"
        assert said.parts[0]["image_url"]["url"].startswith("[8,800,022 characters of SHA-256 ")
        assert request_of(store, info.stream, info.version) == call.request
        assert [check.good for check in check_exact(store)] == [True]
        kept = sum(len(one.raw) for one in store.read(info.stream) if "answer" not in one.type)
        assert kept < 1.1 * len(image)


def test_no_bytes_of_an_answer_are_too_many_for_an_event(tmp_path: Path) -> None:
    """Whatever it takes to write them as JSON."""
    with refold.open(tmp_path / "agents.db") as store:
        recorder = CallRecorder(store)
        call = call_of(asked([user("a")]))
        recorder.begin(call)
        data = bytes(range(256)) * 5_000 + b"\x01" * 2_000_000
        ends(recorder, call, [data])
        (info,) = store.streams()
        assert answer_of(store, info.stream, info.version) == data


@pytest.mark.parametrize("has_tags", [True, False])
def test_conversations_go_on_when_nothing_is_at_hand(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, has_tags: bool
) -> None:
    """What is in memory is bounded; the store has the rest, but one that finds nothing by tags."""
    bounds = {"placing.DIGESTS_MAX": 1, "placing.HEARD_MAX": 1}
    bounds |= {"streams.HELD_MAX": 8, "elements.KNOWN_MAX": 1} if has_tags else {}
    for name, value in bounds.items():
        monkeypatch.setattr(f"refold.capture.{name}", value)
    with refold.open(tmp_path / "agents.db") as store:
        if not has_tags:
            monkeypatch.setattr("refold.engine.reader.TagKeeper", Journal)
        recorder = CallRecorder(store)
        both = [[user("a " + "x" * 99)], [user("b " + "y" * 99)]]
        for turn in range(4):
            for messages in both:
                talk(recorder, messages, agent(f"c{turn}"))
                messages.append(user(f"d{turn}"))
        said = [to_messages(store.read(info.stream)) for info in store.streams()]
        assert sorted(said, key=str) == [messages[:-1] for messages in both]
        assert [check.good for check in check_exact(store)] == [True]


class Journal:
    """No store is one."""


def test_a_call_that_ends_while_the_next_is_placed_is_not_taken_for_lost(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Two recorders of one process: what the first has yet to write, the second must not."""
    store = refold.open("memory:")
    first, second = CallRecorder(store), CallRecorder(store)
    messages = [user("a")]
    call = call_of(asked(messages), conversation="call-1")
    first.begin(call)
    original = streams.goes_on

    def ends_now(*args: Any, **named: Any) -> bool:
        monkeypatch.undo()
        ends(first, call, [answered(agent("b"))])
        return original(*args, **named)

    monkeypatch.setattr(recorder, "goes_on", ends_now)
    monkeypatch.setattr(placing, "goes_on", lambda *_, **__: False)
    talk(second, [*messages, agent("b"), user("c")], agent("d"), conversation="call-1")
    (info,) = store.streams()
    assert words_in(store, info.stream) == ["a", "b", "c", "d"]
    assert "model.failed" not in {one.type for one in store.read(info.stream)}
