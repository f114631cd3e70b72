"""How deep branches go."""

from __future__ import annotations

import pytest

import refold
from refold.core.event import Event
from refold.errors import UsageError


def test_a_branch_that_could_not_be_read_is_not_saved(monkeypatch: pytest.MonkeyPatch) -> None:
    """Found by branching from a branch again and again: the last one was saved, then unreadable."""
    monkeypatch.setattr("refold.engine.reading.LINEAGE_MAX", 4)
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
