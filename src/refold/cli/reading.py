"""Who reads protected values at the command line, what for, and by which keys."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import click

from refold.cli.options import READING, option, together

PASSPHRASE: Final = "REFOLD_KEYRING_PASSPHRASE"
STDOUT: Final = "standard output"
_GIVEN: Final = "refold.reader"


def _noted(ctx: click.Context, parameter: click.Parameter, value: str | None) -> None:
    ctx.meta.setdefault(_GIVEN, {})[parameter.name] = value
    ctx.meta[READING] = reading


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
    option(
        "--keyring",
        envvar="REFOLD_KEYRING",
        metavar="FILE",
        expose_value=False,
        callback=_noted,
        help="The keys of protected values; REFOLD_KEYRING_KEYS may hold it instead.",
    ),
)
"""Of a command that shows what events say."""


def reading(url: str, destination: str) -> dict[str, Any]:
    """How a store is opened for who reads: nothing where no actor or no keyring is named.

    ``destination`` is where what is read goes to, where it leaves the program.
    """
    given = click.get_current_context().meta[_GIVEN]
    if not given.get("actor") or url.endswith(".jsonl"):
        return {}
    from refold.privacy.keyring import keyring_of_environment, load_keyring
    from refold.privacy.privacy import Privacy

    path = given.get("keyring")
    keyring = keyring_of_environment()
    if path is not None:
        keyring = load_keyring(path, passphrase=os.environ.get(PASSPHRASE, ""))
    if keyring is None:
        return {}
    who = {"actor": given["actor"], "purpose": given.get("purpose") or ""}
    privacy = Privacy(keyring, destination=destination or None, **who)
    # The read is recorded in the log itself.
    return {"privacy": privacy, "mode": "write"}


def stdout_name() -> str:
    """Where standard output goes: the file, as far as the system tells."""
    with suppress(OSError, ValueError):
        target = Path(f"/proc/self/fd/{sys.stdout.fileno()}").readlink()
        if target.is_file():
            return str(target)
    return STDOUT
