"""Snapshots of states that hold personal values: under a key that is destroyed with any of these.

What a fold makes of values is as personal as they are, and may be of several subjects. So all
snapshots of a store are under one key: destroying the key of a subject destroys it too, and folds
start anew. Each names the subjects whose values went in: to be given it is to read these, and is
asked and recorded as that. A state from which anything was withheld is not kept.
"""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Collection, Sequence
from contextlib import suppress
from hashlib import sha256
from typing import Any, Final, NamedTuple

from refold.core.snapshot import Snapshot
from refold.errors import RefoldError
from refold.privacy.access import AskedAbout
from refold.privacy.envelope import NONCE_BYTES, DataKey
from refold.privacy.protected import Protected

FOLDS_MAX: Final = 100
SUBJECTS_MAX: Final = 10_000
"""So many a thread remembers; a state of more is not kept."""
_DIGEST_BYTES: Final = 32
_LENGTH_BYTES: Final = 4
_ABOUT: Final = b"refold/snapshot/2"


class BegunFold(NamedTuple):
    """A fold that a thread has begun.

    How many keys had been destroyed by then, whose values went into the snapshot that it starts
    from, and how many pages with values the thread had read.
    """

    destroyed: int
    subjects: frozenset[str]
    pages: int


class ReadByThread(threading.local):
    """What a thread has read: whose values, each with the page that they were on last."""

    def __init__(self) -> None:
        self.runs: dict[str, BegunFold] = {}
        self.subjects: OrderedDict[str, int] = OrderedDict()
        self.pages = 0
        self.unknown_on = 0
        """The last page of which something was withheld, or whose subjects are forgotten."""

    def note(self, subjects: Collection[str], *, is_whole: bool) -> None:
        """A page was read."""
        self.pages += 1
        for subject in subjects:
            self.subjects[subject] = self.pages
            self.subjects.move_to_end(subject)
        while len(self.subjects) > SUBJECTS_MAX:
            self.unknown_on = self.subjects.popitem(last=False)[1]
        if not is_whole:
            self.unknown_on = self.pages


_read: Final = ReadByThread()


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
        subjects = frozenset[str]() if found is None else subjects_in(found)
        given = None if found is None else self._given(stream, found, subjects)
        if len(_read.runs) >= FOLDS_MAX:
            _read.runs.clear()
        whose = frozenset[str]() if given is None else subjects
        _read.runs[fold] = BegunFold(self.keys.destructions(), whose, _read.pages)
        return given

    def keep_snapshots(self, snapshots: Sequence[Snapshot]) -> None:
        """See :class:`~refold.ports.SnapshotKeeper`; of what was all read alone."""
        inner: Any = self.inner
        if self._keeps_plain():
            inner.keep_snapshots(snapshots)
            return
        run = _read.runs.get(snapshots[0].fold) if snapshots and self.keys.keyring else None
        if run is None or _read.unknown_on > run.pages:
            return
        subjects = run.subjects | {one for one, at in _read.subjects.items() if at > run.pages}
        with suppress(RefoldError):
            key = self.keys.for_snapshots()
            # Values of a key that was destroyed meanwhile went in: the new key would keep them.
            if self.keys.destructions() == run.destroyed:
                inner.keep_snapshots([closed_snapshot(one, key, subjects) for one in snapshots])

    def _given(self, stream: str, found: Snapshot, subjects: Collection[str]) -> Snapshot | None:
        """A snapshot, where who reads may read all that went in; that is recorded."""
        asked = {AskedAbout(subject, stream) for subject in subjects}
        if self.keys.keyring is None:
            return None
        if self._program:
            self._access.note(asked, purpose=self._program)
        elif asked and self._access.allowed(asked) != asked:
            return None
        with suppress(RefoldError):  # Of a file that is only read no key is made.
            return opened_snapshot(found, self.keys.for_snapshots())
        return None

    def _note_read(self, subjects: Collection[str], *, is_whole: bool) -> None:
        _read.note(subjects, is_whole=is_whole)

    def drop_snapshots(self) -> int:
        """See :class:`~refold.ports.SnapshotKeeper`."""
        inner: Any = self.inner
        dropped: int = inner.drop_snapshots()
        return dropped

    def _keeps_plain(self) -> bool:
        return self.privacy.keyring is None and bool(self.privacy.fields)


def closed_snapshot(snapshot: Snapshot, key: DataKey, subjects: Collection[str]) -> Snapshot:
    """A snapshot whose state is encrypted; its digest tells nothing of that."""
    names = ",".join(sorted(subjects)).encode()
    nonce, plain = os.urandom(NONCE_BYTES), snapshot.digest + snapshot.state
    closed = nonce + key.cipher.encrypt(nonce, plain, _about(snapshot, names))
    state = key.id.encode() + len(names).to_bytes(_LENGTH_BYTES) + names + closed
    return snapshot._replace(state=state, digest=sha256(state).digest())


def subjects_in(snapshot: Snapshot) -> frozenset[str]:
    """Whose values went into a closed snapshot, by their pseudonyms."""
    _, names, _ = _parts(snapshot)
    return frozenset(names.decode("ascii", "replace").split(",")) - {""}


def opened_snapshot(snapshot: Snapshot, key: DataKey) -> Snapshot | None:
    """A snapshot as it was; None where it is under another key, or was changed."""
    from cryptography.exceptions import InvalidTag

    name, names, rest = _parts(snapshot)
    if name != key.id.encode():
        return None
    about = _about(snapshot, names)
    try:
        plain = key.cipher.decrypt(rest[:NONCE_BYTES], rest[NONCE_BYTES:], about)
    except (InvalidTag, ValueError):
        return None
    return snapshot._replace(digest=plain[:_DIGEST_BYTES], state=plain[_DIGEST_BYTES:])


def _parts(snapshot: Snapshot) -> tuple[bytes, bytes, bytes]:
    """The id of its key, the subjects, and what is encrypted."""
    name, rest = snapshot.state[:32], snapshot.state[32 + _LENGTH_BYTES :]
    length = int.from_bytes(snapshot.state[32 : 32 + _LENGTH_BYTES])
    return name, rest[:length], rest[length:]


def _about(snapshot: Snapshot, names: bytes) -> bytes:
    *place, _, _ = snapshot
    return _ABOUT + repr(place).encode() + b"\0" + names
