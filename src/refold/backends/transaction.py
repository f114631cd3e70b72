"""A transaction of SQLite that no interrupt can leave open."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import apsw

T = TypeVar("T")


def transacted(
    connection: apsw.Connection, work: Callable[..., T], *arguments: Any, **named: Any
) -> T:
    """What some work answers, done under the write lock and committed; an error undoes it.

    A function, and no context manager: an interrupt can come inside of whatever Python code enters
    and leaves a ``with``. It cannot come on the way into a ``finally`` and up to the call in it.
    """
    try:
        connection.execute("BEGIN IMMEDIATE")
        answer = work(*arguments, **named)
        connection.execute("COMMIT")
        return answer
    finally:
        # SQLite has undone it by itself after some errors, such as a full disk.
        if connection.in_transaction:
            connection.execute("ROLLBACK")
