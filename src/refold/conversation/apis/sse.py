"""Server-sent events, as streamed answers come: bytes in any chunks to events.

The format is that of WHATWG HTML, 9.2.6 "Interpreting an event stream"
(https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation).
"""

from __future__ import annotations

import codecs
import io
from collections.abc import Iterable, Iterator
from typing import NamedTuple


class Frame(NamedTuple):
    """One event of a stream: its type ("" where it names none) and its data."""

    event: str
    data: str


class SseParser:
    """Reads an event stream as it comes; what is no UTF-8 becomes U+FFFD.

    A frame is given when the blank line behind it has come; :meth:`end` gives the one that the
    stream ended in, as some servers leave out the blank line behind the last. It may be half a
    frame.
    """

    def __init__(self) -> None:
        # Whatever ends a line is \n behind it, and a byte order mark at the start is left out.
        without_mark = codecs.getincrementaldecoder("utf-8-sig")("replace")
        self._decode = io.IncrementalNewlineDecoder(without_mark, translate=True).decode
        self._rest: list[str] = []
        self._event, self._data = "", list[str]()

    def feed(self, chunk: bytes) -> list[Frame]:
        """The frames that these bytes complete."""
        return list(self._frames(self._lines(self._decode(chunk))))

    def end(self) -> list[Frame]:
        """The frame that the stream ended in, if any."""
        return list(self._frames(self._lines(self._decode(b"", final=True) + "\n\n")))

    def _lines(self, text: str) -> Iterator[str]:
        *lines, rest = text.split("\n")
        for line in lines:
            yield "".join((*self._rest, line))
            self._rest.clear()
        self._rest.append(rest)

    def _frames(self, lines: Iterable[str]) -> Iterator[Frame]:
        for line in lines:
            if not line:
                if self._data:
                    yield Frame(self._event, "\n".join(self._data))
                self._event, self._data = "", []
                continue
            field, _, value = line.partition(":")
            value = value.removeprefix(" ")
            if field == "data":
                self._data.append(value)
            elif field == "event":
                self._event = value


def frames_of(chunks: Iterable[bytes]) -> list[Frame]:
    """The frames of a stream of which all that will come is there."""
    parser = SseParser()
    return [frame for chunk in chunks for frame in parser.feed(chunk)] + parser.end()
