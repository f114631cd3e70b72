"""Run in a process of its own: what is tried while nothing outside may be reached, and what came.

The first argument is the model's address, the second another that listens, the third what to do.
"""

from __future__ import annotations

import asyncio
import ctypes
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


def in_a_fork(act: Any) -> None:
    """Do it in a child that knows all that this process knows; it says what came by its status."""
    if (child := os.fork()) == 0:
        try:
            act()
        except Exception as error:
            os._exit(7 if type(error).__name__ == "OutsideRefused" else 8)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7


def looks_up(name: str) -> Any:
    """By asyncio, which asks on a thread of its own."""
    return asyncio.run(looked_up(name))


async def looked_up(name: str) -> Any:
    """The addresses of a name."""
    return await asyncio.get_running_loop().getaddrinfo(name, 80)


async def connected(host: str, port: int) -> None:
    """A connection of asyncio's."""
    await asyncio.get_running_loop().create_connection(asyncio.Protocol, host, port)


async def started() -> None:
    """A program by asyncio."""
    await asyncio.create_subprocess_exec("true")


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
        "spawn": lambda: os.posix_spawn("/bin/true", ["true"], {}),
        "look up all": lambda: socket.gethostbyname_ex("example.invalid"),
        "look up by asyncio": lambda: looks_up("example.invalid"),
        "name of a number": lambda: socket.gethostbyaddr("192.0.2.7"),
        "name and service of a number": lambda: socket.getnameinfo(("192.0.2.7", 80), 0),
        "message": lambda: socket.socket(type=socket.SOCK_DGRAM).sendmsg([b"x"], [], 0, place),
        "connect by asyncio": lambda: asyncio.run(connected("127.0.0.1", place[1])),
        "program by asyncio": lambda: asyncio.run(started()),
        "nobody's name": lambda: socket.getaddrinfo("None", 80),
    }


def goes_on(model: str) -> None:
    """What is no way out: what is there already, what is asked of nobody, the model otherwise."""
    here, there = socket.socketpair()
    with here, there:
        here.sendmsg([b"x"])
        assert there.recv(1) == b"x"
    socket.gethostbyaddr("127.0.0.1")
    socket.getaddrinfo("192.0.2.7", 80)
    socket.getaddrinfo(None, 80)
    urllib.request.urlopen(model.upper() + "/").read()
    ctypes.CDLL(None).getpid()


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
        goes_on(model)
        for _ in range(2):
            in_a_fork(lambda: socket.create_connection(("127.0.0.1", 9)))
        in_a_fork(lambda: os.execv("/bin/true", ["true"]))
        thread = threading.Thread(target=lambda: refused.update(thread=_refused(other)))
        thread.start()
        thread.join()
        with let_out("look"):
            urllib.request.urlopen(other).read()
            asyncio.run(connected("localhost", urlsplit(other).port or 0))
    urllib.request.urlopen(other).read()
    told = outside.told("run-1")
    print(json.dumps({
        "refused": refused, "seen": SEEN, "connections": told.connections, "live": told.live,
        "allowed": told.allowed, "told": [[one.what, one.to, one.times] for one in told.refused],
        "unseen": [[one.what, one.to, one.where] for one in told.unseen],
    }))  # fmt: skip


def _refused(url: str) -> str:
    try:
        urllib.request.urlopen(url)
    except Exception as error:
        return type(error).__name__
    return "came through"


if __name__ == "__main__":
    main(*sys.argv[1:])
