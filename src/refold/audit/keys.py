"""Where the signing key of a log is kept: a file that its owner alone may read, or the environment.

A file holds the key's text (c2sp.org/signed-note), or that text encrypted under a passphrase.
Whoever loses it can sign no more heads; those that are signed are checked with the verifying key,
which is no secret.
"""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from typing import Final

from refold.audit.note import SigningKey, parse_signing_key
from refold.errors import UsageError
from refold.privacy.locked import locked, read_private, told_of, unlocked, write_private

KEY_VARIABLE: Final = "REFOLD_SIGNING_KEY"
"""The variable that may hold the text of a key, in place of a file."""
PASSPHRASE: Final = "REFOLD_KEY_PASSPHRASE"
"""The variable that commands take the passphrase of its file from."""
_FORMAT: Final = "refold-signing-key/1"


def new_key(name: str) -> SigningKey:
    """A new key for a log of this name, which is its origin: ``example.com/agents``."""
    if not name or any(char.isspace() or char == "+" for char in name):
        raise UsageError(f"origin={name!r} is no name of a log: no spaces and no +, such as "
                         "example.com/agents", argument="origin")  # fmt: skip
    return SigningKey(name, secrets.token_bytes(32))


def save_key(key: SigningKey, path: str | os.PathLike[str], *, passphrase: str = "") -> None:
    """Write a key to a new file that its owner alone may read."""
    text = str(key)
    if passphrase:
        text = locked(text, passphrase, format=_FORMAT, name=key.name)
    write_private(key_file(path), text, what="key")


def key_file(path: str | os.PathLike[str]) -> Path:
    """The path of a key's file; a key itself in its place is refused, and not repeated."""
    if str(path).lstrip().startswith("PRIVATE+KEY+"):
        why = f"this is a signing key and not its file: {KEY_VARIABLE} may hold it, or a file"
        raise UsageError(why, code="key_not_private")
    return Path(path)


def load_key(path: str | os.PathLike[str], *, passphrase: str = "") -> SigningKey:
    """The key in a file; refused where others than its owner may read it."""
    file = key_file(path)
    text = read_private(file, what="key")
    with told_of(file):
        if text.startswith("{"):
            text = unlocked(text, passphrase, format=_FORMAT, variable=PASSPHRASE)
        return parse_signing_key(text)


def is_locked(path: Path) -> bool:
    """Whether a passphrase is needed for the key in a file."""
    return path.exists() and path.read_bytes().lstrip().startswith(b"{")


def key_of_environment() -> SigningKey | None:
    """The key that the environment holds, if any."""
    text = os.environ.get(KEY_VARIABLE)
    return parse_signing_key(text) if text else None
