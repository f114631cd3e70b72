"""What a store keeps in memory is bounded, whoever wrote the file and however much stands in it."""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import apsw
import pytest

import refold
from refold.backends.sqlite import backend, compression, queries, writer
from refold.backends.sqlite.backend import SqliteBackend
from refold.backends.sqlite.compression import COMPRESSORS_KEPT_MAX, DICTIONARIES_KEPT_MAX, zstd
from refold.errors import Conflict, Corrupt, RefoldError

MANY = 40_000
"""More than a statement of SQLite's has places for values."""
MEMORY_BYTES_MAX = 8 * 1024 * 1024


def backend_of(store: refold.Store) -> SqliteBackend:
    """The backend of a store in a file."""
    assert isinstance(store._backend, SqliteBackend)
    return store._backend


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("kind", ["memory:", "file"])
def test_any_number_of_names_narrows(tmp_path: Path, kind: str, packed: bool) -> None:
    """Tens of thousands of categories and types are looked for as one is, on every backend."""
    with refold.open(tmp_path / "a.db" if kind == "file" else kind) as store:
        for number in range(20):
            store.append(f"c{number}-1", [refold.Event(f"t{number}", {})] * 2)
        if packed and kind == "file":
            store.compact()
        odd = ["", "a\0b", "\ud800", 'c3"', "c5'"]
        names = [*odd, *(f"x{number}" for number in range(MANY)), "c3", "c5"]
        types = [*odd, *(f"x{number}" for number in range(MANY)), "t5", "t7"]
        read = store.read_all
        assert [e.stream for e in read(categories=names)] == ["c3-1", "c3-1", "c5-1", "c5-1"]
        assert [e.type for e in read(types=types)] == ["t5", "t5", "t7", "t7"]
        assert [e.id for e in read(categories=names, types=types)] == ["c5-1@0", "c5-1@1"]
        assert list(read(categories=[])) == list(read(types=[])) == []
        count = refold.Fold("count", int)
        count.on("t3", "t9")(lambda state, event: state + 1)
        assert store.fold_all(count, categories=names).state == 2


@pytest.mark.parametrize("limit", [2**31, 2**63 - 1, 2**63, 2**70, 10**400])
def test_a_limit_may_be_any_number(limit: int) -> None:
    """One that no log reaches is no limit."""
    with refold.open("memory:") as store:
        store.append("a-1", [refold.Event("e", 1)] * 3)
        query = refold.Query(types=["e"])
        assert len(list(store.read("a-1", limit=limit))) == 3
        assert len(list(store.read("a-1", direction="backward", limit=limit))) == 3
        assert len(list(store.read_all(limit=limit))) == 3
        assert len(list(store.read_all(matching=query, limit=limit))) == 3


def test_refusals_fill_no_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a writer knows of streams is bounded, whatever became of the appends to them."""
    monkeypatch.setattr(writer, "STREAMS_CACHED_MAX", 50)
    with refold.open(tmp_path / "a.db", synchronous="NORMAL") as store:
        known = backend_of(store)._writer
        assert known is not None
        for number in range(200):
            store.append(f"s-{number}", [refold.Event("e", {})])
            assert len(known._versions) <= 51
        for number in range(200):
            with pytest.raises(Conflict):
                store.append(f"s-{number}", [refold.Event("e", {})], expected=7)
            assert len(known._versions) <= 51
            assert len(known._stream_ids) <= 51


def compressed(text: bytes) -> bytes:
    """A frame that says how much it holds."""
    compressor = zstd().ZstdCompressor()
    return bytes(compressor.compress(text, compressor.FLUSH_FRAME))


def streamed(size: int) -> bytes:
    """A frame that does not."""
    compressor = zstd().ZstdCompressor()
    pieces = [compressor.compress(bytes(1 << 20)) for _ in range(size >> 20)]
    return b"".join([*pieces, compressor.flush()])


def claiming(size: int) -> bytes:
    """A small frame that says it holds so much: 8 bytes for its size (RFC 8878, 3.1.1.1)."""
    return b"\x28\xb5\x2f\xfd" + bytes([0b1110_0000]) + size.to_bytes(8, "little") + bytes(20)


def understated(frame: bytes, size: int) -> bytes:
    """A frame that did not say how much it holds, and now says so much, in 4 bytes."""
    magic, descriptor, window, blocks = frame[:4], frame[4], frame[5:6], frame[6:]
    return magic + bytes([descriptor | 0b1000_0000]) + window + size.to_bytes(4, "little") + blocks


LARGE = 32 << 20
HARMFUL: dict[str, Callable[[bytes], bytes]] = {
    "claims 2 GiB": lambda _: claiming(2 << 30),
    "claims 2 to the 63rd": lambda _: claiming(2**63),
    "claims all that 8 bytes can": lambda _: claiming(2**64 - 1),
    "does not say how much": lambda _: streamed(LARGE),
    "says less than there is": lambda _: understated(streamed(LARGE), 20_000),
    "goes on after the frame": lambda frame: frame + compressed(bytes(LARGE)),
    "holds less than its events": lambda _: compressed(b"[]"),
    "empty": lambda _: b"",
    "no frame": lambda _: b"\0" * 100,
}
READS: dict[str, Callable[[refold.Store], object]] = {
    "read": lambda store: list(store.read("s-1")),
    "backward": lambda store: list(store.read("s-1", direction="backward")),
    "read_all": lambda store: list(store.read_all()),
    "event": lambda store: store.event("s-1@3"),
    "tags": lambda store: list(store.read_all(matching=refold.Query(tags=["t"]))),
    "fold": lambda store: store.fold("s-1", refold.Fold("f", int)),
    "moment": lambda store: store.fold("s-1", refold.Fold("f", int), position=3),
}


@pytest.mark.parametrize("harm", HARMFUL)
def test_a_small_frame_takes_no_more_than_its_row_says(tmp_path: Path, harm: str) -> None:
    """What says that it unpacks to gigabytes is refused, by every reader, before it is unpacked."""
    path = tmp_path / "a.db"
    with refold.open(path, synchronous="NORMAL") as store:
        for number in range(200):
            store.append("s-1", [refold.Event("e", {"n": number})], tags=["t"])
        store.compact()
        with backend_of(store)._reading() as connection:
            ((frame, size),) = connection.execute("SELECT frame, body_bytes FROM segments LIMIT 1")
            assert zstd().get_frame_info(frame).decompressed_size > size
            harmful = HARMFUL[harm](frame)
            connection.execute("UPDATE segments SET frame = ? WHERE version = 0", (harmful,))
    del harmful
    for mode in ("read", "write"):
        with refold.open(path, mode=mode) as store:
            tracemalloc.start()
            for read in READS.values():
                with pytest.raises(Corrupt) as caught:
                    read(store)
                assert (caught.value.stream, caught.value.version) == ("s-1", 0)
            assert not all(check.good for check in store.check())
            assert tracemalloc.get_traced_memory()[1] < MEMORY_BYTES_MAX
            tracemalloc.stop()


def test_a_row_that_says_too_much_is_refused(tmp_path: Path) -> None:
    """The other way round: where the events would end is a number from a file like any other."""
    path = tmp_path / "a.db"
    with refold.open(path, synchronous="NORMAL") as store:
        for number in range(200):
            store.append("s-1", [refold.Event("e", {"n": number})])
        store.compact()
        for size in (-1, -(2**63), 2**40, 2**63 - 1):
            with backend_of(store)._reading() as connection:
                connection.execute("UPDATE segments SET body_bytes = ?", (size,))
            with pytest.raises(Corrupt):
                list(store.read("s-1"))


def test_no_memory_is_told_as_such(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without room for what is really there is not called damage, and is named."""

    def no_memory(*_: object) -> Any:
        raise MemoryError

    with refold.open(tmp_path / "a.db", synchronous="NORMAL") as store:
        for number in range(200):
            store.append("s-1", [refold.Event("e", {"n": number})])
        store.compact()
        monkeypatch.setattr(compression.Frames, "_text", no_memory)
        with pytest.raises(RefoldError) as caught:
            list(store.read("s-1"))
        assert (caught.value.code, caught.value.retry) == ("unavailable", "later")
        assert (caught.value.stream, caught.value.version) == ("s-1", 0)


def test_a_page_of_packed_appends_is_a_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Segments that interleave are read in their order, no more than a page of them at a time."""
    with refold.open(tmp_path / "a.db", synchronous="NORMAL") as store:
        for number in range(600):
            store.append(f"s-{number % 7}", [refold.Event(f"t{number % 3}", {"n": "x" * 50})])
        store.compact()
        before = list(store.read_all())
        narrow = [list(store.read_all(types=["t1"], categories=["s"], after=n)) for n in (0, 300)]
        monkeypatch.setattr(queries, "PAGE_BYTES_MAX", 2_000)
        assert list(store.read_all()) == before
        again = [list(store.read_all(types=["t1"], categories=["s"], after=n)) for n in (0, 300)]
        assert again == narrow
        page = backend_of(store).log(after=0, categories=None, types=None, rows_max=512)
        assert 0 < sum(len(row.body) for row in page) <= 2_000


def test_a_dictionary_a_category_is_kept_for_few(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Compacting and reading many categories keeps the dictionaries of the last ones alone."""
    monkeypatch.setattr(compression, "DICTIONARY_BYTES", 512)
    monkeypatch.setattr(compression, "SAMPLE_BYTES_MIN", 0)
    made: list[compression.Frames] = []

    class Watched(compression.Frames):
        def __init__(self, dictionary_bytes: Callable[[int], bytes]) -> None:
            super().__init__(dictionary_bytes)
            made.append(self)

    for module in (backend, compression):
        monkeypatch.setattr(module, "Frames", Watched)
    with refold.open(tmp_path / "a.db", synchronous="NORMAL") as store:
        for number in range(DICTIONARIES_KEPT_MAX * 2 * 10):
            category = f"c{number % (DICTIONARIES_KEPT_MAX * 2)}"
            data = {"n": number, "text": f"something said {number} times in {category}"}
            store.append(f"{category}-{number % 2}", [refold.Event("e", data)])
        before = list(store.read_all())
        store.compact()
        with backend_of(store)._reading() as connection:
            ((count,),) = connection.execute("SELECT count(*) FROM dictionaries")
        assert count > DICTIONARIES_KEPT_MAX
        assert list(store.read_all()) == before
        assert all(check.good for check in store.check())
        assert len(made) >= 3  # The store's own, and those of the compaction and the check.
        for frames in made:
            assert frames._dictionary.cache_info().currsize <= DICTIONARIES_KEPT_MAX
            assert frames._compressor.cache_info().currsize <= COMPRESSORS_KEPT_MAX


def test_a_store_that_is_dropped_lets_go_of_its_file(tmp_path: Path) -> None:
    """Never closed, and asked in SQL before: nothing that it made keeps its connections."""
    store = refold.open(tmp_path / "a.db", synchronous="NORMAL")
    store.append("a-1", [refold.Event("e")])
    assert list(backend_of(store).query("SELECT count(*) FROM events")) == [(1,)]
    assert all(check.good for check in store.check())
    del store
    gc.collect()
    assert str(tmp_path / "a.db") not in {one.filename for one in apsw.connections()}
