"""Bearer tokens (RFC 6750): who may come in, and what for.

They stand in a file that its owner alone may read, beside the store and not in it: a copy, a backup
or an export of a store takes nobody's way in along. Of a token only its SHA-256 is kept; it is 256
bits of chance, so nothing slower is needed.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from hashlib import sha256
from hmac import compare_digest
from pathlib import Path
from typing import Final, NamedTuple
from urllib.parse import unquote, urlsplit

import msgspec

from refold.errors import NotFound, RefoldError, Unavailable, UsageError
from refold.privacy.locked import read_private, replace_private
from refold.server.access import EVERYTHING, Grant, Scope
from refold.times import rfc3339

SCOPES: Final[tuple[Scope, ...]] = ("append", "read")
_NOBODY: Final = sha256(b"nobody's").hexdigest()


class Token(msgspec.Struct, frozen=True, kw_only=True):
    """What is kept of a token: everything but itself. ``created_at`` is RFC 3339."""

    id: str
    name: str
    scopes: list[Scope]
    categories: list[str] = []
    tenant: int | None = None
    created_at: str
    sha256: str

    @property
    def grant(self) -> Grant:
        """What it allows."""
        return Grant(frozenset(self.scopes), frozenset(self.categories), self.tenant)


class _Seen(NamedTuple):
    """A file as it was when it was read."""

    stamp: tuple[int, int, int]
    tokens: dict[str, Token]


class Tokens:
    """The tokens of a file; one that is made or revoked there counts from the next request on."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self._seen: _Seen | None = None

    def grant(self, authorization: str) -> Grant:
        """What the token of an Authorization header allows; UsageError (``no_token``) for none.

        How long it takes says nothing of how much of a token is right.
        """
        scheme, _, text = authorization.strip().partition(" ")
        is_bearer = scheme.lower() == "bearer"
        found = self._known().get(text.strip().split("_")[1]) if text.count("_") else None
        digest = sha256(text.strip().encode()).hexdigest()
        same = compare_digest(digest, _NOBODY if found is None else found.sha256)
        if found is None or not same or not is_bearer:
            raise UsageError("give a token: `Authorization: Bearer refold_…`", code="no_token")
        return found.grant

    def all(self) -> list[Token]:
        """Those that count, the oldest first."""
        return list(_read(self.path).values())

    def create(
        self,
        name: str,
        *,
        scopes: Sequence[Scope] = SCOPES,
        categories: Sequence[str] = (),
        tenant: int | None = None,
    ) -> tuple[str, Token]:
        """Make a token; its text is given this once, and kept nowhere."""
        mark, secret = secrets.token_hex(4), secrets.token_urlsafe(32)
        text = f"refold_{mark}_{secret}"
        made = Token(
            id=mark,
            name=name,
            scopes=list(scopes),
            categories=list(categories),
            tenant=tenant,
            created_at=rfc3339(time.time_ns() // 1_000),
            sha256=sha256(text.encode()).hexdigest(),
        )
        self._change(lambda tokens: {**tokens, mark: made})
        return text, made

    def revoke(self, mark: str) -> Token:
        """Take the token of an id out; :class:`~refold.errors.NotFound` where there is none."""

        def without(tokens: dict[str, Token]) -> dict[str, Token]:
            if mark not in tokens:
                raise NotFound(f"there is no token {mark!r:.99}", token=mark)
            gone.append(tokens[mark])
            return {key: one for key, one in tokens.items() if key != mark}

        gone: list[Token] = []
        self._change(without)
        return gone[0]

    def _known(self) -> dict[str, Token]:
        """The tokens of the file, read again where it was changed."""
        try:
            at = self.path.stat()
            stamp = at.st_mtime_ns, at.st_ino, at.st_size
            if self._seen is None or self._seen.stamp != stamp:
                self._seen = _Seen(stamp, _read(self.path))
        except FileNotFoundError:
            return {}
        except (OSError, RefoldError) as error:
            raise Unavailable(f"the tokens cannot be read: {error}") from error
        return self._seen.tokens

    def _change(self, change: Callable[[dict[str, Token]], dict[str, Token]]) -> None:
        with _alone_at(self.path):
            tokens = list(change(_read(self.path)).values())
            lines = [msgspec.json.encode(one).decode() for one in tokens]
            replace_private(self.path, "\n".join(lines), what="list of tokens")


class TokensToCome(Tokens):
    """The tokens of a file that need not be there yet: until it is, all may do everything.

    From then on nobody comes in without a token, also where it is gone again.
    """

    def grant(self, authorization: str) -> Grant:
        """See :meth:`Tokens.grant`."""
        if self._seen is None and not self.path.exists():
            return EVERYTHING
        return super().grant(authorization)


def place_beside(url: str) -> str:
    """Where the tokens of a store are kept: beside its file, else in the folder one is in."""
    if "://" not in url and url != "memory:":
        return f"{url}.tokens"
    is_file = url.startswith("sqlite:")
    return f"{unquote(urlsplit(url).path)[1:]}.tokens" if is_file else "refold.tokens"


def _read(path: Path) -> dict[str, Token]:
    advice = "; `refold tokens create NAME` makes it"
    text = read_private(path, what="list of tokens", advice=advice)
    try:
        found = [msgspec.json.decode(line, type=Token) for line in text.splitlines()]
    except msgspec.DecodeError as error:
        raise UsageError(f"{path} holds no tokens: {error}", path=str(path)) from error
    return {one.id: one for one in found}


@contextmanager
def _alone_at(path: Path) -> Iterator[None]:
    """Nobody else changes the file meanwhile; it is made where it is not there."""
    held = _held(path)
    try:
        yield
    finally:
        os.close(held)


def _held(path: Path) -> int:
    while True:
        try:
            held = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise UsageError(f"{path} cannot be written: {error.strerror}") from error
        fcntl.flock(held, fcntl.LOCK_EX)
        with suppress(FileNotFoundError):
            if os.fstat(held).st_ino == path.stat().st_ino:
                return held
        os.close(held)  # Another has put a new one in its place.
