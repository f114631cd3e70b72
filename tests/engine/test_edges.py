"""Edges that were once wrong: each test names the rule that was broken."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

import refold
from refold.backends.sqlite.backend import SqliteBackend
from refold.conversation import Conversation, RedactionApplied, UserUtterance
from refold.errors import Corrupt, UnknownEventType


def test_a_hole_in_a_stream_is_told(tmp_path: Path) -> None:
    """A row that went missing is an error for whoever reads past it, forward or backward."""
    with refold.open(tmp_path / "a.db") as store:
        for number in range(5):
            store.append("a-1", [refold.Event("x", {"n": number})])
        assert isinstance(store._backend, SqliteBackend)
        with store._backend._reading() as connection:
            connection.execute("DELETE FROM log WHERE version = 2")
        for direction in ("forward", "backward"):
            with pytest.raises(Corrupt) as told:
                list(store.read("a-1", direction=direction))
            assert (told.value.stream, told.value.version) == ("a-1", 2)
        assert [e.version for e in store.read("a-1", to_version=1)] == [0, 1]


def test_an_event_of_a_newer_schema_is_not_folded_as_an_older_one(tmp_path: Path) -> None:
    """Code that knows schema 1 refuses schema 2, on the fast way and on the slow one."""
    kinds = refold.Registry()

    @kinds.event("paid")
    class Paid(msgspec.Struct):
        cents: int = 0

    fold = refold.Fold("sum", lambda: {"cents": 0}, registry=kinds)

    @fold.on(Paid)
    def add(state: dict[str, int], event: Paid) -> dict[str, int]:
        state["cents"] += event.cents
        return state

    with refold.open(tmp_path / "a.db", registry=kinds) as store:
        store.append("a-1", [Paid(5)])
        store.append("a-1", [refold.Event("paid.v2", {"euros": "1.00"})])
        assert store.fold("a-1", fold, version=0).state == {"cents": 5}
        with pytest.raises(UnknownEventType) as refused:
            store.fold("a-1", fold)
        assert (refused.value.id, refused.value.schema) == ("a-1@1", 2)


def test_a_type_may_be_named_with_its_schema(tmp_path: Path) -> None:
    """``x.v1`` and ``x`` are the same wherever a type is named."""
    with refold.open(tmp_path / "a.db") as store:
        store.append("a-1", [refold.Event("x"), refold.Event("y")])
        assert [e.id for e in store.read_all(types=["x.v1"])] == ["a-1@0"]


def test_what_replaces_an_event_happened_when_it_did(tmp_path: Path) -> None:
    """A replacement stands at the time of what it replaces, an addition at the end's."""
    said = [refold.Event("x", {"n": at}, occurred_at=at) for at in (10, 20, 30)]
    with refold.open(tmp_path / "a.db") as store:
        store.append("a-1", said)
        branch = store.branch("a-1").replacing("a-1@1", refold.Event("y")).adding(refold.Event("z"))
        assert [e.occurred_at_us for e in branch] == [10, 20, 30, 30]


def test_a_redaction_holds_along_a_saved_branch(tmp_path: Path) -> None:
    """A copied event is known by the id of the event that it copies."""
    with refold.open(tmp_path / "a.db") as store:
        store.append("call-1", [UserUtterance("one"), UserUtterance("two")])
        store.branch("call-1").without("call-1@0").save("call-1~b")
        redaction = RedactionApplied(
            event="call-1@1", pointer="/text", method="delete", reason="asked"
        )
        store.append("call-1~b", [redaction])
        state = store.fold("call-1~b", Conversation).state
        assert [turn.id for turn in state.transcript] == ["call-1@1"]
        assert state.transcript[0].redacted


@pytest.mark.parametrize("url", ["memory:", "a.db"])
def test_a_log_may_be_narrowed_to_any_number_of_types(tmp_path: Path, url: str) -> None:
    """Hundreds of them made SQLite refuse the statement, and the store was called damaged."""
    types = [f"test.t{number}" for number in range(2_000)]
    query = refold.Query(types=types)
    with refold.open(url if url == "memory:" else tmp_path / url) as store:
        for name in ("test.t1999.v2", "test.t19", "test.t2000", "test.t20000"):
            store.append("a-1", [refold.Event(name)])
        wanted = ["test.t1999", "test.t19"]
        for found in (
            store.read_all(types=types),
            store.read_all(types=types, categories=["a", "b"]),
            store.read_all(matching=query),
        ):
            assert [event.type for event in found] == wanted
        assert store.subscribe(types=types).fill()
        assert list(store.read_all(types=[])) == list(store.read_all(categories=["b"], types=[]))
