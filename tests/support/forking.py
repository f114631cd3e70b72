"""Work in a forked process: what came of it, and that it did not hang."""

import os
import pickle
import select
import signal
import threading
import time
import warnings
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")

HANGS_AFTER_S = 20.0


def forked(work: Callable[[], None]) -> int:
    """Run something in a forked process, which ends without any finalizing; its number."""
    with warnings.catch_warnings():
        # Newer Pythons warn of every fork of a process with threads: here that is the point.
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child:
        return child
    try:
        signal.alarm(int(HANGS_AFTER_S))
        work()
    except BaseException:
        import traceback

        traceback.print_exc()
        os._exit(1)
    os._exit(0)


def ended(child: int) -> int:
    """The exit code of a forked process; killed where it hangs."""
    until = time.monotonic() + HANGS_AFTER_S
    while time.monotonic() < until:
        number, status = os.waitpid(child, os.WNOHANG)
        if number:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.002)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    raise AssertionError(f"the forked process hung for {HANGS_AFTER_S} s")


def told_by_child(work: Callable[[], T]) -> T:
    """What some work comes to in a forked process; raises what it raised there."""
    told: T = Answer(work).get()
    return told


class Answer:
    """What a forked process is about to tell."""

    def __init__(self, work: Callable[[], Any]) -> None:
        self._from, to = os.pipe()

        def tell() -> None:
            said: tuple[Any, Exception | None]
            try:
                said = work(), None
            except Exception as error:
                said = None, error
            with os.fdopen(to, "wb") as pipe:
                pipe.write(pickle.dumps(said))

        self.child = forked(tell)
        os.close(to)

    def get(self) -> Any:
        """Wait for it."""
        said = b""
        with os.fdopen(self._from, "rb") as pipe:
            until = time.monotonic() + HANGS_AFTER_S
            while select.select([pipe], [], [], max(0.0, until - time.monotonic()))[0]:
                chunk = os.read(pipe.fileno(), 65_536)
                if not chunk:
                    break
                said += chunk
        assert ended(self.child) == 0
        value, error = pickle.loads(said)
        if error is not None:
            raise error
        return value


class Busy:
    """Threads that do something over and over in a block."""

    def __init__(self, work: Callable[[int], Any], *, threads: int) -> None:
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=self._run, args=(work, number)) for number in range(threads)
        ]

    def _run(self, work: Callable[[int], Any], number: int) -> None:
        while not self._stop.is_set():
            work(number)

    def __enter__(self) -> None:
        for thread in self._threads:
            thread.start()

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()
