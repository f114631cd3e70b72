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
from contextlib import suppress
from importlib import import_module
from typing import Any, Final, Literal

from refold.capture.call import ModelCall
from refold.capture.first_token import FirstToken
from refold.capture.prices import PriceTable
from refold.capture.recorder import CallRecorder
from refold.engine.store import Store
from refold.errors import BackendError, UsageError
from refold.recording.in_force import Telling
from refold.recording.tool_run import ToolRun

OnError = Literal["log", "raise"]

BATCH_S: Final = 0.1
"""How long pieces of an answer wait for others: what a killed process loses of it at most."""
PENDING_BYTES_MAX: Final = 256 << 20
"""What may wait for a store that does not take it; what comes then is lost, and counted."""

CLOSING_MAX_S: Final = 2.0
"""How long the end of a program waits for a call that is still under way."""

_log: Final = logging.getLogger("refold.capture")
_OPENING: Final = ("refold.connect", "refold.backends.sqlite", "refold.backends.journal")
"""The modules that open a store."""
_writers: Final[weakref.WeakSet[Any]] = weakref.WeakSet()
_Piece = tuple[ModelCall, bytes | None, float]
"""A call and a piece of its answer (None: it begins; empty: it ends) and when that came."""
_Run = tuple[str | None, ToolRun, Telling]
"""A run of a tool in a conversation that may be named, and what tells it."""
_Step = _Piece | _Run | threading.Event | None
"""One of these, or somebody who waits for all before, or None, the end of the thread."""


class CaptureWriter:
    """Hands what the transports see to a recorder, in order.

    With ``on_error="log"`` on a thread of its own: what fails is told once and counted in
    ``lost``, and the agent's call goes on. With ``"raise"`` on the caller's, and raises there.
    """

    def __init__(
        self, store: Store | str | os.PathLike[str], *, on_error: OnError = "log", **options: Any
    ) -> None:
        if on_error not in ("log", "raise"):
            raise UsageError(f"on_error={on_error!r} is neither 'log' nor 'raise'")
        if not isinstance(store, Store | str | os.PathLike):
            raise UsageError(f"a store or its address, not {store!r:.50}: give 'agents.db'")
        PriceTable(options.get("prices"))  # Refused here, not at the first call.
        self.store, self.raises, self.lost = store, on_error == "raise", 0
        self._options = options
        self._told: set[str] = set()
        if not isinstance(store, Store):
            # Here, not on the thread: who is forked in the midst of an import has half a module.
            for name in _OPENING:
                import_module(name)
            _opened(store).close()
        self._start()
        _writers.add(self)

    def _start(self) -> None:
        self._process = os.getpid()
        self._recorder: CallRecorder | None = None
        self._opened: Store | None = None
        self._steps: queue.SimpleQueue[_Step] = queue.SimpleQueue()
        self._pending = 0
        self._waiting: dict[ModelCall, tuple[list[bytes], float]] = {}
        self._watched: dict[ModelCall, FirstToken] = {}
        self._skipped: set[ModelCall] = set()
        self._turn = threading.RLock()
        self._thread: threading.Thread | None = None
        self.is_stopped = False

    # -- the caller's thread ----------------------------------------------------------------------

    def begin(self, call: ModelCall) -> None:
        """A request is about to be sent."""
        if self._process != os.getpid():
            self._start()
        if self._pending > PENDING_BYTES_MAX:
            self._lose(call, BackendError("the store does not keep up with what is captured"))
        else:
            self._pending += len(call.request)
            try:
                self._put(call, None, time.perf_counter())
            except RuntimeError as error:  # No thread can be begun, as where the program ends.
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
        if self._process != os.getpid():
            self._start()
        if self.raises:
            with self._turn:
                self._recording().tool(named, run, make)
        else:
            self._begin_thread()
            self._steps.put((named, run, make))

    def flush(self, timeout_s: float = 30.0) -> bool:
        """Wait until all that was handed over is recorded; False where it takes longer."""
        if self.raises or self._thread is None or self._process != os.getpid():
            return True
        done, until = threading.Event(), time.monotonic() + timeout_s
        self._steps.put(done)
        while not done.wait(min(BATCH_S, max(until - time.monotonic(), 0))):
            if not self._thread.is_alive():
                return True
            if time.monotonic() >= until:
                return False
        return True

    def stop(self) -> None:
        """Let the calls that go on be recorded to their end; then close a store opened here."""
        self.is_stopped = True
        if self._process != os.getpid():
            return
        if self._thread is not None:
            self._steps.put(None)
        elif self.raises:
            with self._turn:
                self._close_after_the_last()

    def _put(self, call: ModelCall, chunk: bytes | None, at: float) -> None:
        if self.raises:
            with self._turn:
                try:
                    self._take(call, chunk, at)
                finally:
                    self._close_after_the_last()
            return
        if chunk:
            self._pending += len(chunk)  # Off by a piece where threads meet: it is only a bound.
        elif self._thread is None:
            self._begin_thread()
        self._steps.put((call, chunk, at))

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
        while True:
            step: _Step | Literal[False] = False
            with suppress(queue.Empty):
                step = self._steps.get(timeout=BATCH_S if self._waiting else None)
            if isinstance(step, tuple):
                self._do(step)
            is_asked = step is None or isinstance(step, threading.Event)
            self._send_waiting(math.inf if is_asked else time.perf_counter() - BATCH_S)
            if isinstance(step, threading.Event):
                step.set()
            if self._close_after_the_last():
                break

    def _do(self, step: _Piece | _Run) -> None:
        match step:
            case (ModelCall() as call, chunk, at):
                try:
                    self._take(call, chunk, at)
                except Exception as error:
                    self._lose(call, error)
                    self._skipped -= {call} if chunk == b"" else set()
            case (named, run, make):
                try:
                    self._recording().tool(named, run, make)
                except Exception as error:
                    self.tell(error, what="a run of a tool")

    def _close_after_the_last(self) -> bool:
        """Whether all is recorded that this was to record; a store opened here is closed then."""
        is_over = self.is_stopped and not self._watched and self._steps.empty()
        if is_over and self._opened is not None:
            self._opened.close()
        return is_over

    def _take(self, call: ModelCall, chunk: bytes | None, at: float) -> None:
        if chunk is None:
            self._pending -= len(call.request)
            self._recording().begin(call)
            self._watched[call] = FirstToken(call, at)
        elif call in self._skipped:
            self._pending -= len(chunk)
            if not chunk:
                self._skipped.discard(call)
                self._watched.pop(call, None)
        elif chunk:
            self._pending -= len(chunk)
            if self._watched[call].waits:
                self._watched[call].take(chunk, at)
            # Counted from now, not from when it came: who is behind takes more at once, not less.
            self._waiting.setdefault(call, ([], time.perf_counter()))[0].append(chunk)
        else:
            self._watched.pop(call, None)
            chunks, _ = self._waiting.pop(call, ([], 0.0))
            if chunks:
                self._recording().received(call, b"".join(chunks))
            self._recording().end(call)

    def _send_waiting(self, until: float) -> None:
        for call, (chunks, since) in [*self._waiting.items()]:
            if since <= until:
                del self._waiting[call]
                try:
                    self._recording().received(call, b"".join(chunks))
                except Exception as error:
                    self._lose(call, error)

    def _recording(self) -> CallRecorder:
        if self._recorder is None:
            if isinstance(self.store, Store):
                store = self.store
            else:
                store = self._opened = _opened(self.store)
            self._recorder = CallRecorder(store, **self._options)
        return self._recorder

    def _lose(self, call: ModelCall, error: Exception) -> None:
        self.lost += call not in self._skipped
        self._skipped.add(call)
        self.tell(error)

    def tell(self, error: Exception, *, what: str = "a model call") -> None:
        """Log that something could not be recorded as it should, once of each kind."""
        if what not in self._told:
            self._told.add(what)
            _log.warning("%s was not recorded, and others may not be: %s", what, error)


def _opened(address: str | os.PathLike[str]) -> Store:
    from refold.connect import open as open_store

    return open_store(address)


def writer_in_force() -> CaptureWriter | None:
    """The writer of this process, None where none or more than one is."""
    working = [writer for writer in [*_writers] if not writer.is_stopped]
    return working[0] if len(working) == 1 else None


def flush(timeout_s: float = 30.0) -> bool:
    """Wait until the store has all that was captured so far; False where it takes longer."""
    waited = [writer.flush(timeout_s) for writer in [*_writers]]
    return all(waited)


@atexit.register
def _close() -> None:
    """Record what is left, and close what was opened here: one file remains."""
    flush()
    for writer in [*_writers]:
        writer.stop()
        if writer._thread is not None:
            writer._thread.join(CLOSING_MAX_S)
