"""A place to listen at."""

from __future__ import annotations

import socket

from refold.errors import UsageError


def listening(host: str, port: int) -> socket.socket:
    """A socket that listens; :class:`UsageError` where it cannot."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # By its protocol asyncio knows where not to wait for more before it sends (TCP_NODELAY).
    made = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        made.bind((host, port))
        made.listen(1_024)
    except OSError as error:
        made.close()
        why = f"{host}:{port} cannot be listened on ({error.strerror}): give another --port"
        raise UsageError(why, port=port) from error
    return made
