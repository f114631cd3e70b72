"""What a caller wants appended, checked and encoded, and what came of it: the pure half."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, Final, NamedTuple

from refold.core.canonical import digest_of
from refold.core.encode import EVENTS_PER_APPEND_MAX, encode_body, encode_metadata
from refold.core.event import check_name
from refold.core.expected import (
    ANY,
    NO_STREAM,
    STREAM_EXISTS,
    Expectation,
    Expected,
    check_expected,
)
from refold.core.query import Condition, Query, checked_tags
from refold.core.registry import Registry
from refold.errors import RefoldError, UsageError, shown
from refold.ports import Appended, Batch, Fork, Outcome, Write

STREAMS_PER_APPEND_MAX: Final = 1_000


class Append(NamedTuple):
    """An append as a value: what :meth:`refold.Store.append` takes.

    In ``append_together`` the parts have no ``key`` of their own: the whole has one. ``tags`` are
    names that queries find the append by; they are kept as ``tags`` in its metadata.
    """

    stream: str
    events: Sequence[object]
    expected: Expected = ANY
    metadata: Mapping[str, Any] | None = None
    key: str | None = None
    tags: Sequence[str] = ()


@lru_cache(maxsize=4096)
def _check_stream(stream: str) -> None:
    check_name(stream, what="a stream name")


def batch_of(
    append: Append, registry: Registry, *, condition: Condition | None = None, digest: bytes = b""
) -> Batch:
    """An append as a batch of its own, checked and encoded.

    Under a key its bytes are the same in every process that makes it; ``digest`` is what is
    compared when the key comes again: by default that of these bytes.
    """
    key = append.key
    writes = [_write_of(append, registry, repeatable=key is not None)]
    if key is None and condition is None:
        return Batch(writes)
    return _conditional(Batch(writes, key, digest, condition), registry)


def _write_of(append: Append, registry: Registry, *, repeatable: bool = False) -> Write:
    stream, events, expected, metadata, _, tags = append
    # Only text can be looked up.
    (_check_stream if stream.__class__ is str else _check_stream.__wrapped__)(stream)
    if expected.__class__ is not Expectation and (expected.__class__ is not int or expected < 0):
        check_expected(expected)
    body = encode_body(events, registry, repeatable=repeatable)
    if tags or (metadata and (metadata.__class__ is not dict or "tags" in metadata)):
        tags, metadata = _tagged(append)
    text = encode_metadata(metadata) if metadata else None
    return Write(
        stream, expected, body.kinds, text, body.text, None, body.occurred, tuple(tags or ())
    )


def _tagged(append: Append) -> tuple[tuple[str, ...], Mapping[str, Any] | None]:
    """The tags of an append, and its metadata with them in it."""
    metadata = append.metadata
    held = metadata.get("tags", ()) if isinstance(metadata, Mapping) else ()
    if not append.tags and not held:
        return (), metadata
    tags = checked_tags([*checked_tags(append.tags or ()), *checked_tags(held)])
    return tags, {**(metadata or {}), "tags": list(tags)}


def batch_together(
    appends: Sequence[Append], key: str | None, registry: Registry, condition: Condition | None
) -> Batch:
    """Appends to several streams, stored together under one key."""
    if isinstance(appends, Append) or not isinstance(appends, Sequence):
        raise UsageError(f"give a list of refold.Append values, not {type(appends).__name__}")
    if not 1 <= len(appends) <= STREAMS_PER_APPEND_MAX:
        raise UsageError(f"{len(appends)} parts in one append: give 1 to 1,000")
    for append in appends:
        _check_is_append(append)
        if append.key is not None:
            raise UsageError("the parts of one append share its key: give key= beside them")
    repeatable = key is not None
    writes = [_write_of(append, registry, repeatable=repeatable) for append in appends]
    return _conditional(Batch(writes, key, b"", condition), registry)


def _conditional(batch: Batch, registry: Registry) -> Batch:
    """The batch with its key and its condition checked; what has a key has a digest."""
    writes, key, digest, condition = batch
    if condition is not None:
        condition = _checked_condition(condition, registry)
    if key is None:
        return Batch(writes, None, b"", condition)
    check_name(key, what="a key")
    digest = digest or digest_of((write.stream, write.body, write.metadata) for write in writes)
    return Batch(writes, key, digest, condition)


def _checked_condition(condition: Condition, registry: Registry) -> Condition:
    """The condition on what is stored; it is looked at in a commit, with those of others."""
    query, after = condition
    if not isinstance(query, Query):
        raise UsageError(f"unless={shown(query)} is not a refold.Query", argument="unless")
    if isinstance(after, bool) or not isinstance(after, int) or after < 0:
        raise UsageError(f"after={shown(after)} is not a position from 0", argument="after")
    return Condition(query.of_stored(registry.upcasts), after)


def _check_is_append(append: object) -> None:
    if not isinstance(append, Append):
        name = type(append).__name__
        raise UsageError(f"a part must be a refold.Append(stream, events), not {name}")


def branch_batch(stream: str, fork: Fork, events: Sequence[object], registry: Registry) -> Batch:
    """The events of a new branch, however many: as many writes as they take, stored together."""
    writes: list[Write] = []
    for first in range(0, len(events), EVENTS_PER_APPEND_MAX):
        expected = STREAM_EXISTS if writes else NO_STREAM
        part = Append(stream, events[first : first + EVENTS_PER_APPEND_MAX], expected)
        writes.append(_write_of(part, registry)._replace(fork=None if writes else fork))
    return Batch(writes)


def prepared(append: Append, registry: Registry) -> Batch | RefoldError:
    """An append as a batch of its own, or why it cannot be one."""
    try:
        _check_is_append(append)
        return batch_of(append, registry)
    except RefoldError as refusal:
        return refusal


def appended(outcome: Outcome) -> list[Appended]:
    """What became of a batch, an answer a part; a refusal is raised."""
    if isinstance(outcome, RefoldError):
        raise outcome
    return outcome
