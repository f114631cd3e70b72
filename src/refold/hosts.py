"""What addresses say: one service under one name, and by which names a server is asked for."""

from __future__ import annotations

import re
from contextlib import suppress
from typing import Final
from urllib.parse import urljoin, urlsplit, urlunsplit

LOOPBACK: Final = ("localhost", "127.0.0.1", "::1")
"""The names by which this machine calls itself."""
PORTS: Final = {"https": 443, "http": 80, "socks5": 1080, "socks5h": 1080}
"""The ports of schemes where an address names none."""
_NEVER: Final = frozenset("@/?#\\")
"""What stands in addresses, and in no Host header."""
_ESCAPED: Final = re.compile("%[0-9a-fA-F]{2}")
_UNRESERVED: Final = re.compile(r"[\w.~-]", re.ASCII)


def normal_url(url: str) -> str:
    """A URL as all that are equivalent to it are written: RFC 3986, 6.2.2 and 6.2.3.

    Scheme and host in lower case, the host in ASCII (RFC 3490); no port where it is the scheme's;
    no dot segments; octets escaped only where they must be; ``/`` at the end, or alone as the path,
    says nothing, as a base URL may have it or not. What is no URL comes back as it is.
    """
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        return url
    if not host:
        return url
    user, at, _ = parts.netloc.rpartition("@")
    shown = f"[{host}]" if ":" in host else normal_host(host)
    netloc = f"{user}{at}{shown}" + (
        f":{port}" if port not in (None, PORTS.get(parts.scheme)) else ""
    )
    path, query = (_ESCAPED.sub(_least_escaped, one) for one in (parts.path, parts.query))
    path = urlsplit(urljoin("http://-/", path)).path if "/." in path else path
    return urlunsplit((parts.scheme, netloc, path.rstrip("/"), query, parts.fragment))


def normal_host(host: str) -> str:
    """A host's name as it is looked up: in lower case, and in ASCII."""
    with suppress(UnicodeError):  # No name has it; whoever looks it up says so.
        return host.lower() if host.isascii() else host.encode("idna").decode().lower()
    return host


def _least_escaped(found: re.Match[str]) -> str:
    char = chr(int(found[0][1:], 16))
    return char if _UNRESERVED.fullmatch(char) else found[0].upper()


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
