"""Datasets: named, versioned lists of conversations, each up to an event, kept in the log.

A version is never changed: who makes a dataset again makes its next one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any, Final, Self

import msgspec

from refold.core.clock import rfc3339
from refold.core.event import event_id, parse_event_id
from refold.core.expected import NO_EVENTS, NO_STREAM
from refold.engine.append import Append
from refold.engine.store import Store
from refold.engine.store_check import check_store
from refold.errors import NotFound, UsageError, refuse_unless
from refold.replay.events import DatasetVersioned
from refold.replay.variant import OPENED

CATEGORY: Final = "dataset~"
"""The category of the streams that hold datasets: they are no conversations."""
ITEMS_MAX: Final = 20_000
"""So many conversations are in a dataset: a version of it is one event."""
_NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}")
_ASKED: Final = re.compile(r"(.+?)(?:@(\d{1,9}))?")


class Dataset(msgspec.Struct, frozen=True, kw_only=True):
    """A version of a dataset, from 0 on.

    ``items`` are ids of events such as ``call-42@7``: each is a conversation up to that event.
    ``chosen_by`` says how they were chosen, as whoever made it told.
    """

    name: str
    version: int
    made_at: str
    items: list[str]
    chosen_by: dict[str, Any] = {}

    @property
    def versions(self) -> dict[str, int]:
        """The last version of each stream that is in it, in order."""
        return dict(map(parse_event_id, self.items))

    @classmethod
    def make(
        cls,
        store: Store,
        name: str,
        items: Iterable[str],
        *,
        chosen_by: dict[str, Any] | None = None,
        beside: Sequence[Append] = (),
        by: str | None = None,
    ) -> Self:
        """Keep conversations as the next version of a dataset; as the last, where it has the same.

        ``items`` are ids of events, or names of streams, which stand for all that they hold now;
        ``beside`` is appended with it, all or nothing. ``by`` is who makes it.
        Raises :class:`~refold.errors.NotFound` for what is not there and
        :class:`~refold.errors.UsageError` for none, more than 20,000, or a stream that is given
        twice.
        """
        check_store(store, call="Dataset.make", instead=OPENED)
        stream = _stream(name)
        found = [item_of(store, one) for one in items]
        refuse_unless(0 < len(found) <= ITEMS_MAX, f"1 to {ITEMS_MAX:,} conversations", items=found)
        if len({parse_event_id(one)[0] for one in found}) < len(found):
            raise UsageError("a conversation is in a dataset once: give each stream once")
        last = store.head(stream)
        before = None if last == NO_EVENTS else cls._at(store, name, last)
        if before is not None and before.items == found:
            if beside:
                store.append_together(beside)
            return before
        made = DatasetVersioned(found, chosen_by or {})
        expected = NO_STREAM if last == NO_EVENTS else last
        part = Append(stream, [made], expected, None if by is None else {"actor": by})
        (*_, appended) = store.append_together([*beside, part])
        return cls._at(store, name, appended.version)

    @classmethod
    def named(cls, store: Store, name: str) -> Self:
        """The last version of a dataset, or that of ``NAME@VERSION``; NotFound for none."""
        check_store(store, call="Dataset.named", instead=OPENED)
        asked = _ASKED.fullmatch(name) if isinstance(name, str) else None
        refuse_unless(asked is not None, "the name of a dataset", name=name)
        assert asked is not None
        last = store.head(_stream(asked[1]))
        version = last if asked[2] is None else int(asked[2])
        if last == NO_EVENTS or version > last:
            known = ", ".join(f"{one.name}@{one.version}" for one in cls.all(store)) or "none"
            raise NotFound(f"there is no dataset {name!r}: there is {known}", dataset=name)
        return cls._at(store, asked[1], version)

    @classmethod
    def all(cls, store: Store) -> list[Self]:
        """The last version of every dataset, by name."""
        names = (info.stream.removeprefix(CATEGORY) for info in store.streams(category=CATEGORY))
        return [cls.named(store, name) for name in names]

    @classmethod
    def _at(cls, store: Store, name: str, version: int) -> Self:
        recorded = store.event(event_id(_stream(name), version))
        made: DatasetVersioned = recorded.to_class(DatasetVersioned)
        return cls(
            name=name,
            version=recorded.version,
            made_at=rfc3339(recorded.recorded_at_us),
            items=made.items,
            chosen_by=made.chosen_by,
        )


def _stream(name: object) -> str:
    right = isinstance(name, str) and _NAME.fullmatch(name) is not None
    refuse_unless(right, "a name of letters, digits and _ . -, at most 100", name=name)
    return f"{CATEGORY}{name}"


def item_of(store: Store, given: str) -> str:
    """The id of an event that is there; of a stream's last, where only a stream is named."""
    refuse_unless(isinstance(given, str), "the id of an event, or a stream", item=given)
    last = store.head(given)
    stream, version = (
        (given, last) if last != NO_EVENTS or "@" not in given else parse_event_id(given)
    )
    if not 0 <= version <= store.head(stream):
        raise NotFound(f"there is no stream or event {given!r}", stream=stream)
    return event_id(stream, version)
