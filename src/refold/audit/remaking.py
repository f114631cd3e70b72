"""Every entry made again from what is stored, beside the leaf that was sealed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Final

from refold.audit.entry import NO_LEAF, StreamTip, leaves_of
from refold.audit.findings import Findings
from refold.audit.reading import first_version, forked_after, leaf_in, pages, position_of
from refold.audit.redacted import RedactedEvents, RemadeEvent
from refold.audit.tables import SealTables
from refold.audit.tiles import WIDTH
from refold.audit.tree import HASH_BYTES
from refold.core.event import event_id
from refold.core.stored import Row
from refold.errors import Corrupt, ProofError
from refold.ports import Backend

Progress = Callable[[int, int], object]
EVENTS_PER_WORD: Final = 4_096
"""Progress is told about so often: each append would take longer than looking at it."""


class Remaker:
    """Makes the entries of a log again, a page of appends at a time, in order of position.

    An event follows the leaf of the one before it as that was sealed, so that one that was changed
    differs, and not all that follow it in its stream. Streams are remembered: 200 bytes each.
    """

    def __init__(self, log: Backend, tables: SealTables) -> None:
        self._log, self._tables = log, tables
        self.redacted = RedactedEvents(log, tables.ask)
        self._tips: dict[str, StreamTip | None] = {}
        self._leaves = b""
        self._secrets: dict[int, bytes] = {}
        self._first_tile = 0
        self._firsts: dict[str, int] = {}

    def appends(self, *, after: int, until: int) -> Iterator[Row]:
        """Appends over a position, up to one that is sealed, each looked up."""
        for page in pages(self._log, after=after, until=until):
            rows = [row for row in page if row.position <= until]
            if rows:
                self._look_up(rows, until)
            yield from rows

    def whole(self, *, after: int, until: int) -> Iterator[tuple[Row, RemadeEvent]]:
        """Every event over a position, up to one that is sealed, with its append.

        Raises :class:`~refold.errors.ProofError` where one is missing or not what was sealed.
        """
        done = after
        for row in self.appends(after=after, until=until):
            for event in self.events(row) or ():
                if not done < event.position <= until:
                    continue
                if event.position > done + 1:
                    raise _missing(done + 1)
                check_as_sealed(row, event)
                yield row, event
                done = event.position
        if done < until:
            raise _missing(done + 1)

    def one(self, row: Row, *, is_raw: bool = False) -> Sequence[RemadeEvent]:
        """The events of one append of a sealed stream; see :meth:`events`."""
        self._tips.pop(row.stream, None)
        self._look_up([row], row.position + row.event_count - 1)
        return self.events(row, is_raw=is_raw) or []

    def events(self, row: Row, *, is_raw: bool = False) -> Sequence[RemadeEvent] | None:
        """The events of an append that was looked up; None where its stream was never sealed.

        ``is_raw``: redacted ones too as what is stored makes them.
        :class:`~refold.errors.Corrupt` where its body is none.
        """
        tip = self._tip_before(row)
        if tip is None:
            return None
        sealed = self._sealed(row)
        entries: list[bytes] = []
        made = leaves_of(row, tip, self.secret_of, sealed=sealed, entries=entries)
        found = [
            RemadeEvent(row.version + at, row.position + at, entry, leaf, due)
            for at, entry in enumerate(entries)
            for leaf, due in [_hashes_in(at, made, sealed)]
        ]
        return found if is_raw else [self.redacted.as_sealed(row, one) for one in found]

    def differing(self, row: Row) -> Sequence[RemadeEvent] | None:
        """Those of them that are not what was sealed: quicker where none is."""
        tip = self._tip_before(row)
        if tip is None:
            return None
        before = StreamTip(tip.pseudonym, tip.version, tip.leaf, tip.is_new)
        if leaves_of(row, tip, self.secret_of) == self._sealed(row):
            return ()
        self._tips[row.stream] = before
        return [one for one in self.events(row) or () if one.leaf != one.sealed]

    def first_version(self, stream: str) -> int:
        """The version of a stream's first own event."""
        if stream not in self._firsts:
            self._firsts[stream] = first_version(self._log, stream)
        return self._firsts[stream]

    def pass_over(self, row: Row) -> None:
        """Go on behind an append that cannot be compared, from its last leaf as sealed."""
        (leaf,) = _hashes_in(row.event_count - 1, self._sealed(row))
        if (tip := self._tips[row.stream]) is not None:
            tip.version, tip.leaf, tip.is_new = row.last_version, leaf, False

    def _sealed(self, row: Row) -> bytes:
        at = (row.position - 1 - self._first_tile * WIDTH) * HASH_BYTES
        return self._leaves[at : at + row.event_count * HASH_BYTES]

    def _tip_before(self, row: Row) -> StreamTip | None:
        tip = self._tips[row.stream]
        if tip is not None and tip.version != row.version - 1:
            tip.version, tip.leaf = row.version - 1, NO_LEAF
            self._begin(row, tip)
        return tip

    def secret_of(self, position: int) -> bytes:
        """The secret for a position that was looked up."""
        return self._secrets.get((position - 1) // WIDTH, b"")

    def _look_up(self, rows: Sequence[Row], until: int) -> None:
        last = min(rows[-1].position + rows[-1].event_count - 1, until)
        self._first_tile = (rows[0].position - 1) // WIDTH
        count = (last - 1) // WIDTH - self._first_tile + 1
        found = self._tables.leaf_tiles(self._first_tile, count)
        self._leaves = b"".join(hashes for _, hashes, _ in found)
        self._secrets = {tile: secret or b"" for tile, _, secret in found}
        missing = {row.stream for row in rows} - self._tips.keys()
        tips = self._tables.tips(missing)
        for name in missing:
            self._tips[name] = tip = tips.get(name)
            if tip is not None:
                tip.version = -2  # Before any event: where it stands is looked up.

    def _begin(self, row: Row, tip: StreamTip) -> None:
        """Let a tip stand before an append, as the log says."""
        tip.is_new = row.version == self.first_version(row.stream)
        before = (row.stream, row.version - 1)
        if tip.is_new:
            forked = forked_after(self._log, row.stream)
            if forked is None:
                return
            before = forked
        position = position_of(self._log, *before)
        tip.leaf = leaf_in(self._tables.tile(0, (position - 1) // WIDTH), position)


def check_as_sealed(row: Row, event: RemadeEvent) -> None:
    """Raise :class:`~refold.errors.ProofError` where an event is not what was sealed."""
    if event.leaf != event.sealed:
        raise ProofError(
            f"{row.stream}@{event.version} is not what was sealed: nothing can be proved of it",
            proof="inclusion",
            expected=event.sealed,
            computed=event.leaf,
        )


def _missing(position: int) -> ProofError:
    why = f"position {position:,} was sealed, and is missing or of a stream that was never sealed"
    return ProofError(f"{why}: `refold verify --deep` says more", proof="log", position=position)


def check_events(
    remaker: Remaker, findings: Findings, *, after: int, until: int, progress: Progress
) -> None:
    """Look at every event over a position, up to one that is sealed."""
    done, told = after, after
    for row in remaker.appends(after=after, until=until):
        if row.position > done + 1:
            findings.add("log", f"positions {done + 1} to {row.position - 1} are missing", done + 1)
        _check_append(remaker, findings, row, until)
        done = row.position + row.event_count - 1
        if done > told + EVENTS_PER_WORD:
            told = done
            progress(min(done, until), until)
    if done < until:
        findings.add("log", f"positions {done + 1} to {until} are missing", done + 1)


def _check_append(remaker: Remaker, findings: Findings, row: Row, until: int) -> None:
    try:
        differing = remaker.differing(row)
    except Corrupt as damage:
        findings.add("event", damage.message, row.position)
        remaker.pass_over(row)
        return
    if differing is None:
        detail = f"{event_id(row.stream, row.version)} is of a stream that was never sealed"
        findings.add("event", detail, row.position)
    for event in differing or ():
        if event.position <= until:
            detail = f"{event_id(row.stream, event.version)} is not what was sealed"
            findings.add("event", detail, event.position)
    for position in remaker.redacted.unsaid(row):
        if position <= until:
            name = event_id(row.stream, row.version + position - row.position)
            detail = f"a personal value is gone from {name}, and no redaction in the log says so"
            findings.add("event", detail, position)


def _hashes_in(number: int, *several: bytes) -> list[bytes]:
    return [hashes[number * HASH_BYTES : (number + 1) * HASH_BYTES] for hashes in several]
