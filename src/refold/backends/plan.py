"""What a batch comes to, given the heads of the streams it writes: shared by the backends."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from refold.core.encode import span_of
from refold.core.event import Kind
from refold.core.expected import NO_EVENTS, check_head
from refold.core.query import Condition, Query
from refold.core.stored import Row
from refold.errors import Conflict, NotFound, RefoldError, UsageError
from refold.ports import Batch, Committed, Placed, Write


class Planned(NamedTuple):
    """A write with the place it is to take."""

    write: Write
    position: int
    version: int
    key: str | None
    digest: bytes


@dataclass
class Plan:
    """Places for many batches, each accepted whole or refused whole.

    ``head_of`` gives the last version of a stream in storage, -1 when it is not there.
    ``found_after`` gives the last position of an append in storage that matches a query and ends
    after a position, None when there is none. ``next_position`` is the first free place of the log.
    """

    head_of: Callable[[str], int]
    found_after: Callable[[Query, int], int | None]
    next_position: int
    recorded_at: int
    rows: list[Planned] = field(default_factory=list)
    heads: dict[str, int] = field(default_factory=dict)

    def place(self, batch: Batch) -> Committed | RefoldError:
        """Give every write of a batch its place; the refusal when one cannot be given."""
        heads: dict[str, int] = {}
        rows: list[Planned] = []
        placed: list[Placed] = []
        position = self.next_position
        try:
            self._check_condition(batch)
        except Conflict as refusal:
            return refusal
        for index, write in enumerate(batch.writes):
            try:
                head = self._checked_head(write, heads)
            except (Conflict, NotFound, UsageError) as refusal:
                return refusal
            key = None if batch.key is None else row_key(batch.key, index)
            count = len(write.kinds)
            rows.append(Planned(write, position, head + 1, key, batch.digest))
            placed.append(Placed(write.stream, position, head + 1, count))
            heads[write.stream] = head + count
            position += count
        self.heads.update(heads)
        self.rows.extend(rows)
        self.next_position = position
        return Committed(tuple(placed), self.recorded_at)

    def _check_condition(self, batch: Batch) -> None:
        if batch.condition is None:
            return
        query, after = batch.condition
        found = self._planned_after(batch.condition)
        if found is None:
            found = self.found_after(query, after)
        if found is not None:
            raise Conflict(
                stream=batch.writes[0].stream, expected=after, actual=found, query=repr(query)
            )

    def _planned_after(self, condition: Condition) -> int | None:
        """The same among the writes that this plan has placed."""
        for write, position, *_ in self.rows:
            if matches(condition.query, write, position=position, after=condition.after):
                return position + len(write.kinds) - 1
        return None

    def _checked_head(self, write: Write, placed: dict[str, int]) -> int:
        head = placed.get(write.stream, self.heads.get(write.stream))
        if head is None:
            head = self.head_of(write.stream)
        check_head(stream=write.stream, expected=write.expected, head=head)
        if write.fork is None or head != NO_EVENTS:
            return head
        return self._fork_head(write)

    def _fork_head(self, write: Write) -> int:
        assert write.fork is not None
        parent, version = write.fork
        parent_head = self.heads.get(parent, self.head_of(parent))
        if parent_head < max(version, 0):
            raise NotFound(
                f"{write.stream!r} cannot branch from {parent}@{version}: "
                f"the last version of {parent!r} is {parent_head}",
                stream=parent,
                version=version,
            )
        return version


def matches(query: Query, write: Write, *, position: int, after: int) -> bool:
    """Whether a write that begins at a position holds an event of a query after another one."""
    if "~" in write.stream:
        return False
    types = {Kind.parse(kind).type for kind in write.kinds[max(after + 1 - position, 0) :]}
    return bool(types) and any(item.fits(types, write.tags) for item in query.items)


def row_of_planned(planned: Planned, recorded_at: int) -> Row:
    """A placed write as the log gives it back."""
    write = planned.write
    return Row(
        planned.position,
        write.stream,
        planned.version,
        len(write.kinds),
        recorded_at,
        write.metadata,
        write.body,
        *span_of(write.occurred, recorded_at),
    )


def row_key(key: str, index: int) -> str:
    """The stored key of a batch's n-th write; control characters keep it apart from users' keys."""
    return key if index == 0 else f"{key}\x1f{index}"


def same_or_refused(
    batch: Batch, *, digest: bytes, placed: Sequence[Placed], recorded_at: int
) -> Committed | UsageError:
    """The first answer of a repeated key; a refusal when the key stood for other bytes."""
    if digest == batch.digest:
        return Committed(tuple(placed), recorded_at, duplicate=True)
    first = placed[0]
    return UsageError(
        f"key {batch.key!r} was used for other events, at {first.stream}@{first.version}: "
        "a key names one append for ever",
        code="key_reused",
        key=batch.key,
        stream=first.stream,
        version=first.version,
    )
