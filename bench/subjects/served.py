"""`refold serve`: what an append by HTTP takes, beside the same store called directly."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from asyncio import StreamReader, StreamWriter
from pathlib import Path
from time import monotonic, process_time
from typing import Any, Final

import refold
from bench.subject import serve
from bench.subjects.refold import Refold

CALLERS: Final = 64
EVENT: Final = {"type": "user.utterance", "data": {"text": "A table for two at eight, please."}}
_TICK_S: Final = 1 / os.sysconf("SC_CLK_TCK")


class Served(Refold):
    """One event an append, each caller to a stream of its own, durable when it is answered."""

    def by_http(self, *, seconds: float) -> dict[str, Any]:
        """Processor seconds of the server for an append; callers keep their connections."""
        command = [sys.executable, "-m", "refold", "serve", "--db", str(self.folder / "served.db")]
        command += ["--port", "0"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
            try:
                assert server.stdout is not None
                port = int(server.stdout.readline().rpartition(":")[2].strip(" /\n"))
                asyncio.run(_called(port, 0.2))  # What is imported and made once.
                before, began = _spent_s(server.pid), monotonic()
                count = asyncio.run(_called(port, seconds))
                took_s, spent_s = monotonic() - began, _spent_s(server.pid) - before
            finally:
                server.terminate()
        return {"value": spent_s / count, "also": f"{count / took_s:,.0f} appends/s"}

    def directly(self, *, seconds: float) -> dict[str, Any]:
        """The same by as many tasks of one process, without HTTP."""
        return asyncio.run(_direct(self.folder / "direct.db", seconds))


async def _direct(path: Path, seconds: float) -> dict[str, Any]:
    async with refold.open_async(path) as store:

        async def work(lane: int) -> int:
            count = 0
            while monotonic() < until:
                await store.append(f"call-{lane}", [refold.Event(**EVENT)])
                count += 1
            return count

        started, began = process_time(), monotonic()
        until = began + seconds
        count = sum(await asyncio.gather(*map(work, range(CALLERS))))
        spent_s, took_s = process_time() - started, monotonic() - began
    return {"value": spent_s / count, "also": f"{count / took_s:,.0f} appends/s"}


async def _called(port: int, seconds: float) -> int:
    """How many appends so many callers have had answered."""
    lines = [await asyncio.open_connection("127.0.0.1", port) for _ in range(CALLERS)]
    until = monotonic() + seconds
    work = (_append(*line, lane, until) for lane, line in enumerate(lines))
    count = sum(await asyncio.gather(*work))
    for _, writer in lines:
        writer.close()
    return count


async def _append(reader: StreamReader, writer: StreamWriter, lane: int, until: float) -> int:
    body = json.dumps({"events": [EVENT]}).encode()
    head = f"POST /v1/streams/call-{lane}/events HTTP/1.1\r\nhost: localhost\r\n"
    head += f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    count = 0
    while monotonic() < until:
        writer.write(head.encode() + body)
        answer = (await reader.readuntil(b"\r\n\r\n")).lower()
        assert answer.startswith(b"http/1.1 201"), answer
        await reader.readexactly(int(answer.partition(b"content-length: ")[2].split()[0]))
        count += 1
    return count


def _spent_s(pid: int) -> float:
    """Processor seconds that a process has used, all of its threads."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    return (int(fields[11]) + int(fields[12])) * _TICK_S


if __name__ == "__main__":
    serve(Served)
