"""What says what an archived month is: a JSON file beside the others, written at last.

Without it nothing there counts. Its own SHA-256 stands in the store that it was made of, so that a
month is known to be the one that left, whoever kept the folder.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

import msgspec

from refold.archive.month import ArchivedRun
from refold.errors import Corrupt, NotFound, RefoldError, Unavailable

FORMAT: Final = "refold-archive"
VERSION: Final = 1


class ArchivedFile(msgspec.Struct, frozen=True):
    """A file of an archived month; its name is that in the folder."""

    name: str
    size_bytes: int
    sha256: str


class Manifest(msgspec.Struct, frozen=True, omit_defaults=True):
    """An archived month; ``starts`` and ``ends`` are its bounds in microseconds UTC.

    ``replaced``: so often other bytes were put in the place of what its events said.
    """

    format: str
    version: int
    month: str
    starts: int
    ends: int
    runs: list[ArchivedRun]
    files: list[ArchivedFile]
    replaced: int = 0


def path_in(folder: Path, month: str) -> Path:
    """Where the manifest of a month is."""
    return folder / f"{month}.json"


def next_in(folder: Path, month: str) -> Path:
    """Where the one stands that is to take its place, as soon as the store knows it."""
    return folder / f"{month}.next.json"


def encoded(manifest: Manifest) -> bytes:
    """A manifest as the bytes of its file."""
    return msgspec.json.format(msgspec.json.encode(manifest), indent=2) + b"\n"


def read_manifest(folder: Path, month: str, sha256: str | None) -> Manifest:
    """The manifest of a month, which has a SHA-256 (None: it is not known yet).

    :class:`~refold.errors.NotFound` where there is none, :class:`~refold.errors.Corrupt` where it
    is another.
    """
    path = path_in(folder, month)
    try:
        data = path.read_bytes()
    except FileNotFoundError as error:
        why = f"{folder} holds no archive of {month}: name the folder that it was written to"
        raise NotFound(why, path=str(path), month=month) from error
    except OSError as error:
        raise Unavailable(f"{path} cannot be read: {error.strerror}", path=str(path)) from error
    if sha256 is not None and hashlib.sha256(data).hexdigest() != sha256:
        with suppress(FileNotFoundError):
            data = next_in(folder, month).read_bytes()
    if sha256 is not None and hashlib.sha256(data).hexdigest() != sha256:
        raise damaged(path, "the store knows it by another SHA-256")
    try:
        manifest = msgspec.json.decode(data, type=Manifest)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise damaged(path, str(error)) from error
    if (manifest.format, manifest.month) != (FORMAT, month) or manifest.version > VERSION:
        raise damaged(path, f"it is no archive of {month} that this refold can read")
    return manifest


def file_of(path: Path) -> ArchivedFile:
    """What a file is now."""
    try:
        with path.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
            return ArchivedFile(path.name, file.tell(), sha256)
    except FileNotFoundError as error:
        raise damaged(path, "it is not there") from error
    except OSError as error:
        raise Unavailable(f"{path} cannot be read: {error.strerror}", path=str(path)) from error


def check_files(folder: Path, manifest: Manifest) -> None:
    """Hash every file of a month; :class:`~refold.errors.Corrupt` names the one that differs."""
    for said in manifest.files:
        found = file_of(folder / said.name)
        if found != said:
            what = f"{found.size_bytes} bytes with SHA-256 {found.sha256}"
            why = f"it has {what}, and was written with {said.size_bytes} and {said.sha256}"
            raise damaged(folder / said.name, why)


def damaged(path: Path, why: str) -> RefoldError:
    """The error for a file of an archive that is not what was written."""
    advice = "take it from a copy of the archive"
    return Corrupt(f"{path} is not what was archived: {why}; {advice}", path=str(path))


def write_whole(path: Path, write: Callable[[Path], object]) -> None:
    """Make a file by a function that is given where to write: whole and synced, or not at all."""
    part = path.with_name(f".{path.name}.part")
    part.unlink(missing_ok=True)
    write(part)
    sync(part)
    part.replace(path)
    sync(path.parent)


def sync(path: Path) -> None:
    """Let what was written to a file, or named in a folder, outlive a loss of power."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
