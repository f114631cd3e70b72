"""Read models that come with refold: tables of what agents did, for anything that speaks SQL.

They are projections (:mod:`refold.projections`) over the vocabulary of a conversation, kept in the
database of the log: ``conversations``, ``tool_usage``, ``costs`` and ``customers``.
docs/reference/read-models.md explains every column::

    from refold.projections import Projector
    from refold.readmodels import built_in

    Projector(store, built_in()).catch_up()
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from refold.projections.projection import Projection
    from refold.readmodels.calls import tool_usage
    from refold.readmodels.listing import conversations
    from refold.readmodels.people import customers
    from refold.readmodels.spending import costs

__all__ = ["built_in", "conversations", "costs", "customers", "tool_usage"]

_MODULE_OF = {
    "conversations": "listing",
    "tool_usage": "calls",
    "costs": "spending",
    "customers": "people",
}


def built_in() -> tuple[Projection, ...]:
    """All of them: ``conversations``, ``tool_usage``, ``costs``, ``customers``."""
    return tuple(__getattr__(name) for name in _MODULE_OF)


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = import_module(f"{__name__}.{_MODULE_OF[name]}")
    value = globals()[name] = getattr(module, name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
