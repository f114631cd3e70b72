"""What a framework took back is not found any more: popped, cleared and deleted items."""

import asyncio
from collections.abc import Coroutine
from typing import Any

import refold
from refold.claude_agent_sdk import RefoldSessionStore
from refold.conversation import UserUtterance
from refold.openai_agents import RefoldSession
from refold.pydantic_ai import RefoldConversationStore
from refold.readmodels import Wanted, find
from tests.claude_agent_sdk.test_transcripts import KEY, STREAM, SUB, entry
from tests.openai_agents.responses import call, words
from tests.openai_agents.test_sessions import user
from tests.pydantic_ai.test_conversations import of, said


def run(*asked: Coroutine[Any, Any, Any]) -> None:
    """Do one after the other."""
    for one in asked:
        asyncio.run(one)


def found(store: refold.Store, text: str) -> list[str]:
    """The streams that say something, by name; as many events say it as streams."""
    those = find(store, Wanted(text=text))
    assert those.positions is not None
    assert bool(those.positions) == bool(those.streams)
    return sorted(those.streams)


def test_a_popped_item_is_not_found() -> None:
    """All that it says is gone, what stands before it stays; another session keeps its own."""
    with refold.open("memory:") as store:
        session, other = RefoldSession(store, "1"), RefoldSession(store, "2")
        run(session.add_items([user("a teapot"), user("an umbrella")]))
        run(other.add_items([user("an umbrella")]))
        assert found(store, "umbrella") == ["session-1", "session-2"]
        run(session.pop_item())
        assert (found(store, "umbrella"), found(store, "teapot")) == (["session-2"], ["session-1"])
        run(session.add_items([words("a parasol"), call("look", '{"for": "rain"}')]))
        assert found(store, "rain") == ["session-1"]
        run(session.pop_item(), session.pop_item())
        assert (found(store, "rain"), found(store, "parasol")) == ([], [])
        run(session.pop_item(), session.pop_item())
        assert found(store, "teapot") == []


def test_a_cleared_session_begins_anew() -> None:
    """Neither its words nor its tools are found, until they come again."""
    with refold.open("memory:") as store:
        session = RefoldSession(store, "1")
        run(session.add_items([user("a teapot"), call("look")]))
        assert find(store, Wanted(tool="look", text="teapot")).streams == {"session-1"}
        run(session.clear_session())
        for wanted in (Wanted(), Wanted(text="teapot"), Wanted(tool="look")):
            gone = find(store, wanted)
            assert not gone.streams
            assert not gone.positions
        run(session.add_items([user("an umbrella"), call("look", call_id="c2")]))
        assert found(store, "teapot") == []
        assert find(store, Wanted(tool="look", text="umbrella")).streams == {"session-1"}


def test_a_deleted_transcript_is_not_found() -> None:
    """Nor are those of its subagents; what is added later is."""
    with refold.open("memory:") as store:
        sessions = RefoldSessionStore(store)
        run(sessions.append(KEY, [entry("u1", "a teapot")]))
        run(sessions.append(SUB, [entry("u2", "a teapot")]))
        assert len(found(store, "teapot")) == 2
        run(sessions.delete(KEY))
        assert (found(store, "teapot"), find(store, Wanted()).streams) == ([], frozenset())
        run(sessions.append(KEY, [entry("u3", "an umbrella")]))
        assert (found(store, "umbrella"), found(store, "teapot")) == ([STREAM], [])


def test_a_deleted_conversation_is_not_found() -> None:
    """Nor are the branches in which it went on; another conversation is."""
    with refold.open("memory:") as store:
        conversations = RefoldConversationStore(store)
        first = of("a teapot", "Yes?", "Please")
        run(conversations.save(first), conversations.save(of("a teapot", own="43")))
        branch = conversations.branch("42", at=1, expected_revision=first.revision)
        other = asyncio.run(branch)
        other.messages += said("", "an umbrella")[1:]
        run(conversations.save(other))
        assert found(store, "teapot") == ["conversation-42", "conversation-43"]
        assert found(store, "umbrella") == ["conversation-42~1"]
        run(conversations.delete("42"))
        assert (found(store, "teapot"), found(store, "umbrella")) == (["conversation-43"], [])


def test_what_came_with_a_popped_item_is_not_found() -> None:
    """Its tools and errors go with its words; those of items that stay are found."""
    with refold.open("memory:") as store:
        session = RefoldSession(store, "1")
        failed: Any = {"type": "function_call_output", "call_id": "c2", "output": '{"error": "no"}'}
        run(session.add_items([call("look"), call("refund", call_id="c2"), failed]))
        asked = [Wanted(tool="look"), Wanted(tool="refund"), Wanted(with_error=True)]
        for there in ([1, 1, 1], [1, 1, 0], [1, 0, 0], [0, 0, 0]):
            assert [len(find(store, wanted).streams) for wanted in asked] == there
            run(session.pop_item())


def test_however_many_branches_are_deleted_with_their_conversation() -> None:
    """Those that it went on in; a branch of the user's own stays."""
    with refold.open("memory:") as store:
        store.append("talk-1", [UserUtterance("hi")])
        for name in ("talk-1~1", "talk-1~101", "talk-1~99999", "talk-1~mine", "talk-10~1"):
            store.append(name, [UserUtterance("teapot")])
        store.append("talk-1", [refold.Event("pydantic_ai.deleted", {})])
        assert found(store, "teapot") == ["talk-10~1", "talk-1~mine"]
