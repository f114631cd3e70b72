"""A chat completions server that fails at some requests in each of the ways that services have.

In a process of its own, so that neither its memory nor its work is that of who asks.
"""

from __future__ import annotations

import asyncio
import json
import multiprocessing
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from multiprocessing.connection import Connection
from typing import Final

FAULTS: Final = ("429", "500", "cut", "silent", "malformed")
"""Told to wait, out of order, half an answer, none at all, none that is JSON."""
SHARE: Final = 0.05
SILENT_S: Final = 60.0

_BUSY: Final = b"HTTP/1.1 429 Busy\r\nretry-after-ms: 5\r\ncontent-length: 2\r\n\r\n{}"
_BROKEN: Final = b"HTTP/1.1 500 Broken\r\ncontent-length: 2\r\n\r\n{}"
_MALFORMED: Final = b'HTTP/1.1 200 OK\r\ncontent-length: 12\r\n\r\n{"choices": '


def fault_of(number: int) -> str:
    """Which fault the first request of this number meets; "" for most, which are answered."""
    place = number / 2**64
    return FAULTS[int(place / SHARE * len(FAULTS))] if place < SHARE else ""


class FaultyServer:
    """What a test knows of the server: its address, and what it has done so far."""

    def __init__(self, url: str, pipe: Connection) -> None:
        self.url = url
        self._pipe = pipe

    def counts(self) -> Counter[str]:
        """Requests by what became of each: ``answered``, or a fault; ``different``: how many are.

        ``again`` counts those that were answered before.
        """
        self._pipe.send(None)
        counts: Counter[str] = self._pipe.recv()
        return counts


@contextmanager
def faulty() -> Iterator[FaultyServer]:
    """A server for a block."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(theirs,), daemon=True)
    process.start()
    try:
        yield FaultyServer(ours.recv(), ours)
    finally:
        process.kill()
        process.join()


def _serve(pipe: Connection) -> None:
    asyncio.run(_Serving(pipe).run())


class _Serving:
    def __init__(self, pipe: Connection) -> None:
        self._pipe = pipe
        self._counts: Counter[str] = Counter()
        self._seen: set[int] = set()
        self._answered: set[int] = set()

    async def run(self) -> None:
        server = await asyncio.start_server(self._talk, "127.0.0.1", 0, backlog=1_024)
        self._pipe.send(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1")
        asyncio.get_running_loop().add_reader(self._pipe.fileno(), self._tell)
        await server.serve_forever()

    def _tell(self) -> None:
        self._pipe.recv()
        self._pipe.send(Counter({**self._counts, "different": len(self._seen)}))

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])
                if not await self._answer(await reader.readexactly(length), writer):
                    break
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async def _answer(self, body: bytes, writer: asyncio.StreamWriter) -> bool:
        """Answer one request, or not; whether the connection can go on."""
        number = int.from_bytes(sha256(body).digest()[:8], "big")
        fault = "" if number in self._seen else fault_of(number)
        self._seen.add(number)
        self._counts[fault or "answered"] += 1
        match fault:
            case "silent":
                await asyncio.sleep(SILENT_S)
                return False
            case "429" | "500" | "malformed":
                writer.write({"429": _BUSY, "500": _BROKEN}.get(fault, _MALFORMED))
                return True
        content = _completion(body)
        head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
        if fault == "cut":
            writer.write(head % len(content) + content[: len(content) // 2])
            return False
        self._counts["again"] += number in self._answered
        self._answered.add(number)
        writer.write(head % len(content) + content)
        return True


def _completion(body: bytes) -> bytes:
    """An answer that says what it was asked last, so that it is told from every other."""
    asked = json.loads(body)
    message = {"role": "assistant", "content": f"To {asked['messages'][-1]['content']}"}
    choices = [{"index": 0, "message": message, "finish_reason": "stop"}]
    usage = {"prompt_tokens": len(body) // 4, "completion_tokens": 10, "total_tokens": 0}
    return json.dumps({"model": asked["model"], "choices": choices, "usage": usage}).encode()
