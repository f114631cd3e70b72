"""The user's own code: modules that register classes, and values in them."""

from __future__ import annotations

import sys
from importlib import import_module
from typing import Any

from refold.errors import UsageError


def loaded(place: str, *, what: str) -> Any:
    """The module of ``module``, or the value of ``module:attribute``.

    Modules of the folder that the command is run in are found. Raises :class:`UsageError` where
    there is none, or where importing it fails.
    """
    if "" not in sys.path:
        sys.path.insert(0, "")
    module, _, attribute = place.partition(":")
    try:
        found: Any = import_module(module)
        for name in attribute.split(".") if attribute else ():
            found = getattr(found, name)
    except Exception as error:
        raise UsageError(f"{what} {place} cannot be had: {error!r}", place=place) from error
    return found
