"""The core decides from its arguments alone.

import-linter keeps the modules out that it must not know; this keeps out the calls.
"""

import ast
from pathlib import Path

import pytest

from tests.house.tree import SRC, files_under, shown

CLOCK_READS = {"now", "utcnow", "today"}
IDENTITY_SOURCES = {"uuid1", "uuid4", "uuid6", "uuid7", "uuid8"}
IO_CALLS = {"open", "print", "input"}


def impure_calls(path: Path) -> list[str]:
    """``file:line call`` of each call that reads a clock, draws at random, or does I/O."""
    calls = (node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call))
    return [f"{shown(path)}:{call.lineno} {ast.unparse(call)}" for call in calls if _impure(call)]


def _impure(call: ast.Call) -> bool:
    match call.func:
        case ast.Attribute(value=ast.Name(id="random"), attr=name):
            # A generator of one's own with a seed is a function of that seed.
            return not (name == "Random" and call.args)
        case ast.Attribute(value=ast.Name(id="datetime" | "date"), attr=name):
            return name in CLOCK_READS
        case ast.Attribute(attr=name):
            return name in IDENTITY_SOURCES
        case ast.Name(id=name):
            return name in IO_CALLS | IDENTITY_SOURCES
    return False


def test_the_core_reads_no_clock_draws_nothing_and_does_no_io() -> None:
    """Time, identity and chance reach the core as arguments."""
    core = files_under(SRC / "core", suffix=".py")
    assert core
    assert [hit for path in core for hit in impure_calls(path)] == []


@pytest.mark.parametrize(
    ("line", "is_impure"),
    [
        ("datetime.now(UTC)", True),
        ("date.today()", True),
        ("random.random()", True),
        ("random.Random()", True),
        ("uuid.uuid4()", True),
        ("open('x')", True),
        ("random.Random(seed)", False),
        ("datetime.fromisoformat(text)", False),
        ("random_state(x)", False),
    ],
)
def test_the_purity_check_tells_the_calls_apart(tmp_path: Path, line: str, is_impure: bool) -> None:
    """Reading the clock is reported, parsing a time is not; chance with a seed is a function."""
    source = tmp_path / "source.py"
    source.write_text(line + "\n")
    assert bool(impure_calls(source)) == is_impure
