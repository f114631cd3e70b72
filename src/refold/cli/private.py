"""How a command opens a store: with its personal values as the settings say."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, Final

import click

import refold
from refold.cli import config, output

GIVEN: Final = "refold.given"
"""Under this name a command's context has what was given on the command line."""
IN_THE_CLEAR: Final = (
    "personal values of this store are under keys, and no keyring is named here (the table "
    "[privacy] of refold.toml, REFOLD_KEYRING): what is appended now is kept in the clear"
)
_NOTHING: Final[Mapping[str, str | None]] = {}


def privacy_table() -> dict[str, Any]:
    """What the settings say of privacy."""
    ctx = click.get_current_context()
    named = ctx.meta[GIVEN].get("config") or os.environ.get("REFOLD_CONFIG") or None
    return config.privacy(named)


def open_store(
    url: str,
    *,
    private: bool = True,
    given: Mapping[str, str | None] = _NOTHING,
    destination: str = "",
    **how: Any,
) -> refold.Store:
    """A store, its personal values as the settings say; with ``private`` false, as it is stored.

    ``given`` is what options say in the place of these, ``privacy`` stands in the place of all.
    Who reads is recorded in it, unless a journal is named, so then it is opened for writing.
    """
    from refold.privacy.settings import privacy_of

    reads = how.get("mode") == "read"
    # A journal holds nothing that is protected.
    looks = private and not (reads and url.endswith(".jsonl"))
    privacy = how.pop("privacy", None)
    if privacy is None and looks:
        privacy = privacy_of(privacy_table(), given, destination)
    if privacy is not None and reads and privacy.records_beside:
        how["mode"] = "write"
    store = refold.open(url, privacy=privacy, **how)
    if "mode" not in how and (privacy is None or privacy.keyring is None):
        from refold.privacy.stored import has_keys, stored_backend

        if has_keys(stored_backend(store)):
            output.note(IN_THE_CLEAR)
    return store
