"""How deep branches go."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import refold
from refold.core.event import Event
from refold.core.stored import Row
from refold.engine.append import Append
from refold.errors import UsageError


def test_a_branch_that_could_not_be_read_is_not_saved(monkeypatch: pytest.MonkeyPatch) -> None:
    """Found by branching from a branch again and again: the last one was saved, then unreadable."""
    monkeypatch.setattr("refold.engine.lineage.LINEAGE_MAX", 4)
    with refold.open("memory:") as store:
        store.append("call-1", [Event("a.b")])
        for parent, stream in (
            ("call-1", "call-1~1"),
            ("call-1~1", "call-1~2"),
            ("call-1~2", "call-1~3"),
        ):
            store.branch(parent).save(stream)
            assert len(list(store.read(stream))) == store.head(stream) + 1
        with pytest.raises(UsageError) as caught:
            store.branch("call-1~3").save("call-1~4")
        assert caught.value.stream == "call-1~3"
        assert store.head("call-1~4") == -1
        store.branch("call-1~2", at=0).save("call-1~4")


def test_a_branch_of_a_long_stream_is_saved_without_reading_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Adding to its end takes one row, however many there are before it."""
    asked: list[tuple[int, int]] = []
    with refold.open(tmp_path / "log.db", synchronous="NORMAL") as store:
        list(store.append_many(Append("call-1", [Event("test.a", {})] * 10) for _ in range(500)))
        rows = store._backend.rows

        def counted(stream: str, *, first: int, last: int, **options: Any) -> list[Row]:
            asked.append((first, last))
            return rows(stream, first=first, last=last, **options)

        monkeypatch.setattr(store._backend, "rows", counted)
        store.branch("call-1").adding(Event("test.b", {})).save("call-1~b")
        store.branch("call-1~b").adding(Event("test.c", {})).save("call-1~c")
        assert all(first == last for first, last in asked)
        assert len(asked) <= 2
        monkeypatch.undo()
        assert [e.type for e in store.read("call-1~c", from_version=4_999)] == [
            "test.a",
            "session.forked",
            "test.b",
            "session.forked",
            "test.c",
        ]
