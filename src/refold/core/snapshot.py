"""Snapshots: cached folds. Deleting them all changes nothing but speed.

A snapshot is trusted only when its digest holds and its fingerprint is that of the fold as it now
stands: name, revision, the code of its steps, and the shapes of its events and of its state.
"""

from __future__ import annotations

import hashlib
from types import CodeType
from typing import Any, Final, Generic, NamedTuple, TypeVar

import msgspec

from refold.core.event import Kind
from refold.core.fold import Fold, Folded

S = TypeVar("S")

EVENTS_BETWEEN_MIN: Final = 250
"""Folding fewer events than this is quicker than what a snapshot of them would cost."""
STATE_BYTES_PER_EVENT: Final = 20
"""Snapshots of a large state are taken so seldom that they add about this much to an event."""


class Snapshot(NamedTuple):
    """The state after ``version`` of ``stream``, as bytes; ``digest`` covers all the rest."""

    stream: str
    fold: str
    fingerprint: str
    version: int
    position: int
    state: bytes
    digest: bytes


class Snapshotter(Generic[S]):
    """Turns the states of one fold into snapshots and back."""

    def __init__(self, fold: Fold[S], state_type: type) -> None:
        self._fold = fold
        self._encode = msgspec.msgpack.Encoder().encode
        self._decode: msgspec.msgpack.Decoder[Any] = msgspec.msgpack.Decoder(state_type)
        self.fingerprint = _fingerprint(fold, state_type)

    def take(self, stream: str, folded: Folded[S]) -> Snapshot | None:
        """A snapshot, or None where the state does not come back from bytes as it was."""
        try:
            state = self._encode(folded.state)
            if self._decode.decode(state) != folded.state:
                return None
        except (TypeError, ValueError, OverflowError, RecursionError):
            return None
        bare = Snapshot(
            stream,
            self._fold.name,
            self.fingerprint,
            folded.version,
            folded.position,
            state,
            b"",
        )
        return bare._replace(digest=_digest(bare))

    def state_of(self, snapshot: Snapshot) -> Folded[S] | None:
        """What a snapshot holds; None when it is not this fold's, damaged, or of another shape."""
        if snapshot.fingerprint != self.fingerprint or _digest(snapshot) != snapshot.digest:
            return None
        try:
            state = self._decode.decode(snapshot.state)
        except msgspec.DecodeError:
            return None
        return Folded(state, snapshot.version, snapshot.position)


def snapshotter_of(fold: Fold[S]) -> Snapshotter[S] | None:
    """The snapshotter of a fold, kept until the fold changes; None when it has no state type."""
    if fold.state_type is None:
        return None
    made_for = (len(fold.handlers), fold.registry.revision)
    kept: tuple[tuple[int, int], Snapshotter[S]] | None = fold.__dict__.get("_snapshotter")
    if kept is None or kept[0] != made_for:
        kept = fold.__dict__["_snapshotter"] = (made_for, Snapshotter(fold, fold.state_type))
    return kept[1]


def events_until_next(state: bytes) -> int:
    """How many events to fold after a snapshot of this state before the next one."""
    return max(EVENTS_BETWEEN_MIN, len(state) // STATE_BYTES_PER_EVENT)


def _digest(snapshot: Snapshot) -> bytes:
    place = f"{snapshot.stream}\0{snapshot.fingerprint}\0{snapshot.version}\0{snapshot.position}"
    return hashlib.sha256(place.encode() + b"\0" + snapshot.state).digest()


def _fingerprint(fold: Fold[Any], state_type: type) -> str:
    digest = hashlib.sha256(f"{fold.name}\0{fold.revision}\0{_shape(state_type)}".encode())
    for name, handler in sorted(fold.handlers.items()):
        kind = fold.registry.current(Kind(name))
        parts = (kind.tag, _shape(handler.target), _code(handler.evolve))
        steps = [_code(step) for step in fold.registry.upcasters_of(name)]
        digest.update(repr((parts, steps)).encode())
    return digest.hexdigest()[:32]


def _shape(cls: Any) -> object:
    """The JSON schema of a class, or its name where it has none."""
    try:
        return msgspec.json.schema(cls)
    except (TypeError, ValueError):
        return repr(cls)


def _code(function: Any) -> object:
    """What a function does, without where it stands."""
    code = getattr(function, "__code__", None)
    return _instructions(code) if code is not None else repr(type(function))


def _instructions(code: CodeType) -> tuple[object, ...]:
    constants = [
        _instructions(constant) if isinstance(constant, CodeType) else _stable(constant)
        for constant in code.co_consts
    ]
    return code.co_code.hex(), constants, code.co_names, code.co_varnames


def _stable(constant: object) -> str:
    return repr(sorted(map(repr, constant)) if isinstance(constant, frozenset) else constant)
