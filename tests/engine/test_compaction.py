"""Compaction: packed appends read as before, to the byte, and may be killed at any moment."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import refold
from refold.backends.sqlite import compaction
from refold.backends.sqlite.backend import SqliteBackend
from refold.backends.sqlite.compression import Frames, dictionary_bytes
from refold.backends.sqlite.file import connect
from refold.errors import Corrupt, UsageError

WAIT_S = 30


def everything(store: refold.Store) -> list[tuple[object, ...]]:
    """All that can be read of the log, stream by stream and as a whole, both ways."""

    def facts(events: Iterator[refold.Recorded]) -> list[tuple[object, ...]]:
        return [
            (e.position, e.id, e.kind, e.raw, e.metadata, e.occurred_at_us, e.recorded_at_us)
            for e in events
        ]

    found = facts(store.read_all())
    for info in store.streams():
        found += facts(store.read(info.stream))
        found += facts(store.read(info.stream, direction="backward", limit=7))
        found += [tuple(info)]
    return found


def filled(path: Path, *, appends: int = 300) -> refold.Store:
    """Interleaved streams of appends of several sizes, with keys, metadata and a branch."""
    store = refold.open(path, synchronous="NORMAL")
    for number in range(appends):
        store.append(
            f"{'call' if number % 3 else 'deal'}-{number % 7}",
            [
                refold.Event(f"type.{(number + at) % 70}", {"n": number, "at": at, "x": None})
                for at in range(number % 5 + 1)
            ],
            key=f"key-{number}" if number % 2 else None,
            metadata={"actor": "é", "n": number} if number % 4 else None,
        )
    store.branch("call-1", at=20).adding(refold.Event("extra", {})).save("call-1~b")
    return store


def good(store: refold.Store) -> bool:
    """Whether doctor finds nothing wrong."""
    return all(check.good for check in store.check())


def test_everything_reads_as_before(tmp_path: Path) -> None:
    """Reads of every kind give the same before and after, and after opening the file again."""
    with filled(tmp_path / "a.db") as store:
        before = everything(store)
        called = [e.id for e in store.read_all(after=100, categories=["call"], types=["type.66"])]
        packed = store.compact()
        assert packed.events == store.log_head() - 2  # All but the last append: the branch's two.
        assert everything(store) == before
        again = store.read_all(after=100, categories=["call"], types=["type.66"])
        assert [e.id for e in again] == called
        assert good(store)
    with refold.open(tmp_path / "a.db") as store:
        assert everything(store) == before
        for after in range(0, store.log_head(), 37):
            assert next(store.read_all(after=after)).position == after + 1


def test_keys_are_kept_for_ever(tmp_path: Path) -> None:
    """A packed append's key still answers a repetition, and refuses other bytes."""
    with refold.open(tmp_path / "a.db") as store:
        first = store.append("a-1", [refold.Event("x", {"n": 1})], key="k")
        store.append("b-1", [refold.Event("x")])
        store.compact()
        again = store.append("a-1", [refold.Event("x", {"n": 1})], key="k")
        assert again == first._replace(duplicate=True)
        with pytest.raises(UsageError) as refused:
            store.append("a-1", [refold.Event("x", {"n": 2})], key="k")
        assert refused.value.code == "key_reused"
        assert store.log_head() == 2


class _Overtaken(compaction.Packer):
    """A compaction that is held up each time it is about to store what it has compressed."""

    held_up: Callable[[], None]

    def _stored(self, ready: Sequence[Any]) -> int:
        self.ready = ready
        self.held_up()
        return super()._stored(ready)

    def goes_on(self) -> None:
        """Store what it has compressed."""
        super()._stored(self.ready)


def test_two_compactions_at_once_leave_no_hole(tmp_path: Path) -> None:
    """One that read a stream when it was short stores in the midst of another: no event is lost.

    The other then packed what came after, and the stream's head went back to what lay between.
    """
    path = tmp_path / "a.db"

    def overtaken(held_up: Callable[[], None]) -> _Overtaken:
        connection = opened.enter_context(contextlib.closing(connect(path, mode="write")))
        made = _Overtaken(connection, Frames(lambda number: dictionary_bytes(connection, number)))
        made.held_up = held_up
        return made

    def pack(one: _Overtaken) -> None:
        one.pack(until=1 << 62, progress=lambda *_: None)

    with contextlib.ExitStack() as opened, refold.open(path, synchronous="NORMAL") as store:

        def grown(appends: int) -> None:
            for _ in range(appends):
                store.append("call-1", [refold.Event("x")])
            store.append("other-1", [refold.Event("x")])

        def meanwhile() -> None:
            first.held_up = lambda: None
            grown(250)
            pack(second)

        grown(50)
        first = overtaken(meanwhile)
        second = overtaken(first.goes_on)
        pack(first)
        assert store.head("call-1") == 299
        assert [e.version for e in store.read("call-1")] == list(range(300))
        assert store.append("call-1", [refold.Event("x")]).version == 300
        store.compact()
        assert [e.version for e in store.read("call-1")] == list(range(301))
        assert good(store)


def test_streams_go_on_after_packing(tmp_path: Path) -> None:
    """Versions, expectations, time travel and branches go on across the border."""
    with filled(tmp_path / "a.db") as store:
        head = store.head("call-1")
        then = store.event("call-1@9").recorded_at_us
        store.compact()
        with pytest.raises(refold.Conflict):
            store.append("call-1", [refold.Event("x")], expected=refold.NO_STREAM)
        store.append("call-1", [refold.Event("x")], expected=head)
        store.compact()
        store.append("call-1", [refold.Event("x")], expected=head + 1)
        assert [e.version for e in store.read("call-1")] == list(range(head + 3))
        assert [e.version for e in store.read("call-1", from_version=5, to_version=9)] == [
            5,
            6,
            7,
            8,
            9,
        ]
        counted: refold.Fold[dict[str, Any]] = refold.Fold("n", lambda: {"n": 0})

        @counted.on(*[f"type.{number}" for number in range(70)])
        def count(state: dict[str, Any], event: dict[str, Any]) -> dict[str, Any]:
            return {"n": state["n"] + 1, "last": event}

        assert store.fold("call-1", counted, version=9).state["n"] == 10
        assert store.fold("call-1", counted, recorded_until=then).version >= 9
        assert store.fold("call-1", counted, position=1).version == -1
        assert good(store)


def test_small_segments_are_packed_again(tmp_path: Path) -> None:
    """Packing often leaves few segments: the small last one of a stream is joined with the next."""
    with refold.open(tmp_path / "a.db", synchronous="NORMAL") as store:
        for number in range(40):
            store.append("a-1", [refold.Event("x", {"n": number})])
            store.compact()
        assert isinstance(store._backend, SqliteBackend)
        segments = store._backend._query("SELECT count(*), sum(count) FROM segments")
        assert segments == [(1, 39)]
        assert [e.data["n"] for e in store.read_all()] == list(range(40))


def test_only_what_is_old_is_packed(tmp_path: Path) -> None:
    """Appends recorded at or after the moment stay as they are."""
    now = [1_000]
    with refold.open(tmp_path / "a.db", clock=lambda: now[0]) as store:
        for number in range(10):
            now[0] = 1_000 + number
            store.append(f"a-{number % 2}", [refold.Event("x")])
        assert store.compact(recorded_before=1_005).events == 5
        assert store.compact(recorded_before=1_005).events == 0
        assert good(store)


@settings(max_examples=20)
@given(data=st.data())
def test_any_mix_of_appends_and_compactions(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """However appends and compactions follow each other, the log is what was appended."""
    path = tmp_path_factory.mktemp("mix") / "a.db"
    expected: list[tuple[str, int]] = []
    with refold.open(path, synchronous="NORMAL") as store:
        for _ in range(data.draw(st.integers(1, 12))):
            if data.draw(st.booleans()):
                store.compact()
            for _ in range(data.draw(st.integers(1, 40))):
                stream = data.draw(st.sampled_from(["a-1", "b-1", "c-1"]))
                count = data.draw(st.sampled_from([1, 1, 2, 60]))
                store.append(stream, [refold.Event("x", {"n": len(expected)})] * count)
                expected += [(stream, len(expected))] * count
        assert [e.stream for e in store.read_all()] == [stream for stream, _ in expected]
        assert [e.data["n"] for e in store.read_all()] == [number for _, number in expected]
        assert good(store)


def test_writers_and_readers_go_on_meanwhile(tmp_path: Path) -> None:
    """While compaction runs over and over, no reader misses, doubles or reorders an event."""
    with refold.open(tmp_path / "a.db", synchronous="NORMAL") as store:
        done = threading.Event()

        def write(name: str) -> None:
            for number in range(150):
                store.append(name, [refold.Event("x", {"n": number})])

        def compact() -> None:
            while not done.is_set():
                store.compact()

        subscription = store.subscribe()

        def follow() -> list[int]:
            return [event.position for event in islice(subscription, 600)]

        def read() -> None:
            while not done.is_set():
                for name in [info.stream for info in store.streams()]:
                    numbers = [e.data["n"] for e in store.read(name)]
                    assert numbers == list(range(len(numbers)))

        with ThreadPoolExecutor(8) as pool:
            background = [pool.submit(compact), pool.submit(read)]
            follower = pool.submit(follow)
            writers = [pool.submit(write, f"s-{number}") for number in range(4)]
            try:
                for writer in writers:
                    writer.result(WAIT_S)
                assert follower.result(WAIT_S) == list(range(1, 601))
            finally:
                done.set()
                subscription.close()  # Ends the follower, should events be missing.
            for future in background:
                future.result(WAIT_S)
        assert good(store)


def compact_slowly(path: str, ready: Any) -> None:
    """Compact with many small commits, telling when it is under way."""
    compaction.SEGMENTS_PER_COMMIT = 1  # type: ignore[misc]
    with refold.open(path, synchronous="NORMAL") as store:
        store.compact(progress=lambda done, in_all: ready.set())


def test_killed_at_any_moment(tmp_path: Path) -> None:
    """Compactions killed half-way lose nothing, and the next one goes on."""
    path = tmp_path / "a.db"
    with filled(path, appends=600) as store:
        before = everything(store)
    context = multiprocessing.get_context("spawn")
    for _ in range(3):
        ready = context.Event()
        process = context.Process(target=compact_slowly, args=(str(path), ready))
        process.start()
        assert ready.wait(WAIT_S)
        assert process.pid is not None
        os.kill(process.pid, signal.SIGKILL)
        process.join(WAIT_S)
        with refold.open(path) as store:
            assert everything(store) == before
            assert good(store)
    with refold.open(path) as store:
        store.compact()
        assert everything(store) == before


def test_a_damaged_segment_is_told(tmp_path: Path) -> None:
    """A flipped byte in a segment is an error that names it, never other events."""
    path = tmp_path / "a.db"
    with filled(path) as store:
        store.compact()
        assert isinstance(store._backend, SqliteBackend)
        with store._backend._reading() as connection:
            rows: Any = connection.execute("SELECT position, frame FROM segments").fetchall()
            position, frame = rows[0]
            flipped = bytearray(frame)
            flipped[len(flipped) // 2] ^= 0x10
            connection.execute(
                "UPDATE segments SET frame = ? WHERE position = ?", (bytes(flipped), position)
            )
        with pytest.raises(Corrupt) as damaged:
            everything(store)
        assert damaged.value.position == position
        assert not good(store)
