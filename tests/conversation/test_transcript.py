"""A history as lines to read: what is shown, what is hidden, and what must not reach a terminal."""

from __future__ import annotations

from decimal import Decimal
from itertools import count
from typing import Any

import pytest

import refold
from refold.conversation import (
    AgentConfigured,
    AgentUtterance,
    DtmfReceived,
    ModelFailed,
    ModelRequest,
    ModelResponse,
    Party,
    PlaybackInterrupted,
    Prompt,
    RedactionApplied,
    SessionEnded,
    SessionStarted,
    SpeechStarted,
    StatePatched,
    Tool,
    ToolCall,
    ToolDecided,
    ToolResult,
    UserUtterance,
    rendered,
    transcript,
)
from refold.conversation.transcript import Line, loose_end

START_US = 1_772_359_200_000_000  # 2026-03-01T10:00:00Z


def lines_of(*events: Any) -> list[Line]:
    """The lines of these events, each recorded a second after the one before."""
    with refold.open("memory:", clock=count(START_US, 1_000_000).__next__) as store:
        for event in events:
            store.append("call-1", [event])
        return transcript(store.read("call-1"))


def said(*events: Any) -> list[tuple[str, str]]:
    return [(line.who, line.text) for line in lines_of(*events)]


def test_a_call_reads_like_a_call() -> None:
    """Who, when and what, in order: start, setup, words, tool calls with results, end."""
    lines = lines_of(
        SessionStarted(channel="voice", parties=[Party(role="customer", name="Ann")]),
        AgentConfigured(model="m", prompt=Prompt(text="Be\n kind."), tools=[Tool(name="slots")]),
        UserUtterance(text="Is nine free?"),
        ToolCall(call_id="c1", name="slots", arguments='{"day":"mon"}'),
        ToolResult(call_id="c1", result=["09:00"]),
        AgentUtterance(text="Yes.\nShall I book it?"),
        SessionEnded(reason="transferred"),
    )
    assert rendered(lines) == [
        "2026-03-01",
        "10:00:00  session      started: voice, inbound; Ann",
        "10:00:01  agent        configured: model m; tools slots; prompt Be kind.",
        "10:00:02  user         Is nine free?",
        '10:00:03  tool call    slots({"day":"mon"})',
        '10:00:04  tool result  slots: ["09:00"]',
        "10:00:05  agent        Yes.",
        "                       Shall I book it?",
        "10:00:06  session      ended: transferred",
    ]
    assert (lines[2].id, lines[2].type) == ("call-1@2", "user.utterance")


def test_an_interruption_shows_what_was_heard() -> None:
    """The words that were cut off are marked, and the interruption says how far they came."""
    assert said(
        AgentUtterance(text="Nine to five."),
        PlaybackInterrupted(played_text="Nine", unplayed_text=" to five.", party="Ann"),
    ) == [
        ("agent", "Nine to five. [interrupted]"),
        ("Ann", "interrupts; heard: “Nine”, not heard: “ to five.”"),
    ]


def test_a_result_is_named_by_its_call() -> None:
    """A result shows its tool, an error is one, an open call and a stray result say so."""
    assert said(
        ToolCall(call_id="c1", name="a"),
        ToolCall(call_id="c1", name="b"),
        ToolCall(call_id="c2", name="c"),
        ToolResult(call_id="c1", result="fine"),
        ToolResult(call_id="c1", result={"code": 1}, is_error=True),
        ToolResult(call_id="c9", result=None),
    ) == [
        ("tool call", "a({})"),
        ("tool call", "b({})"),
        ("tool call", "c({}) (no result)"),
        ("tool result", "a: fine"),
        ("tool error", 'b: {"code":1}'),
        ("tool result", "no open call c9: null"),
    ]


def test_the_other_events_of_a_conversation_have_their_words() -> None:
    """Decisions, failures, patches and ends with an error can be read without knowing the types."""
    assert said(
        ToolDecided(call_id="c1", approver="Bo", decision="changed", changed_arguments="{}"),
        ModelFailed(error="timeout", attempt=2),
        StatePatched(patch=[{"op": "add", "path": "/a", "value": [1]}]),
        StatePatched(patch=[{"op": "remove", "path": "/b"}]),
        SessionEnded(reason="error", error="ValueError: no"),
    ) == [
        ("Bo", "changed the call c1: {}"),
        ("model", "failed (attempt 2): timeout"),
        ("state", "add /a = [1]"),
        ("state", "not applied: operation 0 (remove '/b'): there is no key 'b'"),
        ("session", "ended: error (ValueError: no)"),
    ]


def test_words_that_are_no_text_are_named() -> None:
    """A picture is shown as one, and nothing at all as nothing."""
    picture = [{"type": "image_url", "image_url": {"url": "…"}}]
    assert said(UserUtterance(text="", parts=picture), AgentUtterance(text="")) == [
        ("user", "[image_url]"),
        ("agent", "(nothing)"),
    ]


def test_what_is_beside_the_words_is_named() -> None:
    """A picture between words leaves a mark behind them; words in parts leave none."""
    parts: list[Any] = [
        {"type": "text", "text": "What is it?"},
        {"type": "image_url", "image_url": {"url": "…"}},
        {"type": "text", "value": "of another maker"},
    ]
    assert said(UserUtterance(text="What is it?", parts=parts)) == [
        ("user", "What is it? [image_url] [text]"),
    ]


def test_each_of_several_agents_is_named() -> None:
    """Who of a team spoke stands where the agent does."""
    coder, reviewer = (AgentUtterance(text="Hm", party=name) for name in ("coder", "reviewer"))
    assert said(coder, reviewer, AgentUtterance(text="Yes")) == [
        ("coder", "Hm"),
        ("reviewer", "Hm"),
        ("agent", "Yes"),
    ]


def test_an_unknown_event_is_shown_as_its_payload() -> None:
    """Nothing that happened is left out for want of a word for it; a long payload is cut."""
    assert said(refold.Event("order.shipped", {"id": 7})) == [("order.shipped", '{"id":7}')]
    ((_, text),) = said(refold.Event("order.shipped", {"id": "x" * 5_000}))
    assert len(text) == 400
    assert text.endswith("…")


def test_what_only_machines_need_is_left_out() -> None:
    """Requests, prices and speech detection are not part of what people said and did."""
    events = [
        ModelRequest(api="chat"),
        ModelResponse(cost=Decimal(1)),
        SpeechStarted(party="Ann", offset_ms=1),
    ]
    assert said(*events) == []


@pytest.mark.parametrize(
    ("event", "pointer", "is_hidden"),
    [
        (UserUtterance(text="secret"), "/text", True),
        (UserUtterance(text="secret"), "", True),
        (UserUtterance(text="secret"), "/words/0/text", False),
        (UserUtterance(text="secret", parts=[{"type": "x"}]), "/parts/0", True),
        (AgentUtterance(text="secret"), "/text", True),
        (ToolCall(call_id="c", name="t", arguments='"secret"'), "/arguments", True),
        (ToolCall(call_id="c", name="t", arguments='"secret"'), "/parsed/card", True),
        (ToolCall(call_id="c", name="t", arguments='"secret"'), "/call_id", False),
        (ToolResult(call_id="c", result={"card": "secret"}), "/result/card", True),
        (ToolResult(call_id="c", result={"card": "secret"}), "not a pointer", True),
        (refold.Event("x.y", {"card": "secret"}), "/card", True),
        (ModelFailed(error="secret"), "/error", True),
    ],
)
def test_what_was_redacted_is_not_shown(event: Any, pointer: str, is_hidden: bool) -> None:
    """A redaction hides the field it reaches into, in doubt the whole; other fields stay."""
    redaction = RedactionApplied(event="call-1@0", pointer=pointer, method="delete", reason="r")
    assert ("[redacted]" in said(event, redaction)[0][1]) == is_hidden
    assert ("secret" in said(event, redaction)[0][1]) != is_hidden


def test_keys_pressed_are_not_shown() -> None:
    """Masked keys stay masked in the transcript, also when an old event still has them."""
    assert "4711" not in str(said(DtmfReceived(digits="4711")))
    assert "4711" not in str(said(refold.Event("dtmf.received", {"digits": "4711"})))


def test_keys_pressed_are_not_shown_on_a_saved_branch_either() -> None:
    """A copy of an old event is masked as the event itself is: it was once shown as its payload."""
    with refold.open("memory:") as store:
        words, keys = UserUtterance(text="hi"), refold.Event("dtmf.received", {"digits": "4711"})
        store.append("call-1", [words, keys])
        store.branch("call-1").without("call-1@0").save("call-1~b")
        lines = transcript(store.read("call-1~b"))
    assert [line.text for line in lines if line.who == "user"] == ["presses ••••"]


def test_each_day_has_a_heading() -> None:
    """Lines show the time of day; the date stands once above the lines of its day."""
    days = [
        Line(id=f"c@{n}", at=at, who="user", type="user.utterance", text="hi")
        for n, at in enumerate(
            ["2026-03-01T23:59:59.5Z", "2026-03-02T00:00:00Z", "2026-03-02T00:00:01Z"]
        )
    ]
    assert rendered(days) == [
        "2026-03-01",
        "23:59:59  user  hi",
        "2026-03-02",
        "00:00:00  user  hi",
        "00:00:01  user  hi",
    ]


@pytest.mark.parametrize("harmful", ["\x1b[2J", "\r", "\x07", "\x9b", "\u202e", "\u2066", "\u2028"])
def test_words_cannot_drive_the_terminal(harmful: str) -> None:
    """What a caller says is shown, not obeyed: control and direction characters become codes."""
    text = "\n".join(rendered(lines_of(UserUtterance(text=f"a{harmful}b"))))
    assert harmful not in text
    assert f"a\\u{ord(harmful[0]):04x}" in text


def test_a_party_cannot_drive_the_terminal() -> None:
    """The name of who speaks comes from outside too."""
    text = "\n".join(rendered(lines_of(UserUtterance(text="a", party="\x1b[31mAnn\nx"))))
    assert "\x1b" not in text
    assert len(text.splitlines()) == 2


def test_an_empty_history_has_no_lines() -> None:
    """Nothing was said: nothing is shown, not even a date."""
    assert rendered(transcript([])) == []


def test_a_conversation_that_stops_half_way_is_told() -> None:
    """What is missing, of the last event that something has to follow; "" where nothing is."""
    said, call = UserUtterance("Hi"), ToolCall(call_id="c1", name="find")
    for events, lacks in (
        ([said], "nobody answered"),
        ([said, AgentUtterance("Yes?")], ""),
        ([said, call, ModelResponse()], "a call has no result"),
        ([call, ToolResult(call_id="c1")], "the agent did not go on"),
        ([said, ModelRequest(api="x")], "the model's answer did not come"),
        ([said, ModelRequest(api="x"), ModelFailed("cut off")], ""),
        ([refold.Event("note.taken", {})], ""),
        ([], ""),
    ):
        with refold.open("memory:") as store:
            for one in events:
                store.append("call-1", [one])
            assert loose_end(list(store.read("call-1")) if events else []) == lacks
