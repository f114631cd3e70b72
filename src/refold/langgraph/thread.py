"""A thread as its streams tell it, brought up to date when it is asked.

The stream of thread 42 is ``thread-42``, its forks are branches of that: ``thread-42~1``, ``~2``, …
A checkpoint is an event that holds its state as that differs from the one before it in its history,
the way a captured request is kept. What was deleted stands in the log and is not found any more.
"""

from __future__ import annotations

import hashlib
import sys
import threading
from bisect import bisect, insort
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cache
from itertools import chain, takewhile, zip_longest
from operator import attrgetter
from typing import Any, Final, NamedTuple

import msgspec

from refold.capture.elements import (
    ELEMENT_BYTES_MIN,
    KnownElements,
    Split,
    decode_list,
    digest_of,
    in_events,
    linear,
)
from refold.capture.exact import Requests
from refold.core.event import Event
from refold.core.expected import NO_STREAM
from refold.core.recorded import Recorded
from refold.engine.store import Store
from refold.errors import Conflict
from refold.verbatim import appends_of

CHECKPOINT: Final = "langgraph.checkpoint"
WRITES: Final = "langgraph.writes"
DELETED: Final = "langgraph.deleted"

_position: Final = attrgetter("position")
_encode: Final = msgspec.json.Encoder().encode

Key = tuple[str, str]
"""The namespace and the id of a checkpoint."""


class Said(msgspec.Struct, omit_defaults=True):
    """What the events of a thread say, each some of it; a checkpoint also holds its state."""

    ns: str = ""
    id: str = ""
    parent: str | None = None
    task: str = ""
    path: str = ""
    writes: list[tuple[int, str, Any]] = []
    checkpoints: list[Key] = []


class Saved(NamedTuple):
    """A checkpoint of the log: event ``version`` of ``stream``."""

    stream: str
    version: int
    position: int
    key: Key
    parent: Key | None


class ChannelWrite(NamedTuple):
    """A pending write; ``value`` as :func:`~refold.langgraph.values.shown` gives it."""

    position: int
    path: str
    task: str
    place: int
    channel: str
    value: Any


class Thread:
    """One thread, as far as :meth:`catch_up` has read it; to be used under its ``lock``."""

    def __init__(self, store: Store, stream: str) -> None:
        self.lock = threading.RLock()
        self.saved: dict[Key, Saved] = {}
        self._hidden: dict[Key, int] = {}
        self._store, self._stream = store, stream
        self._heads: dict[str, int] = {}
        # What was saved here last, its elements and their digests.
        self._newest: tuple[Saved | None, Sequence[bytes], Sequence[bytes]] = None, (), ()
        self._states = cache(lambda name: Requests(store, name, CHECKPOINT))
        self._lines: defaultdict[str, list[Saved]] = defaultdict(list)
        self._writes: defaultdict[Key, list[ChannelWrite]] = defaultdict(list)
        self._children: defaultdict[Key, list[int]] = defaultdict(list)

    def catch_up(self) -> None:
        """Read what was appended since, by whichever process."""
        streams = list(self._heads) or [self._stream]
        while self._store.head(f"{self._stream}~{len(streams)}") >= 0:
            streams.append(f"{self._stream}~{len(streams)}")
        come = (each for stream in streams for each in self._new_in(stream))
        for recorded in sorted(come, key=lambda each: each.position):
            self._take(recorded)

    def visible(self) -> list[Key]:
        """The checkpoints that were not deleted since they were last saved."""
        every = self.saved.items()
        return [key for key, each in every if each.position > self._hidden.get(key, -1)]

    def state(self, at: Saved) -> dict[str, Any]:
        """What a checkpoint holds: its parts by name, as JSON text."""
        body = self._states(at.stream).body_at(at.version)
        return msgspec.json.decode(body, type=dict[str, msgspec.Raw])

    def pending(self, key: Key, since: int = -1, until: int = sys.maxsize) -> list[ChannelWrite]:
        """The writes of a checkpoint between two positions, in the order they are applied in.

        A task writes each index once, but again for a fork: after a child of the checkpoint.
        """
        kept: dict[tuple[str, int], tuple[int, ChannelWrite]] = {}
        for write in self._writes[key]:
            if since < write.position < until:
                turn = bisect(self._children[key], write.position)
                first, _ = kept.get((write.task, write.place), (-1, None))
                if write.place < 0 or turn > first:
                    kept[write.task, write.place] = turn, write
        return sorted((write for _, write in kept.values()), key=lambda write: write[1:4])

    def path_to(self, at: Saved) -> Iterator[tuple[Saved, list[ChannelWrite]]]:
        """The ancestors of a checkpoint, nearest first, and the writes by which each led there.

        A write belongs to the next child after it, so that no other fork's are among them.
        """
        seen = {at.key}
        while at.parent in self.saved and at.parent not in seen:
            others = [each for each in self._children[at.parent] if each < at.position]
            writes = self.pending(at.parent, max(others, default=-1), at.position)
            at = self.saved[at.parent]
            yield at, writes
            seen.add(at.key)

    # -- what is added ------------------------------------------------------------------------

    def save(self, key: Key, parent: Key | None, run: Key, state: Callable[[Any], Any]) -> None:
        """Append a checkpoint where its parent is the last one, else on a branch from there.

        ``state`` makes what it holds, given what tells what its parent holds. Without a parent it
        goes where ``run`` is. Raises :class:`~refold.Conflict` where another append came first;
        that is known then.
        """
        beside = parent or run
        if beside[1] and beside not in self.saved:
            self.catch_up()
        try:
            self._save(key, parent, run, state)
        except Conflict:
            self.catch_up()
            raise

    def _save(self, key: Key, parent: Key | None, run: Key, state: Callable[[Any], Any]) -> None:
        known, before = KnownElements(), self.saved.get(parent) if parent else None
        gaps, elements = _split(state(lambda: self.state(before) if before else {}))
        made, old, held = self._newest
        if before:
            if made is not before:
                old = self._states(before.stream).elements_at(before.version)
                held = [*map(digest_of, old)]
            known.take(before.version, held)
        # Most of a state stood in the same places of the one before it.
        places = zip_longest(elements, old[: len(elements)], held[: len(elements)])
        digests = [digest if one == two else digest_of(one) for one, two, digest in places]
        whole_text = b"".join(chain.from_iterable(zip_longest(gaps, elements, fillvalue=b"")))
        form = linear(hashlib.sha256(whole_text).hexdigest(), (gaps, elements), digests, known)
        *pieces, last = in_events(form)
        said = Said(*key, parent=parent[1] if parent else None)
        whole = msgspec.structs.asdict(said) | msgspec.structs.asdict(last)
        holds = msgspec.json.encode({name: part for name, part in whole.items() if part})
        events = [*map(Event.of, pieces), Event(CHECKPOINT, msgspec.Raw(holds))]
        if before and before is not self._tip(before):
            branch = self._store.branch(before.stream, at=before.version).adding(*events)
            branch.save(f"{self._stream}~{len(self._heads)}")
        else:
            beside = before or self.saved.get(run)
            stream = beside.stream if beside else self._stream
            told = self._store.append(stream, events, expected=self._heads.get(stream, NO_STREAM))
            if not pieces:
                self._states(stream).hold(told.version, form)
                self._saved(Saved(stream, told.version, told.position, key, parent))
                self._newest = self.saved[key], elements, digests
                self._heads[stream] = told.version

    def write(self, key: Key, task: str, path: str, writes: list[tuple[int, str, Any]]) -> None:
        """Append what a task wrote after a checkpoint."""
        if key not in self.saved:
            self.catch_up()
        stream = self.saved[key].stream if key in self.saved else self._stream
        said = Said(*key, task=task, path=path, writes=writes)
        told = self._store.append(stream, [Event(WRITES, said)])
        if told.version == self._heads.get(stream, -1) + 1:
            self._wrote(key, told.position, said)
            self._heads[stream] = told.version

    def hide(self, keys: Iterable[Key]) -> None:
        """Append that these checkpoints are no longer to be found."""
        if found := sorted(keys):
            self._store.append(self._stream, [Event(DELETED, Said(checkpoints=found))])

    def copy_to(self, target: str) -> None:
        """Append all of its stream to one that is not there yet, then its forks as forks."""
        self.catch_up()
        for stream in self._heads:
            own = [each for each in self._store.read(stream) if each.stream == stream]
            events = [Event(each.type, msgspec.Raw(each.raw)) for each in own]
            if stream == self._stream:
                self._store.append_together(appends_of(target, events, expected=NO_STREAM))
            else:
                parent = target + own[0].data["from_stream"].removeprefix(self._stream)
                branch = self._store.branch(parent, at=own[0].data["from_version"])
                branch.adding(*events[1:]).save(target + stream.removeprefix(self._stream))

    # -- what is read -------------------------------------------------------------------------

    def _new_in(self, stream: str) -> Iterable[Recorded]:
        seen = self._heads.get(stream, -1)
        if self._store.head(stream) <= seen:
            return ()
        events = self._store.read(stream, from_version=seen + 1, direction="backward")
        return takewhile(lambda each: each.stream == stream, events)

    def _take(self, recorded: Recorded) -> None:
        stream, version, position = recorded.stream, recorded.version, recorded.position
        is_own = recorded.type in (CHECKPOINT, WRITES, DELETED)
        said = msgspec.json.decode(recorded.raw, type=Said) if is_own else Said()
        key = said.ns, said.id
        if recorded.type == "session.forked":
            shared = self._lines[recorded.data["from_stream"]]
            self._lines[stream] += [
                each for each in shared if each.version <= recorded.data["from_version"]
            ]
        elif recorded.type == CHECKPOINT:
            self._states(stream).note(recorded)
            parent = None if said.parent is None else (said.ns, said.parent)
            self._saved(Saved(stream, version, position, key, parent))
        elif recorded.type == WRITES:
            self._wrote(key, position, said)
        elif recorded.type == DELETED:
            for each in said.checkpoints:
                self._hidden[each] = max(position, self._hidden.get(each, -1))
        self._heads[stream] = version

    # Streams are read one after the other, and what was appended here is known before what others
    # did: what comes now may have been before.

    def _saved(self, made: Saved) -> None:
        self._lines[made.stream].append(made)
        self.saved[made.key] = max(made, self.saved.get(made.key, made), key=_position)
        if made.parent:
            insort(self._children[made.parent], made.position)

    def _wrote(self, key: Key, position: int, said: Said) -> None:
        for write in said.writes:
            made = ChannelWrite(position, said.path, said.task, *write)
            insort(self._writes[key], made, key=_position)

    def _tip(self, beside: Saved) -> Saved:
        """The last checkpoint in the history of one, of its namespace."""
        line = reversed(self._lines[beside.stream])
        return next(each for each in line if each.key[0] == beside.key[0])


def _split(parts: Mapping[str, Any]) -> Split:
    """A state as JSON: what stands between its elements, and these: of lists, and what is long."""
    gaps: list[bytes] = []
    elements: list[bytes] = []
    gap = b"{"
    for name, part in parts.items():
        if isinstance(part, msgspec.Raw) and bytes(part)[:1] == b"[":
            part = decode_list(part)
        is_list = isinstance(part, list)
        texts = [*map(_encode, part if is_list else [part])]
        before, after = (b"[", b"]") if is_list else (b"", b"")
        gap += _encode(name) + b":" + before
        if sum(map(len, texts)) < ELEMENT_BYTES_MIN:
            gap += b",".join(texts) + after + b","
            continue
        gaps += [gap, *[b","] * (len(texts) - 1)]
        elements += texts
        gap = after + b","
    return [*gaps, gap[:-1] + b"}"], elements
