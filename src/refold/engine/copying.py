"""One log in another: every append where it stood, resumable, compared at the end."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import zip_longest
from typing import Protocol, runtime_checkable

from refold.core.stored import Row
from refold.engine.chunks import BATCHES_MAX, CHARS_MAX
from refold.engine.lineage import LOG_ROWS_PER_PAGE
from refold.errors import Corrupt, RefoldError, UsageError
from refold.ports import CLOCK_STREAM, Backend, Batch, Copied, Kept, Outcome, StreamInfo

STREAMS_PER_PAGE = 1_000


@runtime_checkable
class Restorer(Protocol):
    """A backend that stores much of another log at once."""

    def restore(self, timed: Sequence[tuple[int, Batch]]) -> list[Outcome]:
        """Store batches in few commits, each as of what the clock said then.

        Only the first may be an append to :data:`~refold.ports.CLOCK_STREAM`.
        """
        ...

    def find_all(self, keys: Sequence[str]) -> dict[str, Kept]:
        """What appends under keys stored, of those that there are."""
        ...


def copy_log(source: Backend, target: Backend, progress: Callable[[int, int], object]) -> int:
    """Store what a log has and another has not yet; how many events both have in the end.

    Raises :class:`~refold.errors.UsageError` where the other has something else, and
    :class:`~refold.errors.Corrupt` where the two are not the same afterwards.
    """
    source, target = _stored(source), _stored(target)
    if not isinstance(source, Copied):
        raise UsageError("a log in memory is not copied: nothing else was promised of it")
    done, whole, there = 0, source.log_head(), target.log_head()
    _check_beginning(source, target, there)
    for chunk in _chunked(source.batches()):
        missing = []
        for now, batch in chunk:
            done += sum(len(write.kinds) for write in batch.writes)
            if done > there:
                missing.append((now, batch))
        _store(target, missing)
        _check_keys(target, {batch.key: batch.digest for _, batch in chunk if batch.key})
        progress(done, whole)
        if done >= whole:
            break  # What came meanwhile is copied by the next one.
    _check_same(source, target, until=done)
    return done


def _stored(log: Backend) -> Backend:
    """A log as it is stored: of one whose values are protected, what keeps them closed."""
    stored: Backend = getattr(log, "inner", log)
    return stored


def _chunked(timed: Iterable[tuple[int, Batch]]) -> Iterator[list[tuple[int, Batch]]]:
    """Batches in chunks of a bounded size; what begins time again begins one."""
    chunk: list[tuple[int, Batch]] = []
    chars = 0
    for now, batch in timed:
        size = sum(len(write.body) for write in batch.writes)
        is_full = len(chunk) == BATCHES_MAX or chars + size > CHARS_MAX
        if chunk and (is_full or batch.writes[0].stream == CLOCK_STREAM):
            yield chunk
            chunk, chars = [], 0
        chunk.append((now, batch))
        chars += size
    if chunk:
        yield chunk


def _store(target: Backend, timed: Sequence[tuple[int, Batch]]) -> None:
    """Store batches, each as of its own time."""
    if isinstance(target, Restorer):
        outcomes = target.restore(timed) if timed else []
    else:
        outcomes = [one for now, batch in timed for one in target.commit([batch], now=now)]
    for outcome in outcomes:
        if isinstance(outcome, RefoldError):
            raise outcome


def _check_beginning(source: Backend, target: Backend, there: int) -> None:
    """Refuse to go on with what is not the beginning of this log."""
    if there:
        ends = [_appends(log, after=there - 1) for log in (source, target)]
        mine, other = (next(appends, None) for appends in ends)
        if mine != other:
            events = f"{there:,} event{'s' * (there != 1)}"
            why = f"the store to copy into holds {events}, none of them of this copy"
            raise UsageError(f"{why}: name one that is new or empty, or holds a part of it")


def _check_same(source: Backend, target: Backend, *, until: int) -> None:
    """Every append, stream and key of a log stands in its copy as it stands here."""
    for mine, other in zip_longest(_appends(source), _appends(target)):
        if mine is not None and mine.position > until:
            break
        if mine != other:
            at = (mine or other).position
            raise Corrupt(f"the copy is not the same at position {at}", position=at)
    for info in _streams(target):
        mine_too = source.head(info.stream)
        if mine_too is None or mine_too.fork != info.fork:
            raise Corrupt(f"the copy has another stream {info.stream!r}", stream=info.stream)


def _check_keys(target: Backend, digests: Mapping[str, bytes]) -> None:
    """Keys stand in the copy for the bytes that they stand for here."""
    at_once = target.find_all([*digests]) if isinstance(target, Restorer) else None
    for key, digest in digests.items():
        kept = target.find(key) if at_once is None else at_once.get(key)
        if kept is None or kept.digest != digest:
            raise Corrupt(f"the copy has another append under {key!r}", key=key)


def _appends(log: Backend, *, after: int = 0) -> Iterator[Row]:
    """The appends of a log over a position, with their text as text."""
    while page := log.log(after=after, categories=None, types=None, rows_max=LOG_ROWS_PER_PAGE):
        for row in page:
            yield row._replace(metadata=_text(row.metadata), body=str(_text(row.body)))
        after = page[-1].position + page[-1].event_count - 1


def _streams(log: Backend) -> Iterator[StreamInfo]:
    after = ""
    while page := log.streams(category=None, after=after, streams_max=STREAMS_PER_PAGE):
        yield from page
        after = page[-1].stream


def _text(text: str | bytes | None) -> str | None:
    return text.decode() if isinstance(text, bytes) else text
