"""An archived month with other bytes in it: written beside the old one, which goes at last.

The store says by the SHA-256 of its manifest which of the two counts: so it is one or the other
whenever the process ends, and what does not count is taken away the next time.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from refold.archive import manifest as manifests
from refold.archive.archiving import PACKED, Format, archived_month, index_of, written_files
from refold.archive.manifest import check_files, next_in, path_in, read_manifest, write_whole
from refold.archive.month import ArchivedAppend
from refold.errors import Unavailable

_OF_MONTH: Final = r"\.?{month}(-\d+)?\.(packed|index|parquet|next\.json)(\.part)?"


class Rewritten(NamedTuple):
    """A month that was written again; ``sha256`` is that of its manifest."""

    folder: Path
    month: str
    sha256: str

    def finish(self) -> None:
        """Let go of what stood there before; the store knows the new one."""
        settle(self.folder, self.month, self.sha256)


def appends_in(folder: Path, month: str, sha256: str) -> Iterator[ArchivedAppend]:
    """Every append of an archived month, whose files are what was written."""
    with closing(archived_month(folder, month, sha256)) as index:
        yield from index.appends()


def rewrite(
    folder: Path, month: str, sha256: str, change: Callable[[ArchivedAppend], ArchivedAppend]
) -> Rewritten:
    """Write a month beside what is there, each append changed; its manifest says that it was."""
    old = read_manifest(folder, month, sha256)
    check_files(folder, old)
    number = old.replaced + 1
    is_packed = any(one.name.endswith(PACKED) for one in old.files)
    kept_as: Format = "packed" if is_packed else "parquet"
    try:
        with closing(index_of(folder, old)) as index:
            appends = map(change, index.appends())
            _, files = written_files(appends, folder, f"{month}-{number}", kept_as)
        data = manifests.encoded(msgspec.structs.replace(old, files=files, replaced=number))
        write_whole(next_in(folder, month), lambda part: part.write_bytes(data))
    except OSError as error:
        why = f"{month} cannot be written to {folder}: {error}; nothing was replaced"
        raise Unavailable(why, path=str(folder), month=month) from error
    return Rewritten(folder, month, hashlib.sha256(data).hexdigest())


def settle(folder: Path, month: str, sha256: str) -> None:
    """Leave the files of a month that count, and no others."""
    kept = {one.name for one in read_manifest(folder, month, sha256).files}
    path, new = path_in(folder, month), next_in(folder, month)
    if new.exists() and hashlib.sha256(path.read_bytes()).hexdigest() != sha256:
        new.replace(path)
        manifests.sync(folder)
    for one in folder.iterdir():
        if re.fullmatch(_OF_MONTH.format(month=month), one.name) and one.name not in kept:
            one.unlink(missing_ok=True)
