"""JSON text as values, to the last digit: what the commands read and print."""

from __future__ import annotations

from typing import Final

import msgspec

from refold.core.jsonvalue import read

__all__ = ["exact", "read"]

_encode: Final = msgspec.json.Encoder(decimal_format="number").encode


def exact(value: object) -> msgspec.Raw:
    """A value that was read as JSON as its text, with each number as it was read.

    It may stand in a payload, metadata, or anything else that is encoded.
    """
    return msgspec.Raw(_encode(value))
