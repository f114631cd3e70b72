"""The verifier as one file, for who has nothing of refold: its modules, one after another."""

from __future__ import annotations

import ast
from importlib.resources import files
from typing import Final

PARTS: Final = ("ed25519", "heads", "proofs", "program")


def verifier_text() -> str:
    """The text of a Python program; how to run it stands at its top."""
    folder = files("refold.audit.verifier")
    top = folder.joinpath("__init__.py").read_text("utf-8")
    imports: dict[str, set[str]] = {}
    parts = [_part(folder.joinpath(f"{part}.py").read_text("utf-8"), imports) for part in PARTS]
    froms = [f"from {name} import {', '.join(sorted(imports[name]))}\n" for name in sorted(imports)]
    imported = "".join(line.replace("from  import", "import") for line in froms)
    start = f"#!/usr/bin/env python3\n{top}\nfrom __future__ import annotations\n\n"
    return start + imported + "".join(parts)


def _part(text: str, imports: dict[str, set[str]]) -> str:
    """A module without its imports, which are added to ``imports``; its docstring as a comment."""
    lines, module = text.splitlines(), ast.parse(text)
    said = "\n".join(f"# {line}".rstrip() for line in (ast.get_docstring(module) or "").split("\n"))
    for node in [*module.body][:0:-1]:
        if isinstance(node, ast.Import | ast.ImportFrom):
            name = str(node.module) if isinstance(node, ast.ImportFrom) else ""
            if not name.startswith(("refold", "__")):
                imports.setdefault(name, set()).update(one.name for one in node.names)
            del lines[node.lineno - 1 : node.end_lineno]
    rest = "\n".join(lines[module.body[0].end_lineno :]).strip()
    return f"\n\n{said}\n\n{rest}\n"
