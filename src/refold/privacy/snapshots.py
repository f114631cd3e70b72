"""Snapshots of states that hold personal values: under a key that is destroyed with any of these.

What a fold makes of values is as personal as they are, and may be of several subjects. So all
snapshots of a store are under one key: destroying the key of a subject destroys it too, and folds
start anew. Who may not read all that went in is given none, and leaves none.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from contextlib import suppress
from hashlib import sha256
from typing import Any, Final

from refold.core.snapshot import Snapshot
from refold.errors import RefoldError
from refold.privacy.envelope import NONCE_BYTES, DataKey
from refold.privacy.protected import Protected

_DIGEST_BYTES: Final = 32
_ABOUT: Final = b"refold/snapshot/1"


FOLDS_MAX: Final = 100
_begun: Final = threading.local()
"""By fold, how many keys had been destroyed when this thread began to run it."""


class ClosedSnapshots(Protected):
    """Keeps snapshots under a key; where nothing is encrypted, as they are."""

    def snapshot(self, stream: str, *, fold: str, fingerprint: str, last: int) -> Snapshot | None:
        """See :class:`~refold.ports.SnapshotKeeper`."""
        inner: Any = self.inner
        found: Snapshot | None = inner.snapshot(
            stream, fold=fold, fingerprint=fingerprint, last=last
        )
        if self._keeps_plain():
            return found
        begun = _begun.__dict__
        if len(begun) >= FOLDS_MAX:
            begun.clear()
        begun[fold] = self.keys.destructions()
        if found is None or not self.may_read(stream):
            return None
        with suppress(RefoldError):  # Of a file that is only read no key is made.
            return opened_snapshot(found, self.keys.for_snapshots())
        return None

    def keep_snapshots(self, snapshots: Sequence[Snapshot]) -> None:
        """See :class:`~refold.ports.SnapshotKeeper`; of what may all be read alone."""
        inner: Any = self.inner
        if self._keeps_plain():
            inner.keep_snapshots(snapshots)
            return
        if not snapshots or not self.may_read(snapshots[0].stream):
            return
        with suppress(RefoldError):
            key = self.keys.for_snapshots()
            # Values of a key that was destroyed meanwhile went in: the new key would keep them.
            if self.keys.destructions() == _begun.__dict__.get(snapshots[0].fold):
                inner.keep_snapshots([closed_snapshot(one, key) for one in snapshots])

    def drop_snapshots(self) -> int:
        """See :class:`~refold.ports.SnapshotKeeper`."""
        inner: Any = self.inner
        dropped: int = inner.drop_snapshots()
        return dropped

    def _keeps_plain(self) -> bool:
        return self.privacy.keyring is None and bool(self.privacy.fields)


def closed_snapshot(snapshot: Snapshot, key: DataKey) -> Snapshot:
    """A snapshot whose state is encrypted; its digest tells nothing of that."""
    nonce = os.urandom(NONCE_BYTES)
    plain = snapshot.digest + snapshot.state
    state = key.id.encode() + nonce + key.cipher.encrypt(nonce, plain, _about(snapshot))
    return snapshot._replace(state=state, digest=sha256(state).digest())


def opened_snapshot(snapshot: Snapshot, key: DataKey) -> Snapshot | None:
    """A snapshot as it was; None where it is under another key, or was changed."""
    from cryptography.exceptions import InvalidTag

    name, rest = snapshot.state[: len(key.id)], snapshot.state[len(key.id) :]
    if name != key.id.encode():
        return None
    try:
        plain = key.cipher.decrypt(rest[:NONCE_BYTES], rest[NONCE_BYTES:], _about(snapshot))
    except (InvalidTag, ValueError):
        return None
    return snapshot._replace(digest=plain[:_DIGEST_BYTES], state=plain[_DIGEST_BYTES:])


def _about(snapshot: Snapshot) -> bytes:
    *place, _, _ = snapshot
    return _ABOUT + repr(place).encode()
