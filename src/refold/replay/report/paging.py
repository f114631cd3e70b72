"""Long lists of a page: the first items stand there, the rest is packed until it is turned to.

What is packed is kept in a file until the page is written, so that a list of any length takes
little memory.
"""

from __future__ import annotations

import base64
import zlib
from tempfile import SpooledTemporaryFile
from typing import Any, Final, NamedTuple

from refold.replay.report.render import finished

IN_MEMORY_MAX: Final = 4 << 20
"""Bytes: a page of few conversations needs no file."""


class Pack:
    """Where what is packed of a page waits to be written; its end is :meth:`close`."""

    def __init__(self) -> None:
        self._file = SpooledTemporaryFile(max_size=IN_MEMORY_MAX)  # noqa: SIM115
        self.close = self._file.close

    def add(self, packed: bytes) -> tuple[int, int]:
        """Keep zlib (RFC 1950) as base64; where that stands, and how long it is."""
        text = base64.b64encode(packed)
        place = self._file.seek(0, 2)
        self._file.write(text)
        return place, len(text)

    def text(self, place: int, length: int) -> str:
        """What was kept at a place."""
        self._file.seek(place)
        return self._file.read(length).decode()


class PackedPage(NamedTuple):
    """A page of a list; ``names`` are the anchors in it, by spaces."""

    names: str
    pack: Pack
    place: tuple[int, int]

    @property
    def text(self) -> str:
        """What is packed."""
        return self.pack.text(*self.place)


class Paged:
    """A list in pages of ``size`` items: each is what a macro of the templates wrote."""

    def __init__(self, pack: Pack, size: int) -> None:
        self.size, self.count, self._pack = size, 0, pack
        self._first: list[str] = []
        self._names: list[str] = []
        self._packed: list[PackedPage] = []
        # Of a page that is not full yet; each item is packed as it comes, as it may be long.
        self._begun: list[bytes] = []
        self._zlib: Any = None

    def add(self, item: str, name: str = "") -> None:
        """One more item, and the anchor that leads to it."""
        self.count += 1
        if self.count <= self.size:
            self._first.append(item)
            return
        self._zlib = self._zlib or zlib.compressobj()
        self._begun.append(self._zlib.compress(finished(item).encode()))
        self._names += [name] if name else []
        if self.count % self.size == 0:
            self._end_page()

    @property
    def first(self) -> str:
        """The first page."""
        # Joined by one of them, so that it counts as escaped, as they do.
        return self._first[0][:0].join(self._first) if self._first else ""

    @property
    def packed(self) -> list[PackedPage]:
        """Every page after the first."""
        if self._begun:
            self._end_page()
        return self._packed

    def _end_page(self) -> None:
        place = self._pack.add(b"".join([*self._begun, self._zlib.flush()]))
        self._packed.append(PackedPage(" ".join(self._names), self._pack, place))
        self._begun, self._names, self._zlib = [], [], None
