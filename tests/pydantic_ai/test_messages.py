"""Messages of pydantic-ai in the log: every kind of part comes back equal, and is told."""

import asyncio
import dataclasses
import typing
from collections.abc import Coroutine, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from pydantic_ai import Conversation
from pydantic_ai import messages as m
from pydantic_ai.conversation_store import InMemoryConversationStore
from pydantic_ai.tools import DeferredToolRequests
from pydantic_ai.usage import RequestUsage, RunUsage

import refold
from refold import verbatim
from refold.conversation import Conversation as Folded
from refold.conversation import rendered, transcript
from refold.errors import InvalidEvent
from refold.pydantic_ai import RefoldConversationStore

AT = datetime(2026, 3, 1, 9, tzinfo=UTC)
IMAGE = m.BinaryContent.narrow_type(m.BinaryContent(b"\x89PNG\xff\x00", media_type="image/png"))
SOUND = m.BinaryContent(b"RIFF\x00\xff", media_type="audio/wav")


def run(asked: Coroutine[Any, Any, Any]) -> Any:
    """What a call comes to."""
    return asyncio.run(asked)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[refold.Store]:
    """A store in a file."""
    with refold.open(str(tmp_path / "agents.db")) as opened:
        yield opened


REQUEST: list[Any] = [
    m.SystemPromptPart("Be brief.", timestamp=AT, dynamic_ref="ref"),
    m.UserPromptPart("Is nine free? é \u2028 \U0001f600", timestamp=AT),
    m.UserPromptPart(
        [
            "Look",
            m.TextContent("at this", metadata={"by": 5}),
            m.ImageUrl("https://example.com/a.png"),
            m.AudioUrl("https://example.com/a.mp3"),
            m.VideoUrl("https://example.com/a.mp4"),
            m.DocumentUrl("https://example.com/a.pdf"),
            IMAGE,
            m.CachePoint(),
            m.UploadedFile("file-1", provider_name="openai", media_type="image/png"),
        ],
        timestamp=AT,
    ),
    m.SpeechPart(speaker="user", transcript="Hello", audio=SOUND, interrupted_at_ms=5),
    m.ToolReturnPart("look", {"free": [9, 10.5, None]}, "c1", timestamp=AT, metadata={"a": [1]}),
    m.ToolReturnPart("look", "no such day", "c2", outcome="failed", timestamp=AT),
    m.ToolReturnPart("look", [IMAGE, "seen"], "c3", timestamp=AT),
    m.ToolReturnPart("look", "again", "c4", outcome="retried", timestamp=AT),
    m.RetryFeedbackPart(
        content="Say it again", retry=m.RetryInfo("model_retry", attempt=1), timestamp=AT
    ),
    m.ToolSearchReturnPart(content={"discovered_tools": []}, tool_call_id="s1", timestamp=AT),
    m.LoadCapabilityReturnPart(content={"instructions": "Book."}, tool_call_id="s2", timestamp=AT),
    m.ToolAvailabilityDeltaPart(tools_added=["look"]),
    m.CapabilityLoadDeltaPart(loaded=["booking"]),
    m.ModelSettingsDeltaPart(settings={"thinking": "high"}),
    m.InstructionDeltaPart(
        id=m.InstructionId(m.AgentInstructionSource(), name="a"), content="Be kind."
    ),
    m.InstructionBaselinePart(instructions=[m.InstructionPart("Be brief.", name="b")]),
    m.CompactionPart("We spoke of nine."),
]
RESPONSE: list[Any] = [
    m.ThinkingPart("Hm.", id="t", signature="c2ln", provider_name="anthropic"),
    m.TextPart("Let me ", id="x"),
    m.TextPart("look."),
    m.ToolCallPart("look", {"day": "Monday", "n": 10.5}, "c1"),
    m.ToolCallPart("look", '{"day": "Sun', "c2", provider_details={"raw": [True]}),
    m.ToolCallPart("look", None, "c3"),
    m.NativeToolCallPart("web_search", {"query": "hours"}, "n1", provider_name="openai"),
    m.NativeToolReturnPart("web_search", {"found": 3}, "n1", provider_name="openai"),
    m.ToolSearchCallPart(args={"queries": ["hours"]}, tool_call_id="s1"),
    m.LoadCapabilityCallPart(args={"id": "booking"}, tool_call_id="s2"),
    m.NativeToolSearchCallPart(args={"queries": ["hours"]}, tool_call_id="s3"),
    m.NativeToolSearchReturnPart(content={"discovered_tools": []}, tool_call_id="s3", timestamp=AT),
    m.FilePart(IMAGE, id="f"),
    m.SpeechPart(speaker="assistant", transcript="Ten it is.", timestamps=[]),
    m.CompactionPart("Before: nine.", provider_name="openai", provider_details={"enc": "eA=="}),
]


def messages() -> list[Any]:
    """A request and a response with every part there is, and one of each field."""
    usage = RequestUsage(input_tokens=3, output_tokens=4, details={"reasoning_tokens": 1})
    return [
        m.ModelRequest(REQUEST, instructions="Book.", timestamp=AT, run_id="r", metadata={"a": 1}),
        m.ModelResponse(
            RESPONSE,
            usage=usage,
            model_name="m-1",
            timestamp=AT,
            provider_name="openai",
            provider_details={"finish": "stop"},
            provider_response_id="resp_1",
            finish_reason="stop",
            run_id="r",
        ),
    ]


def kinds_of(union: Any) -> set[type]:
    """The classes of the parts that a message may have."""
    members = typing.get_args(typing.get_args(union)[0])
    found = {typing.get_args(member)[0] for member in members}
    return {typing.get_origin(cls) or cls for cls in found}


def test_every_kind_of_part_is_tried() -> None:
    """A kind that pydantic-ai adds is one to be added here; one is read as others are."""
    legacy = {"RetryPromptPart"}
    for union, parts in ((m.ModelRequestPart, REQUEST), (m.ModelResponsePart, RESPONSE)):
        wanted = {cls.__name__ for cls in kinds_of(union)} - legacy
        assert wanted == {type(part).__name__ for part in parts}


def test_every_part_comes_back_equal(store: refold.Store) -> None:
    """To the one who saved it, and to another; as pydantic-ai's own JSON has it."""
    own = Conversation(conversation_id="42", messages=messages())
    saved = run(RefoldConversationStore(store).save(own))
    assert [entry.message for entry in saved] == messages()
    loaded = run(RefoldConversationStore(store).load("42"))
    assert loaded.messages == messages()
    adapter = m.ModelMessagesTypeAdapter
    assert adapter.dump_json(loaded.messages) == adapter.dump_json(messages())
    for one, other in zip(loaded.messages, messages(), strict=True):
        assert [type(part) for part in one.parts] == [type(part) for part in other.parts]


@pytest.mark.parametrize("part", [*REQUEST, *RESPONSE], ids=lambda part: type(part).__name__)
def test_a_part_alone_comes_back_equal(store: refold.Store, part: Any) -> None:
    """Whatever it says, or where it says nothing."""
    is_asked = any(part is one for one in REQUEST)
    message: Any = m.ModelRequest([part]) if is_asked else m.ModelResponse([part], timestamp=AT)
    run(RefoldConversationStore(store).save(Conversation(conversation_id="1", messages=[message])))
    assert run(RefoldConversationStore(store).load("1")).messages == [message]
    transcript(store.read("conversation-1"))


def test_the_stream_tells_the_conversation(store: refold.Store) -> None:
    """Words, what was shown beside them, calls and results, at their times."""
    own = Conversation(conversation_id="42", messages=messages())
    run(RefoldConversationStore(store).save(own))
    lines = rendered(transcript(store.read("conversation-42")))
    picture = '{"data":"iVBOR_8A","media_type":"image/png","vendor_metadata":null,"kind":"binary"'
    waits = "(no result)"
    shown = "[image_url] [audio_url] [video_url] [document_url] [binary] [uploaded_file]"
    assert lines == [
        "2026-03-01",
        "09:00:00  user         Is nine free? é \\u2028 \U0001f600",
        "09:00:00  user         Look",
        f"                       at this {shown}",
        "09:00:00  user         Hello",
        '09:00:00  tool result  look: {"free":[9,10.5,null]}',
        "09:00:00  tool error   look: no such day",
        f'09:00:00  tool result  look: [{picture},"identifier":"7e5122"}},"seen"]',
        "09:00:00  tool error   look: again",
        '09:00:00  tool result  search_tools: {"discovered_tools":[]}',
        '09:00:00  tool result  load_capability: {"instructions":"Book."}',
        "09:00:00  agent        Let me look.",
        "                       Ten it is.",
        f'09:00:00  tool call    look({{"day":"Monday","n":10.5}}) {waits}',
        f'09:00:00  tool call    look({{"day": "Sun) {waits}',
        f"09:00:00  tool call    look({{}}) {waits}",
        f'09:00:00  tool call    search_tools({{"queries":["hours"]}}) {waits}',
        f'09:00:00  tool call    load_capability({{"id":"booking"}}) {waits}',
    ]
    state = store.fold("conversation-42", Folded).state
    assert [one.event.arguments for one in state.tool_calls][:3] == [
        '{"day":"Monday","n":10.5}',
        '{"day": "Sun',
        "{}",
    ]


def test_what_a_record_carries_comes_back(store: refold.Store) -> None:
    """Usage, and the calls that a paused run waits for, as the store in memory gives them."""
    waiting = DeferredToolRequests(
        calls=[m.ToolCallPart("pay", {"amount": 5}, "p1")],
        approvals=[m.ToolCallPart("book", '{"day":', "p2")],
        metadata={"p2": {"by": ["boss", None, 1.5]}},
    )
    usage = RunUsage(requests=2, tool_calls=1, input_tokens=7, details={"reasoning_tokens": 3})
    found = []
    for conversations in (RefoldConversationStore(store), InMemoryConversationStore()):
        own = Conversation(conversation_id="1", usage=usage, deferred_tool_requests=waiting)
        run(conversations.save(own, scope="mine"))
        found.append(run(conversations.read_record("1")))
    mine, theirs = (dataclasses.replace(one, revision="", updated_at=AT) for one in found)
    assert mine == theirs


def test_a_message_larger_than_an_event_is_kept(store: refold.Store) -> None:
    """A picture of 9 MB goes into pieces; its words are told."""
    picture = m.BinaryImage(bytes(range(256)) * 36_000, media_type="image/png")
    message = m.ModelRequest([m.UserPromptPart(["See:", picture])])
    run(RefoldConversationStore(store).save(Conversation(conversation_id="1", messages=[message])))
    assert run(RefoldConversationStore(store).load("1")).messages == [message]
    (turn,) = store.fold("conversation-1", Folded).state.transcript
    assert turn.text == "See:"


def test_what_could_not_be_loaded_again_is_refused(store: refold.Store) -> None:
    """As an answer of a tool that nests deeper than pydantic reads: nothing of the save is kept."""
    conversations = RefoldConversationStore(store)
    deep: Any = []
    for _ in range(250):
        deep = [deep]
    told: list[Any] = [m.ModelRequest([m.ToolReturnPart("look", deep, "c1")])]
    with pytest.raises(InvalidEvent, match="recursion limit"):
        run(conversations.save(Conversation(conversation_id="1", messages=told)))
    assert list(store.streams()) == []
    with pytest.raises(InvalidEvent, match="cannot be read again"):
        verbatim.readable("[" * 100_000)


@pytest.mark.parametrize("odd", ["half \ud83d of a character", object()], ids=["half", "object"])
def test_what_has_no_json_is_refused(store: refold.Store, odd: Any) -> None:
    """Nothing of the save is kept; pydantic-ai itself cannot write it down either."""
    conversations = RefoldConversationStore(store)
    told: list[Any] = [m.ModelRequest.user_text_prompt("Hi"), m.ModelResponse([m.TextPart("x")])]
    told[1] = m.ModelRequest([m.ToolReturnPart("look", odd, "c1")])
    with pytest.raises(InvalidEvent, match="JSON"):
        run(conversations.save(Conversation(conversation_id="1", messages=told)))
    assert run(conversations.load("1")) is None
    assert list(store.streams()) == []
