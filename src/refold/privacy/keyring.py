"""Tenant keys: what wraps the data keys of subjects, kept outside of the event database.

A keyring is a file that its owner alone may read, with a passphrase or without, or the environment,
or a service that keeps the key itself (:mod:`refold.privacy.vault`). Whoever loses it has lost
every value that was encrypted under its keys, in the database and in every copy of it.
"""

from __future__ import annotations

import os
import secrets
from base64 import b64decode, b64encode
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple, Protocol

from refold.errors import Corrupt, NotFound, UsageError
from refold.privacy.locked import (
    cipher_of,
    locked,
    read_private,
    replace_private,
    told_of,
    unlocked,
    write_private,
)

KEYRING_VARIABLE: Final = "REFOLD_KEYRING_KEYS"
"""The variable that may hold the text of a keyring, in place of a file."""
PASSPHRASE: Final = "REFOLD_KEYRING_PASSPHRASE"
"""The variable that commands take the passphrase of its file from."""
FORMAT: Final = "refold-keyring/1"
KEY_BYTES: Final = 32
_NONCE_BYTES: Final = 12
_ID_BYTES: Final = 8
_RETIRED: Final = "retired"
_LOST: Final = (
    ": what was encrypted under its keys is lost without it, in this store and in every copy; "
    "`refold keys create` makes a keyring for a new store"
)


class Wrapped(NamedTuple):
    """A data key as it is stored, and the id of the tenant key that it is wrapped by."""

    tenant_key: str
    wrapped: bytes


class Keyring(Protocol):
    """Wraps data keys, and unwraps them; ``about`` is bound to a key, and must be the same again.

    ``newest`` is the id of the tenant key that new ones are wrapped by.
    """

    @property
    def newest(self) -> str:
        """The id of the tenant key that wraps what is new."""
        ...

    def wrap(self, key: bytes, about: bytes) -> Wrapped:
        """A data key wrapped by the newest tenant key."""
        ...

    def unwrap(self, wrapped: Wrapped, about: bytes) -> bytes:
        """The data key.

        :class:`~refold.errors.NotFound` where the tenant key is not here or was retired,
        :class:`~refold.errors.Corrupt` where it wrapped something else.
        """
        ...


class TenantKey(NamedTuple):
    """A key of a keyring; without its ``secret`` it was retired, and destroyed."""

    id: str
    secret: bytes

    def __repr__(self) -> str:
        return f"TenantKey({self.id})"


class KeysAtHand:
    """A keyring whose keys are in memory, the newest last."""

    def __init__(self, keys: Sequence[TenantKey]) -> None:
        if not any(key.secret for key in keys[-1:]):
            raise UsageError("a keyring needs a key that is not retired, as its last")
        self.keys = tuple(keys)
        self._ciphers = {key.id: cipher_of(key.secret) for key in keys if key.secret}

    @property
    def newest(self) -> str:
        """See :class:`Keyring`."""
        return self.keys[-1].id

    def wrap(self, key: bytes, about: bytes) -> Wrapped:
        """See :class:`Keyring`."""
        nonce = secrets.token_bytes(_NONCE_BYTES)
        return Wrapped(self.newest, nonce + self._ciphers[self.newest].encrypt(nonce, key, about))

    def unwrap(self, wrapped: Wrapped, about: bytes) -> bytes:
        """See :class:`Keyring`."""
        from cryptography.exceptions import InvalidTag

        name, hidden = wrapped
        cipher = self._ciphers.get(name)
        if cipher is None:
            retired = any(key.id == name for key in self.keys)
            why = "was retired" if retired else "is not in this keyring"
            raise NotFound(f"the tenant key {name} {why}", code="no_tenant_key", key=name)
        try:
            return cipher.decrypt(hidden[:_NONCE_BYTES], hidden[_NONCE_BYTES:], about)
        except (InvalidTag, ValueError) as error:
            raise Corrupt(f"what tenant key {name} wrapped was changed", key=name) from error

    def rotated(self) -> KeysAtHand:
        """The same with a new key, which wraps from now on."""
        return KeysAtHand([*self.keys, new_tenant_key()])

    def without(self, retired: Sequence[str]) -> KeysAtHand:
        """The same in which the secrets of some keys are gone; the newest cannot be."""
        return KeysAtHand([key._replace(secret=b"") if key.id in retired else key
                           for key in self.keys])  # fmt: skip

    @property
    def text(self) -> str:
        """What a file or the environment holds of it: a line a key."""
        lines = [
            f"{key.id} {b64encode(key.secret).decode() if key.secret else _RETIRED}"
            for key in self.keys
        ]
        return "\n".join([FORMAT, *lines])


def new_keyring() -> KeysAtHand:
    """A keyring with one new key."""
    return KeysAtHand([new_tenant_key()])


def new_tenant_key() -> TenantKey:
    """A random key under a random id."""
    return TenantKey(secrets.token_hex(_ID_BYTES), secrets.token_bytes(KEY_BYTES))


def save_keyring(
    keyring: KeysAtHand, path: str | os.PathLike[str], *, passphrase: str = ""
) -> None:
    """Write a keyring to a new file that its owner alone may read."""
    write_private(Path(path), _shut(keyring, passphrase), what="keyring")


def replace_keyring(
    keyring: KeysAtHand, path: str | os.PathLike[str], *, passphrase: str = ""
) -> None:
    """Put a keyring in the place of the one in a file, at once and whole.

    Whoever calls it is alone in the folder (:func:`refold.privacy.locked.alone_in`).
    """
    replace_private(Path(path), _shut(keyring, passphrase), what="keyring")


def load_keyring(path: str | os.PathLike[str], *, passphrase: str = "") -> KeysAtHand:
    """The keyring in a file; refused where others than its owner may read it."""
    text = read_private(Path(path), what="keyring", advice=_LOST)
    with told_of(Path(path)):
        if text.startswith("{"):
            text = unlocked(text, passphrase, format=FORMAT, variable=PASSPHRASE)
        return parse_keyring(text)


def keyring_of_environment() -> KeysAtHand | None:
    """The keyring that the environment holds, if any."""
    text = os.environ.get(KEYRING_VARIABLE)
    return parse_keyring(text) if text else None


def parse_keyring(text: str) -> KeysAtHand:
    """The keyring of its text."""
    first, *lines = text.strip().splitlines() or [""]
    try:
        if first.strip() != FORMAT:
            raise ValueError("it does not begin so")  # What it is may be a secret.
        keys = []
        for line in lines:
            name, secret = line.split()
            keys.append(TenantKey(name, b"" if secret == _RETIRED else _key(secret)))
    except ValueError as error:
        raise UsageError(f"this is no {FORMAT}: {error}", code="not_a_keyring") from error
    return KeysAtHand(keys)


def _key(text: str) -> bytes:
    secret = b64decode(text, validate=True)
    if len(secret) != KEY_BYTES:
        raise ValueError(f"a key of {len(secret)} bytes, and not {KEY_BYTES}")
    return secret


def _shut(keyring: KeysAtHand, passphrase: str) -> str:
    if not passphrase:
        return keyring.text
    return locked(keyring.text, passphrase, format=FORMAT, name=keyring.newest)
