"""A long conversation with a model as it goes over the wire: every request holds all of it again.

1,000 turns of a usual agent: 14 tools, a system prompt of 700 words with the clock in it. Standard
library only: a rival keeps the same in an environment of its own.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from typing import Any, NamedTuple

TOOLS = 14


class Turn(NamedTuple):
    """One call: the messages and the body that are sent, and the body that comes back."""

    messages: list[dict[str, str]]
    request: bytes
    answer: bytes


def turns(count: int, *, seed: int = 3) -> Iterator[Turn]:
    """The calls of one conversation; its messages are one list that grows."""
    chance = random.Random(seed)
    known = [f"w{n}" for n in range(3_000)]

    def text(words: int) -> str:
        return " ".join(chance.choice(known) for _ in range(words))

    tools = [_tool(n, text(20)) for n in range(TOOLS)]
    policy = text(700)
    messages: list[dict[str, str]] = [{}]
    for turn in range(count):
        clock = f"It is {turn // 60:02}:{turn % 60:02}."
        messages[0] = {"role": "system", "content": f"{clock} {policy}"}
        messages.append({"role": "user", "content": text(30)})
        request = {"messages": messages, "model": "m", "tools": tools, "temperature": 0.2}
        said = {"role": "assistant", "content": text(40)}
        choice = {"index": 0, "message": said, "finish_reason": "stop"}
        answer = {"id": f"r-{turn}", "model": "m", "choices": [choice]}
        yield Turn(messages, json.dumps(request).encode(), json.dumps(answer).encode())
        messages.append(said)


def _tool(number: int, description: str) -> dict[str, Any]:
    parameters = {"type": "object"}
    function = {"name": f"tool_{number}", "description": description, "parameters": parameters}
    return {"type": "function", "function": function}
