"""Segments as zstd frames, with a dictionary a category, and back to rows."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any, Final

import apsw

from refold.core.row import Row
from refold.core.segment import Segment
from refold.errors import Corrupt

LEVEL: Final = 3
DICTIONARY_BYTES: Final = 64 * 1024
SAMPLE_BYTES_MIN: Final = 20 * DICTIONARY_BYTES
"""A category with less to pack than this gains less from a dictionary than it takes."""
FRAME_BYTES_MAX: Final = 1 << 30


class Frames:
    """Packs and unpacks; dictionaries are read once a thread."""

    def __init__(self, dictionary_bytes: Callable[[int], bytes]) -> None:
        self._dictionary_bytes = dictionary_bytes
        self._local = threading.local()

    def packed(self, segment: Segment, dictionary: int | None) -> bytes:
        """The frame of a segment; it carries a checksum of what is in it."""
        return bytes(self._coder("compressors", dictionary).compress(segment.text))

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
        import zstandard

        try:
            text = self._coder("expanders", dictionary).decompress(
                frame, max_output_size=FRAME_BYTES_MAX
            )
        except zstandard.ZstdError as error:
            raise Corrupt(
                f"the packed segment at position {position} ({stream}@{version}) cannot be "
                f"unpacked: {error}; run `refold doctor`",
                position=position,
                stream=stream,
            ) from error
        body, parts = text[:body_bytes], text[body_bytes:]
        return Row(
            position,
            stream,
            version,
            count,
            recorded_at,
            None,
            body,
            occurred_from,
            occurred_to,
            parts,
        )

    def _coder(self, kind: str, dictionary: int | None) -> Any:
        coders = self._local.__dict__.setdefault(kind, {})
        if dictionary not in coders:
            coders[dictionary] = self._made(kind, dictionary)
        return coders[dictionary]

    def _made(self, kind: str, dictionary: int | None) -> Any:
        import zstandard

        options: dict[str, Any] = {}
        if dictionary is not None:
            data = self._dictionary_bytes(dictionary)
            options["dict_data"] = zstandard.ZstdCompressionDict(data)
        if kind == "expanders":
            return zstandard.ZstdDecompressor(**options)
        return zstandard.ZstdCompressor(
            level=LEVEL, write_checksum=True, write_dict_id=False, **options
        )


def trained(samples: Sequence[bytes]) -> bytes | None:
    """A dictionary for texts like these; None where they are too few to make a good one."""
    import zstandard

    if sum(map(len, samples)) < SAMPLE_BYTES_MIN:
        return None
    try:
        return bytes(zstandard.train_dictionary(DICTIONARY_BYTES, list(samples)).as_bytes())
    except zstandard.ZstdError:
        return None  # Too alike, or too few, for the trainer.


def dictionary_bytes(connection: apsw.Connection, dictionary: int) -> bytes:
    """A stored dictionary."""
    found = connection.execute("SELECT bytes FROM dictionaries WHERE id = ?", (dictionary,)).get
    if not isinstance(found, bytes):
        raise Corrupt(f"the compression dictionary {dictionary} is missing; run `refold doctor`")
    return found
