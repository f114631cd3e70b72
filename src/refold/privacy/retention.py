"""What is past its time: the events of a category that are older than the ceiling of its class."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Final, NamedTuple

from refold.conversation.governance import RetentionApplied
from refold.core.clock import rfc3339
from refold.engine.store import Store
from refold.privacy.decisions import decisions, record
from refold.privacy.declared import Declared
from refold.privacy.envelope import ERASED
from refold.privacy.policy import RetentionClass, category_kept_as, class_of
from refold.privacy.related import Lineage, opener
from refold.privacy.removing import (
    Progress,
    Removal,
    Removed,
    ValueChange,
    eraser_of,
    remove,
    rulings,
    take_up,
)
from refold.privacy.stored import stored_backend
from refold.privacy.texts import LookedEvent, looked

REASON: Final = "its time has passed"


class CategoryKept(NamedTuple):
    """How a category is kept: its class, and how many of its events are under what.

    ``due`` are past their ceiling with something left in them, ``held`` under a hold, ``floored``
    before the end of their floor; times are microseconds UTC.
    """

    category: str
    kept_as: RetentionClass | None
    events: int
    due: int
    held: int
    floored: int
    oldest_us: int


def retention(store: Store, classes: Mapping[str, RetentionClass]) -> list[CategoryKept]:
    """How each category of a log is kept, in order of their names."""
    lineage, declared = Lineage(store), Declared(store, {})
    holds = [*decisions(store).holds.values()]
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    oldest: dict[str, int] = {}
    for category, stream in _streams(lineage):
        events = [*looked(stored_backend(store), stream, opener(store))]
        for event, ruling in rulings(store, events, lineage, holds, classes, asked=False):
            at = event.row.recorded_at
            oldest[category] = min(oldest.get(category, at), at)
            is_due = ruling.why == "ceiling" and _emptied(declared, event)
            counts[category] += Counter(["events", "due" if is_due else ruling.why])
    return [
        CategoryKept(
            name, class_of(name, classes), some["events"], some["due"], some["hold"],
            some["floor"], oldest[name],
        )
        for name, some in sorted(counts.items())
    ]  # fmt: skip


def apply_retention(
    store: Store,
    *,
    wanted: Removal,
    fields: Mapping[str, Sequence[str]] | None = None,
    dry_run: bool = False,
    progress: Progress = lambda *_: None,
) -> Removed:
    """Empty the events that are past the ceiling of their class, but those under a hold.

    ``wanted`` has the classes; its reason is :data:`REASON` where it gives none.

    Their personal values go, those that are declared so; what remains is that they happened. What a
    floor kept of an erasure goes by `refold erase`, which is asked again when that has ended.
    """
    eraser_of(store)
    wanted = wanted._replace(reason=wanted.reason or REASON)
    if not dry_run:
        take_up(store, progress)
    lineage, declared = Lineage(store), Declared(store, fields or {})
    holds, changes = [*decisions(store).holds.values()], list[ValueChange]()
    for category, stream in _streams(lineage):
        kept = class_of(category, wanted.classes)
        if kept is None or kept.ceiling is None:
            continue
        events = [*looked(stored_backend(store), stream, opener(store))]
        for event, ruling in rulings(store, events, lineage, holds, wanted.classes, asked=False):
            if ruling.why == "ceiling" and (change := _emptied(declared, event)):
                changes.append(change)
    if dry_run or not changes:
        return Removed("", changes)
    removed = remove(store, changes, lineage, wanted, progress)
    counted = Counter(category_kept_as(one.event.row.stream) for one in changes)
    now = rfc3339(store._clock())
    record(
        store,
        [RetentionApplied(name, count, now, removed.redaction) for name, count in counted.items()],
    )
    return removed


def _emptied(declared: Declared, event: LookedEvent) -> ValueChange | None:
    return declared.emptied(event, ERASED)


def _streams(lineage: Lineage) -> Iterator[tuple[str, str]]:
    """The streams of a log, but of what refold keeps beside, each with its category."""
    for stream in sorted(lineage.streams, key=lineage.depth):
        category = category_kept_as(lineage.root(stream))
        if category not in ("refold", "replay", "dataset", "wire"):
            yield category, stream
