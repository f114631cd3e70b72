"""The first values of an input, decoded, however early it is cut: what its format is known by."""

from __future__ import annotations

import json
import re
from typing import Any, Final, Literal

VALUES_MAX: Final = 50
"""How many lines or elements are looked at."""

Layout = Literal["lines", "array", "one"]

# A string that does not end goes on to the end of the text.
_TOKEN: Final = re.compile(r'"(?:[^"\\]|\\.)*(?:"|\\?\Z)|[\[\]{},]', re.DOTALL)
_CLOSES: Final = {"{": "}", "[": "]"}
# As lenient as can be: what is wrong with a value, its reader says.
_DECODE: Final = json.JSONDecoder(parse_int=float, strict=False).raw_decode


def first_values(head: bytes, layout: Layout) -> list[Any]:
    """The first lines, the first elements, or the one document in the start of an input.

    A list that is all there is gives its elements.

    What is cut or broken is left out, or closed where it stops. Nothing for what is no JSON.
    """
    text = head.decode(errors="replace")
    if layout == "lines":
        lines = [line for line in text.split("\n", VALUES_MAX)[:VALUES_MAX] if line.strip()]
        values = [value for line in lines for value in _decoded(line)]
    else:
        values = _decoded(text)
    is_list = len(values) == 1 and isinstance(values[0], list)
    return values[0][:VALUES_MAX] if is_list else values


def value_span(head: bytes) -> tuple[int, int] | None:
    """How many lines the first value of a text goes over, and the size of what follows it.

    None where the text ends before it, or where it is broken.
    """
    text = head.decode(errors="replace")
    try:
        end = _DECODE(text)[1]
    except (ValueError, RecursionError):
        return None
    return text.count("\n", 0, end) + 1, len(text[end:].strip())


def _decoded(text: str) -> list[Any]:
    """The value that a text begins with, in a list; none where it is no object and no array."""
    for _ in range(2):
        try:
            value, _ = _DECODE(text.lstrip())
        except json.JSONDecodeError as broken:
            text = _closed(text.lstrip()[: broken.pos])
        except (ValueError, RecursionError):
            return []
        else:
            return [value] if isinstance(value, dict | list) else []
    return []


def _closed(text: str) -> str:
    """JSON that is cut, up to its last comma, with what it leaves open closed."""
    is_open: list[str] = []
    cut = ""
    end = 0
    for found in _TOKEN.finditer(text):
        match found[0]:
            case "{" | "[":
                is_open.append(_CLOSES[found[0]])
            case "}" | "]":
                del is_open[-1:]
            case ",":
                end, cut = found.start(), "".join(reversed(is_open))
    return text[:end] + cut
