"""Conversations of pydantic-ai as streams: runs of agents, forks as branches, several writers."""

import asyncio
import json
import threading
from collections.abc import AsyncIterable, Coroutine, Iterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from openai import AsyncOpenAI
from pydantic_ai import Agent, Conversation
from pydantic_ai.conversation_store import ConversationConflict, InMemoryConversationStore
from pydantic_ai.messages import ModelRequest, ModelResponse, TextPart, UserPromptPart
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.openai import OpenAIProvider

import refold
from refold.capture import conversation as captured
from refold.conversation import Conversation as Folded
from refold.errors import InvalidEvent, StoreClosed, UsageError
from refold.pydantic_ai import RefoldConversationStore
from tests.capture.model_server import ModelServer, Reply, chat, chat_stream, serving
from tests.support.forking import Answer, told_by_child

AT = datetime(2026, 3, 1, 9, tzinfo=UTC)


def run(asked: Coroutine[Any, Any, Any]) -> Any:
    """What a call comes to."""
    return asyncio.run(asked)


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


def said(*texts: str) -> list[Any]:
    """Questions and answers in turn."""
    return [
        ModelResponse([TextPart(text)], timestamp=AT)
        if n % 2
        else ModelRequest([UserPromptPart(text, timestamp=AT)])
        for n, text in enumerate(texts)
    ]


def of(*texts: str, own: str = "42") -> Conversation:
    """A conversation that is not stored yet."""
    return Conversation(conversation_id=own, messages=said(*texts))


def words(store: refold.Store, stream: str) -> list[str]:
    """What is said in a stream's history."""
    return [one.text for one in store.fold(stream, Folded).state.transcript]


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
def test_an_agent_goes_on_from_the_store(
    server: ModelServer, store: refold.Store, streamed: bool
) -> None:
    """A tool is called; the next run sends what was said, and only new messages are added."""
    call = {"id": "c1", "type": "function", "function": {"name": "look", "arguments": "{}"}}
    server.script = [chat("", tool_calls=[call]), chat("Ten is free."), chat("Booked.")]
    if streamed:
        server.script = [calling(call), chat_stream(["Ten is ", "free."]), chat_stream(["Booked."])]
    conversations = RefoldConversationStore(store)

    async def ask(text: str) -> list[Any]:
        async with AsyncOpenAI(base_url=f"{server.url}/v1", api_key="x", max_retries=0) as client:
            model = OpenAIChatModel("m-1", provider=OpenAIProvider(openai_client=client))
            agent = Agent(model)
            agent.tool_plain(look)
            own = await conversations.load("42") or Conversation(conversation_id="42")
            return await conversations.save(await _answered(agent, text, own, streamed))

    assert len(run(ask("Is ten free?"))) == 4
    assert len(run(ask("Book it"))) == 2
    assert words(store, "conversation-42") == ["Is ten free?", "Ten is free.", "Book it", "Booked."]
    state = store.fold("conversation-42", Folded).state
    assert [(one.event.name, one.answer is not None) for one in state.tool_calls] == [
        ("look", True)
    ]
    loaded = run(RefoldConversationStore(store).load("42"))
    assert loaded.usage.requests == 3
    assert len(loaded.messages) == 6


def calling(call: Any) -> Reply:
    """A streamed answer that calls a tool."""
    said = {"role": "assistant", "content": None, "tool_calls": [{"index": 0, **call}]}
    head = {"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": "m-1"}
    choices = [
        {"index": 0, "delta": said, "finish_reason": None},
        {"index": 0, "delta": {}, "finish_reason": "tool_calls"},
    ]
    chunks = [json.dumps({**head, "choices": [choice]}) for choice in choices]
    body = "".join(f"data: {chunk}\n\n" for chunk in [*chunks, "[DONE]"])
    return Reply(body.encode(), "text/event-stream")


def look() -> str:
    """Which hours are free."""
    return "ten"


async def _answered(agent: Any, text: str, own: Conversation, streamed: bool) -> Any:
    seen: list[Any] = []

    async def handler(_: Any, events: AsyncIterable[Any]) -> None:
        seen.extend([event async for event in events])

    given = {"event_stream_handler": handler} if streamed else {}
    result = await agent.run(text, conversation=own, **given)
    assert bool(seen) == streamed
    return result


def test_a_fork_is_a_branch(store: refold.Store) -> None:
    """It shares the events that it shares messages with, and each goes on by itself."""
    conversations = RefoldConversationStore(store)
    run(conversations.save(of("one", "two", "three")))
    fork = run(conversations.fork("42", at=1, new_conversation_id="43"))
    fork.messages += said("", "four")[1:]
    run(conversations.save(fork))
    again = run(conversations.fork("43", new_conversation_id="44"))
    again.messages += said("five")
    run(conversations.save(again))
    forks = {info.stream: info.fork for info in store.streams() if info.fork}
    assert forks == {
        "conversation-43~1": ("conversation-42", 1),
        "conversation-44~1": ("conversation-43~1", 4),
    }
    assert words(store, "conversation-42") == ["one", "two", "three"]
    assert words(store, "conversation-43~1") == ["one", "four"]
    assert words(store, "conversation-44~1") == ["one", "four", "five"]
    kept = list(store.read_all(types=["pydantic_ai.entry"]))
    assert len(kept) == 5
    for own, texts in {"42": 3, "43": 2, "44": 3}.items():
        assert len(run(RefoldConversationStore(store).load(own)).messages) == texts


def test_what_leaves_a_history_goes_on_in_a_branch(store: refold.Store) -> None:
    """An answer made anew, a history that was rewritten, and back again."""
    conversations = RefoldConversationStore(store)
    own = of("one", "two", "three")
    run(conversations.save(own))
    left = run(conversations.read_record("42")).head_id
    own = run(conversations.branch("42", at=1, expected_revision=own.revision))
    own.messages += said("", "other")[1:]
    run(conversations.save(own))
    assert words(store, "conversation-42~1") == ["one", "other"]
    own.messages, own.new_message_index = said("summary"), None
    run(conversations.save(own))
    assert words(store, "conversation-42~2") == ["summary"]
    own = run(conversations.branch("42", from_entry=left, expected_revision=own.revision))
    assert own.messages == said("one", "two", "three")
    own.messages += said("", "four")[1:]
    run(conversations.save(own))
    assert words(store, "conversation-42~3") == ["one", "two", "three", "four"]
    record = run(RefoldConversationStore(store).read_record("42"))
    assert len(record.branches) == 2
    for tip, texts in zip(record.branches, (["one", "other"], ["summary"]), strict=True):
        history = run(RefoldConversationStore(store).read_history(tip))
        assert [entry.message for entry in history] == said(*texts)


def test_of_two_who_save_one_comes_first(store: refold.Store) -> None:
    """The other is told, whether it goes on, leaves the history or deletes it."""
    conversations = RefoldConversationStore(store)
    run(conversations.save(of("one", "two")))
    mine, theirs = (run(conversations.load("42")) for _ in range(2))
    mine.messages += said("three")
    run(conversations.save(mine))
    rewritten = run(RefoldConversationStore(store).load("42"))
    rewritten.revision, rewritten.messages = theirs.revision, said("other")
    rewritten.new_message_index = None
    theirs.messages += said("four")
    late = conversations.branch("42", at=1, expected_revision=theirs.revision)
    for asked in (conversations.save(theirs), conversations.save(rewritten), late):
        with pytest.raises(ConversationConflict):
            run(asked)
    with pytest.raises(ConversationConflict):
        run(conversations.delete_record("42", expected_revision="never"))
    assert words(store, "conversation-42") == ["one", "two", "three"]
    with pytest.raises(ConversationConflict):
        run(conversations.save(of("anew")))


def test_writers_of_threads_and_processes_lose_nothing(tmp_path: Path) -> None:
    """Each adds its words, after loading again as often as it must; some go back before that."""
    path = str(tmp_path / "agents.db")

    def work(name: str) -> int:
        async def add(conversations: RefoldConversationStore, text: str, goes_back: bool) -> None:
            while True:
                own = await conversations.load("42") or Conversation(conversation_id="42")
                try:
                    if goes_back and own.revision and own.messages:
                        revision = own.revision
                        own = await conversations.branch("42", at=1, expected_revision=revision)
                    own.messages += said(text)
                    await conversations.save(own)
                    return
                except ConversationConflict:
                    continue

        with refold.open(path) as own:
            for number in range(4):
                asked = add(RefoldConversationStore(own), f"{name}{number}", number == 2)
                asyncio.run(asked)
        return 4

    children = [Answer(partial(work, name)) for name in "ab"]
    threads = [threading.Thread(target=work, args=(name,)) for name in "cd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [child.get() for child in children] == [4, 4]
    with refold.open(path) as store:
        kept = [each.data["value"] for each in store.read_all(types=["pydantic_ai.entry"])]
        texts = [one["parts"][0]["content"] for one in kept]
        assert sorted(texts) == sorted(f"{name}{n}" for name in "abcd" for n in range(4))
        record = run(RefoldConversationStore(store).read_record("42"))
        found = set()
        for tip in [record.head_id, *record.branches]:
            history = run(RefoldConversationStore(store).read_history(tip))
            found |= {entry.message.parts[0].content for entry in history}
        assert found == set(texts)
        assert all(check.good for check in store.check())


def test_what_is_deleted_is_found_no_more_and_stands_in_the_log(store: refold.Store) -> None:
    """A fork of it stays whole, and a new one may have its name."""
    conversations = RefoldConversationStore(store)
    run(conversations.save(of("secret", "yes")))
    entry = run(conversations.read_record("42")).head_id
    run(conversations.fork("42", new_conversation_id="43"))
    run(conversations.delete("42"))
    run(conversations.delete("42"))
    for each in (conversations, RefoldConversationStore(store)):
        assert run(each.load("42")) is None
        assert [one.conversation_id for one in run(each.list_conversations())] == ["43"]
        assert run(each.load("43")).messages == said("secret", "yes")
        assert run(each.read_entry(entry)).message == said("secret", "yes")[1]
    assert any(b"secret" in each.raw for each in store.read("conversation-42"))
    run(conversations.save(of("anew")))
    assert run(conversations.load("42")).messages == said("anew")
    run(conversations.delete("43"))
    again = run(conversations.fork("42", new_conversation_id="43"))
    assert again.messages == said("anew")
    assert run(RefoldConversationStore(store).load("43")).messages == said("anew")


def test_an_entry_that_is_nowhere_is_a_key_error(store: refold.Store) -> None:
    """As the store in memory has it; a record that names one is a conflict."""
    for conversations in (RefoldConversationStore(store), InMemoryConversationStore()):
        own = of("one")
        run(conversations.save(own))
        with pytest.raises(KeyError):
            run(conversations.read_entry("never"))
        with pytest.raises(KeyError):
            run(conversations.read_history("never"))
        record = run(conversations.read_record("42"))
        revision, record.head_id, record.revision = record.revision, "never", "next"
        with pytest.raises(ConversationConflict):
            run(conversations.write_record(record, expected_revision=revision))


@pytest.mark.parametrize("own", ["a~b", "50%", "a%7Eb", "a/b", "é\u2028", "tab\tend", "7"])
def test_any_text_names_a_conversation(store: refold.Store, own: str) -> None:
    """A ~ in it makes no branch of it, and it is listed as it was."""
    run(RefoldConversationStore(store, category="talk").save(of("one", own=own)))
    run(RefoldConversationStore(store, category="talk").save(of("two", own=own + "x")))
    found = run(RefoldConversationStore(store, category="talk").list_conversations())
    assert [one.conversation_id for one in found] == [own + "x", own]
    assert run(RefoldConversationStore(store, category="talk").load(own)).messages == said("one")
    assert run(RefoldConversationStore(store).load(own)) is None


def test_an_id_that_is_none_is_refused(store: refold.Store) -> None:
    """So is one that is too long, and a category that would not be one."""
    empty: Any
    for empty in ("", None):
        with pytest.raises(UsageError, match="conversation's id"):
            run(RefoldConversationStore(store).load(empty))
    with pytest.raises(InvalidEvent, match="over 255"):
        run(RefoldConversationStore(store).save(of("one", own="x" * 300)))
    with pytest.raises(UsageError, match="category"):
        RefoldConversationStore(store, category="a-b")


def test_what_capture_tells_is_not_told_again(store: refold.Store) -> None:
    """In a block of the conversation's own stream the calls tell it; the messages are kept."""
    conversations = RefoldConversationStore(store)

    async def talk() -> None:
        with captured("conversation-42"):
            await conversations.save(of("one", "two"))

    run(talk())
    types = [each.type for each in store.read("conversation-42")]
    assert types == ["pydantic_ai.entry", "pydantic_ai.entry", "pydantic_ai.record"]
    assert run(conversations.load("42")).messages == said("one", "two")


def test_other_events_may_stand_in_the_stream(store: refold.Store) -> None:
    """Whoever else appends to it is passed over."""
    conversations = RefoldConversationStore(store)
    own = of("one")
    run(conversations.save(own))
    store.append("conversation-42", [refold.Event("note", {"id": 5})])
    own.messages += said("", "two")[1:]
    run(conversations.save(own))
    assert run(conversations.load("42")).messages == said("one", "two")


def test_a_store_of_another_process_is_refused(store: refold.Store) -> None:
    """Nor is a closed one used."""
    conversations = RefoldConversationStore(store)
    run(conversations.save(of("one")))
    with pytest.raises(UsageError, match="forked"):
        told_by_child(lambda: run(conversations.load("42")))
    with pytest.raises(UsageError, match="forked"):
        told_by_child(lambda: run(conversations.save(of("two", own="43"))))
    assert run(conversations.load("42")).messages == said("one")
    store.close()
    for asked in (conversations.load("42"), conversations.save(of("x", own="44"))):
        with pytest.raises(StoreClosed):
            run(asked)
