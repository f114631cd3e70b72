"""Proofs that a stranger can check: of one event, and of a log as a whole."""

from __future__ import annotations

import re
from base64 import b64decode, b64encode
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final

import msgspec

from refold.audit.entry import (
    METADATA,
    NAME,
    PAYLOAD,
    commitment_of,
    salt_of,
    stored_events,
    values_of,
)
from refold.audit.note import parse_checkpoint, parse_note
from refold.audit.reading import position_of
from refold.audit.redacted import RemadeEvent, commitments_in
from refold.audit.remaking import Remaker, check_as_sealed
from refold.audit.tables import SealTables, StoredHead, tables_of
from refold.audit.tiles import reader
from refold.audit.tree import consistency_path, inclusion_path, root_of
from refold.audit.verifier.heads import SignedHead, Unverified, check_leaf
from refold.core import jsonvalue
from refold.core.clock import from_us
from refold.core.event import parse_event_id
from refold.core.recorded import Recorded
from refold.core.stored import Row
from refold.engine.store import Store
from refold.errors import NotFound, ProofError, UsageError
from refold.privacy.envelope import parsed
from refold.privacy.fields import Fields
from refold.privacy.places import TextSpan, spans
from refold.privacy.protected import Protected
from refold.privacy.stored import stored_backend
from refold.privacy.subjects import NAME as SUBJECT

PROOF_FORMAT: Final = "refold-proof/1"
CONSISTENCY_FORMAT: Final = "refold-consistency/1"
EXPORT_FORMAT: Final = "refold-sealed-export/1"
KIND_AT, COMMITMENT_BYTES = 73, 33
"""Where the length of an entry's kind stands, and what each commitment takes with its ordinal."""
ORDINALS: Final = {"payload": PAYLOAD, "metadata": METADATA, "name": NAME}
"""What an event commits to, by the names under which it can be withheld."""


def prove(store: Store, event_id: str, *, withhold: Mapping[str, str] | None = None) -> Any:
    """A proof that an event was sealed, as JSON values; see docs/reference/audit-format.md.

    It holds the newest signed head, the event's entry and the way from its leaf to the head's
    root, and what is disclosed: payload, metadata, and the stream's name, which its first event
    binds to the pseudonym. ``withhold`` maps those of ``"payload"``, ``"metadata"`` and
    ``"name"`` that are kept back to why, and JSON Pointers to personal values. With
    the name goes what tells it: metadata that name a subject, and whatever has the name in it.
    Raises :class:`~refold.errors.ProofError` where the event is not what was sealed,
    :class:`~refold.errors.NotFound` where it is not sealed yet.
    """
    said = withhold or {}
    fields = {what: why for what, why in said.items() if what.startswith("/")}
    withheld = {_ordinal(what): why for what, why in said.items() if what not in fields}
    recorded, prover = store.event(event_id), Prover(store)
    if recorded.position > prover.head.size:
        advice = "`refold checkpoint` seals what stands"
        raise NotFound(f"{event_id} is not sealed yet: {advice}", code="not_sealed", id=event_id)
    proof = prover.proof(recorded, with_what_names(recorded, withheld), fields)
    for pointer in fields.keys() - {pointer for _, pointer in prover.led}:
        raise UsageError(f"{pointer} leads to no value of {event_id}", argument="withhold")
    return proof


def sealed_export(store: Store, *, withhold: Collection[str] = ()) -> Iterator[Any]:
    """A whole sealed log as JSON values: what it is, then each event, from the first on.

    The root of the signed head can be made again from the entries alone. ``withhold`` names what
    is not disclosed, of every event. Raises :class:`~refold.errors.ProofError` at the first event
    that is missing or not what was sealed.
    """
    withheld = {_ordinal(what) for what in withhold}
    tables = tables_of(store)
    head = signed_head(tables)
    yield {"format": EXPORT_FORMAT, "origin": tables.log().origin, "checkpoint": head.note}
    remaker = Remaker(stored_backend(store), tables)
    for row, event in remaker.whole(after=0, until=head.size):
        told = _disclosed(row, event, remaker, withheld)
        if str(PAYLOAD) in told:
            told |= _fields(store, row, event.version)[0]
        line = {"index": event.position - 1, "entry": text_of(event.entry), "disclosed": told}
        if event.redaction and not withheld:
            by = position_of(stored_backend(store), *parse_event_id(event.redaction))
            if by <= head.size and by not in remaker.redacted.kept:
                line["remains"] = {**_standing(row, event, remaker), "redaction": by - 1}
        yield line


class Prover:
    """Makes proofs under the newest signed head of a log; NotFound where there is none.

    ``led`` are pointers to what was to be withheld that led to something, each with its event's id.
    """

    def __init__(self, store: Store) -> None:
        self._store, self.tables = store, tables_of(store)
        self.head = signed_head(self.tables)
        self.remaker = Remaker(stored_backend(store), self.tables)
        self.node_at = reader(self.tables.tile)
        self._log, self._origin = stored_backend(store), self.tables.log().origin
        said = parse_checkpoint(parse_note(str(self.head.note)).text)
        self._said = SignedHead(*said, signers="")
        self._names: dict[str, dict[str, Any]] = {}
        self.led = set[tuple[str, str]]()

    def proof(
        self, recorded: Recorded, withheld: Mapping[int, str], fields: Mapping[str, str] = {}
    ) -> dict[str, Any]:
        """The proof of a sealed event; ``withheld`` says why, by ordinal, ``fields`` by pointer.

        A pointer that leads to what is not committed to by itself is refused. Where no payload can
        be disclosed, because something was redacted, nothing of it is where a pointer is given.
        """
        proof = self._of(recorded.stream, recorded.version, {*withheld, NAME})
        hidden = proof.pop("hidden")
        told = proof["disclosed"].get(str(PAYLOAD))
        if told is None:  # Withheld, or redacted: what stands there is then withheld as a whole.
            led = [one for one in fields if _places(recorded.raw, one)]
            withheld = dict.fromkeys([PAYLOAD] * bool(led), "; ".join(fields.values())) | {
                **withheld
            }
            self.led |= {(recorded.id, pointer) for pointer in led}
        for pointer, why in fields.items() if told is not None else ():
            for field in _commitments_at(b64decode(told["bytes"]), pointer, recorded.id):
                self.led.add((recorded.id, pointer))
                if proof["disclosed"].pop(field, None) is not None:
                    hidden[field] = why
        if NAME not in withheld:
            proof["disclosed"][str(NAME)] = self._name(recorded)
        committed = {*entry_ordinals(b64decode(proof["entry"])), NAME}
        if redaction := proof.pop("redaction"):
            if withheld.keys().isdisjoint((PAYLOAD, METADATA, NAME)):
                proof |= self._remains(recorded, redaction)
            gone = {one for one in committed if str(one) not in proof["disclosed"]}
            withheld = dict.fromkeys(gone, f"redacted: {redaction}") | dict(withheld)
        return {
            "format": PROOF_FORMAT,
            "origin": self._origin,
            "checkpoint": self.head.note,
            **proof,
            "withheld": [
                *(
                    {"ordinal": ordinal, "why": why}
                    for ordinal, why in sorted(withheld.items())
                    if ordinal in committed
                ),
                *({"ordinal": field, "why": why} for field, why in hidden.items()),
            ],
            "recorded": {
                "id": recorded.id if NAME not in withheld else None,
                "position": recorded.position,
                "type": recorded.stored_kind.tag,
                "recorded_at": from_us(recorded.recorded_at_us).isoformat(),
                "occurred_at": from_us(recorded.occurred_at_us).isoformat(),
            },
        }

    def place(self, event: RemadeEvent) -> dict[str, Any]:
        """Index, entry and path of an event."""
        path = inclusion_path(event.position - 1, self.head.size, self.node_at)
        try:
            check_leaf(
                event.leaf, event.position - 1, path, self._said, f"position {event.position}"
            )
        except Unverified as error:
            raise ProofError(f"{error}; `refold verify` says more", proof="inclusion") from error
        entry, steps = text_of(event.entry), [text_of(step) for step in path]
        return {"index": event.position - 1, "entry": entry, "path": steps}

    def _name(self, recorded: Recorded) -> dict[str, Any]:
        """How the stream's name is disclosed, which its first own event commits to."""
        stream, first = recorded.stream, self.remaker.first_version(recorded.stream)
        if stream not in self._names:
            other = self._of(stream, first, {PAYLOAD})
            del other["redaction"], other["hidden"]
            self._names[stream] = {**other.pop("disclosed")[str(NAME)], **other}
        named = self._names[stream]
        if recorded.version == first:
            return {"salt": named["salt"], "bytes": named["bytes"]}
        return named

    def _of(self, stream: str, version: int, withheld: Collection[int]) -> dict[str, Any]:
        """Index, entry, path and what is disclosed of an event by its own stream."""
        row, event = self._remade(stream, version)
        check_as_sealed(row, event)
        disclosed = _disclosed(row, event, self.remaker, withheld)
        hidden: dict[str, str] = {}
        if str(PAYLOAD) in disclosed:
            fields, hidden = _fields(self._store, row, version)
            disclosed |= fields
        said = {"disclosed": disclosed, "redaction": event.redaction, "hidden": hidden}
        return {**self.place(event), **said}

    def _remains(self, recorded: Recorded, redaction: str) -> dict[str, Any]:
        """What stands in a redacted event, with the proof that a redaction says that it remains.

        Nothing where that redaction is not sealed yet, or was redacted itself.
        """
        by = parse_event_id(redaction)
        position = position_of(self._log, *by)
        if position > self.head.size or position in self.remaker.redacted.kept:
            return {}
        told = self._of(*by, {METADATA, NAME})
        said = {name: told[name] for name in ("index", "entry", "path")}
        said |= told["disclosed"][str(PAYLOAD)]
        row, event = self._remade(recorded.stream, recorded.version)
        return {"remains": {**_standing(row, event, self.remaker), "redaction": said}}

    def _remade(self, stream: str, version: int) -> tuple[Row, RemadeEvent]:
        """An event by its own stream, and its append."""
        rows = self._log.rows(stream, first=version, last=version, backward=False, events_max=1)
        (row,) = [
            one
            for found in rows
            for one in found.appends()
            if one.version <= version <= one.last_version
        ]
        return row, self.remaker.one(row)[version - row.version]


def _disclosed(
    row: Row, event: RemadeEvent, remaker: Remaker, withheld: Collection[int]
) -> dict[str, dict[str, str]]:
    secret = remaker.secret_of(event.position)
    stored = stored_events(row)[event.version - row.version]
    is_first = event.version == remaker.first_version(row.stream)
    kept, told = commitments_in(event.entry), {}
    for ordinal, value in values_of(row, stored, is_first=is_first):
        salt = salt_of(secret, event.position, ordinal)
        is_gone = event.redaction and commitment_of(ordinal, salt, value) != kept.get(ordinal)
        if ordinal not in withheld and not is_gone:
            told[str(ordinal)] = {"salt": text_of(salt), "bytes": text_of(value)}
    return told


def _standing(row: Row, event: RemadeEvent, remaker: Remaker) -> dict[str, str]:
    """What stands in a redacted event, and the salt under which its redaction commits to it."""
    stored = stored_events(row)[event.version - row.version]
    values = dict(values_of(row, stored, is_first=False))
    _, salt = remaker.redacted.standing(row, event.position)
    told = {"payload": values[PAYLOAD], "metadata": values.get(METADATA, b""), "salt": salt}
    return {name: text_of(value) for name, value in told.items()}


def _fields(
    store: Store, row: Row, version: int
) -> tuple[dict[str, dict[str, str]], dict[str, str]]:
    """The personal values of an event that can be disclosed, and why others cannot be.

    Both by their commitments, which stand in the payload.
    """
    found = store._backend.disclosed(row, version) if isinstance(store._backend, Protected) else {}
    told, hidden = {}, {}
    for commitment, one in found.items():
        if isinstance(one, str):
            hidden[commitment] = one.strip("[]")
        else:
            told[commitment] = {"salt": text_of(one.salt), "bytes": text_of(one.value)}
    return told, hidden


def _commitments_at(payload: bytes, pointer: str, event_id: str) -> Iterator[str]:
    """The commitments to the values of a payload that a pointer leads to."""
    for span in _places(payload, pointer):
        envelope = parsed(payload[span.start : span.end])
        if envelope is None:
            why = (
                f"{span.pointer.decode()} of {event_id} was not recorded as a personal value: it "
                "is proved with all of its payload alone, so withhold that"
            )
            raise UsageError(why, argument="withhold")
        yield envelope.commitment.decode()


def _places(payload: bytes, pointer: str) -> list[TextSpan]:
    """Where the values stand that a pointer leads to."""
    wanted = Fields([pointer])
    return spans(payload, lambda path, _: wanted.are_at(path))


def entry_ordinals(entry: bytes) -> Sequence[int]:
    """The ordinals that an entry has commitments of."""
    at = KIND_AT + 2 + int.from_bytes(entry[KIND_AT : KIND_AT + 2])
    return entry[at + 1 :: COMMITMENT_BYTES]


def prove_continued(store: Store, old: str) -> dict[str, Any]:
    """A proof that the newest signed head continues an older one, as JSON values.

    ``old`` is that checkpoint, as text. Raises :class:`~refold.errors.ProofError` where it is none
    of this log, or of a log that was longer; :class:`~refold.errors.UsageError` for one of an
    empty log, which any log continues.
    """
    tables = tables_of(store)
    head, said = signed_head(tables), parse_checkpoint(parse_note(old).text)
    if said.size == 0:
        raise UsageError("a checkpoint of no events is continued by any log: give a newer one")
    node_at, origin = reader(tables.tile), tables.log().origin
    is_older = said.origin == origin and said.size <= head.size
    if not is_older or root_of(said.size, node_at) != said.root:
        why = f"{said.origin} of {said.size:,} events is not continued by the newest head"
        raise ProofError(f"{why}, of {origin} and {head.size:,}", proof="consistency")
    path = consistency_path(said.size, head.size, node_at)
    told = {"old": old, "new": head.note, "path": [text_of(step) for step in path]}
    return {"format": CONSISTENCY_FORMAT, **told}


def signed_head(tables: SealTables) -> StoredHead:
    """The newest head that is signed; :class:`~refold.errors.NotFound` before the first."""
    head = tables.newest_head(signed=True)
    if head is not None:
        return head
    raise NotFound("no head of this log is signed yet: `refold checkpoint`", code="not_sealed")


def with_what_names(recorded: Recorded, withheld: Mapping[int, str]) -> dict[int, str]:
    """What is withheld of an event: where its stream's name is, also what would tell that name."""
    if NAME not in withheld:
        return dict(withheld)
    root = re.escape(recorded.stream.partition("~")[0])
    told = re.compile(rf"(?<!\w){root}(?!\w)", re.ASCII)
    names_it = {
        METADATA: SUBJECT in recorded.metadata
        or _tells(msgspec.json.encode(recorded.metadata).decode(), told),
        PAYLOAD: _tells(recorded.raw.decode(), told),
    }
    also = [ordinal for ordinal, is_so in names_it.items() if is_so]
    return dict.fromkeys(also, withheld[NAME]) | dict(withheld)


def _tells(text: str, wanted: re.Pattern[str]) -> bool:
    """Whether there is such a text in JSON text, however it is escaped; JSON in a text is too."""
    if wanted.search(text):
        return True
    if "\\" in text:
        with suppress(ValueError, RecursionError, UsageError):
            read = jsonvalue.read(text, lambda pairs: [[*pair] for pair in pairs])
            return any(_tells(one, wanted) for one in jsonvalue.texts_in(read))
    return False


def _ordinal(what: str) -> int:
    if what not in ORDINALS:
        raise UsageError(f"withhold={what!r} is none of {', '.join(ORDINALS)}")
    return ORDINALS[what]


def text_of(value: bytes) -> str:
    """Bytes as base64."""
    return b64encode(value).decode()
