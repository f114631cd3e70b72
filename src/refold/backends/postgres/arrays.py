"""Columns as PostgreSQL's binary arrays, made in one go.

psycopg looks at every element of a list for what it is; of a column that is known beforehand.
The form: https://www.postgresql.org/docs/current/protocol-message-formats.html sends a value as
its length and its bytes, and ``array_send`` an array as head, then each element in that way.
"""

from __future__ import annotations

from collections.abc import Sequence
from struct import Struct
from typing import Any, Final

from psycopg.adapt import Dumper
from psycopg.pq import Format

_head: Final = Struct(">5i").pack
"""One dimension; whether elements are NULL; their type; how many; the number of the first."""
_length: Final = Struct(">i").pack
_long: Final = Struct(">iq").pack
_NULL: Final = _length(-1)


class Texts(list[str | None]):
    """A column of ``text``."""


class Numbers(list[int | None]):
    """A column of ``bigint``."""


class Blobs(list[bytes | None]):
    """A column of ``bytea``."""


class BlobsDumper(Dumper):
    """Of :class:`Blobs`."""

    format, oid, element_oid = Format.BINARY, 1001, 17

    def dump(self, obj: list[Any]) -> bytes:
        """The bytes of an array; None is NULL. Put together once: they may be a megabyte."""
        parts = [_head(1, None in obj, self.element_oid, len(obj), 1)]
        for value in obj:
            parts += (_NULL,) if value is None else self.sent(value)
        return b"".join(parts)

    def sent(self, value: Any) -> Sequence[bytes]:
        """The length and the bytes of an element."""
        return _length(len(value)), value


class TextsDumper(BlobsDumper):
    """Of :class:`Texts`."""

    oid, element_oid = 1009, 25

    def sent(self, value: str) -> Sequence[bytes]:
        """The length and the bytes of an element."""
        data = value.encode()
        return _length(len(data)), data


class NumbersDumper(BlobsDumper):
    """Of :class:`Numbers`."""

    oid, element_oid = 1016, 20

    def sent(self, value: int) -> Sequence[bytes]:
        """The length and the bytes of an element."""
        return (_long(8, value),)


DUMPERS: Final = ((Texts, TextsDumper), (Numbers, NumbersDumper), (Blobs, BlobsDumper))
