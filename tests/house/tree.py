"""What the checks of this folder look at: the files of the project, without what tools make."""

import os
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SRC = ROOT / "src" / "refold"
BIN = ROOT / ".venv" / "bin"


def files_under(folder: Path, *, suffix: str = "") -> list[Path]:
    """Every file of the project under ``folder`` whose name ends in ``suffix``, sorted.

    What `.gitignore` names is not the project's; git itself is not asked, so that an unpacked
    archive is checked like a clone.
    """
    return sorted(path for path in _walk(folder) if path.name.endswith(suffix))


def shown(path: Path) -> str:
    """The path as a message names it: from the root of the project where it lies there."""
    return str(path.relative_to(ROOT)) if path.is_relative_to(ROOT) else str(path)


def _walk(folder: Path) -> Iterator[Path]:
    ignored = _ignored_names()
    for here, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not _matches(name, ignored)]
        yield from (Path(here, name) for name in names if not _matches(name, ignored))


def _ignored_names() -> list[str]:
    lines = (ROOT / ".gitignore").read_text().splitlines()
    return [".git", *(line.strip("/") for line in lines if line and not line.startswith("#"))]


def _matches(name: str, patterns: list[str]) -> bool:
    return any(fnmatch(name, pattern) for pattern in patterns)
