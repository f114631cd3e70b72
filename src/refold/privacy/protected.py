"""A backend whose personal values are protected: it stores envelopes, and gives values.

The engine and the backend know nothing of it. Values are closed on the way in, before anything is
locked, and opened on the way out, page by page, for who may read them.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from typing import Final

from refold.core.stored import Row
from refold.engine.store import Store
from refold.errors import Corrupt, InvalidEvent, RefoldError, UsageError
from refold.ports import (
    Backend,
    Batch,
    Beside,
    Fork,
    Kept,
    Outcome,
    StreamInfo,
    TableTransaction,
    Write,
)
from refold.privacy.access import AccessLog, AskedAbout
from refold.privacy.envelope import ERASED, WITHHELD, DataKey, Salted, holds_envelopes
from refold.privacy.finding import Finder
from refold.privacy.looking import LookedBody, looked_body
from refold.privacy.opening import ClosedRow, Known, damaged_in, fields_of, keys_in, opened_row
from refold.privacy.privacy import Privacy
from refold.privacy.protecting import protected_body
from refold.privacy.subject_keys import SubjectKeys
from refold.privacy.subjects import Subjects, forks_of

_BESIDE: Final = "rows beside the log"
"""What the program itself reads for, by itself."""


class HiddenDigest(bytes):
    """What stands for the digest of a keyed append: it equals the digest that it was made of."""

    def __new__(cls, stored: bytes, keys: SubjectKeys) -> HiddenDigest:
        """A stored digest, and the keys that hide others in the same way."""
        made = super().__new__(cls, stored)
        made._keys = keys
        return made

    _keys: SubjectKeys

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, bytes):
            return NotImplemented
        # One from before values were protected stands as it is.
        return bytes(self) == bytes(other) or bytes(self) == hidden_digest(other, self._keys)

    def __ne__(self, other: object) -> bool:
        return not self == other

    __hash__ = bytes.__hash__


def hidden_digest(digest: bytes, keys: SubjectKeys) -> bytes:
    """What a backend keeps of a digest: it does not tell what was appended, by no guess.

    It begins as that of a command, which cannot be made again from the events either.
    """
    return b"\1" + keys.hidden(b"\1" + digest)


class Protected:
    """A backend round another; :func:`refold.privacy.powers.protected` makes one.

    ``program`` says for which purpose the program itself reads, where it does: then nobody is
    asked, and it is recorded all the same. ``own`` is a store that is closed with this one.
    """

    def __init__(
        self,
        inner: Backend,
        privacy: Privacy,
        keys: SubjectKeys,
        access: AccessLog,
        *,
        program: str = "",
        own: Store | None = None,
    ) -> None:
        self.inner, self.privacy, self.keys = inner, privacy, keys
        self._access, self._program, self._own = access, program, own
        self._subjects = Subjects(inner, privacy.subject)
        self._finder = Finder(privacy.fields)
        # A digest would tell what was replaced, to who guesses it.
        replaces = privacy.detect is not None and privacy.detect.do != "mark"
        self._hides = bool(privacy.fields) or privacy.keyring is not None or replaces

    @property
    def unasked(self) -> Protected:
        """The same for the program's own rows, of which nobody is asked."""
        return self.read_by_program(_BESIDE)

    def read_by_program(self, purpose: str) -> Protected:
        """The same, read by the program itself: of that nobody is asked, and it is recorded."""
        return type(self)(self.inner, self.privacy, self.keys, self._access, program=purpose)

    def commit(
        self, batches: Sequence[Batch], *, now: int, beside: Beside | None = None
    ) -> list[Outcome]:
        """See :class:`~refold.ports.Backend`; personal values are closed first."""
        used: dict[str, DataKey | str] = {}
        closed = [self._closed(batch, used) for batch in batches]
        kept = [one for one in closed if isinstance(one, Batch)]
        plain = None if beside is None else _PlainBeside(beside, used)
        stored = iter(self.inner.commit(kept, now=now, beside=plain) if kept else ())
        outcomes = [next(stored) if isinstance(one, Batch) else one for one in closed]
        return [self._as_first(*pair) for pair in zip(batches, outcomes, strict=True)]

    def rows(
        self, stream: str, *, first: int, last: int, backward: bool, events_max: int
    ) -> list[Row]:
        """See :class:`~refold.ports.Backend`."""
        wanted = {"first": first, "last": last, "events_max": events_max}
        return self.opened(self.inner.rows(stream, backward=backward, **wanted))

    def log(
        self,
        *,
        after: int,
        categories: Sequence[str] | None,
        types: Sequence[str] | None,
        rows_max: int,
    ) -> list[Row]:
        """See :class:`~refold.ports.Backend`."""
        return self.opened(
            self.inner.log(after=after, categories=categories, types=types, rows_max=rows_max)
        )

    def find(self, key: str) -> Kept | None:
        """See :class:`~refold.ports.Backend`."""
        kept = self.inner.find(key)
        if kept is None or not self._hides:
            return kept
        return kept._replace(digest=HiddenDigest(kept.digest, self.keys))

    def head(self, stream: str) -> StreamInfo | None:
        """See :class:`~refold.ports.Backend`."""
        return self.inner.head(stream)

    def log_head(self, *, reached: int = 0) -> int:
        """See :class:`~refold.ports.Backend`."""
        return self.inner.log_head(reached=reached)

    def streams(self, *, category: str | None, after: str, streams_max: int) -> list[StreamInfo]:
        """See :class:`~refold.ports.Backend`."""
        return self.inner.streams(category=category, after=after, streams_max=streams_max)

    def close(self) -> None:
        """See :class:`~refold.ports.Backend`."""
        if self._own is not None:
            self._own.close()
        self.inner.close()

    def opened(self, rows: Sequence[Row]) -> list[Row]:
        """Stored rows with values in the place of envelopes, for who may read them."""
        closed = [ClosedRow(row) if holds_envelopes(row.body) else None for row in rows]
        pairs = [*zip(rows, closed, strict=True)]
        known = self._known([(row.stream, one.keys) for row, one in pairs if one])
        return [one.opened(known.get(row.stream, {})) if one else row for row, one in pairs]

    def damaged(self, row: Row) -> list[Corrupt]:
        """Each personal value of a stored append that is not the one committed to."""
        known = self._known([(row.stream, keys_in(row))])
        return [*damaged_in(row, known.get(row.stream, {}))]

    def disclosed(self, row: Row, version: int) -> dict[str, Salted | str]:
        """What proves each personal value of an event of a row, by its commitment.

        Where it cannot be read, what is shown in its place.
        """
        known = self._known([(row.stream, keys_in(row))])
        return fields_of(row, version, known.get(row.stream, {}))

    def _note_read(self, subjects: Collection[str], *, is_whole: bool) -> None:
        """A page was read, with values of these subjects; ``is_whole``: nothing was withheld."""

    def _known(self, wanted: Sequence[tuple[str, set[str]]]) -> dict[str, Known]:
        """What the keys of each stream's values are to who reads."""
        ids = {one for _, some in wanted for one in some}
        if not ids:
            return {}
        rows = self.keys.rows_of(ids)
        living = {one: row.pseudonym for one, row in rows.items() if row.destroyed_at is None}
        of_streams: dict[str, set[str]] = {}
        for stream, some in wanted:
            of_streams.setdefault(stream, set()).update(some)
        asked = {
            AskedAbout(living[one], stream)
            for stream, some in of_streams.items()
            for one in some & living.keys()
        }
        allowed = asked if self.keys.keyring else set()
        if allowed and not self._program:
            allowed = self._access.allowed(asked)
        elif allowed:
            self._access.note(asked, purpose=self._program)
        may = {one.subject for one in allowed}
        opened = self.keys.opened([one for one, subject in living.items() if subject in may])

        def known(stream: str, one: str) -> DataKey | str:
            if one not in living:
                return ERASED if one in rows else WITHHELD
            return opened[one] if AskedAbout(living[one], stream) in allowed else WITHHELD

        # By a keyring, what no row has is no key at all; without one, all is withheld.
        there = ids if self.keys.keyring is None else rows.keys()
        found: dict[str, Known] = {
            stream: {one: known(stream, one) for one in some & there}
            for stream, some in of_streams.items()
        }
        is_whole = not any(WITHHELD in some.values() for some in found.values())
        self._note_read({one.subject for one in asked}, is_whole=is_whole)
        return found

    def _closed(self, batch: Batch, used: dict[str, DataKey | str]) -> Batch | RefoldError:
        """A batch as it is stored, or why it cannot be; ``used`` gets the keys."""
        try:
            forks = forks_of(batch.writes)
            writes = [self._closed_write(write, forks, used) for write in batch.writes]
        except (InvalidEvent, UsageError) as refusal:
            return refusal
        if batch.key is None or not self._hides:
            return batch._replace(writes=writes)
        return batch._replace(writes=writes, digest=hidden_digest(batch.digest, self.keys))

    def _closed_write(
        self, write: Write, forks: Mapping[str, Fork], used: dict[str, DataKey | str]
    ) -> Write:
        fields, encrypts = self.privacy.fields, self.privacy.keyring is not None
        looked = LookedBody(write.body)
        if self.privacy.detect is not None:
            looked = looked_body(write.body, self.privacy.detect)
            write = write._replace(body=looked.text)
        if not fields and not looked.pointers and not holds_envelopes(write.body):
            return write
        self.keys.begin()  # From the first value on, the store says that it holds such.
        subject_of, keys = self._subjects.of(write, forks), dict[str, DataKey]()

        def key_of(metadata: bytes) -> DataKey | None:
            if not encrypts:
                return None
            subject = subject_of(metadata)
            if subject not in keys:
                key = keys[subject] = self.keys.for_subject(subject)
                used[key.id] = key
            return keys[subject]

        more = looked.pointers
        body = protected_body(
            write.body, write.kinds, write.stream, self._finder, key_of, os.urandom, more
        )
        return write if body is write.body else write._replace(body=body)

    def _as_first(self, batch: Batch, outcome: Outcome) -> Outcome:
        """The outcome, or the first answer to a key from before values were protected."""
        if isinstance(outcome, UsageError) and outcome.code == "key_reused" and batch.key:
            kept = self.inner.find(batch.key)
            if kept is not None and kept.digest == batch.digest:
                return [part._replace(duplicate=True) for part in kept.parts]
        return outcome


class _PlainBeside:
    """What is stored beside appends, given their values."""

    def __init__(self, beside: Beside, known: Known) -> None:
        self._beside, self._known = beside, known

    def begin(self, transaction: TableTransaction, *, after: int) -> None:
        self._beside.begin(transaction, after=after)

    def add(self, transaction: TableTransaction, rows: Sequence[Row]) -> RefoldError | None:
        return self._beside.add(transaction, [opened_row(row, self._known) for row in rows])

    def end(self, transaction: TableTransaction, *, position: int) -> None:
        self._beside.end(transaction, position=position)
