"""Segments as zstd frames, with a dictionary a category, and back to rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from importlib import import_module
from typing import Any, Final

import apsw

from refold.core.stored import Row, Segment
from refold.errors import Corrupt

LEVEL: Final = 9
"""Next to 3: a twentieth less room, a third more time to pack, and none to read."""
DICTIONARY_BYTES: Final = 64 * 1024
SAMPLE_BYTES_MIN: Final = 20 * DICTIONARY_BYTES
"""A category with less to pack than this gains less from a dictionary than it takes."""


class Frames:
    """Packs and unpacks. Any thread may unpack; only one at a time may pack."""

    def __init__(self, dictionary_bytes: Callable[[int], bytes]) -> None:
        self._dictionary_bytes = dictionary_bytes
        self._dictionary = cache(self._made_dictionary)
        self._compressor = cache(self._made_compressor)

    def packed(self, segment: Segment, dictionary: int | None) -> bytes:
        """The frame of a segment; it carries a checksum of what is in it."""
        compressor = self._compressor(dictionary)
        return bytes(compressor.compress(segment.text, compressor.FLUSH_FRAME))

    def unpacked(
        self,
        stream: str,
        position: int,
        version: int,
        count: int,
        recorded_at: int,
        occurred_from: int,
        occurred_to: int,
        frame: bytes,
        dictionary: int | None,
        body_bytes: int,
    ) -> Row:
        """The row of a stored segment; :class:`Corrupt` when its frame is damaged."""
        try:
            text = zstd().decompress(frame, zstd_dict=self._dictionary(dictionary))
        except zstd().ZstdError as error:
            raise Corrupt(
                f"the packed segment at position {position} ({stream}@{version}) cannot be "
                f"unpacked: {error}; run `refold doctor`",
                position=position,
                stream=stream,
            ) from error
        body, parts = text[:body_bytes], text[body_bytes:]
        place = (position, stream, version, count, recorded_at)
        return Row(*place, None, body, occurred_from, occurred_to, parts)

    def _made_dictionary(self, number: int | None) -> Any:
        return None if number is None else zstd().ZstdDict(self._dictionary_bytes(number))

    def _made_compressor(self, dictionary: int | None) -> Any:
        parameter = zstd().CompressionParameter
        options = {
            parameter.compression_level: LEVEL,
            parameter.checksum_flag: 1,
            parameter.dict_id_flag: 0,
        }
        return zstd().ZstdCompressor(options=options, zstd_dict=self._dictionary(dictionary))


@cache
def zstd() -> Any:
    """The standard library's zstd where Python has it, else its backport; imported when needed."""
    try:
        return import_module("compression.zstd")
    except ImportError:
        return import_module("backports.zstd")


def trained(samples: Sequence[bytes]) -> bytes | None:
    """A dictionary for texts like these; None where they are too few to make a good one."""
    if sum(map(len, samples)) < SAMPLE_BYTES_MIN:
        return None
    try:
        return bytes(zstd().train_dict(list(samples), DICTIONARY_BYTES).dict_content)
    except zstd().ZstdError:
        return None  # Too alike, or too few, for the trainer.


def dictionary_bytes(connection: apsw.Connection, dictionary: int) -> bytes:
    """A stored dictionary."""
    found = connection.execute("SELECT bytes FROM dictionaries WHERE id = ?", (dictionary,)).get
    if not isinstance(found, bytes):
        raise Corrupt(f"the compression dictionary {dictionary} is missing; run `refold doctor`")
    return found
