"""Read models that come with refold: tables of what agents did, for anything that speaks SQL.

They are projections (:mod:`refold.projections`) over the vocabulary of a conversation, kept in the
database of the log: ``conversations``, ``tool_usage``, ``costs``, ``customers``, ``search`` and
``branches``, each an attribute of this module. docs/reference/read-models.md explains the columns::

    from refold.projections import Projector
    from refold.readmodels import built_in

    Projector(store, built_in()).catch_up()

:func:`find` gives the streams that are as :class:`Wanted`::

    find(store, Wanted(tool="refund", with_error=True, text="gift card")).streams
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from refold.projections.projection import Projection
    from refold.readmodels.finding import Wanted, find

__all__ = ["Wanted", "built_in", "find"]

# Imported when first asked for: whoever names one pays for it alone.
_MODULE_OF = {
    "conversations": "listing",
    "tool_usage": "calls",
    "costs": "spending",
    "customers": "people",
    "search": "searching",
    "branches": "forks",
    "Wanted": "finding",
    "find": "finding",
}


def built_in() -> tuple[Projection, ...]:
    """All of them, those that are named above, in that order."""
    return tuple(__getattr__(name) for name in _MODULE_OF if name not in __all__)


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULE_OF[name]}"), name)
