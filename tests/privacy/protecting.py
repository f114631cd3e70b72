"""Stores whose values are protected, for tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import refold
from refold.privacy.fields import CONVERSATION
from refold.privacy.keyring import Keyring, new_keyring
from refold.privacy.privacy import Privacy
from refold.privacy.protected import Protected

KEYRING = new_keyring()
"""One for all tests that do not look at it."""


def privacy(
    *, fields: Any = CONVERSATION, keyring: Keyring | None = KEYRING, **more: Any
) -> Privacy:
    """What a store of a test is told; who reads is recorded in another."""
    return Privacy(
        keyring, fields, **{"actor": "a test", "journal": refold.open("memory:"), **more}
    )


def opened(path: Path | str, **more: Any) -> refold.Store:
    """A store whose conversations are protected."""
    return refold.open(path, privacy=privacy(**more), synchronous="NORMAL")


def behind(store: refold.Store) -> Protected:
    """What protects a store."""
    log = store._backend
    assert isinstance(log, Protected)
    return log
