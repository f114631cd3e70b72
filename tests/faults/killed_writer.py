"""A process that appends until it is killed, and tells of every append that it was told of.

Started as ``python -m tests.faults.killed_writer PATH ROUND``. It writes one line a stored append
to its standard output: the key, the stream, the version and the position of its last event.
"""

from __future__ import annotations

import os
import sys
import threading
from itertools import count

import refold
from refold.core.event import Event

THREADS = 3


def append_until_killed(store: refold.Store, round_number: int, worker: int) -> None:
    """Append one to three events under a key each time, to a stream that all share or its own."""
    for number in count():
        key = f"{round_number}-{worker}-{number}"
        stream = "shared-1" if number % 2 else f"own-{worker}"
        events = [Event("test.token", {"key": key, "n": n}) for n in range(1 + number % 3)]
        answer = store.append(stream, events, key=key)
        line = f"{key} {stream} {answer.version} {answer.position} {answer.event_count}\n"
        os.write(1, line.encode())


def main(path: str, round_number: int) -> None:
    """Open the log and append from several threads, so that commits are shared."""
    store = refold.open(path)
    threads = [
        threading.Thread(target=append_until_killed, args=(store, round_number, worker))
        for worker in range(THREADS)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
