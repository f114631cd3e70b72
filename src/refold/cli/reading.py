"""Who reads protected values at the command line, what for, and by which keys."""

from __future__ import annotations

import sys
from contextlib import suppress
from pathlib import Path
from typing import Final

import click

from refold.cli.options import READING, option, together

STDOUT: Final = "standard output"


def _noted(ctx: click.Context, parameter: click.Parameter, value: str | None) -> None:
    ctx.meta.setdefault(READING, {})[parameter.name] = value


keyring_option: Final = option(
    "--keyring",
    envvar="REFOLD_KEYRING",
    metavar="FILE",
    expose_value=False,
    callback=_noted,
    help="The keys of protected values; REFOLD_KEYRING_KEYS may hold it instead.",
)
reading_options: Final = together(
    option(
        "--actor",
        envvar="REFOLD_ACTOR",
        metavar="NAME",
        expose_value=False,
        callback=_noted,
        help="Who reads protected values; it is recorded. Without it they are withheld.",
    ),
    option(
        "--purpose",
        envvar="REFOLD_PURPOSE",
        metavar="TEXT",
        expose_value=False,
        callback=_noted,
        help="What they are read for; recorded too.",
    ),
    keyring_option,
)
"""Of a command that shows what events say."""


def stdout_name() -> str:
    """Where standard output goes: the file, as far as the system tells."""
    with suppress(OSError, ValueError):
        target = Path(f"/proc/self/fd/{sys.stdout.fileno()}").readlink()
        if target.is_file():
            return str(target)
    return STDOUT
