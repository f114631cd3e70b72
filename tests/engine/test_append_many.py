"""Appending much: many streams a commit, each append with its own outcome."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

import refold
from refold.core.canonical import digest_of
from refold.engine.group_commit import BATCHES_PER_CHUNK_MAX
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


def test_it_takes_no_more_than_a_chunk_ahead(tmp_path: Path) -> None:
    """An endless source is taken a chunk at a time, and a chunk is stored before it is told."""
    taken = 0

    def endless() -> Iterator[refold.Append]:
        nonlocal taken
        while True:
            yield one(f"s-{taken % 10}", taken)
            taken += 1

    with refold.open(tmp_path / "a.db") as store:
        done: list[int] = []
        outcomes = store.append_many(endless(), progress=done.append)
        assert store.log_head() == 0
        list(islice(outcomes, BATCHES_PER_CHUNK_MAX + 1))
        assert store.log_head() == 2 * BATCHES_PER_CHUNK_MAX
        assert taken <= 2 * BATCHES_PER_CHUNK_MAX
        assert done == [BATCHES_PER_CHUNK_MAX]


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
