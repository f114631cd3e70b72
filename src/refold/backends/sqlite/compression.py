"""Segments as zstd frames, with a dictionary a category, and back to rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache, lru_cache, partial, wraps
from importlib import import_module
from typing import Any, Final, ParamSpec, TypeVar
from weakref import proxy

import apsw

from refold.core.payload import EVENT_BYTES_MAX
from refold.core.stored import Row, Segment
from refold.errors import Corrupt, Unavailable

P = ParamSpec("P")
T = TypeVar("T")
_STORED: Final = (str, *[int] * 6, bytes, int | None, int)
"""What the values of a segment are, from the name of its stream on."""
LEVEL: Final = 9
"""Next to 3: a twentieth less room, a third more time to pack, and none to read."""
DICTIONARY_BYTES: Final = 64 * 1024
SAMPLE_BYTES_MIN: Final = 20 * DICTIONARY_BYTES
"""A category with less to pack than this gains less from a dictionary than it takes."""
DICTIONARIES_KEPT_MAX: Final = 64
"""In memory, about 100 KiB each; a compaction goes category by category."""
COMPRESSORS_KEPT_MAX: Final = 4
"""Some MiB each."""
PART_BYTES_MAX: Final = EVENT_BYTES_MAX + 256
"""What a segment says of one of its appends: its metadata, which have the bound of a payload, its
place and its times."""


class Frames:
    """Packs and unpacks. Any thread may unpack; only one at a time may pack."""

    def __init__(self, dictionary_bytes: Callable[[int], bytes]) -> None:
        self._dictionary_bytes = dictionary_bytes
        self._dictionary = lru_cache(DICTIONARIES_KEPT_MAX)(self._made_dictionary)
        self._compressor = lru_cache(COMPRESSORS_KEPT_MAX)(self._made_compressor)

    def packed(self, segment: Segment, dictionary: int | None) -> bytes:
        """The frame of a segment; it carries a checksum of what is in it."""
        compressor = self._compressor(dictionary)
        return bytes(compressor.compress(segment.text, compressor.FLUSH_FRAME))

    def unpacked(self, stream: str, *values: Any) -> Row:
        """The row of a stored segment; :class:`Corrupt` when its frame is damaged.

        ``values`` are its position, version, count, recorded_at, occurred_from, occurred_to, frame,
        dictionary and body_bytes, as they are stored. It takes no more memory than the row says
        that its events need: :class:`~refold.errors.Unavailable` where there is not so much.
        """
        position, version, count, recorded_at, first, last, frame, dictionary, body_bytes = values
        what = f"the packed segment at position {position} ({stream}@{version})"
        facts: dict[str, Any] = {"position": position, "stream": stream, "version": version}
        if not all(map(isinstance, (stream, *values), _STORED)):
            raise Corrupt(f"{what} is not as it was written; run `refold doctor`", **facts)
        try:
            text = self._text(frame, dictionary, body_bytes, count)
        except (zstd().ZstdError, ValueError) as error:
            reason = f"{what} cannot be unpacked: {error}; run `refold doctor`"
            raise Corrupt(reason, **facts) from error
        except MemoryError as error:
            raise Unavailable(f"there is no memory left to unpack {what}", **facts) from error
        body, parts = text[:body_bytes], text[body_bytes:]
        place = (position, stream, version, count, recorded_at)
        return Row(*place, None, body, first, last, packed_parts=parts)

    def _text(self, frame: bytes, dictionary: int | None, body_bytes: int, count: int) -> bytes:
        """What a frame holds: what it says of its size must be what its row says of it."""
        size = zstd().get_frame_info(frame).decompressed_size
        if size is None or not 0 <= body_bytes <= size <= body_bytes + count * PART_BYTES_MAX:
            says = "does not say how many bytes it holds" if size is None else f"says {size} bytes"
            raise ValueError(f"it {says}, where {body_bytes} are those of {count} events")
        decompressor = zstd().ZstdDecompressor(zstd_dict=self._dictionary(dictionary))
        # A byte more than there is: so it comes to the frame's end, and to its checksum.
        text = bytes(decompressor.decompress(frame, max_length=size + 1))
        if len(text) != size or not decompressor.eof or decompressor.unused_data:
            raise ValueError(f"it holds other than the {size} bytes that it says")
        return text

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
        why = f"the compression dictionary {dictionary} is missing; run `refold doctor`"
        raise Corrupt(why, dictionary=dictionary)
    return found


def frames_of(connection: apsw.Connection) -> Frames:
    """What packs and unpacks by the dictionaries that a connection sees, in its transaction too.

    It may stand in a function of the connection: so it does not keep that from being closed.
    """
    return Frames(partial(dictionary_bytes, proxy(connection)))


def read_again(read: Callable[P, T]) -> Callable[P, T]:
    """A read of packed appends, tried again where they were packed again under it.

    A dictionary may be given up after a segment was read that was packed with it.
    """

    @wraps(read)
    def reading(*arguments: P.args, **named: P.kwargs) -> T:
        try:
            return read(*arguments, **named)
        except Corrupt as error:
            if "dictionary" not in error.facts:
                raise
        return read(*arguments, **named)

    return reading
