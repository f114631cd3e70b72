"""From the caller's thread to the recorder: a queue and a thread, so that recording is in no way.

A store that is given by its address is opened by the process that records, the forked one too.
"""

from __future__ import annotations

import atexit
import logging
import math
import os
import queue
import sys
import threading
import time
import weakref
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final, Literal

from refold.capture import opening
from refold.capture.answers import FirstToken
from refold.capture.call import ModelCall
from refold.capture.prices import PriceTable
from refold.capture.recorder import CallRecorder
from refold.engine.store import Store
from refold.errors import BackendError, Unavailable, UsageError
from refold.recording.in_force import Telling
from refold.recording.tool_run import ToolRun

Address = Store | str | os.PathLike[str]
OnError = Literal["log", "raise"]

BATCH_S: Final = 0.1
"""How long pieces of an answer wait for others: what a killed process loses of it at most."""
PENDING_BYTES_MAX: Final = 256 << 20
"""What may wait for a store that does not take it; what comes then is lost, and counted."""
PIECE_BYTES: Final = 650
"""What a piece takes beside its own bytes while it waits; those of tokens are smaller than that."""
OPENING_S: Final = 30.0
"""How long a store that is away is waited for, while calls wait for it."""
CLOSING_MAX_S: Final = 2.0
"""How long the end of a program waits for a call that is still under way."""

_log: Final = logging.getLogger("refold.capture")
_writers: Final[list[weakref.ref[Any]]] = []
"""No set of weak references: that cannot be listed while another thread adds to it."""

_lost: Final[Counter[str]] = Counter()
"""The calls of this process that are not recorded, under one name."""
SEEN, LOST = b".", b"!"
"""What the tally of a run gets for each call, and for each that is not recorded to its end."""

_Step = tuple[Callable[[], None], Callable[[Exception], None]]
"""Something to be done, and who is told where it fails."""


@dataclass(slots=True)
class Underway:
    """What is held of a call that is being recorded: the pieces that wait, and since when."""

    first_token: FirstToken
    waiting: list[bytes] = field(default_factory=list)
    since: float = 0.0


class CaptureWriter:
    """Hands what the transports see to a recorder, in order.

    With ``on_error="log"`` on a thread of its own: what fails is told once and counted in
    ``lost``, and the agent's call goes on, also where the store is away; it is opened when it is
    back. With ``"raise"`` on the caller's, and raises there. ``tally`` is a file that `refold run`
    counts by.
    """

    tally: str | None = None

    def __init__(self, store: Address, *, on_error: OnError = "log", **options: Any) -> None:
        if on_error not in ("log", "raise"):
            raise UsageError(f"on_error={on_error!r} is neither 'log' nor 'raise'")
        if not isinstance(store, Store | str | os.PathLike):
            raise UsageError(f"a store or its address, not {store!r:.50}: give 'agents.db'")
        PriceTable(options.get("prices"))  # Refused here, not at the first call.
        self.store, self.raises = store, on_error == "raise"
        self.is_stopped = False
        self._options = options
        self._told: set[str] = set()
        if not isinstance(store, Store):
            self._try(store)
        self._start()
        _writers.append(weakref.ref(self, _writers.remove))

    def _try(self, address: str | os.PathLike[str]) -> None:
        try:
            (opening.tried if self.raises else opening.tried_briefly)(address)
        except BackendError as error:
            if self.raises or error.retry != "later":
                raise
            self._say("the store", "the store is away, and opened when it is back: %s", error)

    def _start(self) -> None:
        """Begin with nothing, as a forked process does too."""
        self.lost = 0
        self._unsettled: set[ModelCall] = set()
        self._recorder: CallRecorder | None = None
        self._opened: Store | None = None
        self._steps: queue.SimpleQueue[_Step] = queue.SimpleQueue()
        self._pending = 0
        self._calls: dict[ModelCall, Underway] = {}
        self._turn = threading.RLock()
        self._thread: threading.Thread | None = None

    # -- the caller's thread ----------------------------------------------------------------------

    def begin(self, call: ModelCall) -> None:
        """A request is about to be sent."""
        if not self.raises:
            self._unsettled.add(call)
        self._count(SEEN)
        try:
            if self._thread is None and not self.raises:
                self._begin_thread()  # None can be begun where the program ends.
            self._put(call, None, time.perf_counter())
        except (BackendError, RuntimeError) as error:
            if self.raises:
                raise
            self._lose(call, error)

    def data(self, call: ModelCall, chunk: bytes) -> None:
        """A piece of the answer came."""
        self._put(call, chunk, time.perf_counter())

    def end(self, call: ModelCall) -> None:
        """The call has its ending."""
        self._put(call, b"", 0.0)

    def tool(self, named: str | None, run: ToolRun, make: Telling) -> None:
        """A tool is run, in the conversation that the caller named."""
        if not self.raises:
            self._begin_thread()
        lost = partial(self.tell, what="a run of a tool")
        self._give(lambda: self._recording().tools.tell(named, run, make), lost)

    def flush(self, timeout_s: float = 30.0) -> bool:
        """Wait until all that was handed over is recorded; False where it takes longer."""
        if self._thread is None or not self._thread.is_alive():
            return True
        done, until = threading.Event(), time.monotonic() + timeout_s
        for work in (self._hand_over_all, done.set):
            self._steps.put((work, self.tell))
        while not done.wait(min(BATCH_S, max(until - time.monotonic(), 0))):
            if not self._thread.is_alive():
                return True
            if time.monotonic() >= until:
                return False
        return True

    def stop(self) -> None:
        """Let the calls that go on be recorded to their end; then close a store opened here."""
        self.is_stopped = True
        if self._thread is not None:
            self._steps.put((self._hand_over_all, self.tell))
        else:
            with self._turn:
                self._close_after_the_last()

    def _put(self, call: ModelCall, chunk: bytes | None, at: float) -> None:
        """Give on a piece of an answer (None: the call begins; empty: it ends) that came then.

        Of a call that is lost nothing waits any more, and one for which there is no room is lost.
        """
        if self._is_lost(call) or (self._thread is None and not self.raises):
            return
        if chunk != b"" and self._pending > PENDING_BYTES_MAX and not self.raises:
            self._lose(call, BackendError("the store does not keep up with what is captured"))
            if chunk:  # It has begun, and what is held of it is the thread's.
                self._steps.put((partial(self._forget, call), self.tell))
            return
        self._wait_with(_size(call, chunk))
        self._give(partial(self._take, call, chunk, at), partial(self._fail, call))

    def _is_lost(self, call: ModelCall) -> bool:
        return not self.raises and call not in self._unsettled

    def _wait_with(self, more: int) -> None:
        with self._turn:
            self._pending += more

    def _give(self, work: Callable[[], None], lost: Callable[[Exception], None]) -> None:
        """Do something here and now, or have it done by the thread, which tells what fails."""
        if self.raises:
            with self._turn:
                try:
                    work()
                finally:
                    self._close_after_the_last()
        else:
            self._steps.put((work, lost))

    def _begin_thread(self) -> None:
        with self._turn:
            if self._thread is None:
                thread = threading.Thread(target=self._run, name="refold-capture", daemon=True)
                thread.start()
                self._thread = thread
                if processes := sys.modules.get("multiprocessing.util"):
                    # A process that is forked by it ends without a look at atexit.
                    processes.Finalize(None, flush, exitpriority=100)

    # -- the writer's -----------------------------------------------------------------------------

    def _run(self) -> None:
        while not self._close_after_the_last():
            is_waiting = any(held.waiting for held in self._calls.values())
            with suppress(queue.Empty):
                work, lost = self._steps.get(timeout=BATCH_S if is_waiting else None)
                try:
                    work()
                except Exception as error:
                    lost(error)
            self._hand_over_all(time.perf_counter() - BATCH_S)

    def _close_after_the_last(self) -> bool:
        """Whether all is recorded that this was to record; a store opened here is closed then."""
        is_over = self.is_stopped and not self._calls and self._steps.empty()
        if is_over and self._opened is not None:
            self._opened.close()
        return is_over

    def _take(self, call: ModelCall, chunk: bytes | None, at: float) -> None:
        self._wait_with(-_size(call, chunk))
        if self._is_lost(call):
            return  # Since it was put here: its thread gave it up, which forgets it next.
        held = self._calls.get(call)
        if chunk is None:
            self._recording().begin(call)
            self._calls[call] = Underway(FirstToken(call, at))
        elif held is not None and chunk:
            held.first_token.take(chunk, at)
            # Counted from now, not from when it came: who is behind takes more at once, not less.
            held.since = held.since if held.waiting else time.perf_counter()
            held.waiting.append(chunk)
        elif held is not None:
            self._hand_over(call, held)
            self._recording().end(call)
            del self._calls[call]
            self._unsettled.discard(call)

    def _hand_over(self, call: ModelCall, held: Underway) -> None:
        pieces, held.waiting = held.waiting, []
        if pieces:
            self._recording().received(call, b"".join(pieces))

    def _hand_over_all(self, until: float = math.inf) -> None:
        for call, held in [*self._calls.items()]:
            if held.waiting and held.since <= until:
                try:
                    self._hand_over(call, held)
                except Exception as error:
                    self._fail(call, error)

    def _recording(self) -> CallRecorder:
        if self._recorder is None:
            store = self.store
            if not isinstance(store, Store):
                store = self._opened = _opened(store, 0 if self.raises else OPENING_S)
            self._recorder = CallRecorder(store, **self._options)
        return self._recorder

    def _fail(self, call: ModelCall, error: Exception) -> None:
        self._calls.pop(call, None)
        self._lose(call, error)

    def _forget(self, call: ModelCall) -> None:
        """Hold nothing more of a call that its own thread gave up."""
        self._calls.pop(call, None)
        if self._recorder is not None:
            self._recorder.let_go(call)

    # -- either's ---------------------------------------------------------------------------------

    def _lose(self, call: ModelCall, error: Exception) -> None:
        """Count a call that cannot be recorded; what comes of it still is passed over."""
        self._miss(call)
        self.tell(error)

    def _miss(self, call: ModelCall) -> None:
        try:
            self._unsettled.remove(call)
        except KeyError:
            return  # The other thread came first.
        self.lost += 1
        _lost["calls"] += 1
        self._count(LOST)

    def miss_what_is_left(self) -> None:
        """At the end of the program: count the calls that are not recorded to where they came."""
        for call in [*self._unsettled]:
            if call.ending is not None or call not in self._calls:
                self._miss(call)
        if self.lost:
            _log.warning("%d model calls were not recorded, or not to their end", self.lost)

    def _count(self, mark: bytes) -> None:
        if self.tally is not None:
            with suppress(OSError), Path(self.tally).open("ab", 0) as file:
                file.write(mark)

    def tell(self, error: Exception, *, what: str = "a model call") -> None:
        """Log that something could not be recorded as it should, once of each kind."""
        self._say(what, f"{what} was not recorded, and others may not be: %s", error)

    def _say(self, kind: str, text: str, error: Exception) -> None:
        if kind not in self._told:
            self._told.add(kind)
            _log.warning(text, error)


def _size(call: ModelCall, chunk: bytes | None) -> int:
    return PIECE_BYTES + len(call.request if chunk is None else chunk)


def _opened(address: str | os.PathLike[str], wait_s: float) -> Store:
    """The store; one that is away is tried for so long."""
    from refold.connect import open as open_store

    until, pause_s = time.monotonic() + wait_s, BATCH_S
    while True:
        try:
            return open_store(address)
        except Unavailable:
            if time.monotonic() + pause_s > until:
                raise
        time.sleep(pause_s)
        pause_s = min(2 * pause_s, 1.0)


def _all() -> list[Any]:
    return [writer for known in [*_writers] if (writer := known()) is not None]


def writer_in_force() -> CaptureWriter | None:
    """The writer of this process, None where none or more than one is."""
    working = [writer for writer in _all() if not writer.is_stopped]
    return working[0] if len(working) == 1 else None


def flush(timeout_s: float = 30.0) -> bool:
    """Wait until the store has all that was captured so far; False where it takes longer."""
    waited = [writer.flush(timeout_s) for writer in _all()]
    return all(waited)


def lost() -> int:
    """How many model calls of this process were not recorded, or not to their end.

    Those that wait to be recorded are not among them; see :func:`flush`.
    """
    return _lost["calls"]


@atexit.register
def _close() -> None:
    """Record what is left, and close what was opened here: one file remains."""
    flush()
    for writer in _all():
        writer.stop()
        if writer._thread is not None:
            writer._thread.join(CLOSING_MAX_S)
            if writer._recorder is not None:  # For runs of tools whose answers never ended.
                writer._steps.put((writer._recorder.tools.tell_due, writer.tell))
                writer.flush(CLOSING_MAX_S)
        writer.miss_what_is_left()


def _begin_anew() -> None:
    """In a forked process: what its parent had under way is the parent's."""
    _lost.clear()
    for writer in _all():
        writer._start()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_anew)
