"""Run in a process of its own: what is tried while nothing outside may be reached, and what came.

The first argument is the model's address, the second another that listens, the third what to do.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import socket
import subprocess
import sys
import threading
import urllib.request
from collections import Counter
from typing import Any
from urllib.parse import urlsplit

SEEN: Counter[str] = Counter()


def count(event: str, args: tuple[Any, ...]) -> None:
    """Count the connections of the process, before anything else hears of them."""
    if event == "socket.connect":
        SEEN[str(args[1])] += 1


def start_anew() -> None:
    """A process that knows nothing of the guard of this one."""
    multiprocessing.get_context("spawn").Process(target=print).start()


def tries(url: str) -> dict[str, Any]:
    """Ways to reach a server or to start a program, by name."""
    parts = urlsplit(url)
    place: Any = (parts.hostname, parts.port)
    return {
        "connect": lambda: socket.create_connection(place),
        "look up": lambda: socket.getaddrinfo("example.invalid", 80),
        "datagram": lambda: socket.socket(type=socket.SOCK_DGRAM).sendto(b"x", place),
        "unix": lambda: socket.socket(socket.AF_UNIX).connect("/tmp/none.sock"),
        "urllib": lambda: urllib.request.urlopen(url),
        "program": lambda: subprocess.run(["true"], check=True),
        "shell": lambda: os.system("true"),
        "process": start_anew,
    }


def main(model: str, other: str) -> None:
    """Try everything, and print what was refused, what the guard tells, and what was counted."""
    from refold.errors import OutsideRefused
    from refold.freerun.outside import closed_off, let_out

    sys.addaudithook(count)
    refused = {}
    with closed_off([model]) as outside:
        urllib.request.urlopen(model).read()
        for name, attempt in tries(other).items():
            try:
                attempt()
            except OutsideRefused as error:
                refused[name] = error.where
            except OSError as error:
                refused[name] = repr(error)
        thread = threading.Thread(target=lambda: refused.update(thread=_refused(other)))
        thread.start()
        thread.join()
        with let_out("look"):
            urllib.request.urlopen(other).read()
    urllib.request.urlopen(other).read()
    told = outside.told("run-1")
    print(json.dumps({
        "refused": refused, "seen": SEEN, "connections": told.connections, "live": told.live,
        "allowed": told.allowed, "told": [[one.what, one.to, one.times] for one in told.refused],
    }))  # fmt: skip


def _refused(url: str) -> str:
    try:
        urllib.request.urlopen(url)
    except Exception as error:
        return type(error).__name__
    return "came through"


if __name__ == "__main__":
    main(*sys.argv[1:])
