"""Whose personal values an event holds."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

import msgspec

from refold.errors import InvalidEvent, shown
from refold.ports import Backend, Fork, Write

NAME: Final = "subject"
"""Of the metadata: whom an event, or all of its append, is about."""
_QUOTED: Final = b'"subject"'
_ROOTS_MAX: Final = 10_000
_decode: Final = msgspec.json.decode


class Subjects:
    """Tells subjects: what the metadata names, else ``named`` of the stream, or its own name.

    A branch is about whom its root is about.
    """

    def __init__(self, log: Backend, named: Callable[[str], str] | None) -> None:
        self._log, self._named = log, named
        self._roots: dict[str, str] = {}

    def of(self, write: Write, forks: Mapping[str, Fork]) -> Callable[[bytes], str]:
        """Whom an event of a write is about, by its metadata.

        ``forks`` are those of branches that are made with it.
        """
        shared = _named_in(write.metadata.encode() if write.metadata else b"", write.stream)
        usual = shared or self.of_stream(write.stream, forks)

        def subject_of(metadata: bytes) -> str:
            return _named_in(metadata, write.stream) or usual

        return subject_of

    def of_stream(self, stream: str, forks: Mapping[str, Fork] = {}) -> str:
        """Whom a stream is about, where nothing else is said."""
        root = self._root(stream, forks)
        return root if self._named is None else self._named(root)

    def _root(self, stream: str, forks: Mapping[str, Fork]) -> str:
        name = stream
        while "~" in name and name not in self._roots:
            fork = forks.get(name)
            if fork is None:
                info = self._log.head(name)
                fork = None if info is None else info.fork
            if fork is None:
                break
            name = fork.parent
        root = self._roots.get(name, name)
        if name != stream and not forks:  # What is just being made may come to nothing.
            if len(self._roots) >= _ROOTS_MAX:
                self._roots.clear()
            self._roots[stream] = root
        return root


def forks_of(writes: Sequence[Write]) -> dict[str, Fork]:
    """Where the branches that are made by some writes begin."""
    return {write.stream: write.fork for write in writes if write.fork is not None}


def _named_in(metadata: bytes, stream: str) -> str | None:
    """The subject that metadata names, if any; refused where it is no text."""
    if _QUOTED not in metadata:
        return None
    subject = _decode(metadata).get(NAME)
    if subject is None or (isinstance(subject, str) and subject):
        return subject
    raise InvalidEvent(
        f"the metadata of an event for {stream!r} names {shown(subject)} as its subject: give text",
        path=f"/{NAME}",
    )
