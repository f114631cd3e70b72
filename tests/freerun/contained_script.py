"""Run in a process of its own: an agent's own code goes on freely, and tries to get out.

The arguments are the store's address and the model's. What is printed is what the process did by
the interpreter's own account, beside what the plan's last event says.
"""

from __future__ import annotations

import json
import os
import platform
import sys
import urllib.request
from collections import Counter
from contextlib import suppress
from typing import Any

import openai

import refold
from refold.freerun import FreeRun, LiveRead, ToolPolicies
from refold.freerun.own_code import OwnCode
from refold.replay import Variant, branch_name, compare, replay

SEEN: Counter[str] = Counter()
STARTED: list[str] = []
AWAY = "http://127.0.0.1:9/"


def count(event: str, args: tuple[Any, ...]) -> None:
    """Count every connection and program of the process, before anything is refused."""
    if event == "socket.connect":
        SEEN[f"{args[1][0]}:{args[1][1]}" if isinstance(args[1], tuple) else str(args[1])] += 1
    elif event in ("subprocess.Popen", "os.system", "os.posix_spawn"):
        STARTED.append(event)


@refold.tool(effect="read")
def look(day: str) -> str:
    """A tool that would go out; it never runs."""
    return str(urllib.request.urlopen(AWAY).read())


@refold.tool(effect="write")
def book(room: int) -> str:
    """Another."""
    return str(os.system("true"))


def live(**asked: Any) -> str:
    """A read that does go out, by choice."""
    with suppress(OSError):
        urllib.request.urlopen(AWAY)
    return f"live {asked}"


def desk(day: str = "Tue") -> Any:
    """An agent that looks at a day first, over the SDK of OpenAI."""
    client = openai.OpenAI(base_url=AWAY, api_key="none", max_retries=0)
    talk: list[Any] = [{"role": "system", "content": f"Look at {day}."}]

    def turn(said: str) -> None:
        talk.append({"role": "user", "content": said})
        while True:
            asked: Any = {"model": "own-model", "messages": talk}
            answer = client.chat.completions.create(**asked).choices[0].message
            talk.append(answer.model_dump(exclude_none=True))
            for call in answer.tool_calls or ():
                tool: Any = {"look": look, "book": book}[call.function.name]
                told = tool(**json.loads(call.function.arguments))
                talk.append({"role": "tool", "tool_call_id": call.id, "content": told})
            if not answer.tool_calls:
                return

    return turn


def gossip() -> Any:
    """The same, which tells somebody about each turn first, and does not mind when it cannot."""
    turn = desk()

    def telling(said: str) -> None:
        with suppress(Exception):
            urllib.request.urlopen(AWAY)
        turn(said)

    return telling


def main(address: str, model: str) -> None:
    """Replay one conversation with each agent, and print what was done."""
    # What Python asks a program for, once.
    platform.processor()
    sys.addaudithook(count)
    tools = ToolPolicies(effects={"look": "read"}, otherwise={"look": LiveRead(live)})
    told: dict[str, Any] = {}
    with refold.open(address) as store:
        for name, begin, policies in (
            ("desk", desk, None), ("gossip", gossip, None), ("live", lambda: desk("Wed"), tools),
        ):  # fmt: skip
            SEEN.clear()
            variant = Variant(label=name)
            mode, code = FreeRun(tools=policies), OwnCode(begin, model)
            said = replay(store, ["call-1"], variant, code, mode=mode, workers=1)
            (course,) = compare(store, ["call-1"], said.variant).conversations
            plan = list(store.read(f"replay~plan-{said.variant_id}"))
            branch = branch_name("call-1", said.variant)
            told[name] = {
                "failed": said.failed,
                "seen": dict(SEEN),
                "plan": [event.type for event in plan],
                "contained": plan[-1].data,
                "sources": [
                    event.metadata["replay"]["source"]
                    for event in store.read(branch)
                    if event.type == "tool.result" and event.stream == branch
                ],
                "unasked": [
                    own
                    for event in store.read(branch)
                    if event.type == "replay.finished"
                    for own in event.data.get("unasked", [])
                ],
                "parted": [
                    event.data["reason"]
                    for event in store.read(branch)
                    if event.type == "replay.diverged"
                ],
                "levels": [one.level for one in course.decisions],
            }
    print(json.dumps({**told, "started": STARTED}))


if __name__ == "__main__":
    main(*sys.argv[1:])
