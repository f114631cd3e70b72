"""Files of secrets: their owner alone may read them, and a passphrase may lock what they hold.

scrypt (RFC 7914) makes of the passphrase the key for AES-256-GCM (NIST SP 800-38D).
"""

from __future__ import annotations

import os
import secrets
from base64 import b64decode, b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import scrypt
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from refold.errors import NotFound, UsageError
from refold.extras import needs

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

_WORK: Final = {"n": 1 << 15, "r": 8, "p": 1}
_SALT_BYTES, _NONCE_BYTES = 16, 12


class LockedText(msgspec.Struct):
    """A text under a passphrase, as a file holds it; binary values in base64."""

    format: str
    name: str
    salt: str
    locked: str


def read_private(path: Path, *, what: str, advice: str = "") -> str:
    """The text of a file of secrets; refused where others than its owner may read it.

    ``what`` it holds, and ``advice`` where it is not there, are for errors.
    """
    try:
        text = path.read_text(errors="replace").strip()
    except FileNotFoundError as error:
        raise NotFound(f"there is no {what} {path}{advice}", path=str(path)) from error
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}", path=str(path)) from error
    if os.name == "posix" and (mode := path.stat().st_mode) & 0o077:
        why = f"others may read {path} (mode {mode & 0o777:o}): `chmod 600 {path}`"
        raise UsageError(why, code="key_not_private", path=str(path))
    return text


def write_private(path: Path, text: str, *, what: str) -> None:
    """Write a new file that its owner alone may read; one that is there is never written over."""
    try:
        number = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError as error:
        why = f"{path} exists: a {what} is never written over"
        raise UsageError(why, path=str(path)) from error
    with os.fdopen(number, "w") as file:
        file.write(f"{text}\n")
        file.flush()
        os.fsync(file.fileno())
    sync_folder(path.parent)


def replace_private(path: Path, text: str, *, what: str) -> None:
    """Put such a file in the place of another, at once and whole; whoever does so is alone."""
    beside = path.with_name(f".{path.name}.new")
    beside.unlink(missing_ok=True)  # One that was cut off left its secrets there.
    write_private(beside, text, what=what)
    beside.replace(path)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make the names of new files in a folder last."""
    number = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)


@contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Be the only one, of all threads and processes, who replaces what a file of a folder holds."""
    import fcntl

    number = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(number, fcntl.LOCK_EX)
        yield
    finally:
        os.close(number)


def locked(text: str, passphrase: str, *, format: str, name: str) -> str:
    """A text under a passphrase, as JSON that says its format and name."""
    salt, nonce = secrets.token_bytes(_SALT_BYTES), secrets.token_bytes(_NONCE_BYTES)
    sealed = _cipher(passphrase, salt).encrypt(nonce, text.encode(), name.encode())
    texts = [b64encode(value).decode() for value in (salt, nonce + sealed)]
    return msgspec.json.encode(LockedText(format, name, *texts)).decode()


@contextmanager
def told_of(path: Path) -> Iterator[None]:
    """Name a file in what is refused of it."""
    try:
        yield
    except UsageError as error:
        raise UsageError(f"{path}: {error.message}", code=error.code, path=str(path)) from error


def unlocked(text: str, passphrase: str, *, format: str, variable: str) -> str:
    """The text that was locked under a passphrase; UsageError (``wrong_passphrase``) by another.

    ``variable`` is where commands take it from.
    """
    from cryptography.exceptions import InvalidTag

    try:
        found = msgspec.json.decode(text, type=LockedText)
        salt, hidden = b64decode(found.salt), b64decode(found.locked)
    except ValueError as error:
        raise UsageError(f"this is no {format}: {error}") from error
    if found.format != format:
        raise UsageError(f"this is a {found.format!r:.99}, and no {format}")
    try:
        nonce, sealed = hidden[:_NONCE_BYTES], hidden[_NONCE_BYTES:]
        return _cipher(passphrase, salt).decrypt(nonce, sealed, found.name.encode()).decode()
    except (InvalidTag, ValueError) as error:
        given = "another" if passphrase else "none"
        why = f"this {format} is under a passphrase, and {given} was given ({variable})"
        raise UsageError(why, code="wrong_passphrase") from error


def _cipher(passphrase: str, salt: bytes) -> AESGCM:
    made = scrypt(passphrase.encode(), salt=salt, dklen=32, maxmem=1 << 26, **_WORK)
    return cipher_of(made, "a passphrase")


def cipher_of(key: bytes, what: str = "personal data") -> AESGCM:
    """AES-256-GCM under a key of 32 bytes; ``what`` needs it where the extra is missing."""
    try:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM
    except ImportError as error:
        raise UsageError(needs(f"{what} needs cryptography", "audit")) from error
    return AESGCM(key)
