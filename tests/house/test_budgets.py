"""Each part of the package keeps to its lines of code and the package to its public names."""

import ast
import tomllib
from pathlib import Path
from statistics import median
from typing import Any

import pytest

from tests.house.lines import lines_of_code
from tests.house.tree import SRC, files_under, shown

TABLE: dict[str, Any] = tomllib.loads(Path(__file__).with_name("budgets.toml").read_text())
MEDIAN_LINES = range(100, 161)
INTERNAL = {"core", "engine", "backends", "cli"}


def files_of(part: str) -> list[Path]:
    """The Python files that a line of the table speaks of; not those of a part inside it."""
    if part == "src":
        return files_under(SRC, suffix=".py")
    places = TABLE["parts"].get(part, [part])
    others = [SRC / place for own in TABLE["parts"].values() if own != places for place in own]
    found: list[Path] = []
    for place in places:
        path = SRC / place
        inside = [other for other in others if path in other.parents]
        files = [path] if path.is_file() else files_under(path, suffix=".py")
        found += [
            file for file in files if not any(other in (file, *file.parents) for other in inside)
        ]
    return found


def public_names(path: Path) -> list[str]:
    """What the `__all__` of a module lists."""
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            names: list[str] = ast.literal_eval(node.value)
            return names
    return []


@pytest.mark.parametrize("part", TABLE["budgets"])
def test_a_part_keeps_to_its_lines_of_code(part: str) -> None:
    """No part has more lines of code than its line of the table says."""
    counts = {shown(path): lines_of_code(path) for path in files_of(part)}
    assert counts, f"{part} names no file"
    assert sum(counts.values()) <= TABLE["budgets"][part], counts


def test_every_file_stands_in_one_line_of_the_table() -> None:
    """What stands in no line could grow unseen."""
    counted = [path for part in TABLE["budgets"] if part != "src" for path in files_of(part)]
    assert sorted(counted) == sorted(files_of("src"))


def test_a_usual_file_is_read_in_one_go() -> None:
    """The median file has 100 to 160 lines: neither crumbs nor slabs."""
    sizes = [len(path.read_bytes().splitlines()) for path in files_under(SRC, suffix=".py")]
    assert int(median(sizes)) in MEDIAN_LINES


def test_the_public_names_stay_few() -> None:
    """Every `__all__` of what users import, counted together."""
    modules = [
        path
        for path in files_under(SRC, suffix=".py")
        if path.relative_to(SRC).parts[0] not in INTERNAL
    ]
    counts = {shown(path): len(names) for path in modules if (names := public_names(path))}
    assert counts["src/refold/__init__.py"] <= TABLE["public_names"]["root"]
    assert sum(counts.values()) <= TABLE["public_names"]["all"], counts


def test_only_code_is_counted(tmp_path: Path) -> None:
    """Blank lines, comments and docstrings are free; each line of a call or a text counts."""
    source = tmp_path / "source.py"
    source.write_text(
        '"""A module.\n\nOf two lines."""\n\n# Why.\nimport os  # said\n\n\n'
        'def run():\n    """Run."""\n    text = """a\n    b"""\n'
        "    return os.path.join(\n        text\n    )\n"
    )
    assert lines_of_code(source) == 7
