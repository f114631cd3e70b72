"""Programs in Node, and the TypeScript client compiled for them."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.house.tree import ROOT

MODULES = ROOT / ".cache" / "node" / "node_modules"
CLIENT = ROOT / "clients" / "typescript"
FILES = ("refold.ts", "test/*.ts")
PROGRAMS = Path(__file__).with_name("programs")
LIMIT_S = 120


def compiled(folder: Path, files: Sequence[str] = FILES, *, root: Path = CLIENT) -> Path:
    """Sources below ``root``, as strict as the compiler is, in a folder; where they are then."""
    folder.mkdir(parents=True, exist_ok=True)
    options = {"outDir": str(folder), "rootDir": str(root), "typeRoots": [str(MODULES / "@types")]}
    config = {
        "extends": str(CLIENT / "tsconfig.json"),
        "compilerOptions": options,
        "include": [str(root / name) for name in files],
    }
    (folder / "tsconfig.json").write_text(json.dumps(config))
    (folder / "package.json").write_text('{"type": "module"}')
    if root != CLIENT:
        (root / "package.json").write_text('{"type": "module"}')
    _run(MODULES / ".bin" / "tsc", "-p", folder)
    return folder


def node(*arguments: Any) -> Any:
    """What a program prints as JSON."""
    return json.loads(_run("node", *arguments))


def program(name: str) -> Path:
    """A program of the tests."""
    return PROGRAMS / f"{name}.mjs"


def _run(*command: Any) -> str:
    done = subprocess.run(
        [*map(str, command)], capture_output=True, text=True, timeout=LIMIT_S, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
