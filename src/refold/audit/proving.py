"""Proofs that a stranger can check: of one event, and of a log as a whole."""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, Final

from refold.audit.entry import METADATA, NAME, PAYLOAD, salt_of, stored_events, values_of
from refold.audit.note import parse_checkpoint, parse_note
from refold.audit.remaking import RemadeEvent, Remaker, check_as_sealed
from refold.audit.tables import SealTables, StoredHead, tables_of
from refold.audit.tiles import reader
from refold.audit.tree import consistency_path, inclusion_path, root_of
from refold.audit.verifier.heads import SignedHead, Unverified, check_leaf
from refold.core.clock import from_us
from refold.core.stored import Row
from refold.engine.store import Store
from refold.errors import NotFound, ProofError, UsageError

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
    ``"name"`` that are kept back to why. Raises :class:`~refold.errors.ProofError` where the
    event is not what was sealed, :class:`~refold.errors.NotFound` where it is not sealed yet.
    """
    withheld = {_ordinal(what): why for what, why in (withhold or {}).items()}
    recorded, tables = store.event(event_id), tables_of(store)
    head = signed_head(tables)
    if recorded.position > head.size:
        advice = "`refold checkpoint` seals what stands"
        raise NotFound(f"{event_id} is not sealed yet: {advice}", code="not_sealed", id=event_id)
    prover = _Prover(store, tables, head, withheld)
    proof = prover.of(recorded.stream, recorded.version)
    if NAME not in withheld:
        first = prover.first_version(recorded.stream)
        if recorded.version != first:
            other = prover.of(recorded.stream, first)
            name = other.pop("disclosed")[str(NAME)]
            proof["disclosed"][str(NAME)] = {**name, **other}
    committed = {*entry_ordinals(b64decode(proof["entry"])), NAME}
    return {
        "format": PROOF_FORMAT,
        "origin": tables.log().origin,
        "checkpoint": head.note,
        **proof,
        "withheld": [
            {"ordinal": ordinal, "why": why}
            for ordinal, why in sorted(withheld.items())
            if ordinal in committed
        ],
        "recorded": {
            "id": recorded.id if NAME not in withheld else None,
            "position": recorded.position,
            "type": recorded.stored_kind.tag,
            "recorded_at": from_us(recorded.recorded_at_us).isoformat(),
            "occurred_at": from_us(recorded.occurred_at_us).isoformat(),
        },
    }


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
    remaker = Remaker(store._backend, tables)
    for row, event in remaker.whole(after=0, until=head.size):
        told = _disclosed(row, event, remaker, withheld)
        yield {"index": event.position - 1, "entry": _text(event.entry), "disclosed": told}


class _Prover:
    """Makes the parts of a proof under one head."""

    def __init__(
        self, store: Store, tables: SealTables, head: StoredHead, withheld: Collection[int]
    ) -> None:
        self._log, self._head, self._withheld = store._backend, head, withheld
        self._said = SignedHead(*parse_checkpoint(parse_note(str(head.note)).text), signers="")
        self._node_at = reader(tables.tile)
        self._remaker = Remaker(store._backend, tables)
        self.first_version = self._remaker.first_version

    def of(self, stream: str, version: int) -> dict[str, Any]:
        """Index, entry, path and what is disclosed of an event by its own stream."""
        rows = self._log.rows(stream, first=version, last=version, backward=False, events_max=1)
        (row,) = [
            one
            for found in rows
            for one in found.appends()
            if one.version <= version <= one.last_version
        ]
        event = self._remaker.one(row)[version - row.version]
        check_as_sealed(row, event)
        path = inclusion_path(event.position - 1, self._head.size, self._node_at)
        try:
            check_leaf(event.leaf, event.position - 1, path, self._said, f"{stream}@{version}")
        except Unverified as error:
            raise ProofError(f"{error}; `refold verify` says more", proof="inclusion") from error
        return {
            "index": event.position - 1,
            "entry": _text(event.entry),
            "path": [_text(step) for step in path],
            "disclosed": _disclosed(row, event, self._remaker, self._withheld),
        }


def _disclosed(
    row: Row, event: RemadeEvent, remaker: Remaker, withheld: Collection[int]
) -> dict[str, dict[str, str]]:
    secret = remaker.secret_of(event.position)
    stored = stored_events(row)[event.version - row.version]
    is_first = event.version == remaker.first_version(row.stream)
    return {
        str(ordinal): {
            "salt": _text(salt_of(secret, event.position, ordinal)),
            "bytes": _text(value),
        }
        for ordinal, value in values_of(row, stored, is_first=is_first)
        if ordinal not in withheld
    }


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
    told = {"old": old, "new": head.note, "path": [_text(step) for step in path]}
    return {"format": CONSISTENCY_FORMAT, **told}


def signed_head(tables: SealTables) -> StoredHead:
    """The newest head that is signed; :class:`~refold.errors.NotFound` before the first."""
    head = tables.newest_head(signed=True)
    if head is not None:
        return head
    raise NotFound("no head of this log is signed yet: `refold checkpoint`", code="not_sealed")


def _ordinal(what: str) -> int:
    if what not in ORDINALS:
        raise UsageError(f"withhold={what!r} is none of {', '.join(ORDINALS)}")
    return ORDINALS[what]


def _text(value: bytes) -> str:
    return b64encode(value).decode()
