"""The event classes: which there are, and what they do to what they are given."""

from __future__ import annotations

import hashlib
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest

import refold
from refold import conversation as said
from refold.core.history import SessionForked
from refold.errors import InvalidEvent

ONE_OF_EACH: dict[str, Any] = {
    "session.started": said.SessionStarted(
        channel="voice",
        direction="outbound",
        parties=[said.Party(role="customer", name="Ann", id="p1", address="+1")],
        initial_state={"step": 1},
    ),
    "session.ended": said.SessionEnded(reason="error", error="ValueError: no"),
    "session.forked": SessionForked("call-1", 3, {"prompt": "b"}),
    "agent.configured": said.AgentConfigured(
        prompt=said.Prompt(text="Be kind.", id="p"),
        model="m",
        provider="x",
        params={"temperature": 0},
        tools=[said.Tool(name="t", parameters={"type": "object"}, effect="write")],
    ),
    "user.utterance": said.UserUtterance(
        text="hi",
        parts=[{"type": "text", "text": "hi"}],
        party="Ann",
        confidence=0.5,
        language="en",
        words=[said.Word(text="hi", start_ms=0, end_ms=90, confidence=0.5)],
        audio="blob:1",
    ),
    "agent.utterance": said.AgentUtterance(text="hello", finish_reason="stop", message_id="m1"),
    "model.request": said.ModelRequest(api="chat", messages=["call-1@0"], hash="h", attempt=2),
    "model.response": said.ModelResponse(
        response_id="r",
        model="m",
        parts=[{"type": "reasoning", "signature": "s=="}],
        usage=said.Usage(input_tokens=1, output_tokens=2, cached_tokens=3),
        first_token_ms=1.5,
        latency_ms=2.5,
        cost=Decimal("0.10"),
        currency="EUR",
    ),
    "model.failed": said.ModelFailed(error="timeout", attempt=2, status=504),
    "tool.call": said.ToolCall(
        call_id="c", name="t", arguments='{ "a" : 1 }', parsed={"a": 1}, effect="write"
    ),
    "tool.decided": said.ToolDecided(
        call_id="c", approver="Bo", decision="changed", changed_arguments="{}"
    ),
    "tool.result": said.ToolResult(call_id="c", result=[1], is_error=True, latency_ms=3, name="t"),
    "retrieval.completed": said.RetrievalCompleted(query="q", ids=["d"], hashes=["h"]),
    "memory.read": said.MemoryRead(query="q", ids=["d"], hashes=["h"]),
    "memory.written": said.MemoryWritten(ids=["d"], hashes=["h"]),
    "state.patched": said.StatePatched(patch=[{"op": "add", "path": "/a", "value": None}]),
    "speech.started": said.SpeechStarted(party="Ann", offset_ms=1),
    "speech.stopped": said.SpeechStopped(party="Ann", offset_ms=2),
    "playback.interrupted": said.PlaybackInterrupted(
        played_text="he", unplayed_text="llo", party="Ann", offset_ms=3, message_id="m1"
    ),
    "dtmf.received": said.DtmfReceived(digits="12#", masked=False),
    "call.held": said.CallHeld(from_party="a", to_party="b"),
    "call.transferred": said.CallTransferred(to_party="b", from_party="a", kind="warm"),
    "decision.recorded": said.DecisionRecorded(
        amount=Decimal("1.50"), currency="EUR", reasons=["r"], basis=["call-1@0"], reference="x"
    ),
    "effect.committed": said.EffectCommitted(
        reference="x", amount=Decimal("1.50"), currency="EUR", basis=["call-1@0"]
    ),
    "effect.reversed": said.EffectReversed(
        reference="x", amount=Decimal("0.50"), currency="EUR", reasons=["r"]
    ),
    "consent.recorded": said.ConsentRecorded(
        party="Ann", purpose="recording", basis="asked", expiry="2027-01-01"
    ),
    "consent.revoked": said.ConsentRevoked(party="Ann", purpose="recording"),
    "redaction.applied": said.RedactionApplied(
        event="call-1@4", pointer="/text", method="delete", reason="card", authority="Bo"
    ),
    "erasure.executed": said.ErasureExecuted(subject="p1", answered=["log"], unanswered=["mail"]),
    "hold.placed": said.HoldPlaced(hold="h", subject="p1", reason="suit"),
    "hold.released": said.HoldReleased(hold="h", reason="settled"),
    "access.recorded": said.AccessRecorded(
        actor="Bo", purpose="audit", subject="subject-1", streams=["call-1"], destination="a.zip"
    ),
    "access.denied": said.AccessDenied(
        actor="Bo", purpose="audit", reason="closed", subject="subject-1", streams=["call-1"]
    ),
    "score.recorded": said.ScoreRecorded(name="kind", value=0.5, rater="Bo", comment="ok"),
    "label.recorded": said.LabelRecorded(
        name="outcome", value="lost", rater="Bo", comment="ok", at="call-1@3"
    ),
}


@pytest.mark.parametrize("type_name", ONE_OF_EACH)
def test_an_event_comes_back_as_it_was(type_name: str, tmp_path: Path) -> None:
    """Every type of the vocabulary is stored under its name and read back equal, in its class."""
    event = ONE_OF_EACH[type_name]
    with refold.open(tmp_path / "log.db") as store:
        store.append("call-1", [event])
        recorded = store.event("call-1@0")
        assert recorded.type == type_name
        assert recorded.event == event
        assert type(recorded.event) is type(event)


def test_money_is_stored_as_text() -> None:
    """An amount keeps its digits: a decimal is stored as text, never as a binary number."""
    with refold.open("memory:") as store:
        store.append("call-1", [ONE_OF_EACH["effect.committed"]])
        assert store.event("call-1@0").data["amount"] == "1.50"


def test_what_is_default_is_not_stored() -> None:
    """A field that says nothing takes no room in the log."""
    assert msgspec.json.encode(said.UserUtterance(text="hi")) == b'{"text":"hi"}'


def test_a_prompt_knows_its_hash() -> None:
    """The hash of a prompt is that of its UTF-8 text, unless another is given."""
    prompt = said.Prompt(text="Sei höflich.")
    assert prompt.hash == hashlib.sha256("Sei höflich.".encode()).hexdigest()
    assert said.Prompt(text="x", hash="given").hash == "given"


def test_a_schema_hash_does_not_depend_on_the_order_of_keys() -> None:
    """Two tools with the same schema have the same hash; another schema has another."""
    first = said.Tool(name="t", parameters={"type": "object", "properties": {"a": {}, "b": {}}})
    same = said.Tool(name="t", parameters={"properties": {"b": {}, "a": {}}, "type": "object"})
    other = said.Tool(name="t", parameters={"type": "object", "properties": {"a": {}}})
    assert len(first.schema_hash) == 64
    assert first.schema_hash == same.schema_hash != other.schema_hash
    assert said.Tool(name="t").schema_hash == ""


def test_a_schema_that_cannot_be_stored_is_refused_where_it_stands() -> None:
    """Making a tool of something unstorable is possible; the append says what it is and where."""
    tool = said.Tool(name="t", parameters={"type": object()})
    with refold.open("memory:") as store, pytest.raises(InvalidEvent) as caught:
        store.append("call-1", [said.AgentConfigured(tools=[tool])])
    assert caught.value.path == "/tools/0/parameters/type"


def test_keys_pressed_do_not_reach_the_log() -> None:
    """Keys are masked when the event is made: only their number is stored."""
    pressed = said.DtmfReceived(digits="4711")
    assert pressed.digits == "••••"
    assert said.DtmfReceived(digits="1", masked=False).digits == "1"


def test_old_keys_that_were_stored_unmasked_are_masked_when_read() -> None:
    """A payload that says masked and still has its digits shows none of them."""
    with refold.open("memory:") as store:
        store.append("call-1", [refold.Event("dtmf.received", {"digits": "4711"})])
        assert store.event("call-1@0").event.digits == "••••"


def test_an_event_cannot_be_changed() -> None:
    """What is said is said: the fields of an event are read-only."""
    event = said.UserUtterance(text="hi")
    with pytest.raises(AttributeError):
        event.text = "bye"  # type: ignore[misc]


def test_the_exported_names_are_there() -> None:
    """Every name that the package exports can be had from it, once, in order."""
    assert sorted(set(said.__all__)) == said.__all__
    assert [name for name in said.__all__ if not hasattr(said, name)] == []
