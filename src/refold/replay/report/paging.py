"""Long lists of a page: the first items stand there, the rest is packed until it is turned to."""

from __future__ import annotations

import base64
import zlib
from typing import NamedTuple

from refold.replay.report.render import finished


class PackedPage(NamedTuple):
    """A page of a list: zlib (RFC 1950) in base64; ``names`` are the anchors in it, by spaces."""

    names: str
    text: str


class Paged:
    """A list in pages of ``size`` items: each is what a macro of the templates wrote."""

    def __init__(self, size: int) -> None:
        self.size, self.count = size, 0
        self._first: list[str] = []
        self._rest: list[str] = []
        self._names: list[str] = []
        self._packed: list[PackedPage] = []

    def add(self, item: str, name: str = "") -> None:
        """One more item, and the anchor that leads to it."""
        self.count += 1
        if self.count <= self.size:
            self._first.append(item)
            return
        self._rest.append(item)
        self._names += [name] if name else []
        if len(self._rest) == self.size:
            self._packed.append(self._pack())
            self._rest, self._names = [], []

    @property
    def first(self) -> str:
        """The first page."""
        # Joined by one of them, so that it counts as escaped, as they do.
        return self._first[0][:0].join(self._first) if self._first else ""

    @property
    def packed(self) -> list[PackedPage]:
        """Every page after the first."""
        return [*self._packed, self._pack()] if self._rest else self._packed

    def _pack(self) -> PackedPage:
        text = zlib.compress(finished("".join(self._rest)).encode())
        return PackedPage(" ".join(self._names), base64.b64encode(text).decode())
