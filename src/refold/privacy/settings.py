"""What settings and the environment say of privacy: the table ``[privacy]`` of refold.toml."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, Final

from refold.errors import UsageError, shown
from refold.privacy.fields import CONVERSATION, with_more
from refold.privacy.keyring import KEYRING_VARIABLE, PASSPHRASE
from refold.privacy.privacy import Privacy
from refold.privacy.rotation import KeyringPlace

_TEXTS: Final = {
    "keyring": "REFOLD_KEYRING", "actor": "REFOLD_ACTOR", "purpose": "REFOLD_PURPOSE",
    "journal": "REFOLD_ACCESS_JOURNAL",
}  # fmt: skip


def keyring_place(table: Mapping[str, Any]) -> KeyringPlace | None:
    """Where the keyring is kept, by the environment or the settings; None where nobody says."""
    return _place(_text(table, "keyring"))


def _place(text: str) -> KeyringPlace | None:
    if not text and not os.environ.get(KEYRING_VARIABLE):
        return None
    return KeyringPlace(text, os.environ.get(PASSPHRASE, ""))


def privacy_of(
    table: Mapping[str, Any], given: Mapping[str, str | None] = {}, destination: str = ""
) -> Privacy | None:
    """How stores are opened, as the settings say; None where they say nothing of it.

    ``given`` stands before them; ``destination`` is where what is read goes to.
    """
    said = {name: given.get(name) or _text(table, name) for name in _TEXTS}
    place = _place(said["keyring"])
    conversation, own = table.get("conversation", False), table.get("fields", {})
    if not isinstance(conversation, bool) or not isinstance(own, Mapping):
        why = "says conversation = true or false, and fields as a table of types"
        raise UsageError(f"[privacy] {why}, not {shown(table)}")
    fields = with_more(CONVERSATION if conversation else {}, own)
    if place is None and not fields:
        return None
    return Privacy(
        None if place is None else place.load(),
        fields,
        actor=said["actor"] or None,
        purpose=said["purpose"],
        journal=said["journal"] or None,
        destination=destination or None,
    )


def _text(table: Mapping[str, Any], key: str) -> str:
    said = table.get(key, "")
    if not isinstance(said, str):
        raise UsageError(f"[privacy] {key} must be text, not {shown(said)}")
    return os.environ.get(_TEXTS[key]) or said
