"""Who is told of an append: whoever asked where he hears of them, and nobody else."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from time import sleep, time_ns
from uuid import uuid4

import psycopg
import pytest

import refold
from refold import Event
from refold.backends.postgres.address import parsed
from refold.backends.postgres.schema import migrations
from refold.backends.postgres.session import ServerSession, connected
from tests.support import postgres

A = Event("test.a")
SENTINEL = "test_sentinel"


@pytest.fixture
def url() -> Iterator[str]:
    """A store that is there."""
    made = postgres.schema_of_its_own()
    refold.open(made).close()
    yield made


@pytest.fixture
def listening(url: str) -> Iterator[ServerSession]:
    """A session of somebody who listens."""
    session = connected(parsed(url))
    yield session
    session.close()


def heard(session: psycopg.Connection[tuple[object, ...]]) -> list[str]:
    """The channels that a session heard something on, in order."""
    session.execute(f"LISTEN {SENTINEL}")
    session.execute(f"NOTIFY {SENTINEL}")
    found: list[str] = []
    while SENTINEL not in found:
        found += [one.channel for one in session.notifies(timeout=60, stop_after=1)]
    return found[:-1]


def stored(store: refold.Store, how: str) -> None:
    """An append, by the function for a lone one or by the other."""
    if how == "lone":
        store.append("call-1", [A])
    else:
        assert len(list(store.append_many([refold.Append("call-1", [A])] * 2))) == 2


@pytest.mark.parametrize("how", ["lone", "many"])
def test_nothing_is_said_before_somebody_asks_where(
    url: str, listening: ServerSession, how: str
) -> None:
    """What is said at each commit is a lock and a look at every session."""
    ((name,),) = listening.execute(f"SELECT {listening.schema}.channel_of(0)".encode()).fetchall()
    listening.execute(f'LISTEN "{name}"'.encode())
    with refold.open(url) as store:
        stored(store, how)
        assert heard(listening) == []
        assert listening.run("channel", 0) == [(name,)]
        stored(store, how)
        assert heard(listening) == [name]
        listening.execute("SELECT pg_advisory_unlock_all()")
        stored(store, how)
        assert heard(listening) == []


def test_who_asks_while_an_append_is_under_way_sees_it(url: str, listening: ServerSession) -> None:
    """He is answered when it can be seen, so that it is neither seen nor heard of by no one."""
    late = connected(parsed(url))
    late.execute("BEGIN")
    values = (
        0,
        len(migrations()),
        str(uuid4()),
        time_ns() // 1000,
        True,
        "call-1",
        -1,
        1,
        "test.a",
        None,
    )
    assert late.run("append_one", *values, '[["test.a",{}]]')[0][0] == 1
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(listening.run, "channel", 0)
        waits = f"SELECT 1 FROM pg_locks WHERE NOT granted AND pid = {listening.info.backend_pid}"
        while not late.execute(waits.encode()).fetchall():
            assert not asked.done()
            sleep(0.01)
        late.execute("COMMIT")
        asked.result(60)
    assert listening.run("log_end", 0)[0][0] == 1
    late.close()
