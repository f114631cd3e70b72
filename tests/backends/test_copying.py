"""One log in another, of whatever kinds they are: all stands there as it stood."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import refold
from refold import Append, Event
from refold.backends.postgres.address import parsed
from refold.backends.postgres.session import ServerSession
from refold.errors import Corrupt, UsageError
from refold.times import restart_clock
from tests.faults.judging import facts
from tests.support import postgres, roles
from tests.support.stores import url_of

PLACES = (("log.db", "postgresql:"), ("postgresql:", "other.db"), ("log.jsonl", "postgresql:"))


def told(store: refold.Store) -> None:
    """Appends of every sort."""
    for number in range(40):
        events = [
            Event(f"test.{number % 3}", {"n": k, "text": "\u0000é"}) for k in range(number % 4 + 1)
        ]
        tags = [f"n:{number % 2}"] if number % 3 else []
        store.append(f"call-{number % 5}", events, tags=tags)
        if number % 4 == 0:
            parts = [
                Append("both-1", events),
                Append("both-2", [Event("test.b", {}, occurred_at=5)]),
            ]
            store.append_together(parts, key=f"both-{number}")
        if number % 5 == 0:
            store.append("keyed-1", events, key=f"key-{number}", metadata={"by": number})
    store.branch("call-1", at=1).adding(Event("test.what-if")).save("call-1~b")


def clocked() -> Iterator[int]:
    """Readings that stand a little behind now and then, and far behind in the end."""
    for number in range(1_000):
        yield 1_772_000_000_000_000 + number * 86_400_000_000 - (number % 7 == 3) * 90_000_000_000


def check_same(one: refold.Store, other: refold.Store) -> None:
    """Events, branches and keys are the same, and both are sound."""
    assert facts(other.read_all()) == facts(one.read_all())
    assert list(other.streams()) == list(one.streams())
    for number in range(40):
        for key in (f"both-{number}", f"key-{number}"):
            assert other.find(key) == one.find(key)
    assert [check for check in other.check() if not check.good and check.name != "clock"] == []


@pytest.mark.parametrize(("source", "target"), PLACES)
@pytest.mark.filterwarnings("ignore:the clock is")
def test_all_stands_as_it_stood(tmp_path: Path, source: str, target: str) -> None:
    """Positions, versions, times, bytes, branches and keys, packed or not; and so it is back."""
    clock = clocked()
    with (
        refold.open(url_of(source, tmp_path), clock=lambda: next(clock)) as store,
        refold.open(url_of(target, tmp_path)) as copy,
        refold.open(tmp_path / "back.db") as back,
    ):
        told(store)
        restart_clock(store)
        store.append("call-1~b", [Event("test.after")])
        if source.endswith(".db"):
            store.compact()
        assert store.copy_into(copy) == store.log_head()
        check_same(store, copy)
        assert copy.copy_into(back) == store.log_head()
        check_same(store, back)


def test_one_that_was_cut_off_goes_on(tmp_path: Path) -> None:
    """Where it was, as often as it takes; what came meanwhile is taken too."""

    def cut(done: int, whole: int) -> None:
        if done > seen[-1] + 20:
            seen.append(done)
            raise KeyboardInterrupt

    seen = [0]
    with (
        refold.open(tmp_path / "log.db") as store,
        refold.open(url_of("postgresql:", tmp_path)) as copy,
    ):
        told(store)
        while seen[-1] < 60:
            with pytest.raises(KeyboardInterrupt):
                store.copy_into(copy, progress=cut)
        assert copy.log_head() == seen[-1]
        store.append("call-9", [Event("test.later")])
        assert store.copy_into(copy) == store.log_head()
        check_same(store, copy)


def test_keys_are_looked_up_many_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A copy of keyed appends asks for hundreds of keys in one go, and looks at each."""
    asked: list[int] = []
    real = ServerSession.run

    def run(session: ServerSession, name: str, *values: Any) -> list[tuple[Any, ...]]:
        if name == "kept":
            asked.append(len(values[1]))
        return real(session, name, *values)

    url = postgres.schema_of_its_own()
    with refold.open(tmp_path / "log.db") as source, refold.open(url) as target:
        for number in range(300):
            source.append("call-1", [Event("test.a")], key=f"k{number}")
        monkeypatch.setattr(ServerSession, "run", run)
        source.copy_into(target)
        assert sum(asked) == 300
        assert len(asked) <= 2
        with postgres.connect(postgres.shared()) as admin:
            schema = parsed(url).schema
            admin.execute(f"UPDATE {schema}.keys SET digest = 'x' WHERE key = 'k200'".encode())
        with pytest.raises(Corrupt, match="another append under 'k200'"):
            source.copy_into(target)


def test_a_store_of_something_else_is_refused(tmp_path: Path) -> None:
    """Nothing is stored in it; a copy that somebody has changed is found out."""
    with refold.open(tmp_path / "log.db") as store, refold.open(tmp_path / "other.db") as other:
        told(store)
        other.append("call-0", [Event("test.other")])
        with pytest.raises(UsageError, match="holds 1 event, none of them of this copy"):
            store.copy_into(other)
        assert other.log_head() == 1
    with refold.open(tmp_path / "log.db") as store, refold.open(tmp_path / "copy.db") as copy:
        store.copy_into(copy)
        other_bytes = "UPDATE log SET body = replace(body, 'test.0', 'test.9') WHERE position = 1"
        copy._backend._writing.execute(other_bytes)  # type: ignore[attr-defined]
        with pytest.raises(Corrupt, match="position 1"):
            store.copy_into(copy)


def test_a_writer_copies_too(tmp_path: Path) -> None:
    """One who may only append, and of whom each time is looked at."""
    shop = roles.shared(None)
    clock = (1_772_000_000_000_000 + number * 40_000_000_000 for number in range(1_000))
    with (
        refold.open(tmp_path / "log.db", clock=lambda: next(clock)) as store,
        refold.open(shop.url(shop.login("writer"))) as copy,
    ):
        told(store)
        assert store.copy_into(copy) == store.log_head()
        check_same(store, copy)
