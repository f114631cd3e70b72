"""What reads as personal where it is not encrypted: metadata, names of streams, beside keys."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Final

import msgspec

from refold.audit.entry import stored_events
from refold.audit.reading import pages
from refold.core.event import event_id
from refold.core.jsonvalue import texts_in
from refold.core.stored import Row, StoredEvent
from refold.engine.store import Store
from refold.privacy.detecting import Detect, looked_into
from refold.privacy.fields import CONVERSATION, FieldTable
from refold.privacy.finding import Finder
from refold.privacy.stored import has_keys, stored_backend
from refold.privacy.subjects import NAME

_DETECT: Final = Detect(least="medium")
_WORD: Final = re.compile(r"[^\W\d_]{2,}")
"""A subject of two words reads as a name; one word and a number, as in ``patient-7``, does not."""
_SHORT: Final = 4
"""A declared value of fewer characters stands in metadata by chance."""
_decode: Final = msgspec.json.decode


def check_unprotected(store: Store) -> Iterator[tuple[str, bool, str]]:
    """One line of a diagnosis: what reads as personal and is not encrypted, if anything does.

    In metadata and names of streams, which never are, that is what has the form of a personal
    value, a subject that is called as people are, and a declared value of the payload; in a store
    that keeps declared values under keys, such a value in the clear. It is a warning, and no harm
    to the log: whoever recorded it so may have meant to.
    """
    found: Counter[str] = Counter()
    first: dict[str, str] = {}
    for where, kinds in _found(store):
        for kind in sorted(kinds):
            found[kind] += 1
            first.setdefault(kind, where)
    if found:
        said = (f"{kind} ({count:,}, first {first[kind]})" for kind, count in found.items())
        detail = f"{', '.join(said)}; metadata and names of streams are never encrypted"
        yield "personal data in the clear", True, f"{detail}: call people by a number there"


def _found(store: Store) -> Iterator[tuple[str, set[str]]]:
    """The events, and streams, with what was found in the metadata of each, or the name."""
    log, privacy = stored_backend(store), getattr(store._backend, "privacy", None)
    finder = Finder((privacy and privacy.fields) or FieldTable(CONVERSATION))
    is_protected = has_keys(log)
    for info in store.streams():
        if kinds := {one.kind for one in _DETECT.found(info.stream)}:
            yield f"the stream {info.stream}", kinds
    for page in pages(log, after=0, until=log.log_head()):
        for row in page:
            yield from _found_in(row, finder, is_protected=is_protected)


def _found_in(row: Row, finder: Finder, *, is_protected: bool) -> Iterator[tuple[str, set[str]]]:
    events = stored_events(row)
    if not is_protected and row.metadata is None and not any(one.metadata for one in events):
        return
    declared = _declared(row, events, finder)
    shared = _kinds_in(row.metadata or b"", set().union(*declared))
    for index, (event, own) in enumerate(zip(events, declared, strict=True)):
        kinds = shared | _kinds_in(bytes(event.metadata), own)
        if is_protected and own:
            kinds.add("a value beside those that are under keys")
        if kinds:
            yield event_id(row.stream, row.version + index), kinds


def _kinds_in(metadata: str | bytes, declared: set[str]) -> set[str]:
    """What an object of metadata has in it, in words."""
    raw = metadata.encode() if isinstance(metadata, str) else metadata
    if not raw:
        return set()
    kinds = {*looked_into(raw, _DETECT).counts}
    said = _decode(raw)
    subject = str(said.get(NAME, ""))
    is_name = len(_WORD.findall(subject)) > 1
    if is_name and not any(map(str.isdigit, subject)):
        kinds.add("a name of the subject")
    if not declared.isdisjoint(one for one in texts_in(said) if is_name or one != subject):
        kinds.add("a declared value of the payload")
    return kinds


def _declared(row: Row, events: Sequence[StoredEvent], finder: Finder) -> list[set[str]]:
    """The declared texts of each event of an append that stand in the clear."""
    body = row.body.encode() if isinstance(row.body, str) else row.body
    found = finder.found(body, [event.tag for event in events])
    texts = [set[str]() for _ in events]
    for value, owner in zip(found.values, found.owners, strict=True):
        text = _decode(value) if value[:1] == b'"' else ""
        if len(text) >= _SHORT:
            texts[owner].add(text)
    return texts
