"""Secrets that go with a request, and how they are kept out of what is said of it."""

from __future__ import annotations

import json
import logging
import re
from base64 import b64decode
from collections.abc import Iterable
from contextlib import suppress
from contextvars import ContextVar
from typing import Final
from urllib.parse import quote, unquote

SECRET_CHARS_MIN: Final = 6
_SECRET: Final = re.compile(
    r"auth|cookie|token|secret|passw|credential|session|sign|(?<!idempotency-)(?<!idempotency_)key",
    re.IGNORECASE,
)
"""Names of headers and parameters whose values are secrets."""
_USER: Final = re.compile(r"(?<=:/)([^:\s]*):\S*@")
"""To the last @: a password may hold what a URL must write otherwise. A path has one / there."""
_PASSWORD: Final = re.compile(r"(\w*passw\w*\s*=\s*)('[^']*'|[^\s'\"&]+)", re.IGNORECASE)
_ESCAPE: Final = re.compile(rb"\\(?:u00([2-7][0-9a-f])|.)", re.IGNORECASE | re.DOTALL)
_SCHEMES: Final = ("bearer", "basic", "digest")
_LOGGERS: Final = ("httpx2", *(f"httpcore2.{part}" for part in ("connection", "http11", "proxy")))
_OF_KEYS: Final = ("key", "keys", "apikey", "token", "tokens", "secret", "password", "sk")
"""Words by which a segment of a path says that it, or the next one, is a key."""
_NEXT: Final = re.compile(rf"(?:(?:api|access)[-_]?)?(?:{'|'.join(_OF_KEYS)})")
_UNBROKEN: Final = re.compile(r"(?=[A-Za-z]*\d)[A-Za-z\d]{10,}|[A-Za-z]{24,}")
"""Ten letters and digits without a break, as no name of a model, version or date has them."""
SENDING: Final = ContextVar("refold.secrecy.sending", default=False)
"""Whether a request of ours is under way in this task."""


def of(named: Iterable[tuple[str, str]]) -> list[str]:
    """The secrets among named values, such as headers, in all their forms."""
    return forms(value for name, value in named if is_secret(name))


def is_secret(name: str) -> bool:
    """Whether a header or parameter of this name holds a secret."""
    return _SECRET.search(name) is not None


def without_password(text: str) -> str:
    """The address of a store, or a text that names one, as it may be shown."""
    return _PASSWORD.sub(r"\1***", _USER.sub(r"\1@", text))


def keys_in(path: str) -> list[str]:
    """The segments of a URL's path that are likely keys, as they are written there.

    A segment is one that says so (``sk-…``, ``my-token``), that comes behind a word which does
    (``/key/…``), or that has ten letters and digits, or 24 letters, without a break.
    """
    found: list[str] = []
    is_next = False
    for segment in path.split("/"):
        said = unquote(segment).lower()
        names_next = _NEXT.fullmatch(said) is not None
        is_named = not names_next and any(word in _OF_KEYS for word in re.split("[^a-z]+", said))
        if segment and (is_next or is_named or _UNBROKEN.search(said)):
            found.append(segment)
        is_next = names_next
    return found


def without_keys(address: str) -> str:
    """The address of a service, without a query, with ``[removed]`` for likely keys in its path."""
    service, slash, path = address.partition("://")[2].partition("/")
    keys = keys_in(path)
    kept = ["[removed]" if segment in keys else segment for segment in path.split("/")]
    return address.removesuffix(f"{service}{slash}{path}") + service + slash + "/".join(kept)


def without(content: bytes, secrets: Iterable[str], *, mark: bytes = b"[secret]") -> bytes:
    """What a service said, with a mark in place of what it repeats of what is secret."""
    words = [secret.encode() for secret in secrets]
    read = _ESCAPE.sub(_read, content) if b"\\u00" in content else content
    if any(word in read for word in words):
        content = read
    for word in words:
        content = content.replace(word, mark)
    return content


def _read(escape: re.Match[bytes]) -> bytes:
    """The character of an escape of JSON that needs none; any other as it is."""
    char = chr(int(escape[1] or b"22", 16)).encode()
    return escape[0] if char in b'"\\' else char


def forms(values: Iterable[str]) -> list[str]:
    """The long words of values, also as JSON, URLs and ``Basic`` write them; the longest first."""
    words: set[str] = set()
    for value in values:
        said = {value.strip(), *value.split(), *re.split("[\\s;,=]+", value)}
        is_basic = value[:6].lower() == "basic "
        words |= said.union(*(_unpacked(one) for one in said if is_basic or one.endswith("=")))
    long = [one for one in words if len(one) >= SECRET_CHARS_MIN and one.lower() not in _SCHEMES]
    forms = {form for one in long for form in _written(one)}
    return sorted(forms, key=len, reverse=True)


def _unpacked(word: str) -> set[str]:
    """What a word of ``Basic`` says, whole and as user and password; nothing of another word."""
    with suppress(ValueError):
        both = b64decode(word, validate=True).decode()
        return {both, *both.split(":", 1)}
    return set()


def _written(word: str) -> set[str]:
    """A word as it is, and as texts, JSON and URLs write it."""
    quoted = {json.dumps(word, ensure_ascii=is_ascii)[1:-1] for is_ascii in (True, False)}
    plain = {word, *quoted, quote(word, safe=""), quote(word)}
    return plain | {one.replace("/", r"\/") for one in plain}


def keep_out_of_logs() -> None:
    """Silence the HTTP library's loggers for our requests: they name parameters and answers."""
    for name in _LOGGERS:
        logging.getLogger(name).addFilter(_is_not_ours)


def _is_not_ours(_record: logging.LogRecord) -> bool:
    return not SENDING.get()
