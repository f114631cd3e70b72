"""A month into a folder, and out of it: written, read back, compared, and only then noted."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from contextlib import closing
from itertools import zip_longest
from pathlib import Path
from typing import Final, Literal

import apsw

from refold.archive import manifest as manifests
from refold.archive.manifest import (
    ArchivedFile,
    Manifest,
    check_files,
    file_of,
    read_manifest,
    write_whole,
)
from refold.archive.month import ArchivedAppend, ArchivedRun, MonthKeeper, bounds_of
from refold.archive.packed import Block, MonthIndex, framed, write_index
from refold.archive.parquet import row_group_of, row_groups
from refold.errors import Corrupt, NotFound, Unavailable

Format = Literal["packed", "parquet"]
PACKED: Final = ".packed"
Told = Callable[[int], object]
"""Is told how many events were read."""


def archive_month(
    keeper: MonthKeeper, month: str, folder: Path, *, kept_as: Format, told: Told
) -> Manifest:
    """Write a month that is over to a folder, unless it stands there, and compare it with the log.

    Killed at any moment, it leaves nothing there that counts or the whole, and goes on when it is
    called again. Raises :class:`~refold.errors.UsageError` where something could still be recorded
    in the month, :class:`~refold.errors.Corrupt` where what was read back is not what is stored,
    :class:`~refold.errors.Unavailable` where the folder cannot be written.
    """
    keeper.close_month(month)
    path = manifests.path_in(folder, month)
    try:
        try:
            manifest = read_manifest(folder, month, None)
            check_files(folder, manifest)
        except NotFound:
            manifest = _written(keeper, month, folder, kept_as)
        _compare(keeper, month, index_of(folder, manifest), told)
        if not path.exists():
            write_whole(path, lambda part: part.write_bytes(manifests.encoded(manifest)))
        sha256, place = hashlib.sha256(path.read_bytes()).hexdigest(), str(folder.absolute())
    except (OSError, apsw.Error) as error:
        why = f"{month} cannot be written to {folder}: {error}; nothing of it counts"
        advice = "make room there, or name a folder that can be written, and run it again"
        raise Unavailable(f"{why}: {advice}", path=str(folder), month=month) from error
    keeper.note_archived(month, place, sha256)
    return manifest


def archived_month(folder: Path, month: str, sha256: str) -> MonthIndex:
    """The appends of an archived month, every file of which is what was written."""
    manifest = read_manifest(folder, month, sha256)
    check_files(folder, manifest)
    return index_of(folder, manifest)


def index_of(folder: Path, manifest: Manifest) -> MonthIndex:
    """Reads the files of a manifest."""
    files = {Path(one.name).suffix: folder / one.name for one in manifest.files}
    if PACKED in files:
        return MonthIndex(files[PACKED])
    return MonthIndex(files[".index"], row_group_of(files[".parquet"]))


def _written(keeper: MonthKeeper, month: str, folder: Path, kept_as: Format) -> Manifest:
    folder.mkdir(parents=True, exist_ok=True)
    with closing(keeper.month_appends(month)) as appends:
        runs, files = written_files(appends, folder, month, kept_as)
    return Manifest(manifests.FORMAT, manifests.VERSION, month, *bounds_of(month), runs, files)


def written_files(
    appends: Iterable[ArchivedAppend], folder: Path, stem: str, kept_as: Format
) -> tuple[list[ArchivedRun], list[ArchivedFile]]:
    """Write appends to files whose names begin with a stem: their runs, and what the files are."""
    runs: list[ArchivedRun] = []

    def index(path: Path, kept: Callable[[Block], bytes | None]) -> None:
        write_whole(path, lambda part: runs.extend(write_index(part, appends, kept)))

    def beside(part: Path) -> None:
        with row_groups(part) as kept:
            index(paths[0], kept)

    if kept_as == "packed":
        paths = [folder / f"{stem}{PACKED}"]
        index(paths[0], framed)
    else:
        paths = [folder / f"{stem}.index", folder / f"{stem}.parquet"]
        write_whole(paths[1], beside)
    return runs, [file_of(path) for path in paths]


def _compare(keeper: MonthKeeper, month: str, index: MonthIndex, told: Told) -> None:
    """Whether each append of the log is there with all that is kept of it, and no other."""
    events = 0
    with closing(index), closing(keeper.month_appends(month)) as appends:
        for stored, read in zip_longest(appends, index.appends()):
            if stored != read:
                at: ArchivedAppend = stored or read
                why = f"{index.path} is not as the store at position {at.position}"
                advice = "move the files of the month away, and archive it again"
                raise Corrupt(f"{why}: {advice}", path=str(index.path), position=at.position)
            events += read.count
            told(events)
