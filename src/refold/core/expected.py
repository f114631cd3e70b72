"""What an append expects the stream to be at."""

from __future__ import annotations

from enum import Enum
from typing import Final

from refold.errors import Conflict, UsageError, shown

NO_EVENTS: Final = -1
"""The version of a stream that does not exist."""


class Expectation(Enum):
    """The three expectations that are not an exact version."""

    ANY = "any"
    NO_STREAM = "no stream"
    STREAM_EXISTS = "stream exists"

    def __str__(self) -> str:
        return self.value


ANY: Final = Expectation.ANY
NO_STREAM: Final = Expectation.NO_STREAM
STREAM_EXISTS: Final = Expectation.STREAM_EXISTS

Expected = Expectation | int


def check_expected(expected: Expected) -> None:
    """Refuse an expected version that no stream can have."""
    if expected.__class__ is Expectation:
        return
    if isinstance(expected, bool) or not isinstance(expected, int) or expected < 0:
        raise UsageError(
            f"expected={shown(expected)} is not ANY, NO_STREAM, STREAM_EXISTS or a version from 0",
            expected=expected,
        )


def check_head(*, stream: str, expected: Expected, head: int) -> None:
    """Raise :class:`Conflict` unless ``head`` (the last version, -1 for none) is as expected."""
    met: dict[Expected, bool]
    met = {ANY: True, NO_STREAM: head == NO_EVENTS, STREAM_EXISTS: head > NO_EVENTS}
    if not met.get(expected, head == expected):
        advice = "read again and decide again"
        if expected is NO_STREAM:
            advice = "it exists already: give another name, or " + advice
        raise Conflict(stream=stream, expected=expected, actual=head, advice=advice)
