"""What batches come to, decided from data alone: shared by the backends.

A backend asks :func:`needs` what the batches are decided on, fetches that in one go, and lets
:func:`plan` decide every outcome. Places are offsets from the first free position: which that is,
and when it was recorded, the backend knows under its lock. Where others wrote meanwhile, it fetches
what is stale again and plans anew.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from refold.core.canonical import is_of_replaced
from refold.core.encode import span_of
from refold.core.event import Kind
from refold.core.expected import ANY, NO_EVENTS, check_head
from refold.core.query import Condition, Query
from refold.core.stored import Row
from refold.errors import Conflict, NotFound, RefoldError, UsageError
from refold.ports import CLOCK_STREAM, Appended, Batch, Fork, Kept, Outcome, Write


class Needs(NamedTuple):
    """What batches are decided on: heads of streams, what keys stand for, conditions."""

    streams: set[str]
    keys: set[str]
    conditions: set[Condition]


class Known(NamedTuple):
    """What is stored, of what batches need.

    ``heads`` has the last version of each stream that exists, ``found`` the last position of an
    append that breaks a condition, where there is one.
    """

    log_head: int
    heads: Mapping[str, int]
    kept: Mapping[str, Kept]
    found: Mapping[Condition, int]


class Place(NamedTuple):
    """Where a write is to stand: ``offset`` events after the first free position."""

    write: Write
    offset: int
    version: int
    key: str | None
    digest: bytes

    def row(self, first: int, recorded_at: int, clock_at: int | None) -> Row:
        """The write as the log gives it back, where ``first`` was the first free position."""
        write = self.write
        times = (*span_of(write.occurred, recorded_at, clock_at), clock_at)
        place = (first + self.offset, write.stream, self.version, len(write.kinds), recorded_at)
        return Row(*place, write.metadata, write.body, *times)


class Accepted(NamedTuple):
    """A batch that is to be stored; with ``duplicate`` one before it under the same key is."""

    places: tuple[Place, ...]
    duplicate: bool = False


@dataclass
class Plan:
    """What batches come to; ``places`` is what is to be stored, ``heads`` what that leads to."""

    known: Known
    decisions: list[Accepted | list[Appended] | RefoldError] = field(default_factory=list)
    places: list[Place] = field(default_factory=list)
    heads: dict[str, int] = field(default_factory=dict)
    event_count: int = 0
    keys: dict[str, Accepted] = field(default_factory=dict)

    def moment(self, now: int, last: int) -> tuple[int, int | None]:
        """When it is recorded, and what the clock says where it stands behind that.

        That is ``now``, but not before ``last``, when the last event of the log was: time goes
        back only where the first is an append to :data:`~refold.ports.CLOCK_STREAM`.
        """
        restarts = bool(self.places) and self.places[0].write.stream == CLOCK_STREAM
        return (now, None) if now >= last or restarts else (last, now)

    def outcomes(self, first: int, recorded_at: int) -> list[Outcome]:
        """What the callers are told, where ``first`` was the first free position."""
        outcomes: list[Outcome] = []
        for decision in self.decisions:
            if isinstance(decision, Accepted):
                places, duplicate = decision
                decision = []
                for write, offset, version, _, _ in places:
                    count = len(write.kinds)
                    ends = (version + count - 1, first + offset + count - 1)
                    decision.append(Appended(write.stream, *ends, count, recorded_at, duplicate))
            outcomes.append(decision)
        return outcomes

    def refuses_a_key(self, batches: Sequence[Batch]) -> bool:
        """Whether a batch that has a key is refused: its key may have an answer."""
        pairs = zip(batches, self.decisions, strict=True)
        return any(batch.key is not None and isinstance(d, RefoldError) for batch, d in pairs)

    def decide(self, batch: Batch) -> Accepted | list[Appended] | RefoldError:
        """What one more batch comes to, after those before it."""
        writes, key, digest, condition = batch
        heads: dict[str, int] = {}
        places: list[Place] = []
        offset = self.event_count
        try:
            repeated = None if key is None else self._repeated(batch)
            if repeated is not None:
                return repeated
            if condition is not None:
                self._check_condition(batch)
            for index, write in enumerate(writes):
                stream = write.stream
                head = self._head(stream) if stream not in heads else heads[stream]
                if write.expected is not ANY and write.expected != head:
                    check_head(stream=stream, expected=write.expected, head=head)
                if write.fork is not None and head == NO_EVENTS:
                    head = self._forked(write.fork, stream)
                part_key = None if key is None else row_key(key, index)
                places.append(Place(write, offset, head + 1, part_key, digest))
                heads[stream] = head + len(write.kinds)
                offset += len(write.kinds)
        except (Conflict, NotFound, UsageError) as refusal:
            return refusal
        accepted = Accepted(tuple(places))
        self.places += places
        self.heads.update(heads)
        self.event_count = offset
        if key is not None:
            self.keys[key] = accepted
        return accepted

    def _repeated(self, batch: Batch) -> Accepted | list[Appended] | None:
        """The first answer of a key that was used before, here or in what is stored."""
        assert batch.key is not None
        kept = self.known.kept.get(batch.key)
        if kept is not None:
            first = kept.parts[0]
            _check_same(batch, kept.digest, first.stream, first.version - first.event_count + 1)
            return [part._replace(duplicate=True) for part in kept.parts]
        accepted = self.keys.get(batch.key)
        if accepted is None:
            return None
        place = accepted.places[0]
        _check_same(batch, place.digest, place.write.stream, place.version)
        return accepted._replace(duplicate=True)

    def _check_condition(self, batch: Batch) -> None:
        assert batch.condition is not None
        query, after = batch.condition
        found = self._planned_after(query, after)
        if found is None:
            found = self.known.found.get(batch.condition)
        if found is not None:
            stream = batch.writes[0].stream
            raise Conflict(stream=stream, expected=after, actual=found, query=repr(query))

    def _planned_after(self, query: Query, after: int) -> int | None:
        """The last position of a write of this plan that holds an event of a query after one."""
        first = self.known.log_head + 1
        for place in self.places:
            if matches(query, place.write, position=first + place.offset, after=after):
                return first + place.offset + len(place.write.kinds) - 1
        return None

    def _forked(self, fork: Fork, stream: str) -> int:
        """The version after which a branch begins, which its parent must have."""
        parent_head = self._head(fork.parent)
        if parent_head < max(fork.version, 0):
            why = f"{stream!r} cannot branch from {fork.parent}@{fork.version}: the last version of"
            why += f" {fork.parent!r} is {parent_head}"
            raise NotFound(why, stream=fork.parent, version=fork.version)
        return fork.version

    def _head(self, stream: str) -> int:
        head = self.heads.get(stream)
        return self.known.heads.get(stream, NO_EVENTS) if head is None else head


def needs(batches: Sequence[Batch]) -> Needs:
    """What batches are decided on."""
    streams: set[str] = set()
    for batch in batches:
        for write in batch.writes:
            streams.add(write.stream)
            if write.fork is not None:
                streams.add(write.fork.parent)
    return Needs(
        streams,
        {batch.key for batch in batches if batch.key is not None},
        {batch.condition for batch in batches if batch.condition is not None},
    )


def plan(batches: Sequence[Batch], known: Known) -> Plan:
    """What batches come to, one after the other, each accepted whole or refused whole."""
    planned = Plan(known)
    for batch in batches:
        planned.decisions.append(planned.decide(batch))
    return planned


def matches(query: Query, write: Write, *, position: int, after: int) -> bool:
    """Whether a write that begins at a position holds an event of a query after another one."""
    if "~" in write.stream:
        return False
    types = {Kind.parse(kind).type for kind in write.kinds[max(after + 1 - position, 0) :]}
    return bool(types) and any(item.fits(types, write.tags) for item in query.items)


def row_key(key: str, index: int) -> str:
    """The stored key of a batch's n-th write; control characters keep it apart from users' keys."""
    return key if index == 0 else f"{key}\x1f{index}"


def _check_same(batch: Batch, digest: bytes, stream: str, version: int) -> None:
    """Refuse a key that stood for other bytes; what these were may be forgotten."""
    if digest != batch.digest and not is_of_replaced(digest):
        facts = {"key": batch.key, "stream": stream, "version": version}
        why = f"key {batch.key!r} was used for other events, at {stream}@{version}: "
        raise UsageError(f"{why}a key names one append for ever", code="key_reused", **facts)
