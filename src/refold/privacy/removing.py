"""Taking values out of events: recorded before, done at once, recorded after.

Redaction, erasure and retention choose what goes; here it goes. Each step can be cut off: whoever
comes next finds in the decisions what was begun and not finished, and finishes it.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

import msgspec

from refold.audit.redacted import is_of, remains_of
from refold.audit.tables import is_sealed
from refold.conversation.governance import RedactionApplied, RedactionCompleted
from refold.engine.store import Store
from refold.errors import Corrupt, UsageError
from refold.ports import Check, Eraser
from refold.privacy.decisions import OUT_OF_REACH, Decisions, decide, decisions, record
from refold.privacy.envelope import (
    DRAWN_BYTES,
    ERASED,
    OPENING,
    REDACTED,
    DataKey,
    parsed,
    place_in,
    pointers_without_secret,
    sealed_view,
)  # fmt: skip
from refold.privacy.places import Path, spans, with_replaced
from refold.privacy.policy import Fact, Hold, RetentionClass, Ruling, category_kept_as, rule
from refold.privacy.projected import emptied
from refold.privacy.pseudonyms import keeper_of_tables, keys_of, pseudonyms
from refold.privacy.related import Lineage, find_event
from refold.privacy.settling import keep_sealed, settle_all
from refold.privacy.stored import stored_backend
from refold.privacy.texts import HISTORY, LookedEvent
from refold.privacy.together import envelopes_of

CUT_OFF: Final = "it was cut off before anything went"
Progress = Callable[[int, int], None]
Beside = dict[int, bytes | None]


class ValueChange(NamedTuple):
    """What is to stand in an event: its payload with values plain, and where and how it differs.

    ``subject_as`` is what its metadata names as its subject then, where they name one. Tags that
    are digests of a conversation so far go from the metadata in any case.
    """

    event: LookedEvent
    payload: bytes
    pointer: str
    method: str
    subject_as: str = ""


class Removal(NamedTuple):
    """Who takes values out, why, by what rules.

    ``despite_floor``: a floor of retention does not keep them.
    """

    reason: str
    by: str | None = None
    classes: Mapping[str, RetentionClass] = {}
    despite_floor: bool = False


class Removed(NamedTuple):
    """What went, or would go, and which parts of the storage answered that it is gone there."""

    redaction: str
    changes: Sequence[ValueChange]
    checks: Sequence[Check] = ()

    @property
    def is_done(self) -> bool:
        """Whether every part answered."""
        return all(one.good for one in self.checks)


def rulings(
    store: Store,
    events: Iterable[LookedEvent],
    lineage: Lineage,
    holds: Sequence[Hold],
    classes: Mapping[str, RetentionClass],
    *,
    asked: bool,
) -> list[tuple[LookedEvent, Ruling]]:
    """What becomes of each event, by the policy."""
    known: dict[str, list[str]] = {}
    now_us, ruled = store._clock(), []
    for event in events:
        root = lineage.root(event.row.stream)
        names = {lineage.subject(event), root}
        for name in names - known.keys():
            known[name] = pseudonyms(store, name) if holds else []
        subjects = [one for name in names for one in known[name]]
        fact = Fact(subjects, category_kept_as(root), event.row.recorded_at)
        ruled.append((event, rule(fact, holds=holds, classes=classes, asked=asked, now_us=now_us)))
    return ruled


def check_held(ruled: Iterable[tuple[LookedEvent, Ruling]]) -> None:
    """Refuse what a hold keeps, naming it."""
    for event, ruling in ruled:
        if ruling.why == "hold":
            why = f"{event.id} stays: {ruling.said}; `refold hold release {ruling.hold}` ends it"
            raise UsageError(why, code="held", id=event.id, hold=ruling.hold)


def check_allowed(
    store: Store,
    changes: Sequence[ValueChange],
    lineage: Lineage,
    found: Decisions,
    wanted: Removal,
) -> str | None:
    """Refuse what a hold or a floor keeps; the floor that is set aside, where one is."""
    events, holds = (one.event for one in changes), [*found.holds.values()]
    despite = None
    ruled = rulings(store, events, lineage, holds, wanted.classes, asked=True)
    check_held(ruled)
    for event, ruling in ruled:
        if ruling.why == "floor" and not wanted.despite_floor:
            why = f"{event.id} stays: {ruling.said}; what a rule does not cover goes despite it "
            raise UsageError(
                f"{why}with --despite-floor", code="kept", id=event.id, until=ruling.until_us
            )
        if ruling.why == "floor":
            despite = f"{category_kept_as(event.row.stream)}: {ruling.said}"
    return despite


def eraser_of(store: Store) -> Eraser:
    """The storage of a log that can be changed; else UsageError says what to do."""
    keeper_of_tables(store)
    log = stored_backend(store)
    if not isinstance(log, Eraser):
        why = "nothing can be taken out of this kind of store"
        raise UsageError(f"{why}: `refold copy` it into a database first", code="not_erasable")
    return log


class TakingOut:
    """Changes that are about to be made: how they are recorded, and made all at once."""

    def __init__(self, store: Store, changes: Sequence[ValueChange]) -> None:
        self._store, self._changes = store, changes
        self._eraser = eraser_of(store)
        self._payloads = {one.event.position: _stored(store, one) for one in changes}
        self._own: Beside = {}
        self._shared: Beside = {}
        for change in changes:
            _beside(change, self._own, self._shared)
        self._salts = self._drawn() if is_sealed(store) else {}

    def applied(
        self, redaction: str, wanted: Removal, despite: str | None = None
    ) -> list[RedactionApplied]:
        """What is recorded of them before they are made: each place from which a value goes."""
        return [
            RedactionApplied(
                one.event.id, pointer, method, wanted.reason, wanted.by, redaction,
                self._remains(one.event), despite,
            )
            for one in self._changes
            for pointer, method in [(one.pointer, one.method), *self._beside_it(one)]
        ]  # fmt: skip

    def _beside_it(self, change: ValueChange) -> Iterator[tuple[str, str]]:
        """Where in the same event other personal values go, which say it once more."""
        before = pointers_without_secret(bytes(change.event.stored.data))
        for gone in pointers_without_secret(self._payloads[change.event.position]):
            if gone not in before and not is_of(gone.decode(), change.pointer):
                yield gone.decode(), "repetition"

    def make(self) -> None:
        """Make them, in one transaction; what is sealed is kept the entries of before."""
        if self._changes:
            keep_sealed(self._store, [one.event for one in self._changes], self._salts)
            self._eraser.replace(self._payloads, self._own, self._shared)

    def _drawn(self) -> dict[int, bytes]:
        """A salt for each event whose leaf is no longer made of it."""
        changed = {*self._own, *self._shared}
        return {
            one.event.position: secrets.token_bytes(32)
            for one in self._changes
            if one.event.position in changed
            or sealed_view(self._payloads[one.event.position])
            != sealed_view(bytes(one.event.stored.data))
        }

    def _remains(self, event: LookedEvent) -> str:
        at = event.position
        if at not in self._salts:
            return ""
        own = self._own.get(at)
        said = event.stored.metadata if own is None else msgspec.Raw(own)
        left = {"data": msgspec.Raw(self._payloads[at]), "metadata": said}
        row = event.row._replace(metadata=self._shared.get(at, event.row.metadata))
        return remains_of(row, msgspec.structs.replace(event.stored, **left), self._salts[at])


def remove(
    store: Store,
    changes: Sequence[ValueChange],
    lineage: Lineage,
    wanted: Removal,
    progress: Progress,
) -> Removed:
    """Take out what is chosen, everywhere; raises before anything is changed where it may not go.

    All changes are one transaction. :class:`~refold.errors.UsageError` (``held``, ``kept``) names
    the hold, or the date.
    """
    taking, named = TakingOut(store, changes), ""

    def choose(found: Decisions) -> Sequence[Any]:
        nonlocal named
        despite = check_allowed(store, changes, lineage, found, wanted)
        named = f"redaction-{found.version + 2}"
        return taking.applied(named, wanted, despite)

    decide(store, choose)
    taking.make()
    return Removed(named, changes, finish(store, named, progress))


def finish(store: Store, redaction: str, progress: Progress) -> list[Check]:
    """What is left to do of a redaction whose values went: salts, rows made of them, old bytes."""
    settle_all(store)
    checks = [*purged(store, progress)]
    record(store, [RedactionCompleted(redaction, *answers(checks))])
    return checks


def answers(checks: Sequence[Check]) -> tuple[list[str], list[str]]:
    """The names of the parts that answered, and of those that did not."""
    return [one.name for one in checks if one.good], [one.name for one in checks if not one.good]


def take_up(store: Store, progress: Progress) -> list[str]:
    """Finish what was begun and cut off; the ids of those redactions.

    An erasure is taken up by another of the same subject: it alone knows who that is.
    """
    found = decisions(store)
    begun = {name: one for name, one in found.redactions.items() if name not in found.erasures}
    for redaction, applied in begun.items():
        if _went(store, applied):
            finish(store, redaction, progress)
        else:
            settle_all(store)
            record(store, [RedactionCompleted(redaction, unanswered=[CUT_OFF])])
    return [*begun]


def purged(store: Store, progress: Progress) -> Iterator[Check]:
    """Take what was made of values that went out of wherever the storage knows it."""
    keeper = keeper_of_tables(store)
    names = emptied(keeper)
    told = "there are none" if not names else f"{', '.join(names)}: made anew from the log"
    yield Check("projections", True, told)
    is_shared = getattr(keeper, "sql", "sqlite") == "postgresql"
    for one in eraser_of(store).scrub(progress):
        of_server = is_shared and one.name == "write-ahead log"
        yield one._replace(name=OUT_OF_REACH) if of_server else one


# -- what is stored -------------------------------------------------------------------------------


def _stored(store: Store, change: ValueChange) -> bytes:
    """The payload to be stored: envelopes where they stood, of values that differ new ones.

    One whose value is gone keeps its commitment, without its secret.
    """
    event, payload = change.event, bytes(change.event.stored.data)
    if OPENING not in payload:
        return change.payload
    closed = {
        span.path: payload[span.start : span.end]
        for span in spans(payload, lambda _, start: payload.startswith(OPENING, start))
    }
    before = _values(event.plain, closed)
    made = []
    for span in spans(change.payload, lambda path, _: path in closed):
        value, old = change.payload[span.start : span.end], closed[span.path]
        if value != before.get(span.path):
            old = _closed_again(store, event, span.pointer, old, value)
        made.append((span, old))
    return with_replaced(change.payload, made)


def _values(payload: bytes, paths: Iterable[Path]) -> dict[Path, bytes]:
    wanted = set(paths)
    found = spans(payload, lambda path, _: path in wanted)
    return {span.path: payload[span.start : span.end] for span in found}


def _closed_again(
    store: Store, event: LookedEvent, pointer: bytes, old: bytes, value: bytes
) -> bytes:
    envelope = parsed(old)
    if envelope is None:
        raise Corrupt(f"{pointer.decode()} of {event.id} is no envelope any more", id=event.id)
    if value == msgspec.json.encode(REDACTED):
        return envelope._replace(secret=b"").json
    key: DataKey | None = None
    if envelope.key:
        keys, name = keys_of(store), envelope.key.decode()
        found = None if keys is None else keys.opened([name])[name]
        if not isinstance(found, DataKey):
            why = f"{pointer.decode()} of {event.id} is encrypted, and its key is not here"
            raise UsageError(f"{why}: give the keyring", code="no_key", id=event.id)
        key = found
    place, drawn = place_in(event.stored.tag, pointer), secrets.token_bytes(DRAWN_BYTES)
    return envelopes_of(event.row.stream, key, [value], [place], drawn)[0]


def _beside(change: ValueChange, own: Beside, shared: Beside) -> None:
    """Note the metadata of an event, and of its append, that are to say something else."""
    row, at = change.event.row, change.event.position
    text = row.metadata or b""
    for said, kept in (
        (bytes(change.event.stored.metadata), own),
        (text.encode() if isinstance(text, str) else text, shared),
    ):
        made = []
        for span in spans(said, lambda path, _: path in (("subject",), ("tags",))) if said else ():
            if span.path == ("subject",) and change.subject_as:
                made.append((span, msgspec.json.encode(change.subject_as)))
            elif span.path == ("tags",):
                tags = msgspec.json.decode(said[span.start : span.end])
                left = [one for one in tags if not str(one).startswith(HISTORY)]
                made.append((span, msgspec.json.encode(left)))
        if (new := with_replaced(said, made)) != said:
            kept[at] = new


def _went(store: Store, applied: Sequence[RedactionApplied]) -> bool:
    """Whether the values of a redaction are gone: all of them are, or none."""
    event = find_event(store, applied[0].event)
    return any(mark.encode() in event.plain for mark in (REDACTED, ERASED))
