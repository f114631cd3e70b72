"""Snapshots: cached folds. Deleting them all changes nothing but speed.

A snapshot is trusted only when its digest holds and its fingerprint is that of the fold as it now
stands: name, revision, the code of its steps, and the shapes of its events and of its state.
"""

from __future__ import annotations

import hashlib
from functools import cached_property, lru_cache
from typing import Any, Final, Generic, NamedTuple, TypeVar

import msgspec

from refold.core.fingerprint import code_of, digest_of, handlers_facts, shape_of
from refold.core.fold import Fold, Folded

S = TypeVar("S")

EVENTS_BETWEEN_MIN: Final = 250
"""Folding fewer events than this is quicker than what a snapshot of them would cost."""
STATE_BYTES_PER_EVENT: Final = 20
"""Snapshots of a large state are so few that they add about this much to an event, while that does
not leave them too far behind (:func:`next_due`)."""


class Snapshot(NamedTuple):
    """The state after ``version`` of ``stream``, as bytes; ``digest`` covers all the rest.

    ``occurred_to`` is the latest ``occurred_at`` that went in; ``in_order`` is 1 when no append
    held an event that had occurred before one of an earlier append, else 0.
    """

    stream: str
    fold: str
    fingerprint: str
    version: int
    position: int
    occurred_to: int
    in_order: int
    state: bytes
    digest: bytes


class Snapshotter(Generic[S]):
    """Turns the states of one fold into snapshots and back."""

    def __init__(self, fold: Fold[S], state_type: type) -> None:
        self._fold = fold
        self._encode = msgspec.msgpack.Encoder().encode
        self._decode: msgspec.msgpack.Decoder[Any] = msgspec.msgpack.Decoder(state_type)
        self._state_type = state_type

    @cached_property
    def fingerprint(self) -> str:
        """What the fold is; made where a history is long enough for a snapshot, before it runs."""
        fold = self._fold
        return digest_of(
            fold.name,
            fold.revision,
            shape_of(self._state_type),
            code_of(fold.initial, self._state_type),
            handlers_facts(fold.handlers, fold.registry),
        )

    def take(
        self, stream: str, folded: Folded[S], *, occurred_to: int, in_order: bool
    ) -> Snapshot | None:
        """A snapshot, or None where the state does not come back from bytes as it was."""
        try:
            state = self._encode(folded.state)
            if self._decode.decode(state) != folded.state:
                return None
        except (TypeError, ValueError, OverflowError, RecursionError):
            return None
        place = stream, self._fold.name, self.fingerprint, folded.version, folded.position
        bare = Snapshot(*place, occurred_to, int(in_order), state, b"")
        return bare._replace(digest=_digest(bare))

    def restored(self, snapshot: Snapshot) -> S | None:
        """The state of a snapshot; None where it is not this fold's, damaged, or of another shape.

        No state is None: a step returns one.
        """
        if snapshot.fingerprint != self.fingerprint or _digest(snapshot) != snapshot.digest:
            return None
        try:
            state: S = self._decode.decode(snapshot.state)
        except (ValueError, RecursionError):
            return None
        return state


def snapshotter_of(fold: Fold[S]) -> Snapshotter[S] | None:
    """The snapshotter of a fold as it stands.

    None when it has no state type, or one that cannot be decoded.
    """
    if fold.state_type is None:
        return None
    return _snapshotter(fold, len(fold.handlers), fold.registry.revision)


@lru_cache(maxsize=256)  # Making one is slow.
def _snapshotter(fold: Fold[S], _steps: int, _revision: int) -> Snapshotter[S] | None:
    try:
        return Snapshotter(fold, fold.state_type)
    except (TypeError, ValueError):
        return None  # msgspec cannot tell such states apart, as with a union of plain structs.


def next_due(snapshot: Snapshot) -> int:
    """The version after which the next snapshot is to be taken.

    However large the state is, a fold goes over no more events than went into its snapshot: a
    state that grows with its stream then takes, in all its snapshots, twice the newest at most.
    """
    seldom = min(len(snapshot.state) // STATE_BYTES_PER_EVENT, snapshot.version + 1)
    return snapshot.version + max(EVENTS_BETWEEN_MIN, seldom)


def _digest(snapshot: Snapshot) -> bytes:
    *place, state, _ = snapshot
    digest = hashlib.sha256(repr(place).encode())
    digest.update(state)
    return digest.digest()
