"""The frameworks that agents are built with, through capture, against a server of the protocols.

Each asks, has a tool called (or hands over first), and answers; whole and streamed.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import agents
import anthropic
import httpx
import openai
import pydantic_ai
import pytest
from langchain_anthropic import ChatAnthropic
from langchain_core.messages import HumanMessage, ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from pydantic import SecretStr
from pydantic_ai.models.anthropic import AnthropicModel
from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel
from pydantic_ai.providers.anthropic import AnthropicProvider
from pydantic_ai.providers.openai import OpenAIProvider

import refold
from refold import capture
from refold.capture.exact import answer_of, check_exact, request_of
from refold.conversation import Conversation
from tests.capture.model_server import ModelServer, Reply
from tests.capture.speakers.chat import ChatSpeaker
from tests.capture.speakers.drawing import Draw
from tests.capture.speakers.messages import MessagesSpeaker
from tests.capture.speakers.responses import ResponsesSpeaker
from tests.capture.speakers.said import Came, Speaker

Body = dict[str, Any]
Call = tuple[str, str, Body]
"""A tool's call: its id, the name, the arguments."""

LOOK: Call = ("call_1", "look", {"day": "Friday"})
OVER: Call = ("call_0", "transfer_to_clerk", {})
KEY = SecretStr("sk-x")
ALONE = {"connection": "close"}
"""So that no connection outlives the event loop that made it."""
ASKED = "When, on Friday?"


# -- what the server says -------------------------------------------------------------------------


def _chat(said: str | Call) -> Body:
    message: Body = {"role": "assistant", "content": said, "refusal": None}
    reason = "stop"
    if not isinstance(said, str):
        own, name, given = said
        function = {"name": name, "arguments": json.dumps(given)}
        items = [{"id": own, "type": "function", "function": function}]
        message |= {"content": None, "tool_calls": items}
        reason = "tool_calls"
    choice = {"index": 0, "message": message, "finish_reason": reason}
    usage = {"prompt_tokens": 7, "completion_tokens": 5, "total_tokens": 12}
    head = {"id": "c1", "object": "chat.completion", "created": 1, "model": "m-1"}
    return {**head, "choices": [choice], "usage": usage}


def _responses(said: str | Call) -> Body:
    if isinstance(said, str):
        part = {"type": "output_text", "text": said, "annotations": [], "logprobs": []}
        item: Body = {"type": "message", "id": "msg_1", "role": "assistant", "content": [part]}
    else:
        own, name, given = said
        item = {"type": "function_call", "id": f"fc_{own}", "call_id": own, "name": name}
        item["arguments"] = json.dumps(given)
    counts: Body = {"input_tokens": 7, "output_tokens": 5, "total_tokens": 12}
    counts |= {"input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0}}
    counts |= {"output_tokens_details": {"reasoning_tokens": 0}}
    head = {"id": f"resp_{len(str(said))}", "object": "response", "created_at": 1, "model": "m-1"}
    head |= {"status": "completed", "error": None, "incomplete_details": None, "tools": []}
    head |= {"parallel_tool_calls": True, "tool_choice": "auto", "metadata": {}}
    return {**head, "output": [{**item, "status": "completed"}], "usage": counts}


def _messages(said: str | Call) -> Body:
    block: Body = {"type": "text", "text": said}
    if not isinstance(said, str):
        own, name, given = said
        block = {"type": "tool_use", "id": own, "name": name, "input": given}
    reason = "end_turn" if isinstance(said, str) else "tool_use"
    head: Body = {"id": "msg_1", "type": "message", "role": "assistant", "model": "m-1"}
    head |= {"content": [block], "stop_reason": reason, "stop_sequence": None}
    return {**head, "usage": {"input_tokens": 7, "output_tokens": 5}}


BODIES: dict[type[Speaker], Callable[[str | Call], Body]] = {
    ChatSpeaker: _chat,
    ResponsesSpeaker: _responses,
    MessagesSpeaker: _messages,
}


def reply(speaker: type[Speaker], said: str | Call, *, streams: bool) -> Reply:
    """An answer of an API, whole or streamed."""
    body = BODIES[speaker](said)
    if not streams:
        return Reply(json.dumps(body).encode(), headers=ALONE)
    frames = speaker().frames(Draw(1), body, Came())
    lines = [
        f"event: {kind}\n" * bool(kind)
        + f"data: {data if isinstance(data, str) else json.dumps(data)}\n\n"
        for kind, data in frames
    ]
    return Reply("".join(lines).encode(), "text/event-stream", headers=ALONE, size=999)


# -- the frameworks -------------------------------------------------------------------------------


class Clients(NamedTuple):
    """The HTTP clients that a framework is given; None: it makes its own."""

    blocking: Any = None
    on_loop: Any = None


def look(day: str) -> str:
    """Look up the free times of a day."""
    return f"09:00 on {day}"


def _openai_agents(url: str, clients: Clients, streams: bool, kind: type[Speaker]) -> str:
    made = openai.AsyncOpenAI(
        api_key="sk-x", base_url=f"{url}/v1", max_retries=0, http_client=clients.on_loop
    )
    model: Any = agents.OpenAIChatCompletionsModel(model="m-1", openai_client=made)
    if kind is ResponsesSpeaker:
        model = agents.OpenAIResponsesModel(model="m-1", openai_client=made)
    clerk = agents.Agent(
        name="Clerk", model=model, instructions="Find a time.", tools=[agents.function_tool(look)]
    )
    front = agents.Agent(
        name="Front",
        model=model,
        instructions="Hand over.",
        handoffs=[agents.handoff(clerk, tool_name_override=OVER[1])],
    )
    quiet = agents.RunConfig(tracing_disabled=True)

    async def run() -> str:
        if not streams:
            return str((await agents.Runner.run(front, ASKED, run_config=quiet)).final_output)
        going = agents.Runner.run_streamed(front, ASKED, run_config=quiet)
        async for _ in going.stream_events():
            pass
        return str(going.final_output)

    return asyncio.run(run())


def _pydantic_ai(url: str, clients: Clients, streams: bool, kind: type[Speaker]) -> str:
    model: Any
    if kind is MessagesSpeaker:
        own = anthropic.AsyncAnthropic(
            api_key="sk-x", base_url=url, max_retries=0, http_client=clients.on_loop
        )
        model = AnthropicModel("m-1", provider=AnthropicProvider(anthropic_client=own))
    else:
        made = openai.AsyncOpenAI(
            api_key="sk-x", base_url=f"{url}/v1", max_retries=0, http_client=clients.on_loop
        )
        of = OpenAIChatModel if kind is ChatSpeaker else OpenAIResponsesModel
        model = of("m-1", provider=OpenAIProvider(openai_client=made))
    agent = pydantic_ai.Agent(model, instructions="Find a time.", tools=[look])

    async def run() -> str:
        if not streams:
            return str((await agent.run(ASKED)).output)
        async with agent.run_stream(ASKED) as going:
            return str(await going.get_output())

    return asyncio.run(run())


def _langchain(url: str, clients: Clients, streams: bool, kind: type[Speaker]) -> str:
    """Its models called by hand, as its graphs do."""
    looked = tool(look)
    if kind is MessagesSpeaker:
        model: Any = ChatAnthropic(
            model_name="m-1", base_url=url, api_key=KEY, max_retries=0, timeout=None, stop=None
        )
    else:
        model = ChatOpenAI(
            model="m-1",
            base_url=f"{url}/v1",
            api_key=KEY,
            max_retries=0,
            stream_usage=True,
            use_responses_api=kind is ResponsesSpeaker,
            http_client=clients.blocking,
            http_async_client=clients.on_loop,
        )
    model = model.bind_tools([looked])

    async def streamed(messages: list[Any]) -> Any:
        whole: Any = None
        async for chunk in model.astream(messages):
            whole = chunk if whole is None else whole + chunk
        return whole

    async def run() -> str:
        messages: list[Any] = [HumanMessage(ASKED)]
        messages.append(await streamed(messages) if streams else model.invoke(messages))
        (call,) = messages[-1].tool_calls
        messages.append(ToolMessage(looked.invoke(call["args"]), tool_call_id=call["id"]))
        answer = await streamed(messages) if streams else model.invoke(messages)
        return str(answer.text)

    return asyncio.run(run())


FRAMEWORKS = [
    ("openai-agents", _openai_agents, ChatSpeaker),
    ("openai-agents", _openai_agents, ResponsesSpeaker),
    ("pydantic-ai", _pydantic_ai, ChatSpeaker),
    ("pydantic-ai", _pydantic_ai, ResponsesSpeaker),
    ("pydantic-ai", _pydantic_ai, MessagesSpeaker),
    ("langchain", _langchain, ChatSpeaker),
    ("langchain", _langchain, ResponsesSpeaker),
    ("langchain", _langchain, MessagesSpeaker),
]
EACH = pytest.mark.parametrize(
    ("framework", "run", "kind"), FRAMEWORKS, ids=[f"{one[0]} {one[2].name}" for one in FRAMEWORKS]
)
STREAMS = pytest.mark.parametrize("streams", [False, True], ids=["whole", "streamed"])


@pytest.fixture
def store() -> Iterator[refold.Store]:
    with refold.open("memory:") as opened:
        yield opened


@pytest.fixture(params=["install", "client"])
def clients(request: pytest.FixtureRequest, store: refold.Store) -> Iterator[Clients]:
    """The clients of one client's capture; none where all of the process is captured."""
    if request.param == "client":
        yield Clients(capture.client(store), capture.async_client(store))
        return
    capture.install(store)
    yield Clients()
    capture.uninstall()


@EACH
@STREAMS
def test_what_a_framework_asks_is_one_conversation(
    server: ModelServer, store: refold.Store, clients: Clients,
    framework: str, run: Any, kind: type[Speaker], streams: bool,
) -> None:  # fmt: skip
    """To the byte, with the call of its tool, what that gave back, and each agent in its turn."""
    if kind is MessagesSpeaker and framework == "langchain" and clients.on_loop is not None:
        capture.install(store)  # It takes no client from outside.
    script: list[str | Call] = (
        [LOOK, "At nine."] if framework != "openai-agents" else [OVER, LOOK, "At nine."]
    )
    server.script = [reply(kind, said, streams=streams) for said in script]
    try:
        assert run(server.url, clients, streams, kind) == "At nine."
        assert capture.flush()
    finally:
        if clients.on_loop is not None:
            capture.uninstall()
    if clients.on_loop is None:  # Not any more.
        capture.uninstall()
        server.script = [reply(kind, said, streams=streams) for said in script]
        assert run(server.url, Clients(), streams, kind) == "At nine."
    (info,) = store.streams()
    asked = [one for one in store.read(info.stream) if one.type == "model.request"]
    kept = [request_of(store, info.stream, one.version) for one in asked]
    assert kept == [one.body for one in server.received[: len(script)]]
    assert [answer_of(store, info.stream, one.version) for one in asked] == server.sent[
        : len(script)
    ]
    assert [check.good for check in check_exact(store)] == [True]
    state = store.fold(info.stream, Conversation).state
    assert [one.text for one in state.transcript] == [ASKED, "At nine."]
    assert (state.open_calls, state.unmatched_results, state.model_failures) == ({}, [], [])
    looked = [one.event for one in state.tool_calls][-1]
    assert (looked.name, json.loads(looked.arguments)) == ("look", {"day": "Friday"})
    results = [one.event.result for one in store.read(info.stream) if one.type == "tool.result"]
    assert results[-1] == "09:00 on Friday"
    if framework == "openai-agents":
        said = [one.event for one in store.read(info.stream) if one.type == "agent.configured"]
        assert [one.prompt.text for one in said] == ["Hand over.", "Find a time."]
        assert [[each.name for each in one.tools] for one in said] == [[OVER[1]], ["look"]]


def test_conversations_at_once_are_told_apart(server: ModelServer, store: refold.Store) -> None:
    """Three people, each with an agent of openai-agents on one event loop and one client."""
    client = openai.AsyncOpenAI(
        api_key="sk-x", base_url=f"{server.url}/v1", http_client=capture.async_client(store)
    )
    model = agents.OpenAIResponsesModel(model="m-1", openai_client=client)
    tools: list[Any] = [agents.function_tool(look)]
    agent = agents.Agent(name="Clerk", model=model, instructions="Find a time.", tools=tools)
    server.script = [reply(ResponsesSpeaker, said, streams=False) for said in [LOOK] * 3]
    server.script += [reply(ResponsesSpeaker, "At nine.", streams=False)]
    names = ["Ann", "Ben", "Cem"]
    said = [f"{name} here. When, on Friday?" for name in names]
    quiet = agents.RunConfig(tracing_disabled=True)

    async def run() -> None:
        meet = asyncio.Barrier(len(said))

        async def talk(words: str) -> None:
            await meet.wait()
            await agents.Runner.run(agent, words, run_config=quiet)

        await asyncio.gather(*map(talk, said))

    asyncio.run(run())
    assert capture.flush()
    told = [store.fold(one.stream, Conversation).state.transcript for one in store.streams()]
    assert sorted(one[0].text for one in told) == said
    assert [[each.text for each in one[1:]] for one in told] == [["At nine."]] * 3


@pytest.mark.parametrize("streams", [False, True], ids=["whole", "streamed"])
def test_an_older_client_on_httpx_is_captured(
    server: ModelServer, store: refold.Store, streams: bool
) -> None:
    """As the SDKs are that still stand on it: blocking and on an event loop, both installed."""
    capture.install(store)
    server.script = [reply(ChatSpeaker, said, streams=streams) for said in (LOOK, "At nine.")]
    url = f"{server.url}/openai/v1/chat/completions"
    messages: list[Body] = [{"role": "user", "content": ASKED}]
    try:
        with httpx.Client() as client:
            client.post(url, json={"model": "m-1", "messages": messages, "stream": streams})
        messages.append(_chat(LOOK)["choices"][0]["message"])
        messages.append({"role": "tool", "tool_call_id": LOOK[0], "content": "09:00"})

        async def ask() -> None:
            async with (
                httpx.AsyncClient() as client,
                client.stream("POST", url, json={"model": "m-1", "messages": messages}) as answer,
            ):
                assert b"".join([one async for one in answer.aiter_raw()]) == server.sent[1]

        asyncio.run(ask())
        assert capture.flush()
    finally:
        capture.uninstall()
    (info,) = store.streams()
    asked = [one for one in store.read(info.stream) if one.type == "model.request"]
    kept = [request_of(store, info.stream, one.version) for one in asked]
    assert kept == [one.body for one in server.received]
    assert [answer_of(store, info.stream, one.version) for one in asked] == server.sent
    state = store.fold(info.stream, Conversation).state
    assert [one.text for one in state.transcript] == [ASKED, "At nine."]
