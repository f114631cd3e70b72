"""What is kept in git is text that was written here, but for a short list with reasons."""

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.house.tree import ROOT, files_under, shown

OTHERS = {
    "docs/images/": "pictures of the report, made by tools/screenshot.py",
    "src/refold/ui/static/htmx.min.js": "the one script of the pages that is not ours",
    "src/refold/ui/static/htmx.LICENSE": "what comes with it",
    "tests/kept/store-0.1.0.sqlite": "a store that an old version wrote, to be read for ever",
    "tests/kept/store-0.1.0.json": "what stands in it",
    "uv.lock": "written by uv",
    "clients/typescript/package-lock.json": "written by npm",
    "tests/audit/go/go.sum": "written by go",
    "tests/server/go/go.sum": "written by go",
}
KINDS = {
    *(".py", ".md", ".sql", ".html", ".css", ".js", ".ts", ".svg", ".txt", ".json", ".toml"),
    *(".yml", ".sh", ".go", ".java", ".mod", ".mjs", ".xml", ".typed"),
}
NAMES = {"Makefile", "LICENSE", ".gitignore", "run"}
SIZE_MAX = 120_000
"""The longest page is shorter."""


def kept() -> list[Path]:
    """What git keeps; of an unpacked archive, all that is there."""
    if not (ROOT / ".git").exists():
        return files_under(ROOT)
    git = shutil.which("git")
    assert git is not None, "no git: its files cannot be listed"
    listed = subprocess.run([git, "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True)
    names = listed.stdout.decode().rstrip("\0").split("\0")
    return [path for name in names if (path := ROOT / name).is_file()]


def is_ours(path: Path, content: bytes) -> bool:
    """Text of a kind that is written here, no longer than such texts are."""
    if path.suffix not in KINDS and path.name not in NAMES:
        return False
    try:
        return "\0" not in content.decode() and len(content) <= SIZE_MAX
    except UnicodeDecodeError:
        return False


def is_named(path: Path) -> bool:
    """It stands on the list, or in a folder of it."""
    return shown(path).startswith(tuple(OTHERS))


def test_every_file_is_text_that_was_written_here() -> None:
    """A file that a tool, or somebody else, has made is on the list with its reason.

    A wheel of another project was once committed by accident.
    """
    strangers = [shown(p) for p in kept() if not is_named(p) and not is_ours(p, p.read_bytes())]
    assert strangers == []


def test_the_list_names_what_is_there() -> None:
    """An entry goes with the last file that it stands for."""
    assert [name for name in OTHERS if not (ROOT / name).exists()] == []


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("dist/other-1.0.whl", b"PK\3\4"),
        ("src/refold/table.py", b"x = '\xff'"),
        ("docs/page.md", b"a\0b"),
        ("tests/answers.json", b" " * (SIZE_MAX + 1)),
    ],
)
def test_a_stranger_is_found(name: str, content: bytes) -> None:
    """By its kind, its bytes or its length."""
    assert not is_ours(ROOT / name, content)
