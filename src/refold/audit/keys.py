"""Where the signing key of a log is kept: a file that its owner alone may read, or the environment.

A file holds the key's text (c2sp.org/signed-note), or that text encrypted under a passphrase:
scrypt (RFC 7914) makes the key for AES-256-GCM (NIST SP 800-38D). Whoever loses it can sign no
more heads; those that are signed are checked with the verifying key, which is no secret.
"""

from __future__ import annotations

import os
import secrets
from base64 import b64decode, b64encode
from hashlib import scrypt
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from refold.audit.note import SigningKey, parse_signing_key
from refold.errors import NotFound, UsageError
from refold.extras import needs

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

KEY_VARIABLE: Final = "REFOLD_SIGNING_KEY"
"""The variable that may hold the text of a key, in place of a file."""
_FORMAT: Final = "refold-signing-key/1"
_WORK: Final = {"n": 1 << 15, "r": 8, "p": 1}
_NONCE_BYTES: Final = 12


class LockedKey(msgspec.Struct):
    """A key's text under a passphrase, as a file holds it; binary values in base64."""

    format: str
    name: str
    salt: str
    locked: str


def new_key(name: str) -> SigningKey:
    """A new key for a log of this name, which is its origin: ``example.com/agents``."""
    if not name or any(char.isspace() or char == "+" for char in name):
        raise UsageError(f"origin={name!r} is no name of a log: no spaces and no +, such as "
                         "example.com/agents", argument="origin")  # fmt: skip
    return SigningKey(name, secrets.token_bytes(32))


def save_key(key: SigningKey, path: str | os.PathLike[str], *, passphrase: str = "") -> None:
    """Write a key to a new file that its owner alone may read."""
    text = str(key) if not passphrase else _locked(key, passphrase)
    try:
        number = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError as error:
        raise UsageError(f"{path} exists: a key is never written over", path=str(path)) from error
    with os.fdopen(number, "w") as file:
        file.write(f"{text}\n")
        file.flush()
        os.fsync(file.fileno())


def load_key(path: str | os.PathLike[str], *, passphrase: str = "") -> SigningKey:
    """The key in a file; refused where others than its owner may read it."""
    path = Path(path)
    try:
        text = path.read_text(errors="replace").strip()
    except FileNotFoundError as error:
        raise NotFound(f"there is no key {path}", path=str(path)) from error
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}", path=str(path)) from error
    if os.name == "posix" and (mode := path.stat().st_mode) & 0o077:
        why = f"others may read {path} (mode {mode & 0o777:o}): `chmod 600 {path}`"
        raise UsageError(why, code="key_not_private", path=str(path))
    return parse_signing_key(text if not text.startswith("{") else _unlocked(text, passphrase))


def is_locked(path: Path) -> bool:
    """Whether a passphrase is needed for the key in a file."""
    return path.exists() and path.read_bytes().lstrip().startswith(b"{")


def key_of_environment() -> SigningKey | None:
    """The key that the environment holds, if any."""
    text = os.environ.get(KEY_VARIABLE)
    return parse_signing_key(text) if text else None


def _locked(key: SigningKey, passphrase: str) -> str:
    salt, nonce = secrets.token_bytes(16), secrets.token_bytes(_NONCE_BYTES)
    sealed = _cipher(passphrase, salt).encrypt(nonce, str(key).encode(), key.name.encode())
    texts = [b64encode(value).decode() for value in (salt, nonce + sealed)]
    return msgspec.json.encode(LockedKey(_FORMAT, key.name, *texts)).decode()


def _unlocked(text: str, passphrase: str) -> str:
    from cryptography.exceptions import InvalidTag

    try:
        found = msgspec.json.decode(text, type=LockedKey)
        salt, locked = b64decode(found.salt), b64decode(found.locked)
    except ValueError as error:
        raise UsageError(f"this is no file of a key: {error}") from error
    try:
        nonce, sealed = locked[:_NONCE_BYTES], locked[_NONCE_BYTES:]
        return _cipher(passphrase, salt).decrypt(nonce, sealed, found.name.encode()).decode()
    except InvalidTag as error:
        why = f"the passphrase is not that of the key of {found.name}"
        raise UsageError(why, code="wrong_passphrase") from error


def _cipher(passphrase: str, salt: bytes) -> AESGCM:
    try:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM
    except ImportError as error:
        raise UsageError(needs("a passphrase needs cryptography", "audit")) from error
    made = scrypt(passphrase.encode(), salt=salt, dklen=32, maxmem=1 << 26, **_WORK)
    return AESGCM(made)
