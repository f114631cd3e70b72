"""Read models that come with refold: tables of what agents did, for anything that speaks SQL.

They are projections (:mod:`refold.projections`) over the vocabulary of a conversation, kept in the
database of the log: ``conversations``, ``tool_usage``, ``costs`` and ``customers``, each an
attribute of this module. docs/reference/read-models.md explains every column::

    from refold.projections import Projector
    from refold.readmodels import built_in

    Projector(store, built_in()).catch_up()
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from refold.projections.projection import Projection

__all__ = ["built_in"]

# Imported when first asked for: whoever names one pays for it alone.
_MODULE_OF = {
    "conversations": "listing",
    "tool_usage": "calls",
    "costs": "spending",
    "customers": "people",
}


def built_in() -> tuple[Projection, ...]:
    """All of them: ``conversations``, ``tool_usage``, ``costs``, ``customers``."""
    return tuple(map(__getattr__, _MODULE_OF))


def __getattr__(name: str) -> Projection:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found: Projection = getattr(import_module(f"{__name__}.{_MODULE_OF[name]}"), name)
    return found
