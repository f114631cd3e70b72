"""What a local server answers by the Responses API, whole and streamed, and agents that ask it."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from agents import Agent, OpenAIResponsesModel, RunConfig, function_tool
from openai import AsyncOpenAI

from tests.capture.model_server import ModelServer, Reply

QUIET = RunConfig(tracing_disabled=True)
Item = Any


def words(text: str) -> Item:
    """A message of the agent."""
    parts = [{"type": "output_text", "text": text, "annotations": [], "logprobs": []}]
    head = {"type": "message", "id": f"msg_{text[:4]}", "role": "assistant"}
    return {**head, "status": "completed", "content": parts}


def thought() -> Item:
    """What a model thought, encrypted."""
    return {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "eA=="}


def call(name: str, arguments: str = "{}", call_id: str = "c1") -> Item:
    """A call of a tool."""
    head = {"type": "function_call", "id": f"fc_{call_id}", "call_id": call_id}
    return {**head, "name": name, "arguments": arguments, "status": "completed"}


def reply(*output: Item, streamed: bool = False) -> Reply:
    """An answer with these items."""
    body = {
        "id": "resp_1",
        "object": "response",
        "created_at": 1,
        "status": "completed",
        "model": "m-1",
        "output": [*output],
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
        "usage": {
            "input_tokens": 7,
            "output_tokens": 5,
            "total_tokens": 12,
            "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
            "output_tokens_details": {"reasoning_tokens": 0},
        },
    }
    if not streamed:
        return Reply(json.dumps(body).encode())
    begun = {**body, "status": "in_progress", "output": []}
    frames: list[Item] = [{"type": "response.created", "response": begun}]
    for index, item in enumerate(output):
        frames.append({"type": "response.output_item.added", "output_index": index, "item": item})
        frames.append({"type": "response.output_item.done", "output_index": index, "item": item})
    frames.append({"type": "response.completed", "response": body})
    told = [{**frame, "sequence_number": number} for number, frame in enumerate(frames)]
    lines = [f"event: {one['type']}\ndata: {json.dumps(one)}\n\n" for one in told]
    return Reply("".join(lines).encode(), "text/event-stream")


@function_tool
def look(day: str) -> str:
    """Which hours are free on a day."""
    return f"{day}: ten"


@asynccontextmanager
async def agents_of(server: ModelServer) -> AsyncIterator[Agent[None]]:
    """A clerk who hands over to a booker."""
    async with AsyncOpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as client:
        model = OpenAIResponsesModel("m-1", client)
        booker = Agent[None](name="Booker", model=model, instructions="Book.", tools=[look])
        yield Agent[None](name="Clerk", model=model, instructions="Greet.", handoffs=[booker])
