"""Tool calls through the clients of the `mcp` package, against its own server."""

from __future__ import annotations

import asyncio
import json
import socket
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import mcp
import pytest
import uvicorn
from mcp.client.stdio import stdio_client
from mcp.client.streamable_http import streamable_http_client

import refold
from refold import mcp as recorded_mcp
from refold import recording
from refold.conversation import Conversation, ToolCall
from refold.conversation.events import sha256_of
from refold.conversation.state import ToolUse
from refold.errors import UsageError
from refold.recording import declared
from tests.mcp.shop import made

SHOP = mcp.StdioServerParameters(
    command=sys.executable, args=[str(Path(__file__).with_name("shop.py"))]
)


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What is declared here is forgotten."""
    monkeypatch.setattr(declared, "_declared", {})
    yield


@asynccontextmanager
async def over_stdio() -> AsyncIterator[mcp.ClientSession]:
    """A session with a server that is a process of its own."""
    async with stdio_client(SHOP) as streams, mcp.ClientSession(*streams) as session:
        await session.initialize()
        yield session


@asynccontextmanager
async def served() -> AsyncIterator[str]:
    """The address of a server over streamable HTTP."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        config = uvicorn.Config(made().streamable_http_app(), log_level="warning")
        server = uvicorn.Server(config)
        task = asyncio.create_task(server.serve([listening]))
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}/mcp"
        finally:
            server.should_exit = True
            await task


@asynccontextmanager
async def over_http() -> AsyncIterator[mcp.ClientSession]:
    """A session over streamable HTTP."""
    async with (
        served() as url,
        streamable_http_client(url) as streams,
        mcp.ClientSession(*streams[:2]) as session,
    ):
        await session.initialize()
        yield session


@asynccontextmanager
async def by_client() -> AsyncIterator[mcp.Client]:
    """The newer client, which holds a session."""
    async with served() as url, mcp.Client(url) as client:
        yield client


SESSIONS = [pytest.param(one, id=one.__name__) for one in (over_stdio, over_http, by_client)]


async def uses(store: refold.AsyncStore) -> list[ToolUse]:
    return (await store.fold("call-1", Conversation)).state.tool_calls


def answer(use: ToolUse) -> tuple[Any, bool]:
    assert use.answer is not None and use.answer.event.latency_ms is not None
    return use.answer.event.result, use.answer.event.is_error


@pytest.mark.parametrize("connect", SESSIONS)
def test_calls_are_recorded_with_server_schema_and_hints(connect: Any) -> None:
    """Over each transport: results, errors of tools, structured content, images, a time-out."""

    async def talk() -> None:
        async with refold.open_async("memory:") as store:
            async with connect() as session:
                assert recorded_mcp.recorded(session) is session
                async with recording.record_async(store, "call-1"):
                    got = await session.call_tool("lookup", {"order": "A-1"})
                    assert got.structured_content == {"total_cents": 900, "items": ["lamp"]}
                    await session.call_tool("refund", {"order": "A-1", "cents": 2_000})
                    await session.call_tool("label", {"order": "A-1"})
                    await session.call_tool("picture")
                    with pytest.raises(mcp.MCPError):
                        await session.call_tool("wait", {"seconds": 9}, read_timeout_seconds=0.2)
                listed = {tool.name: tool for tool in (await session.list_tools()).tools}
            lookup, refund, label, picture, wait = await uses(store)
            result, is_error = answer(lookup)
            assert (result["structuredContent"], is_error) == (got.structured_content, False)
            assert [json.loads(one["text"]) for one in result["content"]] == [
                got.structured_content
            ]
            (said,), is_error = answer(refund)
            assert (said["type"], is_error, "refund" in said["text"]) == ("text", True, True)
            assert answer(label)[0]["content"] == [{"type": "text", "text": "labelled A-1"}]
            assert answer(picture) == (
                [{"type": "image", "data": "iVBORy1pc2g=", "mimeType": "image/png"}], False
            )  # fmt: skip
            assert answer(wait)[1] and "timed out" in answer(wait)[0].lower()
            calls = [use.event for use in (lookup, refund, label, picture, wait)]
            effects = ["read", "irreversible", "write", "unknown", "unknown"]
            assert [call.effect for call in calls] == effects
            hashes = [sha256_of(listed[call.name].input_schema) for call in calls]
            assert [call.schema_hash for call in calls] == hashes
            told = [e.metadata async for e in store.read("call-1") if e.type.startswith("tool.")]
            assert all(each["mcp"]["server"] == "shop" for each in told)
            assert told[0]["mcp"] == {"server": "shop", "version": "1.2", "readOnlyHint": True}
            assert told[3]["mcp"] == {
                "server": "shop", "version": "1.2", "readOnlyHint": False,
                "destructiveHint": True, "idempotentHint": False,
            }  # fmt: skip

    asyncio.run(talk())


def test_what_ends_a_call_otherwise_is_its_error() -> None:
    """An error of the protocol, a cancelled task, a connection that is gone."""

    async def talk() -> None:
        async with refold.open_async("memory:") as store:
            async with recording.record_async(store, "call-1"):
                async with over_stdio() as session:
                    recorded_mcp.recorded(session)
                    with pytest.raises(mcp.MCPError):
                        await session.call_tool("broken")
                    task = asyncio.ensure_future(session.call_tool("wait", {"seconds": 9}))
                    while len(await uses(store)) < 2:
                        await asyncio.sleep(0.02)
                    task.cancel()
                    with pytest.raises(asyncio.CancelledError):
                        await task
                with pytest.raises(Exception) as gone:
                    await session.call_tool("picture")
            wrong, cancelled, after = await uses(store)
            assert answer(wrong) == ("MCPError: the shop is on fire", True)
            assert answer(cancelled) == ("CancelledError", True)
            assert answer(after)[1] and answer(after)[0].startswith(type(gone.value).__name__)

    asyncio.run(talk())


def test_a_call_is_that_of_the_model_and_the_callers_word_goes_first() -> None:
    """By the name that the model knows; also of calls that nobody made."""

    async def talk() -> None:
        async with refold.open_async("memory:") as store:
            async with by_client() as client, recording.record_async(store, "call-1") as session:
                recorded_mcp.recorded(client, prefix="shop_", effects={"lookup": "write"})
                recorded_mcp.recorded(client)  # Again: it is recorded already.
                await client.list_tools()
                asked = [
                    ToolCall("c1", "shop_lookup", '{"order": "A-1"}'),
                    ToolCall("c2", "shop_refund", '{"order": "A-1"}'),
                ]
                await session.model_answered(tool_calls=asked)
                await client.call_tool("lookup", {"order": "A-1"})
            lookup, refund = await uses(store)
            assert (lookup.event.call_id, lookup.event.effect) == ("c1", "write")
            assert answer(lookup)[0]["structuredContent"]["total_cents"] == 900
            assert (refund.answer, refund.event.effect) == (None, "irreversible")

    asyncio.run(talk())


def test_recording_is_in_no_ones_way() -> None:
    """A server whose list fails, and no conversation: the call is made all the same."""

    async def talk() -> None:
        async with by_client() as client:

            async def fails(*args: Any, **named: Any) -> Any:
                raise ConnectionError("no list")

            client.session.list_tools = fails  # type: ignore[method-assign]
            recorded_mcp.recorded(client)
            answered = await client.call_tool("refund", {"order": "A-1", "cents": 2_000})
            assert answered.is_error

    asyncio.run(talk())


def test_an_answer_that_cannot_be_read_is_the_callers_all_the_same() -> None:
    """A list and an answer of another shape, a schema that is no JSON: nothing fails."""

    async def talk() -> None:
        async with refold.open_async("memory:") as store:
            async with by_client() as client, recording.record_async(store, "call-1"):
                (first, *_) = (await client.list_tools()).tools
                shapes: list[Any] = [[], mcp.types.ListToolsResult(tools=[first])]
                first.input_schema = {"of": object()}

                async def list_tools(**named: Any) -> Any:
                    return shapes.pop(0)

                async def call_tool(name: str, arguments: Any) -> Any:
                    return ["ran", name]

                client.list_tools, client.call_tool = list_tools, call_tool  # type: ignore[method-assign,assignment]
                recorded_mcp.recorded(client, effects={first.name: "read"})
                assert await client.list_tools() == []
                await client.list_tools()
                got: Any = await client.call_tool(first.name, {})
                assert got == ["ran", first.name]
            (use,) = await uses(store)
            assert answer(use) == (["ran", first.name], False)
            assert use.event.effect == "read"

    asyncio.run(talk())


def test_what_is_no_session_is_refused() -> None:
    """Also what only looks like one, and effects that there are not."""

    class Other:
        """A client of another package."""

        async def list_tools(self) -> list[Any]:
            return []

        async def call_tool(self, name: str) -> Any:
            return name

    for wrong in (object(), Other()):
        with pytest.raises(UsageError, match="ClientSession"):
            recorded_mcp.recorded(wrong)  # type: ignore[type-var]
    with pytest.raises(UsageError, match="harmless"):
        recorded_mcp.recorded(
            mcp.Client("http://127.0.0.1:9/mcp"),
            effects={"lookup": "harmless"},  # type: ignore[dict-item]
        )


def test_what_a_model_is_told_of_structured_content_is_no_other_result() -> None:
    """The text of an answer is what agents show; capture knows it for the same."""
    from refold.capture.conversations import told

    content = [{"type": "text", "text": '{"total": 9}'}]
    said = {"content": content, "structuredContent": {"total": 9}}
    assert told(said) == told(content) == told('{"total":9}') == told({"total": 9})
    assert told(said) != told("9")
