"""The SQLite writer: races with other processes, and what it keeps in mind between commits."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import apsw
import pytest

from refold.backends.plan import Known, Needs
from refold.backends.sqlite import SqliteBackend, writer
from refold.core.expected import ANY, NO_STREAM
from refold.errors import Conflict, OutcomeUnknown, Unavailable
from refold.ports import Backend, Batch
from tests.conformance.storage import Stored, stored, write


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Callable[[], SqliteBackend]]:
    """Opens the same file at every call, as another process would."""
    backends: list[SqliteBackend] = []

    def open_backend() -> SqliteBackend:
        backends.append(SqliteBackend(tmp_path / "log.db", synchronous="NORMAL"))
        return backends[-1]

    yield open_backend
    for backend in backends:
        backend.close()


def positions(backend: Backend) -> list[int]:
    """Where the rows of the log stand."""
    rows = backend.log(after=0, categories=None, types=None, rows_max=10_000)
    return [row.position for row in rows]


def interrupt(
    backend: SqliteBackend, rival: SqliteBackend, monkeypatch: pytest.MonkeyPatch
) -> list[Stored]:
    """Let a rival store something each time that ``backend`` plans and the file is not locked."""
    planner = backend._writer
    assert planner is not None
    won: list[Stored] = []
    look = planner._known

    def look_and_lose(wanted: Needs, *, look_up_keys: bool) -> Known:
        known = look(wanted, look_up_keys=look_up_keys)
        if not planner._connection.in_transaction:
            (outcome,) = rival.commit([Batch([write("rival")])], now=5)
            won.append(stored(outcome))
        return known

    monkeypatch.setattr(planner, "_known", look_and_lose)
    return won


def test_who_loses_race_after_race_takes_a_turn(
    opened: Callable[[], SqliteBackend], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Found by a commit to 1,000 streams beside a busy writer: it lost a hundred races, and failed.

    After a few lost races it plans with the write lock held, and nobody can be faster.
    """
    backend, rival = opened(), opened()
    won = interrupt(backend, rival, monkeypatch)
    outcomes = backend.commit(
        [Batch([write("a", 2, NO_STREAM), write("b")]), Batch([write("rival", 1, NO_STREAM)])],
        now=5,
    )
    assert len(won) == writer.RACES_BEFORE_LOCKING
    assert stored(outcomes[0]).placed[0].position == won[-1].placed[0].position + 1
    assert isinstance(outcomes[1], Conflict)
    assert positions(backend) == [*range(1, len(won) + 1), len(won) + 1, len(won) + 3]


def test_a_refusal_is_made_on_what_the_log_says_now(
    opened: Callable[[], SqliteBackend], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An expectation that was refused on a cached head is looked at again before it is told."""
    backend, rival = opened(), opened()
    backend.commit([Batch([write("a")])], now=5)
    rival.commit([Batch([write("a", 3)])], now=5)
    (outcome,) = backend.commit([Batch([write("a", 1, 3)])], now=5)
    assert stored(outcome).placed == (("a", 5, 4, 1),)


def test_races_have_an_end(
    opened: Callable[[], SqliteBackend], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A commit that never settles is given up, says that nothing was written, and nothing was."""
    backend, rival = opened(), opened()
    monkeypatch.setattr(writer, "RACES_MAX", 2)
    won = interrupt(backend, rival, monkeypatch)
    with pytest.raises(Unavailable) as caught:
        backend.commit([Batch([write("a")])], now=5)
    assert caught.value.retry == "later"
    assert positions(backend) == list(range(1, len(won) + 1))
    assert backend.head("a") is None


def test_a_commit_that_failed_leaves_no_trace_in_mind(
    opened: Callable[[], SqliteBackend], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Streams and types that were not stored are not taken for known by the next commit."""
    backend = opened()
    planner = backend._writer
    assert planner is not None
    insert = planner._insert

    def fail(*_: object) -> bool:
        raise RuntimeError("in the middle of the transaction")

    monkeypatch.setattr(planner, "_insert", fail)
    with pytest.raises(RuntimeError):
        backend.commit([Batch([write("a")])], now=5)
    monkeypatch.setattr(planner, "_insert", insert)
    outcomes = backend.commit([Batch([write("a", 1, NO_STREAM)]), Batch([write("b")])], now=5)
    assert [stored(outcome).placed[0].position for outcome in outcomes] == [1, 2]
    assert [check for check in backend.check() if not check.good] == []


def test_a_key_that_was_taken_meanwhile(
    opened: Callable[[], SqliteBackend], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a group, the batch whose key another process stored first is its duplicate, alone."""
    backend, rival = opened(), opened()
    keyed = Batch([write("k"), write("k2")], "tx-1", b"digest")
    backend.commit([Batch([write("a"), write("k"), write("k2")])], now=5)
    (first,) = rival.commit([keyed], now=5)
    outcomes = backend.commit([Batch([write("a")]), keyed, Batch([write("new")])], now=5)
    assert stored(outcomes[1]) == stored(first)._replace(duplicate=True)
    assert [stored(outcome).duplicate for outcome in outcomes] == [False, True, False]
    assert positions(backend) == [1, 2, 3, 4, 5, 6, 7]


def test_many_more_streams_than_are_kept_in_mind(
    opened: Callable[[], SqliteBackend], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was forgotten for room is looked up again."""
    monkeypatch.setattr(writer, "STREAMS_CACHED_MAX", 4)
    backend = opened()
    for round_number in range(3):
        for number in range(9):
            expected = NO_STREAM if round_number == 0 else round_number - 1
            backend.commit([Batch([write(f"s{number}", 1, expected)])], now=5)
    batch = Batch([write(f"s{number}", 1, 2) for number in range(9)])
    assert len(stored(backend.commit([batch], now=5)[0]).placed) == 9
    assert positions(backend) == list(range(1, 37))


def test_a_group_larger_than_a_statement(
    opened: Callable[[], SqliteBackend], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is stored in several statements and one transaction: whole, or not at all."""
    monkeypatch.setattr(writer, "ROWS_PER_STATEMENT_MAX", 4)
    backend, rival = opened(), opened()
    keyed = Batch([write("k")], "tx-1", b"digest")
    rival.commit([keyed], now=5)
    batches = [*(Batch([write(f"s{n}", 1, ANY)]) for n in range(11)), keyed]
    outcomes = backend.commit(batches, now=5)
    assert [stored(outcome).duplicate for outcome in outcomes] == [False] * 11 + [True]
    assert positions(backend) == list(range(1, 13))


@pytest.mark.parametrize("how", ["alone", "planned", "large", "locked"])
def test_a_commit_that_failed_when_it_was_done_is_not_called_undone(
    opened: Callable[[], SqliteBackend], monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    """Whether it may be there is looked up where it began, not where it ended.

    SQLite calls its hook when the commit is done; an error of it comes out as one of the commit.
    """
    backend = opened()
    backend.commit([Batch([write("a")])], now=5)
    if how == "locked":
        monkeypatch.setattr(writer, "RACES_BEFORE_LOCKING", 0)
    made = backend._writer
    assert made is not None

    def failing(*_: object) -> int:
        made._connection.set_wal_hook(None)
        raise apsw.IOError("after the commit")

    made._connection.set_wal_hook(failing)
    streams = {"alone": 1, "planned": 2, "large": 300, "locked": 2}[how]
    batch = Batch([write("a"), *(write(f"b-{number}") for number in range(1, streams))])
    with pytest.raises(OutcomeUnknown):
        backend.commit([batch], now=5)
    assert positions(backend) == list(range(1, 2 + streams))
    (outcome,) = backend.commit([Batch([write("a")])], now=5)
    assert stored(outcome).placed[0].position == 2 + streams
