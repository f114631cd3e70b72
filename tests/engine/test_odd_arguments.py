"""Whatever a public verb is given, what leaves it is an answer or an error of refold's own."""

from __future__ import annotations

import asyncio
import datetime
import tempfile
from collections.abc import Callable
from decimal import Decimal
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

import refold
from refold.conversation import Conversation
from refold.errors import RefoldError, StoreClosed

rf: Any = refold
EVENTS = [refold.Event("e", {})]
UTC, DAY = datetime.UTC, datetime.timedelta(days=1)
MINUTE = datetime.timedelta(minutes=1)
ODD: list[Any] = [
    *(None, True, 0, -1, 2**31, 2**63 - 1, 2**63, 2**70, -(2**63) - 1, 10**400, 10**5000),
    *(-(10**5000), 1.0, float("nan"), float("inf"), Decimal(1), Decimal("nan"), 1j, ...),
    *(
        "",
        "a\0b",
        "\ud800",
        "x" * 10**4,
        "é" * 200,
        "~",
        "call-1",
        "call-1@0",
        "call-1@" + "9" * 99,
    ),
    *(b"call-1", [], ["call-1"], [None], [["a"]], ["a\0"], ["\ud800"], (), {}, {"a": 1}, {1: 2}),
    *(set(), {"a"}, range(3), object(), int, "2026-01-01", "99999-01-01", "2026-13-01T00:00:00Z"),
    *(datetime.datetime.fromisoformat("2026-01-01"), datetime.date(2026, 1, 1)),
    datetime.datetime.min.replace(tzinfo=datetime.timezone(DAY - MINUTE)),
    datetime.datetime.max.replace(tzinfo=datetime.timezone(MINUTE - DAY)),
    *(refold.Query(types=["e"]), refold.Query(tags=["t"]), EVENTS[0], refold.ANY, Conversation),
]


def counting(name: Any = "count") -> refold.Fold[int]:
    """A fold of a name."""
    fold = refold.Fold(name, int, state_type=int)
    fold.on("e")(lambda state, event: state + 1)
    return fold


COUNT = counting()
DECIDER: Any = refold.Decider(COUNT, lambda command, state: EVENTS)
CALLS: dict[str, Callable[[Any, Any], Any]] = {
    "append.stream": lambda s, v: s.append(v, EVENTS),
    "append.events": lambda s, v: s.append("z-1", v),
    "append.event": lambda s, v: s.append("z-1", [v]),
    "append.expected": lambda s, v: s.append("z-2", EVENTS, expected=v),
    "append.expected2": lambda s, v: s.append("call-1", EVENTS, expected=v),
    "append.key": lambda s, v: s.append("z-3", EVENTS, key=v),
    "append.metadata": lambda s, v: s.append("z-4", EVENTS, metadata=v),
    "append.tags": lambda s, v: s.append("z-5", EVENTS, tags=v),
    "append.unless": lambda s, v: s.append("z-6", EVENTS, unless=v),
    "append.after": lambda s, v: s.append("z-6", EVENTS, unless=rf.Query(types=["q"]), after=v),
    "append.aftertag": lambda s, v: s.append("z-6", EVENTS, unless=rf.Query(tags=["q"]), after=v),
    "append.after-only": lambda s, v: s.append("z-6", EVENTS, after=v),
    "Event.type": lambda s, v: s.append("z-7", [rf.Event(v)]),
    "Event.data": lambda s, v: s.append("z-7", [rf.Event("e", v)]),
    "Event.schema": lambda s, v: s.append("z-7", [rf.Event("e", schema=v)]),
    "Event.metadata": lambda s, v: s.append("z-7", [rf.Event("e", metadata=v)]),
    "Event.occurred_at": lambda s, v: s.append("z-7", [rf.Event("e", occurred_at=v)]),
    "Event.of": lambda s, v: s.append("z-7", [rf.Event.of(v)]),
    "together": lambda s, v: s.append_together(v),
    "together.one": lambda s, v: s.append_together([v]),
    "together.stream": lambda s, v: s.append_together([rf.Append(v, EVENTS)]),
    "together.events": lambda s, v: s.append_together([rf.Append("y-1", v)]),
    "together.expected": lambda s, v: s.append_together(
        [rf.Append("y-1", EVENTS, v), rf.Append("y-2", EVENTS, v)]
    ),
    "together.key": lambda s, v: s.append_together([rf.Append("y-1", EVENTS)], key=v),
    "together.partkey": lambda s, v: s.append_together([rf.Append("y-1", EVENTS, key=v)]),
    "together.unless": lambda s, v: s.append_together([rf.Append("y-1", EVENTS)], unless=v),
    "together.after": lambda s, v: s.append_together(
        [rf.Append("y-1", EVENTS)], unless=rf.Query(types=["q"]), after=v
    ),
    "many": lambda s, v: list(s.append_many(v)),
    "many.one": lambda s, v: list(s.append_many([v])),
    "execute.stream": lambda s, v: s.execute(v, DECIDER, 1),
    "execute.decider": lambda s, v: s.execute("x-1", v, 1),
    "execute.command": lambda s, v: s.execute("x-1", DECIDER, v),
    "execute.id": lambda s, v: s.execute("x-1", DECIDER, 1, command_id=v),
    "execute.cmd+id": lambda s, v: s.execute("x-1", DECIDER, v, command_id="k1"),
    "execute.metadata": lambda s, v: s.execute("x-1", DECIDER, 1, metadata=v),
    "execute.tags": lambda s, v: s.execute("x-1", DECIDER, 1, tags=v),
    "execute.over": lambda s, v: s.execute("x-1", DECIDER, 1, over=v),
    "read": lambda s, v: s.read(v),
    "read.from": lambda s, v: s.read("call-1", from_version=v),
    "read.to": lambda s, v: s.read("call-1", to_version=v),
    "read.dir": lambda s, v: s.read("call-1", direction=v),
    "read.limit": lambda s, v: s.read("call-1", limit=v),
    "read.fromback": lambda s, v: s.read("call-1", from_version=v, direction="backward"),
    "read.toback": lambda s, v: s.read("call-1", to_version=v, direction="backward"),
    "read_all.after": lambda s, v: s.read_all(after=v),
    "read_all.cat": lambda s, v: s.read_all(categories=v),
    "read_all.types": lambda s, v: s.read_all(types=v),
    "read_all.matching": lambda s, v: s.read_all(matching=v),
    "read_all.aftermatching": lambda s, v: s.read_all(matching=rf.Query(tags=["t"]), after=v),
    "read_all.aftermatching2": lambda s, v: s.read_all(matching=rf.Query(types=["e"]), after=v),
    "read_all.limit": lambda s, v: s.read_all(limit=v),
    "subscribe.after": lambda s, v: s.subscribe(after=v).fill(),
    "subscribe.cat": lambda s, v: s.subscribe(categories=v).fill(),
    "subscribe.types": lambda s, v: s.subscribe(types=v).fill(),
    "head": lambda s, v: s.head(v),
    "wait_for": lambda s, v: s.wait_for(v, 1, timeout_s=0),
    "wait_for.pos": lambda s, v: s.wait_for("p", v, timeout_s=0),
    "wait_for.t": lambda s, v: s.wait_for("p", 0, timeout_s=v),
    "event": lambda s, v: s.event(v),
    "find": lambda s, v: s.find(v),
    "streams": lambda s, v: s.streams(category=v),
    "fold.stream": lambda s, v: s.fold(v, COUNT),
    "fold.fold": lambda s, v: s.fold("call-1", v),
    "fold.version": lambda s, v: s.fold("call-1", COUNT, version=v),
    "fold.position": lambda s, v: s.fold("call-1", COUNT, position=v),
    "fold.qposition": lambda s, v: s.fold(rf.Query(types=["e"]), COUNT, position=v),
    "fold.recorded": lambda s, v: s.fold("call-1", COUNT, recorded_until=v),
    "fold.occurred": lambda s, v: s.fold("call-1", COUNT, occurred_until=v),
    "fold_all": lambda s, v: s.fold_all(v),
    "fold_all.after": lambda s, v: s.fold_all(COUNT, after=v),
    "fold_all.cat": lambda s, v: s.fold_all(COUNT, categories=v),
    "branch": lambda s, v: s.branch(v),
    "branch.at": lambda s, v: s.branch("call-1", at=v),
    "branch.without": lambda s, v: s.branch("call-1").without(v),
    "branch.replacing": lambda s, v: s.branch("call-1").replacing(v, EVENTS[0]),
    "branch.replacing2": lambda s, v: s.branch("call-1").replacing("call-1@1", v).save("call-1~r"),
    "branch.adding": lambda s, v: s.branch("call-1").adding(v).save("call-1~a"),
    "branch.save": lambda s, v: s.branch("call-1").adding(EVENTS[0]).save(v),
    "save_branch": lambda s, v: s.save_branch(v, "call-1~c"),
    "branch.fold": lambda s, v: s.branch("call-1").fold(v),
    "compact": lambda s, v: s.compact(recorded_before=v),
    "compact.progress": lambda s, v: s.compact(progress=None if callable(v) else v),
    "many.progress": lambda s, v: list(s.append_many([], progress=v)),
    "copy_into": lambda s, v: s.copy_into(v),
    "backup": lambda s, v: s.backup(Path(tempfile.mkdtemp(), v) if isinstance(v, str) else v),
    "Query.types": lambda s, v: rf.Query(types=v),
    "Query.tags": lambda s, v: rf.Query(tags=v),
    "Fold.on": lambda s, v: rf.Fold("q", int).on(v)(lambda s, e: s),
    "Fold.on.f": lambda s, v: rf.Fold("q", int).on("e")(v),
    "Fold.name": lambda s, v: s.fold("call-1", rf.Fold(v, int)),
    "Fold.initial": lambda s, v: s.fold("call-1", rf.Fold("q", v)),
    "Fold.revision": lambda s, v: s.fold("call-1", rf.Fold("q", int, revision=v)),
    "Fold.state_type": lambda s, v: s.fold("call-1", rf.Fold("q", int, state_type=v)),
    "Fold.registry": lambda s, v: s.fold("call-1", rf.Fold("q", int, registry=v)),
    "Fold.run": lambda s, v: COUNT.run(v),
    "Fold.evolve": lambda s, v: COUNT.evolve(0, v),
    "Decider": lambda s, v: rf.Decider(v, v),
    "Decider.rej": lambda s, v: rf.Decider(COUNT, lambda c, s: [], rejections=v),
    "event()": lambda s, v: rf.Registry().event(v)(int),
    "event.schema": lambda s, v: rf.Registry().event("e", schema=v)(int),
    "event.class": lambda s, v: rf.Registry().event("e")(v),
    "upcast": lambda s, v: rf.Registry().upcast(v, schema=1)(lambda d: d),
    "upcast.function": lambda s, v: rf.Registry().upcast("e", schema=1)(v),
    "upcast.schema": lambda s, v: rf.Registry().upcast("e", schema=v)(lambda d: d),
    "upcast.into": lambda s, v: rf.Registry().upcast("e", schema=1, into=v)(lambda d: d),
    "retire": lambda s, v: rf.Registry().retire(v, reason="x"),
    "retire.reason": lambda s, v: rf.Registry().retire("e", reason=v),
    "diff2": lambda s, v: rf.diff(s.read("call-1"), v),
    "open.mode": lambda s, v: rf.open(tempfile.mkdtemp() + "/q.db", mode=v).close(),
    "open.sync": lambda s, v: rf.open(tempfile.mkdtemp() + "/q.db", synchronous=v).close(),
    "open.registry": lambda s, v: (lambda q: (q.append("a", EVENTS), q.close()))(
        rf.open("memory:", registry=v)
    ),
    "open.clock": lambda s, v: (lambda q: (q.append("a", EVENTS), q.close()))(
        rf.open("memory:", clock=v)
    ),
    "open.clock2": lambda s, v: (lambda q: (q.append("a", EVENTS), q.close()))(
        rf.open("memory:", clock=lambda: v)
    ),
}
"""Verbs of the library, each with one argument that may be anything."""


@pytest.fixture(scope="module", params=["memory:", "file"])
def store(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A store of every kind, which goes on being used."""
    url = tmp_path_factory.mktemp("odd") / "a.db" if request.param == "file" else request.param
    with refold.open(url, synchronous="NORMAL") as opened:
        opened.append("call-1", EVENTS * 3, tags=["t"])
        yield opened


@pytest.mark.parametrize("name", CALLS)
def test_what_leaves_a_verb_is_ours(store: refold.Store, name: str) -> None:
    """An error says what is wrong in words, can be shown, and leaves the store as it was."""
    for given in ODD:
        head = store.log_head()
        try:
            answer = CALLS[name](store, given)
            list(islice(answer, 5)) if hasattr(answer, "__next__") else answer
        except RefoldError as error:
            assert error.code
            assert error.message
            assert str(error).isprintable() or "\n" in str(error)
            assert store.log_head() == head
    assert store.event("call-1@0").type == "e"


def test_a_place_for_a_store_is_a_path(tmp_path: Path) -> None:
    """And a name that no file can have is refused as such."""
    with rf.open(tmp_path / "a.db") as store:
        store.append("call-1", EVENTS)
        for url in ("\ud800", "a\0b", "", tmp_path / ("x" * 10**4)):
            with pytest.raises(RefoldError):
                rf.open(url)
        assert [path.name for path in tmp_path.iterdir() if path.suffix == ".db"] == ["a.db"]


@pytest.mark.parametrize("kind", ["memory:", "file"])
def test_a_closed_store_says_so(tmp_path: Path, kind: str) -> None:
    """Every verb that needs the file; what is refused is refused first."""
    store: Any = refold.open(tmp_path / "a.db" if kind == "file" else kind)
    store.append("call-1", EVENTS * 3)
    store.close()
    verbs: list[Callable[[], Any]] = [
        lambda: store.append("call-1", EVENTS),
        lambda: store.append_together([refold.Append("call-1", EVENTS)]),
        lambda: list(store.append_many([refold.Append("call-1", EVENTS)])),
        lambda: store.execute("call-1", DECIDER, 1),
        lambda: list(store.read("call-1")),
        lambda: list(store.read_all()),
        lambda: store.head("call-1"),
        lambda: store.log_head(),
        lambda: store.event("call-1@0"),
        lambda: store.find("k"),
        lambda: list(store.streams()),
        lambda: store.fold("call-1", COUNT),
        lambda: store.fold_all(COUNT),
        lambda: store.branch("call-1"),
        lambda: store.wait_for("p", 1),
        lambda: list(store.check()),
    ]
    if kind == "file":
        verbs += [
            lambda: store.compact(),
            lambda: store.sizes(),
            lambda: store.backup(tmp_path / "b.db"),
            lambda: list(store.repair()),
        ]
    for verb in verbs:
        with pytest.raises(StoreClosed):
            verb()
    assert list(store.subscribe()) == []
    with refold.open(tmp_path / "b.db" if kind == "file" else kind) as other:
        begun = other.subscribe()
    assert list(begun) == []


def test_an_async_store_refuses_the_same() -> None:
    """Its verbs are those of a store, and so are its errors."""

    async def tried() -> None:
        async with rf.open_async("memory:") as store:
            await store.append("call-1", EVENTS)
            for odd in (-1, 2**70, 1.0, True, "1", 10**5000, [], object()):
                with pytest.raises(RefoldError):
                    await store.append("call-1", EVENTS, expected=odd)
                with pytest.raises(RefoldError):
                    await store.read(odd).__anext__()
                with pytest.raises(RefoldError):
                    await store.head(None)
            assert [e.id async for e in store.read("call-1", limit=2**70)] == ["call-1@0"]

    asyncio.run(tried())
