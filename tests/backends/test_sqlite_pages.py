"""Pages of rows: bounded by bytes as well as by number, and nothing is lost at their borders."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import refold
from refold.backends.sqlite import queries
from refold.backends.sqlite.backend import SqliteBackend

PAGE_BYTES = 20_000


@pytest.fixture
def backend(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SqliteBackend:
    """A stream of appends from small to larger than a page, by payload or by metadata."""
    monkeypatch.setattr(queries, "PAGE_BYTES_MAX", PAGE_BYTES)
    with refold.open(tmp_path / "a.db", synchronous="NORMAL") as store:
        for number in range(60):
            size = 50_000 if number == 33 else 900 * (number % 7)
            about = {"why": "y" * (25_000 if number == 41 else 700 * (number % 5))}
            events = [refold.Event("x", {"n": number, "x": "x" * size}), refold.Event("y")]
            store.append("a-1", events, metadata=about)
    return SqliteBackend(tmp_path / "a.db", mode="read")


def size_bytes(row: Any) -> int:
    """What a row holds of its appends."""
    return len(row.body) + sum(len(bytes(part.metadata)) for part in row.parts())


@pytest.mark.parametrize("backward", [False, True])
def test_a_page_of_a_stream_holds_so_many_bytes(backend: SqliteBackend, backward: bool) -> None:
    """Neither its bodies nor its metadata are larger than that, but for those of one append that
    are; together the pages are the stream.

    Appends are joined in one value, and those that came to a gigabyte could not be read at all.
    """
    found: list[int] = []
    first, last = 0, 119
    while first <= last:
        page = backend.rows("a-1", first=first, last=last, backward=backward, events_max=512)
        versions = [v for row in page for v in range(row.version, row.last_version + 1)]
        assert len(versions) == 2 or sum(map(size_bytes, page)) <= 2 * PAGE_BYTES
        found += reversed(versions) if backward else versions
        first, last = (0, versions[0] - 1) if backward else (versions[-1] + 1, 119)
    backend.close()
    assert found == list(range(119, -1, -1) if backward else range(120))


def test_a_page_of_the_log_holds_so_many_bytes(backend: SqliteBackend) -> None:
    """It ends with the append with which it comes to them, and the next goes on behind it."""
    found: list[int] = []
    while page := backend.log(after=2 * len(found), categories=None, types=None, rows_max=512):
        assert sum(map(size_bytes, page[:-1])) < PAGE_BYTES
        found += [row.version for row in page]
    backend.close()
    assert found == list(range(0, 120, 2))
