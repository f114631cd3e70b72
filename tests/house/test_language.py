"""The files speak of the project alone, and every test says which rule it proves."""

import ast
import re
from pathlib import Path

from tests.house.tree import ROOT, files_under, shown

# In pieces, so that this file passes its own check.
REGISTRY_HOSTS = [
    "pypi" + ".org",
    "python" + "hosted.org",
    "pypi.python" + ".org",
    "anaconda" + ".org",
    "npm" + "js.",
    "crates" + ".io",
    "proxy.golang" + ".org",
]
# The format of a lock file asks for the address of each package.
MAY_NAME_A_REGISTRY = {"uv.lock"}


def named_registries(path: Path) -> list[str]:
    """The registry hosts that a file names."""
    text = path.read_text(errors="replace").lower()
    return [f"{shown(path)}: {host}" for host in REGISTRY_HOSTS if host in text]


def paths_under(checkout: Path, path: Path) -> list[str]:
    """Places where a file holds a path that begins with where the project happens to lie."""
    pattern = re.compile(r"(?<![\w.$}~-])" + re.escape(str(checkout)) + r"(?![\w-])")
    lines = path.read_text(errors="replace").splitlines()
    return [f"{shown(path)}:{n}" for n, line in enumerate(lines, 1) if pattern.search(line)]


def unexplained_tests(path: Path) -> list[str]:
    """``file:line name`` of each test function or method without a docstring."""
    return [
        f"{shown(path)}:{node.lineno} {node.name}"
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.name.startswith("test_")
        and not ast.get_docstring(node)
    ]


def test_no_file_names_a_package_registry() -> None:
    """Where packages come from is the installer's setting, not the project's text."""
    read = [path for path in files_under(ROOT) if path.name not in MAY_NAME_A_REGISTRY]
    assert [hit for path in read for hit in named_registries(path)] == []


def test_no_file_holds_the_path_of_this_checkout() -> None:
    """A file that names this machine's folders works on this machine only."""
    assert [hit for path in files_under(ROOT) for hit in paths_under(ROOT, path)] == []


def test_every_test_says_which_rule_it_proves() -> None:
    """A test without a docstring says only that something broke."""
    tests = files_under(ROOT / "tests", suffix=".py")
    assert [hit for path in tests for hit in unexplained_tests(path)] == []


def test_a_registry_host_is_found(tmp_path: Path) -> None:
    """The registry check reports the host whatever its case."""
    page = tmp_path / "page.md"
    page.write_text(f"see https://{REGISTRY_HOSTS[0].upper()}/simple")
    assert named_registries(page) == [f"{page}: {REGISTRY_HOSTS[0]}"]


def test_a_path_of_the_checkout_is_found_and_a_longer_name_is_not(tmp_path: Path) -> None:
    """`/some/place/x` lies under `/some/place`; `/some/placebo` and `my/some/place` do not."""
    page = tmp_path / "page.md"
    page.write_text("/some/placebo\nmy/some/place/x\nfile:///some/place/x\n'/some/place'\n")
    assert paths_under(Path("/some/place"), page) == [f"{page}:3", f"{page}:4"]


def test_a_test_without_docstring_is_found(tmp_path: Path) -> None:
    """Methods and coroutines count; helpers do not."""
    source = tmp_path / "source.py"
    source.write_text(
        "class TestX:\n    async def test_a(self): ...\n"
        "def test_b():\n    'A rule.'\n"
        "def helper(): ...\n"
    )
    assert unexplained_tests(source) == [f"{source}:2 test_a"]
