"""Sealed logs for tests, and the tree of one made again in the plainest way there is."""

from __future__ import annotations

import hashlib
from typing import Any, Final

import refold
from refold import Event
from refold.audit import Sealing
from refold.audit.note import SigningKey
from refold.audit.sealer import Sealer
from refold.audit.sealing import turn_on

KINDS: Final = ("memory", "sqlite", "postgres")
ORIGIN: Final = "example.com/agents"


def drawn(label: str) -> bytes:
    """What is random in a sealed log, the same each time."""
    return hashlib.sha256(f"drawn {label}".encode()).digest()


def key_of(origin: str = ORIGIN) -> SigningKey:
    """A key that is the same each time."""
    return SigningKey(origin, hashlib.sha256(origin.encode()).digest())


def sealer_of(store: refold.Store) -> Sealer:
    """A sealer of a log, on which sealing is turned on; what it draws is the same each time."""
    turn_on(store, key_of())
    return Sealer(store, draw=drawn)


def told(store: refold.Store, *, rounds: int = 3) -> None:
    """Appends of each sort: of several events, with metadata, times and keys, to branches."""
    for number in range(rounds):
        for call in ("call-1", "call-2", "mail-é"):
            events = [
                Event("user.utterance", {"text": f"hello {number} {call}"}),
                Event("agent.utterance.v2", {"text": "\u2028é"}, metadata={"own": number}),
                Event("note.taken", [1, 2], occurred_at=1_700_000_000_000_000 + number),
            ]
            store.append(call, events, metadata={"actor": "me"} if number % 2 else None)
    name = f"call-1~{store.log_head()}"
    store.branch("call-1", at=1).adding(Event("user.utterance", {"text": "else"})).save(name)
    store.branch(name, at=2).adding(Event("user.utterance", {"text": "deep"})).save(f"{name}x")
    store.append(name, [Event("agent.utterance", {"text": "late"})], key=f"key-{name}")


def plain_entries(store: refold.Store, draw: Any = drawn) -> list[bytes]:
    """The entry of every event, made as docs/reference/audit-format.md says, one by one."""
    leaves: dict[str, bytes] = {}
    entries: list[bytes] = []
    for recorded in store.read_all():
        stream, version, position = recorded.stream, recorded.version, recorded.position
        info = store._backend.head(stream)
        assert info is not None
        first = 0 if info.fork is None else info.fork.version + 1
        previous = bytes(32)
        if version > first:
            previous = leaves[f"{stream}@{version - 1}"]
        elif info.fork is not None and info.fork.version >= 0:
            previous = leaves[store.event(f"{info.fork.parent}@{info.fork.version}").id]
        values = {0: recorded.raw}
        shared, own = metadata_texts(recorded)
        if shared or own:
            values[1] = len(shared).to_bytes(8) + shared + own
        if version == first:
            values[3] = stream.encode()
        kind = recorded._stored.tag.encode()
        entry = b"\1" + draw(f"stream {stream}")[:16] + version.to_bytes(8) + previous
        entry += recorded.recorded_at_us.to_bytes(8, signed=True)
        entry += recorded.occurred_at_us.to_bytes(8, signed=True)
        entry += len(kind).to_bytes(2) + kind + bytes([len(values)])
        secret = draw(f"tile {(position - 1) // 256}")
        for ordinal, value in values.items():
            salts = hashlib.shake_256(b"refold/salt/1" + secret + bytes([ordinal])).digest(256 * 32)
            salt = salts[(position - 1) % 256 * 32 :][:32]
            hashed = b"refold/commitment/1" + bytes([ordinal]) + salt
            hashed += len(value).to_bytes(8) + value
            entry += bytes([ordinal]) + hashlib.sha256(hashed).digest()
        leaves[f"{stream}@{version}"] = hashlib.sha256(b"\0" + entry).digest()
        entries.append(entry)
    return entries


def metadata_texts(recorded: refold.Recorded) -> tuple[bytes, bytes]:
    """The stored text of what the events of an append share, and of the event's own."""
    shared = bytes(recorded._append.metadata)
    own = bytes(recorded._stored.metadata)
    return (b"" if shared == b"null" else shared), own


def plain_root(entries: list[bytes]) -> bytes:
    """The root of entries as RFC 9162 section 2.1.1 defines it."""
    if not entries:
        return hashlib.sha256().digest()
    if len(entries) == 1:
        return hashlib.sha256(b"\0" + entries[0]).digest()
    split = 1 << (len(entries) - 1).bit_length() - 1
    sides = plain_root(entries[:split]) + plain_root(entries[split:])
    return hashlib.sha256(b"\1" + sides).digest()


def sealed_by(store: refold.Store, **how: Any) -> Sealing:
    """Sealing of a log by a key that is the same each time."""
    return Sealing(store, key_of(), **how)
