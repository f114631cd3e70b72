"""Appending much: many streams a commit, each append with its own outcome."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

import refold
from refold.core.canonical import digest_of
from refold.engine.chunks import BATCHES_MAX
from refold.errors import Conflict, InvalidEvent, UsageError


def one(stream: str, number: int = 0, *, key: str | None = None) -> refold.Append:
    """An append of one event."""
    return refold.Append(stream, [refold.Event("n", {"n": number})], key=key)


def test_each_append_has_its_own_outcome(tmp_path: Path) -> None:
    """An invalid event, a conflict or a reused key fails alone; the others of the chunk stay."""
    with refold.open(tmp_path / "a.db") as store:
        outcomes = list(
            store.append_many(
                [
                    one("a-1", key="k1"),
                    refold.Append("b-1", [refold.Event("n", {"x": float("nan")})]),
                    one("a-1")._replace(expected=refold.NO_STREAM),
                    one("a-1", key="k1"),
                    one("c-1", 9, key="k1"),
                    one("a-1", 2),
                ]
            )
        )
        kinds = [type(outcome) for outcome in outcomes]
        assert kinds == [
            refold.Appended,
            InvalidEvent,
            Conflict,
            refold.Appended,
            UsageError,
            refold.Appended,
        ]
        again = outcomes[3]
        assert isinstance(again, refold.Appended)
        assert again.duplicate
        assert [event.data["n"] for event in store.read("a-1")] == [0, 2]
        assert [info.stream for info in store.streams()] == ["a-1"]


def test_it_takes_no_more_than_two_chunks(tmp_path: Path) -> None:
    """Of an endless source: one that is stored before it is told, and one made ready meanwhile."""
    taken = 0

    def endless() -> Iterator[refold.Append]:
        nonlocal taken
        while True:
            yield one(f"s-{taken % 10}", taken)
            taken += 1

    with refold.open(tmp_path / "a.db") as store:
        done: list[int] = []
        outcomes = store.append_many(endless(), progress=done.append)
        assert store.log_head() == taken == 0
        list(islice(outcomes, BATCHES_MAX))
        assert store.log_head() == BATCHES_MAX
        assert taken < 2 * BATCHES_MAX
        next(outcomes)
        assert store.log_head() == 2 * BATCHES_MAX
        assert taken < 3 * BATCHES_MAX
        assert done == [BATCHES_MAX]


def test_what_is_appended_is_taken_in_the_callers_thread() -> None:
    """Another commits while it is, and has ended whenever an outcome is given."""
    here, taken_by, stored_by = threading.get_ident(), set[int](), list[int]()

    def source() -> Iterator[refold.Append]:
        for number in range(2 * BATCHES_MAX + 1):
            taken_by.add(threading.get_ident())
            yield one("s-1", number)

    def clock() -> int:
        stored_by.append(threading.get_ident())
        return 1

    before = threading.enumerate()
    with refold.open("memory:", clock=clock) as store:
        for _ in store.append_many(source()):
            assert threading.enumerate() == before
        assert [event.data["n"] for event in store.read("s-1")] == list(range(2 * BATCHES_MAX + 1))
    assert taken_by == {here}
    assert [one == here for one in stored_by] == [False, False, True]


def test_a_source_may_append_itself(tmp_path: Path) -> None:
    """While the chunk before it is stored, such as what its own appends refer to."""
    with refold.open(tmp_path / "a.db") as store:

        def source() -> Iterator[refold.Append]:
            for number in range(3 * BATCHES_MAX):
                if number % 100 == 0:
                    store.append("notes-1", one("").events)
                yield one("s-1", number)

        assert len(list(store.append_many(source()))) == 3 * BATCHES_MAX
        assert store.head("s-1") == 3 * BATCHES_MAX - 1
        assert store.head("notes-1") == 7


@pytest.mark.parametrize("failure", [LookupError("no more"), KeyboardInterrupt()], ids=repr)
def test_a_source_that_fails_tells_first_what_was_stored(
    tmp_path: Path, failure: BaseException
) -> None:
    """An interrupt waits for the commit alone. What was taken of the chunk is not stored."""

    def source() -> Iterator[refold.Append]:
        for number in range(BATCHES_MAX + 10):
            yield one("s-1", number)
        raise failure

    told, threads = list[object](), threading.enumerate()
    with refold.open(tmp_path / "a.db") as store:
        with pytest.raises(type(failure)) as raised:
            for outcome in store.append_many(source()):
                told.append(outcome)
        assert raised.value is failure
        assert threading.enumerate() == threads
        assert store.head("s-1") == BATCHES_MAX - 1
    assert len(told) == (BATCHES_MAX if isinstance(failure, Exception) else 0)


def test_a_commit_that_fails_ends_the_import() -> None:
    """As itself, though the source fails meanwhile too; what was made ready is not stored."""
    times = iter([1, -1])

    def source() -> Iterator[refold.Append]:
        for number in range(2 * BATCHES_MAX + 9):
            yield one("s-1", number)
        raise LookupError("no more")

    with refold.open("memory:", clock=lambda: next(times)) as store:
        outcomes = store.append_many(source())
        assert len(list(islice(outcomes, BATCHES_MAX))) == BATCHES_MAX
        with pytest.raises(UsageError, match="clock"):
            next(outcomes)
        assert list(outcomes) == []
        assert store.head("s-1") == BATCHES_MAX - 1


def test_an_import_that_is_given_up_stores_no_more(tmp_path: Path) -> None:
    """What was made ready beside the last commit is let go."""
    with refold.open(tmp_path / "a.db") as store:
        outcomes = store.append_many(one("s-1", number) for number in range(3 * BATCHES_MAX))
        next(outcomes)
        del outcomes
        assert store.head("s-1") == BATCHES_MAX - 1


def test_an_import_goes_on_when_the_main_thread_has_ended(tmp_path: Path) -> None:
    """A program waits for its other threads at its end."""
    program = f"""
import threading
import refold

def source():
    for number in range(3 * {BATCHES_MAX}):
        if number == 1:
            threading.main_thread().join()
        yield refold.Append("s-1", [refold.Event("n", {{"n": number}})])

def work():
    with store:
        print(len(list(store.append_many(source()))))

store = refold.open({str(tmp_path / "a.db")!r})
threading.Thread(target=work).start()
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == (f"{3 * BATCHES_MAX}\n", "")


def test_async(tmp_path: Path) -> None:
    """The async store gives the same outcomes."""

    async def run() -> list[str]:
        async with refold.open_async(tmp_path / "a.db") as store:
            many = store.append_many(one(f"s-{number}") for number in range(300))
            return [outcome.stream async for outcome in many]

    assert asyncio.run(run()) == [f"s-{number}" for number in range(300)]


def test_the_parts_of_one_append_are_digested_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Their key is that of the whole: it is checked, and its bytes are hashed, once."""
    digested: list[int] = []

    def counted(parts: Iterable[tuple[str, str, str | None]]) -> bytes:
        found = list(parts)
        digested.append(len(found))
        return digest_of(found)

    monkeypatch.setattr("refold.engine.append.digest_of", counted)
    with refold.open("memory:") as store:
        store.append_together([one("a-1"), one("b-1"), one("c-1")], key="once")
    assert digested == [3]


def test_no_tags_may_be_said_with_none() -> None:
    """As with the other arguments that may be left out; those in the metadata stay."""
    nothing: Any = None
    with refold.open("memory:") as store:
        for metadata in (None, {"k": 1}, {"tags": ["x"]}):
            store.append("a-1", one("a-1").events, tags=nothing, metadata=metadata)
        assert [event.metadata for event in store.read("a-1")] == [{}, {"k": 1}, {"tags": ["x"]}]
