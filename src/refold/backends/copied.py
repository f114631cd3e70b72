"""Appends as they are stored, as the batches that store them again; shared by the backends.

A copy gives each what the clock said when it was stored, and its key, digest and fork: so that what
it comes to is the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import NamedTuple

import msgspec

from refold.core.encode import occurred_of
from refold.core.expected import ANY
from refold.core.stored import decode_body
from refold.ports import Batch, Fork, Write


class StoredAppend(NamedTuple):
    """One append as a backend keeps it, with what its stream branched from."""

    position: int
    stream: str
    version: int
    recorded_at: int
    clock_at: int | None
    metadata: str | None
    body: str
    key: str | None
    digest: bytes | None
    parent: str | None
    fork_version: int | None

    @property
    def base_key(self) -> str | None:
        """The key that all parts of its append share; None where it has none."""
        return None if self.key is None else self.key.partition("\x1f")[0]


def stored_write(stream: str, metadata: str | None, body: str, fork: Fork | None) -> Write:
    """The write that stores a body as it was."""
    events = decode_body(body)
    kinds = tuple(event.tag for event in events)
    return Write(stream, ANY, kinds, metadata, body, fork, occurred_of(events), tags_in(metadata))


def tags_in(metadata: str | bytes | None) -> tuple[str, ...]:
    """The tags of an append, as its shared metadata say them."""
    return tuple(msgspec.json.decode(metadata or "{}").get("tags", ()))


def as_batches(appends: Iterable[StoredAppend]) -> Iterator[tuple[int, Batch]]:
    """The batches of appends in order of position, each with what the clock said then."""
    for base, group in groupby(appends, lambda one: one.base_key or one.position):
        parts = list(group)
        first, key = parts[0], base if isinstance(base, str) else None
        now = first.recorded_at if first.clock_at is None else first.clock_at
        yield now, Batch([_write_of(part) for part in parts], key, first.digest or b"")


def _write_of(one: StoredAppend) -> Write:
    forked_at = one.fork_version
    begins = one.parent is not None and forked_at is not None and one.version == forked_at + 1
    fork = Fork(str(one.parent), int(forked_at or 0)) if begins else None
    return stored_write(one.stream, one.metadata, one.body, fork)
