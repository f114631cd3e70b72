"""How many statements a commit takes: each gives the interpreter up, and a busy process is slow
to give it back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import apsw
import pytest

import refold
from refold.core.event import Event
from refold.engine.append import Append
from refold.engine.store import Store


@contextmanager
def writing_statements(store: Store) -> Iterator[list[str]]:
    """The statements that write, run on the connection that writes, meanwhile."""
    connection: Any = store._backend._writing  # type: ignore[attr-defined]
    seen: list[str] = []

    def trace(event: dict[str, Any]) -> None:
        if not event["readonly"] and not event["trigger"]:
            seen.append(event["sql"])

    connection.trace_v2(apsw.SQLITE_TRACE_STMT, trace)
    try:
        yield seen
    finally:
        connection.trace_v2(0, None)


def said(number: int) -> list[Event]:
    """One event."""
    return [Event("said", {"n": number})]


APPENDS: dict[str, Callable[[Store], object]] = {
    "to a known stream": lambda s: s.append("call-0", said(1)),
    "to a new stream": lambda s: s.append("call-1", said(1), expected=refold.NO_STREAM),
    "of a new type": lambda s: s.append("call-0", [Event("other", {}), Event("third.v2", {})]),
    "of a new stream and type": lambda s: s.append("call-2", [Event("other", {})]),
    "with tags and a key": lambda s: s.append("call-3", said(1), tags=["a", "b"], key="k"),
    "under a condition": lambda s: s.append(
        "call-4", said(1), unless=refold.Query(tags=["none"]), after=0
    ),
    "to several streams": lambda s: s.append_together(
        [Append("call-5", said(1)), Append("call-0", said(2)), Append("call-6", said(3))]
    ),
    "of many": lambda s: list(s.append_many(Append(f"deal-{n}", said(n)) for n in range(200))),
}


@pytest.mark.parametrize("append", APPENDS.values(), ids=APPENDS)
def test_a_commit_is_one_statement(tmp_path: Path, append: Callable[[Store], object]) -> None:
    """Whatever is new in it: streams, types, tags."""
    with refold.open(tmp_path / "log.db") as store:
        store.append("call-0", said(0))
        with writing_statements(store) as seen:
            append(store)
        assert len(seen) == 1, seen
        assert all(check.good for check in store.check())


def test_what_is_new_comes_in_one_statement_or_not_at_all(tmp_path: Path) -> None:
    """A lost race leaves neither the stream nor the type behind."""
    path = tmp_path / "log.db"
    with refold.open(path) as store, refold.open(path) as other:
        store.append("call-0", said(0))
        other.append("call-0", said(1))
        other.append("call-1", [Event("theirs", {})])
        assert store.append("call-2", [Event("ours", {})]).position == 4
        assert [info.stream for info in store.streams()] == ["call-0", "call-1", "call-2"]
        kinds = store._backend._query("SELECT tag FROM types ORDER BY id")  # type: ignore[attr-defined]
        assert [tag for (tag,) in kinds] == ["said", "theirs", "ours"]
        assert all(check.good for check in store.check())
