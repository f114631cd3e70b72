"""What each writer meant to do and was told, outside of the log: lines on disk before and after.

Times are of the machine's monotonic clock, which all processes share: what one was told before
another began came before that.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic_ns
from typing import Any, NamedTuple

Part = tuple[str, int]
"""A stream, and how many events go to it."""


class Place(NamedTuple):
    """Where a part of an append ends, by the word of the store."""

    stream: str
    version: int
    position: int
    events: int


@dataclass
class Deed:
    """One append as its writer knows it.

    ``op`` names it, and stands in the metadata of its events. ``places`` is None until it was told;
    ``refused`` says with which code it was.
    ``is_doubtful``: it was told at least once that the outcome is not known.
    """

    op: str
    parts: list[Part]
    began_ns: int
    told_ns: int = 0
    places: list[Place] | None = None
    answers_again: list[list[Place]] = field(default_factory=list)
    refused: str = ""
    is_doubtful: bool = False


class Journal:
    """A file that outlives whoever writes to it; threads may share it."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)

    def begin(self, op: str, parts: Sequence[Part]) -> None:
        """Before a call."""
        self.note("begin", op, monotonic_ns(), parts)

    def told(self, op: str, places: Iterable[Place]) -> None:
        """After a call that was acknowledged."""
        self.note("told", op, monotonic_ns(), list(places))

    def refused(self, op: str, code: str) -> None:
        """After a call that came to nothing."""
        self.note("refused", op, monotonic_ns(), code)

    def unknown(self, op: str) -> None:
        """After a call of which nobody knows what it came to."""
        self.note("unknown", op, monotonic_ns())

    def note(self, *line: Any) -> None:
        """One line, on the disk when this returns."""
        os.write(self._file, json.dumps(line).encode() + b"\n")
        os.fdatasync(self._file)


def deeds_in(paths: Iterable[Path]) -> dict[str, Deed]:
    """All deeds of some journals, by name; a last line that was cut off says nothing."""
    found: dict[str, Deed] = {}
    for path in paths:
        *lines, _ = path.read_bytes().split(b"\n")
        for line in lines:
            what, op, at_ns, *said = json.loads(line)
            _noted(found, what, op, at_ns, *said)
    return found


def _noted(found: dict[str, Deed], what: str, op: str, at_ns: int, said: Any = None) -> None:
    match what:
        case "begin":
            found[op] = Deed(op, [(stream, count) for stream, count in said], at_ns)
        case "told":
            places = [Place(*one) for one in said]
            if found[op].places is None:
                found[op].places, found[op].told_ns = places, at_ns
            else:
                found[op].answers_again.append(places)
        case "refused":
            found[op].refused = said
        case "unknown":
            found[op].is_doubtful = True
        case _:
            raise AssertionError(f"a journal says {what!r}")
