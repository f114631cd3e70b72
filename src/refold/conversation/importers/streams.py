"""Names of imported streams."""

from __future__ import annotations

from refold.core.event import check_name
from refold.errors import InvalidEvent


def stream_name(category: str, rest: str) -> str:
    """``<category>-<rest>``, refused where it would name a branch or cannot be a name."""
    stream = f"{category}-{rest}"
    check_name(stream, what="a stream name")
    if "~" in stream:
        raise InvalidEvent(f"{stream!r} cannot name an imported stream: ~ names a branch")
    return stream
