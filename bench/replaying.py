"""What a replay costs beside the bare HTTP client: processor time a decision, in one run.

A Go program serves chat completions that take 20 ms; it is asked 64 at a time, once by the bare
client and once by a replay of the same requests. It needs ``go``.
"""

from __future__ import annotations

import asyncio
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

import refold
from refold.conversation.events import AgentConfigured, AgentUtterance, Prompt, UserUtterance
from refold.replay import ChatEndpoint, Variant, decisions, replay
from refold.replay.request import RequestMaker

WORKERS = 64
PAUSE_MS = 20
TURNS = 13
WORDS = "I would like to change the flight that I booked last week, if that is possible at all. "


def decision_s(path: Path, conversations: int) -> tuple[float, float]:
    """Processor seconds a decision: of the bare client, and of a replay of the same right after."""
    with served() as url, refold.open(path) as store:
        streams = recorded(store, conversations, TURNS)
        count = conversations * TURNS
        bare_s = asked_bare(url, store, streams)
        began_s = time.process_time()
        endpoint = ChatEndpoint(url, model="m", api_key="")
        said = replay(store, streams, Variant(label="m"), endpoint, workers=WORKERS)
        took_s = time.process_time() - began_s
    assert said.answered == count, said
    return bare_s / count, took_s / count


def recorded(store: refold.Store, conversations: int, turns: int) -> list[str]:
    """Conversations of so many decisions."""
    opening = AgentConfigured(prompt=Prompt(WORDS * 20), model="m")
    for number in range(conversations):
        said = [(UserUtterance(WORDS), AgentUtterance(WORDS * 2)) for _ in range(turns)]
        store.append(f"call-{number}", [opening, *(event for pair in said for event in pair)])
    return [f"call-{number}" for number in range(conversations)]


def asked_bare(url: str, store: refold.Store, streams: list[str]) -> float:
    """Processor seconds of the client alone: the bodies are made beforehand."""
    bodies: list[bytes] = []
    for stream in streams:
        history = list(store.read(stream))
        maker = RequestMaker(history, [Variant(model="m")])
        bodies += [msgspec.json.encode(maker.at(one)[0].body()) for one in decisions(history)]
    return asyncio.run(_bare(f"{url}/chat/completions", bodies))


async def _bare(url: str, bodies: list[bytes]) -> float:
    import httpx2

    waiting = iter(bodies)
    headers = {"content-type": "application/json"}

    async def work(client: httpx2.AsyncClient) -> None:
        for body in waiting:
            answer = await client.post(url, content=body, headers=headers)
            answer.raise_for_status()

    limits = httpx2.Limits(max_connections=None)
    async with httpx2.AsyncClient(limits=limits, timeout=60) as client:
        began_s = time.process_time()
        await asyncio.gather(*(work(client) for _ in range(WORKERS)))
        return time.process_time() - began_s


@contextmanager
def served() -> Iterator[str]:
    """The base URL of the server, built where it was not yet."""
    source = Path(__file__).parent / "server" / "main.go"
    with tempfile.TemporaryDirectory() as folder:
        program = Path(folder) / "server"
        subprocess.run(["go", "build", "-o", program, source], check=True)
        with subprocess.Popen([program, str(PAUSE_MS)], stdout=subprocess.PIPE, text=True) as own:
            assert own.stdout is not None
            try:
                yield own.stdout.readline().strip()
            finally:
                own.terminate()
