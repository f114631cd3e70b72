"""A log with every kind of page and of content, for the tests that damage it."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple
from unittest import mock

import apsw

import refold
from refold.backends.sqlite import compression
from refold.core.clock import rfc3339
from refold.core.event import Event
from refold.core.fold import Fold
from refold.engine.append import Append
from refold.engine.store import Store
from tests.faults.judging import facts

STREAMS = 60
PAGE_BYTES = 4_096
START_US = 1_700_000_000_000_000
STEP_US = 1_000

names: Fold[dict[str, int]] = Fold("names", dict, state_type=dict[str, int])


@names.on("note.short", "note.long", "note.kept", "note.timed")
def _name(state: dict[str, int], event: dict[str, object]) -> dict[str, int]:
    name = str(event["name"])
    state[name] = state.get(name, 0) + 1
    return state


class Specimen(NamedTuple):
    """The bytes of a log, what it answers, and what each of its pages is."""

    content: bytes
    answers: dict[str, object]
    pages: dict[int, str]


def questions() -> dict[str, Callable[[Store], object]]:
    """What is asked of a log; the last one writes, unless it is answered rightly."""
    then = rfc3339(START_US + 70 * STEP_US)
    asked: dict[str, Callable[[Store], object]] = {
        "log": lambda s: facts(s.read_all()),
        "tail": lambda s: facts(s.read_all(after=700)),
        "streams": lambda s: list(s.streams()),
        "category": lambda s: facts(s.read_all(categories=["deal"])),
        "type": lambda s: facts(s.read_all(types=["note.kept"])),
        "fold": lambda s: s.fold("long-1", names),
        "fold then": lambda s: s.fold("long-1", names, recorded_until=then),
        "fold occurred": lambda s: s.fold("call-002~c", names, occurred_until=then),
        "event": lambda s: facts([s.event("call-002~c@1")]),
    }
    for stream in (*map(_stream, range(STREAMS)), "long-1", "call-002~b", "call-002~c"):
        asked[f"read {stream}"] = partial(_read, stream=stream)
    for stream in (_stream(2), "long-1", "call-002~c"):
        asked[f"back {stream}"] = partial(_read_back, stream=stream)
    for number in range(0, STREAMS, 7):
        asked[f"key {number}"] = partial(_again, number=number)
    return asked


@cache
def specimen() -> Specimen:
    """The log, made once."""
    with TemporaryDirectory() as folder:
        path = Path(folder, "log.db")
        with (
            mock.patch.object(compression, "SAMPLE_BYTES_MIN", 10_000),
            mock.patch.object(compression, "DICTIONARY_BYTES", 4_096),
            refold.open(path, clock=count(START_US, STEP_US).__next__) as store,
        ):
            _fill(store)
        content = path.read_bytes()
        with refold.open(path) as store:
            assert [check for check in store.check() if not check.good] == []
            answers = {name: ask(store) for name, ask in questions().items()}
        return Specimen(content, answers, _pages(path, len(content) // PAGE_BYTES))


def _fill(store: Store) -> None:
    """Old appends that get packed, newer ones that do not, and room that was given back."""
    store.append("long-1", [_event("note.short", n) for n in range(300)], key="long")
    for number in range(STREAMS):
        _append(store, number, 0)
    store.compact()
    for number in range(STREAMS):
        _append(store, number, 1)
    store.append("long-1", [_event("note.short", n) for n in range(300)])
    store.branch("call-002", at=1).adding(_event("note.kept", 7)).save("call-002~b")
    store.branch("call-002~b").adding(_event("note.kept", 8)).save("call-002~c")
    store.append("last-1", [_event("note.kept", 9)])
    store.fold("long-1", names)
    # Pages that are free, as a compaction leaves them that could not give them back.
    writing: apsw.Connection = store._backend._writing  # type: ignore[attr-defined]
    writing.execute(
        "CREATE TABLE gone (x); INSERT INTO gone VALUES (zeroblob(20000)); DROP TABLE gone"
    )


def _read(store: Store, stream: str) -> object:
    return facts(store.read(stream))


def _read_back(store: Store, stream: str) -> object:
    return facts(store.read(stream, direction="backward", limit=7))


def _append(store: Store, number: int, time: int) -> None:
    kinds = ["note.short", "note.kept"][: 1 + number % 2]
    events = [_event(kind, place) for place, kind in enumerate(kinds)]
    if number % 20 == 4:
        events.append(Event("note.long", {"name": f"{number}", "text": "é" * 6_000}))
    if number % 5 == 0:
        events.append(Event("note.timed", {"name": "t"}, occurred_at=START_US + number * STEP_US))
    metadata = {"by": f"clerk {number}"} if number % 4 else None
    parts = [Append(_stream(number), events, metadata=metadata)]
    if number % 10 == 0:
        parts.append(Append("deal-all", [_event("note.kept", number)]))
    store.append_together(
        parts,
        # Long keys, so that their index has pages above its leaves.
        key=f"key-{number}-{time}-{'k' * 200}" if number % 2 == 0 else None,
    )


def _again(store: Store, number: int) -> object:
    """The answer to an append that is there: under its key, or the head of its stream."""
    if number % 2:
        return store.head(_stream(number))
    before = store.log_head()
    _append(store, number, 1)
    return store.log_head() - before


def _stream(number: int) -> str:
    return f"{'deal' if number % 3 == 0 else 'call'}-{number:03}"


def _event(kind: str, number: int) -> Event:
    return Event(kind, {"name": f"name {number}", "score": number / 8, "ok": True})


def _pages(path: Path, how_many: int) -> dict[int, str]:
    """What each page holds, by its number from 1."""
    found = dict.fromkeys(range(1, how_many + 1), "free or map")
    connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
    for name, number, kind in connection.execute("SELECT name, pageno, pagetype FROM dbstat"):
        found[number] = f"{kind} of {name}"
    connection.close()
    return found
