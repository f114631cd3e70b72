"""Which streams may repeat what one says: its root, its branches, and others of the subject."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Final

from refold.audit.entry import stored_events
from refold.audit.reading import pages
from refold.core.event import category_of
from refold.core.stored import Row
from refold.engine.store import Store
from refold.ports import Backend
from refold.privacy.stored import stored_backend
from refold.privacy.texts import LookedEvent, Open, Text, looked, rows_of, texts_in

BESIDE: Final = frozenset({"replay~", "dataset~", "wire"})
"""Categories of what is kept beside conversations, of many of them in one stream."""


class Lineage:
    """Where the streams of a log come from."""

    def __init__(self, store: Store) -> None:
        self._log, infos = stored_backend(store), list(store.streams())
        privacy = getattr(store._backend, "privacy", None)
        self._usual = None if privacy is None else privacy.subject
        self._named: dict[str, set[str]] = {}
        self._parents = {one.stream: one.fork.parent for one in infos if one.fork is not None}
        self.streams = [one.stream for one in infos]

    def root(self, stream: str) -> str:
        """The stream that a branch of branches comes from; itself where it is none."""
        while stream in self._parents:
            stream = self._parents[stream]
        return stream

    def depth(self, stream: str) -> tuple[int, str]:
        """What sorts streams such that a branch comes after what it branches from."""
        depth, name = 0, stream
        while name in self._parents:
            depth, name = depth + 1, self._parents[name]
        return depth, stream

    def subject(self, event: LookedEvent) -> str:
        """Whom an event is about: whom its metadata names.

        Where they name nobody, whom the others of the conversation name, if that is one; else it is
        whom its stream is about.
        """
        named = event.noted("subject")
        if isinstance(named, str) and named:
            return named
        root = self.root(event.row.stream)
        names = self.named(root)
        return next(iter(names)) if len(names) == 1 else self.usual(root)

    def usual(self, root: str) -> str:
        """Whom a stream is about where nothing else is said: as the store was told, or its name."""
        return root if self._usual is None else self._usual(root)

    def roots_of(self, subjects: Collection[str]) -> set[str]:
        """The roots of streams that are about one of these where nothing else is said."""
        roots = set(map(self.root, self.streams))
        return {one for one in roots if one in subjects or self.usual(one) in subjects}

    def named(self, root: str) -> set[str]:
        """Whom events of a stream and its branches name."""
        if root not in self._named:
            streams = (one for one in self.streams if self.root(one) == root)
            found = (named_in(row) for one in streams for row in rows_of(self._log, one))
            self._named[root] = set[str]().union(*found)
        return self._named[root]


def streams_about(store: Store, lineage: Lineage, events: Collection[LookedEvent]) -> set[str]:
    """The streams in which what these events say may be repeated."""
    roots = {lineage.root(one.row.stream) for one in events}
    roots |= lineage.roots_of({lineage.subject(one) for one in events})
    named = {one for event in events if isinstance(one := event.noted("subject"), str)}
    if named:
        roots |= {lineage.root(one) for one in streams_naming(store, named)}
    return {one for one in lineage.streams if lineage.root(one) in roots}


def streams_naming(store: Store, subjects: Collection[str]) -> set[str]:
    """The streams with an event whose metadata names one of the subjects."""
    log, found = stored_backend(store), set[str]()
    for page in pages(log, after=0, until=log.log_head()):
        for row in page:
            if row.stream not in found and not named_in(row).isdisjoint(subjects):
                found.add(row.stream)
    return found


def named_in(row: Row) -> set[str]:
    """Whom the events of an append name as their subjects."""
    metadata, body = (
        text.encode() if isinstance(text, str) else text for text in (row.metadata or b"", row.body)
    )
    if b'"subject"' not in metadata and b'"subject"' not in body:
        return set()
    names = (LookedEvent(row, one, 0, 0, b"").noted("subject") for one in stored_events(row))
    return {one for one in names if isinstance(one, str) and one}


def texts_about(log: Backend, lineage: Lineage, streams: set[str], opened: Open) -> Iterator[Text]:
    """The texts of streams, and what is kept beside conversations and names one of them."""
    yield from texts_in(log, sorted(streams, key=lineage.depth), opened)
    beside = {one for one in lineage.streams if category_of(one) in BESIDE} - streams
    for text in texts_in(log, sorted(beside), opened):
        if any(f'"{name}' in text.text for name in streams):
            yield text


def opener(store: Store) -> Open:
    """What gives stored rows with values in the place of envelopes, for who reads this store."""
    opened = getattr(store._backend, "opened", None)
    return (lambda row: row) if opened is None else (lambda row: opened([row])[0])


def find_event(store: Store, event_id: str) -> LookedEvent:
    """An event by its id, as it is looked through."""
    recorded = store.event(event_id)
    log, opened = stored_backend(store), opener(store)
    found = looked(log, recorded.stream, opened, first=recorded.version)
    return next(one for one in found if one.version == recorded.version)
