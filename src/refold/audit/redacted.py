"""Sealed events of which something was redacted: their entries, and what commits to what is left.

Such an event is no longer what its leaf is of, so the entry that is, which tells nothing, is kept
beside it (docs/reference/audit-format.md). What stands in its place since is bound by ``remains``
of a ``redaction.applied`` in the log, so that no other change passes for a redaction. The salts
that bound the entry to what is gone are destroyed: then nobody can try whether a guess was it.
"""

from __future__ import annotations

from base64 import urlsafe_b64encode
from collections.abc import Iterable, Iterator, Mapping, Sequence
from hashlib import sha256
from typing import Final, NamedTuple

import msgspec

from refold.audit.entry import (
    METADATA,
    PAYLOAD,
    SALTED,
    all_salts,
    commitment_of,
    stored_events,
    values_of,
)
from refold.audit.reading import pages
from refold.audit.tables import Ask, SealTables, make_tables
from refold.audit.tiles import WIDTH
from refold.core.event import event_id
from refold.core.stored import Row, StoredEvent
from refold.ports import Backend, TableKeeper, TableTransaction
from refold.privacy.envelope import lacks_secret, pointers_without_secret
from refold.privacy.stored import has_keys
from refold.projections.postgres_dialect import dialect_of

APPLIED: Final = "redaction.applied"
FAR: Final = (1 << 62) - 1

REMAINS: Final = 16
"""The ordinal of what stands in a redacted event."""
SALT_BYTES: Final = 32
COMMITMENTS_AT, COMMITMENT_BYTES = 73, 33
"""Where the length of an entry's kind stands, and what each commitment takes with its ordinal."""
_PENDING: Final = b"\1"
"""Ends the salts of an event whose redaction is under way."""
_PUT: Final = """
INSERT INTO audit_redacted (position, entry, salt) VALUES (?, ?, ?)
ON CONFLICT (position) DO UPDATE SET salt = excluded.salt"""


class KeptEntry(NamedTuple):
    """The entry of a redacted event, and the salts of what is left of it: several at most while
    another redaction of it is under way.
    """

    entry: bytes
    salts: Sequence[bytes]


class RemadeEvent(NamedTuple):
    """An event's entry and leaf as they are made of what is stored, and the leaf as sealed.

    Of an event that was redacted since, the entry is the one that was kept, and ``redaction`` is
    the id of the event that says so.
    """

    version: int
    position: int
    entry: bytes
    leaf: bytes
    sealed: bytes
    redaction: str = ""


def is_there(keeper: TableKeeper) -> bool:
    """Whether anything that was sealed was ever redacted."""
    return bool(keeper.query(dialect_of(keeper).exists, ("audit_redacted",)))


def redacted_positions(keeper: TableKeeper) -> list[int]:
    """The positions of sealed events of which something was taken out, in order."""
    sql = "SELECT position FROM audit_redacted ORDER BY position"
    return [position for (position,) in keeper.query(sql)] if is_there(keeper) else []


def kept_entries(ask: Ask, first: int, last: int) -> dict[int, KeptEntry]:
    """The entries that are kept of positions, by position; the table must be there."""
    sql = "SELECT position, entry, salt FROM audit_redacted WHERE position >= ? AND position <= ?"
    return {
        position: KeptEntry(bytes(entry), _split(bytes(salts)))
        for position, entry, salts in ask(f"{sql} ORDER BY position", (first, last))
    }


def keep_entries(
    transaction: TableTransaction, sql: str, entries: Mapping[int, tuple[bytes, bytes]]
) -> None:
    """Keep the entries of events that are to be redacted, each with the salt of what will be left.

    Of one that was redacted before, the entry stays, and the salt comes to the one it has.
    """
    make_tables(transaction, sql=sql)
    for position, (entry, salt) in entries.items():
        had = kept_entries(transaction.execute, position, position).get(position)
        kept, salts = (entry, []) if had is None else had
        transaction.execute(_PUT, (position, kept, b"".join([*salts, salt, _PENDING])))


class RedactedEvents:
    """What may stand in the place of sealed events: what a redaction in the log says remains."""

    def __init__(self, log: Backend, ask: Ask) -> None:
        self._log, self._ask = log, ask
        self._kept: dict[int, KeptEntry] | None = None
        self._remains: dict[str, dict[str, str]] = {}
        self._pointers: dict[str, set[str]] = {}
        self._read = 0

    def as_sealed(self, row: Row, event: RemadeEvent) -> RemadeEvent:
        """An event with the entry that was kept of it, where what stands is what was to remain."""
        if event.leaf == event.sealed or not self.kept.get(event.position):
            return event
        kept = self.kept[event.position]
        is_its = sha256(b"\0" + kept.entry).digest() == event.sealed and _same_event(
            kept.entry, event.entry
        )
        redaction = self.redaction_of(row, event.position) if is_its else None
        if redaction is None:
            return event
        return event._replace(entry=kept.entry, leaf=event.sealed, redaction=redaction)

    def told(self) -> list[tuple[str, str]]:
        """The events that are no longer what was sealed, each with the last that says why."""
        if not self.kept:
            return []
        self._said("")
        remains = self._remains.items()
        return [(name, [*said.values()][-1]) for name, said in remains if {*said} - {""}]

    def redaction_of(self, row: Row, position: int) -> str | None:
        """The event that says of what stands in another one that it remains; None where none."""
        return self.standing(row, position)[0]

    def standing(self, row: Row, position: int) -> tuple[str | None, bytes]:
        """The same, and the salt of what stands there."""
        event = stored_events(row)[position - row.position]
        said = self._said(event_id(row.stream, row.version + position - row.position))
        for salt in reversed(self.kept[position].salts):
            if (found := said.get(remains_of(row, event, salt))) is not None:
                return found, salt
        return None, b""

    def unsaid(self, row: Row) -> Iterator[int]:
        """The positions of an append from which a personal value is gone that no redaction names.

        A seal holds without it.
        """
        body = row.body.encode() if isinstance(row.body, str) else row.body
        if lacks_secret(body) and has_keys(self._log):
            for at, event in enumerate(stored_events(row)):
                gone = [one.decode() for one in pointers_without_secret(bytes(event.data))]
                self._said(name := event_id(row.stream, row.version + at))
                named = self._pointers.get(name, ())
                if not all(any(is_of(one, pointer) for pointer in named) for one in gone):
                    yield row.position + at

    @property
    def kept(self) -> Mapping[int, KeptEntry]:
        """The entries that are kept, by position."""
        if self._kept is None:
            there = isinstance(self._log, TableKeeper) and is_there(self._log)
            self._kept = kept_entries(self._ask, 1, FAR) if there else {}
        return self._kept

    def _said(self, event: str) -> Mapping[str, str]:
        """What redactions say remains of an event, each with the id of the one that says so."""
        for page in pages(self._log, after=self._read, until=self._log.log_head(), types=[APPLIED]):
            for row in page:
                for at, one in enumerate(stored_events(row)):
                    if one.kind.type == APPLIED:
                        said = msgspec.json.decode(one.data)
                        remains = self._remains.setdefault(said["event"], {})
                        remains[said.get("remains", "")] = event_id(row.stream, row.version + at)
                        self._pointers.setdefault(said["event"], set()).add(said["pointer"])
                self._read = row.position + row.event_count - 1
        return self._remains.get(event, {})


def remains_of(row: Row, event: StoredEvent, salt: bytes) -> str:
    """The commitment to what stands of an event of an append: payload and metadata, base64url."""
    values = dict(values_of(row, event, is_first=False))
    payload = values[PAYLOAD]
    value = len(payload).to_bytes(8) + payload + values.get(METADATA, b"")
    return urlsafe_b64encode(commitment_of(REMAINS, salt, value)).decode().rstrip("=")


def commitments_in(entry: bytes) -> dict[int, bytes]:
    """The commitments of an entry, by ordinal."""
    at = COMMITMENTS_AT + 2 + int.from_bytes(entry[COMMITMENTS_AT : COMMITMENTS_AT + 2]) + 1
    parts = range(at, len(entry), COMMITMENT_BYTES)
    return {entry[one]: entry[one + 1 : one + COMMITMENT_BYTES] for one in parts}


def is_of(value: str, pointer: str) -> bool:
    """Whether what was redacted at a pointer is a value, holds it, or stood within it."""
    return f"{value}/".startswith(f"{pointer}/") or pointer.startswith(f"{value}/")


def _same_event(entry: bytes, other: bytes) -> bool:
    """Whether two entries are of one event: the same place, times and kind."""
    end = COMMITMENTS_AT + 2 + int.from_bytes(entry[COMMITMENTS_AT : COMMITMENTS_AT + 2])
    return entry[:end] == other[:end]


def pending(keeper: TableKeeper) -> list[int]:
    """The positions whose salts still bind to what was to go."""
    sql = "SELECT position FROM audit_redacted WHERE length(salt) % 32 = 1 ORDER BY position"
    return [position for (position,) in keeper.query(sql)] if is_there(keeper) else []


def settle(transaction: TableTransaction, gone: Mapping[int, tuple[Iterable[int], bytes]]) -> None:
    """Destroy the salts of values that are gone; by position ordinals, and the salt of the rest.

    The other salts of their tiles are written out in the place of the secret that all came of.
    """
    tiles: dict[int, bytearray] = {}
    for position, (ordinals, salt) in gone.items():
        tile, at = divmod(position - 1, WIDTH)
        if tile not in tiles:
            secret = SealTables(transaction.execute).secret(tile)
            tiles[tile] = bytearray(all_salts(secret or b""))
        for ordinal in ordinals:
            start = (SALTED.index(ordinal) * WIDTH + at) * SALT_BYTES
            tiles[tile][start : start + SALT_BYTES] = bytes(SALT_BYTES)
        sql = "UPDATE audit_redacted SET salt = ? WHERE position = ?"
        transaction.execute(sql, (salt, position))
    for tile, salts in tiles.items():
        transaction.execute(
            "UPDATE audit_tiles SET salts = ?, secret = NULL WHERE level = 0 AND tile = ?",
            (bytes(salts), tile),
        )


def forget_entry(transaction: TableTransaction, position: int) -> None:
    """Of an event that stands as it was sealed, no entry is kept."""
    transaction.execute("DELETE FROM audit_redacted WHERE position = ?", (position,))


def _split(salts: bytes) -> list[bytes]:
    whole = len(salts) // SALT_BYTES * SALT_BYTES
    return [salts[at : at + SALT_BYTES] for at in range(0, whole, SALT_BYTES)]
