"""What a subject is called where it must not be named: in decisions, and in what they report."""

from __future__ import annotations

import secrets
from typing import Final

from refold.engine.store import Store
from refold.errors import UsageError
from refold.ports import Begin, TableKeeper
from refold.privacy.stored import outlives, stored_backend
from refold.privacy.subject_keys import SubjectKeys
from refold.projections.postgres_dialect import dialect_of

_TABLE: Final = """
CREATE TABLE IF NOT EXISTS privacy_subjects (subject TEXT PRIMARY KEY, pseudonym TEXT NOT NULL)"""
_OF: Final = "SELECT pseudonym FROM privacy_subjects WHERE subject = ?"


def pseudonyms(store: Store, subject: str) -> list[str]:
    """All that a subject is called, the name for what is recorded now first; maybe none.

    With a keyring a pseudonym follows from the name (an HMAC), and one that was drawn before stays
    in use. Without one the key of that HMAC would stand in the clear, and whoever has the database
    could try names: so a pseudonym is drawn when it is first needed, and forgotten in the end.
    """
    keeper, keys = keeper_of_tables(store), keys_of(store)
    drawn = _drawn(keeper, subject)
    if keys is None or not (keys.keyring or keys.has_begun):
        return drawn
    of_key = f"subject-{keys.pseudonym(subject).hex()[:32]}"
    return [of_key, *drawn] if keys.keyring else [*drawn, of_key]


def pseudonym(store: Store, subject: str) -> str:
    """What a subject is called from now on; drawn where it has no pseudonym yet."""
    keeper, keys = keeper_of_tables(store), keys_of(store)
    known = (
        _drawn(keeper, subject) if keys is None or not keys.keyring else pseudonyms(store, subject)
    )
    if known:
        return known[0]
    drawn = f"subject-{secrets.token_hex(16)}"

    def within(begin: Begin) -> str:
        transaction = begin()
        transaction.execute(_TABLE)
        add = "INSERT INTO privacy_subjects VALUES (?, ?) ON CONFLICT DO NOTHING"
        transaction.execute(add, (subject, drawn))
        return str(transaction.execute(_OF, (subject,))[0][0])

    return keeper.write(within)


def _drawn(keeper: TableKeeper, subject: str) -> list[str]:
    if not keeper.query(dialect_of(keeper).exists, ("privacy_subjects",)):
        return []
    return [str(one) for (one,) in keeper.query(_OF, (subject,))]


def forget(store: Store, subject: str) -> None:
    """Forget who a drawn pseudonym was of: then nothing leads back from it."""
    keeper = keeper_of_tables(store)
    if keeper.query(dialect_of(keeper).exists, ("privacy_subjects",)):
        sql = "DELETE FROM privacy_subjects WHERE subject = ?"
        keeper.write(lambda begin: begin().execute(sql, (subject,)))


def keys_of(store: Store) -> SubjectKeys | None:
    """The data keys of a store, with a keyring or without; None where it can have none."""
    keys = getattr(store._backend, "keys", None)
    return keys if isinstance(keys, SubjectKeys) else None


def keeper_of_tables(store: Store) -> TableKeeper:
    """Where tables beside the log are kept; UsageError where none outlive the process."""
    log = stored_backend(store)
    if not outlives(stored_backend(store)) or not isinstance(log, TableKeeper):
        why = "a journal keeps no tables, and nothing in it can be changed"
        raise UsageError(f"{why}: `refold copy` it into a database first", code="not_erasable")
    return log
