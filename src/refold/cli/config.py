"""Defaults of options from files of settings: the user's own, and what is found in a folder.

Keys are the long names of options. `db` and `json` may stand at the top, for every command; other
options stand in a table named after their command: ``[replay]``, ``[import]``.

A file is the user's own when it is named (``--config``, ``REFOLD_CONFIG``: then no other is read)
or is ``refold.toml`` in the folder that the system gives a program for settings. One that is found
in the current folder may have come with somebody else's files. It is read over the user's own, but
what it says of code to run, of hosts that get keys and conversations, and of files outside its
folder is ignored.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

import click

from refold.cli import jsontext
from refold.cli.text import suggestion
from refold.errors import UsageError

COMMON: Final = ("db", "json")
"""Options of every command."""
PRIVACY: Final = "privacy"
"""The table that says how every command opens a store; see refold.privacy.settings."""
_OF_PRIVACY: Final = (
    "keyring", "conversation", "fields", "actor", "purpose", "journal", "retention",
)  # fmt: skip
FILE: Final = "refold.toml"
PROJECT_FILE: Final = "pyproject.toml"
BYTES_MAX: Final = 256 * 1024
OWN: Final = frozenset(
    {
        "allow",
        "base-url",
        "bootstrap",
        "check",
        "fails",
        "fold",
        "from",
        "holds",
        "host",
        "judge-url",
        "name",
        "on",
        "settings",
        "timestamp",
        "tool-policies",
        "user-url",
        "witness",
    }
)
NAMED: Final = ("fold", "check")
"""Those of them of which a name without a colon is one of our own."""
"""Options that import code or say who is asked: never taken from a file that was found."""

FREE: Final = ("retention",)
"""Tables whose keys are names of the user's own, each of a table: `[retention.call]`."""
NAMED_FILE: Final = "refold.named_file"
"""Where a command keeps the name of the file that the user named."""

Tables = dict[str, dict[str, Any]]
Options = Mapping[str, click.Option]
Names = Collection[str]


class FileSetting(NamedTuple):
    """What a file says of an option, and where: its name, the table, the key."""

    value: Any
    place: str


class Settings(NamedTuple):
    """What files say of a command's options, by long name; what is ignored, and of which file."""

    values: dict[str, FileSetting]
    ignored: dict[str, str]


def settings(
    table: str, options: Options, keys: Names, *, tables: Names, named: str | None
) -> Settings:
    """What files say of the ``options`` (by long name) of a command whose table is ``table``.

    ``keys`` may stand in that table, ``tables`` beside it; ``named`` is the file that the user
    named. Raises :class:`UsageError` for a file that cannot be read, a key that nothing answers to
    (with the nearest that exists) and a value that its option cannot have.
    """

    def said(path: str) -> dict[str, FileSetting]:
        content, inside = _parsed(path), "tool.refold." * _is_project(path)
        _check_keys(f"{path}:", content, [*COMMON, PRIVACY, *tables])
        where = f"{path}: [{inside}{table}]"
        own = _table(where, content.get(table, {}))
        if table in FREE:
            own = {key: value for key, value in own.items() if not isinstance(value, dict)}
        _check_keys(where, own, keys)
        common = {
            key: FileSetting(content[key], f"{path}: {key}") for key in COMMON if key in content
        }
        every = common | {key: FileSetting(value, f"{where} {key}") for key, value in own.items()}
        known = sorted(options.keys() & every.keys())
        return {key: every[key]._replace(value=_fit(options[key], every[key])) for key in known}

    if named is not None:
        return Settings(said(named), {})
    mine, path = _files()
    values = {} if mine is None else said(mine)
    found = {} if path is None else said(path)
    ignored = [key for key, one in found.items() if not _is_harmless(key, one.value)]
    heard = {key: value for key, value in found.items() if key not in ignored}
    return Settings(values | heard, {key: str(path) for key in ignored})


def free_table(name: str, named: str | None) -> tuple[Tables, Tables, str | None]:
    """What files say in a table of tables: the user's own, the one found here, and its name."""

    def said(path: str | None) -> Tables:
        table = {} if path is None else _table(f"{path}: [{name}]", _parsed(path).get(name, {}))
        return {key: one for key, one in table.items() if isinstance(one, dict)}

    mine, path = (named, None) if named is not None else _files()
    return said(mine), said(path), path


def _files() -> tuple[str | None, str | None]:
    """The user's own file of settings, and the one in the current folder, where they are there."""
    mine = os.path.join(click.get_app_dir("refold"), FILE)  # noqa: PTH118
    path = next(filter(_has_settings, (FILE, PROJECT_FILE)), None)
    return mine if os.path.isfile(mine) else None, path  # noqa: PTH113


def privacy(named: str | None) -> dict[str, Any]:
    """What files say of privacy, :data:`PRIVACY`: one that was found names no file elsewhere."""

    def said(path: str) -> dict[str, Any]:
        where = f"{path}: [{'tool.refold.' * _is_project(path)}{PRIVACY}]"
        table = _table(where, _parsed(path).get(PRIVACY, {}))
        _check_keys(where, table, _OF_PRIVACY)
        return table

    if named is not None:
        return said(named)
    mine, path = _files()
    values = {} if mine is None else said(mine)
    found = {} if path is None else said(path)
    for key in ("keyring", "journal"):
        if "://" in str(found.get(key, "")) or _leads_away(found.get(key, "")):
            raise UsageError(
                f"{path}: [{PRIVACY}] {key} leads elsewhere, and the file was found here: if it is "
                f"yours, --config {path}"
            )
    return values | found


def _has_settings(name: str) -> bool:
    """Whether a file of the current folder is ours: what else a project says may be broken."""
    if os.path.exists(name) and not os.path.isfile(name):  # noqa: PTH110, PTH113
        raise UsageError(f"{name} is not a file: settings are read from it", path=name)
    if name == FILE:
        return os.path.lexists(name)
    return os.path.isfile(name) and b"refold" in _content(name)  # noqa: PTH113


def _is_harmless(key: str, value: Any) -> bool:
    """Whether a stranger may say so: no code (our own folds have no colon), no file elsewhere."""
    if key in OWN and not (key in NAMED and ":" not in str(value)):
        return False
    return key == "db" or not any(map(_leads_away, value if isinstance(value, list) else [value]))


def _leads_away(value: Any) -> bool:
    """Whether a text names a file that is outside the current folder, links resolved."""
    try:
        path = Path(str(value).removeprefix("@")).resolve()
    except (OSError, RuntimeError):  # too long for a name, or links in a circle
        return False
    return not path.is_relative_to(Path().resolve())


def _fit(option: click.Option, said: FileSetting) -> Any:
    """The value as the option would be given it; one text is a list of one."""
    value, where = said
    several = value if option.multiple and isinstance(value, list) else [value]
    for one in several:
        is_odd = isinstance(one, list | dict) or isinstance(one, bool) != option.is_flag
        if is_odd or "\0" in str(one):
            what = "true or false" if option.is_flag else "text or a number"
            raise UsageError(f"{where} must be {what}, not {type(one).__name__}")
    fit = [one if isinstance(one, bool) else str(one) for one in several]
    return fit if option.multiple else fit[0]


def _table(where: str, value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise UsageError(f"{where} must be a table, not {type(value).__name__}")
    return value


def _check_keys(where: str, table: Mapping[str, Any], known: Names) -> None:
    for key in table:
        if key not in known:
            raise UsageError(f"{where} knows no {key!r}{suggestion(key, known)}", key=key)


def _parsed(path: str) -> dict[str, Any]:
    import tomllib

    try:
        content = tomllib.loads(_content(path).decode())
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{path} is not TOML: {error}", path=path) from error
    if not _is_project(path):
        return content
    tools = _table(f"{path}: [tool]", content.get("tool", {}))
    return _table(f"{path}: [tool.refold]", tools.get("refold", {}))


def _is_project(path: str) -> bool:
    return os.path.basename(path) == PROJECT_FILE  # noqa: PTH119


def _content(path: str) -> bytes:
    return jsontext.file_bytes(path, bytes_max=BYTES_MAX)
