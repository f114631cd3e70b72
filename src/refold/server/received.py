"""Spans as exporters send them: kept as they come, told as conversations when a trace has ended.

A request is answered when its spans are on disk, each once, in the stream of its trace. What a
trace says is told when all its spans are at hand, by the importer's rules, so the history is that
of an import of them all.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, Final

import msgspec

from refold.conversation.importers.base import Found, Options, Problem
from refold.conversation.importers.driver import ImportReport, store_found
from refold.conversation.importers.otlp import GatheredSpans, names_in
from refold.conversation.importers.spans import Trace
from refold.conversation.importers.telling import Telling, told_by
from refold.core.event import Event
from refold.core.query import TAGS_MAX, Query
from refold.core.recorded import Recorded
from refold.engine.append import Append
from refold.engine.store import Store
from refold.errors import BackendError, Overloaded, RefoldError
from refold.privacy.decisions import STREAM as REMOVALS
from refold.server.talks import ToldTalk, ToldTalks, ids_in

CATEGORY: Final = "otlp"
RECEIVED: Final = "otlp_received"
"""The category of the streams that keep what came, one a trace."""
TOLD: Final = "otlp_told"
"""The stream that says what was told, and up to which position everything is."""
SETTLED_S: Final = 6.0
"""A trace has ended when each parent is there and nothing came for so long: exporters send every
5 seconds, and those of other services may do so later."""
ORPHANED_S: Final = 900.0
"""A parent that is missing is waited for so long: a span is sent when it ends."""
WAITING_MAX: Final = 10_000
"""So many traces are waited for; beyond them those that were silent longest are told."""
LISTED_MAX: Final = 100
"""So many losses and problems are listed in an event of what was told; all are counted."""

Row = dict[str, Any]


class _SeenRecord(msgspec.Struct):
    """What is looked at of a span or log record before its trace is told."""

    traceId: str  # noqa: N815
    spanId: str  # noqa: N815
    parentSpanId: str = ""  # noqa: N815
    startTimeUnixNano: str = "0"  # noqa: N815
    endTimeUnixNano: str = "0"  # noqa: N815


class _SeenPart(msgspec.Struct):
    record: _SeenRecord


_part: Final = msgspec.json.Decoder(_SeenPart).decode


@dataclass
class _OpenTrace:
    """A trace that is not told: which of its spans are there, and since when it is silent."""

    position: int
    silent_s: float
    ids: set[str] = field(default_factory=set)
    parents: set[str] = field(default_factory=set)
    began_ns: int = 0

    def add(self, recorded: Recorded, now_s: float) -> None:
        self.silent_s = now_s
        if not _is_received(recorded):
            return
        record = _part(recorded.raw).record
        if record.endTimeUnixNano != "0":
            began_ns = int(record.startTimeUnixNano)
            self.began_ns = min(self.began_ns or began_ns, began_ns)
            self.ids.add(record.spanId)
            self.parents.add(record.parentSpanId)

    def is_due(self, now_s: float) -> bool:
        is_whole = "" in self.parents and self.parents <= self.ids | {""}
        return now_s - self.silent_s >= (SETTLED_S if is_whole else ORPHANED_S)


def take(store: Store, parts: Iterable[Row]) -> list[str]:
    """Keep spans and log records, durable when it returns; why each that is not kept is not.

    A part is a ``record`` of OTLP with its ``resource`` and ``scope``. Raises a
    :class:`~refold.errors.BackendError` or :class:`~refold.errors.Overloaded`: some may be kept
    then, and all may be sent again.
    """
    refused: list[str] = []
    appends = [_append_of(part) for part in parts]
    for append, outcome in zip(appends, store.append_many(appends), strict=True):
        if isinstance(outcome, BackendError | Overloaded):
            raise outcome
        # A key that was used is the same from elsewhere: the first is kept.
        if isinstance(outcome, RefoldError) and outcome.code != "key_reused":
            refused.append(f"{append.key}: {outcome.message}")
    return refused


class Teller:
    """Tells what was received by a store; it finds what was not told when the store was left.

    ``taken`` counts how often something was received.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._waiting: dict[str, _OpenTrace] = {}
        self._talks = ToldTalks()
        self._seen: int | None = None
        self.taken = self._told_of = 0

    @property
    def is_owing(self) -> bool:
        """Whether something that was received may not be told yet."""
        return self.taken != self._told_of or bool(self._waiting)

    def tell(self, *, now_s: float) -> ImportReport | None:
        """Tell the traces that have ended as conversations; None where none has.

        ``now_s`` is of a clock that only goes on. What is lost is in the report, and in an event
        ``otlp.told``. Raises a :class:`~refold.errors.BackendError`: then it is done another time.
        """
        taken = self.taken
        seen = self._listen(now_s)
        self._told_of = taken
        due = self._due(now_s)
        if not due:
            return None
        report = ImportReport(format=CATEGORY)
        told: set[str] = set()
        self._talks.forget_new()
        store_found(self._store, report, self._found(due, told))
        if told:
            waiting = {name: one for name, one in self._waiting.items() if name not in told}
            until = min((one.position - 1 for one in waiting.values()), default=seen)
            self._store.append(TOLD, [_told(report, told, until)])
            self._waiting = waiting
        self._talks.keep_new()
        return report

    def _listen(self, now_s: float) -> int:
        """Hear what has come; how far the log was looked at."""
        if self._seen is None:
            self._seen = _told_until(self._store)
        head = self._store.log_head()
        for recorded in self._store.read_all(after=self._seen, categories=[RECEIVED]):
            self._hear(recorded, now_s)
            self._seen = recorded.position
        self._seen = max(self._seen, head)
        return self._seen

    def _hear(self, recorded: Recorded, now_s: float) -> None:
        name = recorded.stream.removeprefix(f"{RECEIVED}-")
        if name not in self._waiting:
            self._waiting[name] = _OpenTrace(recorded.position, now_s)
            self._talks.forget(name)
            # What was told before holds the parents of what comes now.
            before = recorded.version - 1
            for one in self._store.read(recorded.stream, to_version=before) if before >= 0 else ():
                self._waiting[name].add(one, now_s)
        self._waiting[name].add(recorded, now_s)

    def _due(self, now_s: float) -> list[str]:
        """The traces to tell, the earliest first."""
        silent = sorted(self._waiting, key=lambda name: self._waiting[name].silent_s)
        beyond = silent[: max(0, len(silent) - WAITING_MAX)]
        due = {*beyond, *(name for name in silent if self._waiting[name].is_due(now_s))}
        return sorted(due, key=lambda name: (self._waiting[name].began_ns, name))

    def _found(self, due: Sequence[str], told: set[str]) -> Iterator[Found | Problem]:
        """The conversations of the traces that are due; which these were, in ``told``."""
        for name in due:
            if name in told:
                continue
            removed = self._store.head(REMOVALS)
            own = self._received(name)
            tags = {tag for recorded in own for tag in recorded.metadata.get("tags", ())}
            talk = self._talks.of(tags, removed)
            if talk and (items := self._gone_on(talk, name, set(due), told)) is not None:
                yield from items
                continue
            beside, position = self._beside(tags)
            beside.discard(name)
            waited_for = beside & self._waiting.keys() - set(due)
            began_ns = self._waiting[name].began_ns
            if any(0 < self._waiting[one].began_ns < began_ns for one in waited_for):
                continue  # It goes on what that one begins.
            traces = {name, *beside - waited_for}
            for other in sorted(traces - {name}):
                own += self._received(other)
            told.add(name)
            items_of = [*_gathered(own).traces()]
            for trace in items_of:
                if isinstance(trace, Trace) and name not in trace.members:
                    continue
                if isinstance(trace, Problem):
                    yield trace
                    continue
                told |= trace.members & set(due)
                telling = Telling(trace, Options())
                if len(tags) == len(items_of) == 1 and not waited_for:
                    self._talks.add(
                        ToldTalk(telling, min(tags), removed, position, traces, ids_in(own))
                    )
                yield from _found_by(telling)

    def _gone_on(
        self, talk: ToldTalk, name: str, due: set[str], told: set[str]
    ) -> Iterator[Found | Problem] | None:
        """What a conversation says with what came since it was told; None: tell it all anew."""
        beside, position = self._beside([talk.tag], after=talk.position)
        traces = beside | {name}
        if (traces - due) & self._waiting.keys() or traces & talk.traces:
            return None
        own = [one for trace in sorted(traces) for one in self._received(trace)]
        items: Iterator[Found | Problem] = iter(())
        match [*_gathered(own).traces()]:
            case [Trace() as trace] if name not in trace.members:
                pass
            case [] if talk.go_on(None, traces, ids_in(own), position):
                self._talks.add(talk)
            case [Trace() as trace] if talk.go_on(trace, traces, ids_in(own), position):
                self._talks.add(talk)
                told |= trace.members & due
                items = _found_by(talk.telling)
            case _:
                return None
        told.add(name)
        return items

    def _received(self, name: str) -> list[Recorded]:
        return [*filter(_is_received, self._store.read(f"{RECEIVED}-{name}"))]

    def _beside(self, tags: Iterable[str], *, after: int = 0) -> tuple[set[str], int]:
        """The traces of which something has these tags, and where the last of it stands."""
        found = [
            (one.stream.removeprefix(f"{RECEIVED}-"), one.position)
            for tag in tags
            for one in self._store.read_all(after=after, matching=Query(tags=[tag]))
        ]
        return {name for name, _ in found}, max((at for _, at in found), default=after)


def _append_of(part: Row) -> Append:
    record = part["record"]
    own = f"{record['traceId']}:{record['spanId']}"
    said = sha256(msgspec.json.encode(record, order="deterministic")).hexdigest()[:16]
    named = sorted(sha256(name.encode()).hexdigest()[:32] for name in names_in(record))
    tags = [f"otlp:{name}" for name in named[:TAGS_MAX]]
    kind = "otlp.span" if "startTimeUnixNano" in record else "otlp.log"
    event = Event(kind, part)
    return Append(f"{RECEIVED}-{record['traceId']}", [event], key=f"otlp:{own}:{said}", tags=tags)


def _is_received(recorded: Recorded) -> bool:
    """Whether an event is as the door keeps spans; others may be there, redacted or by somebody."""
    try:
        record = _part(recorded.raw).record
        begins = record.startTimeUnixNano.lstrip("0").isdecimal()
        return (begins and recorded.type == "otlp.span") or recorded.type == "otlp.log"
    except (msgspec.DecodeError, UnicodeDecodeError):
        return False


def _told_until(store: Store) -> int:
    """Up to which position everything is told, by the last that says it."""
    if store.head(TOLD) < 0:
        return 0
    for recorded in store.read(TOLD, direction="backward"):
        match recorded.data:
            case {"until": int(until), "traces": list()} if until < recorded.position:
                return until
    return 0


def _gathered(own: Iterable[Recorded]) -> GatheredSpans:
    held = GatheredSpans(RECEIVED)
    for recorded in own:
        record = recorded.data["record"]
        if recorded.type == "otlp.span":
            held.add_span(record, f"{recorded.id}/record", recorded.position)
        else:
            held.add_log(record)
    return held


def _found_by(telling: Telling) -> Iterator[Found | Problem]:
    for found in told_by(telling, RECEIVED, CATEGORY):
        yield found if isinstance(found, Problem) else found._replace(format=CATEGORY)


def _told(report: ImportReport, traces: Iterable[str], until: int) -> Event:
    """What was told, with what was lost: all of it counted, the first listed."""
    counts = ("imported", "grown", "unchanged", "failed", "loss_count", "problem_count")
    said = {name: getattr(report, name) for name in counts}
    listed = {name: getattr(report, name)[:LISTED_MAX] for name in ("loss", "problems")}
    told = {"until": until, "traces": sorted(traces), **said, **listed}
    return Event("otlp.told", msgspec.to_builtins(told))
