"""One agent, a desk that looks bookings up, as code of its own and in each framework.

What is asked is the code's own prompt and tool. The tool must never run.
"""

from __future__ import annotations

import json
import random
import time
import uuid
from typing import Any, TypedDict

import agents
import openai
import pydantic_ai
from langchain_core.messages import AnyMessage, SystemMessage
from langchain_core.tools import tool as langchain_tool
from langchain_openai import ChatOpenAI
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode, tools_condition
from pydantic import SecretStr
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.openai import OpenAIProvider

import refold

PROMPT = "You look bookings up."
NOWHERE = "http://127.0.0.1:9/v1"
"""Where nobody listens: an agent that was let out would fail."""
RAN: list[str] = []
"""The tools that ran."""
DESCRIBED = {"type": "function", "function": {"name": "lookup", "parameters": {"type": "object"}}}


@refold.tool(effect="read")
def lookup(id: str, page: int = 1) -> dict[str, Any]:
    """Find a booking."""
    RAN.append(id)
    return {"gate": page}


class Desk(TypedDict):
    """What a function's desk keeps."""

    talk: list[Any]


def own_loop(*, is_streamed: bool = False) -> Any:
    """A loop as people write it, over the SDK of OpenAI."""
    client = openai.OpenAI(base_url=NOWHERE, api_key="none", max_retries=0)
    desk: Desk = {"talk": [{"role": "system", "content": PROMPT}]}

    def ask() -> Any:
        asked: Any = {"model": "own-model", "messages": desk["talk"], "tools": [DESCRIBED]}
        if not is_streamed:
            return client.chat.completions.create(**asked).choices[0].message
        with client.chat.completions.stream(**asked) as stream:
            return stream.get_final_completion().choices[0].message

    def turn(said: str) -> None:
        desk["talk"].append({"role": "user", "content": said})
        while calls := (message := ask()).tool_calls:
            desk["talk"].append(message.model_dump(exclude_none=True))
            for call in calls:
                found = lookup(**json.loads(call.function.arguments))
                told = {"role": "tool", "tool_call_id": call.id, "content": json.dumps(found)}
                desk["talk"].append(told)
        desk["talk"].append({"role": "assistant", "content": message.content})

    return turn


def streamed_loop() -> Any:
    """The same, its answers in pieces."""
    return own_loop(is_streamed=True)


def graph() -> Any:
    """A graph of LangGraph with a node of tools."""

    @langchain_tool
    def lookup(id: str) -> str:
        """Find a booking."""
        RAN.append(id)
        return id

    key = SecretStr("none")
    model = ChatOpenAI(model="own-model", base_url=NOWHERE, api_key=key, max_retries=0)
    able = model.bind_tools([lookup])

    def answer(state: MessagesState) -> dict[str, list[AnyMessage]]:
        return {"messages": [able.invoke([SystemMessage(PROMPT), *state["messages"]])]}

    builder = StateGraph(MessagesState)
    builder.add_node("answer", answer)
    builder.add_node("tools", ToolNode([lookup]))
    builder.add_edge(START, "answer")
    builder.add_conditional_edges("answer", tools_condition)
    builder.add_edge("tools", "answer")
    return builder.compile()


def sdk_agent(*, by_chat: bool = False) -> Any:
    """An agent of the OpenAI Agents SDK, which asks by the Responses API by itself."""

    @agents.function_tool
    def lookup(id: str) -> str:
        """Find a booking."""
        RAN.append(id)
        return id

    client = openai.AsyncOpenAI(base_url=NOWHERE, api_key="none", max_retries=0)
    model: Any = agents.OpenAIChatCompletionsModel if by_chat else agents.OpenAIResponsesModel
    made = model("own-model", client)
    return agents.Agent(name="Desk", instructions=PROMPT, tools=[lookup], model=made)


def typed_agent() -> Any:
    """An agent of pydantic-ai."""
    provider = OpenAIProvider(
        openai_client=openai.AsyncOpenAI(base_url=NOWHERE, api_key="none", max_retries=0)
    )
    agent = pydantic_ai.Agent(OpenAIChatModel("own-model", provider=provider), instructions=PROMPT)

    @agent.tool_plain
    def lookup(id: str) -> str:
        """Find a booking."""
        RAN.append(id)
        return id

    return agent


AGENTS: dict[str, Any] = {
    "a function": lambda: own_loop,
    "a function, streamed": lambda: streamed_loop,
    "LangGraph": graph,
    "OpenAI Agents SDK": sdk_agent,
    "OpenAI Agents SDK, chat": lambda: sdk_agent(by_chat=True),
    "pydantic-ai": typed_agent,
}


def dated() -> Any:
    """An agent whose question tells the time, chance and an identifier."""

    def turn(said: str) -> None:
        told = f"{time.time()} {time.time_ns()} {random.random()} {uuid.uuid4()}"
        client = openai.OpenAI(base_url=NOWHERE, api_key="none", max_retries=0)
        messages: Any = [{"role": "user", "content": f"{said} {told}"}]
        client.chat.completions.create(model="own-model", messages=messages)

    return turn
