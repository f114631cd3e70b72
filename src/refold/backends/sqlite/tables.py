"""Tables of projections in the file of the log, written by a connection of their own."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import apsw

from refold.backends.sqlite.errors import naming_errors
from refold.backends.tabling import SqlTransaction, begun
from refold.errors import StoreClosed


class Tables:
    """One writer of tables; its threads take turns."""

    def __init__(self, connect: Callable[[], apsw.Connection], path: Path) -> None:
        self._connect = connect
        self._path = path
        self._turn = threading.RLock()
        self._connection: apsw.Connection | None = None
        self._closed = False

    @contextmanager
    def transaction(self) -> Iterator[SqlTransaction]:
        """See :class:`~refold.ports.TableKeeper`."""
        with self._turn, naming_errors(self._path):
            if self._closed:
                raise StoreClosed(f"{self._path} is closed")
            if self._connection is None:
                self._connection = self._connect()
            with begun(self._connection) as transaction:
                yield transaction

    def close(self) -> None:
        """Let go of the connection, when nobody writes."""
        with self._turn, naming_errors(self._path):
            self._closed = True
            connection, self._connection = self._connection, None
            if connection is not None:
                connection.close()
