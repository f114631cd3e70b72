"""What evidence is made of: the proofs of a stream's events, of older heads, of what follows."""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

import msgspec

from refold.audit.entry import METADATA, PAYLOAD
from refold.audit.evidence.disclosure import Disclosure
from refold.audit.evidence.governing import governing
from refold.audit.note import VerifyingKey, check_note, parse_note
from refold.audit.proving import Prover, prove_continued
from refold.audit.tables import SealedLog, StoredHead
from refold.audit.timestamps import TimeStamp, timestamps
from refold.core.clock import from_us
from refold.core.event import parse_event_id
from refold.core.recorded import Recorded
from refold.core.stored import ABSENT, StoredEvent
from refold.engine.store import Store
from refold.errors import NotFound, ProofError, UsageError
from refold.privacy.envelope import Envelope, replaced

REST_MAX: Final = 2_000
"""So many events behind the stream's last are looked at, of whichever streams they are."""
HEADS_MAX: Final = 100
STAMPS_MAX: Final = 20


class Gathered(NamedTuple):
    """The records of a bundle, and what they are about.

    ``history`` are the events as recorded, ``shown`` the same as they are disclosed; None where the
    payload is withheld. ``unproved`` is how many events of the log behind the stream's last are not
    looked at.
    """

    what: str
    head: StoredHead
    history: Sequence[Recorded]
    shown: Sequence[Recorded | None]
    events: Sequence[dict[str, Any]]
    older: Sequence[dict[str, Any]]
    governance: Sequence[dict[str, Any]]
    rest: Sequence[dict[str, Any]]
    unproved: int
    stamps: Sequence[TimeStamp]
    decided: Sequence[Recorded]
    sealed: SealedLog

    @property
    def began(self) -> str:
        """From when on sealing shows anything of these events, by the log's own word."""
        when = from_us(self.sealed.began_at).isoformat(timespec="seconds")
        before = sum(one.position <= self.sealed.began_size for one in self.history)
        if not before:
            return f"Sealing was turned on at {when}, before the first of these events."
        which = "These events were" if before == len(self.history) else f"{before:,} of them were"
        there = f"{which} in the log when sealing was turned on, at {when}"
        return f"{there}: of what they were before that, nothing is shown."

    @property
    def disclosed(self) -> Sequence[Recorded]:
        """Those of which the payload is told, in order."""
        return [one for one in self.shown if one is not None]


def gathered(store: Store, what: str, key: VerifyingKey, choice: Disclosure) -> Gathered:
    """All that is known of a stream, or of an event and the stream that it is in.

    Raises what :func:`~refold.audit.evidence_bundle` does.
    """
    stream, until = _asked(store, what)
    prover = Prover(store)
    check_note(parse_note(str(prover.head.note)), key)
    history = [*store.read(stream)]
    decided = list(governing(store, history))
    if max(one.position for one in (*history, *decided)) > prover.head.size:
        why = f"{stream} is not sealed to its end: `refold checkpoint` seals what stands"
        raise NotFound(why, code="not_sealed", stream=stream)
    choice.check(history)
    events, shown = [], []
    for recorded in history:
        withheld = choice.withheld(recorded, is_later=recorded.version > until)
        fields = choice.fields(recorded)
        events.append(prover.proof(recorded, withheld, fields))
        is_held = PAYLOAD in withheld or any((recorded.id, one) in prover.led for one in fields)
        is_told = str(PAYLOAD) in events[-1]["disclosed"] or not is_held
        told = recorded if METADATA not in withheld else without_metadata(recorded)
        shown.append(as_disclosed(told, events[-1]) if is_told else None)
    choice.check_fields(history, prover.led)
    stamps = timestamps(store, first=history[0].position, last=prover.head.size)[:STAMPS_MAX]
    stamped = [prove_continued(store, one.note) for one in stamps if one.note != prover.head.note]
    rest = list(_rest(prover, history[-1].position))
    return Gathered(
        what if choice.tells_name else "a stream whose name is withheld",
        prover.head,
        history,
        shown,
        events,
        [*_older(store, prover, history, key), *stamped],
        [prover.proof(one, choice.of_others) for one in decided],
        rest,
        prover.head.size - history[-1].position - len(rest),
        stamps,
        decided if choice.tells_name else [],
        prover.tables.log(),
    )


def as_disclosed(recorded: Recorded, proof: Mapping[str, Any]) -> Recorded:
    """An event with the personal values that its proof discloses, and marks for the others.

    As it is where the proof has no payload: something was redacted, and this is what stands there.
    """
    told = proof["disclosed"].get(str(PAYLOAD))
    if told is None:
        return recorded
    why = {one["ordinal"]: one["why"] for one in proof["withheld"]}

    def value(envelope: Envelope) -> bytes:
        field = envelope.commitment.decode()
        if field in proof["disclosed"]:
            return b64decode(proof["disclosed"][field]["bytes"])
        return msgspec.json.encode(f"[{why.get(field, 'withheld')}]")

    return with_payload(recorded, replaced(b64decode(told["bytes"]), value))


def with_payload(recorded: Recorded, raw: bytes) -> Recorded:
    """The same event with another payload (JSON)."""
    if raw == recorded.raw:
        return recorded
    stored = recorded._stored_as(recorded.stored_kind, raw)
    return msgspec.structs.replace(recorded, _stored=stored, _stored_events=None)


def without_metadata(recorded: Recorded) -> Recorded:
    """The same event of which nothing is said beside it."""
    own = recorded._stored
    stored = StoredEvent(recorded.stored_kind.tag, msgspec.Raw(recorded.raw), own.occurred_at)
    shared = msgspec.structs.replace(recorded._append, metadata=ABSENT)
    return msgspec.structs.replace(recorded, _stored=stored, _append=shared, _stored_events=None)


def _asked(store: Store, what: str) -> tuple[str, int]:
    """The stream that is meant, and the version of the last event that matters."""
    if store.head(what) >= 0:
        return what, store.head(what)
    try:
        stream, version = parse_event_id(what)
        store.event(what)
    except (UsageError, NotFound) as error:
        raise NotFound(f"there is no stream and no event {what}", what=what) from error
    return stream, version


def _older(
    store: Store, prover: Prover, history: Sequence[Recorded], key: VerifyingKey
) -> Iterator[dict[str, Any]]:
    """Proofs that the head continues the first that held each event, of those that are kept."""
    size, told = 0, 0
    for recorded in history:
        if recorded.position <= size:
            continue
        head = prover.tables.head_over(recorded.position)
        size = prover.head.size if head is None else head.size
        if size == prover.head.size or told == HEADS_MAX or not _is_signed(head, key):
            continue
        told += 1
        yield prove_continued(store, str(head and head.note))


def _is_signed(head: StoredHead | None, key: VerifyingKey) -> bool:
    try:
        check_note(parse_note(str(head and head.note)), key)
    except ProofError:
        return False  # By a key that the log has had before.
    return True


def _rest(prover: Prover, position: int) -> Iterator[dict[str, Any]]:
    """The entries behind a position, which show that none of them is of the stream.

    They end before one that is not what was sealed: it proves nothing.
    """
    until = min(prover.head.size, position + REST_MAX)
    for row in prover.remaker.appends(after=position, until=until):
        for event in prover.remaker.events(row) or ():
            if event.leaf != event.sealed:
                return
            if position < event.position <= until:
                yield prover.place(event)
