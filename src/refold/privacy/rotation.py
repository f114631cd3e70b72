"""Tenant keys turned: all data keys of a store wrapped anew, and old keys destroyed.

What a backup holds is wrapped by the key of its day: once that is destroyed, an erased person's
data key cannot be unwrapped from any backup, and nobody else's either. Restore those before.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

from refold.engine.store import Store
from refold.errors import NotFound, UsageError
from refold.ports import TableKeeper
from refold.privacy.keyring import (
    KEYRING_VARIABLE,
    Keyring,
    KeysAtHand,
    Wrapped,
    load_keyring,
    parse_keyring,
    replace_keyring,
)
from refold.privacy.locked import alone_in
from refold.privacy.stored import has_keys, stored_backend
from refold.privacy.subject_keys import KeyRow, SubjectKeys, about_row, wrap_anew
from refold.privacy.vault import SCHEMES, VaultTransit, vault_of
from refold.secrecy import without_password


class Turned(NamedTuple):
    """What a rotation did: the new tenant key, how many data keys it wraps, what was retired.

    ``lost`` is how many could not be wrapped anew, since their tenant key is not in the keyring.
    """

    newest: str
    wrapped: int
    lost: int
    retired: Sequence[str]


class KeyringPlace(NamedTuple):
    """Where a keyring is kept: a file, ``vault+https://…``, or the environment (an empty text)."""

    text: str
    passphrase: str = ""

    def __repr__(self) -> str:
        return f"KeyringPlace({without_password(self.text)!r})"

    def load(self) -> KeysAtHand | VaultTransit:
        """The keyring as it stands there."""
        if self.text.startswith(SCHEMES):
            return vault_of(self.text)
        if self.text:
            return load_keyring(self.text, passphrase=self.passphrase)
        return parse_keyring(os.environ.get(KEYRING_VARIABLE, ""))

    def changed(self, change: Callable[[KeysAtHand], KeysAtHand]) -> KeysAtHand:
        """Keep what is made of the keyring in a file in its place, whoever else changes it."""
        if not self.text:
            why = f"{KEYRING_VARIABLE} cannot be turned from here: keep the keyring in a file"
            raise UsageError(why, argument="keyring")
        with alone_in(Path(self.text).parent):
            keyring = change(load_keyring(self.text, passphrase=self.passphrase))
            replace_keyring(keyring, self.text, passphrase=self.passphrase)
        return keyring

    def turned(self) -> tuple[KeysAtHand | VaultTransit, Sequence[str]]:
        """The keyring with a new tenant key, and the ids of those that can be retired for it."""
        old = self.load()
        if isinstance(old, VaultTransit):
            before = [old.newest]
            return old.rotated(), before
        keyring = self.changed(KeysAtHand.rotated)
        return keyring, [key.id for key in keyring.keys[:-1] if key.secret]

    def retire(self, retired: Sequence[str]) -> None:
        """Destroy tenant keys."""
        keyring = self.load()
        if isinstance(keyring, VaultTransit):
            keyring.without(retired)
        else:
            self.changed(lambda newest: newest.without(retired))


def rotate(store: Store, place: KeyringPlace, *, retire: bool = False) -> Turned:
    """Turn the tenant key of a store; with ``retire`` the older ones are destroyed at the end.

    One that was cut off is done by turning again. Nothing is retired while a data key of this store
    hangs on it: :class:`~refold.errors.UsageError`. Other stores that use the keyring are not
    known here: turn those first, without ``retire``.
    """
    keyring, before = place.turned()  # It is kept before anything is wrapped by it.
    keeper = _keeper_of(store)
    wrapped, (more, lost) = 0, _wrap_anew(keeper, keyring)
    while more:  # By the first pass all know that it was turned; until then some were made.
        wrapped, (more, lost) = wrapped + more, _wrap_anew(keeper, keyring)
    if retire:
        if lost:
            why = f"{lost:,} data keys are wrapped by a tenant key that is not in the keyring"
            raise UsageError(f"{why}: nothing was retired", code="no_tenant_key")
        place.retire(before)
    return Turned(keyring.newest, wrapped, lost, before if retire else ())


def wrapped_by(store: Store) -> Counter[str]:
    """How many living data keys each tenant key wraps, by its id."""
    keeper = _keeper_of(store)
    if not has_keys(keeper):
        return Counter()
    sql = "SELECT tenant_key, count(*) FROM privacy_keys WHERE destroyed_at IS NULL"
    found = keeper.query(f"{sql} GROUP BY tenant_key ORDER BY tenant_key")
    return Counter({str(key): int(count) for key, count in found})


def _wrap_anew(keeper: TableKeeper, keyring: Keyring) -> tuple[int, int]:
    """Wrap what lives by the newest tenant key; how many that were, and how many could not be."""
    if not has_keys(keeper):
        return 0, 0
    keys, newest, after, done, lost = SubjectKeys(keeper, keyring), keyring.newest, "", 0, 0
    while rows := keys.rows(after=after):
        after, changed = rows[-1].key, list[tuple[Wrapped, KeyRow]]()
        for row in rows:
            if row.destroyed_at is None and row.tenant_key != newest:
                try:
                    secret = keys.secret(row)
                except NotFound:
                    lost += 1
                    continue
                changed.append((keyring.wrap(secret, about_row(row.key, row.subject)), row))
        if changed:
            keeper.write(partial(wrap_anew, rows=changed))
        done += len(changed)
    return done, lost


def _keeper_of(store: Store) -> TableKeeper:
    keeper = stored_backend(store)
    if not isinstance(keeper, TableKeeper):
        raise UsageError("this kind of store keeps no keys")
    return keeper
