"""LiveKit's own sessions, with stand-ins at the edge: what was said, and what of it was heard."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from livekit.agents import AgentSession

import refold
import refold.livekit
from refold import recording, tools
from refold.conversation import Conversation
from refold.conversation.state import ConversationState
from refold.recording import declared
from tests.voice.livekit_agent import Receptionist, ScriptedModel, session_with

Talk = Callable[[AgentSession[None], Receptionist], Any]
LONG = [f"word{n} " for n in range(300)]


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A log that said nothing yet, and nothing declared but the tool that records itself."""
    monkeypatch.setattr(tools, "_said", set())
    monkeypatch.setattr(declared, "_declared", {"book": "irreversible"})
    yield


def recorded_talk(talk: Talk, *script: Any) -> tuple[ConversationState, list[refold.Recorded]]:
    """What a session comes to in which a test talks."""

    async def run() -> tuple[ConversationState, list[refold.Recorded]]:
        async with refold.open_async("memory:") as store:
            async with recording.record_async(store, "call-1", channel="voice") as recorder:
                session, speaker = session_with(ScriptedModel(*script))
                refold.livekit.recorded(session, recorder)
                agent = Receptionist(speaker)
                await session.start(agent)
                await talk(session, agent)
                await session.aclose()
            events = [event async for event in store.read("call-1")]
            return (await store.fold("call-1", Conversation)).state, events

    return asyncio.run(run())


async def until(session: AgentSession[None], name: str, test: Callable[[Any], bool]) -> None:
    """Wait for an event of a session; of one that never comes the test fails."""
    seen = asyncio.Event()
    session.on(name, lambda event: seen.set() if test(event) else None)  # type: ignore[arg-type]
    await asyncio.wait_for(seen.wait(), 20)


def an_answer(event: Any) -> bool:
    return bool(event.item.type == "message" and event.item.role == "assistant")


def test_both_sides_are_recorded_with_what_is_known_of_them() -> None:
    """Words, confidence, language, who speaks when, the agent, its model and its tools."""

    async def talk(session: AgentSession[None], agent: Receptionist) -> None:
        await session.generate_reply(instructions="Greet.").wait_for_playout()
        agent.caller_says("Hello.", confidence=0.7)
        await until(session, "conversation_item_added", an_answer)

    state, events = recorded_talk(talk, (["Larkspur ", "Clinic."], ()), (["Good ", "day."], ()))
    said = [(turn.role, turn.text, turn.confidence, turn.heard) for turn in state.transcript]
    assert said == [
        ("agent", "Larkspur Clinic.", None, None),
        ("user", "Hello.", 0.7, None),
        ("agent", "Good day.", None, None),
    ]
    assert state.agent is not None and state.agent.prompt is not None
    known = (state.agent.agent, state.agent.model, state.agent.provider, state.agent.prompt.text)
    assert known == ("receptionist", "scripted-1", "here", "You are the receptionist.")
    tools = {tool.name: tool for tool in state.agent.tools}
    assert set(tools) == {"find_slots", "book", "to_billing"}
    assert tools["find_slots"].parameters["properties"]["day"]["type"] == "string"
    speech = [(e.type, e.data["party"]) for e in events if e.type.startswith("speech.")]
    turn = ["speech.started", "speech.stopped"]
    assert speech == [(kind, who) for who in ("agent", "user", "agent") for kind in turn]
    offsets = [e.data["offset_ms"] for e in events if e.type.startswith("speech.")]
    assert offsets == sorted(offsets)
    answered = [e.event for e in events if e.type == "model.response"]
    assert [each.model for each in answered] == ["scripted-1"] * 2
    assert all(each.first_token_ms is not None for each in answered)
    assert [each.message_id for each in answered] == [
        turn.message_id for turn in state.transcript if turn.role == "agent"
    ]
    user = next(e for e in events if e.type == "user.utterance")
    assert (user.data["language"], user.metadata["actor"]) == ("en", "user")


def test_what_was_heard_of_an_interrupted_answer_stands_beside_what_was_generated() -> None:
    """The caller barges in while the agent speaks: the overlap is in the order of the log."""

    async def talk(session: AgentSession[None], agent: Receptionist) -> None:
        agent.caller_says("Tell me all.")
        await until(session, "agent_state_changed", lambda event: event.new_state == "speaking")
        await asyncio.sleep(0.3)
        agent.caller_says("Stop.")
        await until(
            session, "conversation_item_added", lambda e: an_answer(e) and not e.item.interrupted
        )

    state, events = recorded_talk(talk, (LONG, ()), (["Yes."], ()))
    assert [turn.text for turn in state.transcript] == [
        "Tell me all.", "".join(LONG), "Stop.", "Yes."
    ]  # fmt: skip
    cut = next(e for e in events if e.type == "playback.interrupted").event
    assert cut.played_text + cut.unplayed_text == "".join(LONG)
    assert cut.played_text.startswith("word0 ") and cut.unplayed_text
    assert state.transcript[1].heard == cut.played_text
    assert cut.message_id == state.transcript[1].message_id and cut.offset_ms >= 300
    kinds = [(e.type, e.data.get("party")) for e in events]
    stopped = [place for place, kind in enumerate(kinds) if kind == ("speech.stopped", "agent")]
    starts = [place for place, kind in enumerate(kinds) if kind == ("speech.started", "user")]
    assert starts[1] < stopped[0], "the caller began before the agent stopped"


def test_an_answer_that_nobody_heard_anything_of_is_told() -> None:
    """It was generated and cut off before its first word was played."""

    async def talk(session: AgentSession[None], agent: Receptionist) -> None:
        written = asyncio.Event()

        async def noted(text: Any, settings: Any) -> Any:
            async for delta in text:
                yield delta
            written.set()

        agent.transcription_node = noted  # type: ignore[assignment, method-assign]
        agent.tts_node = slow_to_start  # type: ignore[assignment, method-assign]
        handle = session.say("You have won.")
        await asyncio.wait_for(written.wait(), 20)
        await session.interrupt()
        await handle.wait_for_playout()

    async def slow_to_start(text: Any, settings: Any) -> Any:
        async for _ in text:
            pass
        await asyncio.sleep(30)
        yield None

    state, _ = recorded_talk(talk)
    assert [(turn.text, turn.heard) for turn in state.transcript] == [("You have won.", "")]


def test_what_is_taken_back_before_its_turn_cuts_nothing_off() -> None:
    """The speech that it waited for is said to its end, and told once."""
    first = "One two three four five six seven eight nine ten."

    async def talk(session: AgentSession[None], agent: Receptionist) -> None:
        playing = session.say(first)
        waiting = session.say("And another.")
        await until(session, "agent_state_changed", lambda event: event.new_state == "speaking")
        _ = waiting.interrupt()
        await playing.wait_for_playout()
        await session.say("Bye.").wait_for_playout()

    state, events = recorded_talk(talk)
    assert [(turn.text, turn.heard) for turn in state.transcript] == [(first, None), ("Bye.", None)]
    assert "playback.interrupted" not in {event.type for event in events}


def test_calls_and_results_are_recorded_and_a_recorded_tool_once() -> None:
    """Also of a tool that hands over, after which another agent is configured."""

    async def talk(session: AgentSession[None], agent: Receptionist) -> None:
        agent.caller_says("Friday at nine, please.")
        await until(
            session,
            "conversation_item_added",
            lambda e: an_answer(e) and e.item.text_content == "Done.",
        )
        agent.caller_says("And the bill?")
        await until(session, "conversation_item_added", lambda e: e.item.type == "agent_handoff")

    state, _ = recorded_talk(
        talk,
        (["One ", "moment."], [("c1", "find_slots", '{"day": "Friday"}')]),
        ([], [("c2", "book", '{"slot":"9"}'), ("c3", "find_slots", '{"dy": 1}')]),
        (["Done."], ()),
        ([], [("c4", "to_billing", "{}")]),
    )
    uses = [
        (u.event.call_id, u.event.effect, u.answer.event if u.answer else None)
        for u in state.tool_calls
    ]
    assert [(id, effect) for id, effect, _ in uses] == [
        ("c1", "unknown"), ("c2", "irreversible"), ("c3", "unknown"), ("c4", "unknown")
    ]  # fmt: skip
    results = [(a.result, a.is_error) for _, _, a in uses if a is not None]
    assert results[:2] == [("Friday 9:00", False), ("booked 9", False)]
    assert results[2][1] is True
    assert all(a is not None and a.latency_ms is not None for _, _, a in uses)
    assert (state.unmatched_results, state.open_calls) == ([], {})
    first = state.tool_calls[0].event
    assert first.message_id == state.transcript[1].message_id, "of the words before it"
    assert state.agent is not None and state.agent.agent == "billing"


def test_a_model_that_fails_is_recorded() -> None:
    """With what it said; the session goes on, or ends, as it would."""

    async def talk(session: AgentSession[None], agent: Receptionist) -> None:
        agent.caller_says("Hello?")
        await until(session, "error", lambda event: True)

    state, _ = recorded_talk(talk, ConnectionError("no route to the model"))
    assert [
        failed.event.error.startswith(("APIConnectionError", "ConnectionError"))
        for failed in state.model_failures
    ] == [True]
    assert [turn.text for turn in state.transcript] == ["Hello?"]


def test_recording_that_fails_is_in_no_ones_way(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A block that has ended, or another writer: told once, and the talk goes on."""
    caplog.set_level(logging.WARNING, "refold.livekit")

    async def run() -> list[str]:
        heard: list[str] = []
        with refold.open(tmp_path / "a.db") as store:
            with recording.record(store, "call-1") as recorder:
                session, speaker = session_with(ScriptedModel((["Hello."], ()), (["Bye."], ())))
                refold.livekit.recorded(session, recorder)
                await session.start(Receptionist(speaker))
            session.on("conversation_item_added", lambda e: heard.append(e.item.text_content))
            await session.generate_reply().wait_for_playout()
            await session.generate_reply().wait_for_playout()
            await session.aclose()
        return heard

    assert asyncio.run(run()) == ["Hello.", "Bye."]
    assert len([r for r in caplog.records if r.name == "refold.livekit"]) == 1
