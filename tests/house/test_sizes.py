"""Files and functions stay small enough to be read in one go."""

import ast
from pathlib import Path

from tests.house.tree import SRC, files_under, shown

FILE_LINES_MAX = 400
FUNCTION_LINES_MAX = 60


def long_files(paths: list[Path]) -> list[str]:
    """``file: lines`` of each file over the limit."""
    counts = {path: len(path.read_bytes().splitlines()) for path in paths}
    return [f"{shown(p)}: {lines} lines" for p, lines in counts.items() if lines > FILE_LINES_MAX]


def long_functions(path: Path) -> list[str]:
    """``file:line name: lines`` of each function or method over the limit, decorators left out."""
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            if lines > FUNCTION_LINES_MAX:
                found.append(f"{shown(path)}:{node.lineno} {node.name}: {lines} lines")
    return found


def test_no_source_file_is_over_the_limit() -> None:
    """No file of the package is over 400 lines."""
    assert long_files(files_under(SRC)) == []


def test_no_function_is_over_the_limit() -> None:
    """No function or method of the package is over 60 lines."""
    assert [hit for path in files_under(SRC, suffix=".py") for hit in long_functions(path)] == []


def test_a_file_is_allowed_its_limit_and_no_line_more(tmp_path: Path) -> None:
    """The file check passes 400 lines and reports 401."""
    fits, too_long = tmp_path / "fits.py", tmp_path / "too_long.py"
    fits.write_text("x = 1\n" * FILE_LINES_MAX)
    too_long.write_text("x = 1\n" * (FILE_LINES_MAX + 1))
    assert long_files([fits, too_long]) == [f"{too_long}: 401 lines"]


def test_a_function_is_allowed_its_limit_and_no_line_more(tmp_path: Path) -> None:
    """The function check passes 60 lines and reports 61, in a class and when async too."""
    source = tmp_path / "source.py"
    body = "        x = 1\n"
    source.write_text(
        "class Sample:\n"
        "    def fits(self):\n" + body * (FUNCTION_LINES_MAX - 1) + "    @property\n"
        "    async def too_long(self):\n" + body * FUNCTION_LINES_MAX
    )
    assert long_functions(source) == [f"{source}:63 too_long: 61 lines"]
