"""What a loss of power can leave of the files that a :class:`~tests.faults.disk.Disk` has noted.

What was synced is there. Of what was written since, a disk may keep everything, nothing, or any
part, in any order: a write is kept or lost by sectors of 512 bytes, and nothing beside them is
touched (what SQLite calls powersafe overwrite). A folder keeps its changes in order; they are safe
once a file made by one of them has been synced, or a deletion that syncs the folder.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Final, Literal

from tests.faults.disk import Operation

SECTOR_BYTES: Final = 512
Kept = Literal["synced", "all", "torn", "some"]
"""What is kept of unsynced writes: nothing; all; all but an end of the last one; any sectors."""

Image = dict[str, bytes]
"""Files by the path that they were opened under, with what is in them."""


@dataclass
class _File:
    """What is safe in a file, and what has been done to it since."""

    safe: bytearray = field(default_factory=bytearray)
    waiting: list[Operation] = field(default_factory=list)


class PowerLoss:
    """Follows the operations of a disk from its beginning; :meth:`image` is a crash now."""

    def __init__(self) -> None:
        self._files: dict[str, _File] = {}
        self._safe: dict[str, _File] = {}
        self._waiting: list[tuple[str, _File | None]] = []
        self._last: Operation | None = None

    def follow(self, operation: Operation, *, done: bool = True) -> None:
        """Take one operation more. A sync that is not ``done`` has lost what it was to make safe.

        That is what Linux does after a failed sync: it takes the pages for written.
        """
        kind, name, *_ = operation
        if kind == "open" and operation.label and name and name not in self._files:
            self._files[name] = _File()
            self._waiting.append((name, self._files[name]))
        elif kind in ("write", "truncate") and name in self._files:
            self._files[name].waiting.append(operation)
            self._last = operation
        elif kind == "sync" and name in self._files:
            self._sync(name, done=done)
        elif kind == "delete" and name in self._files:
            del self._files[name]
            self._waiting.append((name, None))
            if operation.label:
                self._sync_folder()

    def image(self, kept: Kept, random: Random) -> Image:
        """The files after a loss of power at this moment."""
        entries = dict(self._safe)
        changes = len(self._waiting)
        if kept == "synced":
            changes = 0
        elif kept == "some":
            changes = random.randint(0, changes)
        for name, file in self._waiting[:changes]:
            _enter(entries, name, file)
        keep = _KEEPERS[kept]
        return {
            name: _content(
                file, (part for o in file.waiting for part in keep(o, self._last, random))
            )
            for name, file in entries.items()
        }

    def _sync(self, name: str, *, done: bool) -> None:
        file = self._files[name]
        if done:
            file.safe = bytearray(_content(file, file.waiting))
        file.waiting = []
        if done and any(made is file for _, made in self._waiting):
            self._sync_folder()

    def _sync_folder(self) -> None:
        for name, file in self._waiting:
            _enter(self._safe, name, file)
        self._waiting = []


def restore(image: Image, folder: Path) -> None:
    """Put the files of an image into a folder, under their own names."""
    for name, content in image.items():
        (folder / Path(name).name).write_bytes(content)


def _enter(entries: dict[str, _File], name: str, file: _File | None) -> None:
    if file is None:
        entries.pop(name, None)
    else:
        entries[name] = file


def _content(file: _File, operations: Iterable[Operation]) -> bytes:
    content = bytearray(file.safe)
    for kind, _, offset, data, _ in operations:
        if kind == "truncate":
            del content[offset:]
        else:
            content.extend(bytes(max(0, offset - len(content))))
            content[offset : offset + len(data)] = data
    return bytes(content)


def _sectors(write: Operation) -> Iterator[Operation]:
    """A write, cut where the sectors of the disk end."""
    start = 0
    while start < len(write.data):
        room = SECTOR_BYTES - (write.offset + start) % SECTOR_BYTES
        yield write._replace(offset=write.offset + start, data=write.data[start : start + room])
        start += room


def _all(operation: Operation, *_: object) -> list[Operation]:
    return [operation]


def _none(*_: object) -> list[Operation]:
    return []


def _torn(operation: Operation, last: Operation | None, random: Random) -> list[Operation]:
    if operation is not last:
        return [operation]
    if operation.kind == "truncate":
        return []
    sectors = list(_sectors(operation))
    return sectors[: random.randrange(len(sectors))]


def _some(operation: Operation, _: object, random: Random) -> list[Operation]:
    parts = [operation] if operation.kind == "truncate" else list(_sectors(operation))
    if random.random() < 0.5:  # A write is whole or gone more often than chance would have it.
        return parts if random.random() < 0.7 else []
    return [part for part in parts if random.random() < 0.7]


_KEEPERS: Final[dict[Kept, Callable[[Operation, Operation | None, Random], list[Operation]]]] = {
    "synced": _none,
    "all": _all,
    "torn": _torn,
    "some": _some,
}
