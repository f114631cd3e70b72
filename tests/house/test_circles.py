"""No two modules import each other, directly or through others: each can be read after its own."""

import ast
from graphlib import CycleError, TopologicalSorter

import pytest

from tests.house.tree import SRC, files_under


def imports_of_the_package() -> dict[str, set[str]]:
    """The modules of refold that each module imports, inside functions and for types too."""
    modules = {}
    for path in files_under(SRC, suffix=".py"):
        parts = path.relative_to(SRC.parent).with_suffix("").parts
        modules[".".join(parts).removesuffix(".__init__")] = ast.parse(path.read_text())
    return {
        name: {
            whole if (whole := f"{found.module}.{alias.name}") in modules else str(found.module)
            for found in ast.walk(tree)
            if isinstance(found, ast.ImportFrom)
            for alias in found.names
        }
        for name, tree in modules.items()
    }


def test_no_module_is_imported_in_a_circle() -> None:
    """The circle is named where there is one."""
    TopologicalSorter(imports_of_the_package()).prepare()


def test_a_circle_is_seen() -> None:
    """The check reports three modules that lead to each other."""
    with pytest.raises(CycleError):
        TopologicalSorter({"a": {"b"}, "b": {"c"}, "c": {"a"}}).prepare()
