"""A captured conversation is what a recording by hand would be, and goes on where it stood."""

import json
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest

import refold
from refold import recording
from refold.capture.exact import answer_of, check_exact, request_of
from refold.capture.recorder import CallRecorder
from refold.conversation import (
    AgentConfigured,
    Conversation,
    Prompt,
    to_messages,
    transcript,
)
from refold.conversation.state import ConversationState
from refold.replay import verify
from tests.capture.talk import (
    Message,
    agent,
    answered,
    asked,
    call_of,
    ends,
    result,
    streamed,
    talk,
    user,
)

PRICES = {"m-1": {"input": "1.50", "output": 6}}
SYSTEM = {"role": "system", "content": "You help."}


@pytest.fixture(params=["agents.db", "agents.jsonl"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[refold.Store]:
    with refold.open(tmp_path / request.param) as opened:
        yield opened


def streams_of(store: refold.Store) -> list[str]:
    return [info.stream for info in store.streams()]


def only(store: refold.Store) -> str:
    (stream,) = streams_of(store)
    return stream


def types_of(store: refold.Store, stream: str) -> list[str]:
    return [one.type for one in store.read(stream) if not one.type.startswith("wire.")]


def a_conversation(recorder: CallRecorder) -> list[Message]:
    messages = [SYSTEM, user("Is nine free?")]
    talk(recorder, messages, agent(None, ("c1", "slots", '{"day": "mon"}')))
    messages.append(result("c1", "09:00"))
    talk(recorder, messages, agent("It is."))
    messages.append(user("Thanks"))
    talk(recorder, messages, agent("Welcome."))
    return messages


def test_a_conversation_is_recorded_as_one(store: refold.Store) -> None:
    """Each thing once, in the order in which it was said."""
    recorder = CallRecorder(store, prices=PRICES)
    messages = a_conversation(recorder)
    stream = only(store)
    assert types_of(store, stream) == [
        "session.started", "agent.configured", "user.utterance", "model.request",
        "model.response", "tool.call", "tool.result", "model.request",
        "model.response", "agent.utterance", "user.utterance", "model.request",
        "model.response", "agent.utterance",
    ]  # fmt: skip
    assert to_messages(store.read(stream)) == messages
    assert types_of(store, stream).count("model.response") == 3


def test_it_folds_to_what_a_recording_by_hand_folds_to(store: refold.Store) -> None:
    """But for the places of its events."""
    a_conversation(CallRecorder(store, prices=PRICES))
    cost = Decimal("0.00021")
    configured = AgentConfigured(prompt=Prompt("You help."), model="m-1", provider="openai")
    by_hand: Any = {"cost": cost, "latency_ms": 250.0, "first_token_ms": 90.0}
    called = agent(None, ("c1", "slots", '{"day": "mon"}'))
    with recording.record(store, "hand-1", agent=configured) as session:
        session.user_said("Is nine free?")
        session.model_responded(_completion(called), **by_hand)
        session.tool_returned("c1", "09:00")
        session.model_responded(_completion(agent("It is.")), **by_hand)
        session.user_said("Thanks")
        session.model_responded(_completion(agent("Welcome.")), **by_hand)
        session.suspend()
    captured, hand = streams_of(store)
    assert _said(store.fold(captured, Conversation).state) == _said(
        store.fold(hand, Conversation).state
    )


def test_it_replays_from_its_own_record(store: refold.Store) -> None:
    """Each decision of the agent is one, and what led to it is what was sent."""
    a_conversation(CallRecorder(store))
    found = verify(store, streams_of(store))
    assert found.mismatches == []
    assert found.decisions == 3


def test_a_transcript_says_each_thing_once(store: refold.Store) -> None:
    """The exact bytes beside it are for machines."""
    a_conversation(CallRecorder(store))
    lines = transcript(store.read(only(store)))
    assert [line.type for line in lines] == [
        "session.started", "agent.configured", "user.utterance", "tool.call", "tool.result",
        "agent.utterance", "user.utterance", "agent.utterance",
    ]  # fmt: skip


def test_a_packed_log_is_gone_on_with(tmp_path: Path) -> None:
    """What is packed is found, read back and not kept again, as what is not."""
    messages = [SYSTEM, user("a" * 100)]
    with refold.open(tmp_path / "agents.db") as store:
        for turn in range(12):
            sent = asked(messages)
            talk(CallRecorder(store), messages, agent(f"b{turn} " + "b" * 100))
            (stream,) = streams_of(store)
            requests = [one for one in store.read(stream) if one.type == "wire.request"]
            assert request_of(store, stream, requests[-1].version) == sent
            messages.append(user(f"c{turn} " + "c" * 100))
            store.compact()
        stream = only(store)
        assert to_messages(store.read(stream)) == messages[:-1]
        requests = [one for one in store.read(stream) if one.type == "wire.request"]
        assert [len(one.data["new"]) for one in requests] == [2] * 12
        assert [check.good for check in check_exact(store)] == [True]


def _completion(message: Message) -> Any:
    return json.loads(answered(message))


def _said(state: ConversationState) -> Any:
    """A state without where and when its events are recorded."""
    drop = {"id", "at", "message_id", "first_at_us", "last_at_us", "duration_ms"}

    def bare(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: bare(item) for key, item in value.items() if key not in drop}
        return [bare(item) for item in value] if isinstance(value, list) else value

    return bare(msgspec.to_builtins(state))


def test_the_bytes_are_those_of_the_wire(store: refold.Store) -> None:
    """Of each call, from any of its events."""
    recorder = CallRecorder(store)
    messages = [SYSTEM, user("Hi")]
    bodies: dict[str, tuple[bytes, bytes]] = {}
    for turn in range(3):
        call = call_of(asked(messages, stream=True))
        recorder.begin(call)
        pieces = streamed(f"answer {turn} ééé")
        ends(recorder, call, pieces)
        bodies[call.id] = (call.request, b"".join(pieces))
        messages += [agent(f"answer {turn} ééé "), user(f"and {turn}?")]
    stream = only(store)
    for recorded in store.read(stream):
        body, answer = bodies[recorded.metadata["call"]]
        assert request_of(store, stream, recorded.version) == body
        assert answer_of(store, stream, recorded.version) == answer
    assert [check.good for check in check_exact(store)] == [True]


def test_another_process_goes_on_with_the_stream(tmp_path: Path) -> None:
    """It is found again, and nothing that it holds is kept again."""
    messages = [SYSTEM | {"content": "s" * 200}, user("Hi")]
    for turn in range(6):
        with refold.open(tmp_path / "agents.db") as store:
            talk(CallRecorder(store), messages, agent(f"answer {turn}"))
        messages.append(user(f"question {turn}"))
    with refold.open(tmp_path / "agents.db") as store:
        stream = only(store)
        requests = [one for one in store.read(stream) if one.type == "wire.request"]
        assert [len(one.data.get("new", [])) for one in requests] == [2, 2, 2, 2, 2, 2]
        assert to_messages(store.read(stream)) == messages[:-1]
