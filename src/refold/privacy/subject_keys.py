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
from typing import Any, Final, NamedTuple

from refold.errors import Corrupt, NotFound, UsageError
from refold.ports import Begin, TableKeeper, TableTransaction
from refold.privacy.envelope import ERASED, WITHHELD, DataKey
from refold.privacy.keyring import KEY_BYTES, Keyring, Wrapped
from refold.privacy.locked import cipher_of
from refold.projections.postgres_dialect import dialect_of

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
_LIVING: Final = """
SELECT key, subject, wrapped, tenant_key, destroyed_at FROM privacy_keys
WHERE subject = ? AND destroyed_at IS NULL"""
_ADD: Final = """
INSERT INTO privacy_keys (key, subject, wrapped, tenant_key, created_at)
VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING"""
_COUNT: Final = "SELECT count(*) FROM privacy_keys WHERE destroyed_at IS NOT NULL"


class KeyRow(NamedTuple):
    """A data key as it is stored."""

    key: str
    subject: bytes
    wrapped: bytes
    tenant_key: str
    destroyed_at: int | None


def has_keys(keeper: object) -> bool:
    """Whether a store holds protected data: its table of keys is there."""
    return isinstance(keeper, TableKeeper) and bool(
        keeper.query(dialect_of(keeper).exists, ("privacy_keys",))
    )


def make_table(transaction: TableTransaction, *, sql: str) -> None:
    """Make the table where it is missing."""
    for statement in _TABLE.format(**_WORDS[sql]).split(";"):
        transaction.execute(statement.strip())


def system_us() -> int:
    """The machine's clock in microseconds UTC."""
    return time.time_ns() // 1_000


class SubjectKeys:
    """The data keys of a store, unwrapped by a keyring as they are needed.

    ``clock`` gives microseconds UTC. Any thread may use it. What another process destroys is known
    here within half a second; what is destroyed here, at once.
    """

    def __init__(
        self, keeper: TableKeeper, keyring: Keyring, *, clock: Callable[[], int] = system_us
    ) -> None:
        self._keeper, self._keyring, self._clock = keeper, keyring, clock
        self._lock = threading.RLock()
        self._index: bytes = b""
        self._ids: OrderedDict[bytes, str] = OrderedDict()
        self._keys: OrderedDict[str, DataKey | str] = OrderedDict()
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

    def opened(self, ids: Collection[str]) -> dict[str, DataKey | str]:
        """What each data key is: the key, or what is shown in place of its values.

        That is ``[erased]`` where it was destroyed, ``[withheld]`` where its tenant key is not
        here. :class:`~refold.errors.Corrupt` for an id that no row has.
        """
        with self._lock:
            self._refresh()
            known = {one: self._keys[one] for one in ids if one in self._keys}
            for one in known:
                self._keys.move_to_end(one)
            # What is read now may push out of memory what is known.
            return known | self._read([one for one in ids if one not in known])

    def destroy(self, subject: str) -> list[str]:
        """Destroy the keys of a subject; their ids. None where it has none that lives.

        Snapshots are sealed by a key of their own, which is destroyed with it.
        """
        return self.destroy_of(self.pseudonym(subject))

    def destroy_of(self, pseudonym: bytes) -> list[str]:
        """The same of a subject by its HMAC."""
        now = self._clock()

        def within(begin: Begin) -> list[str]:
            transaction, gone = begin(), list[str]()
            for subject in (pseudonym, _SNAPSHOTS):
                for key, *_ in transaction.execute(_LIVING, (subject,)):
                    transaction.execute(
                        "UPDATE privacy_keys SET wrapped = ?, destroyed_at = ? WHERE key = ?",
                        (b"", now, key),
                    )
                    gone += [key] if subject == pseudonym else []
                if not gone:
                    break  # No snapshot holds anything of it.
            return gone

        with self._lock:
            gone = self._keeper.write(within)
            self._forget()
            return gone

    def pseudonym(self, name: str) -> bytes:
        """What a subject is known by in tables: HMAC-SHA256 of its name, 32 bytes."""
        if not name or len(raw := name.encode(errors="surrogatepass")) > SUBJECT_BYTES_MAX:
            raise UsageError(f"subject={name!r:.99} is no name of a subject: 1 to 1,024 bytes")
        return self.digest(b"\0" + raw)

    def digest(self, value: bytes) -> bytes:
        """HMAC-SHA256 of a value, under a key of this store: 32 bytes that do not tell it."""
        if not self._index:
            with self._lock:
                self._index = self._secret(self._made(_INDEX), lost=True)
        return hmac.digest(self._index, value, "sha256")

    def rows(self, *, after: str = "", rows_max: int = 1_000) -> list[KeyRow]:
        """The rows of the table over an id, in order."""
        sql = "SELECT key, subject, wrapped, tenant_key, destroyed_at FROM privacy_keys"
        found = self._keeper.query(f"{sql} WHERE key > ? ORDER BY key LIMIT ?", (after, rows_max))
        return list(map(_row, found))

    def _of(self, subject: bytes) -> DataKey:
        with self._lock:
            self._refresh()
            known = self._keys.get(self._ids.get(subject, ""))
            if isinstance(known, DataKey):
                self._keys.move_to_end(known.id)
                return known
            row = self._made(subject)
            made = self._keep(row)
            if not isinstance(made, DataKey):
                raise _lost(row)
            self._ids[subject] = row.key
            if len(self._ids) > CACHED_MAX:
                self._ids.popitem(last=False)
            return made

    def _made(self, subject: bytes) -> KeyRow:
        """The row of what lives for a subject, made where there is none."""
        found = self._keeper.query(_LIVING, (subject,)) if has_keys(self._keeper) else ()
        if found:
            return _row(found[0])
        key, secret = secrets.token_hex(16), secrets.token_bytes(KEY_BYTES)
        tenant_key, wrapped = self._keyring.wrap(secret, _about(key, subject))
        row = (key, subject, wrapped, tenant_key, self._clock())
        sql = getattr(self._keeper, "sql", "sqlite")

        def within(begin: Begin) -> Sequence[Any]:
            transaction = begin()
            make_table(transaction, sql=sql)
            transaction.execute(_ADD, row)
            return transaction.execute(_LIVING, (subject,))[0]

        return _row(self._keeper.write(within))

    def _read(self, ids: Sequence[str]) -> dict[str, DataKey | str]:
        read: dict[str, DataKey | str] = {}
        sql = "SELECT key, subject, wrapped, tenant_key, destroyed_at FROM privacy_keys"
        for start in range(0, len(ids), _IDS_A_QUERY):
            some = ids[start : start + _IDS_A_QUERY]
            places = ", ".join("?" * len(some))
            found = {row.key: row for row in map(_row, self._keeper.query(
                f"{sql} WHERE key IN ({places})", some))}  # fmt: skip
            for key in some:
                if key not in found:
                    raise Corrupt(f"there is no data key {key}: it was never one", key=key)
                read[key] = self._keep(found[key])
        return read

    def _keep(self, row: KeyRow) -> DataKey | str:
        try:
            known: DataKey | str = ERASED
            if row.destroyed_at is None:
                known = DataKey(row.key, cipher_of(self._secret(row)))
        except NotFound:
            known = WITHHELD
        self._keys[row.key] = known
        if len(self._keys) > CACHED_MAX:
            self._keys.popitem(last=False)
        return known

    def _secret(self, row: KeyRow, *, lost: bool = False) -> bytes:
        try:
            return self._keyring.unwrap(
                Wrapped(row.tenant_key, row.wrapped), _about(row.key, row.subject)
            )
        except NotFound as error:
            if lost:
                raise _lost(row) from error
            raise

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
        self._ids.clear()
        self._keys.clear()
        self._asked_s = -FRESH_S


def _about(key: str, subject: bytes) -> bytes:
    """What a wrapped key is bound to: its row."""
    return b"refold/data-key/1" + key.encode() + subject


def _row(values: Iterable[Any]) -> KeyRow:
    key, subject, wrapped, tenant_key, destroyed_at = values
    return KeyRow(key, bytes(subject), bytes(wrapped), tenant_key, destroyed_at)


def _lost(row: KeyRow) -> NotFound:
    return NotFound(
        f"the keys of this store are wrapped by the tenant key {row.tenant_key}, which is not in "
        "the keyring: give the one that holds it; without it, what is encrypted is lost",
        code="no_tenant_key",
        key=row.tenant_key,
    )
