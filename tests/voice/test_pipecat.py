"""Pipecat's own pipelines, with stand-ins at the edge: what was said, and what of it was heard."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pipecat.frames import frames
from pipecat.observers.base_observer import FramePushed
from pipecat.processors.frame_processor import FrameDirection

import refold
import refold.pipecat
from refold import recording, tools
from refold.conversation import Conversation
from refold.conversation.state import ConversationState
from refold.recording import declared
from tests.voice.pipecat_pipeline import Line, ScriptedModel, run

LONG = [f"word{n} " for n in range(300)]


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A log that said nothing yet, and nothing declared but the tool that records itself."""
    monkeypatch.setattr(tools, "_said", set())
    monkeypatch.setattr(declared, "_declared", {"book": "irreversible"})
    yield


def recorded_talk(
    talk: Callable[[Line, refold.AsyncStore], Awaitable[None]], *script: Any
) -> tuple[ConversationState, list[refold.Recorded]]:
    """What a pipeline comes to in which a test talks."""

    async def recorded() -> tuple[ConversationState, list[refold.Recorded]]:
        async with refold.open_async("memory:") as store:
            async with recording.record_async(store, "call-1", channel="voice") as recorder:
                observer = refold.pipecat.recorded(recorder)
                await run(observer, lambda line: talk(line, store), *script)
            events = [event async for event in store.read("call-1")]
            return (await store.fold("call-1", Conversation)).state, events

    return asyncio.run(recorded())


async def until(store: refold.AsyncStore, type_name: str, count: int = 1) -> None:
    """Wait until so many events of a type are recorded; of one that never is the test fails."""

    async def seen() -> None:
        while sum([e.type == type_name async for e in store.read("call-1")]) < count:
            await asyncio.sleep(0.02)

    await asyncio.wait_for(seen(), 20)


def test_both_sides_are_recorded_with_what_is_known_of_them() -> None:
    """Words, language, who speaks when, the model and its tokens."""

    async def talk(line: Line, store: refold.AsyncStore) -> None:
        await line.say("Hello.")
        await until(store, "agent.utterance")

    state, events = recorded_talk(talk, (["Lark", "spur ", "Clinic. ", "Good day."], ()))
    said = [(turn.role, turn.text, turn.party, turn.heard) for turn in state.transcript]
    assert said == [
        ("user", "Hello.", "caller", None),
        ("agent", "Larkspur Clinic. Good day.", None, None),
    ]
    speech = [(e.type, e.data["party"]) for e in events if e.type.startswith("speech.")]
    turn = ["speech.started", "speech.stopped"]
    assert speech == [(kind, who) for who in ("user", "agent") for kind in turn]
    (answered,) = [e.event for e in events if e.type == "model.response"]
    assert (answered.model, answered.usage.input_tokens, answered.usage.output_tokens) == (
        "scripted-1", 7, 4
    )  # fmt: skip
    assert answered.first_token_ms is not None
    assert answered.message_id == state.transcript[1].message_id
    assert next(e.data["language"] for e in events if e.type == "user.utterance") == "en"


def test_what_was_heard_of_an_interrupted_answer_stands_beside_what_was_generated() -> None:
    """The caller barges in while the agent speaks: the overlap is in the order of the log."""

    async def talk(line: Line, store: refold.AsyncStore) -> None:
        await line.say("Tell me all.")
        await until(store, "speech.started", 2)
        await until(store, "model.response")  # All of it was generated.
        await asyncio.sleep(0.4)
        await line.say("Stop.")
        await until(store, "agent.utterance", 2)

    state, events = recorded_talk(talk, (LONG, ()), (["Yes."], ()))
    assert [turn.text for turn in state.transcript] == [
        "Tell me all.", "".join(LONG), "Stop.", "Yes."
    ]  # fmt: skip
    cut = next(e for e in events if e.type == "playback.interrupted").event
    assert cut.played_text + cut.unplayed_text == "".join(LONG)
    assert cut.played_text.startswith("word0 word1") and cut.unplayed_text
    assert (state.transcript[1].heard, state.transcript[3].heard) == (cut.played_text, None)
    assert cut.message_id == state.transcript[1].message_id
    kinds = [(e.type, e.data.get("party")) for e in events]
    starts = [place for place, kind in enumerate(kinds) if kind == ("speech.started", "user")]
    assert starts[1] < kinds.index(("speech.stopped", "agent"))


def test_an_answer_that_nobody_heard_anything_of_is_told() -> None:
    """It was generated, and cut off before its first word was played."""

    async def talk(line: Line, store: refold.AsyncStore) -> None:
        await line.say("Hello.")
        await until(store, "model.response")
        await line.say("Wait.")
        await until(store, "user.utterance", 2)

    async def silent(self: Any, text: str, context_id: str) -> Any:
        await asyncio.sleep(30)
        yield None

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tests.voice.pipecat_pipeline.Voice.run_tts", silent)
        state, _ = recorded_talk(talk, (["You have won. "], ()), ([], ()))
    assert [(turn.text, turn.heard) for turn in state.transcript] == [
        ("Hello.", None), ("You have won. ", ""), ("Wait.", None)
    ]  # fmt: skip


def an_aside(text: str) -> frames.TTSSpeakFrame:
    return frames.TTSSpeakFrame(text, append_to_context=False)


def test_what_is_said_beside_the_context_is_told_once_it_was_said() -> None:
    """By itself, and before the answer that comes behind it, under ids of their own."""

    async def talk(line: Line, store: refold.AsyncStore) -> None:
        await line.worker.queue_frame(an_aside("Please hold the line."))
        await until(store, "agent.utterance")
        await line.say("Hello.")
        await until(store, "agent.utterance", 2)

    state, events = recorded_talk(talk, (["It is nine."], ()))
    assert [(turn.role, turn.text, turn.heard) for turn in state.transcript] == [
        ("agent", "Please hold the line.", None),
        ("user", "Hello.", None),
        ("agent", "It is nine.", None),
    ]
    assert "playback.interrupted" not in {event.type for event in events}
    assert len({turn.message_id for turn in state.transcript if turn.role == "agent"}) == 2


@pytest.mark.parametrize("is_cut", [True, False])
def test_an_aside_before_an_answer_does_not_become_part_of_it(*, is_cut: bool) -> None:
    """Also where the answer is cut off, and where the aside comes in the midst of its text."""
    given = [
        an_aside("One moment."), frames.LLMFullResponseStartFrame(), frames.LLMTextFrame("It is "),
        an_aside("Still looking."), frames.LLMTextFrame("nine."),
        *([frames.InterruptionFrame()] if is_cut else []), frames.BotStoppedSpeakingFrame(),
        frames.LLMContextAssistantTurnFrame("It is" if is_cut else "It is nine.", ""),
        frames.BotStoppedSpeakingFrame(),
    ]  # fmt: skip
    said = [("One moment.", None), ("It is nine.", "It is" if is_cut else None)]
    assert turns_of(given) == (said if is_cut else [*said, ("Still looking.", None)])


def test_asides_that_wait_together_are_told_one_by_one() -> None:
    """Each when it was said; of the one that is cut off then nothing is claimed."""
    starts, stops = frames.BotStartedSpeakingFrame(), frames.BotStoppedSpeakingFrame()
    given = [an_aside("One."), starts, an_aside("Two."), stops, starts]
    assert turns_of(given) == [("One.", None)]
    assert turns_of([*given, frames.InterruptionFrame(), stops]) == [("One.", None)]
    assert turns_of([*given, stops]) == [("One.", None), ("Two.", None)]


def test_of_an_aside_that_was_cut_off_nothing_is_claimed() -> None:
    """Neither that it was heard nor that it was not; and nothing of it comes up later."""
    said = frames.LLMContextUserTurnFrame("Hello?", "")
    given = [an_aside("One moment."), frames.InterruptionFrame(), frames.BotStoppedSpeakingFrame()]
    assert turns_of([*given, said]) == [("Hello?", None)]


def turns_of(given: list[Any]) -> list[tuple[str, str | None]]:
    """What is recorded of frames: what each turn says, and what of it was heard."""
    model = ScriptedModel()

    async def push() -> ConversationState:
        async with refold.open_async("memory:") as store:
            async with recording.record_async(store, "call-1") as recorder:
                observer = refold.pipecat.recorded(recorder)
                for frame in given:
                    down = FrameDirection.DOWNSTREAM
                    await observer.on_push_frame(FramePushed(model, model, frame, down, 0))
            return (await store.fold("call-1", Conversation)).state

    return [(turn.text, turn.heard) for turn in asyncio.run(push()).transcript]


def test_calls_and_results_are_recorded_and_a_recorded_tool_once() -> None:
    """With the answer that they are of; a tool that raises is an error, and none of the model."""

    async def talk(line: Line, store: refold.AsyncStore) -> None:
        await line.say("Friday at nine, please.")
        await until(store, "agent.utterance", 2)

    calls = [
        ("c1", "find_slots", {"day": "Friday"}),
        ("c2", "book", {"slot": "9"}),
        ("c3", "fails", {}),
    ]
    script = [(["One moment."], calls), *[([f"Done {n}."], ()) for n in range(3)]]
    state, _ = recorded_talk(talk, *script)
    uses = {use.event.call_id: use for use in state.tool_calls}
    assert {id: use.event.effect for id, use in uses.items()} == {
        "c1": "unknown", "c2": "irreversible", "c3": "unknown"
    }  # fmt: skip
    answers = {id: use.answer.event for id, use in uses.items() if use.answer is not None}
    assert answers["c1"].result == {"free": ["Friday 9:00"]}
    assert (answers["c2"].result, answers["c2"].is_error) == ("booked 9", False)
    assert answers["c3"].is_error
    assert all(each.latency_ms is not None for each in answers.values())
    assert (state.unmatched_results, state.open_calls, state.model_failures) == ([], {}, [])
    spoken_first = next(turn for turn in state.transcript if turn.role == "agent")
    assert {use.event.message_id for use in state.tool_calls} == {spoken_first.message_id}


def test_a_model_that_fails_is_recorded() -> None:
    """With what it said; the pipeline goes on."""

    async def talk(line: Line, store: refold.AsyncStore) -> None:
        await line.say("Hello?")
        await until(store, "model.failed")
        await line.say("Hello??")
        await until(store, "agent.utterance")

    state, _ = recorded_talk(talk, ConnectionError("no route"), (["Here."], ()))
    assert [failed.event.error for failed in state.model_failures] == ["no answer: no route"]
    assert [turn.text for turn in state.transcript] == ["Hello?", "Hello??", "Here."]


def test_recording_that_fails_is_in_no_ones_way(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A block that has ended, and a frame of an odd shape: told once, and the talk goes on."""
    caplog.set_level(logging.WARNING, "refold.pipecat")
    model = ScriptedModel()

    async def talk() -> None:
        with refold.open(tmp_path / "a.db") as store:
            with recording.record(store, "call-1") as recorder:
                observer = refold.pipecat.recorded(recorder)
            for odd in (frames.BotStartedSpeakingFrame(), frames.FunctionCallsStartedFrame(7)):  # type: ignore[arg-type]
                pushed: Any = {
                    "source": model, "destination": model, "frame": odd,
                    "direction": FrameDirection.DOWNSTREAM, "timestamp": 0,
                }  # fmt: skip
                await observer.on_push_frame(FramePushed(**pushed))

    asyncio.run(talk())
    assert len([r for r in caplog.records if r.name == "refold.pipecat"]) == 1
