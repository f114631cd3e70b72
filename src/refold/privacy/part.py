"""A part of a log: some of its streams, each up to a version, as if nothing else were there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import msgspec

from refold.core.stored import Row
from refold.engine.store import Store
from refold.errors import NotFound, UsageError
from refold.ports import Backend, Batch, Beside, Kept, Outcome, StreamInfo

ELSEWHERE: Final = "refold-elsewhere"
"""The stream of what is not in a part of a log."""
_EMPTY: Final = b'["elsewhere",{}]'
_events_in: Final = msgspec.json.Decoder(list[msgspec.Raw]).decode


def part_of(store: Store, until: Mapping[str, int | None]) -> Store:
    """A store that reads these streams alone, each up to a version, or all of it where it is None.

    With them come their branches, and as much as they share of what they branched from. Whatever is
    read of it has the place, the time and the id that it has in the whole; nothing can be written.
    Raises :class:`~refold.errors.NotFound` for a stream that is not there.
    """
    infos = {info.stream: info for info in store.streams()}
    for stream in until.keys() - infos.keys():
        raise NotFound(f"there is no stream {stream!r}", stream=stream)
    kept = {s: infos[s].version if at is None else at for s, at in until.items()}
    for info in _branches(infos, kept):
        kept.setdefault(info.stream, info.version)
    waiting = [*kept]
    while waiting:
        fork = infos[waiting.pop()].fork
        if fork is not None and kept.get(fork.parent, -1) < fork.version:
            kept[fork.parent] = fork.version
            waiting.append(fork.parent)
    log = PartOfLog(store._backend, kept)
    return Store(log, registry=store.registry, clock=store._clock)


def _branches(infos: Mapping[str, StreamInfo], kept: Mapping[str, int]) -> Iterator[StreamInfo]:
    """All branches of streams that leave these by the version they are kept to, and theirs."""
    of: dict[str, list[StreamInfo]] = {}
    for info in infos.values():
        if info.fork is not None:
            of.setdefault(info.fork.parent, []).append(info)
    waiting = [*kept]
    while waiting:
        parent = waiting.pop()
        last = kept.get(parent, infos[parent].version)
        for info in of.pop(parent, []):
            if info.fork is not None and info.fork.version <= last:
                yield info
                waiting.append(info.stream)


class PartOfLog:
    """A backend that gives what another has of some streams, up to the version of each.

    In the place of all other events the log has empty ones of :data:`ELSEWHERE`, for positions
    follow one another.
    """

    def __init__(self, whole: Backend, until: Mapping[str, int]) -> None:
        self._whole, self._until = whole, until

    def commit(
        self, _batches: Sequence[Batch], *, now: int, beside: Beside | None = None
    ) -> list[Outcome]:
        """Nothing is stored."""
        del now, beside
        raise UsageError("a part of a log is only read", code="not_writable")

    def rows(
        self, stream: str, *, first: int, last: int, backward: bool, events_max: int
    ) -> list[Row]:
        """See :meth:`refold.ports.Backend.rows`."""
        last = min(last, self._until.get(stream, -1))
        if last < first:
            return []
        found = self._whole.rows(
            stream, first=first, last=last, backward=backward, events_max=events_max
        )
        return [cut for row in found for cut in self._cut(row) if cut.stream == stream]

    def log(
        self,
        *,
        after: int,
        categories: Sequence[str] | None,
        types: Sequence[str] | None,
        rows_max: int,
    ) -> list[Row]:
        """See :meth:`refold.ports.Backend.log`."""
        is_whole = categories is None and types is None
        while page := self._whole.log(
            after=after, categories=categories, types=types, rows_max=rows_max
        ):
            rows = [cut for row in page for cut in self._cut(row)]
            if kept := [row for row in rows if is_whole or row.stream != ELSEWHERE]:
                return kept
            after = page[-1].position_of(page[-1].last_version)
        return []

    def find(self, _key: str) -> Kept | None:
        """No key is known here."""
        return None

    def head(self, stream: str) -> StreamInfo | None:
        """See :meth:`refold.ports.Backend.head`."""
        info = self._whole.head(stream) if stream in self._until else None
        return None if info is None else self._known(info)

    def log_head(self, *, reached: int = 0) -> int:
        """See :meth:`refold.ports.Backend.log_head`: that of the whole log."""
        return self._whole.log_head(reached=reached)

    def streams(self, *, category: str | None, after: str, streams_max: int) -> list[StreamInfo]:
        """See :meth:`refold.ports.Backend.streams`."""
        while page := self._whole.streams(category=category, after=after, streams_max=streams_max):
            if kept := [self._known(info) for info in page if info.stream in self._until]:
                return kept
            after = page[-1].stream
        return []

    def close(self) -> None:
        """The whole is closed by whoever opened it."""

    def _known(self, info: StreamInfo) -> StreamInfo:
        return info._replace(version=min(info.version, self._until[info.stream]))

    def _cut(self, row: Row) -> Iterator[Row]:
        """A row as far as it is in this part, and an empty one for the rest."""
        last = self._until.get(row.stream, -1)
        if row.last_version <= last:
            yield row
            return
        for one in row.appends():
            count = min(max(0, last + 1 - one.version), one.event_count)
            if count:
                body = b"[" + b",".join(map(bytes, _events_in(one.body)[:count])) + b"]"
                yield one._replace(event_count=count, body=body)
            if left := one.event_count - count:
                at = one.position + count
                body = b"[" + b",".join([_EMPTY] * left) + b"]"
                yield Row(at, ELSEWHERE, at - 1, left, one.recorded_at, None, body)
