"""SQL by name, from files."""

from __future__ import annotations

import re
from functools import cache
from importlib import resources
from typing import Final

FOLDER: Final = resources.files("refold.backends.postgres")
_FILES: Final = ("statements", "months", "erasing")
_NAMED: Final = re.compile(r"^-- (\w+).*\n")


@cache
def statement(name: str, schema: str) -> str:
    """A statement of the files, for a schema."""
    return qualified(_statements()[name], schema)


@cache
def _statements() -> dict[str, str]:
    """All of them; the line over each begins with its name."""
    texts = [(FOLDER / f"{name}.sql").read_text(encoding="utf-8") for name in _FILES]
    blocks = [block for text in texts for block in text.split("\n\n")[1:]]
    return {found[1]: block[found.end() :] for block in blocks if (found := _NAMED.match(block))}


def qualified(sql: str, schema: str) -> str:
    """SQL in which ``refold.`` is a schema."""
    return sql.replace("refold.", f'"{schema}".')
