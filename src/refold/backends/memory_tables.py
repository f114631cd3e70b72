"""Tables of projections beside a log in memory: a SQLite database of their own, in memory too."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import apsw

from refold.backends.tabling import SqlTransaction, begun, queried
from refold.errors import BackendError
from refold.ports import SqlValue


class MemoryTables:
    """The same SQL as in a file; threads take turns, so nobody sees half a transaction."""

    def __init__(self) -> None:
        self._turn = threading.RLock()
        self._connection = apsw.Connection(":memory:")

    @contextmanager
    def transaction(self) -> Iterator[SqlTransaction]:
        """See :class:`~refold.ports.TableKeeper`."""
        with self._turn, _naming_errors(), begun(self._connection) as transaction:
            yield transaction

    def query(self, sql: str, values: Sequence[SqlValue] = ()) -> list[tuple[Any, ...]]:
        """See :class:`~refold.ports.TableKeeper`."""
        with self._turn, _naming_errors():
            return queried(self._connection, sql, values)


@contextmanager
def _naming_errors() -> Iterator[None]:
    try:
        yield
    except apsw.Error as error:
        raise BackendError(f"the tables in memory: SQLite failed: {error}") from error
