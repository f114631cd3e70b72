"""Runs of the OpenAI Agents SDK against a local server, their sessions in a store."""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from agents import Agent, Runner, SQLiteSession
from agents.memory import Session, SessionSettings

import refold
from refold.capture import conversation
from refold.conversation import Conversation, rendered, transcript
from refold.openai_agents import RefoldSession
from tests.capture.model_server import ModelServer, serving
from tests.openai_agents.responses import QUIET, agents_of, call, reply, thought, words


@pytest.fixture
def server() -> Iterator[ModelServer]:
    """A scripted model server."""
    with serving() as made:
        yield made


@pytest.fixture
def store(tmp_path: Path) -> Iterator[refold.Store]:
    """A store in a file."""
    with refold.open(str(tmp_path / "agents.db")) as opened:
        yield opened


def scripted(server: ModelServer, *, streamed: bool) -> None:
    """A clerk hands over, the booker looks and answers, and answers again."""
    script = [
        [call("transfer_to_booker", call_id="h1")],
        [thought(), call("look", '{"day": "Monday"}', call_id="l1")],
        [words("Ten is free.")],
        [words("Booked.")],
    ]
    server.script = [reply(*output, streamed=streamed) for output in script]


async def run(server: ModelServer, session: Session, text: str, *, streamed: bool) -> str:
    """What the agents answer."""
    async with agents_of(server) as agent:
        if not streamed:
            done = await Runner.run(agent, text, session=session, run_config=QUIET)
            return str(done.final_output)
        result = Runner.run_streamed(agent, text, session=session, run_config=QUIET)
        async for _ in result.stream_events():
            pass
        return str(result.final_output)


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
def test_agents_that_hand_over_remember(
    server: ModelServer, store: refold.Store, streamed: bool
) -> None:
    """Each item is there once, as the SDK's own session has it, and goes out again as it came."""

    async def talk(session: Session) -> list[Any]:
        scripted(server, streamed=streamed)
        assert await run(server, session, "Is Monday free?", streamed=streamed) == "Ten is free."
        assert await run(server, session, "Book it", streamed=streamed) == "Booked."
        return await session.get_items()

    session = RefoldSession(store, "42")
    assert isinstance(session, Session)
    found = asyncio.run(talk(session))
    assert found == asyncio.run(talk(SQLiteSession("42")))
    assert [one["type"] for one in found if "type" in one] == [
        "function_call",
        "function_call_output",
        "reasoning",
        "function_call",
        "function_call_output",
        "message",
        "message",
    ]
    assert asyncio.run(RefoldSession(store, "42").get_items()) == found
    # What the last call sent is what the session held, and the new words.
    sent = [json.loads(one.body)["input"] for one in server.received]
    assert sent[3] == sent[7]
    assert [one for one in found if one.get("role") == "user"] == [sent[3][0], sent[3][-1]]
    state = store.fold("session-42", Conversation).state
    assert [one.text for one in state.transcript] == [
        "Is Monday free?",
        "Ten is free.",
        "Book it",
        "Booked.",
    ]
    assert [one.event.name for one in state.tool_calls] == ["transfer_to_booker", "look"]
    assert all(one.answer is not None for one in state.tool_calls)
    assert state.unmatched_results == []


def test_the_transcript_tells_the_conversation(server: ModelServer, store: refold.Store) -> None:
    """Each line once; the exact items are not shown beside what they say."""
    scripted(server, streamed=False)
    asyncio.run(run(server, RefoldSession(store, "42"), "Is Monday free?", streamed=False))
    lines = rendered(transcript(store.read("session-42")))
    assert [line.split(None, 1)[1] for line in lines[1:]] == [
        "user         Is Monday free?",
        "tool call    transfer_to_booker({})",
        'tool result  transfer_to_booker: {"assistant": "Booker"}',
        'tool call    look({"day": "Monday"})',
        "tool result  look: Monday: ten",
        "agent        Ten is free.",
    ]


def test_what_capture_tells_is_not_told_again(server: ModelServer, store: refold.Store) -> None:
    """In a block of the session's own stream the calls tell it; the items are kept all the same."""
    scripted(server, streamed=False)
    session = RefoldSession(store, "42")

    async def talk() -> None:
        with conversation("session-42"):
            await run(server, session, "Is Monday free?", streamed=False)
        with conversation("call-7"):
            await session.add_items([{"role": "user", "content": "Thanks"}])

    asyncio.run(talk())
    types = [each.type for each in store.read("session-42")]
    assert types == [*["openai_agents.item"] * 7, "user.utterance", "openai_agents.item"]
    assert len(asyncio.run(session.get_items())) == 8


def test_a_limit_of_the_settings_is_what_a_run_sends(
    server: ModelServer, store: refold.Store
) -> None:
    """The last items go to the model; all of them are kept."""
    session = RefoldSession(store, "42", session_settings=SessionSettings(limit=2))

    async def talk() -> None:
        for number in range(4):
            server.script = [reply(words(f"Answer {number}"))]
            await run(server, session, f"Question {number}", streamed=False)

    asyncio.run(talk())
    sent = json.loads(server.received[-1].body)["input"]
    assert [one["content"] for one in sent if one["role"] == "user"] == ["Question 2", "Question 3"]
    assert len(asyncio.run(session.get_items(limit=100))) == 8


def test_sessions_of_one_process_run_at_once(server: ModelServer, store: refold.Store) -> None:
    """Eight conversations with one agent: each has its own words, in order."""
    server.script = [reply(words("Yes."))]

    async def talk(agent: Agent[None], number: int) -> list[Any]:
        session = RefoldSession(store, str(number))
        for turn in range(2):
            await Runner.run(agent, f"{number}.{turn}", session=session, run_config=QUIET)
        return await session.get_items()

    async def all_of_them() -> list[list[Any]]:
        async with agents_of(server) as agent:
            return await asyncio.gather(*(talk(agent, number) for number in range(8)))

    for number, items in enumerate(asyncio.run(all_of_them())):
        said = [one["content"] for one in items if one["role"] == "user"]
        assert said == [f"{number}.{turn}" for turn in range(2)]
        assert len(items) == 4


def test_a_run_that_fails_keeps_what_was_said(server: ModelServer, store: refold.Store) -> None:
    """As the SDK's own session does: the next run goes on from there."""
    session, own = RefoldSession(store, "42"), SQLiteSession("42")

    async def talk(with_session: Session) -> list[Any]:
        server.script = [reply(words("Hm.")), reply()]
        server.script[1].status = 500
        await run(server, with_session, "One", streamed=False)
        with pytest.raises(Exception, match="500"):
            await run(server, with_session, "Two", streamed=False)
        server.script = [reply(words("There."))]
        await run(server, with_session, "Three", streamed=False)
        return await with_session.get_items()

    assert asyncio.run(talk(session)) == asyncio.run(talk(own))
