"""Where values stand in JSON text: their bytes, and their JSON Pointers (RFC 6901).

Text is changed in place and never encoded again: everything around a value stays to the byte.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Final, NamedTuple

import msgspec

_TOKEN: Final = re.compile(rb'"(?:[^"\\]|\\.)*"|[\[\]{}]|[^\s\[\]{},:"]+', re.DOTALL)
_decode_key: Final = msgspec.json.Decoder(str).decode
Path = tuple[str, ...]
"""The steps to a value: names of members, and numbers of elements as text."""


class TextSpan(NamedTuple):
    """A value in a text: the way to it, and where it begins and ends."""

    path: Path
    start: int
    end: int

    @property
    def pointer(self) -> bytes:
        """Its JSON Pointer, in UTF-8."""
        return pointer_of(self.path)


@lru_cache(maxsize=4096)
def pointer_of(path: Path) -> bytes:
    """The JSON Pointer of a way, in UTF-8."""
    return "".join(f"/{step.replace('~', '~0').replace('/', '~1')}" for step in path).encode()


def spans(text: bytes, is_wanted: Callable[[Path, int], bool]) -> list[TextSpan]:
    """The values in JSON text that are wanted, in order; none of them within another.

    ``is_wanted`` is asked of every value, by the way to it and where it begins. Of a wanted value
    nothing inside is wanted too.
    """
    found: list[TextSpan] = []
    tokens = _TOKEN.finditer(text)
    _pass(tokens, next(tokens), (), is_wanted, found)
    return found


def with_replaced(text: bytes, places: list[tuple[TextSpan, bytes]]) -> bytes:
    """A text with other bytes in the place of some of its values, given in order."""
    pieces, end = [], 0
    for span, other in places:
        pieces += [text[end : span.start], other]
        end = span.end
    return b"".join([*pieces, text[end:]])


def _pass(
    tokens: Iterator[re.Match[bytes]],
    token: re.Match[bytes],
    path: Path,
    is_wanted: Callable[[Path, int], bool],
    found: list[TextSpan],
) -> int:
    """Go over the value that begins with a token; where it ends."""
    before, start, end = len(found), token.start(), token.end()
    wanted = is_wanted(path, start)
    sign = token[0]
    if sign == b"{":
        for token in tokens:
            if token[0] == b"}":
                break
            _pass(tokens, next(tokens), (*path, _decode_key(token[0])), is_wanted, found)
        end = token.end()
    elif sign == b"[":
        for number, token in enumerate(tokens):
            if token[0] == b"]":
                break
            _pass(tokens, token, (*path, str(number)), is_wanted, found)
        end = token.end()
    if wanted:
        found[before:] = [TextSpan(path, start, end)]
    return end
