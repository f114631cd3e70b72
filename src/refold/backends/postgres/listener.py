"""Hearing of other processes' appends: a thread with a connection of its own."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Final

import psycopg

from refold.backends.postgres.address import Address
from refold.backends.postgres.session import close_quietly, connected
from refold.errors import UsageError

LOOK_EVERY_S: Final = 0.1
"""So often it looks whether the store was closed, where it hears nothing."""
END_S: Final = 1.0
"""So long closing waits for its thread, which may be waiting for a server that does not answer."""
AGAIN_S: Final = 1.0
"""How long after it has lost its connection it makes another."""


class Listener:
    """Rings bells when the server says that something was appended to a log."""

    def __init__(self, address: Address) -> None:
        self._address = address
        self._rings: set[Callable[[], None]] = set()
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None

    def add(self, ring: Callable[[], None]) -> None:
        """Ring this one too; a pooler passes nothing on, so there is nothing to hear behind one."""
        if ring in self._rings or self._address.is_pooled or self._stopped.is_set():
            return
        self._rings.add(ring)
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="refold-listener", daemon=True)
            self._thread.start()

    def close(self) -> None:
        """Hear no more."""
        self._stopped.set()
        if self._thread is not None:
            self._thread.join(END_S)

    def _run(self) -> None:
        while not self._stopped.is_set():
            try:
                self._listen()
            except (psycopg.errors.ReadOnlySqlTransaction, UsageError):
                return  # A standby or a pooler passes nothing on; who waits looks now and then.
            except psycopg.Error:
                self._stopped.wait(AGAIN_S)

    def _listen(self) -> None:
        session = connected(self._address)
        try:
            ((channel,),) = session.run("channel", self._address.tenant)
            session.execute(f'LISTEN "{channel}"')
            self._ring()  # What was appended before it listened.
            while not self._stopped.is_set():
                for _ in session.notifies(timeout=LOOK_EVERY_S, stop_after=1):
                    self._ring()
        finally:
            close_quietly(session)

    def _ring(self) -> None:
        for ring in tuple(self._rings):
            ring()
