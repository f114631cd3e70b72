"""Other bytes in the place of what was stored: what changes, and what does not."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from refold.core.expected import ANY
from refold.core.query import QueryItem
from refold.core.snapshot import Snapshot
from refold.core.stored import Row
from refold.errors import InvalidEvent, NotFound, UsageError
from refold.ports import (
    Backend,
    Batch,
    Compactor,
    Eraser,
    Fork,
    SnapshotKeeper,
    TagKeeper,
    Write,
)
from tests.conformance.storage import OpenBackend, as_text, stored

TEXTS = ("", "a", 'q"uo\\te', "žluťoučký", "x" * 300, "\u2028", "\U0001f600")
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.sampled_from(TEXTS),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner),
    max_leaves=5,
).map(msgspec.json.encode)
OBJECT = st.dictionaries(st.sampled_from("ab"), st.sampled_from(TEXTS)).map(msgspec.json.encode)
TAGGED = st.lists(st.sampled_from(("t1", "t2")), unique=True, min_size=1).map(
    lambda tags: msgspec.json.encode({"tags": tags})
)
MAYBE = st.none() | OBJECT


def element(payload: bytes, own: bytes | None, occurred_at: int | None) -> str:
    """An event of a body, as an append encodes it."""
    parts = [b'"said"', payload]
    if own is not None:
        parts += [b"null" if occurred_at is None else b"%d" % occurred_at, own]
    elif occurred_at is not None:
        parts.append(b"%d" % occurred_at)
    return f"[{b','.join(parts).decode()}]"


class SaidEvent(msgspec.Struct, frozen=True):
    """An event as the model knows it."""

    payload: bytes
    own: bytes | None
    occurred_at: int | None


class SaidAppend(msgspec.Struct, frozen=True):
    """An append as the model knows it; ``parts`` of a batch share a key."""

    stream: str
    shared: bytes | None
    events: list[SaidEvent]
    key: str | None

    @property
    def body(self) -> str:
        """Its body."""
        said = [element(one.payload, one.own, one.occurred_at) for one in self.events]
        return f"[{','.join(said)}]"

    def write(self) -> Write:
        """What stores it."""
        metadata = as_text(self.shared)
        tags = tuple(msgspec.json.decode(self.shared).get("tags", ()) if self.shared else ())
        return Write(self.stream, ANY, ("said",) * len(self.events), metadata, self.body, tags=tags)


APPENDS = st.lists(
    st.builds(
        SaidAppend,
        st.sampled_from(("call-1", "call-2", "lone")),
        MAYBE | TAGGED,
        st.lists(st.builds(SaidEvent, JSON, MAYBE, st.none()), min_size=1, max_size=4),
        st.none(),
    ),
    min_size=1,
    max_size=8,
)


def appends_of(backend: Backend, after: int = 0) -> list[tuple[Any, ...]]:
    """The appends of a log over a position, with all that a reader is given of them."""
    rows = backend.log(after=after, categories=None, types=None, rows_max=1_000)
    return [facts(row) for row in rows]


def facts(row: Row) -> tuple[Any, ...]:
    """A row of one append, comparable."""
    place = (row.position, row.stream, row.version, row.event_count, row.recorded_at)
    metadata = as_text(row.metadata) or None
    return (*place, metadata, as_text(row.body), row.span())


def appends_of_streams(backend: Backend, after: int, *streams: str) -> list[tuple[Any, ...]]:
    """The same, read stream by stream, of the last events of each."""
    found: list[Row] = []
    for stream in streams:
        head = backend.head(stream)
        last = -1 if head is None else head.version
        first = max(last - 50, 0)
        while first <= last:
            page = backend.rows(stream, first=first, last=last, backward=False, events_max=51)
            found += [one for row in page for one in row.appends() if one.position > after]
            first = page[-1].last_version + 1
    return sorted(map(facts, found))


class Replacing:
    """What an eraser puts in the place of events."""

    def test_a_replacement_is_what_a_model_makes_of_it(self, open_backend: OpenBackend) -> None:
        """Texts of events change, and nothing else: not a byte of another event, no place, time.

        Packed or not. Tags are found by what metadata say now.
        """
        backend = open_backend()

        @given(log=APPENDS, data=st.data())
        @settings(max_examples=25)
        def replace_some(log: list[SaidAppend], data: st.DataObject) -> None:
            _replaced_as_by_a_model(backend, log, data)

        replace_some()

    def test_nothing_is_replaced_where_one_of_them_cannot_be(
        self, open_backend: OpenBackend
    ) -> None:
        """A position without an event, or a text that could not be appended, refuses all."""
        backend = open_backend()
        assert isinstance(backend, Eraser)
        backend.commit([Batch([said("a", b'{"text":"first"}')])], now=7)
        before = appends_of(backend)
        for position in (0, 2, -1, 2**40):
            with pytest.raises(NotFound) as missing:
                backend.replace({1: b"1", position: b"2"})
            assert missing.value.position == position
        for text in (b"", b"{", b"1 2", b'"\xff"', b"[" * 200 + b"]" * 200):
            with pytest.raises(InvalidEvent) as unfit:
                backend.replace({1: b"1"}, {1: text})
            assert unfit.value.position == 1
        with pytest.raises(InvalidEvent):
            backend.replace({1: b"1"}, {}, {1: b"[]"})
        assert appends_of(backend) == before

    def test_a_key_of_what_was_replaced_goes_on_standing_for_it(
        self, open_backend: OpenBackend
    ) -> None:
        """A repeat is a duplicate whatever it holds; the key of another append still refuses."""
        backend = open_backend()
        assert isinstance(backend, Eraser)
        first = Batch([said("a", b'{"x":1}'), said("b", b'{"x":2}')], "k1", b"d" * 32)
        other = Batch([said("a", b'{"x":3}')], "k2", b"e" * 32)
        told, _ = backend.commit([first, other], now=7)
        backend.replace({2: b'{"x":null}'})
        again, reused = backend.commit(
            [first._replace(digest=b"f" * 32), other._replace(digest=b"f" * 32)], now=9
        )
        assert stored(again) == stored(told)._replace(duplicate=True)
        assert isinstance(reused, UsageError)
        assert reused.code == "key_reused"
        kept = backend.find("k1")
        assert kept is not None
        assert kept.digest != b"d" * 32
        assert backend.log_head() == 3

    def test_snapshots_of_what_was_replaced_are_gone(self, open_backend: OpenBackend) -> None:
        """And those of branches of it; not those of others."""
        backend = open_backend()
        assert isinstance(backend, Eraser)
        if not isinstance(backend, SnapshotKeeper):
            return
        branch = said("a~b", b"{}")._replace(fork=Fork("a", 0))
        deeper = said("a~b~c", b"{}")._replace(fork=Fork("a~b", 0))
        writes = [said("a", b"{}"), said("b", b"{}"), branch, deeper]
        backend.commit([Batch([one]) for one in writes], now=7)
        for one in writes:
            backend.keep_snapshots([snapshot(one.stream)])
        backend.replace({1: b"{}"})
        names = ("a", "b", "a~b", "a~b~c")
        wanted: dict[str, Any] = {"fold": "f", "fingerprint": "p", "last": 9}
        assert [name for name in names if backend.snapshot(name, **wanted)] == ["b"]

    def test_a_log_goes_on_after_it_was_scrubbed(self, open_backend: OpenBackend) -> None:
        """Every part answers, what was read is read, and appends come."""
        backend = open_backend()
        assert isinstance(backend, Eraser)
        backend.commit([Batch([said("a", b'{"text":"gone"}')])], now=7)
        backend.replace({1: b'{"text":"new"}'})
        before = appends_of(backend)
        checks = list(backend.scrub(lambda *_: None))
        assert checks
        # What a server keeps beside its tables is told of.
        assert {one.name for one in checks if not one.good} <= {"write-ahead log"}
        assert appends_of(backend) == before
        (told,) = backend.commit([Batch([said("a", b"{}")])], now=9)
        assert stored(told).placed[0].position == 2


def said(stream: str, payload: bytes) -> Write:
    """A write of one event."""
    return Write(stream, ANY, ("said",), None, f"[{element(payload, None, None)}]")


def snapshot(stream: str) -> Snapshot:
    """Something that may be kept."""
    return Snapshot(stream, "f", "p", 0, 1, 0, 1, b"state", b"digest")


def _replaced_as_by_a_model(backend: Backend, log: list[SaidAppend], data: st.DataObject) -> None:
    assert isinstance(backend, Eraser)
    before = backend.log_head()
    backend.commit([Batch([one.write()]) for one in log], now=7)
    count = backend.log_head() - before
    if isinstance(backend, Compactor):
        backend.compact(until=before + data.draw(st.integers(0, count)), progress=lambda *_: None)
    told = appends_of(backend, before)
    positions = st.integers(1, count)
    payloads = moved(data.draw(st.dictionaries(positions, JSON, max_size=4)), before)
    metadata = moved(data.draw(st.dictionaries(positions, MAYBE, max_size=3)), before)
    shared = moved(data.draw(st.dictionaries(positions, MAYBE | TAGGED, max_size=3)), before)
    backend.replace(payloads, metadata, shared)
    due = [*told]
    at = before + 1
    for index, one in enumerate(log):
        span = range(at, at + len(one.events))
        events = [
            SaidEvent(payloads.get(p, e.payload), metadata.get(p, e.own), e.occurred_at)
            for p, e in zip(span, one.events, strict=True)
        ]
        shared_now = ([one.shared] + [shared[p] for p in span if p in shared])[-1]
        changed = SaidAppend(one.stream, shared_now, events, None)
        due[index] = (*told[index][:5], as_text(shared_now), changed.body, told[index][-1])
        at += len(one.events)
    assert appends_of(backend, before) == due
    assert appends_of_streams(backend, before, "call-1", "call-2", "lone") == sorted(due)
    if isinstance(backend, TagKeeper):
        for tag in ("t1", "t2"):
            found = backend.tagged(QueryItem(frozenset(), (tag,)), after=before, rows_max=1_000)
            with_tag = [one for one in due if f'"{tag}"' in (one[5] or "")]
            assert [facts(row) for row in found] == with_tag


def moved(by_index: dict[int, Any], before: int) -> dict[int, Any]:
    """By position what is given by its number among those that were just appended."""
    return {before + index: value for index, value in by_index.items()}
