"""`refold backup` and `refold restore`."""

from __future__ import annotations

import click

import refold
from refold.cli import output
from refold.cli.errors import FINDING, FINE
from refold.cli.options import command, opened
from refold.errors import UsageError


@command("backup")
@click.argument("file")
def backup_command(url: str, file: str) -> None:
    """Copy a store to a new file.

    As it stands at one moment: writers go on meanwhile. The file is complete and synced before it
    gets its name.

        refold backup agents-2026-03-01.db --db agents.db
    """
    if _is_shared(url):
        advice = f"`pg_dump --format=custom --file={file} ADDRESS` copies the database"
        raise UsageError(f"{advice} (as a superuser if it has roles), and pg_basebackup the server")
    with opened(url) as store:
        size_bytes = store.backup(file)
    _show("backed up to", file, size_bytes)


@command("restore")
@click.argument("file")
def restore_command(url: str, file: str) -> int:
    """Make a store from a backup.

    The backup is checked from end to end first; when a check fails, nothing is made and the
    command exits with 1. The store must not exist: move the damaged one away.

        refold restore agents-2026-03-01.db --db agents.db
    """
    if _is_shared(url):
        why = "only a file is restored from a backup"
        advice = f"`refold copy {file} ADDRESS` stores it in PostgreSQL"
        raise UsageError(f"{why}: {advice}, and pg_restore what pg_dump wrote")
    with refold.open(file, mode="read") as store:
        for check in store.check():
            if not check.good:
                output.note(f"{file}: {check.name}: {check.detail}; nothing was restored")
                return FINDING
        size_bytes = store.backup(url.removeprefix("sqlite:///"))
    _show("restored", url, size_bytes)
    return FINE


def _is_shared(url: str) -> bool:
    return url.startswith(("postgresql://", "postgres://"))


def _show(what: str, path: str, size_bytes: int) -> None:
    shown = f"{what} {path}, {size_bytes:,} bytes"
    output.show({"file": path, "size_bytes": size_bytes}, shown)
