"""Recorded conversations to walk through, and agents that walk."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any

import refold
from refold.conversation.events import (
    AgentConfigured,
    AgentUtterance,
    Prompt,
    SessionEnded,
    StatePatched,
    Tool,
    ToolCall,
    ToolResult,
    UserUtterance,
)
from refold.conversation.governance import EffectCommitted
from refold.freerun import FreeRun
from refold.replay import Action, Call, ChatRequest, Variant, compare, replay
from refold.replay.actions import ConversationComparison
from refold.replay.compare import Comparison

VARIANT = Variant(label="free")
TOOLS = [
    Tool(name="look", parameters={"type": "object"}, effect="read"),
    Tool(name="price", parameters={"type": "object"}, effect="read"),
    Tool(name="book", parameters={"type": "object"}, effect="write"),
    Tool(name="note", parameters={"type": "object"}, effect="write"),
]
CONFIGURED = AgentConfigured(prompt=Prompt("Book rooms."), model="small", tools=TOOLS)


def called(number: int, name: str, arguments: str, message: str, result: str) -> list[object]:
    """A call of the agent and its result."""
    call = ToolCall(call_id=f"c{number}", name=name, arguments=arguments, message_id=message)
    return [call, ToolResult(call_id=f"c{number}", result=result, name=name)]


def record(store: refold.Store, stream: str = "call-1") -> str:
    """A booking: seven decisions in three turns, of which four call; money and state change."""
    store.append(
        stream,
        [
            CONFIGURED,
            UserUtterance(text="A room for Tuesday?"),
            *called(1, "look", '{"day": "Tue"}', "m1", '{"room": 4}'),
            *called(2, "price", '{"room": 4}', "m2", '{"usd": 80}'),
            AgentUtterance(text="Room 4 for 80. Shall I book it?", message_id="m3"),
            UserUtterance(text="Yes, that one."),
            *called(3, "book", '{"room": 4}', "m4", '{"booking": "B7"}'),
            EffectCommitted(effect="charge", reference="B7", amount=Decimal(80), currency="USD"),
            StatePatched(patch=[{"op": "add", "path": "/booking", "value": "B7"}]),
            *called(4, "note", '{"of": "B7"}', "m5", "ok"),
            AgentUtterance(text="Booked as B7.", message_id="m6"),
            UserUtterance(text="Thanks."),
            AgentUtterance(text="Bye.", message_id="m7"),
            SessionEnded(),
        ],
    )
    return stream


def calls(*wanted: tuple[str, str]) -> Action:
    """An answer that only calls."""
    return Action(calls=tuple(Call(n, a, f"x-{n}-{i}") for i, (n, a) in enumerate(wanted)))


def says(text: str) -> Action:
    """An answer in words."""
    return Action(text=text)


LOOK, PRICE = ("look", '{"day": "Tue"}'), ("price", '{"room": 4}')
BOOK, NOTE = ("book", '{"room": 4}'), ("note", '{"of": "B7"}')
AS_RECORDED = [
    *[calls(LOOK), calls(PRICE), says("Room 4 for 80. Shall I book it?")],
    *[calls(BOOK), calls(NOTE), says("Booked as B7."), says("Bye.")],
]


def scripted(script: Sequence[Action]) -> Callable[[ChatRequest], Action]:
    """An agent that gives these answers, one after the other, by how many it has given."""

    def answer(request: ChatRequest) -> Action:
        given: int = sum(message["role"] == "assistant" for message in request.messages)
        return script[min(given, len(script) - 1)]

    return answer


def walked(
    store: refold.Store, candidate: Any, *streams: str, mode: FreeRun | None = None, **options: Any
) -> Comparison:
    """A free run compared with its record."""
    free = mode or FreeRun()
    those = streams or ("call-1",)
    said = replay(store, those, VARIANT, candidate, mode=free, **options)
    assert said.variant == free.stamped(VARIANT)
    return compare(store, those, said.variant)


def one(comparison: Comparison) -> ConversationComparison:
    """The only conversation of a comparison."""
    (found,) = comparison.conversations
    return found
