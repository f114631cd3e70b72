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
from urllib.parse import quote

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
