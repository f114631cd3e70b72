"""The pages of a store as a folder of files, to be looked at without a server."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from secrets import token_hex
from typing import Any, Final, NamedTuple

import refold
from refold import Store
from refold.errors import UsageError
from refold.privacy.part import part_of
from refold.ui.application import application
from refold.ui.current import bring_all_up
from refold.ui.pages import asset
from refold.ui.walk import HOST, Walk

MARK: Final = "refold-export.json"
"""A folder with this file was made by an export, and holds what it lists."""
OF_THE_WHOLE: Final = ("projections", "proof", "replays")
"""Screens that tell of a whole store; of a part they would tell what is not so."""


class Exported(NamedTuple):
    """What was written: how many ``pages``, and what pages lead to that is not there, by kind."""

    folder: str
    pages: int
    left_out: dict[str, int]


def export(
    store: Store,
    folder: str | Path,
    *,
    until: Mapping[str, int | None] | None = None,
    rows: Store | None = None,
    progress: Callable[[int, int], object] = lambda *_: None,
) -> Exported:
    """Write the pages of a store to a folder: of these streams, each up to a version, or of all.

    The folder is new, empty or an earlier export, which is replaced once all is written; else
    nothing is, and :class:`~refold.errors.UsageError` says so. Values that are withheld or
    redacted stay so. ``rows`` is as for :func:`refold.ui.app`; ``progress`` gets the pages that
    are written and those that are known of. Not to be called where an event loop runs.
    """
    path = Path(folder).absolute()
    _check(path)
    with refold.open("memory:") as beside:
        if until is not None:
            store, rows = part_of(store, until), beside
        bring_all_up(store, rows)
        app = application(store, hosts=[HOST], rows=rows, writing=None)
        app.state.patience_s = None
        walk = Walk(app, without=() if until is None else OF_THE_WHOLE)
        with _replacing(path) as new:
            files = asyncio.run(_written(walk, new, progress))
            left_out = {kind: len(those) for kind, those in sorted(walk.left_out.items())}
            pages = len(files)
            for name in sorted({*walk.assets, "export.js"}):
                files.append(f"static/{name}")
                _write(new / files[-1], asset(name))
            listed = json.dumps(
                {"pages": pages, "left_out": left_out, "files": sorted(files)}, indent=1
            )
            _write(new / MARK, f"{listed}\n".encode())
            lost = next((name for name in files if not (new / name).is_file()), None)
            if lost is not None:
                raise UsageError(f"{new / lost} was taken away: start again", path=str(path))
            _check(path)  # Somebody may have put something there since.
    return Exported(str(folder), pages, left_out)


async def _written(walk: Walk, new: Path, progress: Callable[[int, int], object]) -> list[str]:
    files: list[str] = []
    async for page in walk.pages():
        _write(new / page.file, page.text.encode())
        files.append(page.file)
        progress(len(files), walk.found)
    return files


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)


def _check(path: Path) -> None:
    """Refuse a folder that holds anything but an earlier export."""
    if not path.parent.is_dir():
        raise UsageError(f"{path.parent} is no folder: make it first", path=str(path))
    if path.is_symlink() or (path.exists() and not path.is_dir()):
        raise UsageError(f"{path} is no folder: name another", path=str(path))
    listed = _listed(path)
    held = (one.relative_to(path).as_posix() for one in path.rglob("*") if not one.is_dir())
    for other in (name for name in held if name not in listed):
        why = f"{path} holds {other}, which no export made: name a folder that is new or empty"
        raise UsageError(why, path=str(path))


def _listed(path: Path) -> set[str]:
    """The files that an earlier export says that it made."""
    try:
        told: Any = json.loads((path / MARK).read_bytes())
        return {MARK, *map(str, told["files"])}
    except (OSError, ValueError, KeyError, TypeError):
        return set()


@contextmanager
def _replacing(path: Path) -> Iterator[Path]:
    """A new folder beside one, which takes its place at the end; an error leaves all as it was."""
    new, old = (path.with_name(f".{path.name}.{token_hex(6)}.{what}") for what in ("new", "old"))
    try:
        new.mkdir()
        yield new
        if path.exists():
            path.rename(old)
        try:
            new.rename(path)
        except OSError:
            if old.exists():
                old.rename(path)
            raise
        shutil.rmtree(old, ignore_errors=True)
    except OSError as error:
        why = f"{path} cannot be written ({error.strerror}): name another folder"
        raise UsageError(why, path=str(path)) from error
    finally:
        shutil.rmtree(new, ignore_errors=True)
