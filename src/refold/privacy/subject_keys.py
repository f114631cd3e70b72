"""Data keys of subjects: one each, wrapped by a tenant key, in a table beside the log.

A subject is told from others by an HMAC of its name; the key of that HMAC is wrapped as they are,
so that it stays the same when the tenant key is turned. A row is never deleted: one without its
wrapped key says that it was destroyed.
"""

from __future__ import annotations

import hmac
import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, Final, NamedTuple, TypeVar

from refold.errors import NotFound, Unavailable, UsageError
from refold.ports import Begin, TableKeeper, TableTransaction
from refold.privacy.envelope import ERASED, WITHHELD, DataKey
from refold.privacy.keyring import KEY_BYTES, Keyring, Wrapped
from refold.privacy.locked import cipher_of
from refold.privacy.stored import has_keys

K = TypeVar("K")
V = TypeVar("V")

FRESH_S: Final = 0.5
"""So long a key that was read is taken to be living; then it is asked whether any was destroyed."""
CACHED_MAX: Final = 10_000
"""Keys in memory; beyond it, those that were not used for longest are read again."""
SUBJECT_BYTES_MAX: Final = 1_024
_IDS_A_QUERY: Final = 500
_INDEX, _SNAPSHOTS = b"refold/index/1", b"refold/snapshots/1"
"""Two rows that are of no subject: the key of the HMAC, and that of snapshots."""
_TABLE: Final = """
CREATE TABLE IF NOT EXISTS privacy_keys (
    key {text} NOT NULL PRIMARY KEY, subject {bytes} NOT NULL, wrapped {bytes} NOT NULL,
    tenant_key {text} NOT NULL, created_at {integer} NOT NULL, destroyed_at {integer}
) {strict};
CREATE UNIQUE INDEX IF NOT EXISTS privacy_keys_living ON privacy_keys (subject)
    WHERE destroyed_at IS NULL;
CREATE INDEX IF NOT EXISTS privacy_keys_destroyed ON privacy_keys (destroyed_at)
    WHERE destroyed_at IS NOT NULL"""
_WORDS: Final = {
    "sqlite": {"text": "TEXT", "integer": "INTEGER", "bytes": "BLOB", "strict": "STRICT"},
    "postgresql": {
        "text": 'text COLLATE "C"', "integer": "bigint", "bytes": "bytea", "strict": "",
    },
}  # fmt: skip
_ADD: Final = """
INSERT INTO privacy_keys (key, subject, wrapped, tenant_key, created_at)
VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING"""
_DESTROY: Final = "UPDATE privacy_keys SET wrapped = ?, destroyed_at = ? WHERE key = ?"
_WRAP: Final = """
UPDATE privacy_keys SET wrapped = ?, tenant_key = ?
WHERE key = ? AND tenant_key = ? AND destroyed_at IS NULL"""
_ROWS: Final = "SELECT key, subject, wrapped, tenant_key, destroyed_at FROM privacy_keys"
_LIVING: Final = f"{_ROWS} WHERE subject = ? AND destroyed_at IS NULL"
_COUNT: Final = "SELECT count(*) FROM privacy_keys WHERE destroyed_at IS NOT NULL"


class KeyRow(NamedTuple):
    """A data key as it is stored."""

    key: str
    subject: bytes
    wrapped: bytes
    tenant_key: str
    destroyed_at: int | None

    @property
    def pseudonym(self) -> str:
        """What its subject is named by in events."""
        return shown_as(self.subject)


def shown_as(subject: bytes) -> str:
    """What a subject is named by in events: its pseudonym, shortened."""
    return f"subject-{subject.hex()[:32]}"


class Remembered(OrderedDict[K, V]):
    """Values in memory, no more than :data:`CACHED_MAX`: what was not used for longest goes."""

    def known(self, key: K) -> V | None:
        """A value, which is used thereby; None where it is not remembered."""
        if key not in self:
            return None
        self.move_to_end(key)
        return self[key]

    def put(self, key: K, value: V) -> None:
        """Remember a value."""
        self[key] = value
        if len(self) > CACHED_MAX:
            self.popitem(last=False)


def make_table(transaction: TableTransaction, *, sql: str) -> None:
    """Make the table where it is missing."""
    for statement in _TABLE.format(**_WORDS[sql]).split(";"):
        transaction.execute(statement.strip())


def system_us() -> int:
    """The machine's clock in microseconds UTC."""
    return time.time_ns() // 1_000


class SubjectKeys:
    """The data keys of a store, unwrapped by a keyring as they are needed.

    Without a keyring none is made or opened; which are destroyed can be told. ``clock`` gives
    microseconds UTC. Any thread may use it. What another process destroys is known here within half
    a second; what is destroyed here, at once.
    """

    def __init__(
        self,
        keeper: TableKeeper,
        keyring: Keyring | None,
        *,
        clock: Callable[[], int] = system_us,
    ) -> None:
        self._keeper, self.keyring, self._clock = keeper, keyring, clock
        self._lock = threading.RLock()
        self._hidden_by = b""
        self._ids = Remembered[bytes, str]()
        self._rows = Remembered[str, KeyRow]()
        self._keys = Remembered[str, DataKey | str]()
        self._pseudonyms = Remembered[str, bytes]()
        self._asked_s = -FRESH_S
        self._destroyed = -1

    def for_subject(self, name: str) -> DataKey:
        """The data key of a subject, made and stored where there is none.

        Of two processes that make one at once, both get the same.
        """
        return self._of(self.pseudonym(name))

    def for_snapshots(self) -> DataKey:
        """The key of snapshots, which hold what several subjects said: gone with any of theirs."""
        return self._of(_SNAPSHOTS)

    def rows_of(self, ids: Collection[str]) -> dict[str, KeyRow]:
        """What is stored of data keys, of those that there are."""
        with self._lock:
            self._refresh()
            found = {one: row for one in ids if (row := self._rows.known(one)) is not None}
            missing = [one for one in ids if one not in found]
            for start in range(0, len(missing), _IDS_A_QUERY):
                some = missing[start : start + _IDS_A_QUERY]
                places = ", ".join("?" * len(some))
                for values in self._keeper.query(f"{_ROWS} WHERE key IN ({places})", some):
                    row = found[values[0]] = _row(values)
                    self._rows.put(row.key, row)
            return found

    def opened(self, ids: Collection[str]) -> dict[str, DataKey | str]:
        """What each data key is: the key, or what is shown in place of its values.

        That is ``[erased]`` where it was destroyed, ``[withheld]`` where its tenant key is not
        here. An id that was never one is left out. :class:`~refold.errors.Corrupt` where what was
        wrapped is no key any more.
        """
        with self._lock:
            rows = self.rows_of(ids)
            return {one: self._keys.known(one) or self._keep(row) for one, row in rows.items()}

    def destroy(self, subject: str) -> list[str]:
        """Destroy the key of a subject that lives; its id, or none.

        Snapshots are under a key of their own, which is destroyed with it.
        """
        return self.destroy_of(self.pseudonym(subject))

    def destroy_of(self, pseudonym: bytes) -> list[str]:
        """The same of a subject by its HMAC."""
        now = self._clock()

        def within(begin: Begin) -> list[str]:
            transaction = begin()
            found = [transaction.execute(_LIVING, (one,)) for one in (pseudonym, _SNAPSHOTS)]
            gone = [str(row[0]) for row in found[0]]
            # Without one of the subject's no snapshot holds anything of it.
            for key in [*gone, *(row[0] for row in found[1] if gone)]:
                transaction.execute(_DESTROY, (b"", now, key))
            return gone

        with self._lock:
            gone = self._keeper.write(within) if has_keys(self._keeper) else []
            self._forget()
            return gone

    def pseudonym(self, name: str) -> bytes:
        """What a subject is known by in tables: HMAC-SHA256 of its name, 32 bytes."""
        with self._lock:
            known = self._pseudonyms.known(name) if isinstance(name, str) else None
        if known is not None:
            return known
        raw = name.encode(errors="surrogatepass") if isinstance(name, str) else b""
        if not 1 <= len(raw) <= SUBJECT_BYTES_MAX:
            why = "is no name of a subject: give text of 1 to 1,024 bytes"
            raise UsageError(f"subject={name!r:.99} {why}", argument="subject")
        made = self.hidden(b"\0" + raw)
        with self._lock:
            self._pseudonyms.put(name, made)
        return made

    def hidden(self, value: bytes) -> bytes:
        """HMAC-SHA256 of a value, under a key of this store: 32 bytes that do not tell it.

        Without a keyring that key stands in the clear beside what it hides.
        """
        self.begin()
        return hmac.digest(self._hidden_by, value, "sha256")

    def begin(self) -> None:
        """Let the store say that it holds personal values, as it does from the first on.

        What stood in the clear, from before there was a keyring, is wrapped where it can be.
        """
        if self._hidden_by:
            return
        with self._lock:
            row = self._made(_INDEX)
            secret = self.secret(row)
            if self.keyring is not None and not row.tenant_key:
                made = self.keyring.wrap(secret, about_row(row.key, row.subject))
                with suppress(UsageError, Unavailable):  # Of a file that is only read it stays.
                    self._keeper.write(partial(wrap_anew, rows=[(made, row)]))
            self._hidden_by = secret

    @property
    def has_begun(self) -> bool:
        """Whether there is a key of the HMAC."""
        if self._hidden_by:
            return True
        return has_keys(self._keeper) and bool(self._keeper.query(_LIVING, (_INDEX,)))

    def destructions(self) -> int:
        """How many keys were destroyed until now, by any process; here all know of them then."""
        with self._lock:
            self._asked_s = -FRESH_S
            self._refresh()
            return self._destroyed

    def rows(self, *, after: str = "", rows_max: int = 1_000) -> list[KeyRow]:
        """The rows of the table over an id, in order."""
        found = self._keeper.query(f"{_ROWS} WHERE key > ? ORDER BY key LIMIT ?", (after, rows_max))
        return list(map(_row, found))

    def _of(self, subject: bytes) -> DataKey:
        with self._lock:
            self._refresh()
            known = self._keys.known(self._ids.known(subject) or "")
            if isinstance(known, DataKey):
                return known
            row = self._made(subject)
            made = DataKey(row.key, cipher_of(self.secret(row)))
            self._ids.put(subject, row.key)
            self._rows.put(row.key, row)
            self._keys.put(row.key, made)
            return made

    def _made(self, subject: bytes) -> KeyRow:
        """The row of what lives for a subject, made where there is none."""
        found = self._keeper.query(_LIVING, (subject,)) if has_keys(self._keeper) else ()
        if found:
            return _row(found[0])
        key, secret = secrets.token_hex(16), secrets.token_bytes(KEY_BYTES)
        index = None
        if self.keyring is not None:
            tenant_key, wrapped = self.keyring.wrap(secret, about_row(key, subject))
            rows = self._keeper.query(_LIVING, (_INDEX,)) if has_keys(self._keeper) else ()
            index = _row(rows[0]) if rows else None
            if index is not None and index.tenant_key != tenant_key:
                self.secret(index)  # Refused where the key was turned to one that is not here.
        elif subject == _INDEX:
            tenant_key, wrapped = "", secret  # With nothing encrypted it has nothing to guard.
        else:
            raise UsageError("a key for a subject needs a keyring: Privacy(keyring=…)")
        row = (key, subject, wrapped, tenant_key, self._clock())
        sql = getattr(self._keeper, "sql", "sqlite")

        def within(begin: Begin) -> Sequence[Any]:
            transaction = begin()
            make_table(transaction, sql=sql)
            shared = " FOR SHARE" * (sql == "postgresql")  # Who turns the key waits, or was first.
            if index and _row(transaction.execute(_LIVING + shared, (_INDEX,))[0]) != index:
                raise Unavailable("the tenant key was turned meanwhile: try again")
            transaction.execute(_ADD, row)
            return transaction.execute(_LIVING, (subject,))[0]

        try:
            return _row(self._keeper.write(within))
        except UsageError as refused:
            if refused.code != "not_writable":
                raise
            raise UsageError(
                "the data key of a new subject is to be made, and this login may keep no tables: "
                "let a maintainer append for that subject first (whoever may append goes on under "
                f"its key), or append as a maintainer; {refused.message}",
                code="not_writable",
            ) from refused

    def _keep(self, row: KeyRow) -> DataKey | str:
        known: DataKey | str = WITHHELD if row.destroyed_at is None else ERASED
        if row.destroyed_at is None and self.keyring is not None:
            with suppress(NotFound):
                known = DataKey(row.key, cipher_of(self.secret(row)))
        self._keys.put(row.key, known)
        return known

    def secret(self, row: KeyRow) -> bytes:
        """The key in a row; :class:`~refold.errors.NotFound` where its tenant key is not here."""
        if not row.tenant_key and row.subject == _INDEX:
            return row.wrapped
        try:
            if self.keyring is None:
                raise NotFound("there is no keyring", code="no_tenant_key", key=row.tenant_key)
            wrapped = Wrapped(row.tenant_key, row.wrapped)
            return self.keyring.unwrap(wrapped, about_row(row.key, row.subject))
        except NotFound as error:
            raise NotFound(
                f"the keys of this store are wrapped by the tenant key {row.tenant_key}: "
                f"{error.message}. Give the keyring that has it; without it what is encrypted is "
                "lost",
                code="no_tenant_key",
                key=row.tenant_key,
            ) from error

    def _refresh(self) -> None:
        """Forget all keys where one was destroyed since this was asked last, in any process."""
        now = time.monotonic()
        if now - self._asked_s >= FRESH_S:
            if has_keys(self._keeper):
                ((destroyed,),) = self._keeper.query(_COUNT)
                if destroyed != self._destroyed:
                    self._forget()
                    self._destroyed = destroyed
            self._asked_s = now

    def _forget(self) -> None:
        for known in (self._ids, self._rows, self._keys):
            known.clear()
        self._asked_s = -FRESH_S


def wrap_anew(begin: Begin, rows: Iterable[tuple[Wrapped, KeyRow]]) -> None:
    """Store what wraps some keys now, of those that stand as they were read."""
    values = [(made.wrapped, made.tenant_key, row.key, row.tenant_key) for made, row in rows]
    begin().executemany(_WRAP, values)


def about_row(key: str, subject: bytes) -> bytes:
    """What a wrapped key is bound to: its row."""
    return b"refold/data-key/1" + key.encode() + subject


def _row(values: Iterable[Any]) -> KeyRow:
    key, subject, wrapped, tenant_key, destroyed_at = values
    return KeyRow(key, bytes(subject), bytes(wrapped), tenant_key, destroyed_at)
