"""Defaults from `refold.toml`, or `[tool.refold]` of `pyproject.toml`, in the current folder.

Keys are the long names of options. `db` and `json` may stand at the top, for every command; other
options stand in a table named after their command: ``[replay]``, ``[import]``.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, Final

from refold.cli.text import suggestion
from refold.errors import UsageError

COMMON: Final = ("db", "json")
"""Options of every command."""
FILE: Final = "refold.toml"
PROJECT_FILE: Final = "pyproject.toml"


def defaults(
    folder: Path, *, command: str, commands: Collection[str], options: Collection[str]
) -> dict[str, Any]:
    """What the settings of a folder say of these options of a command.

    Raises :class:`UsageError` for a key that nothing answers to, naming the nearest that exists.
    """
    file, table = _settings(folder)
    _check_keys(f"{file}:", table, [*COMMON, *commands])
    own = table.get(command, {})
    _check_keys(f"{file}: [{command}]", own, options)
    shared = {key: table[key] for key in COMMON if key in table and key in options}
    return {**shared, **own}


def _settings(folder: Path) -> tuple[str, dict[str, Any]]:
    """The first file that has any, and what it says."""
    text = _text(folder / FILE)
    if text is not None:
        return FILE, _parsed(text, FILE)
    text = _text(folder / PROJECT_FILE)
    if text is not None and "tool.refold" in text:
        return PROJECT_FILE, _parsed(text, PROJECT_FILE).get("tool", {}).get("refold", {})
    return FILE, {}


def _check_keys(where: str, table: object, known: Collection[str]) -> None:
    if not isinstance(table, Mapping):
        raise UsageError(f"{where} must be a table, not {type(table).__name__}")
    for key in table:
        if key not in known:
            raise UsageError(f"{where} knows no {key!r}{suggestion(key, known)}", key=key)


def _text(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise UsageError(f"{path.name} cannot be read: {error}", path=path.name) from error


def _parsed(text: str, name: str) -> dict[str, Any]:
    import tomllib

    try:
        return tomllib.loads(text)
    except ValueError as error:
        raise UsageError(f"{name} is not TOML: {error}", path=name) from error
