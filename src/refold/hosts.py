"""By which names a server is asked for: a page elsewhere may let a name of its own lead here."""

from __future__ import annotations

from typing import Final
from urllib.parse import urlsplit

LOOPBACK: Final = ("localhost", "127.0.0.1", "::1")
"""The names by which this machine calls itself."""
_NEVER: Final = frozenset("@/?#\\")
"""What stands in addresses, and in no Host header."""


def name_of(host: str) -> str | None:
    """The name in a Host header, without its port; None for what is none."""
    if _NEVER.intersection(host):
        return None
    try:
        return urlsplit(f"//{host}").hostname
    except ValueError:
        return None


def is_origin_of(origin: str, host: str) -> bool:
    """Whether an Origin header (RFC 6454) is of a page that was had from a host.

    The scheme is not compared: a proxy may have taken the encryption off.
    """
    try:
        parts = urlsplit(origin)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and parts.netloc.lower() == host.lower()
