"""Erasure of a person: their key is destroyed, and what stands in the clear goes.

The tombstone is recorded before anything goes, and what went, and from where, after that. Cut off
at any step it is taken up by the next erasure of the same subject, which finds what is left to do.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

from refold.audit.reading import pages
from refold.conversation.governance import ErasureExecuted, ErasureRequested
from refold.core.clock import rfc3339
from refold.engine.store import Store
from refold.errors import NotFound, UsageError, refuse_unless
from refold.ports import Check
from refold.privacy.decisions import OUT_OF_REACH, Decisions, decide, decisions, record
from refold.privacy.declared import Declared
from refold.privacy.envelope import ERASED
from refold.privacy.opening import keys_in
from refold.privacy.pseudonyms import forget, keeper_of_tables, keys_of, pseudonym, pseudonyms
from refold.privacy.related import Lineage, opener, streams_naming
from refold.privacy.removing import (
    Progress,
    Removal,
    TakingOut,
    ValueChange,
    answers,
    check_held,
    eraser_of,
    purged,
    rulings,
    take_up,
)
from refold.privacy.rotation import wrapped_by
from refold.privacy.settling import settle_all
from refold.privacy.stored import has_keys, stored_backend
from refold.privacy.subject_keys import SubjectKeys
from refold.privacy.texts import LookedEvent, looked

BACKUPS: Final = (
    "copies, backups and exports that were made before hold what they held: values under a key of "
    "the subject open there as long as the tenant key does (`refold keys` retires one)"
)


class Erased(NamedTuple):
    """What of a subject went, or would go, and what did not.

    ``subject`` is the pseudonym. ``kept`` are the events that a floor of retention keeps, each
    with the moment until when, in microseconds UTC. ``undeclared`` counts, by type, the events of
    which nobody said what in them is personal: they stay as they are.
    """

    erasure: str
    subject: str
    changes: Sequence[ValueChange]
    kept: Sequence[tuple[str, int]]
    undeclared: Mapping[str, int]
    keys: Sequence[str] = ()
    checks: Sequence[Check] = ()

    @property
    def is_done(self) -> bool:
        """Whether every part answered that it is gone there, and nothing was kept."""
        return self.is_finished and all(one.good for one in self.checks)

    @property
    def is_finished(self) -> bool:
        """Whether nothing is left that can be done from here."""
        left = (one for one in self.checks if not one.good and one.name != OUT_OF_REACH)
        return not self.kept and not self.undeclared and not any(left)


def erase(
    store: Store,
    subject: str,
    *,
    wanted: Removal,
    fields: Mapping[str, Sequence[str]] | None = None,
    dry_run: bool = False,
    progress: Progress = lambda *_: None,
) -> Erased:
    """Erase what a log holds of a subject, the values that are declared personal.

    ``fields`` adds to those of the store and of :data:`refold.privacy.CONVERSATION`; a type with no
    fields has nothing personal. A hold refuses all of it (:class:`~refold.errors.UsageError`,
    ``held``). Where a floor of retention keeps any event, its values and the key of the subject
    stay until then, and the others go. Raises :class:`~refold.errors.NotFound` for a subject of
    whom there is nothing.
    """
    refuse_unless(isinstance(subject, str) and subject, "whom to erase", subject=subject)
    refuse_unless(wanted.reason.strip(), "why", reason=wanted.reason)
    eraser_of(store)
    keys = _keys(store)
    if not dry_run:
        take_up(store, progress)
    lineage, declared = Lineage(store), Declared(store, fields or {})
    known, living = pseudonyms(store, subject), _living(store, keys, subject)
    head = store.log_head()
    events, found = [*events_of(store, lineage, subject, living)], decisions(store)
    if not events and not living and not any(_of(found, known)):
        raise NotFound(f"nothing is known of {subject!r}", subject=subject)
    name = pseudonym(store, subject) if not dry_run else [*known, "subject-…"][0]
    ruled = rulings(store, events, lineage, [*found.holds.values()], wanted.classes, asked=True)
    check_held(ruled)
    kept = [(one.id, ruling.until_us or 0) for one, ruling in ruled if not ruling.goes]
    going = [event for event, ruling in ruled if ruling.goes]
    dying = () if kept else living
    own = [one for one in going if lineage.subject(one) in (subject, *known)]
    changes = [
        one for event in own
        if (one := declared.emptied(event, ERASED, dying=dying, subject_as=name))
    ]  # fmt: skip
    planned = Erased("", name, changes, kept, declared.undeclared(own))
    if dry_run or not (changes or kept or dying or planned.undeclared or any(_of(found, known))):
        return planned

    def late() -> int:
        since = (one for one in events_of(store, Lineage(store), subject) if one.position > head)
        return sum(declared.emptied(one, ERASED, subject_as=name) is not None for one in since)

    keys = keys if dying else None
    return _carried_out(store, subject, planned, events, keys, late, wanted, progress)


def _carried_out(
    store: Store,
    subject: str,
    planned: Erased,
    events: Sequence[LookedEvent],
    keys: SubjectKeys | None,
    late: Callable[[], int],
    wanted: Removal,
    progress: Progress,
) -> Erased:
    lineage = Lineage(store)
    taking, erasure = TakingOut(store, planned.changes), ""
    names = [planned.subject, *pseudonyms(store, subject)]

    def choose(found: Decisions) -> Sequence[Any]:
        nonlocal erasure
        holds = [*found.holds.values()]  # Also those that were placed since it was planned.
        check_held(rulings(store, events, lineage, holds, {}, asked=True))
        begun = next(_of(found, names), None)
        erasure = begun or f"erasure-{found.version + 2}"
        asked = ErasureRequested(erasure, planned.subject, wanted.reason, wanted.by)
        return [*([] if begun else [asked]), *taking.applied(erasure, wanted)]

    decide(store, choose)
    gone = [] if keys is None else keys.destroy(subject)
    taking.make()
    settle_all(store)
    checks = [*_told(planned, gone), *purged(store, progress)]
    if count := late():
        why = f"{count:,} events about the subject were recorded meanwhile: erase again"
        checks.append(Check("recorded meanwhile", False, why))
    _record(store, erasure, planned, checks)
    told = planned._replace(erasure=erasure, keys=gone, checks=checks)
    if told.is_finished:
        forget(store, subject)
    return told


def _told(planned: Erased, keys: Sequence[str]) -> Iterator[Check]:
    """What the log itself answers."""
    none = "it stays with what it opens" if planned.kept else "there is none to destroy"
    yield Check("key", True, f"{len(keys)} destroyed" if keys else none)
    yield Check("events", True, f"values are gone from {len(planned.changes):,}")
    if planned.kept:
        until = rfc3339(max(until for _, until in planned.kept))
        yield Check("kept by law", False, f"{len(planned.kept):,} events, the last until {until}")
    if planned.undeclared:
        said = ", ".join(f"{count:,} of {name}" for name, count in planned.undeclared.items())
        why = "say which of their values are personal, and erase again"
        yield Check("undeclared", False, f"{said}: {why}")


def _record(store: Store, erasure: str, planned: Erased, checks: Sequence[Check]) -> None:
    until = max((rfc3339(until) for _, until in planned.kept), default=None)
    record(store, [ErasureExecuted(planned.subject, *answers(checks), erasure, until)])


def _of(found: Decisions, names: Sequence[str]) -> Iterator[str]:
    """The erasures of a subject that are not finished."""
    return (one.erasure for one in found.erasures.values() if one.subject in names)


def _keys(store: Store) -> SubjectKeys | None:
    """The keys of a store; refused where there are some and they cannot be used."""
    keys = keys_of(store)
    if any(wrapped_by(store)) and (keys is None or keys.keyring is None):
        why = "personal values are encrypted here, and whose they are only the keyring tells"
        raise UsageError(f"{why}: give it", code="no_key")
    return keys if keys is not None and keys.keyring is not None else None


def _living(store: Store, keys: SubjectKeys | None, subject: str) -> Collection[str]:
    """The ids of the keys of a subject that live."""
    keeper = keeper_of_tables(store)
    if keys is None or not has_keys(keeper):
        return ()
    sql = "SELECT key FROM privacy_keys WHERE subject = ? AND destroyed_at IS NULL"
    return [str(key) for (key,) in keeper.query(sql, (keys.pseudonym(subject),))]


def events_of(
    store: Store, lineage: Lineage, subject: str, living: Collection[str] = ()
) -> Iterator[LookedEvent]:
    """The events that are about a subject: that name it, or are of its stream and name nobody.

    And whatever holds a value under one of its ``living`` keys: with that it would go.
    """
    log, opened = stored_backend(store), opener(store)
    names = {subject, *pseudonyms(store, subject)}
    roots = {*map(lineage.root, streams_naming(store, names)), *lineage.roots_of(names)}
    under = _streams_under(store, living)
    streams = (one for one in lineage.streams if lineage.root(one) in roots or one in under)
    for stream in sorted(streams, key=lineage.depth):
        for event in looked(log, stream, opened):
            if lineage.subject(event) in names or _is_under(event, living):
                yield event


def _streams_under(store: Store, living: Collection[str]) -> set[str]:
    """The streams with a value under one of these keys."""
    log = stored_backend(store)
    found = pages(log, after=0, until=log.log_head()) if living else ()
    return {row.stream for page in found for row in page if not keys_in(row).isdisjoint(living)}


def _is_under(event: LookedEvent, living: Collection[str]) -> bool:
    payload = bytes(event.stored.data)
    return any(key.encode() in payload for key in living)
