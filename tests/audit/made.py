"""A small sealed log, its proofs and its export, made by hand as the format is described."""

from __future__ import annotations

import json
import struct
from base64 import b64encode
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any, NamedTuple

from refold.audit.note import Checkpoint, Note, SigningKey
from refold.audit.tree import consistency_path, inclusion_path
from refold.audit.verifier.heads import leaf_hash
from tests.audit import naive
from tests.audit.logs import nodes_of

KEY = SigningKey("a", bytes(range(32)))


class MadeEvent(NamedTuple):
    """An event by its index in the log: what its entry says and what that commits to."""

    stream: str
    version: int
    values: Mapping[int, bytes]
    entry: bytes
    salts: Mapping[int, bytes]


class MadeLog:
    """A log to which events are added by hand; times are seconds of 2026."""

    def __init__(self, key: SigningKey = KEY) -> None:
        self.key = key
        self.events: list[MadeEvent] = []

    @property
    def entries(self) -> list[bytes]:
        """The entries, in order."""
        return [event.entry for event in self.events]

    def add(
        self, stream: str, payload: bytes, *, kind: str = "said", after: int | None = None
    ) -> None:
        """Add the next event of a stream; a branch begins after the event at an index."""
        own = [event for event in self.events if event.stream == stream]
        before = own[-1] if own else None if after is None else self.events[after]
        version = 0 if before is None else before.version + 1
        values = {0: payload} | ({} if own else {3: stream.encode()})
        salts = {
            ordinal: sha256(b"%d %d" % (len(self.events), ordinal)).digest() for ordinal in values
        }
        at_us = 1_767_225_600_000_000 + len(self.events) * 1_000_000
        pseudonym = sha256(b"pseudonym" + stream.encode()).digest()[:16]
        previous = bytes(32) if before is None else leaf_hash(before.entry)
        entry = struct.pack(
            ">B16sQ32sqqH", 1, pseudonym, version, previous, at_us + 5, at_us, len(kind.encode())
        )
        entry += kind.encode() + bytes([len(values)])
        for ordinal, value in values.items():
            told = bytes([ordinal]) + salts[ordinal] + len(value).to_bytes(8) + value
            entry += bytes([ordinal]) + sha256(b"refold/commitment/1" + told).digest()
        self.events.append(MadeEvent(stream, version, values, entry, salts))

    def checkpoint(self, size: int | None = None, others: Sequence[SigningKey] = ()) -> str:
        """The signed head of the log, as it is or was."""
        entries = self.entries[:size]
        text = Checkpoint(self.key.name, len(entries), naive.root(entries)).text
        cosigned = [key.sign(text, time_s=1_767_225_600) for key in others]
        return str(Note(text, [self.key.sign(text), *cosigned]))

    def disclosed(self, index: int) -> dict[str, dict[str, str]]:
        """What an event commits to, with its salts."""
        event = self.events[index]
        return {
            str(ordinal): {"salt": text(event.salts[ordinal]), "bytes": text(value)}
            for ordinal, value in event.values.items()
        }

    def proof(self, index: int, others: Sequence[SigningKey] = ()) -> dict[str, Any]:
        """A proof of an event, which discloses everything."""
        event, place = self.events[index], self._place(index)
        disclosed: dict[str, Any] = self.disclosed(index)
        first = next(at for at, one in enumerate(self.events) if one.stream == event.stream)
        if first != index:
            disclosed["3"] = {**self.disclosed(first)["3"], **self._place(first)}
        recorded, occurred = struct.unpack_from(">qq", event.entry, 57)
        return {
            "format": "refold-proof/1",
            "origin": self.key.name,
            "checkpoint": self.checkpoint(others=others),
            **place,
            "disclosed": disclosed,
            "withheld": [],
            "recorded": {
                "id": f"{event.stream}@{event.version}",
                "position": index + 1,
                "type": event.entry[75 : 75 + event.entry[74]].decode(),
                "recorded_at": shown(recorded),
                "occurred_at": shown(occurred),
            },
        }

    def _place(self, index: int) -> dict[str, Any]:
        path = inclusion_path(index, len(self.events), nodes_of(self.entries))
        entry = text(self.events[index].entry)
        return {"index": index, "entry": entry, "path": [text(step) for step in path]}

    def export(self) -> list[dict[str, Any]]:
        """The lines of a whole export."""
        head = {
            "format": "refold-sealed-export/1",
            "origin": self.key.name,
            "checkpoint": self.checkpoint(),
        }
        return [head] + [
            {"index": index, "entry": text(entry), "disclosed": self.disclosed(index)}
            for index, entry in enumerate(self.entries)
        ]

    def consistency(self, old: int) -> dict[str, Any]:
        """A proof that the log continues what it was."""
        path = consistency_path(old, len(self.events), nodes_of(self.entries))
        return {
            "format": "refold-consistency/1",
            "old": self.checkpoint(old),
            "new": self.checkpoint(),
            "path": [text(step) for step in path],
        }


def small_log() -> MadeLog:
    """Two streams and a branch, in eleven events."""
    log = MadeLog()
    for number in range(4):
        log.add("call-1", b'{"text": "%d"}' % number)
        log.add("call-2", b"{}", kind="gehört" if number else "heard")
    log.add("call-1~b", b"[]", after=2)
    log.add("call-1~b", b"[1]")
    log.add("call-1", b"null")
    return log


def text(value: bytes) -> str:
    """Bytes as base64."""
    return b64encode(value).decode()


def shown(at_us: int) -> str:
    """Microseconds as proofs show them."""
    return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=at_us)).isoformat()


def lines(records: Sequence[dict[str, Any]]) -> bytes:
    """JSON Lines, as refold writes them."""
    return b"".join(packed(record) + b"\n" for record in records)


def packed(record: dict[str, Any]) -> bytes:
    """JSON without spaces."""
    return json.dumps(record, ensure_ascii=False, separators=(",", ":")).encode()
